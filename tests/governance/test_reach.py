"""Which workspaces attach which packs, and what packs connect to: statements on what a decision is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.governance.test_layers import another_workspace, deny
from tests.workspaces.world import World
from worka.connections import service as connections
from worka.governance import service
from worka.kernel.context import Resource
from worka.kernel.errors import Denied
from worka.packs import rules as packs

HARMLESS = {"network": False, "writes": False, "host_services": False, "risk": "low"}


async def attach(world: World, pack: str, place: str, **facts: Any) -> Any:
    given = {**HARMLESS, "pack": pack, "publisher": pack.partition(".")[0], **facts}
    return await world.ctx("member").decide("pack.attach", Resource("pack", pack, place, given), **given)


@pytest.mark.capability("GOV-6")
async def test_policy_says_which_workspaces_may_attach_which_packs(world: World) -> None:
    elsewhere = await another_workspace(world)
    text = deny(
        "own-packs",
        "pack.attach",
        f' when {{ resource in Worka::Workspace::"{world.workspace_id}" }}'
        ' unless { context has publisher && context.publisher == "acme" }',
    )
    assert (await attach(world, "other.notes", world.workspace_id)).verdict == "allow", "the control"
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    found = {
        (pack, place): (await attach(world, pack, place)).verdict
        for pack in ("acme.notes", "other.notes")
        for place in (world.workspace_id, elsewhere)
    }
    assert found == {
        ("acme.notes", world.workspace_id): "allow",
        ("acme.notes", elsewhere): "allow",
        ("other.notes", world.workspace_id): "deny",
        ("other.notes", elsewhere): "allow",
    }


@pytest.mark.capability("GOV-5", part="by risk tier")
async def test_a_tier_above_low_asks_and_a_tenant_asks_more_people_for_a_high_one(world: World) -> None:
    text = deny("x", "pack.attach", ' unless { context has risk && context.risk != "high" }').replace(
        '@verdict("deny")', '@verdict("ask") @rule("approve:2")'
    )
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    low = await attach(world, "acme.notes", world.workspace_id)
    medium = await attach(world, "acme.notes", world.workspace_id, network=True, risk="medium")
    high = await attach(world, "acme.notes", world.workspace_id, network=True, risk="high")
    assert (low.verdict, medium.approval_rules, high.approval_rules) == ("allow", ("approve:1",), ("approve:2",))
    unsaid = {key: value for key, value in HARMLESS.items() if key != "risk"}
    missing = await world.ctx("member").decide("pack.attach", Resource("pack", "a.b", world.workspace_id), **unsaid)
    assert missing.approval_rules == ("approve:2",), "a missing fact counts as the worst case"


@pytest.mark.capability("GOV-5", part="what makes a tier")
def test_the_tier_comes_from_what_a_release_says_it_needs() -> None:
    def tier(tools: tuple[str, ...] = ("read_only",), **fields: Any) -> str:
        whole = {"outbound_domains": [], "host_services": [], "connections": [], **fields}
        return packs.risk(SimpleNamespace(**whole), [{"side_effect": kind} for kind in tools])  # type: ignore[arg-type]

    assert tier() == "low"
    assert tier(()) == "low"
    assert tier(("read_only", "write")) == "medium"
    assert tier(outbound_domains=["api.test"]) == "medium"
    for high in (
        tier(("external_side_effect",)), tier(("destructive",)), tier(("made up",)), tier(host_services=["worka.db"]),
        tier(connections=[SimpleNamespace(provider="tracker")]), tier(outbound_domains=["*.test"]),
        tier(outbound_domains=[SimpleNamespace(host="*.test")]),
    ):  # fmt: skip
        assert high == "high"


@pytest.mark.capability("GOV-7", part="which outside systems are connected, by provider and host")
async def test_policy_says_which_outside_systems_may_be_connected(world: World) -> None:
    async def connect(host: str) -> str:
        made = await connections.create(
            world.ctx("owner"), world.workspace_id, provider="tracker", name=f"at {host}", host=host, port=443,
            access="read", secret_id=None, metadata={}, why="",
        )  # fmt: skip
        return str(made["state"])

    assert await connect("bad.test") == "awaiting_approval", "the control"
    text = deny(
        "no-bad",
        "connection.create",
        ' when { context has provider && context.provider == "tracker" && context has host && context.host == "bad.test" }',
    )
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    with pytest.raises(Denied, match="no-bad says no"):
        await connect("bad.test")
    assert await connect("good.test") == "awaiting_approval"
