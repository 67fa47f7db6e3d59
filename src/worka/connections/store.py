"""Every query of connections. The tenant is the transaction's (row-level security)."""

# ruff: noqa: S608 - what is put together below is a lock clause of ours
from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from worka.connections.rules import CONNECTION
from worka.kernel.db import Connection

Row = dict[str, Any]


async def add(conn: Connection, row: Row) -> Row:
    """A new connection."""
    cursor = await conn.execute(
        "insert into worka.connection (tenant_id, id, workspace_id, provider, name, host, port, access, why, secret_id,"
        " metadata, state, reason, created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(provider)s, %(name)s,"
        " %(host)s, %(port)s, %(access)s, %(why)s, %(secret_id)s, %(metadata)s, %(state)s, %(reason)s, %(created_by)s)"
        " returning *",
        {**row, "metadata": Jsonb(row["metadata"])},
    )
    made = await cursor.fetchone()
    assert made is not None
    return made


async def set_approval(conn: Connection, connection_id: str, approval_id: str) -> None:
    """Which approval it waits for."""
    await conn.execute("update worka.connection set approval_id = %s where id = %s", (approval_id, connection_id))


async def move(conn: Connection, connection_id: str, state: str, reason: str) -> Row:
    """Moves a connection."""
    CONNECTION.holds(state, reason)
    cursor = await conn.execute(
        "update worka.connection set state = %s, reason = %s, since = clock_timestamp() where id = %s returning *",
        (state, reason, connection_id),
    )
    row = await cursor.fetchone()
    assert row is not None
    return row


async def get(conn: Connection, connection_id: str, *, lock: bool = False) -> Row | None:
    """A connection with its secret's name and state."""
    tail = " for update of c" if lock else ""
    cursor = await conn.execute(
        "select c.*, s.name as secret_name, s.state as secret_state from worka.connection c"
        " left join worka.secret s on s.tenant_id = c.tenant_id and s.id = c.secret_id where c.id = %s" + tail,
        (connection_id,),
    )
    return await cursor.fetchone()


async def listed(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """A workspace's connections, newest first."""
    cursor = await conn.execute(
        "select c.*, s.name as secret_name, s.state as secret_state from worka.connection c"
        " left join worka.secret s on s.tenant_id = c.tenant_id and s.id = c.secret_id"
        " where c.workspace_id = %s and (%s::text is null or c.id < %s) order by c.id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def of_secret(conn: Connection, secret_id: str) -> list[Row]:
    """The connections that a secret backs and that are not ended, locked."""
    cursor = await conn.execute(
        "select * from worka.connection where secret_id = %s and state not in ('revoked', 'rejected', 'broken')"
        " order by id for update",
        (secret_id,),
    )
    return await cursor.fetchall()


async def same_way(conn: Connection, row: Row) -> bool:
    """Whether another active connection uses the same secret on the same endpoint."""
    cursor = await conn.execute(
        "select 1 from worka.connection where secret_id = %(secret_id)s and host = %(host)s and port = %(port)s"
        " and workspace_id = %(workspace_id)s and state = 'active' and id <> %(id)s limit 1",
        row,
    )
    return await cursor.fetchone() is not None


async def waiting_attachments(conn: Connection, workspace_id: str) -> list[Row]:
    """The attachments of a workspace that wait for a connection."""
    cursor = await conn.execute(
        "select id, pack from worka.attachment where workspace_id = %s and state = 'awaiting_connection' order by id",
        (workspace_id,),
    )
    return await cursor.fetchall()
