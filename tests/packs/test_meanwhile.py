"""What is taken away, moved or decided between the look at it and the commit: the commit goes by what is true then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.packs.registered import another_workspace, attachment, one, release
from tests.support.database import may_idle
from tests.workspaces.world import World, somebody_waits, world
from worka import packs
from worka.approvals import service as approvals
from worka.kernel.errors import Denied
from worka.packs import service, store
from worka.packs.errors import AttachmentNotUsable, ToolHeld
from worka.packs.lifecycle import store as lifecycle
from worka.packs.model import WHOLE_SERVER
from worka.packs.moving import held
from worka.packs.moving.errors import DefinitionMoved, NothingHeld
from worka.packs.registry.service import policies
from worka.packs.service import attachments, withdrawing

__all__ = ["world"]
Row = dict[str, Any]


async def put(world: World, table: str, row_id: str, **columns: Any) -> None:
    """Writes columns of a row, as something else left it."""
    names = ", ".join(f"{name} = %s" for name in columns)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(f"update worka.{table} set {names} where id = %s", (*columns.values(), row_id))


# what is held -------------------------------------------------------------------------------------------------------
@pytest.mark.capability(
    "TOL-5", part="accepted or refused by a person, exactly what was shown, in the commit of the decision"
)
async def test_only_what_is_held_is_resolved_and_what_was_refused_stays_off(world: World) -> None:
    made = await release(world, outbound_domains=["api.example.org"])
    row = await service.attach(world.ctx("admin"), made)
    assert row["state"] == "awaiting_approval", "the control: it takes consent"
    waiting = {
        "awaiting_approval": "waiting_for_approver", "awaiting_connection": "waiting_for_connection",
        "awaiting_dependency": "waiting_for_dependency", "attached": "attachment_in_service",
        "updating": "attachment_updating", "suspended": "release_quarantined", "detached": "attachment_removed",
    }  # fmt: skip
    for state, reason in waiting.items():
        await put(world, "attachment", row["id"], state=state, reason=reason)
        with pytest.raises(NothingHeld):
            await service.resolve_held(world.ctx("admin"), row["id"], "looked at it")
        assert (await one(world, "attachment", row["id"]))["state"] == state
    refused = {
        "pin": "a" * 64,
        "definition": {"name": "say"},
        "decision": "refused",
        "by": "x",
        "why": "it sends files",
    }
    undecided = {"pin": "b" * 64, "definition": {"name": "more"}, "decision": None}
    await put(
        world, "attachment", row["id"], state="held", reason="tool_definition_changed", held=Jsonb({"more": "diff"}),
        definitions=Jsonb({"say": refused, "more": undecided}),
    )  # fmt: skip
    with pytest.raises(Denied):
        await service.resolve_held(world.ctx("member"), row["id"], "looked at it")
    now = await service.resolve_held(world.ctx("admin"), row["id"], "looked at it")
    assert (now["state"], now["held"], now["definitions"]) == ("attached", None, {"say": refused})


@pytest.mark.capability(
    "TOL-5", part="what was refused is no longer off once its definition is accepted, or the release's is"
)
async def test_a_refusal_is_taken_back_by_accepting_what_was_refused_or_what_the_release_has(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    await put(world, "release", made, server_pin="s" * 64)

    async def off(tool: str) -> None:
        kept = {
            "pin": "a" * 64,
            "definition": {"name": "say"},
            "decision": "refused",
            "by": "x",
            "why": "it sends files",
        }
        await put(world, "attachment", att, definitions=Jsonb({tool: kept}))
        with pytest.raises(ToolHeld, match="was refused"):
            await service.prepare(world.ctx("member"), "acme.small.say", {"text": "x"})

    for tool, own in (("say", "p"), (WHOLE_SERVER, "s" * 64)):
        await off(tool)
        with pytest.raises(Denied):
            await held.accept(world.ctx("member"), att, tool, own, "fine")
        with pytest.raises((DefinitionMoved, NothingHeld)) as moved:
            await held.accept(world.ctx("admin"), att, tool, "c" * 64, "fine")
        assert isinstance(moved.value, DefinitionMoved), "what was refused can be decided on"
        with pytest.raises(DefinitionMoved):
            await held.refuse(world.ctx("admin"), att, tool, own, "no")
        assert (await held.accept(world.ctx("admin"), att, tool, own, "as it was"))["definitions"] == {}
        await service.prepare(world.ctx("member"), "acme.small.say", {"text": "x"})
        with pytest.raises(NothingHeld):
            await held.accept(world.ctx("admin"), att, tool, own, "again")
        await off(tool)
        now = await held.accept(world.ctx("admin"), att, tool, "a" * 64, "looked at it again")
        assert now["definitions"][tool]["decision"] == "accepted"
        assert (await service.prepare(world.ctx("member"), "acme.small.say", {"text": "x"})).tool_name == "say"


# calls --------------------------------------------------------------------------------------------------------------
async def _begin(world: World, prepared: Any, key: str) -> Row:
    ctx = world.ctx("member")
    async with ctx.transaction():
        return await service.open_invocation(ctx, prepared, idempotency_key=key, first=True)


@pytest.mark.capability("GOV-11")
async def test_a_call_that_was_prepared_for_another_release_or_one_taken_away_never_begins(world: World) -> None:
    old, new = await release(world), await release(world, version="2.0.0")
    att = await attachment(world, old)
    prepared = await service.prepare(world.ctx("member"), "acme.small.say", {"text": "x"})
    await put(world, "attachment", att, release_id=new)
    with pytest.raises(AttachmentNotUsable) as moved:
        await _begin(world, prepared, "k1")
    assert moved.value.extra["reason"] == "attachment_updating"
    await put(world, "attachment", att, release_id=old)
    await put(world, "release", old, state="quarantined", reason="release_quarantined")
    with pytest.raises(AttachmentNotUsable):
        await _begin(world, prepared, "k2")
    assert await world.rows("invocation") == []
    # The controls: the same call begins where nothing was moved, and where its release is only revoked.
    await put(world, "release", old, state="revoked", reason="release_revoked")
    assert (await _begin(world, prepared, "k3"))["state"] == "running"


# what waits ---------------------------------------------------------------------------------------------------------
async def _waits_for_consent(world: World) -> tuple[str, str, Callable[[], Awaitable[object]]]:
    made = await release(world, outbound_domains=["api.example.org"])
    row = await service.attach(world.ctx("admin"), made)
    card = await approvals.show(world.ctx("approver"), row["approval_id"])
    return (
        made,
        row["id"],
        lambda: approvals.decide(world.ctx("approver"), row["approval_id"], "approve", card["digest"]),
    )


async def _waits_for_a_connection(world: World) -> tuple[str, str, Callable[[], Awaitable[object]]]:
    made = await release(world)
    att = await attachment(world, made, state="awaiting_connection")

    async def activated() -> None:
        ctx = world.ctx("admin")
        async with ctx.transaction():
            await attachments.connection_activated(ctx, {"workspace_id": world.workspace_id, "connection_id": "con_x"})

    return made, att, activated


async def _waits_for_a_pack(world: World) -> tuple[str, str, Callable[[], Awaitable[object]]]:
    base = await attachment(world, await release(world, "acme.base"))
    made = await release(world, dependencies=[{"pack": "acme.base", "tools": ["say"]}])
    att = await attachment(world, made, state="awaiting_dependency")

    async def served() -> None:
        ctx = world.ctx("admin")
        async with ctx.transaction():
            await attachments.attachment_serves(
                ctx, {"workspace_id": world.workspace_id, "pack": "acme.base", "attachment_id": base}
            )

    return made, att, served


@pytest.mark.capability("GOV-11")
@pytest.mark.parametrize("what", [_waits_for_consent, _waits_for_a_connection, _waits_for_a_pack])
@pytest.mark.parametrize("taken", [True, False])
async def test_what_waited_does_not_serve_once_its_release_is_being_taken_away(
    world: World, what: Callable[[World], Any], taken: bool
) -> None:
    packs.subscribe(world.subscribers)
    made, att, goes_on = await what(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await may_idle(conn)
        await lifecycle.lock_standing(conn, world.tenant_id, "acme.small")
        await store.release_for_update(conn, made)
        if taken:
            await store.move_release(conn, made, "quarantined", "release_quarantined")
        going = asyncio.ensure_future(goes_on())
        await somebody_waits(world)
    await going
    state = (await one(world, "attachment", att))["state"]
    assert (state == "attached") is not taken, state


@pytest.mark.capability("GOV-10")
async def test_what_waited_for_a_connection_does_not_serve_while_all_of_its_pack_is_taken_away(world: World) -> None:
    await release(world)
    await withdrawing.pack(world.ctx("owner"), "quarantine", "acme.small", "stolen key")
    later = await release(world, version="2.0.0")
    att = await attachment(world, later, state="awaiting_connection")

    async def activated() -> str:
        ctx = world.ctx("admin")
        async with ctx.transaction():
            await attachments.connection_activated(ctx, {"workspace_id": world.workspace_id, "connection_id": "con_x"})
        return str((await one(world, "attachment", att))["state"])

    assert await activated() == "awaiting_connection"
    await withdrawing.pack(world.ctx("owner"), "lift", "acme.small", "new key")
    assert await activated() == "attached"


@pytest.mark.capability("GOV-10")
@pytest.mark.parametrize("what", [_waits_for_a_connection, _waits_for_a_pack])
async def test_what_waited_on_a_release_that_was_revoked_long_ago_ends_when_it_comes(
    world: World, what: Callable[[World], Any]
) -> None:
    packs.subscribe(world.subscribers)
    made, att, comes = await what(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await store.move_release(conn, made, "revoked", "release_revoked")
    await comes()
    row = await one(world, "attachment", att)
    assert (row["state"], row["reason"]) == ("detached", "release_revoked")


@pytest.mark.capability("LIF-5", "LIF-3")
@pytest.mark.parametrize("what", [_waits_for_a_connection, _waits_for_a_pack])
@pytest.mark.parametrize("whole", [True, False])
async def test_what_came_during_a_quarantine_is_found_by_what_waits_for_it_once_that_is_lifted(
    world: World, what: Callable[[World], Any], whole: bool
) -> None:
    packs.subscribe(world.subscribers)
    made, att, comes = await what(world)
    need = {"provider": "tracker", "access": "read", "required": True, "inject": {"host": "t.test", "header": "X",
            "template": "{{connection.access_token}}"}}  # fmt: skip
    lacking = await release(world, version="1.0.1", connections=[need], outbound_domains=["t.test"])
    there = await another_workspace(world, "owner")
    still = await attachment(world, lacking, workspace_id=there, state="awaiting_connection")

    async def act(verb: str) -> None:
        if whole:
            await withdrawing.pack(world.ctx("owner"), verb, "acme.small", "why")
        else:
            for one_of_them in (made, lacking):
                await withdrawing.release(world.ctx("owner"), verb, one_of_them, "why")

    await act("quarantine")
    await comes()
    assert (await one(world, "attachment", att))["state"].startswith("awaiting_"), "the control: nothing goes on now"
    await act("lift")
    assert (await one(world, "attachment", att))["state"] == "attached"
    assert (await one(world, "attachment", still))["state"] == "awaiting_connection", "the control: nothing came for it"


# whose policy it is -------------------------------------------------------------------------------------------------
@pytest.mark.capability("REG-5", part="who may set it, and what is refused as no policy")
async def test_the_registry_policy_of_the_tenant_takes_the_right_in_all_of_its_workspaces(world: World) -> None:
    other = await another_workspace(world)

    async def set_for(scope: str) -> Row:
        ctx = world.ctx("owner")
        return await policies.set_policy(ctx, world.workspace_id, scope=scope, settings={"most": "private"}, note="")

    with pytest.raises(Denied):
        await set_for("tenant")
    assert await world.rows("registry_policy") == []
    await set_for("workspace")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.membership (tenant_id, workspace_id, principal_kind, principal_id, role, approver, created_by)"
            " values (%s, %s, 'person', %s, 'owner', false, 'test')",
            (world.tenant_id, other, world.ids["owner"]),
        )
    assert [layer["place"] for layer in (await set_for("tenant"))["layers"]] == ["deployment", "tenant", "workspace"]


# what follows and what is given back --------------------------------------------------------------------------------
@pytest.mark.capability("GOV-8", part="on the account of whoever let it follow, by the policy of the moment")
async def test_who_may_not_let_an_attachment_follow_attaches_nothing_that_follows(world: World) -> None:
    made = await release(world)
    with pytest.raises(Denied):
        await service.attach(world.ctx("member"), made, mode="tracking")
    assert await world.rows("attachment") == []
    row = await service.attach(world.ctx("member"), made)
    assert (row["state"], row["mode"]) == ("attached", "pinned"), "the control: to attach it takes no more than that"
    await service.detach(world.ctx("member"), row["id"], "to let it follow")
    assert (await service.attach(world.ctx("admin"), made, mode="tracking"))["mode"] == "tracking"


@pytest.mark.capability("GOV-8", part="on the account of whoever let it follow, by the policy of the moment")
async def test_an_attachment_does_not_follow_on_the_account_of_who_lost_the_right_to_let_it(world: World) -> None:
    packs.subscribe(world.subscribers)
    for role, state in (("member", "detached"), ("admin", "attached")):
        made = await release(world, f"acme.small{role}", outbound_domains=["api.example.org"], tools=(f"say{role}",))
        row = await service.attach(world.ctx("admin"), made, mode="tracking")
        assert row["state"] == "awaiting_approval"
        async with world.db.transaction(world.tenant_id) as conn:
            await conn.execute(
                "update worka.membership set role = %s where principal_id = %s", (role, world.ids["admin"])
            )
        card = await approvals.show(world.ctx("approver"), row["approval_id"])
        await approvals.decide(world.ctx("approver"), row["approval_id"], "approve", card["digest"])
        assert (await one(world, "attachment", row["id"]))["state"] == state
        async with world.db.transaction(world.tenant_id) as conn:
            await conn.execute(
                "update worka.membership set role = 'admin' where principal_id = %s", (world.ids["admin"],)
            )


@pytest.mark.capability("LIF-5")
async def test_a_lift_wakes_what_waits_for_the_pack_and_what_follows_it(world: World) -> None:
    packs.subscribe(world.subscribers)
    base = await release(world, "acme.base")
    att = await attachment(world, base)
    await put(world, "attachment", att, mode="tracking", followed_by=world.ids["admin"])
    await withdrawing.quarantine(world.ctx("owner"), base, "a bad file")
    made = await release(world, dependencies=[{"pack": "acme.base", "tools": ["say"]}])
    waiting = await attachment(world, made, state="awaiting_dependency")
    newer = await release(world, "acme.base", "1.1.0")
    assert await world.rows("attachment_move") == []
    await withdrawing.release(world.ctx("owner"), "lift", base, "mended")
    assert (await one(world, "attachment", waiting))["state"] == "attached"
    (move,) = await world.rows("attachment_move")
    assert (move["attachment_id"], move["to_release"], move["kind"]) == (att, newer, "followed")
