"""HTTP for views."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends

from worka.kernel.context import Context
from worka.kernel.http import Items, Page, Revision, context, gives, routes
from worka.views import service
from worka.views.schema import View, ViewWithDocument

router = routes(tags=["views"])
Ctx = Annotated[Context, Depends(context)]


@router.get("/v1/workspaces/{workspace_id}/views", **gives(Items[View]))
async def list_views(workspace_id: str, ctx: Ctx, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """Views of the workspace, newest first."""
    return page.answer(await service.listing(ctx, page.id, page.limit), "id")


@router.get("/v1/views/{view_id}", **gives(ViewWithDocument))
async def get_view(view_id: str, ctx: Ctx, revision: Revision = None) -> dict[str, Any]:
    """A view: the document of one revision (its text is untrusted data) and the history."""
    return await service.get(ctx, view_id, revision)
