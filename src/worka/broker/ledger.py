"""The egress rows of one invocation (or of a session between two): written before anything is dialled.

One row per destination and cause, with a count. A row that cannot be written refuses the request (fail closed); a
refusal that cannot be written stays a refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from worka import governance
from worka.broker import events, store
from worka.broker.failures import Lines
from worka.broker.ports import Limits
from worka.broker.rules import READING
from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.events import Event
from worka.kernel.ids import new_id

log = logging.getLogger("worka.broker")
_MORE = "(more destinations)"
_FLUSH_SECONDS = 0.5
_WITHHELD = frozenset({"secret_echoed", "answer_unscannable"})


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


@dataclass(slots=True)
class Entry:
    """A row as the broker remembers it, to count up and to answer `end`."""

    row: dict[str, Any]
    count: int = 1
    unwritten: int = 0
    status: int | None = None
    outcome: str | None = None


class Ledger:
    """`context()` gives a fresh Context each time: requests of a call run side by side, each in its own."""

    def __init__(self, place: Place, context: Callable[[], Context], limits: Limits) -> None:
        self.place = place
        self._context = context
        self._limits = limits
        self._entries: dict[tuple[Any, ...], Entry] = {}
        self._lock = asyncio.Lock()
        self._flusher: asyncio.Task[None] | None = None
        self._last_denied: Entry | None = None
        self._withheld: dict[str, Any] | None = None
        self._refused: set[tuple[str, str]] = set()
        self._closing = asyncio.Event()
        self._writes: set[asyncio.Task[None]] = set()
        self.lines = Lines()

    async def allow(
        self, *, method: str | None, path: str | None, secret_id: str | None = None, kind: str = "http", **fields: Any
    ) -> Entry:
        """Commits that this request is about to leave. Raises NotRecorded, and Stopped when a kill switch is on that
        was not when the call began. Writing requests are audited one by one."""
        row = self._row(verdict="allowed", reason="allowed", kind=kind, method=method, path=path, **fields)
        key = (
            row["host"],
            row["port"],
            kind,
            "allowed",
            row["rule"],
            method,
            row["connection_id"],
            row["exception_id"],
        )
        async with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                await self._write(row, events.allowed(row), secret_id)
                self._entries[key] = entry = Entry(row)
                return entry
        event = None if method in READING else events.allowed({**row, "id": entry.row["id"]})
        await self._repeat(entry, 1, path, row["address"], event, secret_id)
        entry.count += 1
        return entry

    async def deny(self, *, reason: str, kind: str = "http", **fields: Any) -> None:
        """Records a refusal: the first of its kind at once with an event, the others counted and flushed soon. `detail` and
        `error`: what its failure line says."""
        await self._whole(self._deny(reason, kind, fields))

    async def _whole(self, write: Coroutine[Any, Any, None]) -> None:
        """A write that the end of the invocation does not cut: `end` cancels requests, and `close` waits for this."""
        task = asyncio.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        await asyncio.shield(task)

    async def _deny(self, reason: str, kind: str, fields: dict[str, Any]) -> None:
        detail, error = fields.pop("detail", ""), fields.pop("error", None)
        # A pack can make up destinations without end; rows it cannot.
        if (kind, fields["host"]) not in self._refused and len(self._refused) >= self._limits.refused_destinations:
            fields["host"] = _MORE
        self._refused.add((kind, fields["host"]))
        row = self._row(verdict="denied", reason=reason, kind=kind, **fields)
        key = (row["host"], row["port"], kind, "denied", reason, row["rule"], row["method"])
        async with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self.lines.add(entry.row, reason, detail, error)
                entry.count += 1
                entry.unwritten += 1
                self._last_denied = entry
                self._flush_soon()
                return
            entry = Entry(row)
            self.lines.add(row, reason, detail, error)
            # Remembered for the caller's answer even when the database is away.
            self._last_denied = entry
            with contextlib.suppress(NotRecorded):
                await self._write(row, events.denied(row))
                self._entries[key] = entry

    async def finish(
        self, entry: Entry, *, status: int | None, reason: str, bytes_out: int, bytes_in: int, duration_ms: float
    ) -> None:
        """Writes the outcome of an allowed request. A failure is logged: the attempt stands without a status."""
        entry.status, entry.outcome = status, reason
        if reason in _WITHHELD:
            self._withheld = {**entry.row, "reason": reason}
        outcome = {
            "status": status,
            "reason": reason,
            "bytes_out": bytes_out,
            "bytes_in": bytes_in,
            "duration_ms": duration_ms,
        }
        await self._whole(self._finish(entry, outcome))

    async def _finish(self, entry: Entry, outcome: dict[str, Any]) -> None:
        event = events.withheld(entry.row, outcome["reason"]) if outcome["reason"] in _WITHHELD else None
        try:
            async with asyncio.timeout(self._limits.record_seconds):
                ctx = self._context()
                async with ctx.transaction() as conn:
                    await store.finish_egress(conn, entry.row["id"], outcome)
                    if event is not None:
                        ctx.record(event)
        except Exception as error:
            log.error("the outcome of egress row %s could not be written: %s", entry.row["id"], type(error).__name__)

    async def close(self) -> dict[str, Any]:
        """Flushes the counts; {egress: [{host, port, …}], denied: the last refusal or None}"""
        self._closing.set()
        await asyncio.gather(*self._writes, return_exceptions=True)
        if self._flusher is not None:
            await self._flusher
        await self._flush()
        await self.lines.write(self._context, self.place.workspace_id, self._limits.record_seconds)
        last = self._withheld or (self._last_denied.row if self._last_denied else None)
        return {
            "egress": [
                {
                    "id": entry.row["id"],
                    "host": entry.row["host"],
                    "port": entry.row["port"],
                    "kind": entry.row["kind"],
                    "method": entry.row["method"],
                    "rule": entry.row["rule"],
                    "verdict": entry.row["verdict"],
                    "reason": entry.outcome or entry.row["reason"],
                    "status": entry.status,
                    "count": entry.count,
                }
                for entry in self._entries.values()
            ],
            "denied": None
            if last is None
            else {"id": last["id"], "host": last["host"], "port": last["port"], "reason": last["reason"],
                  "rule": last["rule"]},
        }  # fmt: skip

    def _row(self, **fields: Any) -> dict[str, Any]:
        place = self.place
        return {
            "id": new_id("egr"),
            "workspace_id": place.workspace_id,
            "attachment_id": place.attachment_id,
            "invocation_id": place.invocation_id,
            "session_id": place.session_id,
            "trace_id": place.trace_id,
            "method": None, "path": None, "rule": None, "address": None, "opaque": False, "exception_id": None,
            "connection_id": None, "lease_id": None, "decision_id": None,
            **fields,
        }  # fmt: skip

    async def _not_stopped(self, conn: Connection, row: dict[str, Any], secret_id: str | None) -> None:
        """In the transaction that lets the request go: the very next request after the switch is refused."""
        on = await governance.store.kills_on(conn)
        found = governance.kills.matching(
            on,
            workspace=self.place.workspace_id,
            members=self.place.members,
            releases=[self.place.release_id] if self.place.release_id else (),
            secrets=[secret_id] if secret_id else (),
            destinations=[f"{row['host']}:{row['port']}"],
        )
        if found is not None:
            raise Stopped(dict(found))

    async def _write(self, row: dict[str, Any], event: Event, secret_id: str | None = None) -> None:
        try:
            async with asyncio.timeout(self._limits.record_seconds):
                ctx = self._context()
                async with ctx.transaction() as conn:
                    if row["verdict"] == "allowed":
                        await self._not_stopped(conn, row, secret_id)
                    await store.insert_egress(conn, self.place.tenant_id, row)
                    ctx.record(event)
                    ctx.failpoint("broker.egress.before_commit")
        except Stopped:
            raise
        except Exception as error:
            log.error("an egress row could not be written: %s", type(error).__name__)
            raise NotRecorded from error

    async def _repeat(
        self,
        entry: Entry,
        times: int,
        path: str | None,
        address: str | None,
        event: Event | None,
        secret_id: str | None = None,
    ) -> None:
        try:
            async with asyncio.timeout(self._limits.record_seconds):
                ctx = self._context()
                async with ctx.transaction() as conn:
                    if entry.row["verdict"] == "allowed":
                        await self._not_stopped(conn, entry.row, secret_id)
                    await store.repeat_egress(conn, entry.row["id"], times, path, address)
                    if event is not None:
                        ctx.record(event)
                    ctx.failpoint("broker.egress.before_commit")
        except Stopped:
            raise
        except Exception as error:
            log.error("egress row %s could not be counted up: %s", entry.row["id"], type(error).__name__)
            raise NotRecorded from error

    def _flush_soon(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_later())

    async def _flush_later(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._closing.wait()
        await self._flush()

    async def _flush(self) -> None:
        for entry in list(self._entries.values()):
            times, entry.unwritten = entry.unwritten, 0
            if not times:
                continue
            try:
                await self._repeat(entry, times, None, None, None)
            except NotRecorded:
                entry.unwritten += times


__all__ = ["Entry", "Ledger", "NotRecorded", "Place", "Stopped"]
