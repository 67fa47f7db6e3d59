"""Workflow definitions and tasks, as what is asked about."""

from __future__ import annotations

from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register
from worka.workflows import store


async def _workflow(conn: Connection, workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.newest_definition(conn, workspace_id, resource_id)
    return _defined(resource_id, workspace_id) if row else None


async def _workflows(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    names = await store.definition_names(conn, workspace_id, after, limit)
    return [_defined(name, workspace_id) for name in names]


def _defined(name: str, workspace_id: str) -> Resource:
    return Resource("workflow", name, workspace_id, {"workflow": name})


async def _task(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.task(conn, resource_id)
    return Resource("task", row["id"], row["workspace_id"]) if row else None


async def _tasks(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    rows = await store.tasks(conn, workspace_id, after, limit, None)
    return [Resource("task", row["id"], workspace_id) for row in rows]


register(
    ResourceType("task", "One run of a workflow.", _task, _tasks),
    ResourceType("workflow", "A workflow definition, by its name.", _workflow, _workflows),
)
