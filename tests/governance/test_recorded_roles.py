"""Who answers for what in a workspace, and what taking a release or a secret away would touch and would have refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import worka.connections.actions
import worka.packs.actions  # noqa: F401 - registers what the roles are asked about
from tests.governance.test_kills import attach, release
from tests.governance.test_layers import another_workspace
from tests.workspaces.world import TOOL, World, make
from worka.governance import recorded_roles, service, withdrawals
from worka.governance.errors import ResourceNotFound
from worka.kernel.clock import now
from worka.kernel.db import Database
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.workspaces import service as workspaces

ROLES = pytest.mark.capability("IDN-16")
BEFORE = pytest.mark.capability("GOV-14", part="releases and secrets, as before a kill switch")
COUNTER = pytest.mark.capability("BEY-2", part="policy, kill switches, quarantine and revoking")


async def holders(world: World, who: str = "viewer") -> dict[str, set[str]]:
    found = await recorded_roles.show(world.ctx(who), world.workspace_id)
    names = {person: name for name, person in world.ids.items()}
    return {role["role"]: {names[row["id"]] for row in role["holders"]} for role in found["roles"]}


@ROLES
async def test_every_recorded_role_of_a_workspace_is_told_in_one_call_with_what_it_rests_on(world: World) -> None:
    assert await holders(world) == {
        "owner": {"owner"},
        "capability_approver": {"owner", "admin", "approver"},
        "connection_manager": {"owner", "admin"},
        "publication_reviewer": {"owner", "admin"},
        "acting_member": {"robot"},
    }
    found = await recorded_roles.show(world.ctx("viewer"), world.workspace_id)
    by_role = {role["role"]: role for role in found["roles"]}
    (owner,) = by_role["owner"]["holders"]
    assert (owner["role"], owner["given_by"]) == ("owner", "test")
    assert owner["permitted_by"], "the rule of the access set behind it"
    (robot,) = by_role["acting_member"]["holders"]
    assert robot["tools"] == [TOOL]
    approver = next(row for row in by_role["capability_approver"]["holders"] if row["id"] == world.ids["approver"])
    assert (approver["role"], approver["approver"]) == ("viewer", True)


@ROLES
async def test_a_changed_role_a_paused_member_and_a_policy_show_at_once_and_changes_are_audited(world: World) -> None:
    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["admin"], "member", None)
    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["approver"], None, False)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.team_member set enabled = false where id = %s", (world.ids["robot"],))
    now_ = await holders(world)
    assert (now_["connection_manager"], now_["capability_approver"], now_["acting_member"]) == (
        {"owner"},
        {"owner"},
        set(),
    )
    assert len(await world.events("workspace.member.changed")) == 2
    text = '@id("none") @reason("Nobody connects.") forbid(principal, action == Worka::Action::"connection.create", resource);'
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", text, "")
    assert (await holders(world))["connection_manager"] == set(), (
        "a policy that takes the right away takes the role away"
    )


@ROLES
async def test_a_stranger_and_another_tenant_are_told_nothing(db: Database, world: World, tmp_path: Any) -> None:
    (tmp_path / "other").mkdir()
    other = await make(db, tmp_path / "other")
    for who in ("stranger",):
        with pytest.raises(Denied):
            await recorded_roles.show(world.ctx(who), world.workspace_id)
    with pytest.raises(Denied):
        await recorded_roles.show(other.ctx("owner"), world.workspace_id)
    assert (await holders(world, "member"))["owner"] == {"owner"}, "the control"


async def call(
    world: World,
    number: str,
    attachment: str,
    *,
    days: float = 0,
    secret: str = "",
    place: str = "",
    state: str = "succeeded",
) -> str:
    invocation = new_id("inv")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest, pack,"
            " tool, side_effect, initiator_kind, initiator_id, decision_id, idempotency_key, args_digest, state, reason,"
            " trace_id, started_at) values (%s, %s, %s, %s, %s, 'd', 'acme.notes', %s, 'write', 'person', %s, 'dec', %s,"
            " 'd', %s, 'tool_answered', 't', %s)",
            (
                world.tenant_id, invocation, place or world.workspace_id, attachment, number, TOOL, world.ids["member"],
                invocation, state, now() - timedelta(days=days),
            ),
        )  # fmt: skip
        if secret:
            await conn.execute(
                "insert into worka.lease (tenant_id, id, workspace_id, secret_id, secret_version, grant_id, attachment_id,"
                " invocation_id, endpoint, trace_id, expires_at) values (%s, %s, %s, %s, 1, 'g', %s, %s, 'x:443', 't',"
                " now())",
                (world.tenant_id, new_id("lease"), world.workspace_id, secret, attachment, invocation),
            )
    return invocation


async def secret(world: World) -> str:
    number = new_id("sec")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.secret (tenant_id, id, workspace_id, name, purpose, kind, state, reason, created_by)"
            " values (%s, %s, %s, 'token', 'p', 'api_token', 'active', 'secret_in_service', 'test')",
            (world.tenant_id, number, world.workspace_id),
        )
    return number


@BEFORE
@COUNTER
async def test_before_a_release_is_taken_away_it_is_shown_what_stops_and_which_calls_it_would_have_refused(
    world: World,
) -> None:
    number, other = await release(world), await release(world, "rel_00000000000000000000000002")
    attachment = await attach(world, number, world.workspace_id)
    recent = [await call(world, number, attachment, days=age) for age in (6.9, 1, 0)]
    await call(world, number, attachment, days=8)
    await call(world, other, attachment)
    found = await withdrawals.preview(world.ctx("owner"), "release", number, 7)
    assert [row["id"] for row in found["attachments"]] == [attachment]
    assert found["recorded"]["total"] == 3
    assert {row["id"] for row in found["recorded"]["calls"]} == set(recent)
    assert "1 attachments" in found["sentence"]
    assert "would have refused 3" in found["sentence"]
    assert (await withdrawals.preview(world.ctx("owner"), "release", number, 30))["recorded"]["total"] == 4
    killed = await service.preview_kill(world.ctx("owner"), world.workspace_id, "release", number, True)
    assert killed["recorded"]["total"] == 3
    assert [row["state"] for row in await world.rows("release", "id = %s", number)] == ["released"], "nothing is done"


@BEFORE
@COUNTER
async def test_before_a_secret_is_revoked_the_calls_that_used_it_are_shown(world: World) -> None:
    number = await release(world)
    attachment, key = await attach(world, number, world.workspace_id), await secret(world)
    used = await call(world, number, attachment, secret=key)
    await call(world, number, attachment)
    found = await withdrawals.preview(world.ctx("owner"), "secret", key, 7)
    assert [row["id"] for row in found["recorded"]["calls"]] == [used]
    assert found["state"] == "active"


@BEFORE
async def test_of_workspaces_that_the_reader_does_not_see_only_numbers_are_shown(world: World) -> None:
    elsewhere = await another_workspace(world)
    number = await release(world)
    mine, other = await attach(world, number, world.workspace_id), await attach(world, number, elsewhere)
    running = [
        await call(world, number, mine, state="running"),
        await call(world, number, other, state="running", place=elsewhere),
    ]
    for who, places, attachments, calls, unseen in (
        ("owner", {world.workspace_id, elsewhere}, {mine, other}, set(running), 0),
        ("admin", {world.workspace_id}, {mine}, set(running[:1]), 1),
    ):
        found = await withdrawals.preview(world.ctx(who), "release", number, 7)
        assert (set(found["workspaces"]), {row["id"] for row in found["attachments"]}) == (places, attachments)
        assert (set(found["calls"]), {row["id"] for row in found["recorded"]["calls"]}) == (calls, calls)
        names = ("workspaces", "attachments", "calls", "recorded")
        assert found["elsewhere"] == {"tasks": 0, **dict.fromkeys(names, unseen)}, who
        assert "touches 2 workspaces, 2 attachments" in found["sentence"], "how much it is, everybody is told"
        assert found["recorded"]["total"] == 2
        assert (elsewhere in str(found), other in str(found)) == (not unseen, not unseen)


@BEFORE
async def test_who_could_not_take_it_away_is_not_shown_what_that_would_touch(
    db: Database, world: World, tmp_path: Any
) -> None:
    number, key = await release(world), await secret(world)
    for who in ("member", "viewer", "approver"):
        with pytest.raises(Denied, match="is not shown"):
            await withdrawals.preview(world.ctx(who), "release", number, 7)
        with pytest.raises(Denied, match="is not shown"):
            await withdrawals.preview(world.ctx(who), "secret", key, 7)
    (tmp_path / "other").mkdir()
    other = await make(db, tmp_path / "other")
    for ctx, kind, subject in (
        (other.ctx("owner"), "release", number),
        (world.ctx("stranger"), "release", number),
        (world.ctx("owner"), "release", "rel_00000000000000000000000009"),
        (other.ctx("owner"), "secret", key),
    ):
        with pytest.raises(ResourceNotFound, match="There is no"):
            await withdrawals.preview(ctx, kind, subject, 7)  # type: ignore[arg-type]
    assert (await withdrawals.preview(world.ctx("admin"), "release", number, 7))["recorded"]["total"] == 0
