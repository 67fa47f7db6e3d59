"""Reminders, escalation and expiry: due work done once, whoever sweeps, and told to whom it concerns."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.approvals.asking import Row, asked, due_at, group, join, later, make_older, row_of, say, sweep
from tests.workspaces.world import World, make
from worka.approvals import explain, jobs, service, timing
from worka.approvals.errors import BadSettings, NotEligible
from worka.kernel.errors import Denied
from worka.kernel.settings import ApprovalSettings

AT = datetime(2026, 1, 1, tzinfo=UTC)
EMPTY: Row = dict.fromkeys(
    ("expires_minutes", "remind_minutes", "remind_times", "escalate_minutes", "escalate_to", "blanket_seconds")
)


async def configure(world: World, **wanted: Any) -> Row:
    return await timing.put(world.ctx("owner"), world.workspace_id, {**EMPTY, **wanted})


def when(**own: Any) -> timing.Timing:
    return timing.timing(ApprovalSettings(), {**EMPTY, **own})


def row(**changes: Any) -> Row:
    base = {"created_at": AT, "escalated_at": None, "reminders": 0, "expires_at": AT + timedelta(hours=72)}
    return {**base, **changes}


@pytest.mark.capability("APR-11", part="when a reminder and the escalation are due")
def test_reminders_come_in_their_rhythm_and_the_escalation_once() -> None:
    holds = when(remind_minutes=10, remind_times=2, escalate_minutes=60)
    minute = timedelta(minutes=1)
    assert timing.first_due(holds, AT, AT + timedelta(hours=72)) == AT + 10 * minute
    assert timing.due(holds, row(), AT + 9 * minute) == timing.Due(False, False, AT + 10 * minute)
    assert timing.due(holds, row(), AT + 10 * minute) == timing.Due(False, True, AT + 20 * minute)
    assert timing.due(holds, row(reminders=2), AT + 30 * minute) == timing.Due(False, False, AT + 60 * minute)
    assert timing.due(holds, row(reminders=2), AT + 60 * minute) == timing.Due(True, False, None)
    assert timing.due(holds, row(reminders=2, escalated_at=AT), AT + 61 * minute) == timing.Due(False, False, None)


def test_what_was_missed_is_done_once_and_nothing_is_due_after_the_end() -> None:
    holds = when(remind_minutes=10, remind_times=5, escalate_minutes=0)
    minute = timedelta(minutes=1)
    late = timing.due(holds, row(), AT + 45 * minute)
    assert (late.remind, late.again) == (True, AT + 55 * minute)
    ends = row(expires_at=AT + 15 * minute)
    assert timing.due(holds, ends, AT + 10 * minute) == timing.Due(False, True, None)
    assert timing.first_due(holds, AT, AT + 5 * minute) is None
    assert timing.first_due(when(remind_minutes=0, escalate_minutes=0), AT, AT + timedelta(days=9)) is None


def test_a_workspace_may_shorten_the_life_of_approvals_and_never_lengthen_it() -> None:
    assert when().life == timedelta(hours=72)
    assert when(expires_minutes=30).life == timedelta(minutes=30)
    assert timing.timing(ApprovalSettings(expires_hours=1), {**EMPTY, "expires_minutes": 999}).life == timedelta(
        hours=1
    )


@pytest.mark.capability("APR-11", part="reminders")
async def test_who_may_decide_is_reminded_once_however_many_workers_sweep(world: World) -> None:
    await configure(world, remind_minutes=10, remind_times=2, escalate_minutes=0)
    approval = await asked(world, behind="owner")
    assert await sweep(world) == 0, "not due yet"
    await make_older(world, approval["id"], 11)
    await asyncio.gather(*(sweep(world) for _ in range(4)))
    (event,) = await world.events("approval.reminded")
    # The owner is behind it: those who are told are those who may decide, by the same function.
    told = [person["name"] for person in event["data"]["people"]]
    assert told == ["admin", "approver"] == (await service.show(world.ctx("owner"), approval["id"]))["who_could"]
    (word,) = await world.rows("outbox", "topic = 'approval.reminder'")
    assert word["payload"]["approval_id"] == approval["id"]
    assert [person["id"] for person in word["payload"]["people"]] == [world.ids["admin"], world.ids["approver"]]
    assert "exact text" not in str(word["payload"])
    assert (await row_of(world, approval["id"]))["reminders"] == 1
    await make_older(world, approval["id"], 10)
    await sweep(world)
    await make_older(world, approval["id"], 30)
    await sweep(world)
    assert len(await world.events("approval.reminded")) == 2, "as often as is set, and no more"


@pytest.mark.capability("APR-11", part="a tenant that cannot be served keeps no other waiting")
@pytest.mark.parametrize("ill", ["policy", "keys"])
async def test_a_tenant_that_cannot_be_served_keeps_no_other_waiting(world: World, ill: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "keys").mkdir(mode=0o700, parents=True)
    other = await make(world.db, elsewhere if ill == "keys" else world.settings.home)
    for one in (other, world):
        await configure(one, remind_minutes=10, remind_times=2, escalate_minutes=0)
        await make_older(one, (await asked(one, behind="owner"))["id"], 11 if one is world else 2000)
        ended = await asked(one, behind="owner", number=2)
        async with world.db.transaction(one.tenant_id) as conn:
            await conn.execute(
                "update worka.approval set expires_at = now() - make_interval(mins => %s) where id = %s",
                (1 if one is world else 2000, ended["id"]),
            )
    if ill == "policy":
        await write_policy(other, 1000, "forbid(principal, action")
    try:
        # One at a time: the other tenant's stands first in line every time.
        assert await jobs.remind_due(world.nobody(), 1) == 1
        assert len(await world.events("approval.reminded")) == 1
        assert not await other.events("approval.reminded"), "the control: it could not be served"
        for _ in range(2):  # it takes no policy to expire: then the other tenant's is the first of the two
            await jobs.expire_due(world.nobody(), 1)
        assert len(await world.events("approval.expired")) == 1
    finally:
        if ill == "policy":
            await write_policy(other, 1001, "")


async def write_policy(world: World, version: int, text: str) -> None:
    """A version of the tenant's access policy, past every check."""
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.policy_version (tenant_id, kind, version, text, owner_person_id, created_by)"
            " values (%s, 'access', %s, %s, 'test', 'test')",
            (world.tenant_id, version, text),
        )


@pytest.mark.capability("APR-11", part="escalation")
async def test_after_a_time_owners_may_take_any_seat_and_everybody_sees_it(world: World) -> None:
    await configure(world, remind_minutes=0, escalate_minutes=60)
    await join(world, "sara")
    await group(world, "security", "sara")
    approval = await asked(world, "approve:1 of group:security")
    with pytest.raises(NotEligible, match="none of the groups"):
        await say(world, "owner", approval)
    await make_older(world, approval["id"], 61)
    await asyncio.gather(*(sweep(world) for _ in range(4)))
    (event,) = await world.events("approval.escalated")
    assert [person["name"] for person in event["data"]["people"]] == ["owner", "sara"]
    assert len(await world.rows("outbox", "topic = 'approval.escalation'")) == 1
    card = await service.show(world.ctx("owner"), approval["id"])
    assert (card["escalated_to"], set(card["who_could"])) == ("owners", {"owner", "sara"})
    told = await explain.explain(world.ctx("owner"), approval["id"])
    assert "escalated to owners" in told.headline
    assert told.waiting_on[0].you_can
    with pytest.raises(NotEligible):
        await say(world, "admin", approval)
    assert (await say(world, "owner", approval))["state"] == "approved"
    assert await due_at(world, approval["id"]) is None or await sweep(world) == 0


@pytest.mark.capability("APR-11", part="escalation holds four eyes and the permission")
async def test_an_escalation_lets_nobody_decide_who_asked_or_may_not_approve(world: World) -> None:
    await group(world, "security", "approver")
    await group(world, "board", "viewer", "owner", "admin")
    await configure(world, remind_minutes=0, escalate_minutes=60, escalate_to="board")
    approval = await asked(world, "approve:1 of group:security", behind="owner")
    await make_older(world, approval["id"], 61)
    assert await sweep(world) == 1
    with pytest.raises(NotEligible, match="do not hold the permission"):
        await say(world, "viewer", approval)
    with pytest.raises(NotEligible, match="four eyes"):
        await say(world, "owner", approval)
    assert (await say(world, "admin", approval))["state"] == "approved"


async def test_a_confirmation_is_never_escalated_and_its_person_is_reminded(world: World) -> None:
    await configure(world, remind_minutes=0, escalate_minutes=60)
    approval = await asked(world, "confirm", behind="member")
    await make_older(world, approval["id"], 61)
    assert await sweep(world) == 1
    assert await world.events("approval.escalated") == []
    (event,) = await world.events("approval.reminded")
    assert [person["name"] for person in event["data"]["people"]] == ["member"]
    with pytest.raises(NotEligible):
        await say(world, "owner", approval)
    assert (await say(world, "member", approval))["state"] == "approved"


async def test_a_workspaces_own_life_of_approvals_holds_for_new_ones(world: World) -> None:
    await configure(world, expires_minutes=5)
    approval = await asked(world)
    assert approval["expires_at"] <= later(minutes=5)
    assert approval["expires_at"] > later(minutes=4)
    for who in ("admin", "approver", "member"):
        with pytest.raises(Denied):
            await timing.put(world.ctx(who), world.workspace_id, EMPTY)
    with pytest.raises(BadSettings, match="minutes at most"):
        await configure(world, expires_minutes=72 * 60 + 1)
    with pytest.raises(BadSettings, match="no group here"):
        await configure(world, escalate_to="nobody")
    (event,) = await world.events("approval.settings.changed")
    assert event["after"]["expires_minutes"] == 5


async def test_new_settings_reach_what_is_open_already(world: World) -> None:
    await configure(world, remind_minutes=0, escalate_minutes=0)
    approval = await asked(world)
    assert await due_at(world, approval["id"]) is None
    await make_older(world, approval["id"], 30)
    await configure(world, remind_minutes=10, remind_times=3, escalate_minutes=0)
    assert await sweep(world) == 1
    assert len(await world.events("approval.reminded")) == 1


@pytest.mark.capability("DEP-10", part="when approvals are reminded of")
async def test_another_tenants_sweep_and_settings_touch_nothing_here(world: World) -> None:
    other = await make(world.db, world.settings.home)
    await configure(world, remind_minutes=10, escalate_minutes=0)
    approval = await asked(world)
    for ctx in (other.ctx("owner"), replace(other.ctx("owner"), tenant_id=world.tenant_id)):
        for attempt in (timing.show(ctx, world.workspace_id), timing.put(ctx, world.workspace_id, EMPTY)):
            with pytest.raises(Denied):
                await attempt
    await make_older(world, approval["id"], 11)
    assert await sweep(world) == 1
    assert await other.events("approval.reminded") == []
    assert len(await world.events("approval.reminded")) == 1
