"""HTTP for approvals, no logic."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Query

from worka.approvals import service
from worka.approvals.explain import explain
from worka.approvals.schema import Approval, ApprovalState, Card, NewDecision
from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, context, gives

router = APIRouter(prefix="/v1", tags=["approvals"])


@router.get("/workspaces/{workspace_id}/approvals", **gives(Items[Approval]))
async def list_approvals(
    workspace_id: str,
    state: ApprovalState | None = Query(None),
    page: Page = Depends(),
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """Approvals, newest first: what each blocks, who may decide, and whether you may."""
    return page.answer(await service.listing(ctx, workspace_id, state, page.id, page.limit), "id")


@router.get("/approvals/{approval_id}", **gives(Card))
async def show(approval_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The card: the exact call, its digest and effect."""
    return await service.show(ctx, approval_id)


@router.get("/approvals/{approval_id}/why")
async def why(approval_id: str, ctx: Context = Depends(context)) -> Explanation:
    """Why it is as it is, for you."""
    return await explain(ctx, approval_id)


@router.post("/approvals/{approval_id}/decisions", **gives(Card))
async def decide(approval_id: str, body: NewDecision, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Approves or rejects exactly what has this digest."""
    return await service.decide(ctx, approval_id, body.decision, body.digest, body.comment)


@router.post("/approvals/{approval_id}/withdraw", **gives(Card))
async def withdraw(approval_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Takes back what you asked for."""
    return await service.withdraw(ctx, approval_id)
