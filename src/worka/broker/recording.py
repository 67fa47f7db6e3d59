"""Writes egress rows in groups: what comes while one commit is under way goes into the next, in one transaction.

A request waits for the commit that holds its row, so nothing leaves before it is durable; an outcome waits for nobody,
and goes with the next group, at the latest after `_LATER_SECONDS`. A request that gave up waiting does not leave: where
its commit comes all the same, a later group takes it back.

One that only reads, repeats one whose row is there, and comes while the look at the kill switches that the last commit was
still holds, leaves at once (ADR 0143); its count goes the way of an outcome.

What is true whatever becomes of its group (a count of what left, a taking back) is owed where that fails: the next group
has it too, and after a while one of its own, also when the call is over, for `_OWED_SECONDS`.

Once a group of its tenant was not written in time, one group at a time tries and requests are refused at once (intake.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worka import governance
from worka.broker import events, store
from worka.broker.intake import Intake
from worka.kernel import failpoints
from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.events import Event

log = logging.getLogger("worka.broker")
_LATER_SECONDS = 0.02
_RETRY_SECONDS = (0.5, 8.0)
"""The first pause of what is owed, and the longest; each is twice the one before."""
_OWED_SECONDS = 60.0


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
    """Refusals that are still to be counted, together and soon."""
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
    left: bool = False
    """Whether it has left, or was refused, and is only counted: nothing stops it any more."""
    counted: bool = False
    """Whether it is a request whose row a commit counted."""
    unsent: Write | None = None
    """The request that it takes back: it was given up, and nothing left for it."""
    why: str = ""
    """Why it was given up."""
    owed_since: float | None = None

    @property
    def stays_true(self) -> bool:
        """Whether it has to be written whatever became of its group."""
        return self.left or self.unsent is not None

    @property
    def counts(self) -> bool:
        """Whether it is a request, not an outcome."""
        return self.outcome is None and self.times > 0

    @property
    def asks(self) -> bool:
        """Whether it is a request that may not leave, or is refused, before it is written."""
        return self.counts and not self.left

    def apart(self, entry: Entry) -> bool:
        """Whether it writes more than counts and an outcome of `entry`."""
        more = self.extra is not None or self.unsent is not None
        return self.entry is not entry or more or (self.counts and self.audited)


class Recording:
    """The rows of one place. `context()` gives a fresh Context for each group; `intake` is that of its tenant."""

    def __init__(self, place: Place, context: Callable[[], Context], seconds: float, intake: Intake) -> None:
        self.place = place
        self._context, self._seconds, self._intake = context, seconds, intake
        self._waiting: list[Write] = []
        self._hurry = False
        """Whether something waits that is not for later."""
        self._task: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._owed: list[Write] = []
        self._retry: asyncio.TimerHandle | None = None
        self._pause = _RETRY_SECONDS[0]
        self._failing = False
        """Whether somebody waited in vain, or a group could not be written, since the last one that was."""
        self._looked = -math.inf
        self._clear = False
        """Whether the group under way found no kill switch on."""

    @property
    def looked(self) -> bool:
        """Whether the last commit found no kill switch on, and that still holds: whoever sets one waits for the end of it."""
        return _now() < self._looked + governance.kills.LOOK_SECONDS

    async def write(self, write: Write) -> None:
        """Waits until it is durable. Raises NotRecorded, and Stopped when a kill switch is on that was not when the call
        began. Whoever waits may be cancelled; the write is not, unless it is given up (`give_up`)."""
        if self._intake.shut:
            raise NotRecorded
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
            self._failing = True
            write.done.set_exception(NotRecorded())

    def _owe(self, group: list[Write]) -> None:
        """Keeps what stays true of a group that could not be written; one count for each row."""
        for write in group:
            if not write.stays_true:
                continue
            write.owed_since = write.owed_since or _now()
            if _now() > write.owed_since + _OWED_SECONDS:
                if write.times:
                    log.error("%d requests of session %s are in no row's count", write.times, self.place.session_id)
                continue
            # A number alone, so that nothing a request said can make the groups fail that it goes with.
            write.path = write.address = None
            same = next((owed for owed in self._owed if owed.entry is write.entry and owed.left and write.left), None)
            if same is None:
                self._owed.append(write)
            else:
                same.times += write.times
        if self._owed and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._pause, self._try_again)
            self._pause = min(2 * self._pause, _RETRY_SECONDS[1])

    def _try_again(self) -> None:
        self._retry = None
        self._at_once()

    def add(self, write: Write, *, now: bool = False) -> None:
        """Writes it soon, or at once."""
        self._waiting.append(write)
        # Whoever asked may be gone by then.
        write.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._hurry |= now
        self._go_on()

    def give_up(self, write: Write, why: str) -> None:
        """Nothing leaves for this request, whose `write` raised: it is not written any more, or taken back where it was."""
        if write in self._waiting:
            self._waiting.remove(write)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add(Write(write.entry, done, times=0, unsent=write, why=why), now=True)

    async def drain(self) -> None:
        """Until everything that was added is written, or failed. Somebody waits, so not for long on a database that took
        nothing last: what stays true is written after it, once that can be."""
        self._at_once()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds * (0.25 if self._failing or self._intake.shut else 1)):
                while self._task is not None:
                    await asyncio.shield(self._task)

    def _at_once(self) -> None:
        self._hurry = bool(self._waiting or self._owed)
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
                # What was given up and is in no commit needs nothing: its own group is over by now.
                group = [
                    write for write in (*self._owed, *self._waiting) if write.unsent is None or write.unsent.counted
                ]
                self._owed, self._waiting = [], []
                if group:
                    await self._group(group)
        finally:
            self._task = None
        self._go_on()

    async def _group(self, group: list[Write]) -> None:
        written: list[Entry] = []
        shut = self._intake.shut
        if shut:
            group = self._without_those_who_ask(group)
            if not group:
                return
        # A little longer than anybody waits: of a commit that comes too late it is known then that it came. Where the last
        # one did not come, shorter. Not more: what only tries must not hold the connections that calls need to end.
        seconds = self._seconds * (0.5 if self._failing or shut else 1.25)
        try:
            async with self._intake.turn(seconds):
                began, self._clear = _now(), False
                ctx = self._context()
                if not await self._again(ctx, group):
                    async with ctx.transaction() as conn:
                        written = await self._rows(ctx, conn, group)
                        ctx.failpoint("broker.egress.before_commit")
        except Exception as error:
            self._not_written(group, error)
            return
        if self._clear:
            self._looked = began
        self._pause, self._failing = _RETRY_SECONDS[0], False
        for entry in written:
            entry.written = True
        for write in group:
            write.counted = write.counts and write.failed is None
            if write.done.done():
                continue
            if write.failed is not None:
                write.done.set_exception(write.failed)
            else:
                write.done.set_result(None)

    @staticmethod
    def _without_those_who_ask(group: list[Write]) -> list[Write]:
        """They are refused at once; what is left waits for its turn, and holds nothing meanwhile."""
        for write in group:
            if write.asks and not write.done.done():
                write.done.set_exception(NotRecorded())
        return [write for write in group if not write.asks]

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
            done = await store.again(conn, place.tenant_id, place.attachment_id, _today(), entry.row["id"], row)
        self._clear = done and bool(requests)
        if not done:
            self._looked = -math.inf
        return done

    def _not_written(self, group: list[Write], error: Exception) -> None:
        log.error(
            "%d egress rows of session %s could not be written: %s",
            len(group), self.place.session_id, type(error).__name__,
        )  # fmt: skip
        self._failing = True
        self._owe(group)
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
            if write.unsent is not None:
                await self._take_back(ctx, conn, write, write.unsent)
        return there

    async def _take_back(self, ctx: Context, conn: Connection, write: Write, unsent: Write) -> None:
        """The row says no more that this request left, and the ledger does not end with saying so."""
        row = unsent.entry.row
        await store.take_back_egress(conn, row["id"], write.why, alone=not unsent.entry.count)
        if unsent.audited:
            ctx.record(events.denied({**row, "path": unsent.path, "reason": write.why}))

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
        """In the transaction that lets requests go: none goes that waited for it, and no look from before holds any more."""
        asking = [w for w in group if w.asks and w.entry.row["verdict"] == "allowed"]
        if not asking:
            return
        on = await governance.store.kills_on(conn)
        self._clear = not on
        if on:  # from now on each is looked at alone
            self._looked = -math.inf
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


def _now() -> float:
    """Seconds that go on while the machine sleeps: whoever set a kill switch elsewhere did not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()
