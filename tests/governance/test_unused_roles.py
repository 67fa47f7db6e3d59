"""Roles that were not needed: the narrowest under which all that somebody did would have been answered as it was, ready to apply."""

from __future__ import annotations

from typing import Any

import pytest

import worka.api.app  # noqa: F401 - registers all that can be asked about
from tests.governance.packs import attached
from tests.workspaces.world import TOOL, World
from worka.governance import questions, service, unused_roles
from worka.kernel.context import Resource
from worka.kernel.errors import Denied
from worka.workspaces import service as members

WIDE = """@id("members-do-not-start") @reason("Members start no tasks here.")
forbid(principal, action == Worka::Action::"task.create", resource)
when { principal is Worka::Person && principal.roles.contains("member") };"""


async def act(world: World, who: str, action: str, kind: str = "workspace", behind: str | None = None) -> None:
    """Something that is tried and allowed, or asked about."""
    ctx = world.ctx(who, behind=behind) if behind else world.ctx(who)
    facts = {"side_effect": "read_only", "tool": TOOL, "pack": "acme.notes"} if kind == "tool" else {}
    thing = Resource(kind, TOOL if kind == "tool" else world.workspace_id, world.workspace_id, facts)
    async with ctx.transaction():
        assert (await ctx.decide(action, thing, **facts)).verdict != "deny", action


async def told(world: World, days: int = 30) -> dict[str, dict[str, Any]]:
    """The report by name."""
    found = await unused_roles.report(world.ctx("owner"), world.workspace_id, days)
    assert found["complete"]
    return {row["name"]: row for row in found["items"]}


@pytest.mark.capability("BEY-4")
async def test_who_holds_more_than_they_needed_is_told_with_the_change_that_narrows_it(world: World) -> None:
    await attached(world, "acme.notes", {"publish_notes": "read_only"})
    await act(world, "admin", "task.create", "workflow")
    await act(world, "robot", "tool.invoke", "tool", behind="member")
    found = await told(world)
    # The member did nothing alone, but what is done for them rests on their role too; the viewer and the last owner stay.
    assert set(found) == {"admin", "approver"}
    admin, approver = found["admin"], found["approver"]
    assert (admin["role"], admin["to_role"], admin["whole"]) == ("admin", "member", False)
    assert {"administer", "manage_connections", "audit"} <= set(admin["unused"])
    assert admin["did"] == ["start a task from a workflow definition"]
    assert any("by which rules" in look for look in admin["looks"]), "what leaves no record is named"
    assert "less than 30 days" in admin["words"]
    assert (approver["to_role"], approver["to_approver"], approver["unused"]) == ("viewer", False, ["approve"])
    assert approver["command"] == f"worka member change {world.ids['approver']} --no-approver"

    await members.change_member(
        world.ctx("owner"), world.workspace_id, admin["principal_id"], admin["to_role"], admin["to_approver"]
    )
    assert set(await told(world)) == {"approver"}
    # The controls: what they did they still may, and what is asked, denied or done by others is no use of a role.
    await act(world, "admin", "task.create", "workflow")
    with pytest.raises(Denied):
        await world.ctx("approver").require(
            "member.invite", Resource("workspace", world.workspace_id, world.workspace_id)
        )
    asked = {"behind": None, "facts": []}
    await questions.why(world.ctx("owner"), world.workspace_id, world.ids["approver"], "approval.decide", "*", **asked)
    assert set(await told(world)) == {"approver"}
    await act(world, "approver", "approval.decide", "approval")
    assert await told(world) == {}


@pytest.mark.capability("BEY-4")
async def test_a_role_that_policy_makes_needed_and_what_cannot_be_asked_again_is_not_called_unused(
    world: World,
) -> None:
    await act(world, "admin", "task.create", "workflow")
    assert (await told(world))["admin"]["to_role"] == "member"
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", WIDE, "")
    assert "admin" not in await told(world), "under the narrower roles policy, or the matrix, refuses it"
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", "", "")
    assert (await told(world))["admin"]["to_role"] == "member", "the control"
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            'insert into worka.decision select (jsonb_populate_record(d, \'{"id": "dec_0", "context": {}}\')).*'
            " from worka.decision d where principal_id = %s limit 1",
            (world.ids["admin"],),
        )
    assert "admin" not in await told(world), "nobody knows what that one rested on"


@pytest.mark.capability("BEY-4")
async def test_what_was_done_before_the_window_counts_only_in_a_longer_one(world: World) -> None:
    await world.person("deputy")
    await world.join("deputy", "owner")
    assert {"owner", "deputy", "member"} <= set(await told(world)), "nobody did anything yet"
    for who in ("owner", "deputy"):
        await act(world, who, "policy.save_here")
    await act(world, "admin", "task.create", "workflow")
    async with world.db.transaction(world.tenant_id) as conn:
        # As if the member had done that long ago.
        await conn.execute(
            "insert into worka.decision select (jsonb_populate_record(d, replace(to_jsonb(d)::text, %s, %s)::jsonb ||"
            " jsonb_build_object('id', 'dec_0', 'at', now() - interval '40 days'))).* from worka.decision d"
            " where action = 'task.create' limit 1",
            (world.ids["admin"], world.ids["member"]),
        )
    assert {name: row["to_role"] for name, row in (await told(world, 30)).items() if name != "approver"} == {
        "admin": "member", "member": "viewer", "robot": "viewer",
    }  # fmt: skip
    assert "member" not in await told(world, 60)


@pytest.mark.capability("AUT-12", part="about others only who reads evidence may ask")
async def test_what_others_needed_is_told_to_readers_of_evidence_alone(world: World) -> None:
    for who in ("member", "viewer", "approver"):
        with pytest.raises(Denied):
            await unused_roles.report(world.ctx(who), world.workspace_id)
    assert (await unused_roles.report(world.ctx("admin"), world.workspace_id))["days"] == 30
