"""A bypass of approvals: for a while, for a number of uses, by an owner and another one, and never silent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.approvals.asking import Row, asked, join, later, row_of, say
from tests.approvals.test_approvals import listen
from tests.workspaces.world import TOOL, World, decided_while_held, make
from worka.approvals import bypass, explain, jobs, service, store
from worka.approvals.errors import BadBypass, BypassNotFound, BypassOver, NotEligible, NotOpen
from worka.governance import service as governance
from worka.kernel.errors import Denied
from worka.workspaces import service as workspaces

BOUNDARY = "tool.external_side_effect"
NONE = (
    '@id("none") @verdict("deny") @reason("None this week.")'
    ' forbid(principal, action == Worka::Action::"approval.bypass.open", resource);'
)
ENDS = pytest.mark.capability("APR-12", part="what a stopped or former owner opened lets nothing through")


async def opened(world: World, who: str = "owner", uses: int = 2, **changes: Any) -> Row:
    given: dict[str, Any] = {
        "kind": "boundary", "target": BOUNDARY, "why": "incident 7", "until": later(hours=1), **changes,
    }  # fmt: skip
    return await bypass.open_(world.ctx(who), world.workspace_id, most_uses=uses, **given)


@pytest.mark.capability("APR-12", part="a bypass is recorded with every use, and capped")
async def test_an_open_bypass_lets_as_many_through_as_it_says_and_records_each(world: World) -> None:
    heard = listen(world)
    made = await opened(world, uses=2)
    assert (made["state"], made["approval_id"]) == ("open", None), "the only owner opens it at once"
    for number in (1, 2):
        approval = await asked(world, number=number)
        assert (approval["state"], approval["reason"], approval["bypass_id"]) == ("approved", "bypassed", made["id"])
    assert [entry["state"] for entry in heard] == ["approved", "approved"], "whoever waits is told as ever"
    third = await asked(world, number=3)
    assert (third["state"], third["bypass_id"]) == ("open", None), "the cap holds"
    uses = await world.events("approval.bypassed")
    assert [event["data"]["use"] for event in uses] == [1, 2]
    assert all(event["data"]["why"] == "incident 7" for event in uses)
    shown = await bypass.show(world.ctx("viewer"), made["id"])
    assert (shown["state"], shown["reason"], shown["uses"]) == ("closed", "bypass_over", 2)
    card = await service.show(world.ctx("viewer"), approval["id"])
    assert (card["votes"], card["bypass_id"]) == ([], made["id"])
    assert "nobody looked at it" in (await explain.explain(world.ctx("viewer"), approval["id"])).headline


@pytest.mark.capability("APR-12", part="the cap of a bypass holds under concurrency")
async def test_of_many_at_once_a_bypass_lets_no_more_through_than_its_number(world: World) -> None:
    await opened(world, uses=3)
    made = await asyncio.gather(*(asked(world, number=number) for number in range(8)))
    assert sorted(row["state"] for row in made) == ["approved"] * 3 + ["open"] * 5


@pytest.mark.capability("APR-12", part="a bypass ends in time")
async def test_a_bypass_whose_time_is_over_or_that_is_closed_lets_nothing_through(world: World) -> None:
    await opened(world, until=later(seconds=0.4))
    assert (await asked(world, number=1))["state"] == "approved"
    await asyncio.sleep(0.5)
    assert (await asked(world, number=2))["state"] == "open"
    (row,) = await bypass.listing(world.ctx("owner"), world.workspace_id, None, None, 50)
    assert (row["state"], row["reason"]) == ("closed", "bypass_over")
    made = await opened(world)
    for who in ("admin", "approver", "viewer"):
        with pytest.raises(Denied):
            await bypass.close(world.ctx(who), made["id"])
    assert (await bypass.close(world.ctx("owner"), made["id"]))["reason"] == "bypass_closed"
    assert (await asked(world, number=3))["state"] == "open"
    with pytest.raises(BypassOver):
        await bypass.close(world.ctx("owner"), made["id"])


@pytest.mark.capability("APR-12", part="what is never bypassed")
async def test_a_confirmation_a_step_up_and_another_boundary_are_never_bypassed(world: World) -> None:
    await opened(world, uses=9)
    assert (await asked(world, "confirm", number=1))["state"] == "open"
    assert (await asked(world, "confirm", "approve:1", number=2))["state"] == "open"
    assert (await asked(world, "approve:1 stepup", number=3))["state"] == "open"
    assert (await asked(world, number=4, boundary="pack.attach", card={}))["state"] == "open"
    assert (await asked(world, number=5))["state"] == "approved", "the control"
    for target in ("approval.bypass", "policy.change"):
        with pytest.raises(BadBypass, match="never bypassed"):
            await opened(world, target=target)


@pytest.mark.capability("APR-12", part="nobody bypasses the second pair of eyes on policy")
async def test_a_change_of_policy_goes_through_by_no_bypass_however_old_it_is(world: World) -> None:
    row = {**await asked(world), "card": {}}
    assert service.bypassable(row) == [("boundary", BOUNDARY)], "the control"
    assert service.bypassable({**row, "boundary": "policy.change"}) == []


async def test_a_bypass_of_one_tool_is_for_that_tool(world: World) -> None:
    await opened(world, kind="tool", target=TOOL)
    assert (await asked(world, number=1))["state"] == "approved"
    assert (await asked(world, number=2, card={"tool": "acme.notes.other"}))["state"] == "open"


@pytest.mark.capability("APR-12", part="four eyes for opening a bypass where there is another owner")
async def test_where_there_is_another_owner_they_have_to_agree_first(world: World) -> None:
    jobs.subscribe(world.subscribers)
    await join(world, "olga", "owner", approver=False)
    made = await opened(world)
    assert made["state"] == "awaiting_approval"
    assert (await asked(world, number=1))["state"] == "open"
    consent = await row_of(world, made["approval_id"])
    for barred in ("owner", "admin", "approver"):
        with pytest.raises(NotEligible):
            await say(world, barred, consent)
    await say(world, "olga", consent)
    assert (await bypass.show(world.ctx("owner"), made["id"]))["state"] == "open"
    assert (await row_of(world, consent["id"]))["consumed_by"] == made["id"], "it is for this bypass and nothing else"
    assert (await asked(world, number=2))["state"] == "approved"


async def test_consenting_to_a_bypass_and_closing_it_at_once_take_locks_in_one_order(world: World) -> None:
    jobs.subscribe(world.subscribers)
    await join(world, "olga", "owner", approver=False)
    made = await opened(world)
    consent = await row_of(world, made["approval_id"])
    await decided_while_held(
        world, consent["id"], say(world, "olga", consent), lambda conn: store.bypass(conn, made["id"], lock=True)
    )
    assert (await bypass.show(world.ctx("owner"), made["id"]))["state"] == "open"


async def test_another_owners_no_closes_it_and_so_does_losing_ownership_meanwhile(world: World) -> None:
    jobs.subscribe(world.subscribers)
    await join(world, "olga", "owner", approver=False)
    refused = await opened(world)
    await say(world, "olga", await row_of(world, refused["approval_id"]), "reject")
    assert (await bypass.show(world.ctx("owner"), refused["id"]))["reason"] == "bypass_refused"
    late = await opened(world)
    consent = await row_of(world, late["approval_id"])
    await workspaces.change_member(world.ctx("olga"), world.workspace_id, world.ids["owner"], "admin", None)
    assert (await bypass.show(world.ctx("olga"), late["id"]))["reason"] == "bypass_opener_may_not"
    assert (await row_of(world, consent["id"]))["state"] == "withdrawn"
    with pytest.raises(NotOpen):
        await say(world, "olga", consent)
    assert (await asked(world, number=1))["state"] == "open"


@ENDS
@pytest.mark.parametrize("how", ["downgraded", "removed"])
async def test_a_bypass_ends_with_the_ownership_of_who_opened_it(world: World, how: str) -> None:
    jobs.subscribe(world.subscribers)
    made = await opened(world, uses=9)
    await join(world, "olga", "owner", approver=False)
    assert (await asked(world, number=1))["bypass_id"] == made["id"], "the control: it lets through"
    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["viewer"], "member", None)
    assert (await bypass.show(world.ctx("olga"), made["id"]))["state"] == "open", "the control: another's role"
    if how == "downgraded":
        await workspaces.change_member(world.ctx("olga"), world.workspace_id, world.ids["owner"], "admin", None)
    else:
        await workspaces.remove_member(world.ctx("olga"), world.workspace_id, world.ids["owner"])
    shown = await bypass.show(world.ctx("olga"), made["id"])
    assert (shown["state"], shown["reason"], shown["closed_by"]) == (
        "closed", "bypass_opener_may_not", world.ids["olga"],
    )  # fmt: skip
    (event,) = await world.events("approval.bypass.moved")
    assert (event["actor_id"], event["after"]["reason"]) == (world.ids["olga"], "bypass_opener_may_not")
    assert "may not open one any more" in event["data"]["because"]
    assert "may not open one any more" in (await explain.explain(world.ctx("olga"), made["id"])).headline
    assert (await asked(world, number=2))["state"] == "open"
    if how == "removed":
        await world.join("owner", "owner")
    else:
        await workspaces.change_member(world.ctx("olga"), world.workspace_id, world.ids["owner"], "owner", None)
    assert (await asked(world, number=3))["state"] == "open", "coming back brings it not back"


@ENDS
@pytest.mark.parametrize("by", ["a kill switch", "policy"])
async def test_a_bypass_lets_nothing_through_while_who_opened_it_is_stopped(world: World, by: str) -> None:
    made = await opened(world, uses=9)
    assert (await asked(world, number=1))["bypass_id"] == made["id"], "the control: it lets through"
    if by == "policy":
        await governance.save_policy(world.ctx("owner"), world.workspace_id, "governance", NONE, "")
    await join(world, "olga", "owner", approver=False)
    olga, here = world.ctx("olga"), world.workspace_id
    if by == "a kill switch":
        kill = await governance.kill(olga, here, "member", world.ids["owner"], "a stolen laptop", False)
    assert (await asked(world, number=2))["state"] == "open"
    assert (await row_of_bypass(world, made["id"]))["uses"] == 1
    (shown,) = await bypass.listing(olga, here, None, None, 50)
    assert (shown["state"], shown["reason"]) == ("open", "bypass_held")
    assert ("a stolen laptop" in shown["held"]) == (by == "a kill switch")
    why = await explain.explain(olga, made["id"])
    assert (why.reason, "lets nothing through now" in why.headline) == ("bypass_held", True)
    if by == "a kill switch":
        await governance.lift(olga, here, kill["id"], "all", [], "found again", True)
        assert (await asked(world, number=3))["bypass_id"] == made["id"], "the control: lifted, it goes on"
        assert (await bypass.show(olga, made["id"]))["reason"] == "bypass_in_force"


async def row_of_bypass(world: World, bypass_id: str) -> Row:
    (row,) = await world.rows("approval_bypass", "id = %s", bypass_id)
    return row


@ENDS
async def test_where_one_is_held_another_that_is_open_lets_through(world: World) -> None:
    jobs.subscribe(world.subscribers)
    held = await opened(world, uses=9)
    await join(world, "olga", "owner", approver=False)
    other = await opened(world, "olga", uses=9)
    await say(world, "owner", await row_of(world, other["approval_id"]))
    assert (await asked(world, number=1))["bypass_id"] == held["id"], "the control: the older one is used first"
    await governance.kill(world.ctx("olga"), world.workspace_id, "member", world.ids["owner"], "a stolen laptop", False)
    assert (await asked(world, number=2))["bypass_id"] == other["id"]


@ENDS
async def test_agreeing_to_a_bypass_whose_opener_is_stopped_opens_nothing(world: World) -> None:
    jobs.subscribe(world.subscribers)
    await join(world, "olga", "owner", approver=False)
    stopped, free = await opened(world), await opened(world, target="pack.attach")
    kill = await governance.kill(
        world.ctx("olga"), world.workspace_id, "member", world.ids["owner"], "a stolen laptop", False
    )
    await say(world, "olga", await row_of(world, stopped["approval_id"]))
    assert (await bypass.show(world.ctx("olga"), stopped["id"]))["reason"] == "bypass_opener_may_not"
    await governance.lift(world.ctx("olga"), world.workspace_id, kill["id"], "all", [], "found again", True)
    await say(world, "olga", await row_of(world, free["approval_id"]))
    assert (await bypass.show(world.ctx("olga"), free["id"]))["state"] == "open", "the control"


@pytest.mark.capability("APR-12", part="a bypass stays within the deployment's cap")
async def test_a_bypass_stays_within_the_deployments_cap_and_is_an_owners(world: World) -> None:
    for wrong in ({"until": later(hours=5)}, {"until": later(seconds=-1)}, {"uses": 21}, {"uses": 0}, {"why": "  "}):
        with pytest.raises(BadBypass):
            await opened(world, **wrong)  # type: ignore[arg-type]
    for who in ("admin", "approver", "member", "viewer", "robot"):
        with pytest.raises(Denied):
            await opened(world, who)
    tried = await bypass.open_(
        world.ctx("owner"), world.workspace_id, "boundary", BOUNDARY, "w", later(hours=1), 2, dry_run=True
    )
    assert (tried["id"], tried["state"]) == (None, "open")
    assert await world.rows("approval_bypass") == []
    none = world.settings.model_copy(
        update={"approvals": world.settings.approvals.model_copy(update={"bypass_hours": 0})}
    )
    with pytest.raises(BadBypass, match="has no bypass"):
        await bypass.open_(
            replace(world.ctx("owner"), settings=none), world.workspace_id, "boundary", BOUNDARY, "w", later(hours=1), 2
        )
    assert (await opened(world))["state"] == "open", "the control"


@pytest.mark.capability("DEP-10", part="bypasses")
async def test_another_tenants_bypass_does_not_exist_and_lets_nothing_through(world: World) -> None:
    other = await make(world.db, world.settings.home)
    made = await opened(world)
    for ctx in (other.ctx("owner"), replace(other.ctx("owner"), tenant_id=world.tenant_id)):
        for attempt in (bypass.show(ctx, made["id"]), bypass.close(ctx, made["id"])):
            with pytest.raises(BypassNotFound):
                await attempt
    assert (await asked(other))["state"] == "open"
    assert (await asked(world))["state"] == "approved"
