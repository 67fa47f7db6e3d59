"""Webhooks, as what is asked about."""

from __future__ import annotations

from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register
from worka.notifications import store
from worka.notifications.service import resource


async def _webhook(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.webhook(conn, resource_id)
    return resource(row) if row else None


async def _webhooks(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    return [resource(row) for row in await store.webhooks(conn, workspace_id, after, limit)]


register(
    ResourceType("webhook", "An outside system that is told of what happens in the workspace.", _webhook, _webhooks)
)
