"""Readings and destructions: what another owner agreed to, and what lies under a tenant's keys."""

# ruff: noqa: S608 - what is put together below are our own column names and lock clauses
from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.treasury.rules import DESTRUCTION, READING
from worka.treasury.store.rows import one, page

Row = dict[str, Any]


async def add_reading(conn: Connection, row: Row) -> Row:
    """A reading that waits for consent."""
    return await one(
        conn,
        "insert into worka.secret_reading (tenant_id, id, workspace_id, secret_id, why, reason, minutes, approval_id,"
        " opened_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(secret_id)s, %(why)s, 'waiting_for_approver',"
        " %(minutes)s, %(approval_id)s, %(opened_by)s) returning *",
        row,
    )


async def reading(conn: Connection, reading_id: str, *, lock: bool = False) -> Row | None:
    """A reading."""
    tail = " for update" if lock else ""
    cursor = await conn.execute("select * from worka.secret_reading where id = %s" + tail, (reading_id,))
    return await cursor.fetchone()


async def readings(conn: Connection, secret_id: str, after: str | None, limit: int) -> list[Row]:
    """The readings of a secret, newest first."""
    return await page(conn, "secret_reading", "secret_id", secret_id, after, limit)


async def move_reading(
    conn: Connection, reading_id: str, state: str, reason: str, *, until: datetime | None = None, read: bool = False
) -> Row:
    """Opens or closes a reading; raises AssertionError when it is not there."""
    READING.holds(state, reason)
    return await one(
        conn,
        "update worka.secret_reading set state = %(state)s, reason = %(reason)s, since = clock_timestamp(), until ="
        " coalesce(%(until)s, until), read_at = case when %(read)s then clock_timestamp() end where id = %(id)s"
        " returning *",
        {"id": reading_id, "state": state, "reason": reason, "until": until, "read": read},
    )


async def add_destruction(conn: Connection, row: Row) -> Row:
    """A destruction that waits for consent."""
    return await one(
        conn,
        "insert into worka.key_destruction (tenant_id, id, workspace_id, why, reach, reason, approval_id, asked_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(why)s, %(reach)s, 'waiting_for_approver', %(approval_id)s,"
        " %(asked_by)s) returning *",
        {**row, "reach": Jsonb(row["reach"])},
    )


async def destruction(conn: Connection, destruction_id: str, *, lock: bool = False) -> Row | None:
    """A destruction of keys."""
    tail = " for update" if lock else ""
    cursor = await conn.execute("select * from worka.key_destruction where id = %s" + tail, (destruction_id,))
    return await cursor.fetchone()


async def close_destruction(conn: Connection, destruction_id: str, reason: str) -> Row:
    """It was done, or refused; raises AssertionError when it is not there."""
    DESTRUCTION.holds("closed", reason)
    return await one(
        conn,
        "update worka.key_destruction set state = 'closed', reason = %(reason)s, since = clock_timestamp() where id ="
        " %(id)s returning *",
        {"id": destruction_id, "reason": reason},
    )


async def living_secrets(conn: Connection) -> list[Row]:
    """Every secret of the tenant that is not destroyed, locked."""
    cursor = await conn.execute("select * from worka.secret where state <> 'destroyed' order by id for update")
    return await cursor.fetchall()


async def sealed_things(conn: Connection) -> Row:
    """How much of the tenant lies sealed under its data keys, by what it is."""
    return await one(
        conn,
        "select (select count(*) from worka.secret where state <> 'destroyed') as secrets,"
        " (select count(*) from worka.secret_grant where revoked_at is null) as grants,"
        " (select count(*) from worka.connection where secret_id is not null and state not in ('revoked', 'rejected'))"
        "  as connections,"
        " (select count(*) from worka.webhook_secret) as webhook_secrets,"
        " (select count(*) from worka.destination where credential is not null and state = 'active') as"
        "  registry_credentials,"
        " (select count(*) from worka.approval where arguments_sealed is not null) as arguments_of_approvals,"
        " (select count(*) from worka.step where result_sealed is not null) as results_of_steps",
        {},
    )
