"""Network exceptions and upstream trust, as what is asked about."""

from __future__ import annotations

from worka.broker import store
from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register


async def _exception(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.exception(conn, resource_id)
    return Resource("network_exception", row["id"], row["workspace_id"], {"name": row["name"]}) if row else None


async def _exceptions(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    rows = await store.exceptions_page(conn, workspace_id, after, limit)
    return [Resource("network_exception", row["id"], workspace_id, {"name": row["name"]}) for row in rows]


async def _trust(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.trust(conn, resource_id)
    return Resource("upstream_trust", row["id"], row["workspace_id"], {"name": row["name"]}) if row else None


async def _trusts(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    rows = await store.trusts_page(conn, workspace_id, after, limit)
    return [Resource("upstream_trust", row["id"], workspace_id, {"name": row["name"]}) for row in rows]


register(ResourceType("upstream_trust", "How the certificate of an outside name is checked.", _trust, _trusts))
register(
    ResourceType("network_exception", "A name behind which packs reach an inside address.", _exception, _exceptions)
)
