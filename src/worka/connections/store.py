"""Every query of connections."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]
_ALL = (
    "id, workspace_id, provider, name, host, port, access, why, secret_id, metadata, state, reason, since, approval_id, created_by, created_at"
)


async def insert(conn: Connection, row: Row) -> None:
    """A new connection."""
    await conn.execute(
        "insert into worka.connection (tenant_id, id, workspace_id, provider, name, host, port, access, why, secret_id, metadata, state,"
        " reason, created_by) values (%(tenant_id)s,%(id)s,%(workspace_id)s,%(provider)s,%(name)s,%(host)s,%(port)s,%(access)s,%(why)s,"
        "%(secret_id)s,%(metadata)s,%(state)s,%(reason)s,%(created_by)s)",
        {**row, "metadata": Jsonb(row["metadata"])},
    )


async def get(conn: Connection, connection_id: str, *, lock: bool = False) -> Row | None:
    """One connection."""
    cursor = await conn.execute(f"select {_ALL} from worka.connection where id = %s" + (" for update" if lock else ""), (connection_id,))
    return await cursor.fetchone()


async def listed(conn: Connection, workspace: str, after: str | None, limit: int) -> list[Row]:
    """A page of a workspace's connections, newest first."""
    cursor = await conn.execute(
        f"select {_ALL} from worka.connection where workspace_id = %s and (%s::text is null or id < %s) order by id desc limit %s",
        (workspace, after, after, limit),
    )
    return await cursor.fetchall()


async def set_approval(conn: Connection, connection_id: str, approval_id: str) -> None:
    """Links the approval that is waited for."""
    await conn.execute("update worka.connection set approval_id = %s where id = %s", (approval_id, connection_id))


async def move(conn: Connection, connection_id: str, state: str, reason: str) -> None:
    """Moves a connection; the state machine was asked before."""
    await conn.execute("update worka.connection set state = %s, reason = %s, since = now() where id = %s", (state, reason, connection_id))


async def secret_exists(conn: Connection, secret_id: str, workspace: str) -> bool:
    """Whether the workspace has this secret."""
    cursor = await conn.execute("select 1 from worka.secret where id = %s and workspace_id = %s and state in ('active', 'rotating')", (secret_id, workspace))
    return await cursor.fetchone() is not None
