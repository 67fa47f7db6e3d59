"""One listening connection of a process, for all its readers: says which tenant has something new, never what."""

from __future__ import annotations

import asyncio
import logging
import weakref
from contextlib import suppress

import psycopg

from worka.kernel.db import Database
from worka.kernel.events import CHANNEL

log = logging.getLogger("worka.realtime")


class Hub:
    """Wakes the readers of a tenant. While the database is away readers fall back to looking now and then."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._readers: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    def join(self, tenant_id: str) -> asyncio.Event:
        """An event that is set when the tenant has something new. The first reader opens the connection."""
        wake = asyncio.Event()
        self._readers.setdefault(tenant_id, set()).add(wake)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())
        return wake

    def leave(self, tenant_id: str, wake: asyncio.Event) -> None:
        """The last reader closes the connection."""
        readers = self._readers.get(tenant_id, set())
        readers.discard(wake)
        if not readers:
            self._readers.pop(tenant_id, None)
        if not self._readers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _listen(self) -> None:
        pause = 0.2
        while True:
            try:
                async with self._db.listen(CHANNEL) as conn:
                    pause = 0.2
                    self._wake_all()
                    async for notice in conn.notifies():
                        for wake in self._readers.get(notice.payload, ()):
                            wake.set()
            except (psycopg.Error, OSError) as error:
                log.warning("the event channel is away: %s", type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    def _wake_all(self) -> None:
        # What was committed while nobody listened was not announced to us.
        for readers in self._readers.values():
            for wake in readers:
                wake.set()

    async def close(self) -> None:
        """Ends the listening connection."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None


_hubs: weakref.WeakKeyDictionary[Database, Hub] = weakref.WeakKeyDictionary()


def hub_of(db: Database) -> Hub:
    """The hub of this pool's database in this process."""
    if db not in _hubs:
        _hubs[db] = Hub(db)
    return _hubs[db]
