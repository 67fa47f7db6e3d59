"""Writes egress rows in groups: what comes while one commit is under way goes into the next, in one transaction.

A request waits for the commit that holds its row, so nothing leaves before it is durable; an outcome waits for nobody,
and goes with the next group, at the latest after `_LATER_SECONDS`.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worka import governance
from worka.broker import events, store
from worka.kernel import failpoints
from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.events import Event

log = logging.getLogger("worka.broker")
_LATER_SECONDS = 0.02


class NotRecorded(Exception):
    """The row could not be written in time; nothing may be sent."""


class Stopped(Exception):
    """A kill switch stops this request; nothing may be sent."""

    def __init__(self, kill: dict[str, Any]) -> None:
        super().__init__(kill["id"])
        self.kill = kill


@dataclass(frozen=True, slots=True)
class Place:
    """Whose rows these are."""

    tenant_id: str
    workspace_id: str
    attachment_id: str
    session_id: str
    invocation_id: str | None
    trace_id: str
    release_id: str | None = None
    members: tuple[str, ...] = ()
    """Who acts, and for whom."""


@dataclass(slots=True, eq=False)
class Entry:
    """A row as the broker remembers it, to count up and to answer `end`."""

    row: dict[str, Any]
    count: int = 0
    unwritten: int = 0
    status: int | None = None
    outcome: str | None = None
    written: bool = False
    """Whether the row is in the database."""


@dataclass(slots=True, eq=False)
class Write:
    """One thing to write: `times` requests of an entry (and `event`), or with `outcome` what became of one."""

    entry: Entry
    done: asyncio.Future[None]
    times: int = 1
    path: str | None = None
    address: str | None = None
    audited: bool = True
    secret_id: str | None = None
    outcome: dict[str, Any] | None = None
    extra: Event | None = None
    """A further event: what was withheld, a circuit."""
    failed: Exception | None = field(default=None)
    used: bool = False
    """Whether the day's use has it."""

    @property
    def counts(self) -> bool:
        """Whether it is a request, not an outcome."""
        return self.outcome is None and self.times > 0

    def apart(self, entry: Entry) -> bool:
        """Whether it writes more than counts and an outcome of `entry`."""
        return self.entry is not entry or self.extra is not None or (self.counts and self.audited)


class Recording:
    """The rows of one place. `context()` gives a fresh Context for each group."""

    def __init__(self, place: Place, context: Callable[[], Context], seconds: float) -> None:
        self.place = place
        self._context, self._seconds = context, seconds
        self._waiting: list[Write] = []
        self._hurry = False
        """Whether something waits that is not for later."""
        self._task: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None

    async def write(self, write: Write) -> None:
        """Waits until it is durable. Raises NotRecorded, and Stopped when a kill switch is on that was not when the call
        began. Whoever waits may be cancelled; the write is not."""
        self.add(write, now=True)
        late = asyncio.get_running_loop().call_later(self._seconds, self._late, write)
        try:
            await write.done
        finally:
            late.cancel()

    def _late(self, write: Write) -> None:
        if write in self._waiting:
            self._waiting.remove(write)
        if not write.done.done():
            write.done.set_exception(NotRecorded())

    def add(self, write: Write, *, now: bool = False) -> None:
        """Writes it soon, or at once."""
        self._waiting.append(write)
        # Whoever asked may be gone by then.
        write.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._hurry |= now
        self._go_on()

    async def drain(self) -> None:
        """Until everything that was added is written, or failed."""
        self._at_once()
        while self._task is not None:
            await asyncio.shield(self._task)

    def _at_once(self) -> None:
        self._hurry = bool(self._waiting)
        self._go_on()

    def _go_on(self) -> None:
        """What waits is taken by the task that runs, by a new one, or in a while."""
        if self._task is not None:
            return
        if self._hurry:
            if self._later is not None:
                self._later.cancel()
                self._later = None
            self._task = asyncio.create_task(self._run())
        elif self._waiting and self._later is None:
            self._later = asyncio.get_running_loop().call_later(_LATER_SECONDS, self._in_a_while)

    def _in_a_while(self) -> None:
        self._later = None
        self._at_once()

    async def _run(self) -> None:
        try:
            while self._hurry:
                self._hurry = False
                group, self._waiting = self._waiting, []
                if group:
                    await self._group(group)
        finally:
            self._task = None
        self._go_on()

    async def _group(self, group: list[Write]) -> None:
        written: list[Entry] = []
        try:
            async with asyncio.timeout(self._seconds):
                ctx = self._context()
                if not await self._again(ctx, group):
                    async with ctx.transaction() as conn:
                        written = await self._rows(ctx, conn, group)
                        ctx.failpoint("broker.egress.before_commit")
        except Exception as error:
            self._not_written(group, error)
            return
        for entry in written:
            entry.written = True
        for write in group:
            if write.done.done():
                continue
            if write.failed is not None:
                write.done.set_exception(write.failed)
            else:
                write.done.set_result(None)

    async def _again(self, ctx: Context, group: list[Write]) -> bool:
        """As nearly always, where one request follows another to one place: in one exchange, if nothing has to be looked at
        one by one. Whether it is done."""
        entry = group[0].entry
        if not entry.written or self.place.invocation_id is None or any(write.apart(entry) for write in group):
            return False
        requests = [write for write in group if write.counts]
        finished = [write for write in group if write.outcome is not None]
        row: dict[str, Any] = {"times": sum(write.times for write in requests), "requests": len(finished)}
        if requests:
            row |= {"path": requests[-1].path, "address": requests[-1].address}
        if finished:
            row |= _whole(finished)
        failpoints.hit("broker.egress.before_commit")
        place = self.place
        async with ctx.db.single() as conn:
            return await store.again(conn, place.tenant_id, place.attachment_id, _today(), entry.row["id"], row)

    def _not_written(self, group: list[Write], error: Exception) -> None:
        log.error(
            "%d egress rows of session %s could not be written: %s",
            len(group), self.place.session_id, type(error).__name__,
        )  # fmt: skip
        for write in group:
            if not write.done.done():
                refused = NotRecorded()
                refused.__cause__ = error
                write.done.set_exception(refused)

    async def _rows(self, ctx: Context, conn: Connection, group: list[Write]) -> list[Entry]:
        await self._stop(conn, group)
        written = []
        for entry in dict.fromkeys(map(id, (write.entry for write in group))):
            mine = [write for write in group if id(write.entry) == entry and write.failed is None]
            if mine and await self._of_entry(ctx, conn, mine):
                written.append(mine[0].entry)
        outcomes = [write.outcome for write in group if write.outcome is not None and not write.used]
        if outcomes and self.place.invocation_id is not None:
            await store.add_use(
                conn, self.place.tenant_id, self.place.attachment_id, _today(), len(outcomes),
                sum(item["bytes_out"] for item in outcomes), sum(item["bytes_in"] for item in outcomes),
            )  # fmt: skip
        return written

    async def _of_entry(self, ctx: Context, conn: Connection, group: list[Write]) -> bool:
        """The writes of one entry; whether its row is there afterwards."""
        entry = group[0].entry
        requests = [write for write in group if write.counts]
        times = sum(write.times for write in requests)
        there = entry.written
        if times and not there:
            await store.insert_egress(conn, self.place.tenant_id, entry.row)
            times -= 1
            there = True
            requests[0].audited = True
        finished = [write for write in group if write.outcome is not None]
        if times and finished and self.place.invocation_id is not None:
            await self._carry_on(conn, entry, times, requests[-1], finished)
            finished = []
        elif times:
            last = requests[-1]
            await store.repeat_egress(conn, entry.row["id"], times, last.path, last.address)
        for write in requests:
            if write.audited:
                kind = events.allowed if entry.row["verdict"] == "allowed" else events.denied
                ctx.record(kind({**entry.row, "path": write.path}))
        if finished and there:
            await store.finish_egress(conn, entry.row["id"], _whole(finished))
        for write in group:
            if write.extra is not None:
                ctx.record(write.extra)
        return there

    async def _carry_on(self, conn: Connection, entry: Entry, times: int, last: Write, finished: list[Write]) -> None:
        """As nearly always, where one request follows another."""
        row = {
            "times": times,
            "path": last.path,
            "address": last.address,
            "requests": len(finished),
            **_whole(finished),
        }
        place = self.place
        await store.carry_on(conn, place.tenant_id, place.attachment_id, _today(), entry.row["id"], row)
        for write in finished:
            write.used = True

    async def _stop(self, conn: Connection, group: list[Write]) -> None:
        """In the transaction that lets requests go: the very next request after a kill switch is refused."""
        asking = [write for write in group if write.counts and write.entry.row["verdict"] == "allowed"]
        if not asking:
            return
        on = await governance.store.kills_on(conn)
        for write in asking:
            row = write.entry.row
            found = governance.kills.matching(
                on,
                workspace=self.place.workspace_id,
                members=self.place.members,
                releases=[self.place.release_id] if self.place.release_id else (),
                secrets=[write.secret_id] if write.secret_id else (),
                destinations=[f"{row['host']}:{row['port']}"],
            )
            if found is not None:
                write.failed = Stopped(dict(found))


def _whole(finished: list[Write]) -> dict[str, Any]:
    """The last outcome, with the bytes of all."""
    outcomes = [write.outcome for write in finished if write.outcome is not None]
    sums = {name: sum(outcome[name] for outcome in outcomes) for name in ("bytes_out", "bytes_in")}
    return {**outcomes[-1], **sums}


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()
