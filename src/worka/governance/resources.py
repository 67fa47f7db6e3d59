"""Policies and decisions, as what is asked about."""

from __future__ import annotations

from worka.governance import store
from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register

KINDS = ("access", "governance")


async def _policy(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    return Resource("policy", resource_id, None, {"kind": resource_id}) if resource_id in KINDS else None


async def _policies(conn: Connection, _workspace_id: str, after: str | None, _limit: int) -> list[Resource]:
    return [Resource("policy", kind, None, {"kind": kind}) for kind in KINDS if after is None or kind > after]


async def _decision(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.decision(conn, resource_id)
    return Resource("decision", row["id"], row["workspace_id"]) if row else None


async def _decisions(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    rows = await store.decisions(conn, workspace_id, after=after, limit=limit)
    return [Resource("decision", row["id"], workspace_id) for row in rows]


register(
    ResourceType("decision", "An answer that was recorded.", _decision, _decisions),
    ResourceType("policy", "The tenant's own policy of a kind.", _policy, _policies),
    ResourceType("public_route", "A service's way to the public.", later="services"),
    ResourceType("shared_view", "A view for people outside.", later="shared views"),
)
