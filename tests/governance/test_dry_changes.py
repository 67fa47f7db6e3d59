"""A dry run does all of a change and undoes it: it answers and refuses as the change would, and nothing of it stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.governance.test_layers import call, deny
from tests.workspaces.world import World
from worka import governance
from worka.approvals import delegations, groups
from worka.approvals import service as approvals
from worka.governance import service
from worka.kernel import failpoints
from worka.kernel.context import Context
from worka.kernel.errors import Denied

UNDONE = pytest.mark.capability("DOR-2", part="a dry run is the change undone")
TABLES = ("approval", "approval_vote", "decision", "event", "audit_entry", "kill", "policy_version", "approval_group")


@pytest.fixture(autouse=True)
def plugged(world: World) -> None:
    """As the process roles do it."""
    governance.subscribe(world.subscribers)


def dry(ctx: Context) -> Context:
    """As the door makes it of a request with `dry_run`."""
    return replace(ctx, undone=True)


async def picture(world: World) -> dict[str, Any]:
    return {name: sorted(str(row) for row in await world.rows(name)) for name in TABLES}


@UNDONE
async def test_a_dry_run_answers_as_the_change_would_and_leaves_no_row(world: World) -> None:
    owner = world.ctx("owner")
    switch = await service.kill(owner, world.workspace_id, "member", world.ids["robot"], "r", False)
    before = await picture(world)
    lifted = await service.lift(dry(owner), world.workspace_id, switch["id"], "all", [], "over", True)
    made = await groups.create(dry(owner), world.workspace_id, "security", "", [world.ids["approver"]])
    assert (lifted["state"], made["name"], len(made["members"])) == ("lifted", "security", 1)
    assert await picture(world) == before
    again = await service.lift(owner, world.workspace_id, switch["id"], "all", [], "over", True)
    assert again["state"] == lifted["state"]
    assert await picture(world) != before, "the control"


@UNDONE
async def test_a_dry_run_is_refused_as_the_change_would_be_and_that_is_kept_as_an_attempt(world: World) -> None:
    before = len(await world.rows("decision", "verdict = 'deny'"))
    with pytest.raises(Denied, match="may not"):
        await groups.create(dry(world.ctx("viewer")), world.workspace_id, "security", "", [])
    assert len(await world.rows("decision", "verdict = 'deny'")) == before + 1
    assert len(await world.events("access.denied")) == 1


@UNDONE
async def test_no_failpoint_of_a_commit_is_passed_by_what_commits_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[str] = []
    monkeypatch.setattr(failpoints, "hit", passed.append)
    await groups.create(dry(world.ctx("owner")), world.workspace_id, "security", "", [])
    assert passed == []
    await groups.create(world.ctx("owner"), world.workspace_id, "security", "", [])
    assert "approval.group.before_commit" in passed, "the control"


@UNDONE
@pytest.mark.capability("AUT-1", part="a decision is by committed policy alone, with warm caches")
async def test_a_text_that_was_tried_and_never_saved_decides_nothing(two_owners: World) -> None:
    world = two_owners
    proposal = await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", deny("tried"), "")
    card = await approvals.decide(dry(world.ctx("second")), proposal["approval_id"], "approve", proposal["digest"], "")
    assert card["state"] == "approved"
    assert (await approvals.show(world.ctx("second"), proposal["approval_id"]))["state"] == "open"
    assert await world.rows("policy_version") == []
    await approvals.decide(world.ctx("second"), proposal["approval_id"], "reject", proposal["digest"], "")
    harmless = deny("harmless", action="member.invite")
    other = await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", harmless, "")
    await approvals.decide(world.ctx("second"), other["approval_id"], "approve", other["digest"], "")
    assert [row["version"] for row in await world.rows("policy_version")] == [1], "the number that the tried text had"
    decision = await world.ctx("member").decide("tool.invoke", call(world))
    assert decision.verdict == "allow", "the text of version 1 is the harmless one"
    place = call(world)
    refused = await world.ctx("owner").decide(
        "member.invite", replace(place, type="workspace", id=world.workspace_id, attrs={}), role="viewer"
    )
    assert refused.rules == ("governance/tenant.1/harmless",), "the control: it holds"


@pytest.mark.capability("AUT-1", part="a text that was rolled back is kept under no number")
async def test_a_text_that_was_decided_by_and_then_rolled_back_decides_nothing(world: World) -> None:
    class Undone(Exception): ...

    owner = world.ctx("owner")

    async def undone() -> None:
        async with owner.transaction():
            await service.save_policy(owner, world.workspace_id, "governance", deny("tried"), "")
            assert (await owner.decide("tool.invoke", call(world))).verdict == "deny", "the control: it held meanwhile"
            raise Undone

    with pytest.raises(Undone):
        await undone()
    await service.save_policy(owner, world.workspace_id, "governance", deny("harmless", action="member.invite"), "")
    assert [row["version"] for row in await world.rows("policy_version")] == [1], "the number that the tried text had"
    assert (await owner.decide("tool.invoke", call(world))).verdict == "allow", (
        "the text of version 1 is the harmless one"
    )


@UNDONE
async def test_ending_a_delegation_is_tried_and_it_holds_on(world: World) -> None:
    from tests.approvals.test_delegation import later

    made = await delegations.delegate(world.ctx("owner"), world.workspace_id, world.ids["approver"], later(hours=1))
    assert (await delegations.end(dry(world.ctx("owner")), made["id"]))["state"] == "ended"
    assert (await delegations.show(world.ctx("owner"), made["id"]))["state"] == "in_force"
