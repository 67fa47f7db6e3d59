"""Workers are killed with SIGKILL at every commit of the road, stopped past their lease, and doubled. Judged from
outside: the host's book of effects, and what the caller sees.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import psycopg
import pytest

from tests.workflows.test_tasks import KEEP, LOG, PUBLISH, SEND, SHOW
from tests.workflows.world import Row, World, ok
from worka.kernel import failpoints
from worka.workflows import explain, service

WITHIN = 10.0
"""A killed worker's task goes on within ten seconds (design/bars.md)."""
# Where a worker can die on this road; the others die in the process that creates or decides (tests/faults).
POINTS = [
    "approval.consumed.before_commit",
    "approval.requested.before_commit",
    "audit.flushed.before_commit",
    "pack.invocation.after_effect",
    "pack.invocation.after_intent",
    "pack.invocation.intent.before_commit",
    "pack.invocation.outcome.before_commit",
    "step.intent.before_commit",
    "step.outcome.before_commit",
    "task.claimed.after_commit",
    "task.finished.before_commit",
    "task.waiting.before_commit",
    "view.published.before_commit",
]


@pytest.mark.faults
@pytest.mark.capability("TSK-13", part="a worker killed at each commit of a task with an idempotent effect")
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_any_commit_the_task_ends_with_one_effect(world: World, point: str) -> None:
    assert point in failpoints.CATALOGUE
    world.host.answers["publish"] = world.host.effect
    task_id = await world.start([LOG, PUBLISH, SHOW], {"word": "x"})
    doomed = world.work("1", point)
    died_early = False
    for _ in range(400):
        state = (await world.task(task_id))["state"]
        if doomed.process.poll() is not None or state == "waiting":
            break
        await asyncio.sleep(0.05)
    if doomed.process.poll() is not None:
        died_early = True
        world.work("2")
        await world.until(task_id, "waiting", seconds=WITHIN + 4)
    await world.approve(task_id)
    if not died_early:
        assert await doomed.died() == -signal.SIGKILL
        world.work("2")
    done = await world.until(task_id, "succeeded", seconds=WITHIN + 4)
    assert doomed.proof.exists(), "the failpoint was hit"
    assert len(world.host.effects) == 1, "one effect: every request bore the same key"
    assert len({call["idempotency_key"] for call in world.host.called("log")}) == 1
    outcomes = [receipt for step in done["steps"] for receipt in step["receipts"] if receipt["phase"] == "outcome"]
    assert len(outcomes) == 3
    assert (await world.rows("select count(*) as n from worka.view_revision"))[0]["n"] == 1
    assert (await world.rows("select count(*) as n from worka.approval where consumed_at is not null"))[0]["n"] == 1


@pytest.mark.faults
@pytest.mark.capability("TSK-13", part="an unknown outcome is shown as unknown and asked about")
@pytest.mark.parametrize("outcome", ["retry", "failed"])
async def test_an_effect_that_may_have_happened_is_not_repeated_but_asked_about(world: World, outcome: str) -> None:
    world.host.answers["send"] = world.host.effect
    task_id = await world.start([LOG, SEND], {"word": "x"})
    first = world.work("1")
    await world.until(task_id, "waiting")
    first.kill()
    doomed = world.work("2", "pack.invocation.after_effect")
    await world.approve(task_id)
    assert await doomed.died() == -signal.SIGKILL
    world.work("3")
    unknown = await world.until(task_id, "unknown", seconds=WITHIN + 4)
    assert unknown["steps"][1]["state"] == "unknown"
    assert list(world.host.effects.values()) == [1], "it was not sent again"
    wait = next(wait for wait in unknown["waits"] if wait["cleared_at"] is None)
    assert wait["kind"] == "elicitation"
    why = await explain.explain(world.ctx(world.owner), task_id)
    assert (why.state, why.reason, why.certainty) == ("unknown", "unknown_outcome", "unknown")
    assert why.waiting_on[0].you_can
    assert not (await explain.explain(world.ctx(world.viewer), task_id)).waiting_on[0].you_can
    states = await world.rows(
        "select state, reason from worka.invocation where step_id = %s", unknown["steps"][1]["id"]
    )
    assert states == [{"state": "unknown", "reason": "outcome_lost"}]
    await service.resolve(world.ctx(world.owner), task_id, outcome, "looked at the tracker")
    done = await world.until(task_id, "succeeded", "failed", seconds=15)
    assert done["state"] == ("succeeded" if outcome == "retry" else "failed")
    assert len(world.host.effects) == 1, "the same key"
    assert (await world.rows("select count(*) as n from worka.approval"))[0]["n"] == 1, "a retry is the same use"


@pytest.mark.faults
async def test_a_write_that_is_idempotent_is_repeated_without_asking(world: World) -> None:
    world.host.answers["keep"] = world.host.effect
    doomed = world.work("1", "pack.invocation.after_effect")
    task_id = await world.start([{**KEEP, "arguments": {}}], {})
    assert await doomed.died() == -signal.SIGKILL
    began = time.monotonic()
    world.work("2")
    done = await world.until(task_id, "succeeded", seconds=WITHIN + 4)
    assert time.monotonic() - began < WITHIN + 4
    assert done["steps"][0]["attempt"] == 2
    assert len(world.host.effects) == 1


@pytest.mark.faults
@pytest.mark.capability("TSK-12")
async def test_a_worker_stopped_past_its_lease_cannot_commit_what_it_did(world: World) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    answers = iter(["from the zombie", "from the living"])

    async def slow(_arguments: Row, _meta: Row) -> Row:
        text = next(answers)
        if text == "from the zombie":
            begun.set()
            await go_on.wait()
        return ok(text)

    world.host.answers["log"] = slow
    zombie = world.work("1")
    task_id = await world.start([{**LOG, "arguments": {}}, SHOW | {"links": {}}], {})
    await asyncio.wait_for(begun.wait(), 20)
    zombie.signal(signal.SIGSTOP)
    world.work("2")
    done = await world.until(task_id, "succeeded", seconds=WITHIN + 4)
    go_on.set()
    zombie.signal(signal.SIGCONT)
    for _ in range(100):
        if "a late outcome was refused" in world.logs():
            break
        await asyncio.sleep(0.05)
    assert "a late outcome was refused" in world.logs(), world.logs()
    after = await world.task(task_id)
    assert after["steps"] == done["steps"]
    text = (await world.rows("select document->>'text' as text from worka.view_revision"))[0]["text"]
    assert text == "from the living"


@pytest.mark.faults
@pytest.mark.capability("TSK-12")
async def test_a_worker_that_lost_its_task_begins_nothing_more_of_it(world: World) -> None:
    """It goes on while the living one is in the middle of the step that it would have begun itself."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_arguments: Row, _meta: Row) -> Row:
        begun.set()
        await go_on.wait()
        return ok("from the living")

    world.host.answers["log"] = slow
    zombie = world.work("1", "task.claimed.after_commit", "STOP")
    task_id = await world.start([{**LOG, "arguments": {}}], {})
    for _ in range(400):
        if zombie.proof.exists():
            break
        await asyncio.sleep(0.05)
    assert zombie.proof.exists(), "the worker was stopped there"
    world.work("2")
    await asyncio.wait_for(begun.wait(), WITHIN + 4)
    zombie.signal(signal.SIGCONT)
    for _ in range(100):
        if "a late outcome was refused" in world.logs() or len(world.host.called("log")) > 1:
            break
        await asyncio.sleep(0.05)
    assert len(world.host.called("log")) == 1, "the worker that lost the task began its step again"
    go_on.set()
    done = await world.until(task_id, "succeeded", seconds=WITHIN + 4)
    assert done["attempt"] == 2
    assert len(world.host.called("log")) == 1


@pytest.mark.faults
@pytest.mark.capability("TSK-12")
@pytest.mark.parametrize("point", [p for p in POINTS if not p.startswith(("approval", "view", "task.waiting"))])
async def test_a_worker_stopped_inside_a_commit_holds_nobody_up_and_commits_nothing_when_it_goes_on(
    world: World, point: str
) -> None:
    """Stopped in an open transaction it holds the task's row and the head of the ledger: the database must free both."""
    world.host.answers["keep"] = world.host.effect
    zombie = world.work("1", point, "STOP")
    task_id = await world.start([LOG, {**KEEP, "arguments": {}}], {"word": "x"})
    for _ in range(400):
        if zombie.proof.exists():
            break
        await asyncio.sleep(0.05)
    assert zombie.proof.exists(), "the worker was stopped there"
    world.work("2")
    done = await world.until(task_id, "succeeded", seconds=WITHIN + 4)
    zombie.signal(signal.SIGCONT)
    await asyncio.sleep(1)
    assert zombie.process.poll() is None, f"it goes on as a worker:\n{zombie.said()}"
    after = await world.task(task_id)
    assert (after["steps"], after["attempt"]) == (done["steps"], done["attempt"])
    assert len(world.host.effects) == 1
    outcomes = [receipt for step in after["steps"] for receipt in step["receipts"] if receipt["phase"] == "outcome"]
    assert len(outcomes) == 2


@pytest.mark.faults
@pytest.mark.capability("TSK-12")
async def test_a_worker_that_lives_but_finishes_no_step_in_its_budget_loses_the_task(world: World) -> None:
    """It gives its signs of life all the time: what counts is the silence of the step."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_arguments: Row, _meta: Row) -> Row:
        if begun.is_set():
            return ok("from the other")
        begun.set()
        await go_on.wait()
        return ok("from the silent")

    world.host.answers["log"] = slow
    silent = world.work("1")
    task_id = await world.start([{**LOG, "arguments": {}, "seconds": 2}, SHOW | {"links": {}}], {})
    await asyncio.wait_for(begun.wait(), 20)
    world.work("2")
    done = await world.until(task_id, "succeeded", seconds=WITHIN + 4)
    assert silent.process.poll() is None, "it lives"
    assert done["attempt"] >= 2, "each offer is a new attempt"
    go_on.set()
    await asyncio.sleep(1)
    assert (await world.task(task_id))["steps"] == done["steps"], "what it brought late changed nothing"
    text = (await world.rows("select document->>'text' as text from worka.view_revision"))[0]["text"]
    assert text == "from the other"


@pytest.mark.faults
@pytest.mark.capability("TSK-12")
async def test_a_task_that_runs_longer_than_any_lease_stays_with_its_worker_while_its_steps_finish(
    world: World,
) -> None:
    async def takes_its_time(_arguments: Row, _meta: Row) -> Row:
        await asyncio.sleep(1.5)
        return ok("done")

    world.host.answers["log"] = takes_its_time
    world.work("1")
    world.work("2")
    steps = [{**LOG, "name": f"log{number}", "arguments": {}, "seconds": 4} for number in range(4)]
    done = await world.until(await world.start(steps, {}), "succeeded", seconds=WITHIN + 10)
    assert (done["ended_at"] - done["created_at"]).total_seconds() > 2 * 3, "the control: longer than two leases"
    assert done["attempt"] == 1
    assert len(world.host.called("log")) == 4


@pytest.mark.faults
async def test_a_worker_that_ends_in_good_order_hands_its_task_over_at_once(world: World) -> None:
    begun = asyncio.Event()

    async def slow(_arguments: Row, _meta: Row) -> Row:
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(30)
        return ok("fine")

    world.host.answers["log"] = slow
    first = world.work("1")
    task_id = await world.start([{**LOG, "arguments": {}}], {})
    await asyncio.wait_for(begun.wait(), 20)
    first.signal(signal.SIGTERM)
    assert await first.died() == 0
    world.work("1")
    await world.until(task_id, "succeeded", seconds=WITHIN)


@pytest.mark.faults
async def test_two_workers_on_many_tasks_do_everything_once(world: World) -> None:
    world.host.answers["keep"] = world.host.effect
    world.work("1")
    world.work("2")
    steps = [LOG, {**KEEP, "arguments": {}}]
    name = await world.save(steps)
    ids = []
    for _ in range(20):
        made = await service.create(
            world.ctx(world.owner), workflow=name, version=None, inputs={"word": "x"}, member_id=world.member_id
        )
        ids.append(made["id"])
    for task_id in ids:
        await world.until(task_id, "succeeded", seconds=40)
    assert sorted(world.host.effects.values()) == [1] * 20
    assert len(world.host.called("log")) == 20


@pytest.mark.faults
async def test_a_task_that_the_engine_lost_is_offered_again(world: World, tmp_path: Path) -> None:
    """The row says queued and no run of it is in the engine's queue: as after a restore of our schema alone."""
    task_id = await world.start([{**LOG, "arguments": {}}], {})

    with psycopg.connect(world.environment["WORKA_DATABASE__ENGINE_URL"]) as conn:
        conn.execute("delete from dbos.workflow_status where workflow_uuid like %s", (f"{task_id}%",))
    world.work()
    done = await world.until(task_id, "succeeded", seconds=15)
    assert done["segment"] == 1
