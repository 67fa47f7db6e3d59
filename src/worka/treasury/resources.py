"""Secrets, as what is asked about: names, never values."""

from __future__ import annotations

from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register
from worka.treasury import store


async def _secret(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.secret(conn, resource_id)
    return Resource("secret", row["id"], row["workspace_id"], {"name": row["name"]}) if row else None


async def _secrets(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    rows = await store.secrets(conn, workspace_id, after, limit)
    return [Resource("secret", row["id"], workspace_id, {"name": row["name"]}) for row in rows]


register(ResourceType("secret", "A secret in the treasury.", _secret, _secrets))
