"""Idempotency keys, one row per tenant, principal and key; and changes of one thing one after another."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

# Whether somebody still works on the request: its process gives signs of life and says that it does. A row of a process
# that said nothing yet is young. A process that knows better about its own rows says so (`busy`).
_HELD = (
    "(i.created_at > now() - interval '3 seconds' and i.owner <> '' and i.owner <> %(owner)s"
    " or i.owner = %(owner)s and %(busy)s"
    " or i.owner <> %(owner)s and exists (select 1 from worka.process p"
    " where p.id = i.owner and p.beat_at > now() - interval '8 seconds'))"
)


async def begin(
    conn: Connection, tenant: str, principal: str, key: str, digest: str, owner: str, busy: bool = True
) -> dict[str, Any] | None:
    """Claims the key; None when it is ours now, else the row that holds it, with `held`: whether somebody still answers.

    A claim that nobody works on any more, and that changed nothing (`in_flight`), is taken over. One that changed
    something (`committed`) is not: it must not be done again. `busy`: whether this process itself is answering the key."""
    known = {"tenant": tenant, "principal": principal, "key": key, "digest": digest, "owner": owner, "busy": busy}
    cursor = await conn.execute(
        "insert into worka.idempotency as i (tenant_id, principal_id, key, request_digest, state, owner)"  # noqa: S608 - a constant
        " values (%(tenant)s,%(principal)s,%(key)s,%(digest)s,'in_flight',%(owner)s)"
        " on conflict (tenant_id, principal_id, key) do update set created_at = now(), owner = excluded.owner"
        f" where i.state = 'in_flight' and i.request_digest = excluded.request_digest and not {_HELD}"
        " returning 1",
        known,
    )
    if await cursor.fetchone():
        return None
    cursor = await conn.execute(
        f"select request_digest, state, status, body, {_HELD} as held from worka.idempotency i"  # noqa: S608 - a constant
        " where tenant_id = %(tenant)s and principal_id = %(principal)s and key = %(key)s",
        known,
    )
    return await cursor.fetchone()


async def bind(conn: Connection, tenant: str, principal: str, key: str, digest: str) -> bool:
    """Binds the key to a request whose use case keeps its own record by key, in the transaction that begins it. False:
    it is another request's."""
    cursor = await conn.execute(
        "insert into worka.idempotency as i (tenant_id, principal_id, key, request_digest, state, owner, body)"
        " values (%s, %s, %s, %s, 'committed', '', '{\"subjects\": []}')"
        " on conflict (tenant_id, principal_id, key) do update set owner = i.owner"
        " where i.request_digest = excluded.request_digest returning 1",
        (tenant, principal, key, digest),
    )
    return await cursor.fetchone() is not None


async def mark(conn: Connection, tenant: str, principal: str, key: str, subjects: list[str]) -> None:
    """In the transaction of the change itself: from its commit on the request has had its effect, answered or not."""
    await conn.execute(
        "update worka.idempotency set state = 'committed', body = %s"
        " where tenant_id = %s and principal_id = %s and key = %s and state = 'in_flight'",
        (Jsonb({"subjects": subjects}), tenant, principal, key),
    )


async def finish(conn: Connection, tenant: str, principal: str, key: str, status: int, body: dict[str, Any]) -> None:
    """Keeps the answer for repeats."""
    await conn.execute(
        "update worka.idempotency set state = 'done', status = %s, body = %s where tenant_id = %s and principal_id = %s and key = %s",
        (status, Jsonb(body), tenant, principal, key),
    )


async def release(conn: Connection, tenant: str, principal: str, key: str, *, again: bool = False) -> None:
    """Gives the key back after an answer that must not be replayed. What committed keeps its key, without a holder;
    `again`: a repeat is meant to do it again."""
    await conn.execute(
        "delete from worka.idempotency where tenant_id = %s and principal_id = %s and key = %s"
        " and (state = 'in_flight' or (state = 'committed' and %s))",
        (tenant, principal, key, again),
    )
    await conn.execute(
        "update worka.idempotency set owner = '' where tenant_id = %s and principal_id = %s and key = %s"
        " and state = 'committed'",
        (tenant, principal, key),
    )


async def alone(conn: Connection, what: str) -> None:
    """Waits until no other transaction that asked for the same is open; holds until the end of this one."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 19))", (what,))
