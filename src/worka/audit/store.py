"""Every query of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from psycopg.rows import tuple_row

from worka.audit.rules import Vector
from worka.kernel.db import Connection
from worka.kernel.events import Statement

SEAL_CHANNEL = "worka_seal"
Entry = tuple[int, int, bytes, bytes, bytes, bytes, float]
"""lane, seq, body, mac, prev, hash, and the age in seconds."""
_PAGE = 2000
# One number for all sealers of a database: the session that holds it seals.
_SEALER_LOCK = 0x57_4F_52_4B_41_5E_A1


async def append(
    conn: Connection, tenant: str, lane: int, macs: list[bytes], bodies: list[bytes], first: Statement | None = None
) -> None:
    """Links and inserts the rows, in order, and moves the lane's head: one statement, the transaction's last. The
    hashes are made in the database, because the head is known only once it is locked; the lock is held from here to
    COMMIT. `first` is run before it in the same statement: its rows are counted before the head is locked."""
    query = "select worka.audit_append(%s, %s, %s::bytea[], %s::bytea[])"
    values: list[Any] = [tenant, lane, bodies, macs]
    if first is not None:
        query = f"with before as ({first[0]}) {query} from (select count(*) from before) counted"  # noqa: S608
        values = [*first[1], *values]
    await conn.execute(query, values)


async def wake_sealer(conn: Connection) -> None:
    """Asks for a seal as soon as this transaction is committed."""
    await conn.execute("select pg_notify(%s, '')", (SEAL_CHANNEL,))


async def take_sealer_lock(conn: Connection) -> bool:
    """Whether this session is the one that seals, from now until it ends."""
    row = await (await conn.execute("select pg_try_advisory_lock(%s) as held", (_SEALER_LOCK,))).fetchone()
    return bool(row and row["held"])


async def tenants(conn: Connection) -> list[str]:
    """All tenants of the deployment."""
    cursor = await conn.execute("select t as tenant_id from worka.tenants_all() as t order by 1")
    return [row["tenant_id"] for row in await cursor.fetchall()]


async def heads(conn: Connection) -> Vector:
    """The heads of all lanes of all tenants, at one moment."""
    found: Vector = {}
    for row in await (await conn.execute("select * from worka.audit_heads_all()")).fetchall():
        found.setdefault(row["tenant_id"], {})[row["lane"]] = (row["seq"], bytes(row["hash"]).hex())
    return found


async def own_heads(conn: Connection) -> dict[int, tuple[int, str]]:
    """The heads of this transaction's tenant: lane -> (seq, hash in hex)."""
    cursor = await conn.execute("select lane, seq, hash from worka.audit_head order by lane")
    return {row["lane"]: (row["seq"], bytes(row["hash"]).hex()) for row in await cursor.fetchall()}


async def rows_stand(conn: Connection, places: Mapping[tuple[int, int], str]) -> set[tuple[int, int]]:
    """Which of these places ((lane, seq) -> hash in hex) of the tenant hold a row with that very hash."""
    cursor = await conn.execute(
        "select e.lane, e.seq, e.hash from unnest(%s::int[], %s::bigint[]) as p(lane, seq)"
        " join worka.audit_entry e on e.lane = p.lane and e.seq = p.seq",
        ([lane for lane, _ in places], [seq for _, seq in places]),
    )
    rows = await cursor.fetchall()
    return {(row["lane"], row["seq"]) for row in rows if bytes(row["hash"]).hex() == places[row["lane"], row["seq"]]}


async def pages(conn: Connection) -> AsyncIterator[list[Entry]]:
    """The tenant's rows in order of (lane, seq), in portions. The next one is under way while one is looked at."""

    async def page(lane: int, seq: int) -> list[Entry]:
        # Binary, as tuples, nothing copied on the way: a verification reads every byte of the ledger.
        async with conn.cursor(binary=True, row_factory=tuple_row) as cursor:
            await cursor.execute(
                "select lane, seq, body, mac, prev, hash, extract(epoch from clock_timestamp() - at)::float8"
                " from worka.audit_entry where (lane, seq) > (%s, %s::bigint) order by lane, seq limit %s",
                (lane, seq, _PAGE),
            )
            return await cursor.fetchall()

    coming: asyncio.Task[list[Entry]] | None = asyncio.create_task(page(-1, 0))
    try:
        while coming is not None:
            rows = await coming
            coming = asyncio.create_task(page(rows[-1][0], rows[-1][1])) if len(rows) == _PAGE else None
            if rows:
                yield rows
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
