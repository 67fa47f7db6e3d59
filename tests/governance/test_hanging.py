"""What hangs on a member, or goes to a destination, is named before it is stopped or taken out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.approvals.asking import asked, join
from tests.governance.test_layers import another_workspace
from tests.workspaces.world import World, make
from worka.approvals import bypass, delegations
from worka.governance import hanging, preview, service
from worka.governance.errors import KillNotFound
from worka.kernel.clock import now
from worka.kernel.ids import new_id
from worka.workspaces import service as workspaces

Row = dict[str, Any]
PATH = "/services/T0/secret-path"


async def webhook(world: World, host: str, who: str = "member", place: str | None = None) -> str:
    """A webhook that somebody keeps, as a row."""
    made = new_id("whk")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.webhook (tenant_id, id, workspace_id, url, types, state, reason, created_by, kept_by) values"
            " (%s, %s, %s, %s, '[]', 'active', 'webhook_in_service', %s, %s)",
            (
                world.tenant_id,
                made,
                place or world.workspace_id,
                f"https://{host}{PATH}",
                world.ids[who],
                world.ids[who],
            ),
        )
    return made


async def account(world: World, who: str) -> str:
    made = new_id("sac")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.service_account (tenant_id, id, workspace_id, name, purpose, owner_person_id, created_by)"
            " values (%s, %s, %s, 'importer', 'p', %s, %s)",
            (world.tenant_id, made, world.workspace_id, world.ids[who], world.ids[who]),
        )
    return made


def of(rows: list[Row]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["what"], set()).add(row["id"])
    return found


async def looked(world: World, kind: str, subject: str, everywhere: bool = False) -> Row:
    return await service.preview_kill(world.ctx("owner"), world.workspace_id, kind, subject, everywhere)


@pytest.mark.capability("GOV-14", part="webhooks and mail of a destination, and what hangs on a member")
async def test_a_stop_of_a_destination_names_the_webhooks_that_go_there_without_their_path(world: World) -> None:
    elsewhere = await another_workspace(world)
    mine, theirs = await webhook(world, "hooks.test"), await webhook(world, "hooks.test", place=elsewhere)
    await webhook(world, "other.test")
    here = await looked(world, "destination", "hooks.test")
    assert (of(here["hangs"]), here["workspaces"]) == ({"webhooks": {mine}}, [world.workspace_id])
    assert of((await looked(world, "destination", "*.test:443", everywhere=True))["hangs"])["webhooks"] >= {
        mine,
        theirs,
    }
    assert (await looked(world, "destination", "hooks.test:8443"))["hangs"] == [], "another port"
    assert PATH not in str(here)
    made = await service.kill(world.ctx("owner"), world.workspace_id, "destination", "hooks.test", "a bad day", False)
    assert of(made["receipt"]["hangs"]) == {"webhooks": {mine}}


@pytest.mark.capability("GOV-14", part="webhooks and mail of a destination, and what hangs on a member")
async def test_a_stop_of_the_mail_server_says_that_no_mail_goes_out(world: World) -> None:
    mail = world.settings.mail.model_copy(update={"host": "mail.test", "port": 587})
    world.settings = world.settings.model_copy(update={"mail": mail})
    assert of((await looked(world, "destination", "mail.test"))["hangs"]) == {"mail": {"mail.test"}}
    assert (await looked(world, "destination", "other.test"))["hangs"] == []


@pytest.mark.capability("GOV-14", part="webhooks and mail of a destination, and what hangs on a member")
async def test_a_stop_of_a_member_names_their_workspace_and_all_that_hangs_on_them(world: World) -> None:
    kept, importer = await webhook(world, "hooks.test", "admin"), await account(world, "admin")
    wants = await asked(world)
    given = await delegations.delegate(
        world.ctx("admin"), world.workspace_id, world.ids["viewer"], now() + timedelta(hours=1)
    )
    found = await looked(world, "member", world.ids["admin"])
    assert found["workspaces"] == [world.workspace_id]
    assert of(found["hangs"]) == {
        "webhooks": {kept},
        "service_accounts": {importer},
        "approvals_waiting": {wants["id"]},
        "delegations": {given["id"]},
    }
    assert hanging.counted(found["hangs"])[0] == "1 open approval that waits for them"
    asker = await looked(world, "member", world.ids["member"])
    assert of(asker["hangs"])["approvals_asked"] == {wants["id"]}
    assert of(asker["hangs"])["team_members"] == {world.ids["robot"]}
    bare = await looked(world, "member", world.ids["viewer"])
    assert of(bare["hangs"]).keys() == {"delegations", "approvals_waiting"}, "what was delegated to them"


@pytest.mark.capability("GOV-14", part="webhooks and mail of a destination, and what hangs on a member")
async def test_every_approval_that_waits_for_a_member_is_named_and_not_only_the_newest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hanging, "PAGE", 2)
    wanted = {(await asked(world, number=number))["id"] for number in range(1, 6)}
    assert len(wanted) == 5
    found = await looked(world, "member", world.ids["admin"])
    assert of(found["hangs"])["approvals_waiting"] == wanted


@pytest.mark.capability("GOV-14", part="webhooks and mail of a destination, and what hangs on a member")
async def test_a_stop_names_what_they_set_in_motion_bypasses_and_open_invitations(world: World) -> None:
    owner, here, tail = world.ctx("owner"), world.workspace_id, f"{world.tenant_id[-8:]}@example.org"
    until = now() + timedelta(hours=1)
    mine = await bypass.open_(owner, here, "boundary", "tool.external_side_effect", "incident 7", until, 2)
    closed = await bypass.open_(owner, here, "boundary", "pack.attach", "incident 7", until, 2)
    await bypass.close(owner, closed["id"])
    sent = await workspaces.invite(owner, here, f"new.{tail}", "admin", True)
    back = await workspaces.invite(owner, here, f"back.{tail}", "viewer", False)
    await workspaces.withdraw_invitation(owner, here, back["invitation_id"])
    theirs = await workspaces.invite(world.ctx("admin"), here, f"theirs.{tail}", "viewer", False)
    await join(world, "olga", "owner", approver=False)
    found = await service.preview_kill(world.ctx("olga"), here, "member", world.ids["owner"], False)
    assert of(found["hangs"]) == {"bypasses": {mine["id"]}, "invitations": {sent["invitation_id"]}}
    assert {row["name"] for row in found["hangs"]} == {"boundary tool.external_side_effect", "as admin"}
    assert tail not in str(found), "an address is for who may invite"
    assert hanging.counted(found["hangs"]) == [
        "1 bypass of approvals that they opened", "1 open invitation that they sent",
    ]  # fmt: skip
    other = await looked(world, "member", world.ids["admin"])
    assert of(other["hangs"]) == {"invitations": {theirs["invitation_id"]}}
    elsewhere = await another_workspace(world)
    with pytest.raises(KillNotFound):
        await service.preview_kill(owner, elsewhere, "member", world.ids["admin"], False)
    out = await preview.of_change(world.ctx("olga"), here, world.ids["owner"], None, None, True)
    assert of(out["hangs"]) == of(found["hangs"]), "taking them out names the same"


@pytest.mark.capability("GOV-14", part="webhooks and mail of a destination, and what hangs on a member")
async def test_what_hangs_on_them_in_another_workspace_or_tenant_is_not_told_here(world: World) -> None:
    elsewhere = await another_workspace(world)
    there = await webhook(world, "hooks.test", "admin", elsewhere)
    assert (await looked(world, "member", world.ids["admin"]))["hangs"] == []
    assert of((await looked(world, "member", world.ids["admin"], everywhere=True))["hangs"]) == {"webhooks": {there}}
    other = await make(world.db, world.settings.home)
    await webhook(other, "hooks.test", "admin")
    assert of((await looked(world, "destination", "hooks.test", everywhere=True))["hangs"]) == {"webhooks": {there}}


@pytest.mark.capability("IDN-8", part="taking somebody out says before what hangs on them")
async def test_taking_somebody_out_says_before_what_hangs_on_them_and_a_new_role_does_not(world: World) -> None:
    kept, importer = await webhook(world, "hooks.test"), await account(world, "member")
    out = await preview.of_change(world.ctx("owner"), world.workspace_id, world.ids["member"], None, None, True)
    assert of(out["hangs"]) == {
        "webhooks": {kept},
        "service_accounts": {importer},
        "team_members": {world.ids["robot"]},
    }
    role = await preview.of_change(world.ctx("owner"), world.workspace_id, world.ids["member"], "viewer", None, False)
    assert role["hangs"] == []
