"""Whoever fills the queue of jobs waits behind themselves: another tenant's move, and the end of calls, begin at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.workflows.world import World
from worka.kernel import settings
from worka.kernel.context import Context
from worka.kernel.ids import new_id
from worka.packs import jobs, service
from worka.packs import store as packs
from worka.packs.lifecycle import store as lifecycle
from worka.workers.worker import Worker


class Jobs:
    """Registrations that wait for a server that never answers; whatever else is only noted."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.begun: list[tuple[str, str]] = []

    async def registration(self, ctx: Context, release_id: str) -> None:
        assert ctx.tenant_id is not None
        self.inside[ctx.tenant_id] += 1
        self.most[ctx.tenant_id] = max(self.most[ctx.tenant_id], self.inside[ctx.tenant_id])
        try:
            await self.answered.wait()
        finally:
            self.inside[ctx.tenant_id] -= 1
            self.begun.append((ctx.tenant_id, release_id))

    async def noted(self, ctx: Context, subject: str) -> None:
        assert ctx.tenant_id is not None
        self.begun.append((ctx.tenant_id, subject))

    async def until(self, *wanted: tuple[str, str], seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while not set(wanted) <= set(self.begun):
            assert time.monotonic() < deadline, f"{set(wanted) - set(self.begun)} still waits behind others"
            await asyncio.sleep(0.05)


@pytest.fixture
async def running(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Jobs]:
    """A real worker and engine; what the jobs do is the test's."""
    found = Jobs()
    monkeypatch.setattr(service, "run_registration", found.registration)
    monkeypatch.setattr(service, "run_ending", found.noted)
    monkeypatch.setattr(jobs, "run_move", found.noted)
    made = Worker(settings.load(world.environment))
    await made.start()
    try:
        yield found
    finally:
        found.answered.set()
        await made.stop()


async def move(world: World, tenant_id: str) -> tuple[str, str]:
    subject = new_id("mov")
    async with world.runtime.db.transaction(tenant_id) as conn:
        given = (tenant_id, subject, f"pack.move:{subject}")
        await conn.execute(
            "select worka.enqueue_job('pack.move', %s, %s, %s), pg_notify('worka_work', 'tenant_jobs')", given
        )
    return tenant_id, subject


@pytest.mark.capability("RUN-7")
@pytest.mark.capability("GOV-11")
async def test_one_tenants_registrations_hold_up_neither_anothers_move_nor_the_end_of_calls(
    world: World, running: Jobs
) -> None:
    loud, quiet = world.tenant_id, new_id("ten")
    registered = [new_id("rel") for _ in range(30)]
    async with world.runtime.db.transaction(loud) as conn:
        for release_id in registered:
            await packs.enqueue_registration(conn, loud, release_id, 1)
    deadline = time.monotonic() + 10
    while running.inside[loud] < 2:
        assert time.monotonic() < deadline, "the control: they are begun"
        await asyncio.sleep(0.05)
    theirs = await move(world, quiet)
    ending = new_id("wdr")
    async with world.runtime.db.transaction(loud) as conn:
        await lifecycle.enqueue_ending(conn, loud, ending)
    await running.until(theirs, (loud, ending))
    assert running.most[loud] == 2, "a tenant has two places"
    running.answered.set()
    await running.until(*((loud, release_id) for release_id in registered), seconds=30)
    assert running.most[loud] == 2
