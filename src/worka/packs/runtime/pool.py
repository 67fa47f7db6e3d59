"""Warm sessions: kept for the next call, let go when idle, worn, in the way of others, or not wanted any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from worka.packs.runtime.outcome import Ending
from worka.packs.runtime.places import Places
from worka.packs.runtime.sessions import Session
from worka.packs.runtime.spec import SessionSpec


@dataclass
class Ended:
    """How many sessions were ended, and the calls that they served or that waited for one."""

    dropped: int = 0
    calls: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For the host's answer."""
        return asdict(self)


class Pool:
    """Idle sessions by key, all sessions by id, and the places of calls. `total` bounds sessions and calls of all tenants."""

    def __init__(self, *, per_attachment: int, per_tenant: int, idle_seconds: float, total: int = 64) -> None:
        self.places = Places(per_attachment=per_attachment, per_tenant=per_tenant, total=total)
        self.idle_seconds = idle_seconds
        self.sessions: set[Session] = set()
        self.trials: dict[Session, str | None] = {}
        """Sessions that only list what they offer, and for which attachment: no call is sent to them."""
        self._calls_before = 0
        self.revoked: set[str] = set()
        """Releases of which nothing is left that was started before their revocation."""
        self._idle: dict[str, list[Session]] = {}
        # Of which release an attachment is, while there are sessions of it.
        self._current: dict[str | None, str] = {}
        # Of which attachment each is.
        self._closing: dict[asyncio.Task[None], str | None] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def slot(
        self, spec: SessionSpec, timeout: float, invocation_id: str = ""
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """A place for one call, in turn (places.py). Raises CallFailed (`no_free_session`) after `timeout` seconds."""
        return self.places.place(spec.tenant_id, spec.owner, invocation_id, timeout)

    def take(self, spec: SessionSpec) -> Session | None:
        """A warm session for exactly this spec, the one used last. Other idle ones of the attachment are let go."""
        key = spec.key
        if spec.attachment_id in self._current:
            # Who was told last need not have been told everything: the call knows what the attachment is of.
            self._current[spec.attachment_id] = spec.digest
        for session in [s for s in self._all_idle() if s.spec.owner == spec.owner and s.spec.key != key]:
            self.discard(session)
        idle = self._idle.get(key, [])
        while idle:
            session = idle.pop()
            if session.alive and not session.worn:
                return session
            self.discard(session)
        return None

    def admit(self, session: Session) -> None:
        """A session is about to start: makes room by letting idle ones go, the longest idle of its tenant's, then, where the
        machine is full, of the tenant's that keeps most."""
        same = [other for other in self.sessions if other.spec.tenant_id == session.spec.tenant_id]
        idle = sorted((s for s in self._all_idle() if s in same), key=lambda s: s.used_at)
        for other in idle[: max(0, len(same) + 1 - self.places.per_tenant)]:
            self.discard(other)
        while len(self.sessions) >= self.places.total and (left := self._all_idle()):
            kept = Counter(other.spec.tenant_id for other in left)
            self.discard(min(left, key=lambda other: (-kept[other.spec.tenant_id], other.used_at)))
        self.sessions.add(session)

    def give_back(self, session: Session) -> None:
        """After a call: kept warm if it is fine."""
        if session not in self.sessions or not session.alive or session.worn or self._outdated(session):
            self.discard(session)
            return
        self._idle.setdefault(session.spec.key, []).append(session)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self.idle_seconds, self._evict)

    def discard(self, session: Session, ending: Ending | None = None) -> asyncio.Task[None]:
        """Closes it in the background; it is nobody's any more at once."""
        if session in self.sessions:
            self._calls_before += session.calls
        self.sessions.discard(session)
        key = session.spec.key
        if session in self._idle.get(key, []):
            self._idle[key].remove(session)
            if not self._idle[key]:
                del self._idle[key]
        owner = session.spec.attachment_id
        if owner in self._current and not any(s.spec.attachment_id == owner for s in self.sessions):
            del self._current[owner]
        task = asyncio.create_task(session.close(ending))
        self._closing[task] = session.spec.attachment_id
        task.add_done_callback(self._closing.pop)
        return task

    async def drop(self, attachment_id: str) -> Ended:
        """Closes every session of an attachment, a busy one too, and turns away who waits for one. They are gone when this
        returns."""
        away = self.places.turn_away(
            attachment_id, Ending("session_dropped", "The attachment changed while the call waited; nothing was sent.")
        )
        mine = [session for session in self.sessions if session.spec.attachment_id == attachment_id]
        mine += [session for session, owner in self.trials.items() if owner == attachment_id]
        closing = [task for task, owner in self._closing.items() if owner == attachment_id]
        ending = Ending("pack_signalled", "The session was dropped: its attachment changed.", None, 9)
        return await self._end(mine, ending, away, closing)

    async def renew(self, release_id: str, ending: Ending) -> Ended:
        """The release was revoked: closes every session of it that was started before, a busy one too. Whoever waits, or
        comes later, is served by a new one."""
        self.revoked.add(release_id)
        older = [s for s in self.sessions if s.spec.release_id == release_id and not s.spec.revoked]
        return await self._end(older, ending)

    async def stop(
        self, tenant_id: str, invocation_ids: Collection[str], kept: Callable[[SessionSpec], bool], ending: Ending
    ) -> Ended:
        """Closes the sessions that serve these calls of a tenant, turns those away that wait, and lets go what is kept warm, or
        tried, of `kept`."""
        ids, idle = set(invocation_ids), set(self._all_idle())
        away = self.places.turn_away_calls(tenant_id, ids, ending)
        busy = [s for s in self.sessions - idle if s.spec.tenant_id == tenant_id and s.serving in ids]
        return await self._end([*busy, *(s for s in {*idle, *self.trials} if kept(s.spec))], ending, away)

    async def _end(
        self,
        sessions: list[Session],
        ending: Ending,
        away: Iterable[str] = (),
        closing: Iterable[asyncio.Task[None]] = (),
    ) -> Ended:
        """Closes these and waits for their end, and for that of `closing`."""
        idle = set(self._all_idle())
        calls = {*away, *(session.serving for session in sessions if session not in idle)} - {""}
        tasks = [*closing, *(self.discard(session, ending) for session in sessions)]
        await asyncio.gather(*tasks, return_exceptions=True)
        return Ended(len(sessions), sorted(calls))

    def retire(self, attachment_id: str, digest: str) -> int:
        """The attachment is of the release with this digest now: its idle sessions of another one are closed, and a busy one
        is once it comes back. Returns how many were closed."""
        if any(s.spec.attachment_id == attachment_id for s in self.sessions):
            self._current[attachment_id] = digest
        old = [s for s in self._all_idle() if self._outdated(s)]
        for session in old:
            self.discard(session)
        return len(old)

    def _outdated(self, session: Session) -> bool:
        return session.spec.digest != self._current.get(session.spec.attachment_id, session.spec.digest)

    async def close(self) -> None:
        """Closes everything."""
        if self._sweep is not None:
            self._sweep.cancel()
        for session in list(self.sessions):
            self.discard(session)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def describe(self) -> list[dict[str, Any]]:
        """For the op `status`."""
        idle = set(self._all_idle())
        return [
            session.describe() | {"state": "idle" if session in idle else "busy"}
            for session in sorted(self.sessions, key=lambda session: session.started_at)
        ]

    @property
    def calls(self) -> int:
        """Calls that went to a pack, by every session there was."""
        return self._calls_before + sum(session.calls for session in self.sessions)

    def _all_idle(self) -> list[Session]:
        return [session for sessions in self._idle.values() for session in sessions]

    def _evict(self) -> None:
        """Lets go what was idle for too long, and comes back when the next one is due."""
        self._sweep = None
        now = time.monotonic()
        for session in self._all_idle():
            if not session.alive or now - session.used_at >= self.idle_seconds:
                self.discard(session)
        left = self._all_idle()
        if left:
            due = min(session.used_at for session in left) + self.idle_seconds - now
            self._sweep = asyncio.get_running_loop().call_later(max(due, 0.1), self._evict)
