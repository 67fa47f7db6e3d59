"""Every query of services."""

# ruff: noqa: S608 - what is put together below is a constant list of columns

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]
_COLUMNS = "workspace_id, service, version, document, note, created_by, created_at"


async def add_policy(conn: Connection, tenant_id: str, row: Mapping[str, Any]) -> Row | None:
    """A version of a service's network policy; None when somebody else wrote this version. Versions are never changed."""
    cursor = await conn.execute(
        "insert into worka.service_policy (tenant_id, workspace_id, service, version, document, note, created_by)"
        " values (%(tenant_id)s, %(workspace_id)s, %(service)s, %(version)s, %(document)s, %(note)s, %(created_by)s)"
        f" on conflict do nothing returning {_COLUMNS}",
        {**row, "tenant_id": tenant_id, "document": Jsonb(row["document"])},
    )
    return await cursor.fetchone()


async def policy(conn: Connection, workspace_id: str, service: str) -> Row | None:
    """The version that holds: the newest."""
    cursor = await conn.execute(
        f"select {_COLUMNS} from worka.service_policy where workspace_id = %s and service = %s"
        " order by version desc limit 1",
        (workspace_id, service),
    )
    return await cursor.fetchone()


async def policy_versions(
    conn: Connection, workspace_id: str, service: str, before: int | None, limit: int
) -> list[Row]:
    """Versions, newest first."""
    cursor = await conn.execute(
        f"select {_COLUMNS} from worka.service_policy where workspace_id = %s and service = %s"
        " and (%s::integer is null or version < %s) order by version desc limit %s",
        (workspace_id, service, before, before, limit),
    )
    return await cursor.fetchall()
