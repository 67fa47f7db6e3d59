"""Lets an idle worker rest: the engine asks the database for work when some was put there, not sixteen times a second.

DBOS looks into every queue at a fixed interval, several exchanges each time. What our transactions put into a queue
rings a bell at their commit (NOTIFY). The engine's threads keep their interval, so they react as quickly as before, but
they ask the database only when it rang, when the last look did not find the queue empty (the worker may be full), or
when REST_SECONDS have passed: what the engine itself puts back into a queue rings nothing. While nobody listens, every
look is made.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from typing import Any

import psycopg

from worka.kernel.db import Database
from worka.kernel.events import WORK_CHANNEL

log = logging.getLogger("worka.engine")
REST_SECONDS = 1.0
RETRY_SECONDS = 1.0
AWAKE_SECONDS = 5.0
"""After a start every look is made: the engine then puts back what it was at when it ended."""


class Bell:
    """Which queues may be left alone, and until when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rings: Counter[str] = Counter()
        self._rest: dict[str, float] = {}
        self._turn = 0
        self._awake_until = 0.0
        self._heard = False

    def ring(self, queue: str) -> None:
        """Something was put into this queue."""
        with self._lock:
            self._rings[queue] += 1
            self._rest.pop(queue, None)

    def hears(self, heard: bool) -> None:
        """Whether rings arrive from now on. What was put there before is not known: every queue is looked into."""
        with self._lock:
            self._heard = heard
            self._turn += 1
            self._rest.clear()

    def due(self, queue: str) -> bool:
        """Whether the queue has to be looked into now."""
        with self._lock:
            return self._rest.get(queue, 0.0) <= time.monotonic()

    def rings(self, queue: str) -> tuple[int, int]:
        """What changes whenever something may have been put into this queue."""
        with self._lock:
            return self._turn, self._rings[queue]

    def empty(self, queue: str, rings: tuple[int, int]) -> None:
        """A look that began at this count found the queue empty."""
        with self._lock:
            now = time.monotonic()
            if self._heard and now > self._awake_until and (self._turn, self._rings[queue]) == rings:
                self._rest[queue] = now + REST_SECONDS

    def hang(self, engine: Any) -> None:
        """Puts itself before the engine's database: the only place between the engine's interval and its questions."""
        self._awake_until = time.monotonic() + AWAKE_SECONDS
        claim, configured, scopes = engine.start_queued_workflows, engine.get_queue, engine.dequeue_scopes
        parts = engine.get_queue_partitions
        known: dict[str, Any] = {}

        def get_queue(name: str, **named: Any) -> Any:
            if name not in known or self.due(name):
                known[name] = configured(name, **named)
            return known[name]

        def dequeue_scopes(name: str) -> Any:
            return scopes(name) if self.due(name) else []

        def get_queue_partitions(name: str) -> Any:
            rings = self.rings(name)
            found = parts(name)
            if not found:
                self.empty(name, rings)
            return found

        def start_queued_workflows(
            queue: Any, executor: str, version: str, part: str | None, *given: Any, **named: Any
        ) -> Any:
            rings = self.rings(queue.name)
            taken, limit = claim(queue, executor, version, part, *given, **named)
            # Of a queue in parts one may be empty while others wait.
            if not taken and limit is None and part is None:
                self.empty(queue.name, rings)
            return taken, limit

        engine.get_queue, engine.dequeue_scopes = get_queue, dequeue_scopes
        engine.get_queue_partitions, engine.start_queued_workflows = get_queue_partitions, start_queued_workflows

    async def listen(self, db: Database) -> None:
        """Hears until it is cancelled; goes on after every failure."""
        while True:
            try:
                async with db.listen(WORK_CHANNEL) as conn:
                    self.hears(True)
                    async for word in conn.notifies():
                        self.ring(word.payload)
            except (psycopg.Error, OSError) as error:
                log.warning("not told of new work, so the queues are looked into all the time: %s", error)
            finally:
                self.hears(False)
            await asyncio.sleep(RETRY_SECONDS)
