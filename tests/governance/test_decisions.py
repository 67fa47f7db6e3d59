"""Who may do what, asked through `ctx.require` on a real database: access, governance, and the record they leave."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

import pytest

from tests.governance.packs import attached
from tests.workspaces.world import TOOL, World
from worka import governance
from worka.authorization import matrix
from worka.governance import service
from worka.kernel import actions
from worka.kernel.context import Principal, Resource
from worka.kernel.errors import Denied

ROLES = ("owner", "admin", "member", "viewer")


def tool(world: World, name: str = TOOL, side_effect: str = "read_only") -> Resource:
    return Resource("tool", name, world.workspace_id, {"side_effect": side_effect})


def place(world: World, action: actions.Action) -> Resource:
    """A resource of the action's own type, in the workspace."""
    name = world.workspace_id if action.resource_type == "workspace" else "thing"
    return Resource(action.resource_type, name, world.workspace_id)


# Governance stands above these and asks or denies; access' own answer is what the matrix is about.
GOVERNED = {"pack.attach", "tool.invoke", "connection.create"}


@pytest.mark.capability("IDN-7", "IDN-8", "IDN-14", part="in the use cases of every registered action")
@pytest.mark.parametrize("role", ROLES)
async def test_every_action_is_allowed_exactly_to_the_roles_that_the_matrix_names(world: World, role: str) -> None:
    held = set(matrix.table()["roles"][role])
    ctx = world.ctx(role)
    wrong = []
    for action in actions.all_actions():
        decision = await ctx.decide(action.name, place(world, action))
        denied = decision.verdict == "deny" and decision.layer == "authorization"
        if denied == (action.permission in held):
            wrong.append((action.name, action.permission, decision.verdict, decision.reasons))
    assert wrong == []


@pytest.mark.capability("IDN-9")
async def test_a_viewer_sees_everything_and_every_mutation_is_refused(world: World) -> None:
    seen, refused = 0, 0
    for action in actions.all_actions():
        decision = await world.ctx("viewer").decide(action.name, place(world, action))
        if action.permission == "view":
            assert decision.verdict == "allow", action.name
            seen += 1
        else:
            assert decision.verdict == "deny", action.name
            refused += 1
    assert seen > 5
    assert refused > 10


@pytest.mark.capability("IDN-10")
async def test_a_member_uses_the_workspace_and_manages_nothing(world: World) -> None:
    workspace = Resource("workspace", world.workspace_id, world.workspace_id)
    task = Resource("workflow", "notes", world.workspace_id)
    assert (await world.ctx("member").require("task.create", task)).verdict == "allow"
    assert (await world.ctx("member").require("tool.invoke", tool(world))).verdict == "allow"
    for action in ("member.invite", "member.change", "member.remove", "team_member.create", "token.issue"):
        with pytest.raises(Denied):
            await world.ctx("member").require(action, workspace)
        assert (await world.ctx("admin").require(action, workspace)).verdict == "allow"


@pytest.mark.capability("IDN-11", part="members and AI team members")
@pytest.mark.capability("IDN-12", part="membership of owners, and policy")
async def test_an_admin_manages_members_but_owners_and_policy_are_the_owners(world: World) -> None:
    workspace = Resource("workspace", world.workspace_id, world.workspace_id)
    assert (await world.ctx("admin").require("member.invite", workspace, role="member")).verdict == "allow"
    with pytest.raises(Denied, match="owner"):
        await world.ctx("admin").require("member.invite", workspace, role="owner")
    assert (await world.ctx("owner").require("member.invite", workspace, role="owner")).verdict == "allow"
    with pytest.raises(Denied):
        await world.ctx("admin").require("policy.save", Resource("policy", "access", None))
    assert (await world.ctx("owner").require("policy.save", Resource("policy", "access", None))).verdict == "allow"


@pytest.mark.capability("AUT-1")
async def test_one_check_answers_for_people_team_members_packs_and_the_platform(world: World) -> None:
    allowed = await world.ctx("robot", behind="member").require("tool.invoke", tool(world))
    assert allowed.verdict == "allow"
    for kind in ("attachment", "platform", "device", "service_account"):
        ctx = world.context(
            Principal(kind, "att_x", "x"),
            tenant_id=world.tenant_id,
            workspace_id=world.workspace_id,  # type: ignore[arg-type]
        )
        with pytest.raises(Denied):
            await ctx.require("tool.invoke", tool(world))
        with pytest.raises(Denied):
            await ctx.require("task.view", Resource("task", "t", world.workspace_id))


@pytest.mark.capability("IDN-17", part="a pack's principal, even with a membership")
async def test_a_pack_gets_nothing_even_if_somebody_made_it_an_owner(world: World) -> None:
    world.ids["pack"] = await attached(world, "acme.notes", {"read": "read_only"})
    await world.join("pack", "owner", True, kind="attachment")
    ctx = world.context(Principal("attachment", world.ids["pack"], "pack"), tenant_id=world.tenant_id)
    for action in actions.all_actions():
        assert (await ctx.decide(action.name, place(world, action))).verdict == "deny", action.name


@pytest.mark.capability("AUT-5")
async def test_a_call_outside_a_team_members_tool_list_is_refused(world: World) -> None:
    ctx = world.ctx("robot", behind="owner")
    with pytest.raises(Denied, match="not in the AI team member's list") as refused:
        await ctx.require("tool.invoke", tool(world, "acme.notes.delete_everything"))
    assert refused.value.extra["decision_id"].startswith("dec_")
    # The same tool is open to the person behind it, and the listed one to the team member.
    assert (
        await world.ctx("owner").require("tool.invoke", tool(world, "acme.notes.delete_everything"))
    ).verdict == "allow"
    assert (await ctx.require("tool.invoke", tool(world))).verdict == "allow"


@pytest.mark.capability("AUT-5")
async def test_a_tool_taken_from_the_list_is_refused_at_the_very_next_call(world: World) -> None:
    ctx = world.ctx("robot", behind="member")
    assert (await ctx.require("tool.invoke", tool(world))).verdict == "allow"
    await identity_change(world, tools=[])
    with pytest.raises(Denied):
        await ctx.require("tool.invoke", tool(world))


async def identity_change(world: World, **changes: Any) -> None:
    from worka.identity import service as identity

    await identity.change_team_member(world.ctx("owner"), world.workspace_id, world.ids["robot"], changes)


@pytest.mark.capability("IDN-21", part="rights are the intersection of who acts and who is behind it")
async def test_a_team_member_can_do_no_more_than_the_person_behind_it(world: World) -> None:
    with pytest.raises(Denied, match="person this is done for"):
        await world.ctx("robot", behind="viewer").require("tool.invoke", tool(world))
    with pytest.raises(Denied, match="person this is done for"):
        await world.ctx("robot", behind="stranger").require("tool.invoke", tool(world))
    assert (await world.ctx("robot", behind="member").require("tool.invoke", tool(world))).verdict == "allow"
    # Nor what it may not do itself, though the person behind it may.
    with pytest.raises(Denied):
        await world.ctx("robot", behind="owner").require(
            "member.invite", Resource("workspace", world.workspace_id, world.workspace_id)
        )


@pytest.mark.capability("IDN-21", part="a disabled team member")
async def test_a_paused_team_member_does_nothing(world: World) -> None:
    await identity_change(world, enabled=False)
    with pytest.raises(Denied, match="disabled"):
        await world.ctx("robot", behind="member").require("tool.invoke", tool(world))
    await identity_change(world, enabled=True)
    assert (await world.ctx("robot", behind="member").require("tool.invoke", tool(world))).verdict == "allow"


@pytest.mark.capability("DEP-10", part="rights in one tenant say nothing in another")
async def test_an_owner_is_nobody_in_another_tenant(world: World, other: World) -> None:
    foreign = Resource("workspace", other.workspace_id, other.workspace_id)
    with pytest.raises(Denied):
        await world.ctx("owner").require("workspace.view", foreign)
    across = replace(world.ctx("owner"), tenant_id=other.tenant_id, workspace_id=other.workspace_id)
    with pytest.raises(Denied):
        await across.require("workspace.view", foreign)
    assert (await other.ctx("owner").require("workspace.view", foreign)).verdict == "allow"


@pytest.fixture
async def other(world: World) -> World:
    from tests.workspaces.world import make

    return await make(world.db, world.settings.home)


@pytest.mark.capability("GOV-5", part="the gate")
async def test_a_pack_with_reach_asks_and_a_local_read_only_one_does_not(world: World) -> None:
    pack = Resource("pack", "acme.notes", world.workspace_id)
    harmless = {"network": False, "writes": False, "host_services": False}
    assert (await world.ctx("member").require("pack.attach", pack, **harmless)).verdict == "allow"
    for risk in harmless:
        decision = await world.ctx("member").require("pack.attach", pack, **{**harmless, risk: True})
        assert (decision.verdict, decision.approval_rules) == ("ask", ("approve:1",)), risk
        without = {name: value for name, value in harmless.items() if name != risk}
        assert (await world.ctx("member").require("pack.attach", pack, **without)).verdict == "ask", "a missing fact"


@pytest.mark.capability("GOV-7", part="by side-effect class")
async def test_side_effects_decide_whether_a_call_goes_asks_or_is_denied(world: World) -> None:
    found = {}
    for kind in ("read_only", "write", "external_side_effect", "destructive", "made up"):
        decision = await world.ctx("member").decide("tool.invoke", tool(world, side_effect=kind))
        found[kind] = (decision.verdict, decision.layer)
    undeclared = await world.ctx("member").decide("tool.invoke", Resource("tool", TOOL, world.workspace_id))
    assert found == {
        "read_only": ("allow", "authorization"),
        "write": ("allow", "authorization"),
        "external_side_effect": ("ask", "governance"),
        "destructive": ("deny", "governance"),
        "made up": ("deny", "governance"),
    }
    assert undeclared.verdict == "deny"


@pytest.mark.capability("AUT-4", part="the decision")
async def test_mutating_answers_denials_and_asks_leave_a_row_and_reads_do_not(world: World) -> None:
    view = Resource("task", "t", world.workspace_id)
    read = await world.ctx("member").require("task.view", view)
    wrote = await world.ctx("member").require("tool.invoke", tool(world))
    asked = await world.ctx("member").require("tool.invoke", tool(world, side_effect="external_side_effect"))
    with pytest.raises(Denied) as refused:
        await world.ctx("stranger").require("task.view", view)
    kept = {row["id"]: row for row in await world.rows("decision")}
    assert read.id not in kept
    assert {wrote.id, asked.id} <= set(kept)
    assert {kept[wrote.id]["verdict"], kept[asked.id]["verdict"]} == {"allow", "ask"}
    denial = kept[refused.value.extra["decision_id"]]
    assert (denial["verdict"], denial["layer"]) == ("deny", "authorization")
    assert kept[wrote.id]["trace_id"]
    assert kept[wrote.id]["access_version"] == "floor.2"
    (event,) = await world.events("access.denied")
    assert event["cause"] == {"kind": "decision", "id": denial["id"]}


@pytest.mark.capability("AUT-4", part="a denial")
async def test_a_denial_inside_a_transaction_is_kept_though_that_is_rolled_back(world: World) -> None:
    ctx = world.ctx("viewer")
    with pytest.raises(Denied) as refused:
        async with ctx.transaction():
            await ctx.require("tool.invoke", tool(world))
    assert [row["id"] for row in await world.rows("decision")] == [refused.value.extra["decision_id"]]
    assert len(await world.events("access.denied")) == 1


async def test_many_denials_inside_transactions_at_once_do_not_starve_each_other(world: World) -> None:
    async def once() -> str:
        ctx = world.ctx("viewer")
        with pytest.raises(Denied) as refused:
            async with ctx.transaction():
                await ctx.require("tool.invoke", tool(world))
        return str(refused.value.extra["decision_id"])

    assert len(set(await asyncio.wait_for(asyncio.gather(*(once() for _ in range(30))), 8))) == 30


SECOND = """
// Publishing waits for two people.
@id("two-for-publishing") @verdict("ask") @rule("approve:2") @reason("Two people look at what goes out.")
forbid(principal, action == Worka::Action::"tool.invoke", resource)
when { context has side_effect && context.side_effect == "external_side_effect" };

@verdict("deny") @reason("No writing on this tenant.")
forbid(principal, action == Worka::Action::"tool.invoke", resource)
when { context has side_effect && context.side_effect == "write" };
"""


@pytest.mark.capability("AUT-10", "AUT-11", part="decisions of the two sets")
async def test_a_second_version_changes_the_verdict_and_the_old_decision_explains_with_the_first(world: World) -> None:
    first = await world.ctx("member").require("tool.invoke", tool(world, side_effect="write"))
    saved = await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", SECOND, "stricter")
    assert saved["version"] == 1
    with pytest.raises(Denied, match="No writing") as refused:
        await world.ctx("member").require("tool.invoke", tool(world, side_effect="write"))
    asked = await world.ctx("member").require("tool.invoke", tool(world, side_effect="external_side_effect"))
    assert asked.approval_rules == ("approve:2",)
    assert asked.rules == ("governance/floor/external-side-effect", "governance/tenant.1/two-for-publishing")

    old = await service.decision(world.ctx("owner"), first.id)
    assert (old["verdict"], old["governance_version"], old["replay"]["same"]) == ("allow", "floor.4", True)
    new = await service.decision(world.ctx("owner"), refused.value.extra["decision_id"])
    assert (new["verdict"], new["governance_version"], new["replay"]["same"]) == ("deny", "floor.4+1", True)
    assert "No writing on this tenant" in new["policy"][0]["text"]

    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", "", "back to the floor")
    assert (await world.ctx("member").require("tool.invoke", tool(world, side_effect="write"))).verdict == "allow"
    again = await service.decision(world.ctx("owner"), refused.value.extra["decision_id"])
    assert (again["verdict"], again["replay"]["same"], again["policy"]) == ("deny", True, new["policy"])


@pytest.mark.capability("AUT-10", part="in another process")
async def test_a_recorded_decision_evaluates_the_same_in_another_process(world: World, cluster: Any) -> None:
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", SECOND, "")
    ids = [
        (await world.ctx("member").decide("tool.invoke", tool(world, side_effect=kind))).id
        for kind in ("read_only", "write", "external_side_effect", "destructive")
    ]
    program = """
import asyncio, json, sys
import worka.packs.actions, worka.workflows.actions
from worka.governance import service, store
from worka.kernel.db import Database
async def main(dsn, tenant, ids):
    db = Database(dsn, "replay"); await db.open()
    async with db.transaction(tenant) as conn:
        out = [await service.replay(conn, await store.decision(conn, one)) for one in ids]
    await db.close(); print(json.dumps(out))
asyncio.run(main(*json.loads(sys.stdin.read())))
"""
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await other.communicate(json.dumps([cluster.urls.app, world.tenant_id, ids]).encode())
    answers = json.loads(out)
    assert [answer["same"] for answer in answers] == [True] * 4
    assert [answer["verdict"] for answer in answers] == ["allow", "deny", "ask", "deny"]


@pytest.mark.capability("AUT-11", part="the missing fact is named")
async def test_what_cannot_be_reconstructed_says_what_is_missing(world: World) -> None:
    decision = await world.ctx("member").require("tool.invoke", tool(world))
    (row,) = [row for row in await world.rows("decision") if row["id"] == decision.id]
    async with world.db.transaction(world.tenant_id) as conn:
        for broken, missing in (
            ({"access_version": "floor.77"}, "access floor.77"),
            ({"governance_version": "floor.9"}, "governance floor.9"),
            ({"governance_version": "floor.1+4"}, "governance policy version 4"),
            ({"action": "tool.teleport"}, "tool.teleport"),
            ({"context": {"attrs": {}, "facts": {}}}, "actors"),
        ):
            answer = await service.replay(conn, {**row, **broken})
            assert missing in answer["could_not_reconstruct"]
        assert (await service.replay(conn, row))["same"] is True


async def test_a_decision_has_two_readers_and_does_not_exist_for_others(world: World) -> None:
    with pytest.raises(Denied) as refused:
        await world.ctx("viewer").require("tool.invoke", tool(world))
    decision_id = refused.value.extra["decision_id"]
    mine = await service.decision(world.ctx("viewer"), decision_id)
    assert mine["reader"] == "concerned"
    assert mine["remedy"]
    assert "inputs" not in mine
    assert "rules" not in mine
    evidence = await service.decision(world.ctx("admin"), decision_id)
    assert evidence["reader"] == "evidence"
    assert evidence["inputs"]["actors"][0]["roles"] == ["viewer"]
    for stranger in ("member", "stranger"):
        with pytest.raises(governance.service.DecisionNotFound):
            await service.decision(world.ctx(stranger), decision_id)
    told = await governance.explain.explain(world.ctx("viewer"), decision_id)
    assert told.reason == "denied_by_access"
    assert told.incident_class == "access or authorization"


async def test_what_a_decision_rests_on_holds_no_secret(world: World) -> None:
    resource = Resource("tool", TOOL, world.workspace_id, {"side_effect": "read_only", "name": TOOL})
    decision = await world.ctx("member").require("tool.invoke", resource, destination="https://x/?token=abcdefghijkl")
    (row,) = [row for row in await world.rows("decision") if row["id"] == decision.id]
    assert "abcdefghijkl" not in json.dumps(row["context"])


@pytest.mark.capability("IDN-13", part="through the API")
async def test_anyone_can_ask_what_they_may_do(world: World) -> None:
    mine = await service.access(world.ctx("approver"), world.workspace_id)
    assert (mine["role"], mine["approver"]) == ("viewer", True)
    assert mine["permissions"] == {
        "view": True,
        "change": False,
        "approve": True,
        "manage_connections": False,
        "publish_shared_views": False,
        "manage_team_members": False,
    }
    assert mine["actions"]["approval.decide"] is True
    assert mine["actions"]["tool.invoke"] is False
    owner = await service.access(world.ctx("owner"), world.workspace_id)
    assert all(owner["permissions"].values())
    assert {row["name"]: row["roles"] for row in owner["matrix"]["permissions"]}["own"] == ["owner"]
