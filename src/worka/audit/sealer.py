"""Seals the heads of all lanes of all tenants outside the database, at least once a second while they move.

Each checkpoint binds every row below its heads (the rows are chained) and the checkpoint before it. Before a head is
sealed it must continue what was sealed before: the row at the last sealed place must still be there with its hash, and
the head must be a row. A head that does not is **held**: the checkpoint goes on sealing the last good place, so that no
later seal makes a rewritten history look right, and every verification fails until someone has dealt with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import psycopg

from worka.audit import checkpoints, store
from worka.audit.checkpoints import FIRST, Stored, tree_of
from worka.audit.errors import SealBroken, SealTaken
from worka.audit.sign import Checkpoint, Signer, load_signer
from worka.kernel import failpoints
from worka.kernel.clock import now
from worka.kernel.db import Connection, Database
from worka.kernel.errors import Unavailable
from worka.kernel.paths import Paths

log = logging.getLogger("worka.audit.sealer")
INTERVAL_SECONDS = 0.9  # with the time that a seal takes, below the promised second
REST_SECONDS = 0.05  # between two seals that were asked for: many approvals make few seals
RETRY_SECONDS = 1.0
Leaf = dict[str, Any]


class Sealer:
    """Makes checkpoints. One at a time per database: whoever holds the session lock."""

    def __init__(self, db: Database, paths: Paths, signer: Signer) -> None:
        self.db = db
        self.paths = paths
        self.signer = signer
        self.last: Stored | None = checkpoints.newest(paths, signer.public)
        self.held: set[tuple[str, int]] = set()

    async def seal(self) -> Stored | None:
        """Seals the heads as they are now; None when nothing moved since the last checkpoint. Raises SealTaken when
        another sealer wrote its number, SealBroken when the object store is not as it was left."""
        leaves = await self._leaves()
        before = self.last
        if (before is not None and leaves == before.leaves) or not leaves:
            return None
        tree = tree_of(leaves)
        said = Checkpoint(
            n=before.said.n + 1 if before else 1,
            at=now().isoformat(timespec="milliseconds"),
            previous=before.hash if before else FIRST,
            size=tree.size,
            root=tree.root,
        )
        stored = Stored(said, self.signer.note(said), leaves)
        failpoints.hit("audit.sealed.before_write")
        await asyncio.to_thread(checkpoints.write, self.paths, stored)
        self.last = stored
        return stored

    async def _leaves(self) -> list[Leaf]:
        async with self.db.transaction(None) as conn:
            heads = {(row["tenant_id"], row["lane"]): row for row in await store.heads_all(conn)}
        known = {(leaf["tenant"], leaf["lane"]): leaf for leaf in (self.last.leaves if self.last else [])}
        moved: dict[str, list[tuple[str, int]]] = {}
        for key in sorted(heads.keys() | known.keys()):
            head, leaf = heads.get(key), known.get(key)
            if head is None or leaf is None or (head["seq"], bytes(head["hash"]).hex()) != (leaf["seq"], leaf["hash"]):
                moved.setdefault(key[0], []).append(key)
        held: set[tuple[str, int]] = set()
        for tenant, keys in moved.items():
            held |= await self._not_continuing(tenant, keys, heads, known)
        for tenant, lane in sorted(held - self.held):
            log.error(
                "audit: lane %s of tenant %s does not continue what was sealed; it is held at its last good seal",
                lane,
                tenant,
            )
        self.held = held
        lanes: dict[str, list[int]] = {}
        vector: list[Leaf] = []
        for key in sorted(heads.keys() | known.keys()):
            if key in held and key not in known:
                continue
            row = None if key in held else heads[key]
            leaf = known[key] if row is None else {"seq": row["seq"], "hash": bytes(row["hash"]).hex()}
            lanes.setdefault(key[0], []).append(key[1])
            # The lanes of the tenant stand in each of its leaves: an export cannot leave one out.
            vector.append(
                {
                    "tenant": key[0],
                    "lane": key[1],
                    "lanes": lanes[key[0]],
                    "seq": leaf["seq"],
                    "hash": leaf["hash"],
                }
            )
        return vector

    async def _not_continuing(
        self, tenant: str, keys: list[tuple[str, int]], heads: dict[tuple[str, int], Any], known: dict[Any, Leaf]
    ) -> set[tuple[str, int]]:
        """Which of a tenant's moved lanes are not the continuation of what the last checkpoint sealed."""
        places = [(lane, known[tenant, lane]["seq"]) for _, lane in keys if (tenant, lane) in known]
        places += [(lane, heads[tenant, lane]["seq"]) for _, lane in keys if (tenant, lane) in heads]
        async with self.db.transaction(tenant) as conn:
            hashes = await store.hashes_at(conn, places)
        held = set()
        for key in keys:
            head, leaf = heads.get(key), known.get(key)
            if head is None or not _is_row(hashes, key[1], head["seq"], bytes(head["hash"])):
                held.add(key)
            elif leaf is not None and (
                head["seq"] < leaf["seq"] or not _is_row(hashes, key[1], leaf["seq"], bytes.fromhex(leaf["hash"]))
            ):
                held.add(key)
        return held


def _is_row(hashes: dict[tuple[int, int], bytes], lane: int, seq: int, digest: bytes) -> bool:
    return digest == b"" if seq == 0 else hashes.get((lane, seq)) == digest


async def run(db: Database, paths: Paths, stop: asyncio.Event) -> None:
    """Seals until `stop` is set; goes on after every failure, which is logged: an unsealed tail is what verify shows."""
    told = ""
    while not stop.is_set():
        try:
            signer = await asyncio.to_thread(load_signer, paths)
            async with db.listen(store.SEAL_CHANNEL) as conn:
                if await store.take_sealer_lock(conn):
                    await _seal_on(conn, await asyncio.to_thread(Sealer, db, paths, signer), stop)
                told = ""
        except SealTaken:
            log.warning("audit: another sealer was faster; going on from its checkpoint")
        except (SealBroken, Unavailable, psycopg.Error, OSError) as error:
            if str(error) != told:
                log.error("audit: nothing can be sealed: %s", error)
            told = str(error)
        try:
            await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
        except TimeoutError:
            pass


async def _seal_on(conn: Connection, sealer: Sealer, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await sealer.seal()
        await asyncio.sleep(REST_SECONDS)
        # Ends at the first notification (someone wants a seal now) or after the interval; fails when the session, and
        # with it the lock, is lost.
        async for _ in conn.notifies(timeout=INTERVAL_SECONDS - REST_SECONDS, stop_after=1):
            pass
