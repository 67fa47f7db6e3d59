"""Limits on tasks at once: what finds no place waits in line, says why, and goes on by itself; on the real engine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.database import nobody_writes
from tests.workflows.test_tasks import LOG
from tests.workflows.world import Row, World, ok
from tests.workspaces.world import somebody_waits
from worka.kernel.clock import now
from worka.workflows import explain, service
from worka.workspaces.errors import RateReached
from worka.workspaces.limits import service as limits

PLAIN = {**LOG, "arguments": {}}
HELD = ("queued", "queued_over_quota")
OPS = pytest.mark.capability("OPS-7", part="tasks at once")


async def limit(world: World, value: int | None, scope: str = "workspace", layer: str = "workspace") -> Row:
    wish = {"layer": layer, "scope": scope, "name": "tasks_at_once", "value": value, "reason": "the tracker is slow"}
    return await limits.set_limit(world.ctx(world.owner), world.workspace_id, wish)


class Gate:
    """The tool answers once it is opened; how many ran at once at most is counted from outside of the platform."""

    def __init__(self, world: World) -> None:
        self.open = asyncio.Event()
        self.inside: list[str] = []
        self.most = 0
        self.order: list[str] = []
        world.host.answers["log"] = self.answer

    async def answer(self, arguments: Row, meta: Row) -> Row:
        task = meta["idempotency_key"].partition(":")[0]
        self.inside.append(task)
        self.order.append(task)
        self.most = max(self.most, len(self.inside))
        await self.open.wait()
        await asyncio.sleep(0.05)
        self.inside.remove(task)
        return ok(json.dumps(arguments))

    async def until(self, number: int, seconds: float = 60) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while len(self.inside) < number:
            assert asyncio.get_running_loop().time() < deadline, f"{len(self.inside)} run, not {number}"
            await asyncio.sleep(0.02)


async def until_held(world: World, task_id: str) -> Row:
    async with asyncio.timeout(60):
        while True:
            task = await world.task(task_id)
            if (task["state"], task["reason"]) == HELD:
                return task
            await asyncio.sleep(0.05)


async def begin(world: World, name: str, who: str) -> str:
    made = await service.create(world.ctx(who), workflow=name, version=None, inputs={}, member_id=world.member_id)
    return str(made["id"])


@OPS
async def test_a_task_over_the_limit_waits_in_line_says_for_which_limit_and_goes_on_by_itself(world: World) -> None:
    gate = Gate(world)
    made = await limit(world, 1)
    world.work()
    first = await world.start([PLAIN])
    await gate.until(1)
    second = await world.start([PLAIN])
    await until_held(world, second)
    why = await explain.explain(world.ctx(world.owner), second)
    assert (why.state, why.reason, why.layer) == (*HELD, "capacity")
    assert "1 of 1 tasks at once run in this workspace" in why.headline
    (wait,) = why.waiting_on
    assert (wait.kind, wait.ref) == ("quota", "tasks_at_once")
    assert any(first in who for who in wait.who), "who holds the place"
    assert f"revision {made['revision']}" in wait.name
    assert "the tracker is slow" in wait.name
    assert wait.you_can, "the owner can raise it"
    assert any(action.command.startswith("worka limits set tasks_at_once 2") for action in why.next)
    viewer = await explain.explain(world.ctx(world.viewer), second)
    assert not viewer.waiting_on[0].you_can
    assert viewer.waiting_on[0].because
    gate.open.set()
    assert (await world.until(second, "succeeded"))["attempt"] == 1
    await world.until(first, "succeeded")
    assert gate.most == 1
    (event,) = await world.rows("select * from worka.event where type = 'workflow.task.held'")
    assert event["subject"] == second


@OPS
async def test_two_workers_that_race_for_the_last_place_do_not_both_take_it(world: World) -> None:
    gate = Gate(world)
    await limit(world, 2)
    world.work("1")
    world.work("2")
    name = await world.save([PLAIN])
    tasks = [await begin(world, name, world.owner) for _ in range(8)]
    await gate.until(2)
    await asyncio.sleep(1.5)  # the sweeps of both workers have looked at the line meanwhile
    assert len(gate.inside) == 2
    gate.open.set()
    for task in tasks:
        await world.until(task, "succeeded", seconds=40)
    assert gate.most == 2
    assert sorted(gate.order) == sorted(tasks), "each once, none lost"


@OPS
async def test_one_member_with_many_tasks_does_not_stand_before_another_with_one(world: World) -> None:
    gate = Gate(world)
    await limit(world, 1)
    world.work()
    name = await world.save([PLAIN])
    flood = [await begin(world, name, world.owner)]
    await gate.until(1)
    flood += [await begin(world, name, world.owner) for _ in range(4)]
    for task in flood[1:]:
        await until_held(world, task)
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'member' where principal_id = %s", (world.viewer,))
    one = await begin(world, name, world.viewer)
    await until_held(world, one)
    gate.open.set()
    await world.until(one, "succeeded", seconds=40)
    assert gate.order.index(one) == 1, "the next one after the one that ran"
    for task in flood:
        await world.until(task, "succeeded", seconds=40)


@OPS
async def test_a_members_own_limit_holds_back_that_member_alone(world: World) -> None:
    gate = Gate(world)
    await limit(world, 1, scope="member")
    world.work()
    name = await world.save([PLAIN])
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'member' where principal_id = %s", (world.viewer,))
    mine = [await begin(world, name, world.owner) for _ in range(2)]
    await gate.until(1)
    other = await begin(world, name, world.viewer)
    await gate.until(2)
    assert other in gate.inside, "the control: another member's runs beside it"
    held = next(task for task in mine if task not in gate.inside)
    await until_held(world, held)
    gate.open.set()
    for task in (*mine, other):
        await world.until(task, "succeeded")


@OPS
async def test_a_held_task_is_cancelled_raised_and_lets_nobody_call_it_lost(world: World) -> None:
    gate = Gate(world)
    await limit(world, 0)
    world.work()
    stopped = await world.start([PLAIN])
    held = await until_held(world, stopped)
    # Longer than a lease: what is silent for so long would be offered again as lost.
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.task set since = now() - interval '1 hour' where id = %s", (stopped,))
    await asyncio.sleep(2.5)
    task = await world.task(stopped)
    assert ((task["state"], task["reason"]), task["error"], task["attempt"]) == (HELD, held["error"], 0)
    await service.cancel(world.ctx(world.owner), stopped, "not wanted")
    assert (await world.task(stopped))["state"] == "cancelled"
    raised = await world.start([PLAIN])
    await until_held(world, raised)
    await limit(world, 1)
    await gate.until(1)
    gate.open.set()
    await world.until(raised, "succeeded")


@OPS
async def test_a_clock_that_was_set_back_does_not_keep_a_task_in_line(world: World) -> None:
    gate = Gate(world)
    gate.open.set()
    await limit(world, 0)
    world.work()
    task_id = await world.start([PLAIN])
    await until_held(world, task_id)
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.task set since = now() + interval '1 day', held_since = now() + interval '1 day' where id = %s",
            (task_id,),
        )
    await limit(world, 1)
    done: Any = await world.until(task_id, "succeeded")
    assert done["since"] < now() or done["ended_at"] is not None


@pytest.mark.capability("OPS-7", part="tasks in an hour")
async def test_a_task_too_many_in_an_hour_is_refused_until_the_first_is_an_hour_old(world: World) -> None:
    name = await world.save([PLAIN])
    wish = {"layer": "workspace", "scope": "member", "name": "tasks_per_hour", "value": 2, "reason": "the budget"}
    await limits.set_limit(world.ctx(world.owner), world.workspace_id, wish)
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'member' where principal_id = %s", (world.viewer,))

    async def one(who: str) -> str:
        try:
            return await begin(world, name, who)
        except RateReached as problem:
            return problem.problem_code

    # Nobody's task is written before everybody asks: whoever looks without waiting for the others finds both places free.
    async with nobody_writes(world.db, world.tenant_id, "task"):
        racing = asyncio.gather(*(one(world.owner) for _ in range(4)))
        await somebody_waits(world, many=4)
    got = await racing
    assert got.count("rate_limit_reached") == 2, "two who race for the last do not both get it"
    with pytest.raises(RateReached, match="2 of 2 tasks started in an hour") as refused:
        await begin(world, name, world.owner)
    assert 3500 < refused.value.extra["retry_after"] <= 3600
    assert await one(world.viewer) != "rate_limit_reached", "another member's are not counted among them"
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.task set created_at = now() - interval '59 minutes' where id = %s",
            (next(task for task in got if task.startswith("task_")),),
        )
    with pytest.raises(RateReached) as later:
        await begin(world, name, world.owner)
    assert 0 < later.value.extra["retry_after"] <= 60
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.task set created_at = created_at - interval '2 minutes'")
    assert (await one(world.owner)).startswith("task_")


@pytest.mark.capability("OPS-7", part="calls of packs in a minute")
async def test_a_step_over_the_limit_on_calls_pauses_without_a_failure_and_goes_on(world: World) -> None:
    world.work()
    wish = {"layer": "workspace", "scope": "workspace", "name": "pack_calls_per_minute", "value": 1, "reason": "slowly"}
    await limits.set_limit(world.ctx(world.owner), world.workspace_id, wish)
    await world.until(await world.start([PLAIN]), "succeeded")
    task_id = await world.start([PLAIN])
    paused = await world.until(task_id, "retrying")
    assert paused["error"]["code"] == "rate_limit_reached"
    assert "1 of 1 calls of packs in a minute" in paused["error"]["message"]
    assert len(world.host.called("log")) == 1
    why = await explain.explain(world.ctx(world.owner), task_id)
    assert (why.state, why.layer) == ("retrying", "capacity")
    assert why.last_error is not None
    assert "slowly" in why.last_error.message
    # The first call is a minute old now.
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.invocation set started_at = now() - interval '2 minutes'")
        await conn.execute("update worka.task set next_try = now() where id = %s", (task_id,))
    done = await world.until(task_id, "succeeded")
    assert done["steps"][0]["attempt"] == 1, "what was paused was no try"


@OPS
@pytest.mark.faults
async def test_a_worker_killed_while_it_lets_a_task_on_leaves_it_in_line_for_the_next(world: World) -> None:
    gate = Gate(world)
    await limit(world, 1)
    worker = world.work("1", failpoint="task.resumed.before_commit")
    first = await world.start([PLAIN])
    await gate.until(1)
    second = await world.start([PLAIN])
    await until_held(world, second)
    gate.open.set()
    await world.until(first, "succeeded")
    await worker.died()
    assert worker.proof.exists(), "the fault hit"
    task = await world.task(second)
    assert (task["state"], task["reason"]) == HELD
    world.work("2")
    assert (await world.until(second, "succeeded"))["attempt"] == 1
    assert gate.order == [first, second]
