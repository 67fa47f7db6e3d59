"""Connections, as what is asked about."""

from __future__ import annotations

from worka.connections import store
from worka.connections.service import resource_of
from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register


async def _connection(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.get(conn, resource_id)
    return resource_of(row) if row else None


async def _connections(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    return [resource_of(row) for row in await store.listed(conn, workspace_id, after, limit)]


register(ResourceType("connection", "An account at an outside system.", _connection, _connections))
