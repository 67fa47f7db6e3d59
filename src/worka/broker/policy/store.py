"""Every query of the policy on destinations. The tenant is the transaction's (row-level security)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]


async def lock(conn: Connection, tenant_id: str) -> None:
    """Versions of a tenant's policy are made one after another: holds until the end of the transaction."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 29))", (tenant_id,))


async def in_force(conn: Connection, workspace_id: str) -> list[Row]:
    """The newest version of the tenant's and of the workspace's policy, where there is any."""
    cursor = await conn.execute(
        "select distinct on (workspace_id) workspace_id, version, settings, note, created_by, approved_by, created_at"
        " from worka.egress_policy where workspace_id in ('', %s) order by workspace_id, version desc",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def newest(conn: Connection, scope: str) -> Row | None:
    """The newest version of one place; None where there never was any."""
    cursor = await conn.execute(
        "select * from worka.egress_policy where workspace_id = %s order by version desc limit 1", (scope,)
    )
    return await cursor.fetchone()


async def versions(conn: Connection, scope: str, below: int | None, limit: int) -> list[Row]:
    """The versions of one place, newest first."""
    cursor = await conn.execute(
        "select * from worka.egress_policy where workspace_id = %s and (%s::integer is null or version < %s)"
        " order by version desc limit %s",
        (scope, below, below, limit),
    )
    return await cursor.fetchall()


async def add(conn: Connection, row: Mapping[str, Any]) -> Row:
    """The next version of a place's policy."""
    cursor = await conn.execute(
        "insert into worka.egress_policy (tenant_id, workspace_id, version, settings, note, created_by, approved_by)"
        " values (%(tenant_id)s, %(workspace_id)s, %(version)s, %(settings)s, %(note)s, %(created_by)s, %(approved_by)s)"
        " returning *",
        {**row, "settings": Jsonb(row["settings"])},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


# changes that wait ----------------------------------------------------------------------------------------------------
async def add_change(conn: Connection, row: Mapping[str, Any]) -> Row:
    """A change that waits for its second person."""
    cursor = await conn.execute(
        "insert into worka.egress_policy_change (tenant_id, id, workspace_id, scope, base_version, settings, note, digest,"
        " proposed_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(scope)s, %(base_version)s, %(settings)s, %(note)s,"
        " %(digest)s, %(proposed_by)s) returning *",
        {**row, "settings": Jsonb(row["settings"])},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def set_approval(conn: Connection, change_id: str, approval_id: str) -> Row:
    """Which approval it waits for."""
    cursor = await conn.execute(
        "update worka.egress_policy_change set approval_id = %s where id = %s returning *", (approval_id, change_id)
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def change(conn: Connection, change_id: str, *, lock: bool = False) -> Row | None:
    """One change."""
    plain, locking = (
        "select * from worka.egress_policy_change where id = %s",
        "select * from worka.egress_policy_change where id = %s for update",
    )
    return await (await conn.execute(locking if lock else plain, (change_id,))).fetchone()


async def changes(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The changes of the tenant's policy and of this workspace's, newest first."""
    cursor = await conn.execute(
        "select * from worka.egress_policy_change where scope in ('', %s) and (%s::text is null or id < %s)"
        " order by id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def open_changes(conn: Connection, scope: str) -> list[Row]:
    """The changes of one place that wait, locked."""
    cursor = await conn.execute(
        "select * from worka.egress_policy_change where scope = %s and state = 'open' order by id for update", (scope,)
    )
    return await cursor.fetchall()


async def close_change(conn: Connection, change_id: str, outcome: str, version: int | None = None) -> Row | None:
    """Ends a change that waits: in force as a version, or closed with how it ended; None when it had ended."""
    cursor = await conn.execute(
        "update worka.egress_policy_change set state = %s, outcome = %s, version = %s, since = clock_timestamp()"
        " where id = %s and state = 'open' returning *",
        ("closed" if version is None else "in_force", outcome, version, change_id),
    )
    return await cursor.fetchone()
