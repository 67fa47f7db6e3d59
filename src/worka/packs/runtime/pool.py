"""Warm sessions, and who may have one: first come first served per attachment and per tenant."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from worka.packs.runtime.outcome import CallFailed, Ending
from worka.packs.runtime.sessions import Session
from worka.packs.runtime.spec import SessionSpec


class Pool:
    """Idle sessions by key, all sessions by id, and the slots. asyncio's semaphores serve waiters in order."""

    def __init__(self, *, per_attachment: int, per_tenant: int, idle_seconds: float) -> None:
        self.per_attachment = per_attachment
        self.per_tenant = per_tenant
        self.idle_seconds = idle_seconds
        self.sessions: set[Session] = set()
        self._idle: dict[str, list[Session]] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._current: dict[str, str] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def slot(self, spec: SessionSpec, timeout: float) -> AsyncIterator[None]:
        """A place among the attachment's calls, then among the tenant's: an attachment that waits for itself must not
        hold its tenant's places. Raises CallFailed (`no_free_session`) after `timeout` seconds.
        """
        mine = self._slots.setdefault(f"a:{spec.tenant_id}:{spec.owner}", asyncio.Semaphore(self.per_attachment))
        tenants = self._slots.setdefault(f"t:{spec.tenant_id}", asyncio.Semaphore(self.per_tenant))
        held: list[asyncio.Semaphore] = []
        try:
            try:
                async with asyncio.timeout(timeout):
                    for semaphore in (mine, tenants):
                        await semaphore.acquire()
                        held.append(semaphore)
            except TimeoutError:
                raise CallFailed(
                    Ending(
                        "no_free_session",
                        f"All {self.per_attachment} sessions of the attachment, or {self.per_tenant} of the tenant, "
                        f"were busy for {timeout:g} s.",
                        remedy="Wait, or raise packs.sessions_per_attachment.",
                    )
                ) from None
            yield
        finally:
            for semaphore in reversed(held):
                semaphore.release()

    def take(self, spec: SessionSpec) -> Session | None:
        """A warm session for exactly this spec, the one used last. Other idle ones of the attachment are let go."""
        key = spec.key
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
        """A session is about to start: makes room among its tenant's by letting the longest idle one go."""
        same = [other for other in self.sessions if other.spec.tenant_id == session.spec.tenant_id]
        idle = sorted((s for s in self._all_idle() if s in same), key=lambda s: s.used_at)
        for other in idle[: max(0, len(same) + 1 - self.per_tenant)]:
            self.discard(other)
        self.sessions.add(session)

    def give_back(self, session: Session) -> None:
        """After a call: kept warm if it is fine."""
        if session not in self.sessions or not session.alive or session.worn or self._outdated(session):
            self.discard(session)
            return
        self._idle.setdefault(session.spec.key, []).append(session)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self.idle_seconds, self._evict)

    def discard(self, session: Session, ending: Ending | None = None) -> None:
        """Closes it in the background; it is nobody's any more at once."""
        self.sessions.discard(session)
        key = session.spec.key
        if session in self._idle.get(key, []):
            self._idle[key].remove(session)
            if not self._idle[key]:
                del self._idle[key]
        task = asyncio.create_task(session.close(ending))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def drop(self, attachment_id: str) -> int:
        """Closes every session of an attachment, a busy one too; returns how many. They are gone when this returns."""
        mine = [session for session in self.sessions if session.spec.attachment_id == attachment_id]
        for session in mine:
            self.discard(session, Ending("pack_signalled", "The session was dropped: its attachment changed.", None, 9))
        await asyncio.gather(*self._closing, return_exceptions=True)
        return len(mine)

    def retire(self, attachment_id: str, digest: str) -> int:
        """The attachment is of the release with this digest now: its idle sessions of another one are closed, and a busy one
        is once it comes back. Returns how many were closed."""
        self._current[attachment_id] = digest
        old = [s for s in self._all_idle() if self._outdated(s)]
        for session in old:
            self.discard(session)
        return len(old)

    def _outdated(self, session: Session) -> bool:
        return session.spec.digest != self._current.get(session.spec.attachment_id or "", session.spec.digest)

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
