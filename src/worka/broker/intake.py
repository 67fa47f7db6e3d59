"""Whether the database takes the egress rows of a tenant, and who tries while it does not.

A group that waits for a lock or a disk holds one of the broker's connections. Those calls need too, to begin and to end: if each
group waited, whoever comes next would wait for a connection first and for its row then, one wave after the other. So once a
group was not written in time, one at a time tries, and the others hold no connection meanwhile (audit/recorder.py does the same).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SHUT_SECONDS = 0.5
"""From a group that was not written in time to the next one that tries."""
_LOOK_SECONDS = 0.05
_TRIES = 2
"""How many try at once, of all tenants: a quarter of the broker's connections."""


class Intakes:
    """Those of all tenants. One tenant's own trouble, a lock on a row of its, shuts nobody else out."""

    def __init__(self) -> None:
        self._of: dict[str, Intake] = {}
        self.trying = 0

    def of(self, tenant_id: str) -> Intake:
        """That of this tenant."""
        return self._of.setdefault(tenant_id, Intake(self))


class Intake:
    """Of one tenant."""

    def __init__(self, everybody: Intakes) -> None:
        self._everybody = everybody
        self._until: float | None = None
        self._trying = False

    @property
    def shut(self) -> bool:
        """Whether rows were not taken just now, and it is nobody else's turn to try."""
        if self._until is None:
            return False
        return self._trying or time.monotonic() < self._until or self._everybody.trying >= _TRIES

    @asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[None]:
        """Around the writing of a group, for so long and no longer; while it is shut, it waits as long for its turn to try.
        Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while self.shut:
                await asyncio.sleep(_LOOK_SECONDS)
        tries = self._until is not None
        if tries:
            self._trying = True
            self._everybody.trying += 1
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            self._until = time.monotonic() + SHUT_SECONDS
            raise
        else:
            self._until = None
        finally:
            if tries:
                self._trying = False
                self._everybody.trying -= 1
