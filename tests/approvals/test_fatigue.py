"""Against fatigue: many decisions each by itself, what is measured, and a second factor where a rule wants one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.approvals.asking import Row, asked, group, later, row_of, say
from tests.workspaces.world import World, make
from worka.approvals import batch, fatigue, service
from worka.approvals.errors import NotEligible, StepUpRequired
from worka.kernel.clock import now
from worka.kernel.errors import Denied


def item(approval: Row, decision: str = "approve", **more: Any) -> Row:
    return {"approval_id": approval["id"], "decision": decision, "digest": approval["digest"], "comment": "", **more}


async def decide(world: World, who: str, *items: Row) -> Row:
    return await batch.decide(world.ctx(who), world.workspace_id, list(items))


@pytest.mark.capability("APR-12", part="batch with per-item veto; each item by itself")
async def test_of_many_each_is_decided_vetoed_or_left_alone_by_itself(world: World) -> None:
    rows = [await asked(world, behind="owner", number=number) for number in range(5)]
    await service.withdraw(world.ctx("owner"), rows[4]["id"])
    done = await decide(
        world, "approver", item(rows[0]), item(rows[1], "reject", comment="not this one"), item(rows[2], "skip"),
        item({**rows[3], "digest": "what it was before"}), item(rows[4]),
    )  # fmt: skip
    assert [result["result"] for result in done["results"]] == ["decided", "decided", "skipped", "refused", "refused"]
    assert [result["state"] for result in done["results"][:2]] == ["approved", "rejected"]
    assert [result["problem"]["code"] for result in done["results"][3:]] == ["digest_changed", "approval_not_open"]
    assert (done["decided"], done["skipped"], done["refused"]) == (2, 1, 2)
    states = [(await row_of(world, row["id"]))["state"] for row in rows]
    assert states == ["approved", "rejected", "open", "open", "withdrawn"]
    assert all(vote["in_batch"] for vote in await world.rows("approval_vote"))


async def test_a_batch_that_is_repeated_finds_what_was_decided_and_decides_the_rest(world: World) -> None:
    first, second = [await asked(world, behind="owner", number=number) for number in (1, 2)]
    await decide(world, "approver", item(first))
    again = await decide(world, "approver", item(first), item(second))
    assert [(result["result"], result["state"]) for result in again["results"]] == [
        ("already", "approved"), ("decided", "approved"),
    ]  # fmt: skip
    other = await decide(world, "admin", item(first))
    assert other["results"][0]["result"] == "refused", "somebody else's yes is not one's own"


@pytest.mark.capability("APR-4", part="a batch is judged item by item")
async def test_a_batch_lets_nobody_decide_what_they_may_not(world: World) -> None:
    other = await make(world.db, world.settings.home)
    mine, theirs = await asked(world, behind="owner"), await asked(other, behind="owner")
    mixed = await decide(world, "approver", item(theirs), item(mine))
    assert [result["result"] for result in mixed["results"]] == ["refused", "decided"]
    assert mixed["results"][0]["problem"]["code"] == "approval_not_found"
    with pytest.raises(Denied):
        await batch.decide(other.ctx("owner"), world.workspace_id, [item(mine)])
    second = await asked(world, behind="owner", number=2)
    assert (await decide(world, "owner", item(second)))["results"][0]["problem"]["code"] == "not_eligible"
    assert (await row_of(other, theirs["id"]))["state"] == "open"


async def test_two_batches_at_once_decide_each_thing_once(world: World) -> None:
    rows = [await asked(world, behind="owner", number=number) for number in range(4)]
    first, second = await asyncio.gather(
        decide(world, "approver", *map(item, rows)), decide(world, "admin", *map(item, reversed(rows)))
    )
    assert first["decided"] + second["decided"] == 4
    assert first["refused"] + second["refused"] == 4
    assert len(await world.rows("approval_vote")) == 4


@pytest.mark.capability("APR-12", part="measured time-to-decide, and approvals given unread")
async def test_how_fast_and_how_often_unread_everybody_decides_is_measured(world: World) -> None:
    await group(world, "security", "admin")
    rows = [await asked(world, behind="owner", number=number) for number in range(6)]
    for row in rows[:5]:
        await say(world, "approver", row)
    read = await asked(world, "approve:1 of group:security", behind="owner", number=9)
    await service.show(world.ctx("admin"), read["id"])
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.approval set created_at = created_at - interval '10 minutes' where id = %s", (read["id"],)
        )
    # The application may not write the time at which a card was opened anew; a patient reader is made by the deployment's word.
    patient = world.settings.approvals.model_copy(update={"blanket_seconds": 0})
    ctx = replace(world.ctx("admin"), settings=world.settings.model_copy(update={"approvals": patient}))
    await service.decide(ctx, read["id"], "approve", read["digest"])
    told = await fatigue.measure(world.ctx("owner"), world.workspace_id, now() - timedelta(days=1))
    people = {row["name"]: row for row in told["people"]}
    assert (people["approver"]["votes"], people["approver"]["never_opened"], people["approver"]["blanket"]) == (5, 5, 5)
    assert "5 of 5 approvals were given unread" in people["approver"]["warning"]
    assert (people["admin"]["never_opened"], people["admin"]["warning"]) == (0, "")
    assert 600 <= people["admin"]["median_seconds"] < 700
    rules = {row["rule"]: row["votes"] for row in told["rules"]}
    assert rules == {"approve:1": 5, "approve:1 of group:security": 1}
    assert told["complete"]
    unread = await fatigue.mine(world.ctx("approver"), world.workspace_id, now() - timedelta(days=1))
    assert unread["warning"] == people["approver"]["warning"]
    for who in ("approver", "member", "viewer"):
        with pytest.raises(Denied):
            await fatigue.measure(world.ctx(who), world.workspace_id, now() - timedelta(days=1))


def test_what_counts_as_unread() -> None:
    at = now()
    vote = {"decision": "approve", "at": at, "opened_at": at - timedelta(seconds=6)}
    within = timedelta(seconds=5)
    assert not fatigue.blanket(vote, within)
    assert fatigue.blanket({**vote, "opened_at": at - timedelta(seconds=4)}, within)
    assert fatigue.blanket({**vote, "opened_at": None}, within)
    assert not fatigue.blanket({**vote, "decision": "reject", "opened_at": None}, within), "a no is not rubber-stamped"
    assert fatigue.warning(10, 4, within) == fatigue.warning(20, 9, within) == ""
    assert fatigue.warning(10, 5, within)


@pytest.mark.capability("APR-12", part="the first opening of a card by who may decide is kept")
async def test_only_the_first_opening_by_somebody_who_may_decide_is_kept(world: World) -> None:
    approval = await asked(world, behind="owner")
    for who in ("viewer", "owner", "approver", "approver"):
        await service.show(world.ctx(who), approval["id"])
    (seen,) = await world.rows("approval_seen")
    assert seen["person_id"] == world.ids["approver"]


# step-up ------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("IDN-20", part="a rule wants it, and it is refused without")
async def test_a_rule_with_step_up_is_decided_with_a_fresh_second_factor_and_never_without(world: World) -> None:
    approval = await asked(world, "approve:1 stepup", behind="owner")
    card = await service.show(world.ctx("approver"), approval["id"])
    assert (card["eligibility"]["eligible"], card["eligibility"]["step_up"]) == (True, True)
    for stale in (None, now() - timedelta(minutes=11), now() + timedelta(minutes=5)):
        with pytest.raises(StepUpRequired):
            await service.decide(
                replace(world.ctx("approver"), stepped_up_at=stale), approval["id"], "approve", approval["digest"]
            )
    with pytest.raises(NotEligible):
        await service.decide(
            replace(world.ctx("viewer"), stepped_up_at=now()), approval["id"], "approve", approval["digest"]
        )
    assert (await row_of(world, approval["id"]))["state"] == "open"
    assert len(await world.events("approval.decision.refused")) == 4
    fresh = replace(world.ctx("approver"), stepped_up_at=now() - timedelta(minutes=2))
    done = await service.decide(fresh, approval["id"], "approve", approval["digest"])
    assert done["state"] == "approved"
    assert done["votes"][0]["stepped_up_at"] == fresh.stepped_up_at, "recorded in the approval"


async def test_a_step_up_for_a_confirmation_is_not_asked_of_who_approves(world: World) -> None:
    approval = await asked(world, "confirm stepup", "approve:1", behind="owner")
    await say(world, "approver", approval)
    with pytest.raises(StepUpRequired):
        await say(world, "owner", approval)
    fresh = replace(world.ctx("owner"), stepped_up_at=now())
    assert (await service.decide(fresh, approval["id"], "approve", approval["digest"]))["state"] == "approved"


@pytest.mark.capability("APR-6", part="the inbox: mine, my groups', all")
async def test_the_inbox_tells_mine_my_groups_and_all_apart(world: World) -> None:
    await group(world, "security", "admin", "viewer")
    free, named = (
        await asked(world, behind="owner", number=1),
        await asked(world, "approve:1 of group:security", behind="owner", number=2),
    )
    both = await asked(world, "approve:2", behind="owner", number=3)
    await say(world, "approver", both)

    async def inbox(who: str, whose: str) -> list[str]:
        return [row["id"] for row in await service.listing(world.ctx(who), world.workspace_id, "open", None, 50, whose)]

    assert await inbox("approver", "mine") == [free["id"]], "decided already, or of a group that they are not in"
    assert await inbox("admin", "mine") == [both["id"], named["id"], free["id"]]
    assert await inbox("viewer", "mine") == []
    assert await inbox("viewer", "groups") == await inbox("admin", "groups") == [named["id"]]
    assert await inbox("owner", "all") == [both["id"], named["id"], free["id"]]
    page = await service.listing(world.ctx("admin"), world.workspace_id, "open", None, 1, "mine")
    assert [row["id"] for row in page] == [both["id"], named["id"]], "one more than the limit"
    assert later(hours=1) > now()
