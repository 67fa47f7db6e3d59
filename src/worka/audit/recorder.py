"""Writes the ledger rows of a transaction, as its last statement. What cannot be recorded does not happen."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
from weakref import WeakKeyDictionary

from worka.audit import rules, store
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.events import Event


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

    def lane(self, conn: Connection) -> int:
        """The lane of this connection."""
        if conn not in self._lanes:
            self._lanes[conn] = next(self._next) % rules.LANES
        return self._lanes[conn]

    async def flush(self, conn: Connection, ctx: Context, entries: list[Event]) -> None:
        """One statement for all entries. Whatever goes wrong here is raised, and the transaction is rolled back."""
        if not entries:
            return
        tenant = ctx.tenant_id or rules.PLATFORM
        at = now()
        bodies = [rules.body(ctx, event, at) for event in entries]
        key = await ctx.sealer.audit_key(conn, tenant)
        macs = [hmac.digest(key, body, hashlib.sha256) for body in bodies]
        if any(rules.urgent(event) for event in entries):
            await store.wake_sealer(conn)
        await store.append(conn, tenant, self.lane(conn), macs, bodies)
