"""The deployment's policy, as its operator reads, checks and tries it: complete numbers, and nothing of a tenant."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.governance.test_dry_run import history
from tests.governance.test_layers import ask, deny
from tests.workspaces.world import World, make
from worka import authorization
from worka.authorization import cedar, floor
from worka.governance import rules, service
from worka.governance.errors import BadPolicy, BadWindow, PolicyNotFound
from worka.governance.service import dry_runs
from worka.kernel import actions
from worka.kernel.errors import Denied
from worka.workspaces import service as workspaces
from worka.workspaces.errors import TenantNotFound

COUNTS = pytest.mark.capability("BEY-2", part="for the deployment's policy, in numbers by tenant and action")
LAYER = pytest.mark.capability(
    "AUT-10", part="the layers of policy: the deployment's, read and checked by its operator"
)


async def tried(world: World, tenant: str, kind: str, text: str, **window: Any) -> dict[str, Any]:
    """Every page, added up."""
    counts: Counter[tuple[str, str, str]] = Counter()
    scanned, cursor, span = 0, None, {"since": "24h", "until": None, **window}
    while True:
        page = await service.dry_run_deployment(world.ctx("operator"), tenant, kind, text, **span, after=cursor)
        counts.update({(item["action"], item["from"], item["to"]): item["count"] for item in page["items"]})
        scanned += page["scanned"]
        span = {"since": page["since"].isoformat(), "until": page["until"].isoformat()}
        cursor = page["next"]
        if cursor is None:
            return {"counts": counts, "scanned": scanned, "page": page}


@COUNTS
@pytest.mark.parametrize("most", [2000, 200], ids=["at once", "page by page"])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("governance", ask("all", "approve:2")),
        ("governance", deny("writes", when=' when { context has side_effect && context.side_effect == "write" }')),
        ("access", 'forbid(principal, action == Worka::Action::"task.create", resource);'),
        ("governance", ""),
    ],
)
async def test_it_counts_exactly_the_decisions_that_would_flip(
    world: World, deployment: None, monkeypatch: pytest.MonkeyPatch, kind: str, text: str, most: int
) -> None:
    monkeypatch.setattr(dry_runs, "MOST_SCANNED", most)
    monkeypatch.setattr(dry_runs, "BATCH", 20)
    text = (
        text.replace("forbid(principal, action ==", '@id("x") forbid(principal, action ==')
        if kind == "access"
        else text
    )
    rows = await history(world)
    joined = {"access": floor.policies(), "governance": rules.floor()}
    joined[kind] = cedar.join(joined[kind], cedar.load(text, f"{kind}/deployment.1")) if text else joined[kind]
    expected: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        asked = service.requests_of(row)
        answer = authorization.rules.decide(asked, actions.get(row["action"]), joined["access"])
        gate = rules.gate(asked[0], joined["governance"]) if answer.allowed else rules.Gate("deny")
        if gate.verdict != row["verdict"] or (
            gate.verdict == "ask" and sorted(gate.approval_rules) != sorted(row["approval_rules"])
        ):
            expected[row["action"], row["verdict"], gate.verdict] += 1
    found = await tried(world, world.tenant_id, kind, text)
    assert (found["counts"], found["scanned"]) == (expected, len(rows))
    assert bool(expected) == bool(text), "each text but the empty one flips some"
    assert await service.list_deployment(world.ctx("operator"), None, 50) == [], "nothing was saved"


@COUNTS
async def test_an_operator_is_told_how_many_and_nothing_of_whose_or_about_what(
    world: World, deployment: None, tmp_path: Any
) -> None:
    (tmp_path / "other").mkdir()
    other = await make(world.db, tmp_path / "other")
    await history(world)
    found = await tried(world, world.tenant_id, "governance", deny("all"))
    assert sum(found["counts"].values()) > 0
    named = str(found["page"])
    told = [*world.ids.values(), world.workspace_id, "acme.notes"]
    assert [word for word in told if word in named] == []
    assert (await tried(world, other.tenant_id, "governance", deny("all")))["scanned"] == 0, "another tenant's record"
    for who in ("owner", "admin", "viewer"):
        with pytest.raises(Denied):
            await service.dry_run_deployment(
                world.ctx(who), world.tenant_id, "governance", deny("all"), "24h", None, None
            )
        with pytest.raises(Denied):
            await workspaces.tenants(world.ctx(who))
    assert {world.tenant_id, other.tenant_id} <= set(await workspaces.tenants(world.ctx("operator")))
    operator = world.ctx("operator")
    with pytest.raises(TenantNotFound):
        await service.dry_run_deployment(operator, "ten_nowhere", "governance", deny("all"), None, None, None)
    with pytest.raises(BadPolicy):
        await service.dry_run_deployment(operator, world.tenant_id, "governance", "forbid(", None, None, None)
    with pytest.raises(BadWindow):
        await service.dry_run_deployment(
            operator, world.tenant_id, "governance", "", "2100-01-01T00:00:00Z", None, None
        )


@LAYER
async def test_its_operator_reads_every_version_and_checks_a_text_before_saving_it(
    world: World, deployment: None
) -> None:
    operator = world.ctx("operator")
    assert (await service.show_deployment(operator, "governance"))["version"] == 0
    would = await service.check_deployment(operator, "governance", deny("all"))
    assert (would["ok"], would["would"], would["base_version"]) == (True, "hold at once", 0)
    assert any("all says no" in line for line in would["difference"])
    for text in (deny("all"), deny("others")):
        await service.save_deployment_policy(operator, "governance", text, "note")
    assert (await service.check_deployment(operator, "governance", deny("others")))["would"] == "change nothing"
    faulty = await service.check_deployment(operator, "governance", "\nforbid(principal, action, resource);")
    assert (faulty["ok"], faulty["faults"][0]["line"], faulty["would"]) == (False, 2, "be refused")
    shut = await service.check_deployment(
        operator, "access", '@id("shut") forbid(principal, action == Worka::Action::"policy.deploy", resource);'
    )
    assert (shut["ok"], "locks every owner out" in shut["faults"][0]["message"]) == (False, True)
    newest = await service.show_deployment(operator, "governance")
    assert (newest["version"], newest["text"], newest["created_by"]) == (2, deny("others"), world.ids["operator"])
    assert (await service.show_deployment(operator, "governance", 1))["text"] == deny("all")
    first = await service.list_deployment(operator, None, 1)
    assert [row["version"] for row in first] == [2, 1], "one more than asked for says that there are more"
    assert [row["version"] for row in await service.list_deployment(operator, ("governance", 2), 1)] == [1]
    with pytest.raises(PolicyNotFound):
        await service.show_deployment(operator, "governance", 3)
    for who in ("owner", "viewer"):
        for refused in (
            service.show_deployment(world.ctx(who), "governance"),
            service.list_deployment(world.ctx(who), None, 50),
            service.check_deployment(world.ctx(who), "governance", ""),
        ):
            with pytest.raises(Denied):
                await refused


@pytest.mark.capability("GOV-15", part="by the deployment's operator")
async def test_the_operator_sees_the_switches_over_a_tenant_and_of_its_owners_not_what_they_touched(
    world: World,
) -> None:
    await service.kill(world.ctx("owner"), world.workspace_id, "tenant", world.tenant_id, "ours", True)
    await service.kill(world.ctx("owner"), world.workspace_id, "member", world.ids["robot"], "here alone", False)
    await service.kill_in_tenant(world.ctx("operator"), world.tenant_id, "destination", "x.test", "abuse")
    found = await service.list_in_tenant(world.ctx("operator"), world.tenant_id, None, 50)
    assert [(row["reason"], row["receipt_cut"]) for row in found] == [("abuse", True), ("ours", True)]
    assert not any(row["receipt"][part] for row in found for part in ("workspaces", "attachments", "tasks", "hangs"))
    with pytest.raises(Denied):
        await service.list_in_tenant(world.ctx("owner"), world.tenant_id, None, 50)
