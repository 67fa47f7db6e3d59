"""A worker with nothing to do leaves the database alone, and takes new work as soon as before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.workflows.test_tasks import LOG
from tests.workflows.world import World
from worka.approvals import store as approval_rows
from worka.kernel import settings
from worka.kernel.db import Connection
from worka.kernel.events import MESSAGES
from worka.kernel.ids import new_id
from worka.workers.worker import Worker
from worka.workflows import store
from worka.workflows.adapters import bell
from worka.workflows.adapters.dbos_engine import JOBS


@pytest.fixture
async def worker(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """A real worker in this process that looks into an empty queue again only when the bell rings."""
    monkeypatch.setattr(bell, "REST_SECONDS", 3600.0)
    made = Worker(settings.load(world.environment))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def resting(worker: Worker) -> None:
    """Returns once every queue was found empty."""
    assert worker.engine is not None
    until = time.monotonic() + 20
    while any(worker.engine.bell.due(queue) for queue in ("tasks", "jobs", *JOBS)):
        assert time.monotonic() < until, "the worker does not rest"
        await asyncio.sleep(0.05)


async def silently(conn: Connection, tenant_id: str, task_id: str, segment: int, workflow_id: str) -> None:
    """As `store.enqueue`, without ringing."""
    await conn.execute("select worka.enqueue_segment(%s, %s, %s, %s)", (tenant_id, task_id, segment, workflow_id))


async def test_a_resting_worker_is_woken_by_what_is_put_into_its_queue(
    world: World, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await resting(worker)
    with monkeypatch.context() as patch:
        patch.setattr(store, "enqueue", silently)
        unheard = await world.start([LOG], {"word": "a"})
    await asyncio.sleep(1.0)
    assert (await world.task(unheard))["state"] == "queued", "the control: it really rests"
    heard = await world.start([LOG], {"word": "b"})
    for task_id in (heard, unheard):
        await world.until(task_id, "succeeded")


async def test_a_worker_that_hears_nothing_any_more_does_not_rest(
    world: World, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await resting(worker)
    monkeypatch.setattr(bell, "RETRY_SECONDS", 3600.0)
    async with world.runtime.db.transaction(None) as conn:
        await conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where query = %s and usename = current_user",
            (f'listen "{bell.WORK_CHANNEL}"',),
        )
    monkeypatch.setattr(store, "enqueue", silently)
    task_id = await world.start([LOG], {"word": "a"})
    await world.until(task_id, "succeeded")


def test_what_is_put_there_during_a_look_is_not_slept_through() -> None:
    one = bell.Bell()
    one.hears(True)
    before = one.rings("tasks")
    one.empty("tasks", before)
    assert not one.due("tasks"), "the control: an empty queue is left alone"
    one.ring("tasks")
    assert one.due("tasks")
    before = one.rings("tasks")
    one.ring("tasks")  # the look that is under way may not have seen it
    one.empty("tasks", before)
    assert one.due("tasks")
    one.hears(False)
    one.empty("tasks", one.rings("tasks"))
    assert one.due("tasks"), "nothing is heard, so nothing may be left alone"


def test_the_engines_database_has_what_the_bell_hangs_on() -> None:
    from dbos._sys_db import SystemDatabase

    found: dict[str, Any] = vars(SystemDatabase)
    assert {"start_queued_workflows", "get_queue", "dequeue_scopes"} <= set(found)


async def test_a_resting_worker_is_woken_by_what_is_put_into_the_outbox(world: World, worker: Worker) -> None:
    """It is put off by the hour, since nobody takes such a topic: that shows who looked."""
    assert worker.engine is not None
    until = time.monotonic() + 20
    while worker.engine.bell.due(MESSAGES) or worker.engine.bell.due("deliveries"):
        assert time.monotonic() < until, "the worker does not rest"
        await asyncio.sleep(0.05)
    row = {"tenant_id": world.tenant_id, "topic": "test", "payload": {}}

    async def looked_at() -> list[str]:
        async with world.runtime.db.transaction(world.tenant_id) as conn:
            found = await conn.execute("select id from worka.outbox where topic = 'test' and attempts > 0 order by id")
            return [one["id"] for one in await found.fetchall()]

    unheard, heard = new_id("out"), new_id("out")
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.outbox (tenant_id, id, topic, payload) values (%s, %s, 'test', '{}')",
            (world.tenant_id, unheard),
        )
    await asyncio.sleep(1.5)
    assert await looked_at() == [], "the control: it really rests"
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await approval_rows.send_later(conn, {**row, "id": heard})
    until = time.monotonic() + 10
    while await looked_at() != [unheard, heard]:
        assert time.monotonic() < until, "the worker was not woken"
        await asyncio.sleep(0.05)
