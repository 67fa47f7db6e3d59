"""Approvals, as what is asked about."""

from __future__ import annotations

from worka.approvals import store
from worka.approvals.service import _resource
from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register


async def _approval(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.get(conn, resource_id)
    return _resource(row) if row else None


async def _approvals(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    return [_resource(row) for row in await store.listed(conn, workspace_id, None, after, limit)]


register(ResourceType("approval", "A person's consent that is asked for.", _approval, _approvals))
