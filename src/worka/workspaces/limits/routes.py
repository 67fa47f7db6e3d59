"""HTTP for limits, no logic."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query

from worka.kernel.context import Context
from worka.kernel.http import Items, Page, context, gives, routes, trying
from worka.workspaces.limits import service
from worka.workspaces.limits.schema import (
    DeploymentLimitPreview,
    LimitPreview,
    Limits,
    LimitSetting,
    NewDeploymentLimit,
    NewLimit,
    WishedDeploymentLimit,
    WishedLimit,
)

router = routes(prefix="/v1", tags=["limits"])


@router.get("/workspaces/{workspace_id}/limits", **gives(Limits))
async def show_limits(
    workspace_id: str,
    member: Annotated[str | None, Query(max_length=60)] = None,
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """The limits that hold for the caller, or another member, how much of each is in use, and where it comes from."""
    return await service.show(ctx, workspace_id, member)


@router.post("/workspaces/{workspace_id}/limit-previews", **gives(LimitPreview))
async def preview_limit(workspace_id: str, body: WishedLimit, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What setting a limit would do, and who would be over it. Nothing is set."""
    return await service.preview(ctx, workspace_id, body.model_dump())


@router.post("/workspaces/{workspace_id}/limits", **gives(LimitSetting))
async def set_limit(workspace_id: str, body: NewLimit, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Sets a limit of the workspace or the tenant, or takes it away; it holds from the next request on."""
    return await service.set_limit(ctx, workspace_id, body.model_dump())


@router.get("/deployment/limits", **gives(Items[LimitSetting]))
async def show_deployment_limits(ctx: Context = Depends(context)) -> dict[str, Any]:
    """What every tenant, workspace and member is given (operators only)."""
    return {"items": await service.show_deployment(ctx), "next": None}


@router.post("/deployment/limit-previews", **gives(DeploymentLimitPreview))
async def preview_deployment_limit(
    body: WishedDeploymentLimit, page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """Which tenants would be over a limit of the deployment, in numbers (operators only). Nothing is set."""
    return await service.preview_deployment(ctx, body.model_dump(), page.id, page.limit)


@router.post("/deployment/limits", **gives(LimitSetting))
async def set_deployment_limit(body: NewDeploymentLimit, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Sets a limit for every tenant, or for one of them (operators only)."""
    return await service.set_deployment(ctx, body.model_dump())
