"""A job that meets a part which is away goes on once that is back: what it is about is not left in nobody's hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.workflows.world import World
from worka.kernel import settings
from worka.kernel.db import DatabaseUnavailable
from worka.packs import service as packs
from worka.workers.worker import Worker
from worka.workflows.adapters import dbos_engine


@pytest.fixture
async def worker(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """A real worker in this process that waits but a moment for what is away."""
    monkeypatch.setattr(dbos_engine, "JOB_PAUSE_SECONDS", 0.02)
    made = Worker(settings.load(world.environment))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.mark.capability("LIF-1", part="a registration that met the database away goes on by itself")
async def test_a_registration_that_met_the_database_away_goes_on_by_itself(
    world: World, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    async def away_twice(_ctx: object, subject: str) -> None:
        done.append(subject)
        if subject == "rel_wrong":
            raise ValueError("this one is wrong, and stays so")
        if done.count(subject) < 3:
            raise DatabaseUnavailable("it is being restarted")

    monkeypatch.setattr(packs, "run_registration", away_twice)
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        for subject in ("rel_wrong", "rel_away"):
            asked = (world.tenant_id, subject, f"pack.register:{subject}")
            await conn.execute("select worka.enqueue_job('pack.register', %s, %s, %s)", asked)
    until = time.monotonic() + 8
    while done.count("rel_away") < 3:
        assert time.monotonic() < until, f"it was given up: {done}"
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    assert (done.count("rel_away"), done.count("rel_wrong")) == (3, 1), (
        "the control: what is wrong is not tried for ever"
    )
