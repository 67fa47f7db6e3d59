"""Row 8: appending to the chained ledger against a plain INSERT of the same rows in the same groups; verification; and
whether every kind of tampering is found.

Ours is what the recorder does in a transaction: the MACs, then the one statement that locks the lane's head, links,
inserts and moves the head. The plain side inserts the very same columns with one statement and no chain.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import random
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from typing import Any

from tests.audit.support import superuser
from tests.support.database import Cluster, migrated

from benchmarks.machine import administrator, cpu_seconds
from benchmarks.rounds import Bar, Found, Round, Scenario
from worka.audit import ledger, store, verify
from worka.audit.recorder import Recorder
from worka.audit.sealer import AuditSealer
from worka.kernel.context import Context, Principal
from worka.kernel.db import Connection, Database
from worka.kernel.events import Event
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.settings import Settings
from worka.workers.wiring import Runtime

BODY = b'{"type":"task.created","at":"2026-01-01T00:00:00.000000Z","data":{"filler":"' + b"x" * 700 + b'"}}'
KEY = hashlib.sha256(b"the key of a benchmark's MACs").digest()
WRITERS = 8
Write = Callable[[Connection, str, int, int], Awaitable[object]]


class Audit:
    """The row."""

    name, number, title = "audit", 8, "audit append with chain"

    def __init__(self, *, smoke: bool) -> None:
        self.smoke = smoke
        self.peers = {
            "chained": "Worka's ledger: MAC, link to the row before, head moved, all in the transaction",
            "plain INSERT": "the same columns, the same groups, the same table and indexes, no chain",
        }
        self.recorder = Recorder()
        self.cluster: Cluster
        self.db: Database
        self._made: Generator[Cluster, None, None]

    def scenarios(self) -> list[Scenario]:
        """A commit for each row, and groups of a hundred; eight writers on eight connections."""
        who = ("chained", "plain INSERT")
        return [
            Scenario("single", f"one row a commit, {WRITERS} writers", who, 2000, by="rate", unit="commit"),
            Scenario(
                "hundred", f"groups of 100 rows, {WRITERS} writers", who, 400, by="rate", unit="commit of 100 rows"
            ),
        ]

    async def open(self) -> None:
        """A cluster of its own."""
        self._made = migrated("bench-audit-")  # type: ignore[assignment]
        self.cluster = await asyncio.to_thread(next, self._made)
        self.db = Database(self.cluster.urls.app, "benchmark", size=WRITERS)
        await self.db.open()

    async def close(self) -> None:
        """Gone with its home."""
        if hasattr(self, "db"):
            await self.db.close()
        if hasattr(self, "_made"):
            await asyncio.to_thread(self._made.close)

    def administrator(self) -> str:
        """For the floors."""
        return administrator(self.cluster.home)

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round:
        """`calls` commits by eight writers, in a tenant of its own."""
        group = 100 if scenario.name == "hundred" else 1
        write = self._chained if who == "chained" else self._plain
        tenant, times, errors, first = new_id("ten"), [], 0, ""
        postmaster = self.cluster.server.running_pid() or 0

        async def writer(start: int) -> None:
            nonlocal errors, first
            for at in range(start, calls, WRITERS):
                began = time.perf_counter()
                try:
                    async with self.db.transaction(tenant) as conn:
                        await write(conn, tenant, at, group)
                    times.append((time.perf_counter() - began) * 1000)
                except Exception as error:
                    errors, first = errors + 1, first or repr(error)

        database, client, began = cpu_seconds([postmaster]), time.process_time(), time.perf_counter()
        await asyncio.gather(*(writer(start) for start in range(WRITERS)))
        seconds = time.perf_counter() - began
        used, client = cpu_seconds([postmaster]) - database, time.process_time() - client
        return Round(
            scenario.name, who, number, times, seconds, errors, first, len(times) * group, used + client, client
        )

    async def _chained(self, conn: Connection, tenant: str, at: int, group: int) -> None:
        bodies = [BODY] * group
        macs = [hmac.digest(KEY, body, hashlib.sha256) for body in bodies]
        await store.append(conn, tenant, self.recorder.lane(conn), macs, bodies)

    async def _plain(self, conn: Connection, tenant: str, at: int, group: int) -> None:
        first = at * group + 1
        rows = [KEY] * group
        await conn.execute(
            "insert into worka.audit_entry (tenant_id, lane, seq, body, mac, prev, hash)"
            " select %s, 9, n, body, mac, mac, mac from unnest(%s::bigint[], %s::bytea[], %s::bytea[]) as r(n, body, mac)",
            (tenant, list(range(first, first + group)), [BODY] * group, rows),
        )

    async def once(self) -> dict[str, Any]:
        """Verification's rate on the platform and of an export, and a round of tampering."""
        settings = Settings(home=self.cluster.home, database={"url": self.cluster.urls.app})  # type: ignore[arg-type]
        Paths(settings.home).checkpoints.mkdir(parents=True, exist_ok=True)
        runtime = Runtime(settings, "benchmark")
        await runtime.db.open()
        try:
            rows = 3_000 if self.smoke else 100_000
            rates = await self._verify(runtime, rows)
            return {**rates, **await self._tamper(runtime, 1 if self.smoke else 10)}
        finally:
            await runtime.db.close()

    async def _ledger(self, runtime: Runtime, rows: int) -> Context:
        """A sealed ledger of that many rows, written by the recorder on all lanes."""
        ctx = runtime.context(
            Principal("person", "per_bench", "Bench"), tenant_id=new_id("ten"), workspace_id=new_id("ws")
        )
        for start in range(0, rows, 500):
            async with ctx.transaction() as conn:
                events = [
                    Event("test.thing.changed", f"thing_{n}", "Thing", after={"n": n}, data={"filler": "x" * 400})
                    for n in range(start, min(rows, start + 500))
                ]
                self.recorder._lanes[conn] = (start // 500) % 8  # one writer fills all lanes in turn
                await self.recorder.flush(conn, ctx, events)
        await AuditSealer(runtime.db, runtime.paths).seal()
        return ctx

    async def _verify(self, runtime: Runtime, rows: int) -> dict[str, Any]:
        from worka.audit import checkpoints, export, sign
        from worka.kernel.clock import now

        ctx = await self._ledger(runtime, rows)
        platform, offline = [], []
        async with runtime.db.transaction(ctx.tenant_id) as conn:
            seals = [seal for seal in [checkpoints.Store(runtime.paths.checkpoints).latest()] if seal]
            key = sign.ensure_key(runtime.paths.keys)
            with closing(await export.build(conn, str(ctx.tenant_id), str(ctx.workspace_id), seals, key, now())) as tar:
                archive = self.cluster.home / "export.tar"
                archive.write_bytes(tar.read())
        for _ in range(2 if self.smoke else 5):
            began = time.perf_counter()
            found = await ledger.verify(ctx, [str(ctx.tenant_id)])
            platform.append(rows / (time.perf_counter() - began))
            assert found["ok"], found
            assert found["rows"] == rows
            began = time.perf_counter()
            result = await asyncio.to_thread(verify.verify_file, archive, key.public)
            offline.append(rows / (time.perf_counter() - began))
            assert result["ok"], result["problems"][:3]
            assert result["rows"] == rows
        archive.unlink()
        return {
            "rows verified": rows,
            "verified per second on the platform": round(sorted(platform)[len(platform) // 2]),
            "verified per second from an export": round(sorted(offline)[len(offline) // 2]),
        }

    async def _tamper(self, runtime: Runtime, times: int) -> dict[str, Any]:
        """Each kind at random places by the database's superuser; the seed is kept."""
        seed = int.from_bytes(os.urandom(4))
        chance, found, tried = random.Random(seed), 0, 0
        for kind in TAMPERING:
            for _ in range(times):
                ctx = await self._ledger(runtime, 1000)
                lane, seq = chance.randrange(2), chance.randrange(2, 499)
                TAMPERING[kind](self.cluster, str(ctx.tenant_id), lane, seq)
                answer = await ledger.verify(ctx, [str(ctx.tenant_id)])
                place = answer["first_bad"] or {}
                tried += 1
                # Named: the lane, and the row itself or (where it is gone) its place.
                found += not answer["ok"] and (place["lane"], place["seq"]) == (lane, seq)
        return {"tampering tried": tried, "tampering found at its place": found, "seed": seed}

    def bars(self, found: Found) -> list[Bar]:
        """The row's bars."""
        bars = []
        commit = found.floor["durable_commit"]
        for scenario, words in (("single", "one row a commit"), ("hundred", "groups of 100")):
            ratio = found.ratio(scenario, "plain INSERT")
            rate = found.rate(scenario, "chained")
            p50 = found.p50(scenario, "chained")
            bars.append(
                Bar(
                    f"rows a second, chained / plain INSERT, {words}",
                    ">= 0.7",
                    ratio,
                    ratio >= 0.7 and found.clean(scenario, "plain INSERT"),
                    f"{rate:.0f} rows/s; p50 {p50:.2f} ms is {p50 / commit:.1f} x one durable commit",
                )
            )
        for extra in found.extras[-1:]:
            for where in ("on the platform", "from an export"):
                rate = extra[f"verified per second {where}"]
                bars.append(Bar(f"records verified a second {where}", ">= 100000", float(rate), rate >= 100_000))
            bars.append(
                Bar(
                    "changed, removed, reordered, cut off: found, at its place",
                    "always",
                    f"{extra['tampering found at its place']} of {extra['tampering tried']}",
                    extra["tampering found at its place"] == extra["tampering tried"],
                )
            )
        return bars


def _changed(cluster: Cluster, tenant: str, lane: int, seq: int) -> None:
    superuser(
        cluster,
        "update worka.audit_entry set body = convert_to(replace(convert_from(body, 'utf8'), 'Thing', 'Thong'), 'utf8')"
        " where tenant_id = %s and lane = %s and seq = %s",
        tenant, lane, seq,
    )  # fmt: skip


def _forged(cluster: Cluster, tenant: str, lane: int, seq: int) -> None:
    """Content and hash fit each other; the MAC cannot be made without its key, and the next link does not fit."""
    _changed(cluster, tenant, lane, seq)
    superuser(
        cluster,
        "update worka.audit_entry set hash = sha256(prev || mac || body) where tenant_id = %s and lane = %s and seq = %s",
        tenant, lane, seq,
    )  # fmt: skip


def _removed(cluster: Cluster, tenant: str, lane: int, seq: int) -> None:
    superuser(
        cluster, "delete from worka.audit_entry where tenant_id = %s and lane = %s and seq = %s", tenant, lane, seq
    )


def _reordered(cluster: Cluster, tenant: str, lane: int, seq: int) -> None:
    for old, new in ((seq, -1), (seq + 1, seq), (-1, seq + 1)):
        superuser(
            cluster,
            "update worka.audit_entry set seq = %s where tenant_id = %s and lane = %s and seq = %s",
            new, tenant, lane, old,
        )  # fmt: skip


def _cut(cluster: Cluster, tenant: str, lane: int, seq: int) -> None:
    """The tail, with the head moved back to fit: only the seal knows."""
    superuser(
        cluster, "delete from worka.audit_entry where tenant_id = %s and lane = %s and seq >= %s", tenant, lane, seq
    )
    superuser(
        cluster,
        "update worka.audit_head h set seq = e.seq, hash = e.hash from worka.audit_entry e where e.tenant_id = h.tenant_id"
        " and e.lane = h.lane and e.seq = %s and h.tenant_id = %s and h.lane = %s",
        seq - 1, tenant, lane,
    )  # fmt: skip


TAMPERING: dict[str, Callable[[Cluster, str, int, int], None]] = {
    "changed": _changed,
    "changed with its hash": _forged,
    "removed": _removed,
    "reordered": _reordered,
    "cut off": _cut,
}


def make(*, smoke: bool) -> Audit:
    """The row."""
    return Audit(smoke=smoke)
