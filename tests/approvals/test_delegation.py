"""Deciding in somebody else's place until a date: what is delegated, to whom, and what never is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
import pytest

from tests.approvals.asking import asked, group, join, later, say
from tests.workspaces.world import World, make
from worka.approvals import delegations, jobs, rules, service, store
from worka.approvals.errors import (
    ApprovalNotFound,
    BadDelegation,
    DelegateOfDelegate,
    DelegationNotFound,
    DelegationOver,
    ForeignDelegation,
    NotAPerson,
    NotEligible,
)
from worka.approvals.people import audience
from worka.approvals.rules import Ask
from worka.governance import service as governance
from worka.kernel.clock import now
from worka.kernel.errors import Denied
from worka.observability import service as observability
from worka.workspaces import service as workspaces


async def delegate(world: World, giver: str, taker: str, scope: str = "all", **span: float) -> dict[str, object]:
    until = later(**(span or {"hours": 1}))
    return await delegations.delegate(world.ctx(giver), world.workspace_id, world.ids[taker], until, scope)


@pytest.mark.capability("APR-11", part="delegation with an end date; the vote records on whose behalf")
async def test_a_delegate_decides_in_the_place_of_who_delegated_it_and_the_vote_says_so(world: World) -> None:
    approval = await asked(world, behind="owner")
    with pytest.raises(NotEligible, match="do not hold the permission"):
        await say(world, "viewer", approval)
    await delegate(world, "approver", "viewer")
    card = await service.show(world.ctx("viewer"), approval["id"])
    assert card["eligibility"]["on_behalf_of"]["name"] == "approver"
    assert "viewer (for approver)" in card["who_could"]
    done = await say(world, "viewer", approval)
    assert done["state"] == "approved"
    (vote,) = done["votes"]
    assert (vote["person"]["name"], vote["on_behalf_of"]["name"]) == ("viewer", "approver")
    (event,) = await world.events("approval.vote.recorded")
    assert (event["actor_id"], event["data"]["on_behalf_of"]) == (world.ids["viewer"], world.ids["approver"])
    (decision,) = await world.rows("decision", "action = 'approval.decide_for'")
    assert decision["principal_id"] == world.ids["viewer"]
    async with world.ctx("owner").transaction():
        changes = await observability.changes(world.ctx("owner"), subject=approval["id"])
    (vote,) = [row for row in changes if row["type"] == "approval.vote.recorded"]
    assert vote["in_the_place_of"]["name"] == "approver"
    assert vote["sentence"].startswith("viewer decided on approval")
    assert vote["sentence"].endswith("in the place of approver")


@pytest.mark.capability("APR-11", part="a delegation ends by itself, and early")
async def test_a_delegation_that_has_ended_gives_nothing(world: World) -> None:
    approval = await asked(world, behind="owner")
    await delegate(world, "approver", "viewer", seconds=0.4)
    assert (await service.show(world.ctx("viewer"), approval["id"]))["eligibility"]["eligible"]
    await asyncio.sleep(0.5)
    with pytest.raises(NotEligible):
        await say(world, "viewer", approval)
    row = await delegate(world, "approver", "viewer")
    assert (await service.show(world.ctx("viewer"), approval["id"]))["eligibility"]["eligible"]
    await delegations.end(world.ctx("viewer"), str(row["id"]))
    with pytest.raises(NotEligible):
        await say(world, "viewer", approval)
    with pytest.raises(DelegationOver):
        await delegations.end(world.ctx("approver"), str(row["id"]))
    states = [
        row["state"] for row in await delegations.listing(world.ctx("owner"), world.workspace_id, False, None, 50)
    ]
    assert sorted(states) == ["ended", "over"]


@pytest.mark.capability("APR-11", part="a delegate of a delegate is refused")
async def test_a_delegate_delegates_nothing_further_and_takes_from_nobody_who_does(world: World) -> None:
    await join(world, "deputy")
    first = await delegate(world, "approver", "deputy")
    with pytest.raises(DelegateOfDelegate, match="You decide for approver"):
        await delegate(world, "deputy", "viewer")
    with pytest.raises(DelegateOfDelegate, match="approver has delegated to deputy"):
        await delegate(world, "admin", "approver")
    # The control: once the first has ended, both may.
    await delegations.end(world.ctx("approver"), str(first["id"]))
    await delegate(world, "deputy", "viewer")


@pytest.mark.capability("APR-11", part="a chain of delegations gives nothing, even where one is there")
async def test_a_chain_that_got_into_the_database_gives_the_last_one_nothing_of_the_first(world: World) -> None:
    await join(world, "deputy", approver=False)
    approval = await asked(world, "approve:2", behind="owner")
    async with world.db.transaction(world.tenant_id) as conn:
        for number, (giver, taker) in enumerate((("approver", "deputy"), ("deputy", "viewer"))):
            row = {
                "tenant_id": world.tenant_id, "id": f"dlg_{number}", "workspace_id": world.workspace_id,
                "from_person": world.ids[giver], "to_person": world.ids[taker], "scope": "all", "until": later(hours=1),
            }  # fmt: skip
            await store.add_delegation(conn, row)
    with pytest.raises(NotEligible, match="deputy delegated it to you, and may not decide here"):
        await say(world, "viewer", approval)
    with pytest.raises(NotEligible, match=r"have not delegated it to you|may not decide here"):
        await say(world, "viewer", approval, behalf=world.ids["approver"])
    done = await say(world, "deputy", approval)
    assert done["votes"][0]["on_behalf_of"]["name"] == "approver", "the control: the first link holds"


@pytest.mark.capability("APR-11", part="four eyes hold through a delegation, on both ends")
async def test_four_eyes_hold_through_a_delegation(world: World) -> None:
    await world.robot("robot2", owner="admin")
    await delegate(world, "owner", "viewer")
    await delegate(world, "approver", "member")
    asked_by_owner = await asked(world, who="robot2", behind="owner", number=1)
    with pytest.raises(NotEligible, match="four eyes"):
        await say(world, "viewer", asked_by_owner)
    # The person behind it is a delegate themselves: that opens nothing for them.
    asked_by_member = await asked(world, who="robot2", behind="member", number=2)
    with pytest.raises(NotEligible, match="You asked for it"):
        await say(world, "member", asked_by_member)
    with pytest.raises(NotEligible):
        await say(world, "member", asked_by_member, behalf=world.ids["approver"])
    assert (await say(world, "approver", asked_by_member))["state"] == "approved"
    # Neither does the owner of what acts decide through whom they delegated to.
    row = await delegations.listing(world.ctx("owner"), world.workspace_id, True, None, 50)
    await delegations.end(world.ctx("viewer"), next(item["id"] for item in row if item["to"]["name"] == "viewer"))
    await delegate(world, "admin", "viewer")
    with pytest.raises(NotEligible, match="four eyes"):
        await say(world, "viewer", asked_by_owner)
    assert (await say(world, "approver", asked_by_owner))["state"] == "approved", "the control"


@pytest.mark.capability("APR-11", part="one authority decides once, whoever speaks for it")
async def test_somebody_and_their_delegate_are_one_vote_and_not_two(world: World) -> None:
    await join(world, "second")
    await delegate(world, "approver", "viewer")
    approval = await asked(world, "approve:2", behind="owner")
    await say(world, "viewer", approval)
    with pytest.raises(NotEligible, match="has decided it for you already"):
        await say(world, "approver", approval)
    assert (await say(world, "second", approval))["state"] == "approved"
    other = await asked(world, "approve:2", behind="owner", number=2)
    await say(world, "approver", other)
    with pytest.raises(NotEligible, match="has decided it already"):
        await say(world, "viewer", other)
    assert (await say(world, "second", other))["state"] == "approved"


@pytest.mark.capability("APR-11", part="the database refuses a second vote of one authority")
async def test_the_database_itself_refuses_a_second_vote_of_one_authority(world: World) -> None:
    approval = await asked(world, "approve:3", behind="owner")
    vote = {"tenant_id": world.tenant_id, "approval_id": approval["id"], "decision": "approve", "comment": "",
            "credential_id": None}  # fmt: skip
    async with world.db.transaction(world.tenant_id) as conn:
        await store.add_vote(conn, {**vote, "person_id": world.ids["viewer"], "on_behalf_of": world.ids["approver"]})
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with world.db.transaction(world.tenant_id) as conn:
            await store.add_vote(conn, {**vote, "person_id": world.ids["approver"]})
    async with world.db.transaction(world.tenant_id) as conn:
        await store.add_vote(conn, {**vote, "person_id": world.ids["admin"]})


async def test_who_may_decide_themselves_does_so_in_their_own_right_unless_they_say_otherwise(world: World) -> None:
    await delegate(world, "approver", "admin")
    approval = await asked(world, "approve:2", behind="owner")
    first = await say(world, "admin", approval)
    assert first["votes"][0]["on_behalf_of"] is None
    other = await asked(world, "approve:2", behind="owner", number=2)
    done = await say(world, "admin", other, behalf=world.ids["approver"])
    assert done["votes"][0]["on_behalf_of"]["name"] == "approver"
    third = await asked(world, behind="owner", number=3)
    with pytest.raises(NotEligible, match="have not delegated it to you"):
        await say(world, "admin", third, behalf=world.ids["viewer"])


@pytest.mark.capability("APR-11", part="the seat of one group is delegated, and no other")
async def test_a_delegation_for_one_group_reaches_its_seats_alone(world: World) -> None:
    await group(world, "security", "approver")
    await group(world, "release", "approver")
    await delegate(world, "approver", "viewer", "security")
    security = await asked(world, "approve:1 of group:security", behind="owner")
    release = await asked(world, "approve:1 of group:release", behind="owner", number=2)
    anybody = await asked(world, "approve:1", behind="owner", number=3)
    for other in (release, anybody):
        with pytest.raises(NotEligible):
            await say(world, "viewer", other)
    assert (await say(world, "viewer", security))["state"] == "approved"
    await group(world, "ops")
    with pytest.raises(BadDelegation, match="not in group:ops"):
        await delegate(world, "approver", "member", "ops")


@pytest.mark.capability("APR-11", part="what is delegated is what its giver still has")
async def test_who_loses_the_right_has_nothing_delegated_any_more(world: World) -> None:
    approval = await asked(world, behind="owner")
    await delegate(world, "approver", "viewer")
    assert (await service.show(world.ctx("viewer"), approval["id"]))["eligibility"]["eligible"]
    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["approver"], None, False)
    with pytest.raises(NotEligible, match="may not decide here any more"):
        await say(world, "viewer", approval)
    (row,) = await delegations.listing(world.ctx("owner"), world.workspace_id, True, None, 50)
    assert row["state"] == "void"


async def test_who_leaves_takes_their_delegations_with_them(world: World) -> None:
    jobs.subscribe(world.subscribers)
    await delegate(world, "approver", "viewer")
    await workspaces.remove_member(world.ctx("owner"), world.workspace_id, world.ids["approver"])
    await world.join("approver", "viewer", approver=True)
    approval = await asked(world, behind="owner")
    with pytest.raises(NotEligible):
        await say(world, "viewer", approval)
    assert (await say(world, "approver", approval))["state"] == "approved"


async def test_a_policy_that_lets_somebody_decide_nothing_holds_for_what_is_delegated_too(world: World) -> None:
    approval = await asked(world, behind="owner")
    await join(world, "deputy", approver=False)
    await delegate(world, "approver", "viewer")
    await delegate(world, "admin", "deputy")
    viewer = world.ids["viewer"]
    text = (
        '@reason("Not this one.") forbid(principal, action == Worka::Action::"approval.decide", resource)'
        f' when {{ principal == Worka::Person::"{viewer}" }};'
    )
    await governance.save_policy(world.ctx("owner"), world.workspace_id, "access", text, "")
    with pytest.raises(NotEligible, match="policy does not let you decide"):
        await say(world, "viewer", approval)
    second = await asked(world, behind="owner", number=2)
    assert (await say(world, "deputy", second))["state"] == "approved", "the control: another delegate"


async def test_only_what_one_has_is_delegated_to_somebody_here_until_a_time_to_come(world: World) -> None:
    with pytest.raises(Denied):
        await delegate(world, "viewer", "member")
    with pytest.raises(NotAPerson):
        await delegate(world, "approver", "stranger")
    with pytest.raises(NotAPerson):
        await delegate(world, "approver", "robot")
    with pytest.raises(BadDelegation, match="That is you"):
        await delegate(world, "approver", "approver")
    for span in ({"seconds": -1}, {"days": 400}):
        with pytest.raises(BadDelegation, match="ends in time to come"):
            await delegate(world, "approver", "viewer", **span)
    tried = await delegations.delegate(
        world.ctx("approver"), world.workspace_id, world.ids["viewer"], later(hours=1), dry_run=True
    )
    assert (tried["id"], tried["state"]) == (None, "in_force")
    assert await world.rows("approval_delegation") == [], "a dry run keeps nothing"
    row = await delegate(world, "approver", "viewer")
    with pytest.raises(BadDelegation, match="exactly this"):
        await delegate(world, "approver", "viewer")
    with pytest.raises(ForeignDelegation):
        await delegations.end(world.ctx("member"), str(row["id"]))
    assert (await delegations.end(world.ctx("owner"), str(row["id"])))["state"] == "ended"


@pytest.mark.capability("DEP-10", part="delegations")
async def test_another_tenants_delegation_does_not_exist(world: World) -> None:
    other = await make(world.db, world.settings.home)
    row = await delegate(world, "approver", "viewer")
    for ctx in (other.ctx("owner"), replace(other.ctx("owner"), tenant_id=world.tenant_id)):
        for attempt in (delegations.show(ctx, str(row["id"])), delegations.end(ctx, str(row["id"]))):
            with pytest.raises(DelegationNotFound):
                await attempt
    assert (await delegations.show(world.ctx("owner"), str(row["id"])))["state"] == "in_force"


@pytest.mark.capability("APR-4", part="not through another of one's principals")
async def test_nobody_approves_through_another_of_their_principals(world: World) -> None:
    # The admin's own robot asks for the admin; the admin's token as a robot, a second robot, the platform: none is a person.
    await world.robot("robot2", owner="admin")
    await world.robot("robot3", owner="admin")
    approval = await asked(world, who="robot2", behind="admin")
    with pytest.raises(NotEligible, match="You asked for it"):
        await say(world, "admin", approval)
    for robot in ("robot2", "robot3", "robot"):
        with pytest.raises(NotEligible, match="Only a person"):
            await service.decide(world.ctx(robot, behind="approver"), approval["id"], "approve", approval["digest"])
    with pytest.raises((NotEligible, ApprovalNotFound)):
        await service.decide(
            replace(world.nobody(), tenant_id=world.tenant_id), approval["id"], "approve", approval["digest"]
        )
    # A delegation to a robot of one's own is none.
    with pytest.raises(NotAPerson):
        await delegate(world, "approver", "robot2")
    assert (await say(world, "approver", approval))["state"] == "approved"


async def test_two_delegations_at_once_that_would_be_a_chain_leave_one(world: World) -> None:
    await join(world, "deputy")

    async def attempt(giver: str, taker: str) -> bool:
        try:
            await delegate(world, giver, taker)
        except DelegateOfDelegate:
            return False
        return True

    done = await asyncio.gather(attempt("approver", "deputy"), attempt("deputy", "viewer"))
    assert sorted(done) == [False, True]


async def test_the_audience_is_read_in_one_statement_whatever_the_number_of_groups(world: World) -> None:
    for number in range(4):
        await group(world, f"g{number}", "approver")
    await delegate(world, "approver", "viewer")
    ctx = world.ctx("owner")
    async with ctx.transaction() as conn:
        people = await audience(conn, ctx, world.workspace_id)
    assert people.readers[world.ids["approver"]].groups == {"g0", "g1", "g2", "g3"}
    (delegator,) = people.readers[world.ids["viewer"]].delegators
    assert delegator.groups == {"g0", "g1", "g2", "g3"}
    ask = Ask("open", tuple(rules.parse_rules(["approve:2"])), True, None, None, later(hours=1))
    # Delegates are no further people: three may approve in person (owner, admin, approver).
    assert len(people.in_person(ask, now())) == 3
