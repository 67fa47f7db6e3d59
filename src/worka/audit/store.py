"""Every query of the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from worka.kernel.db import Connection

Row = dict[str, Any]
SEAL_CHANNEL = "worka_seal"
# One number for all sealers of a database: the session that holds it seals.
_SEALER_LOCK = 0x57_4F_52_4B_41_5E_A1


async def append(conn: Connection, tenant: str, lane: int, bodies: list[bytes], macs: list[bytes]) -> None:
    """Links and inserts the rows, in order, and moves the lane's head: one statement, the transaction's last."""
    await conn.execute("select worka.audit_append(%s, %s, %s::bytea[], %s::bytea[])", (tenant, lane, bodies, macs))


async def ask_for_seal(conn: Connection) -> None:
    """Wakes the sealer when this transaction commits."""
    await conn.execute("select pg_notify(%s, '')", (SEAL_CHANNEL,))


async def take_sealer_lock(conn: Connection) -> bool:
    """Whether this session is the one that seals, from now until it ends."""
    row = await (await conn.execute("select pg_try_advisory_lock(%s) as held", (_SEALER_LOCK,))).fetchone()
    return bool(row and row["held"])


async def heads_all(conn: Connection) -> list[Row]:
    """The heads of all lanes of all tenants (tenant_id, lane, seq, hash), sorted."""
    return await (await conn.execute("select * from worka.audit_heads_all()")).fetchall()


async def heads(conn: Connection) -> list[Row]:
    """The heads (lane, seq, hash) of this transaction's tenant."""
    cursor = await conn.execute("select lane, seq, hash from worka.audit_head order by lane")
    return await cursor.fetchall()


async def hashes_at(conn: Connection, places: list[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The hashes of the tenant's rows at these (lane, seq); a place without a row is left out."""
    cursor = await conn.execute(
        "select e.lane, e.seq, e.hash from unnest(%s::int[], %s::bigint[]) as p(lane, seq)"
        " join worka.audit_entry e on e.lane = p.lane and e.seq = p.seq",
        ([lane for lane, _ in places], [seq for _, seq in places]),
    )
    return {(row["lane"], row["seq"]): bytes(row["hash"]) for row in await cursor.fetchall()}


async def lanes(conn: Connection) -> list[int]:
    """The lanes in which the tenant has rows, from the rows themselves: a head may have been removed."""
    cursor = await conn.execute(
        "select lane from worka.audit_head union select lane from worka.audit_entry order by lane"
    )
    return [row["lane"] for row in await cursor.fetchall()]


async def entries(conn: Connection, lane: int) -> AsyncIterator[Row]:
    """The rows of a lane (lane, seq, body, mac, prev, hash) in order, in portions."""
    after = 0
    while True:
        cursor = await conn.execute(
            "select lane, seq, body, mac, prev, hash from worka.audit_entry where lane = %s and seq > %s"
            " order by seq limit 2000",
            (lane, after),
        )
        rows = await cursor.fetchall()
        for row in rows:
            yield row
        if len(rows) < 2000:
            return
        after = rows[-1]["seq"]
