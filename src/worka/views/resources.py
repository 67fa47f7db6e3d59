"""Views, as what is asked about."""

from __future__ import annotations

from typing import Any

from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register
from worka.views import store


async def _view(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.view(conn, resource_id)
    return _shown(row) if row else None


async def _views(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    return [_shown(row) for row in await store.views(conn, workspace_id, after, limit)]


def _shown(row: dict[str, Any]) -> Resource:
    return Resource("view", row["id"], row["workspace_id"], {"name": row["name"]})


register(ResourceType("view", "A view of the workspace.", _view, _views))
