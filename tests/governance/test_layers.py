"""The layers of policy: floor, deployment, tenant, workspace. Each tightens, and a decision names them all."""

from __future__ import annotations

import pytest

from tests.workspaces.world import TOOL, World, make
from worka.authorization import layers
from worka.authorization.layers import Layers
from worka.governance import service
from worka.governance.errors import BadPolicy, PolicyLocksOut
from worka.kernel.context import Resource
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.workspaces import store as workspaces

LAYERS = "floor, deployment, tenant and workspace"


def deny(name: str, action: str = "tool.invoke", when: str = "") -> str:
    return (
        f'@id("{name}") @verdict("deny") @reason("{name} says no")'
        f' forbid(principal, action == Worka::Action::"{action}", resource){when};'
    )


def ask(name: str, rule: str) -> str:
    return (
        f'@id("{name}") @verdict("ask") @rule("{rule}") @reason("{name} asks")'
        ' forbid(principal, action == Worka::Action::"tool.invoke", resource);'
    )


def call(world: World) -> Resource:
    return Resource("tool", TOOL, world.workspace_id, {"side_effect": "read_only"})


async def another_workspace(world: World) -> str:
    """A second workspace of the tenant, with the same owner and member."""
    place = new_id("ws")
    async with world.db.transaction(world.tenant_id) as conn:
        row = {"tenant_id": world.tenant_id, "id": place, "slug": "second", "name": "Second", "created_by": "test"}
        await workspaces.create_workspace(conn, row)
        for who, role in (("owner", "owner"), ("member", "member")):
            member = {"principal_kind": "person", "principal_id": world.ids[who], "role": role, "approver": False}
            await workspaces.add_member(
                conn, {"tenant_id": world.tenant_id, "workspace_id": place, "created_by": "test", **member}
            )
    return place


@pytest.mark.capability("AUT-10", part="the layers of policy")
async def test_a_workspaces_policy_joins_the_tenants_and_holds_there_alone(world: World) -> None:
    elsewhere = await another_workspace(world)
    there = Resource("tool", TOOL, elsewhere, {"side_effect": "read_only"})
    await service.save_policy(
        world.ctx("owner"), world.workspace_id, "governance", ask("here", "approve:2"), "", scope="workspace"
    )
    asked = await world.ctx("member").require("tool.invoke", call(world))
    assert (asked.verdict, asked.approval_rules) == ("ask", ("approve:2",))
    assert asked.rules == ("governance/workspace.1/here",)
    assert asked.policy_version == "access floor.2, governance floor.4+w1"
    assert (await world.ctx("member").require("tool.invoke", there)).verdict == "allow"

    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", ask("all", "approve:1"), "")
    both = await world.ctx("member").require("tool.invoke", call(world))
    assert both.rules == ("governance/tenant.1/all", "governance/workspace.1/here")
    assert both.approval_rules == ("approve:2",), "of two quorums the higher"
    alone = await world.ctx("member").require("tool.invoke", there)
    assert (alone.rules, alone.policy_version) == (
        ("governance/tenant.1/all",),
        "access floor.2, governance floor.4+1",
    )


@pytest.mark.capability("AUT-10", part="the layers of policy")
@pytest.mark.parametrize("scope", ["tenant", "workspace"])
async def test_no_layer_loosens_the_ones_above_it(world: World, scope: str) -> None:
    for text in (
        "permit(principal, action, resource);",
        f'{deny("a")} permit(principal, action == Worka::Action::"tool.invoke", resource);',
    ):
        with pytest.raises(BadPolicy, match="only `forbid`"):
            await service.save_policy(world.ctx("owner"), world.workspace_id, "access", text, "", scope=scope)
    external = Resource("tool", TOOL, world.workspace_id, {"side_effect": "external_side_effect"})
    await service.save_policy(
        world.ctx("owner"), world.workspace_id, "governance", deny("other", "token.create"), "", scope
    )
    assert (await world.ctx("member").require("tool.invoke", external)).rules == (
        "governance/floor/external-side-effect",
    )


@pytest.mark.capability("AUT-10", part="the layers of policy")
async def test_an_access_policy_of_a_workspace_takes_a_right_away_there(world: World) -> None:
    elsewhere = await another_workspace(world)
    text = '@id("none") @reason("closed") forbid(principal, action == Worka::Action::"task.create", resource);'
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", text, "", scope="workspace")
    with pytest.raises(Denied, match="closed") as refused:
        await world.ctx("member").require("task.create", Resource("workflow", "w", world.workspace_id))
    decision = await service.decision(world.ctx("owner"), refused.value.extra["decision_id"])
    assert decision["rules"] == ["access/workspace.1/none"]
    assert decision["policy"][0]["source"] == "access policy of the workspace, version 1"
    assert "closed" in decision["policy"][0]["text"]
    assert decision["replay"]["same"], "a recorded decision of every layer is evaluated again"
    await world.ctx("member").require("task.create", Resource("workflow", "w", elsewhere))


@pytest.mark.capability("AUT-10", part="the layers of policy")
async def test_the_deployments_policy_binds_every_tenant_and_only_an_operator_saves_it(
    world: World, deployment: None
) -> None:
    other = await make(world.db, world.settings.home)
    for who in ("owner", "admin", "member"):
        with pytest.raises(Denied):
            await service.save_deployment_policy(world.ctx(who), "governance", deny("all"), "")
    assert (await other.ctx("member").require("tool.invoke", call(other))).verdict == "allow"
    saved = await service.save_deployment_policy(world.ctx("operator"), "governance", deny("all"), "no tools today")
    assert (saved["version"], saved["scope"]) == (1, "*")
    for one in (world, other):
        with pytest.raises(Denied, match="all says no") as refused:
            await one.ctx("member").require("tool.invoke", call(one))
        decision = await service.decision(one.ctx("owner"), refused.value.extra["decision_id"])
        assert (decision["rules"], decision["governance_version"]) == (["governance/deployment.1/all"], "floor.4+d1")
        assert decision["replay"]["same"]
    await service.save_deployment_policy(world.ctx("operator"), "governance", "", "again")
    assert (await other.ctx("member").require("tool.invoke", call(other))).verdict == "allow"


async def test_a_deployments_text_that_shuts_everybody_out_is_refused(world: World, deployment: None) -> None:
    operator = world.ctx("operator")
    for action in ("policy.deploy", "policy.save", "policy.view", "approval.decide"):
        text = f'@id("x") forbid(principal, action == Worka::Action::"{action}", resource);'
        with pytest.raises(PolicyLocksOut) as refused:
            await service.save_deployment_policy(operator, "access", text, "")
        assert refused.value.extra["errors"][0]["statement"] == 1, action
    text = '@id("x") forbid(principal, action == Worka::Action::"token.create", resource);'
    assert (await service.save_deployment_policy(operator, "access", text, ""))["version"] == 1


def test_layers_are_named_and_read_strictly() -> None:
    full = Layers(2, 3, 5, "ws_x")
    assert full.name("floor.1") == "floor.1+d2+3+w5"
    assert layers.parse("floor.1+d2+3+w5", "ws_x") == (1, full)
    assert layers.parse("floor.1+3", "ws_x") == (1, Layers(0, 3))
    assert layers.parse("floor.2", None) == (2, Layers())
    for wrong in ("", "1+2", "floor.x", "floor.1+", "floor.1+w2+3", "floor.1+d", "floor.1+3+d2"):
        with pytest.raises(ValueError):
            layers.parse(wrong, None)


@pytest.mark.capability("AUT-10", part="a version is read at each decision")
async def test_a_new_version_of_any_layer_holds_for_the_very_next_decision(world: World) -> None:
    for scope in ("tenant", "workspace"):
        for number in (1, 2):
            await service.save_policy(
                world.ctx("owner"), world.workspace_id, "governance", deny(f"{scope}{number}"), "", scope=scope
            )
            with pytest.raises(Denied, match=f"{scope}{number} says no"):
                await world.ctx("member").require("tool.invoke", call(world))
        await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", "", "", scope=scope)
        assert (await world.ctx("member").require("tool.invoke", call(world))).verdict == "allow"
