"""The database goes away under a lease: no value, a clear refusal, and it comes back by itself."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.database import migrated
from tests.treasury.support import VALUE, invocation, lease
from tests.treasury.test_keys import granted
from tests.workspaces.world import make
from worka.kernel.db import Database
from worka.kernel.errors import Problem
from worka.kernel.postgres import EmbeddedPostgres


def gone(server: EmbeddedPostgres) -> None:
    """Until it is."""
    until = time.monotonic() + 30
    while server.running_pid() is not None:
        assert time.monotonic() < until, "it did not end"
        time.sleep(0.01)


@pytest.mark.faults
@pytest.mark.capability("TRE-3", part="a database that goes away gives no value")
async def test_a_database_that_goes_away_under_leases_gives_no_value_without_its_row(tmp_path: Path) -> None:
    clusters = migrated("test-away-")
    cluster = await asyncio.to_thread(next, clusters)
    db = Database(cluster.urls.app, "away", size=4)
    try:
        await db.open()
        (tmp_path / "keys").mkdir(mode=0o700)
        world = await make(db, tmp_path)
        secret_id, att = await granted(world)
        calls = [await invocation(world, att) for _ in range(4)]
        given: list[str] = []
        refused: list[str] = []
        many, missed = asyncio.Event(), asyncio.Event()

        async def ask(call: str, chance: random.Random) -> None:
            for _ in range(40):
                try:
                    found = await lease(world, secret_id, att, call)
                    assert found.value == VALUE
                    given.append(found.id)
                    if len(given) >= 20:
                        many.set()
                except Problem as problem:
                    refused.append(problem.problem_code)
                    missed.set()
                    await asyncio.sleep(chance.random() / 50)

        asking = [asyncio.create_task(ask(call, random.Random(seed))) for seed, call in enumerate(calls)]
        await asyncio.wait_for(many.wait(), 30)
        pid = cluster.server.running_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        await asyncio.wait_for(missed.wait(), 30)
        await asyncio.to_thread(gone, cluster.server)
        await asyncio.to_thread(cluster.server.start)
        await asyncio.gather(*asking)
        assert set(refused) == {"database_unavailable"}
        assert (await lease(world, secret_id, att, calls[0])).value == VALUE, "it is back by itself"
        rows = {row["id"] for row in await world.rows("lease")}
        assert set(given) <= rows, "what was given is recorded"
        told = {row["subject"] for row in await world.events("treasury.secret.leased")}
        assert rows == told
    finally:
        await db.close()
        clusters.close()  # type: ignore[attr-defined]
