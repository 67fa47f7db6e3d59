"""Who could decide now: card, list, inbox, message and act say the same, by role, policy and kill switch, at both ends of a
delegation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.approvals.asking import Row, asked, group, join, later, row_of, say
from tests.workspaces.world import World, refusal
from worka.approvals import delegations, explain, groups, service
from worka.approvals.errors import NotEligible
from worka.approvals.people import audience
from worka.governance import service as governance
from worka.kernel.errors import Denied
from worka.notifications import people as mail
from worka.workspaces import service as workspaces

STOPPED = pytest.mark.capability(
    "APR-11", part="a stopped giver stops their delegate, and every answer to who could agrees with the act"
)


async def delegate(world: World, giver: str, taker: str) -> Row:
    return await delegations.delegate(world.ctx(giver), world.workspace_id, world.ids[taker], later(hours=1))


async def stop(world: World, name: str, everywhere: bool = False) -> str:
    made = await governance.kill(
        world.ctx("owner"), world.workspace_id, "member", world.ids[name], "a stolen laptop", everywhere
    )
    return str(made["id"])


async def lift(world: World, kill: str) -> None:
    await governance.lift(world.ctx("owner"), world.workspace_id, kill, "all", [], "found again", True)


async def forbid(world: World, who: str, action: str = "approval.decide", when: str = "") -> None:
    """Governance refuses somebody an action here."""
    text = (
        f'@id("not-{who}") @verdict("deny") @reason("{who.title()} is away.") forbid(principal == Worka::Person::'
        f'"{world.ids[who]}", action == Worka::Action::"{action}", resource){f" when {{ {when} }}" if when else ""};'
    )
    await governance.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "", scope="workspace")


async def answers(world: World, who: str, approval: Row) -> set[bool]:
    """What card, list, inbox and mail say of whether somebody's yes is needed: one answer, or they differ."""
    ctx, here = world.ctx(who), world.workspace_id
    card = await service.show(ctx, approval["id"])
    (row,) = [item for item in await service.listing(ctx, here, None, None, 50) if item["id"] == approval["id"]]
    inbox = [item["id"] for item in await service.listing(ctx, here, None, None, 50, "mine")]
    platform = world.ctx("owner")
    async with platform.transaction() as conn:
        needed = await mail.asked(platform, await row_of(world, approval["id"]), await audience(conn, platform, here))
    named = [name for name in card["who_could"] if name == who or name.startswith(f"{who} (for ")]
    return {
        card["eligibility"]["needed"],
        row["eligibility"]["needed"],
        approval["id"] in inbox,
        world.ids[who] in needed,
        bool(named),
    }


@STOPPED
@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_kill_switch_on_an_approver_stops_whoever_they_delegated_to(world: World, everywhere: bool) -> None:
    approval = await asked(world, behind="owner")
    await delegate(world, "approver", "viewer")
    assert await answers(world, "viewer", approval) == {True}, "the control"
    kill = await stop(world, "approver", everywhere)
    assert await answers(world, "viewer", approval) == {False}
    card = await service.show(world.ctx("viewer"), approval["id"])
    assert "approver delegated it to you, and may not decide here now: “" in card["eligibility"]["because"]
    assert "a stolen laptop" in card["eligibility"]["because"]
    for how in ({}, {"behalf": world.ids["approver"]}):
        with pytest.raises(NotEligible, match="may not decide here now"):
            await say(world, "viewer", approval, **how)
    assert not await world.rows("approval_vote", "approval_id = %s", approval["id"])
    assert any(
        "a stolen laptop" in event["data"]["because"] for event in await world.events("approval.decision.refused")
    )
    (row,) = await delegations.listing(world.ctx("owner"), world.workspace_id, True, None, 50)
    assert row["state"] == "void"
    await lift(world, kill)
    assert await answers(world, "viewer", approval) == {True}
    assert (await say(world, "viewer", approval))["state"] == "approved", "the control: lifted, it counts again"


@STOPPED
async def test_who_is_stopped_is_named_by_nobody_as_who_could_and_is_told_of_nothing(world: World) -> None:
    await group(world, "security", "approver")
    approval = await asked(world, "approve:1 of group:security", behind="owner")
    reading = world.ctx("owner")
    assert (await service.show(reading, approval["id"]))["who_could"] == ["approver"], "the control"
    kill = await stop(world, "approver")
    card = await service.show(reading, approval["id"])
    assert (card["who_could"], card["reason"]) == (
        ["an owner or admin of the workspace, by adding approvers to security"], "nobody_can_decide",
    )  # fmt: skip
    (listed,) = await service.listing(reading, world.workspace_id, "open", None, 50)
    assert listed["reason"] == "nobody_can_decide"
    why = await explain.explain(reading, approval["id"])
    assert why.reason == "nobody_can_decide"
    cannot = [item.label for item in why.evidence if item.kind == "cannot decide" and item.ref == world.ids["approver"]]
    assert "They may not decide here now: “" in cannot[0]
    (told,) = (await groups.listing(reading, world.workspace_id, None, 50))[0]["members"]
    assert (told["counts"], "a stolen laptop" in told["because"]) == (False, True)
    second = await asked(world, "approve:1 of group:security", behind="owner", number=2)
    assert second["reason"] == "nobody_can_decide"
    messages = [row["payload"] for row in await world.rows("outbox", "topic = 'approval.requested' order by id")]
    assert [[who["name"] for who in message["people"]] for message in messages] == [["approver"], []]
    with pytest.raises(Denied, match="was stopped by"):
        await say(world, "approver", approval)
    await lift(world, kill)
    assert (await service.show(reading, approval["id"]))["reason"] == "waiting_for_approver"
    assert (await say(world, "approver", approval))["state"] == "approved"


@STOPPED
async def test_what_governance_refuses_an_approver_it_refuses_whoever_decides_in_their_place(world: World) -> None:
    approval, other = await asked(world, behind="owner"), await asked(world, behind="owner", number=2)
    await delegate(world, "approver", "viewer")
    await join(world, "deputy", approver=False)
    await delegate(world, "admin", "deputy")
    await forbid(world, "approver")
    assert await answers(world, "viewer", approval) == {False}
    with pytest.raises(NotEligible, match=r"may not decide here now: “Approver is away\.”"):
        await say(world, "viewer", approval)
    assert await answers(world, "approver", approval) == {False}
    with pytest.raises(Denied, match="Approver is away") as refused:
        await say(world, "approver", approval)
    assert refused.value.extra["decision_id"], "the refusal has a decision to quote"
    assert await answers(world, "deputy", other) == {True}
    assert (await say(world, "deputy", other))["state"] == "approved", "the control: another giver"


@STOPPED
async def test_a_delegate_whom_policy_lets_decide_for_nobody_is_named_by_nobody(world: World) -> None:
    approval = await asked(world, behind="owner")
    await delegate(world, "approver", "viewer")
    assert await answers(world, "viewer", approval) == {True}, "the control"
    await forbid(world, "viewer", "approval.decide_for")
    assert await answers(world, "viewer", approval) == {False}
    with pytest.raises(Denied, match="Viewer is away"):
        await say(world, "viewer", approval)
    assert (await say(world, "approver", approval))["state"] == "approved"


@STOPPED
async def test_what_policy_says_of_one_boundary_counts_for_its_approvals_alone(world: World) -> None:
    outside = await asked(world, behind="owner")
    attach = await asked(world, behind="owner", number=2, boundary="pack.attach", card={})
    await delegate(world, "approver", "viewer")
    await forbid(world, "approver", when='context has boundary && context.boundary == "pack.attach"')
    for who in ("approver", "viewer"):
        assert await answers(world, who, outside) == {True}, "the control"
        assert await answers(world, who, attach) == {False}
        assert await refusal(say(world, who, attach)) in ("denied", "not_eligible")
    assert (await say(world, "viewer", outside))["state"] == "approved"


@STOPPED
async def test_what_policy_says_of_one_approval_counts_for_that_one_alone(world: World) -> None:
    first, second = await asked(world, behind="owner"), await asked(world, behind="owner", number=2)
    await forbid(world, "approver", when=f'resource == Worka::Approval::"{first["id"]}"')
    assert (await answers(world, "approver", first), await answers(world, "approver", second)) == ({False}, {True})
    assert await refusal(say(world, "approver", first)) == "denied"
    assert (await say(world, "approver", second))["state"] == "approved"


@STOPPED
@pytest.mark.parametrize("how", ["downgraded", "refused"])
async def test_who_may_not_confirm_any_more_is_not_told_that_they_can(world: World, how: str) -> None:
    first, second = await asked(world, "confirm"), await asked(world, "confirm", number=2)
    assert await answers(world, "member", first) == {True}, "the control"
    assert (await say(world, "member", first))["state"] == "approved"
    if how == "downgraded":
        await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["member"], "viewer", None)
    else:
        await forbid(world, "member", "approval.confirm")
    assert await answers(world, "member", second) == {False}
    card = await service.show(world.ctx("member"), second["id"])
    assert "you may not confirm it now" in card["eligibility"]["because"]
    assert card["reason"] == "nobody_can_decide"
    assert await refusal(say(world, "member", second)) == "denied"


def test_what_somebody_wrote_is_told_to_others_in_their_own_words() -> None:
    because: Any = "You may not decide here now: “you know why”"
    assert explain.of_another(because) == "They may not decide here now: “you know why”"
