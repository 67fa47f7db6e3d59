"""Idempotency keys: one row per tenant, principal and key."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection


async def begin(
    conn: Connection, tenant: str, principal: str, key: str, digest: str, owner: str
) -> dict[str, Any] | None:
    """Claims the key; None when it is ours now, else the row that holds it. A claim whose process has no heartbeat any
    more is taken over: what it began either committed whole or not at all, and effects carry keys of their own."""
    cursor = await conn.execute(
        "insert into worka.idempotency as i (tenant_id, principal_id, key, request_digest, state, owner)"
        " values (%(tenant)s,%(principal)s,%(key)s,%(digest)s,'in_flight',%(owner)s)"
        " on conflict (tenant_id, principal_id, key) do update set created_at = now(), owner = excluded.owner"
        " where i.state = 'in_flight' and i.request_digest = excluded.request_digest"
        " and i.created_at < now() - interval '3 seconds' and not exists (select 1 from worka.process p"
        " where p.id = i.owner and p.beat_at > now() - interval '8 seconds')"
        " returning 1",
        {"tenant": tenant, "principal": principal, "key": key, "digest": digest, "owner": owner},
    )
    if await cursor.fetchone():
        return None
    cursor = await conn.execute(
        "select request_digest, state, status, body from worka.idempotency"
        " where tenant_id = %s and principal_id = %s and key = %s",
        (tenant, principal, key),
    )
    return await cursor.fetchone()


async def finish(conn: Connection, tenant: str, principal: str, key: str, status: int, body: dict[str, Any]) -> None:
    """Keeps the answer for repeats."""
    await conn.execute(
        "update worka.idempotency set state = 'done', status = %s, body = %s where tenant_id = %s and principal_id = %s and key = %s",
        (status, Jsonb(body), tenant, principal, key),
    )


async def release(conn: Connection, tenant: str, principal: str, key: str) -> None:
    """Gives the key back after an answer that must not be replayed."""
    await conn.execute(
        "delete from worka.idempotency where tenant_id = %s and principal_id = %s and key = %s and state = 'in_flight'",
        (tenant, principal, key),
    )
