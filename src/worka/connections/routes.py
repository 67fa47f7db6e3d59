"""HTTP for connections."""

from __future__ import annotations

from typing import Any

from fastapi import Depends

from worka.connections import explain, service
from worka.connections.schema import Connection, EndedConnection, NewConnection
from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, context, gives, routes

router = routes(prefix="/v1", tags=["connections"])


@router.get("/workspaces/{workspace_id}/connections", **gives(Items[Connection]))
async def list_connections(
    workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The workspace's connections, newest first."""
    return page.answer(await service.listing(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/connections", **gives(Connection, 201))
async def create_connection(workspace_id: str, body: NewConnection, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Connects an outside system; by the shipped policy it waits for an approval (`state`, `approval_id`)."""
    return await service.create(ctx, workspace_id, **body.model_dump())


@router.get("/connections/{connection_id}", **gives(Connection))
async def get_connection(connection_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One connection."""
    return await service.get(ctx, connection_id)


@router.get("/connections/{connection_id}/why")
async def why_connection(connection_id: str, ctx: Context = Depends(context)) -> Explanation:
    """Why it is as it is, and who acts next."""
    return await explain.explain(ctx, connection_id)


@router.delete("/connections/{connection_id}", **gives(EndedConnection))
async def remove_connection(connection_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Ends it and the grants behind it; `stopped` names the attachments that could use it."""
    return await service.remove(ctx, connection_id)
