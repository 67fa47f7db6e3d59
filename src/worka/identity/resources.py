"""AI team members and API tokens, as what is asked about."""

from __future__ import annotations

from worka.identity import store
from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register


async def _team_member(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.team_member(conn, resource_id)
    return Resource("team_member", row["id"], row["workspace_id"], {"name": row["name"]}) if row else None


async def _team_members(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    rows = await store.team_members(conn, workspace_id, after, limit)
    return [Resource("team_member", row["id"], workspace_id, {"name": row["name"]}) for row in rows]


async def _token(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.api_token(conn, resource_id)
    return Resource("token", row["id"], row["workspace_id"]) if row else None


async def _tokens(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    rows = await store.api_tokens(conn, workspace_id, after, limit)
    return [Resource("token", row["id"], workspace_id) for row in rows]


register(
    ResourceType("team_member", "An AI team member.", _team_member, _team_members),
    ResourceType("token", "An API token.", _token, _tokens),
)
