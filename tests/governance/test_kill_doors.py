"""Kill switches through a door that is not the tenant's whole: of another workspace, of the operator; and for whom a trial is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.approvals.asking import asked
from tests.governance.test_hanging import account, webhook
from tests.governance.test_kills import HOLDS, attach, release, stop, tool, verdict
from tests.governance.test_layers import another_workspace
from tests.governance.test_recorded_roles import call
from tests.workspaces.world import World
from worka.governance import service
from worka.governance.errors import KillMoved, KillNotFound
from worka.governance.kill_schema import Lift
from worka.kernel.errors import Denied, Invalid
from worka.workspaces import service as members
from worka.workspaces import store as workspaces

Row = dict[str, Any]
NOWHERE = "ws_00000000000000000000000009"


async def joins(world: World, who: str, place: str) -> None:
    """Somebody becomes a member of that workspace."""
    async with world.db.transaction(world.tenant_id) as conn:
        assert await workspaces.add_member(
            conn,
            {
                "tenant_id": world.tenant_id, "workspace_id": place, "principal_kind": "person",
                "principal_id": world.ids[who], "role": "member", "approver": False, "created_by": "test",
            },
        )  # fmt: skip


async def look(world: World, kind: str, subject: str, who: str = "viewer", everywhere: bool = False) -> Row:
    return await service.preview_kill(world.ctx(who), world.workspace_id, kind, subject, everywhere)


@pytest.mark.capability("AUT-1", part="kill switches: through a workspace's door what is in others alone is not there")
async def test_what_is_in_another_workspace_alone_is_not_there_until_it_is_here_too(world: World) -> None:
    elsewhere = await another_workspace(world)
    number = await release(world, place=elsewhere)
    await joins(world, "stranger", elsewhere)
    for kind, subject in (("release", number), ("member", world.ids["stranger"])):
        nothing = subject[:-1] + ("0" if subject[-1] != "0" else "1")
        told = []
        for thing in (subject, nothing):
            with pytest.raises(KillNotFound) as missing:
                await look(world, kind, thing)
            told.append(str(missing.value).replace(thing, "ID"))
            with pytest.raises(KillNotFound):
                await stop(world, kind, thing, who="admin")
        assert told[0] == told[1], "there elsewhere, or nowhere: one and the same answer"
        assert (await look(world, kind, subject, "owner", everywhere=True))["name"], (
            "the control: who may see everywhere"
        )
    assert await world.rows("kill") == []
    await attach(world, number, world.workspace_id)
    assert (await look(world, "release", number))["name"] == "acme.notes 1.0.1", "attached here"
    await joins(world, "stranger", world.workspace_id)
    assert (await look(world, "member", world.ids["stranger"]))["name"] == "stranger", "a member here"
    assert (await stop(world, "member", world.ids["stranger"], who="admin"))["state"] == "on"


@HOLDS
async def test_what_was_stopped_here_and_has_left_is_still_looked_at_and_lifted(world: World) -> None:
    elsewhere = await another_workspace(world)
    made = await stop(world, "member", world.ids["member"])
    await members.remove_member(world.ctx("owner"), world.workspace_id, world.ids["member"])
    assert (await look(world, "member", world.ids["member"]))["name"] == "member"
    lifted = await service.lift(world.ctx("owner"), world.workspace_id, made["id"], "all", [], "over", True)
    assert lifted["state"] == "lifted"
    with pytest.raises(KillNotFound):
        await look(world, "member", world.ids["member"])
    assert elsewhere in (await look(world, "member", world.ids["member"], "owner", everywhere=True))["workspaces"]


async def busy(world: World) -> tuple[str, list[str]]:
    """A tenant with something of everything: its release, and every id, name and host that nobody outside is to read."""
    number = await release(world)
    serves = await attach(world, number, world.workspace_id)
    runs = await call(world, number, serves, state="running")
    hook, importer = await webhook(world, "hooks.secret.test"), await account(world, "member")
    wish = await asked(world)
    names = ["hooks.secret.test", "importer", "acme.notes", "Publish notes", "robot"]
    return number, [serves, runs, hook, importer, wish["id"], world.ids["robot"], *names]


def read(answer: Row, told: list[str], subject: str) -> list[str]:
    """What of the tenant's stands in an answer, but for what the operator named themselves."""
    return [word for word in told if word in str(answer) and word != subject]


OPERATOR = pytest.mark.capability("GOV-15", part="by the deployment's operator")


@OPERATOR
@pytest.mark.parametrize("kind", ["tenant", "workspace", "member", "release", "destination"])
async def test_the_operator_reads_how_much_a_stop_touches_and_nothing_of_what(world: World, kind: str) -> None:
    number, told = await busy(world)
    subject = {
        "tenant": world.tenant_id, "workspace": world.workspace_id, "member": world.ids["member"], "release": number,
        "destination": "*.secret.test",
    }[kind]  # fmt: skip
    whole = await look(world, kind, subject, "owner", everywhere=True)
    sizes = {part: len(whole[part]) for part in ("workspaces", "attachments", "tasks", "calls")}
    hangs = {
        what: sum(1 for row in whole["hangs"] if row["what"] == what) for what in {r["what"] for r in whole["hangs"]}
    }
    assert read(whole, told, subject), "the control: its owner reads what"
    assert any(sizes.values()) or hangs

    dry = world.ctx("operator")
    dry.undone = True
    tried = await service.kill_in_tenant(dry, world.tenant_id, kind, subject, "abuse")
    assert await world.rows("kill") == [], "a dry run leaves nothing, so it must tell nothing either"
    made = await service.kill_in_tenant(world.ctx("operator"), world.tenant_id, kind, subject, "abuse")
    (listed,) = await service.list_in_tenant(world.ctx("operator"), world.tenant_id, None, 50)
    for answer in (tried, made, listed):
        assert answer["counts"] == {**sizes, "hangs": hangs}
        assert (read(answer, told, subject), answer["receipt_cut"], answer["receipt"]["name"]) == ([], True, subject)
    for who in ("viewer", "owner"):
        kept = await service.show_kill(world.ctx(who), world.workspace_id, made["id"])
        assert read(kept, told, subject), "the receipt stays, and is the tenant's to read"
        assert kept["counts"]["calls"] == len(kept["receipt"]["calls"])
    moved = await service.lift_in_tenant(
        world.ctx("operator"), world.tenant_id, made["id"], "all", [], "mended", skip_trial=True
    )
    assert (moved["state"], read(moved, told, subject)) == ("lifted", [])


@OPERATOR
async def test_what_an_owners_switch_touched_is_not_read_by_the_operator_who_tries_to_lift_it(world: World) -> None:
    number, told = await busy(world)
    made = await stop(world, "release", number)
    assert read(made, told, number), "the control"
    dry = world.ctx("operator")
    dry.undone = True
    tried = await service.lift_in_tenant(dry, world.tenant_id, made["id"], "all", [], "r", skip_trial=True)
    assert (tried["state"], read(tried, told, number)) == ("lifted", [])
    assert tried["counts"]["attachments"] == 1
    assert (await service.show_kill(world.ctx("owner"), world.workspace_id, made["id"]))["state"] == "on"


TRIAL = pytest.mark.capability("GOV-15", part="the staged lift, and its record")


@TRIAL
async def test_a_trial_that_is_for_nobody_is_refused_and_opens_no_lift_for_all(world: World) -> None:
    elsewhere = await another_workspace(world)
    number = await release(world)
    await joins(world, "stranger", elsewhere)
    here = await stop(world, "release", number)

    async def lift(made: Row, stage: str, exempt: list[str], who: str = "owner") -> Row:
        ctx = world.ctx(who)
        return await service.lift(ctx, world.workspace_id, made["id"], stage, exempt, "mended", skip_trial=False)

    # Of one workspace: nobody who is elsewhere alone, neither the other workspace, nor what does not exist.
    for name in ("ws_nonsense", NOWHERE, "", elsewhere, world.ids["stranger"], world.tenant_id, number):
        for exempt in ([name], [world.workspace_id, name]):
            with pytest.raises(Invalid, match="no workspace or member that it stops"):
                await lift(here, "trial", exempt)
    with pytest.raises(KillMoved, match="on trial"):
        await lift(here, "all", [])
    assert await verdict(world, tool(world, release=number)) == "deny"
    assert (await lift(here, "trial", [world.ids["robot"], world.workspace_id]))["state"] == "trial", "the control"
    assert (await lift(here, "all", []))["state"] == "lifted"

    # Of the whole tenant: whoever and whatever is in it.
    wide = await stop(world, "release", number, everywhere=True)
    with pytest.raises(Invalid):
        await lift(wide, "trial", [NOWHERE])
    assert (await lift(wide, "trial", [elsewhere, world.ids["stranger"]]))["state"] == "trial"
    there = await stop(world, "workspace", elsewhere, everywhere=True)
    with pytest.raises(Invalid):
        await lift(there, "trial", [world.workspace_id])
    assert (await lift(there, "trial", [world.ids["stranger"]]))["state"] == "trial"
    with pytest.raises(Denied):
        await lift(there, "trial", [NOWHERE], who="viewer")


@TRIAL
async def test_a_trial_of_a_switch_on_one_person_is_not_for_another_one_alone(world: World) -> None:
    made = await stop(world, "member", world.ids["member"])

    async def trial(*exempt: str) -> Row:
        ctx = world.ctx("owner")
        return await service.lift(ctx, world.workspace_id, made["id"], "trial", list(exempt), "r", skip_trial=False)

    with pytest.raises(Invalid, match="for another person alone nothing would be lifted"):
        await trial(world.ids["admin"])
    for fits in (world.ids["robot"], world.ids["member"], world.workspace_id):
        assert (await trial(world.ids["admin"], fits))["state"] == "trial"
        await service.lift(world.ctx("owner"), world.workspace_id, made["id"], "none", [], "r", skip_trial=False)


@TRIAL
def test_who_is_spared_is_named_in_no_more_characters_than_an_id_has() -> None:
    assert Lift(stage="trial", exempt=["w" * 64], reason="r").exempt == ["w" * 64]
    with pytest.raises(ValueError, match="at most 64 characters"):
        Lift(stage="trial", exempt=["w" * 65], reason="r")
