"""The audit statement against a plain INSERT of the same row: alternating rounds, the median of their ratios.

    python -m benchmarks.audit_append [--smoke]

Ours locks the head of the lane, hashes in SQL, inserts and moves it; the plain one inserts. Each row is a commit.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable

from tests.support.database import reachable_directory

from worka.audit import store
from worka.kernel.db import Connection, Database
from worka.kernel.ids import new_id
from worka.kernel.migrate import migrate
from worka.kernel.postgres import ROLES, EmbeddedPostgres

BODY = b'{"type":"task.created","at":"2026-01-01T00:00:00.000000Z","data":{"filler":"' + b"x" * 700 + b'"}}'
MAC = hashlib.sha256(b"mac").digest()
Write = Callable[[Connection, str, int], Awaitable[object]]


async def ours(conn: Connection, tenant: str, at: int) -> None:
    """The recorder's statement."""
    await store.append(conn, tenant, at % 8, [MAC], [BODY])


async def plain(conn: Connection, tenant: str, at: int) -> None:
    """The same row, without chain and head."""
    await conn.execute(
        "insert into worka.audit_entry (tenant_id, lane, seq, body, mac, prev, hash)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (tenant, 9, at + 1, BODY, MAC, MAC, MAC),
    )


async def round_of(db: Database, write: Write, rows: int, writers: int) -> float:
    """Rows a second of one round, in a tenant of its own."""
    tenant = new_id("ten")

    async def writer(first: int) -> None:
        for at in range(first, rows, writers):
            async with db.transaction(tenant) as conn:
                await write(conn, tenant, at)

    started = time.perf_counter()
    await asyncio.gather(*(writer(first) for first in range(writers)))
    return rows / (time.perf_counter() - started)


async def measure(url: str, rounds: int, rows: int, writers: int) -> dict[str, float]:
    """The medians of both and of the ratios of neighbouring rounds."""
    db = Database(url, "benchmark", size=writers)
    await db.open()
    try:
        await round_of(db, ours, writers * 4, writers)
        await round_of(db, plain, writers * 4, writers)
        pairs = []
        for number in range(rounds):
            order = [ours, plain] if number % 2 else [plain, ours]
            found = {write: await round_of(db, write, rows, writers) for write in order}
            pairs.append((found[ours], found[plain]))
    finally:
        await db.close()
    return {
        "ours_per_second": round(statistics.median(pair[0] for pair in pairs), 1),
        "plain_per_second": round(statistics.median(pair[1] for pair in pairs), 1),
        "median_ratio": round(statistics.median(a / b for a, b in pairs), 3),
        "rounds": rounds,
        "rows": rows,
        "writers": writers,
    }


def main() -> None:
    """Runs on a cluster of its own and prints one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="a few rows: does it run?")
    smoke = parser.parse_args().smoke
    home = reachable_directory("bench-audit-")
    server = EmbeddedPostgres(home)
    try:
        urls = server.start()
        from worka.workflows.adapters.dbos_engine import migrate_engine

        migrate_engine(urls.migrator, ROLES["engine"])
        migrate(urls.migrator, app_role=ROLES["app"], engine_role=ROLES["engine"])
        found = asyncio.run(measure(urls.app, 2 if smoke else 9, 64 if smoke else 1600, 8))
        print(json.dumps({"benchmark": "audit_append", "cpus": os.cpu_count(), **found}))
    finally:
        server.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
