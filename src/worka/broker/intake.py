"""Whether the database takes the egress rows of a tenant, and who tries while it does not.

A group that waits for a lock or a disk holds one of the broker's connections. Calls need those too, to begin and to end: if groups
could hold all of them, whoever comes next would wait for a connection first and for its row then, one wave after the other.
So no more than `_AT_ONCE` hold one. And once a group was not written in time, one of its tenant tries, and the others hold
nothing meanwhile (audit/recorder.py does the same).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

SHUT_SECONDS = 0.5
"""From a group that was not written in time to the next one that tries."""
_AT_ONCE, OF_TENANT = 6, 4
"""Groups that hold a connection at the same moment, of all tenants and of one; the pool has eight (kernel/db.py)."""


class Intakes:
    """Those of all tenants. One tenant's own trouble, a lock on a row of its, shuts nobody else out."""

    def __init__(self) -> None:
        self._of: dict[str, Intake] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def of(self, tenant_id: str) -> Intake:
        """That of this tenant."""
        return self._of.setdefault(tenant_id, Intake(self._room))


class Intake:
    """Of one tenant. `room`: what all of them share."""

    def __init__(self, room: asyncio.Semaphore) -> None:
        self._room, self._own = room, asyncio.Semaphore(OF_TENANT)
        self._until: float | None = None
        self._trying = asyncio.Lock()

    @property
    def shut(self) -> bool:
        """Whether rows were not taken just now, and it is nobody's turn to try."""
        return self._until is not None and (self._trying.locked() or time.monotonic() < self._until)

    @asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[None]:
        """Around the writing of a group, for so long and no longer; while it is shut, it waits as long for its turn to try.
        Raises TimeoutError."""
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(seconds):
                if self._until is not None:
                    await stack.enter_async_context(self._trying)
                    await asyncio.sleep((self._until or 0) - time.monotonic())
            try:
                async with asyncio.timeout(seconds), self._own, self._room:
                    yield
            except TimeoutError:
                self._until = time.monotonic() + SHUT_SECONDS
                raise
            else:
                self._until = None
