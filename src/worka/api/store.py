"""Idempotency keys: one row per tenant, principal and key."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection


async def begin(conn: Connection, tenant: str, principal: str, key: str, digest: str) -> dict[str, Any] | None:
    """Claims the key; None when it is ours now, else the row that holds it. A claim older than two minutes whose process
    died is taken over: effects behind it carry their own key."""
    cursor = await conn.execute(
        "insert into worka.idempotency as i (tenant_id, principal_id, key, request_digest, state) values (%s,%s,%s,%s,'in_flight')"
        " on conflict (tenant_id, principal_id, key) do update set created_at = now()"
        " where i.state = 'in_flight' and i.request_digest = excluded.request_digest and i.created_at < now() - interval '2 minutes'"
        " returning 1",
        (tenant, principal, key, digest),
    )
    if await cursor.fetchone():
        return None
    cursor = await conn.execute(
        "select request_digest, state, status, body from worka.idempotency where tenant_id = %s and principal_id = %s and key = %s",
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
