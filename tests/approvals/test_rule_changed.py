"""Policy that changes while an approval is open: nobody decides by rules that hold no more, and everybody is told so."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.approvals.asking import Row, group, join, later, row_of, say, sweep
from tests.approvals.test_approvals import again
from tests.approvals.test_killed import run
from tests.workspaces.world import World, refusal
from worka.approvals import batch, bypass, explain, jobs, moved, service
from worka.approvals.errors import RuleChanged
from worka.governance import jobs as governing
from worka.governance import service as governance
from worka.kernel.context import Decision
from worka.kernel.errors import Denied

pytestmark = pytest.mark.capability("APR-10", part="a changed rule supersedes, at the decision and by itself")
TWO = (
    '@id("two") @verdict("ask") @rule("approve:2") forbid(principal, action == Worka::Action::"tool.invoke", resource);'
)
ONE = TWO.replace('@id("two")', '@id("one")').replace("approve:2", "approve:1")
NEVER = (
    '@id("never") @verdict("deny") @reason("not this week") forbid(principal, action == Worka::Action::"tool.invoke",'
    " resource);"
)


async def asked(world: World) -> Row:
    """What the policy of the moment asks for, for the call of the member's robot."""
    decision = await again(world)
    assert decision.verdict == "ask", "the control: policy asks"
    ctx = world.ctx("robot", behind="member")
    async with ctx.transaction():
        return await service.request(
            ctx, boundary="tool.external_side_effect", action="tool.invoke", subject_type="tool_call", subject_id="key-1",
            title="Publish notes", effect="e", digest="digest-1", card={}, arguments=None,
            rules=list(decision.approval_rules), decision_id=decision.id, policy_version=decision.policy_version, blocks=[],
        )  # fmt: skip


async def save(world: World, text: str) -> None:
    await governance.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")


async def told(world: World) -> list[Row]:
    return [row["payload"] for row in await world.rows("outbox", "topic = 'approval.decided'")]


async def test_a_yes_under_a_rule_that_changed_is_refused_with_the_rule_and_the_version_and_ends_it(
    world: World,
) -> None:
    approval = await asked(world)
    await save(world, TWO)
    card = await service.show(world.ctx("approver"), approval["id"])
    assert (card["state"], card["eligibility"]["eligible"]) == ("open", False)
    assert "approve:2" in card["eligibility"]["because"]
    with pytest.raises(RuleChanged, match="approve:2") as refused:
        await say(world, "approver", approval)
    now_is = await row_of(world, approval["id"])
    assert (now_is["state"], now_is["reason"]) == ("superseded", "rule_changed")
    assert now_is["moved"]["rules"] == ["approve:2"]
    assert (
        now_is["moved"]["policy_version"]
        == refused.value.extra["policy_version"]
        == (await again(world)).policy_version
    )
    assert now_is["moved"]["by"] == ["governance/tenant.1/two"]
    assert not await world.rows("approval_vote", "approval_id = %s", approval["id"])
    (event,) = await world.events("approval.superseded")
    assert event["actor_id"] == "platform"
    assert "approve:2" in event["data"]["because"]
    assert ["approve:2" in message["because"] for message in await told(world)] == [True], "who asked is told, once"


async def test_its_successor_is_named_by_the_card_and_by_why_and_is_decided_by_the_new_rule(world: World) -> None:
    approval = await asked(world)
    await save(world, TWO)
    assert await refusal(say(world, "approver", approval)) == "rule_changed"
    after = await asked(world)
    assert (after["id"] != approval["id"], after["digest"]) == (True, approval["digest"])
    card = await service.show(world.ctx("approver"), approval["id"])
    assert card["superseded_by"] == after["id"]
    why = await explain.explain(world.ctx("member"), approval["id"])
    assert after["id"] in why.headline
    assert "governance/tenant.1/two" in why.headline
    assert "no longer what was approved" not in why.headline
    assert (await service.in_place_of(world.ctx("member"), after))["superseded"] == approval["id"]
    assert (await say(world, "approver", after))["state"] == "open"
    assert (await say(world, "admin", after))["state"] == "approved"


async def test_the_next_sweep_ends_what_nobody_decides_and_leaves_what_still_holds(world: World) -> None:
    approval = await asked(world)
    await save(world, ONE)
    assert await sweep(world) == 0
    assert (await row_of(world, approval["id"]))["state"] == "open", (
        "the control: the same rule by another version holds"
    )
    await save(world, TWO)
    assert await sweep(world) == 1
    assert (await row_of(world, approval["id"]))["reason"] == "rule_changed"
    assert (await sweep(world), len(await told(world))) == (0, 1)


async def test_who_asks_again_before_that_has_the_old_one_ended_and_is_told_why(world: World) -> None:
    approval = await asked(world)
    assert (await asked(world))["id"] == approval["id"], "the control: the same question is the same approval"
    await save(world, TWO)
    after = await asked(world)
    place = await service.in_place_of(world.ctx("member"), after)
    assert (place["superseded"], "approve:2" in place["because"]) == (approval["id"], True)
    assert [row["state"] for row in await world.rows("approval", "true order by id")] == ["superseded", "open"]


async def test_under_a_new_version_that_asks_the_same_a_yes_counts(world: World) -> None:
    approval = await asked(world)
    await save(world, ONE)
    assert (await say(world, "approver", approval))["state"] == "approved"


async def test_what_policy_refuses_or_lets_through_by_now_is_superseded_with_these_words(world: World) -> None:
    approval = await asked(world)
    await save(world, NEVER)
    with pytest.raises(RuleChanged, match=r"refuses it now .*not this week"):
        await say(world, "approver", approval)
    with pytest.raises(Denied):
        await again(world)


async def test_a_dry_run_of_the_decision_says_so_and_leaves_it_open(world: World) -> None:
    from dataclasses import replace

    approval = await asked(world)
    await save(world, TWO)
    trying = replace(world.ctx("approver"), undone=True)
    assert await refusal(service.decide(trying, approval["id"], "approve", approval["digest"])) == "rule_changed"
    assert (await row_of(world, approval["id"]))["state"] == "open"


async def test_an_outsider_and_a_wrong_digest_end_nothing(world: World) -> None:
    approval = await asked(world)
    await save(world, TWO)
    assert await refusal(say(world, "stranger", approval)) == "approval_not_found"
    assert await refusal(say(world, "approver", {**approval, "digest": "other"})) == "digest_changed"
    assert (await row_of(world, approval["id"]))["state"] == "open"
    assert await refusal(say(world, "approver", approval)) == "rule_changed"


async def test_of_several_decided_together_the_changed_one_is_refused_by_itself(world: World) -> None:
    approval = await asked(world)
    await save(world, TWO)
    item: dict[str, Any] = {
        "approval_id": approval["id"],
        "decision": "approve",
        "digest": approval["digest"],
        "comment": "",
    }
    (result,) = (await batch.decide(world.ctx("approver"), world.workspace_id, [item]))["results"]
    assert result["problem"]["code"] == "rule_changed"


async def test_an_approval_given_before_the_change_is_not_used_and_its_asker_is_told_why(world: World) -> None:
    approval = await asked(world)
    await say(world, "approver", approval)
    await save(world, TWO)
    ctx = world.ctx("robot", behind="member")
    answer = await service.redeem(ctx, approval["id"], digest="digest-1", decision=await again(world), used_by="key-1")
    assert (answer.usable, answer.reason, answer.approval["reason"]) == (False, "rule_changed", "rule_changed")
    assert any("approve:2" in message.get("because", "") for message in await told(world))


OWN = pytest.mark.capability("APR-10", part="what a domain asks for of its own is no changed rule")
ASKS = (
    '@id("asks") @verdict("ask") @rule("approve:1 of group:security") @reason("Two eyes more.")'
    ' forbid(principal, action == Worka::Action::"approval.bypass.open", resource);'
)
LIMIT = (
    '@id("limit") @verdict("deny") forbid(principal, action == Worka::Action::"tool.invoke", resource)'
    ' when { context has tool && context.tool == "acme.none.none" };'
)


async def bypass_asked(world: World) -> Row:
    return await bypass.open_(
        world.ctx("owner"), world.workspace_id, "boundary", "tool.external_side_effect", "incident 7", later(hours=1), 2
    )


async def saved(world: World, text: str) -> None:
    """A version of the workspace's policy, agreed to by somebody else where that is wanted."""
    governing.subscribe(world.subscribers)
    made = await governance.save_policy(
        world.ctx("owner"), world.workspace_id, "governance", text, "", scope="workspace"
    )
    if made["state"] == "open":
        await say(world, "approver", await row_of(world, made["approval_id"]))
    assert await world.rows("policy_version", "scope = %s and text = %s", world.workspace_id, text), "it is in force"


@OWN
@pytest.mark.parametrize("first", ["", ASKS], ids=["policy asks nothing of it", "policy asks for more"])
async def test_an_unrelated_version_of_policy_leaves_a_bypass_waiting_and_its_consent_counts(
    world: World, first: str
) -> None:
    jobs.subscribe(world.subscribers)
    await join(world, "olga", "owner", approver=False)
    await group(world, "security", "approver")
    if first:
        await saved(world, first)
    made = await bypass_asked(world)
    await saved(world, f"{LIMIT} {first}")
    card = await service.show(world.ctx("olga"), made["approval_id"])
    assert (card["state"], card["moved"], card["eligibility"]["eligible"]) == ("open", None, True)
    assert await sweep(world) == 0
    if first:
        await say(world, "approver", card)
    await say(world, "olga", card)
    assert (await bypass.show(world.ctx("owner"), made["id"]))["state"] == "open"


@OWN
async def test_where_policy_really_asks_others_of_a_bypass_its_consent_is_superseded_and_it_says_so(
    world: World,
) -> None:
    jobs.subscribe(world.subscribers)
    await join(world, "olga", "owner", approver=False)
    await group(world, "security", "approver")
    made = await bypass_asked(world)
    await saved(world, ASKS)
    consent = await row_of(world, made["approval_id"])
    with pytest.raises(RuleChanged, match=r"asks for approve:1 of group:security now, by governance/workspace\.1/asks"):
        await say(world, "olga", consent)
    shown = await bypass.show(world.ctx("owner"), made["id"])
    assert (shown["state"], shown["reason"]) == ("closed", "bypass_refused")
    assert "was not given" in (await explain.explain(world.ctx("owner"), made["id"])).headline
    again_asked = await bypass_asked(world)
    await saved(world, LIMIT)
    with pytest.raises(RuleChanged, match="asks for no consent beside approve:1 of group:owners any more"):
        await say(world, "olga", await row_of(world, again_asked["approval_id"]))
    third = await bypass_asked(world)
    await say(world, "olga", await row_of(world, third["approval_id"]))
    assert (await bypass.show(world.ctx("owner"), third["id"]))["state"] == "open", "the control: asked anew, it counts"


@OWN
async def test_the_only_owners_bypass_that_policy_asks_for_is_not_superseded_by_an_unrelated_version(
    world: World,
) -> None:
    jobs.subscribe(world.subscribers)
    await group(world, "security", "approver")
    await saved(world, ASKS)
    made = await bypass_asked(world)
    consent = await row_of(world, made["approval_id"])
    assert (consent["rules"], consent["own_rules"]) == (["approve:1 of group:security"], [])
    await saved(world, f"{ASKS} {LIMIT}")
    await say(world, "approver", consent)
    assert (await bypass.show(world.ctx("owner"), made["id"]))["state"] == "open"


@OWN
@pytest.mark.parametrize(
    ("own", "verdict", "asks", "wanted"),
    [
        ((), "ask", ("approve:2",), ["approve:2"]),
        ((), "allow", (), []),
        (("approve:1",), "allow", (), ["approve:1"]),
        (("approve:1",), "ask", ("approve:1",), ["approve:1"]),
        (("approve:1",), "ask", ("approve:2",), ["approve:2"]),
        (("approve:1 of group:owners",), "allow", (), ["approve:1 of group:owners"]),
        (("approve:1",), "deny", (), []),
    ],
)
def test_what_an_approval_asks_for_is_policys_and_its_domains_together(
    own: tuple[str, ...], verdict: Any, asks: tuple[str, ...], wanted: list[str]
) -> None:
    decision = Decision("dec_1", verdict, "governance", (), (), asks, "p", "")
    assert moved.wanted(own, decision) == wanted
    assert not moved.differs({"rules": wanted, "own_rules": list(own)}, decision)
    assert moved.differs({"rules": ["approve:3"], "own_rules": list(own)}, decision)


@pytest.mark.faults
async def test_a_kill_before_it_is_committed_ends_nothing_and_the_next_sweep_tells_once(
    world: World, cluster: Any
) -> None:
    approval = await asked(world)
    await save(world, TWO)
    assert await run(world, cluster, "sweep", failpoint="approval.superseded.before_commit") == -signal.SIGKILL
    assert ((await row_of(world, approval["id"]))["state"], await told(world)) == ("open", [])
    assert await run(world, cluster, "sweep") == 0
    assert ((await row_of(world, approval["id"]))["reason"], len(await told(world))) == ("rule_changed", 1)
