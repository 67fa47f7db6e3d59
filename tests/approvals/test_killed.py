"""Processes killed at each commit of approvals, and at moments picked by seed around a decision: one outcome, or none yet."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from typing import Any

import pytest

from tests.approvals.asking import Row, asked, group, make_older, row_of, say
from tests.approvals.test_timing import configure
from tests.support import processes
from tests.workspaces.world import World
from worka.approvals import jobs, timing

RESUMED = "topic = 'resumed'"

PROGRAM = """
import asyncio, json, sys
from datetime import timedelta
from pathlib import Path
from tests.workspaces.world import World
from tests.approvals import asking
from worka.approvals import batch, bypass, delegations, groups, jobs, service, timing
from worka.approvals.errors import NotOpen
from worka.kernel.clock import now
from worka.kernel.db import Database
from worka.kernel.settings import Settings

async def resume(ctx, payload):
    await ctx.conn.execute(
        "insert into worka.outbox (tenant_id, id, topic, payload) values (%s, %s, 'resumed', '{}')",
        (ctx.tenant_id, payload["approval_id"]),
    )

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    world.subscribers.on("approval.decided", resume)
    who, do, rows = world.ctx(given["who"]), given["do"], given["rows"]
    print("ready", flush=True)
    sys.stdin.readline()
    if do == "decide":
        try:
            await service.decide(who, rows[0]["id"], "approve", rows[0]["digest"])
        except NotOpen:
            print("not open", flush=True)
    elif do == "batch":
        items = [{"approval_id": row["id"], "decision": "approve", "digest": row["digest"], "comment": ""} for row in rows]
        await batch.decide(who, world.workspace_id, items)
    elif do == "group":
        await groups.create(who, world.workspace_id, "security", "", [world.ids["approver"]])
    elif do == "delegate":
        await delegations.delegate(who, world.workspace_id, world.ids["viewer"], now() + timedelta(hours=1))
    elif do == "settings":
        await timing.put(who, world.workspace_id, {**dict.fromkeys(given["settings"]), "remind_minutes": 7})
    elif do == "sweep":
        await jobs.remind_due(world.nobody())
    elif do == "bypass":
        await bypass.open_(who, world.workspace_id, "boundary", "tool.external_side_effect", "w", now() + timedelta(hours=1), 2)
    elif do == "ask":
        await asking.asked(world)
    print("done", flush=True)
    await db.close()

asyncio.run(main(json.loads(sys.stdin.readline())))
"""


class Child:
    """A process of its own that stands ready before one use case."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def go(self) -> None:
        """Lets it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()

    async def end(self) -> tuple[int, str]:
        """How it ended, and what it said."""
        said, wrong = await self.process.communicate()
        return processes.ended(self.process, wrong), said.decode()


async def child(
    world: World, cluster: Any, do: str, *rows: Row, who: str = "approver", failpoint: str | None = None
) -> Child:
    process = await processes.start(PROGRAM, failpoint)
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id, "who": who, "do": do,
        "workspace": world.workspace_id, "ids": world.ids, "settings": list(timing.store.SETTINGS),
        "rows": [{"id": row["id"], "digest": row["digest"]} for row in rows],
    }  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(given).encode() + b"\n")
    assert await process.stdout.readline() == b"ready\n", (await process.communicate())[1].decode()
    return Child(process)


async def run(world: World, cluster: Any, do: str, *rows: Row, **how: Any) -> int:
    """Runs one use case in a process of its own; returns how that ended."""
    started = await child(world, cluster, do, *rows, **how)
    await started.go()
    return (await started.end())[0]


@pytest.mark.faults
@pytest.mark.capability("APR-11", part="a kill at each commit of groups, delegation and settings leaves all or nothing")
@pytest.mark.parametrize(
    ("do", "who", "failpoint", "table", "event"),
    [
        ("group", "owner", "approval.group.before_commit", "approval_group", "approval.group.created"),
        ("delegate", "approver", "approval.delegation.before_commit", "approval_delegation",
         "approval.delegation.created"),
        ("settings", "owner", "approval.settings.before_commit", "approval_settings", "approval.settings.changed"),
        ("bypass", "owner", "approval.bypass.before_commit", "approval_bypass", "approval.bypass.opened"),
    ],
)  # fmt: skip
async def test_a_kill_before_the_commit_leaves_nothing_and_the_repeat_does_it(
    world: World, cluster: Any, do: str, who: str, failpoint: str, table: str, event: str
) -> None:
    assert await run(world, cluster, do, who=who, failpoint=failpoint) == -signal.SIGKILL
    assert (await world.rows(table), await world.events(event)) == ([], [])
    assert await run(world, cluster, do, who=who) == 0
    assert (len(await world.rows(table)), len(await world.events(event))) == (1, 1)


@pytest.mark.faults
@pytest.mark.capability("APR-11", part="reminders and escalation are told once, also over a kill")
@pytest.mark.parametrize(
    ("failpoint", "wanted", "event"),
    [
        ("approval.reminded.before_commit", {"remind_minutes": 10, "escalate_minutes": 0}, "approval.reminded"),
        ("approval.escalated.before_commit", {"remind_minutes": 0, "escalate_minutes": 10}, "approval.escalated"),
    ],
)
async def test_a_kill_before_a_reminder_is_committed_tells_nobody_and_the_next_sweep_tells_once(
    world: World, cluster: Any, failpoint: str, wanted: Row, event: str
) -> None:
    await configure(world, **wanted)
    approval = await asked(world)
    await make_older(world, approval["id"], 11)
    assert await run(world, cluster, "sweep", failpoint=failpoint) == -signal.SIGKILL
    told = f"topic in ('{jobs.REMINDER}', '{jobs.ESCALATION}')"
    assert (await world.events(event), await world.rows("outbox", told)) == ([], [])
    both = [await child(world, cluster, "sweep") for _ in range(2)]
    await asyncio.gather(*(one.go() for one in both))
    assert [code for code, _ in await asyncio.gather(*(one.end() for one in both))] == [0, 0]
    assert (len(await world.events(event)), len(await world.rows("outbox", told))) == (1, 1), (
        "two processes told it once"
    )


@pytest.mark.faults
@pytest.mark.capability("APR-12", part="a kill before a bypassed approval is committed uses nothing up")
async def test_a_kill_before_a_bypassed_approval_is_committed_uses_nothing_up(world: World, cluster: Any) -> None:
    assert await run(world, cluster, "bypass", who="owner") == 0
    assert await run(world, cluster, "ask", failpoint="approval.bypassed.before_commit") == -signal.SIGKILL
    (row,) = await world.rows("approval_bypass")
    assert (row["uses"], await world.rows("approval")) == (0, [])
    assert await run(world, cluster, "ask") == 0
    (row,) = await world.rows("approval_bypass")
    (approval,) = await world.rows("approval")
    assert (row["uses"], approval["reason"], len(await world.rows("outbox", RESUMED))) == (1, "bypassed", 1)


@pytest.mark.faults
@pytest.mark.capability("APR-9", part="the approver's process killed at moments picked by seed: one outcome")
@pytest.mark.parametrize("seed", range(20261128, 20261128 + int(os.environ.get("APPROVAL_SEEDS", "3"))))
async def test_the_approvers_process_killed_around_the_decision_leaves_one_outcome(
    world: World, cluster: Any, seed: int
) -> None:
    chance = random.Random(seed)
    approval = await asked(world, behind="owner")
    for _ in range(6):
        doomed = await child(world, cluster, "decide", approval)
        await doomed.go()
        await asyncio.sleep(chance.uniform(0, 0.12))
        if doomed.process.returncode is None:
            doomed.process.kill()
        await doomed.end()
        state = (await row_of(world, approval["id"]))["state"]
        decided = state == "approved"
        votes, words = await world.rows("approval_vote"), await world.rows("outbox", RESUMED)
        events = await world.events("approval.approved")
        assert (len(votes), len(words), len(events)) == (int(decided),) * 3, f"seed {seed}: {state}"
        if decided:
            break
    assert await run(world, cluster, "decide", approval) == 0
    assert (await row_of(world, approval["id"]))["state"] == "approved"
    counted = [len(await world.rows("approval_vote")), len(await world.rows("outbox", RESUMED))]
    assert counted == [1, 1], f"seed {seed}"


@pytest.mark.faults
@pytest.mark.capability("APR-12", part="a batch killed in the middle: each item whole, and the repeat does the rest")
@pytest.mark.parametrize("seed", [7, 8])
async def test_a_batch_killed_in_the_middle_leaves_each_item_whole_and_its_repeat_does_the_rest(
    world: World, cluster: Any, seed: int
) -> None:
    rows = [await asked(world, behind="owner", number=number) for number in range(6)]
    doomed = await child(world, cluster, "batch", *rows)
    await doomed.go()
    await asyncio.sleep(random.Random(seed).uniform(0.02, 0.2))
    if doomed.process.returncode is None:
        doomed.process.kill()
    await doomed.end()
    for row in rows:
        decided = (await row_of(world, row["id"]))["state"] == "approved"
        assert len(await world.rows("approval_vote", "approval_id = %s", row["id"])) == int(decided)
        assert len(await world.rows("outbox", "id = %s", row["id"])) == int(decided)
    assert await run(world, cluster, "batch", *rows) == 0
    assert {(await row_of(world, row["id"]))["state"] for row in rows} == {"approved"}
    assert len(await world.rows("outbox", RESUMED)) == 6


@pytest.mark.faults
@pytest.mark.capability("APR-9", part="two approvers' processes at once: one decision, one resumption")
async def test_two_racing_approvers_in_two_processes_decide_once(world: World, cluster: Any) -> None:
    approval = await asked(world, behind="owner")
    both = [await child(world, cluster, "decide", approval, who=who) for who in ("approver", "admin")]
    await asyncio.gather(*(one.go() for one in both))
    said = [text for _, text in await asyncio.gather(*(one.end() for one in both))]
    assert sorted("not open" in text for text in said) == [False, True]
    assert len(await world.rows("approval_vote")) == len(await world.rows("outbox", RESUMED)) == 1
    # The control: under a rule for two both count.
    second = await asked(world, "approve:2", behind="owner", number=2)
    both = [await child(world, cluster, "decide", second, who=who) for who in ("approver", "admin")]
    await asyncio.gather(*(one.go() for one in both))
    await asyncio.gather(*(one.end() for one in both))
    assert (await row_of(world, second["id"]))["state"] == "approved"
    assert len(await world.rows("approval_vote", "approval_id = %s", second["id"])) == 2


async def test_a_seat_that_is_taken_away_while_somebody_decides_is_taken_away_or_used_and_not_both(
    world: World,
) -> None:
    from worka.approvals import groups

    made = await group(world, "security", "approver")
    approval = await asked(world, "approve:1 of group:security", behind="owner")

    async def take() -> None:
        await groups.change(world.ctx("owner"), made["id"], None, [], [world.ids["approver"]])

    done = await asyncio.gather(take(), say(world, "approver", approval), return_exceptions=True)
    state = (await row_of(world, approval["id"]))["state"]
    assert (state == "approved") == (not isinstance(done[1], BaseException))
    # Whoever decides after the removal returned is refused.
    later = await asked(world, "approve:1 of group:security", behind="owner", number=2)
    assert later["reason"] == "nobody_can_decide"
