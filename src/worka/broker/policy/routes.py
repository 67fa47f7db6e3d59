"""HTTP for the policy on destinations; no logic."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Response

from worka.broker.policy import service
from worka.broker.policy.schema import (
    EgressPolicy,
    EgressPolicyChange,
    EgressPolicyLayer,
    NewEgressPolicy,
    SavedEgressPolicy,
    Scope,
    WaitingEgressPolicy,
)
from worka.kernel.context import Context
from worka.kernel.http import Items, Json, Page, VersionPage, context, gives, routes, trying

router = routes(tags=["egress"])
Caller = Annotated[Context, Depends(context)]
Trying = Annotated[Context, Depends(trying)]
WS = "/v1/workspaces/{workspace_id}"


@router.get(f"{WS}/egress-policy", **gives(EgressPolicy))
async def show_egress_policy(workspace_id: str, ctx: Caller) -> dict[str, Any]:
    """What policy says of destinations in this workspace, and the changes of it that wait."""
    return await service.show(ctx, workspace_id)


@router.post(f"{WS}/egress-policy", **gives(SavedEgressPolicy, 201, s202=WaitingEgressPolicy))
async def set_egress_policy(workspace_id: str, body: NewEgressPolicy, ctx: Trying) -> Response:
    """A new version of the tenant's or the workspace's policy on destinations. What only tightens is in force at once (201);
    what may let more through waits for a second owner, where there is one (202)."""
    settings = body.settings.model_dump(by_alias=True)
    found = await service.save(ctx, workspace_id, scope=body.scope, settings=settings, note=body.note, over=body.over)
    return Json(found, 201 if found["state"] == "in_force" else 202)


@router.get(f"{WS}/egress-policy/versions", **gives(Items[EgressPolicyLayer]))
async def list_egress_policy_versions(
    workspace_id: str,
    ctx: Caller,
    page: Annotated[VersionPage, Depends()],
    scope: Annotated[Scope, Query()] = "workspace",
) -> dict[str, Any]:
    """The versions of a place's policy on destinations, newest first."""
    below = page.version
    rows = await service.history(ctx, workspace_id, scope, below[1] if below else None, page.limit + 1)
    return page.answer(rows, "scope", "version")


@router.get(f"{WS}/egress-policy/changes", **gives(Items[EgressPolicyChange]))
async def list_egress_policy_changes(
    workspace_id: str, ctx: Caller, page: Annotated[Page, Depends()]
) -> dict[str, Any]:
    """Changes of it that let more through: those that wait, and those that waited, newest first."""
    return page.answer(await service.changes(ctx, workspace_id, page.id, page.limit + 1), "id")


@router.get("/v1/egress-policy-changes/{change_id}", **gives(EgressPolicyChange))
async def show_egress_policy_change(change_id: str, ctx: Caller) -> dict[str, Any]:
    """One of them."""
    return await service.change(ctx, change_id)
