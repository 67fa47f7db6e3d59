"""HTTP for governance, no logic."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path

from worka.governance import service
from worka.governance.schema import Access, Decision, Kind, NewPolicy, PolicyText, PolicyVersion, SavedPolicy
from worka.kernel.context import Context
from worka.kernel.http import Items, VersionPage, context, gives

Version = Annotated[int, Path(ge=0, le=2_147_483_647)]
router = APIRouter(prefix="/v1", tags=["governance"])


@router.get("/workspaces/{workspace_id}/access", **gives(Access))
async def access(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What the caller may do in a workspace: role, six permissions, every action, and the matrix."""
    return await service.access(ctx, workspace_id)


@router.get("/workspaces/{workspace_id}/policies", **gives(Items[PolicyVersion]))
async def list_policies(
    workspace_id: str, page: VersionPage = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The tenant's policy versions, newest first."""
    return page.answer(await service.list_policies(ctx, workspace_id, page.version, page.limit), "kind", "version")


@router.post("/workspaces/{workspace_id}/policies", **gives(SavedPolicy, 201))
async def save_policy(workspace_id: str, body: NewPolicy, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Saves a version; faults are located by statement and line."""
    return await service.save_policy(ctx, workspace_id, body.kind, body.text, body.note)


@router.get("/workspaces/{workspace_id}/policies/{kind}", **gives(PolicyText))
async def newest_policy(workspace_id: str, kind: Kind, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The version that holds now, with its text; its ETag is what saving the next one takes as If-Match."""
    return await service.newest_policy(ctx, workspace_id, kind)


@router.get("/workspaces/{workspace_id}/policies/{kind}/{version}", **gives(PolicyText))
async def show_policy(
    workspace_id: str, kind: Kind, version: Version, ctx: Context = Depends(context)
) -> dict[str, Any]:
    """A version with its text and the shipped floor (version 0: the floor alone)."""
    return await service.show_policy(ctx, workspace_id, kind, version)


@router.get("/decisions/{decision_id}", **gives(Decision))
async def decision(decision_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Why something was allowed, denied or asked about, with the policy of that day."""
    return await service.decision(ctx, decision_id)
