"""Writes the ledger rows of a transaction, as its last statement. What cannot be recorded does not happen."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import psycopg

from worka.audit import rules, store
from worka.audit.errors import AuditUnwritable
from worka.kernel.clock import now
from worka.kernel.context import Context, OneStatement
from worka.kernel.db import Connection
from worka.kernel.events import Event, Statement, told

PATIENCE_SECONDS = 0.8
"""How long a row may take: with what else a request waits for, it is refused within two seconds."""
SHUT_SECONDS = 0.5


def _by_ledger(error: psycopg.Error) -> bool:
    """Whether it was the ledger's own part of the statement that failed, and not what ran before it."""
    return "audit_append" in (error.diag.context or "") + (error.diag.message_primary or "")


class Recorder:
    """Implements the kernel's protocol.

    A lane belongs to a connection: writers of one tenant queue behind each other only from the audit statement to the
    end of their COMMIT, and only on the same lane. A transaction uses one lane, so two of them never wait for each
    other.
    """

    def __init__(self) -> None:
        # Processes start anywhere, so that the first connections of several do not all share lane 0.
        self._next = itertools.count(os.getpid() + int.from_bytes(os.urandom(2), "big"))
        self._lanes: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        # After a row that was not taken in time, one at a time tries; the others are refused at once, for each would hold a
        # connection while it waits, and those who wait for a connection would wait for longer than is promised.
        self._shut_until: float | None = None
        self._trying = False

    def lane(self, conn: Connection) -> int:
        """The lane of this connection."""
        if conn not in self._lanes:
            self._lanes[conn] = next(self._next) % rules.LANES
        return self._lanes[conn]

    async def flush(self, conn: Connection, ctx: Context, entries: list[Event], first: Statement | None = None) -> None:
        """One statement for all entries, and for `first` before them. Whatever goes wrong here is raised, and the
        transaction is rolled back. Raises AuditUnwritable within PATIENCE_SECONDS."""
        if not entries:
            return
        self._refuse_if_shut()
        tenant = ctx.tenant_id or rules.PLATFORM
        bodies, macs = await self._written(conn, ctx, entries)
        async with self._patience(conn, alone=first is None):
            if any(rules.urgent(event) for event in entries):
                await store.wake_sealer(conn)
            await store.append(conn, tenant, self.lane(conn), macs, bodies, first)

    async def once(self, conn: Connection, ctx: Context, event: Event, run: OneStatement) -> bool:
        """Gives a statement that is its own transaction the row that it has to append; its answer. Raises
        AuditUnwritable within PATIENCE_SECONDS."""
        self._refuse_if_shut()
        (body,), (mac,) = await self._written(conn, ctx, [event])
        async with self._patience(conn, alone=False):
            return await run(conn, told(ctx, event), self.lane(conn), body, mac)

    def _refuse_if_shut(self) -> None:
        if self._shut_until is not None and (self._trying or time.monotonic() < self._shut_until):
            raise AuditUnwritable("The ledger did not take a row just now.", retry_after=1)

    @staticmethod
    async def _written(conn: Connection, ctx: Context, entries: list[Event]) -> tuple[list[bytes], list[bytes]]:
        """The bodies of the rows, and their MACs."""
        at = now()
        bodies = [rules.body(ctx, event, at) for event in entries]
        key = await ctx.sealer.audit_key(conn, ctx.tenant_id or rules.PLATFORM)
        return bodies, [hmac.digest(key, body, hashlib.sha256) for body in bodies]

    @asynccontextmanager
    async def _patience(self, conn: Connection, *, alone: bool) -> AsyncIterator[None]:
        """Around the statement: it takes so long and no longer. `alone`: there is nothing in it but the ledger's part."""
        probing = self._shut_until is not None
        self._trying = self._trying or probing
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                yield
        except TimeoutError:
            self._shut_until = time.monotonic() + SHUT_SECONDS
            raise AuditUnwritable(
                f"The ledger did not take the row within {PATIENCE_SECONDS:g} s.", retry_after=1
            ) from None
        except psycopg.Error as error:
            if conn.broken or isinstance(error, psycopg.errors.OperatorIntervention):
                raise  # the database itself went away: that is another cause, and says so
            if not alone and not _by_ledger(error):
                raise  # it was the other part of the statement
            said = error.diag.message_primary or type(error).__name__
            raise AuditUnwritable(f"The ledger refused the row: {said}.", retry_after=1) from error
        else:
            self._shut_until = None
        finally:
            if probing:
                self._trying = False
