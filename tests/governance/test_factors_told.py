"""Who has no second factor is told to who could save the policy that wants one, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.governance.test_layers import another_workspace
from tests.identity.phone import enrolled
from tests.workspaces.world import World
from worka.governance import service
from worka.kernel.context import Principal
from worka.workspaces import accounts

TEXT = '@id("s") @verdict("ask") @rule("approve stepup") forbid(principal, action == Worka::Action::"pack.attach", resource);'
TOLD = pytest.mark.capability("IDN-20", part="who lacks the second factor is told to who governs the place alone")


async def warned(world: World, who: str, scope: str, behind: str | None = None) -> list[str]:
    ctx = world.ctx(who, behind=behind)
    checked = await service.check_policy(ctx, world.workspace_id, "governance", TEXT, scope)
    assert checked["ok"], "the control: everybody who reads policy may have a text checked"
    return list(checked["warnings"])


@TOLD
@pytest.mark.parametrize("scope", ["tenant", "workspace"])
async def test_a_check_names_who_has_no_second_factor_to_owners_alone(world: World, scope: str) -> None:
    await enrolled(world, "ada", "admin")
    (told,) = await warned(world, "owner", scope)
    assert ("1 of 4" in told, "admin" in told, "approver" in told) == (True, True, True), "the control"
    for who in ("admin", "member", "viewer", "approver", "ada"):
        assert await warned(world, who, scope) == [], who
    assert await warned(world, "robot", scope, "owner") == [], "nor to an AI team member that acts for an owner"
    account = await accounts.create(world.ctx("owner"), world.workspace_id, "reader", "reads", "viewer")
    program = world.context(
        Principal("service_account", account["id"], "reader", world.tenant_id, owner_person_id=world.ids["owner"]),
        tenant_id=world.tenant_id,
        workspace_id=world.workspace_id,
        originating_person=world.ids["owner"],
    )
    checked = await service.check_policy(program, world.workspace_id, "governance", TEXT, scope)
    assert (checked["ok"], checked["warnings"]) == (True, []), "nor to a program of an owner's"


@TOLD
async def test_an_owner_of_one_workspace_is_told_for_its_own_policy_and_not_for_the_tenants(world: World) -> None:
    await another_workspace(world)
    await world.person("second")
    await world.join("second", "owner")
    assert await warned(world, "second", "tenant") == []
    (told,) = await warned(world, "second", "workspace")
    assert "0 of 4" in told
    assert await warned(world, "owner", "tenant"), "the control: who owns all of them"


@TOLD
async def test_a_dry_run_warns_whom_a_check_warns(world: World) -> None:
    async def tried(who: str, scope: str) -> list[str]:
        found: dict[str, Any] = await service.dry_run(
            world.ctx(who), world.workspace_id, kind="governance", text=TEXT, scope=scope, role_of=None, role=None,
            since=None, until=None, after=None, limit=10,
        )  # fmt: skip
        return list(found["warnings"])

    assert len(await tried("owner", "workspace")) == 1
    assert len(await tried("owner", "tenant")) == 1
    assert await tried("admin", "workspace") == [], "reads evidence, and may not save"
