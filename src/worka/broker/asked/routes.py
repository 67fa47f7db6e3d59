"""HTTP for what waits for a second person before it is recorded; no logic."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends

from worka.broker.asked import service
from worka.broker.asked.schema import WayChange
from worka.kernel.context import Context
from worka.kernel.http import Items, Page, context, gives, routes

router = routes(tags=["egress"])
Caller = Annotated[Context, Depends(context)]


@router.get("/v1/workspaces/{workspace_id}/way-changes", **gives(Items[WayChange]))
async def list_way_changes(workspace_id: str, ctx: Caller, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """Network exceptions and records of upstream trust that wait for a second person, and those that waited, newest first."""
    return page.answer(await service.listing(ctx, workspace_id, page.id, page.limit + 1), "id")


@router.get("/v1/way-changes/{way_change_id}", **gives(WayChange))
async def show_way_change(way_change_id: str, ctx: Caller) -> dict[str, Any]:
    """One of them."""
    return await service.get(ctx, way_change_id)
