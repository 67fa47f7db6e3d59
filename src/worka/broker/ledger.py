"""The egress rows of one invocation (or of a session between two): each written before the first of its requests is dialled.

One row per destination and cause, with a count. A row that cannot be written refuses the request (fail closed); a
refusal that cannot be written stays a refusal. Rows are committed in groups (recording.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from worka.broker import events
from worka.broker.failures import Lines
from worka.broker.intake import Intake
from worka.broker.ports import Limits
from worka.broker.recording import Entry, NotRecorded, Place, Recording, Stopped, Write
from worka.broker.rules import ALL_METHODS, READING
from worka.kernel.context import Context
from worka.kernel.events import Event
from worka.kernel.ids import new_id

_MORE = "(more destinations)"
_NAMED = ALL_METHODS | {"CONNECT", "TRACE"}
OTHER = "(other)"
"""What stands for a method that is none of HTTP's own."""
_FLUSH_SECONDS = 0.5
_WITHHELD = frozenset({"secret_echoed", "answer_unscannable"})


class Ledger:
    """`context()` gives a fresh Context each time: requests of a call run side by side, their rows commit together."""

    def __init__(self, place: Place, context: Callable[[], Context], limits: Limits, intake: Intake) -> None:
        self.place = place
        self._context, self._limits = context, limits
        self._recording = Recording(place, context, limits.record_seconds, intake)
        self._entries: dict[tuple[Any, ...], Entry] = {}
        self._flusher: asyncio.TimerHandle | None = None
        self._last_denied: Entry | None = None
        self._withheld: dict[str, Any] | None = None
        self._refused: set[tuple[str, str]] = set()
        self.lines = Lines()

    async def allow(
        self, *, method: str | None, path: str | None, secret_id: str | None = None, kind: str = "http", **fields: Any
    ) -> Entry:
        """Commits that this request is about to leave, or, where it only reads, repeats what is committed and the last look
        at the kill switches holds, has it counted soon. Raises NotRecorded, and Stopped when a kill switch is on that was
        not when the call began. Writing requests are audited one by one."""
        told = (fields.get("rule"), method, fields.get("connection_id"), fields.get("exception_id"))
        key = (fields["host"], fields["port"], kind, "allowed", *told)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(
                self._row(
                    verdict="allowed", reason="allowed", kind=kind, method=method, path=path, secret_id=secret_id, **fields
                )
            )  # fmt: skip
        reads = method in READING
        write = self._asked(entry, path=path, address=fields.get("address"), audited=not reads, secret_id=secret_id)
        if reads and kind == "http" and entry.written and self._recording.looked:
            write.left = True
            self._recording.add(write)
        else:
            try:
                await self._recording.write(write)
            except (NotRecorded, asyncio.CancelledError) as error:
                why = "egress_not_recorded" if isinstance(error, NotRecorded) else "invocation_ended"
                self._give_up(key, write, why)
                raise
        entry.count += 1
        if self._entries.setdefault(key, entry) is not entry:
            self._entries[*key, entry.row["id"]] = entry
        return entry

    def _give_up(self, key: tuple[Any, ...], write: Write, why: str) -> None:
        """Nothing leaves for this request. Its row may be there, or come, and is a refusal then where nothing else of it
        left: who asks next has a row of its own."""
        if not write.entry.count and self._entries.get(key) is write.entry:
            del self._entries[key]
        self._recording.give_up(write, why)

    @staticmethod
    def _asked(entry: Entry, **further: Any) -> Write:
        return Write(entry, asyncio.get_running_loop().create_future(), **further)

    async def deny(self, *, reason: str, kind: str = "http", **fields: Any) -> None:
        """Records a refusal: the first of its kind at once with an event, the others counted and flushed soon. `detail` and
        `error`: what its failure line says."""
        detail, error = fields.pop("detail", ""), fields.pop("error", None)
        # A pack can make up destinations and methods without end; rows it cannot.
        if fields.get("method") is not None and fields["method"] not in _NAMED:
            fields["method"] = OTHER
        if (kind, fields["host"]) not in self._refused and len(self._refused) >= self._limits.refused_destinations:
            fields["host"] = _MORE
        self._refused.add((kind, fields["host"]))
        row = self._row(verdict="denied", reason=reason, kind=kind, **fields)
        key = (row["host"], row["port"], kind, "denied", reason, row["rule"], row["method"])
        entry = self._entries.get(key)
        if entry is not None:
            self.lines.add(entry.row, reason, detail, error)
            entry.count += 1
            entry.unwritten += 1
            self._last_denied = entry
            self._flush_soon()
            return
        # Remembered for the caller's answer even when the database is away; then the next of its kind is a first one.
        self._last_denied = entry = self._entries[key] = Entry(row, count=1)
        self.lines.add(row, reason, detail, error)
        try:
            await self._recording.write(self._asked(entry, path=row["path"]))
        except NotRecorded:
            if self._entries.get(key) is entry:
                del self._entries[key]

    async def finish(
        self,
        entry: Entry,
        *,
        status: int | None,
        reason: str,
        bytes_out: int,
        bytes_in: int,
        duration_ms: float,
        **wire: Any,
    ) -> None:
        """The outcome of an allowed request, written soon. A failure is logged: the attempt stands without a status.
        `wire`: what else the row tells (store.finish_egress)."""
        entry.status, entry.outcome = status, reason
        extra = None
        if reason in _WITHHELD:
            self._withheld = {**entry.row, "reason": reason}
            extra = events.withheld(entry.row, reason)
        outcome = {
            "status": status,
            "reason": reason,
            "bytes_out": bytes_out,
            "bytes_in": bytes_in,
            "duration_ms": duration_ms,
            **wire,
        }
        self._recording.add(self._asked(entry, times=0, outcome=outcome, extra=extra), now=extra is not None)

    def tell(self, entry: Entry, event: Event) -> None:
        """Records a further event of this place, soon."""
        self._recording.add(self._asked(entry, times=0, extra=event), now=True)

    async def close(self) -> dict[str, Any]:
        """Flushes the counts; {egress: [{host, port, …}], denied: the last refusal or None}"""
        self._flush()
        await self._recording.drain()
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
                if entry.written
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

    def _flush_soon(self) -> None:
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        for entry in self._entries.values():
            times, entry.unwritten = entry.unwritten, 0
            if times:
                self._recording.add(self._asked(entry, times=times, audited=False, left=True), now=True)


__all__ = ["Entry", "Ledger", "NotRecorded", "Place", "Stopped"]
