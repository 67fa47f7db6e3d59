"""Workspaces and their tenant, as what is asked about."""

from __future__ import annotations

from typing import Any

from worka import identity
from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register
from worka.workspaces import store


async def _workspace(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.workspace(conn, resource_id)
    return Resource("workspace", resource_id, resource_id) if row else None


async def _workspaces(conn: Connection, workspace_id: str, after: str | None, _limit: int) -> list[Resource]:
    return [Resource("workspace", workspace_id, workspace_id)] if after is None else []


async def _tenant(conn: Connection, workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.workspace(conn, workspace_id)
    return Resource("tenant", resource_id) if row and row["tenant_id"] == resource_id else None


async def _tenants(conn: Connection, workspace_id: str, after: str | None, _limit: int) -> list[Resource]:
    row = await store.workspace(conn, workspace_id)
    return [Resource("tenant", row["tenant_id"])] if row and after is None else []


async def _account(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await identity.store.service_account(conn, resource_id)
    return _accounts_resource(row) if row else None


async def _accounts(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    rows = await identity.store.service_accounts(conn, workspace_id, after, limit)
    return [_accounts_resource(row) for row in rows]


def _accounts_resource(row: dict[str, Any]) -> Resource:
    facts = {"name": row["name"], "owner": row["owner_person_id"]}
    return Resource("service_account", row["id"], row["workspace_id"], facts)


register(
    ResourceType("service_account", "A program of the workspace's own, owned by a person.", _account, _accounts),
    ResourceType("tenant", "The tenant: what concerns all of its workspaces.", _tenant, _tenants),
    ResourceType("workspace", "A workspace and what belongs to it as a whole.", _workspace, _workspaces),
)
