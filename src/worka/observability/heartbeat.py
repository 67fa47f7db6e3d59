"""Signs of life of our own processes: one row each, written by the process itself and by nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any

from worka.kernel import ids
from worka.kernel.db import Database
from worka.kernel.errors import Problem
from worka.observability import rules, store

log = logging.getLogger("worka.heartbeat")
END_SECONDS = 2.0
"""A database that is away holds no process up; its row is then known by its silence."""


class Heartbeat:
    """Writes a row every `every` seconds until it is cancelled. `detail` is asked at each beat."""

    def __init__(
        self, db: Database, role: str, build: str, *, every: float = 2.0, detail: Callable[[], dict[str, Any]] = dict
    ) -> None:
        self.id = ids.new_id("proc")
        self._db = db
        self._role = role
        self._build = build
        self._every = every
        self._detail = detail

    async def beat(self) -> None:
        """One sign of life. Raises DatabaseUnavailable."""
        async with self._db.transaction(None) as conn:
            await store.beat(conn, self.id, self._role, os.getpid(), self._build, self._detail())

    async def run(self) -> None:
        """Beats until cancelled."""
        try:
            async with self._db.transaction(None) as conn:
                await store.forget(conn, rules.FORGOTTEN_SECONDS)
        except Problem as problem:
            log.warning("old heartbeats could not be removed: %s", problem.problem_code)
        while True:
            try:
                await self.beat()
            except Problem as problem:
                # The silence of this row is what tells others; nothing more can be done from here.
                log.warning("no heartbeat: %s", problem.problem_code)
            await asyncio.sleep(self._every)

    async def end(self) -> None:
        """Takes its row away, because the process ends in good order. Once `run` has ended, which may never have begun."""
        with contextlib.suppress(Problem, TimeoutError):
            async with asyncio.timeout(END_SECONDS), self._db.transaction(None) as conn:
                await store.end(conn, self.id)
