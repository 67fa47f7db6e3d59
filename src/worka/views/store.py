"""Every query of views."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]


async def lock_by_name(conn: Connection, workspace_id: str, name: str) -> Row | None:
    """The view of this name, locked; None when there is none."""
    cursor = await conn.execute(
        "select * from worka.view where workspace_id = %s and name = %s for update", (workspace_id, name)
    )
    return await cursor.fetchone()


async def insert(conn: Connection, row: Row) -> bool:
    """A new view at revision 0. False: another transaction made one of this name first."""
    cursor = await conn.execute(
        "insert into worka.view (tenant_id, id, workspace_id, name, title, created_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(title)s, %(created_by)s)"
        " on conflict (tenant_id, workspace_id, name) do nothing",
        row,
    )
    return cursor.rowcount == 1


async def revise(
    conn: Connection,
    tenant_id: str,
    view_id: str,
    revision: int,
    title: str,
    document: Row,
    task_id: str | None,
    invocation_id: str | None,
    created_by: str,
) -> None:
    """Writes a revision and makes it the newest."""
    await conn.execute(
        "insert into worka.view_revision (tenant_id, view_id, revision, document, task_id, invocation_id, created_by)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (tenant_id, view_id, revision, Jsonb(document), task_id, invocation_id, created_by),
    )
    await conn.execute(
        "update worka.view set revision = %s, title = %s, updated_at = clock_timestamp() where id = %s",
        (revision, title, view_id),
    )


async def views(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Views of a workspace, newest first."""
    cursor = await conn.execute(
        "select id, workspace_id, name, title, kind, revision, created_by, created_at, updated_at from worka.view"
        " where workspace_id = %s and (%s::text is null or id < %s) order by id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def view(conn: Connection, view_id: str) -> Row | None:
    """A view."""
    cursor = await conn.execute(
        "select id, workspace_id, name, title, kind, revision, created_by, created_at, updated_at from worka.view"
        " where id = %s",
        (view_id,),
    )
    return await cursor.fetchone()


async def revision(conn: Connection, view_id: str, number: int) -> Row | None:
    """One revision."""
    cursor = await conn.execute(
        "select revision, document, task_id, invocation_id, created_by, created_at from worka.view_revision"
        " where view_id = %s and revision = %s",
        (view_id, number),
    )
    return await cursor.fetchone()


async def history(conn: Connection, view_id: str, limit: int) -> list[Row]:
    """Revisions without their documents, newest first."""
    cursor = await conn.execute(
        "select revision, task_id, invocation_id, created_by, created_at from worka.view_revision where view_id = %s"
        " order by revision desc limit %s",
        (view_id, limit),
    )
    return await cursor.fetchall()
