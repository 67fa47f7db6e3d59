"""HTTP for connections."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from worka.connections import explain, service
from worka.connections.schema import CreateConnection, RemoveConnection
from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Page, context

router = APIRouter(tags=["connections"])
Ctx = Annotated[Context, Depends(context)]


@router.get("/v1/workspaces/{workspace_id}/connections", summary="Connections of a workspace")
async def list_connections(ctx: Ctx, workspace_id: str, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    return page.answer(await service.listed(ctx, str(page.after[0]) if page.after else None, page.limit + 1), "id")


@router.post("/v1/workspaces/{workspace_id}/connections", status_code=201, summary="Connect an outside system (202: consent is waited for)")
async def create_connection(ctx: Ctx, workspace_id: str, body: CreateConnection, response: Response) -> dict[str, Any]:
    row = await service.create(ctx, **body.model_dump())
    if row["state"] == "awaiting_approval":
        response.status_code = 202
    return row


@router.get("/v1/connections/{connection_id}", summary="One connection")
async def show_connection(ctx: Ctx, connection_id: str) -> dict[str, Any]:
    return await service.show(ctx, connection_id)


@router.get("/v1/connections/{connection_id}/why", summary="Why a connection is as it is")
async def why_connection(ctx: Ctx, connection_id: str) -> Explanation:
    return await explain.explain(ctx, connection_id)


@router.delete("/v1/connections/{connection_id}", summary="Remove a connection; its grants end with it")
async def remove_connection(ctx: Ctx, connection_id: str, body: RemoveConnection | None = None) -> dict[str, Any]:
    return await service.remove(ctx, connection_id, body.reason if body else "")
