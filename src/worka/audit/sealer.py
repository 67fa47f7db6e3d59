"""Seals the heads of all lanes of all tenants outside the database, at least once a second while they move.

Each checkpoint binds every row below its heads (the rows are chained) and the checkpoint before it. A lane that does
not continue what was sealed keeps its last good head in every later checkpoint (`rules.next_vector`): no later seal
makes a rewritten history look right, and every verification fails until someone has dealt with it.
"""

from __future__ import annotations

import asyncio
import logging

import psycopg

from worka.audit import checkpoints, rules, sign, store
from worka.audit.checkpoints import Checkpoint
from worka.audit.errors import SealBroken
from worka.audit.verify import Key
from worka.kernel.clock import now
from worka.kernel.db import Connection, Database
from worka.kernel.errors import Unavailable
from worka.kernel.paths import Paths

log = logging.getLogger("worka.audit.sealer")
INTERVAL = 0.9 * rules.SEAL_SECONDS  # with the time that a seal takes, within the promise
REST = 0.05  # seconds between two seals that were asked for: many approvals make few seals
RETRY = 1.0
PUBLISHED = "seal.pub"


class Sealer:
    """Makes checkpoints. One at a time per database: whoever holds the session lock. Raises SealBroken when the newest
    checkpoint of the store is not one that this key signed, or does not commit to the heads beside it."""

    def __init__(self, db: Database, paths: Paths, *, interval: float = INTERVAL) -> None:
        self.db = db
        self.paths = paths
        self.interval = interval
        self.key = sign.ensure_key(paths.keys)
        self.files = checkpoints.Store(paths.checkpoints)
        self.last: Checkpoint | None = None
        self._loaded = False
        paths.checkpoints.mkdir(parents=True, exist_ok=True)
        sign.create_once(paths.checkpoints / PUBLISHED, f"{self.key.public}\n".encode(), mode=0o644)
        if (paths.checkpoints / PUBLISHED).read_text().strip() != self.key.public:
            raise SealBroken(f"{PUBLISHED} beside the checkpoints is not the public half of keys/seal.ed25519.")

    def _verified(self) -> Checkpoint | None:
        """The newest checkpoint of the store, as this key signed it."""
        try:
            last = self.files.latest()
            if last is None:
                return None
            lines = Key(self.key.public).opened(last.note)
            again = checkpoints.make(self.key, None, last.vector, [], last.at).note.splitlines()
        except (ValueError, KeyError, TypeError) as error:
            raise SealBroken(f"The newest checkpoint cannot be trusted: {error}.") from error
        if lines[1:3] != again[1:3] or lines[3] != f"number {last.number}":
            raise SealBroken(f"Checkpoint {last.number} does not commit to the heads beside it.")
        return last

    async def seal(self) -> Checkpoint | None:
        """Seals the heads as they are now; None when nothing moved since the last checkpoint. Raises NumberTaken when
        another sealer wrote its number first, OSError when the object store does not take it."""
        if not self._loaded:
            self.last, self._loaded = await asyncio.to_thread(self._verified), True
        before = self.last.vector if self.last else {}
        async with self.db.transaction(None) as conn:
            heads = await store.heads(conn)
        continuous = {}
        moved: dict[str, list[tuple[int, int]]] = {}
        for tenant, lane, seq in rules.moved(before, heads):
            moved.setdefault(tenant, []).append((lane, seq))
        for tenant, lanes in moved.items():
            places = {(lane, seq): before[tenant][lane][1] for lane, seq in lanes}
            async with self.db.transaction(tenant) as conn:
                standing = await store.rows_stand(conn, places)
            continuous.update({(tenant, lane): (lane, seq) in standing for lane, seq in lanes})
        vector, lost = rules.next_vector(before, heads, continuous)
        known = self.last.lost if self.last else []
        for chain in lost:
            if chain not in known:
                log.error("audit: %s is not there any more as it was sealed; it stays sealed as it was", chain)
        if not vector or (vector == before and lost == known):
            return None
        made = checkpoints.make(self.key, self.last, vector, lost, now())
        await asyncio.to_thread(self.files.write, made)
        self.last = made
        return made

    async def run(self) -> None:
        """Seals until it is cancelled; see `run`."""
        await run(self.db, self.paths, asyncio.Event(), interval=self.interval)


AuditSealer = Sealer  # both names are in use; the kernel's Sealer is another thing


async def run(db: Database, paths: Paths, stop: asyncio.Event, *, interval: float = INTERVAL) -> None:
    """Seals until `stop` is set. It goes on after every failure, which is logged: verify shows that no sealer runs."""
    told = ""
    while not stop.is_set():
        try:
            async with db.listen(store.SEAL_CHANNEL) as conn:
                if await store.take_sealer_lock(conn):
                    sealer = await asyncio.to_thread(Sealer, db, paths, interval=interval)
                    told = ""
                    await _seal_on(conn, sealer, stop)
        except checkpoints.NumberTaken:
            log.warning("audit: another sealer was faster; going on from its checkpoint")
        except (Unavailable, psycopg.Error, OSError) as error:
            if str(error) != told:
                log.error("audit: nothing can be sealed: %s", error)
            told = str(error)
        try:
            await asyncio.wait_for(stop.wait(), RETRY)
        except TimeoutError:
            pass


async def _seal_on(conn: Connection, sealer: Sealer, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await sealer.seal()
        await asyncio.sleep(REST)
        # Ends at the first notification (someone wants a seal now) or after the interval; fails when the session, and
        # with it the lock, is lost.
        async for _ in conn.notifies(timeout=max(sealer.interval - REST, REST), stop_after=1):
            pass
