"""HTTP for approvals, no logic."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from fastapi import Depends, Query

from worka.approvals import batch, bypass, delegations, fatigue, group_preview, groups, service, timing
from worka.approvals.errors import BadBypass, BadDelegation
from worka.approvals.explain import explain
from worka.approvals.schema import (
    Approval,
    ApprovalState,
    Batch,
    Bypass,
    Card,
    ChangedGroup,
    Delegation,
    Fatigue,
    Group,
    GroupPreview,
    NewBatch,
    NewBypass,
    NewDecision,
    NewDelegation,
    NewGroup,
    Settings,
    Timing,
)
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, context, gives, routes, trying

router = routes(prefix="/v1", tags=["approvals"])
WS = "/workspaces/{workspace_id}"


@router.get(f"{WS}/approvals", **gives(Items[Approval]))
async def list_approvals(
    workspace_id: str,
    state: ApprovalState | None = Query(None),
    whose: Literal["all", "mine", "groups"] = Query("all"),
    page: Page = Depends(),
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """Approvals, newest first: what each blocks, who may decide, and whether you may. `whose`: mine are those in which your
    yes is needed, groups those whose rules name a group of yours."""
    return page.answer(await service.listing(ctx, workspace_id, state, page.id, page.limit, whose), "id")


@router.post(f"{WS}/approvals/decisions", **gives(Batch))
async def decide_many(workspace_id: str, body: NewBatch, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Decides many, each bound to its digest and by itself: the answer has a result for every one."""
    return await batch.decide(ctx, workspace_id, [item.model_dump() for item in body.items], body.code)


@router.get(f"{WS}/approvals/fatigue", **gives(Fatigue))
async def measure(
    workspace_id: str, days: int = Query(30, ge=1, le=365), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """How everybody decided: how fast, how often unread, by person and by rule."""
    return await fatigue.measure(ctx, workspace_id, now() - timedelta(days=days))


@router.get(f"{WS}/approvals/settings", **gives(Settings))
async def show_settings(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """When approvals remind, escalate and expire."""
    return await timing.show(ctx, workspace_id)


@router.put(f"{WS}/approvals/settings", **gives(Settings))
async def put_settings(workspace_id: str, body: Timing, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Sets them, whole; null gives a setting back to the deployment."""
    return await timing.put(ctx, workspace_id, body.model_dump())


@router.get("/approvals/{approval_id}", **gives(Card))
async def show(approval_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The card: the exact call, its digest and effect."""
    return await service.show(ctx, approval_id)


@router.get("/approvals/{approval_id}/why")
async def why(approval_id: str, ctx: Context = Depends(context)) -> Explanation:
    """Why it is as it is, for you."""
    return await explain(ctx, approval_id)


@router.post("/approvals/{approval_id}/decisions", **gives(Card))
async def decide(approval_id: str, body: NewDecision, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Approves or rejects exactly what has this digest."""
    return await service.decide(
        ctx, approval_id, body.decision, body.digest, body.comment, behalf=body.on_behalf_of, code=body.code
    )


@router.post("/approvals/{approval_id}/withdraw", **gives(Card))
async def withdraw(approval_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Takes back what you asked for."""
    return await service.withdraw(ctx, approval_id)


# groups -------------------------------------------------------------------------------------------------------------
@router.get(f"{WS}/groups", **gives(Items[Group]))
async def list_groups(workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """The groups that approval rules can name, and who is in them."""
    return page.answer(await groups.listing(ctx, workspace_id, page.id, page.limit), "id")


@router.post(f"{WS}/groups", **gives(Group, 201))
async def create_group(workspace_id: str, body: NewGroup, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Makes a group. It gives nobody the permission to approve."""
    return await groups.create(ctx, workspace_id, body.name, body.purpose, body.members)


@router.post(f"{WS}/groups/preview", **gives(GroupPreview))
async def preview_group(workspace_id: str, body: NewGroup, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What a new group would do: whose approval would count, which open approvals would wait for other people."""
    return await group_preview.of_new(ctx, workspace_id, body.name, body.purpose, body.members)


@router.get("/groups/{group_id}", **gives(Group))
async def show_group(group_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One group."""
    return await groups.show(ctx, group_id)


@router.patch("/groups/{group_id}", **gives(Group))
async def change_group(group_id: str, body: ChangedGroup, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Changes who is in it; holds for the next decision."""
    return await groups.change(ctx, group_id, body.purpose, body.add, body.remove)


@router.post("/groups/{group_id}/preview", **gives(GroupPreview))
async def preview_group_change(group_id: str, body: ChangedGroup, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What other people in a group would do, before it is changed."""
    return await group_preview.of_change(ctx, group_id, body.purpose, body.add, body.remove)


@router.get("/groups/{group_id}/deletion-preview", **gives(GroupPreview))
async def preview_group_deletion(group_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What deleting a group would do. Refused as deleting it would be."""
    return await group_preview.of_end(ctx, group_id)


@router.delete("/groups/{group_id}", status_code=204)
async def delete_group(group_id: str, ctx: Context = Depends(trying)) -> None:
    """Deletes a group that no open approval waits for."""
    await groups.delete(ctx, group_id)


# delegations --------------------------------------------------------------------------------------------------------
@router.get(f"{WS}/delegations", **gives(Items[Delegation]))
async def list_delegations(
    workspace_id: str, in_force: bool = Query(False), page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """Who decides in whose place, newest first."""
    return page.answer(await delegations.listing(ctx, workspace_id, in_force, page.id, page.limit), "id")


@router.post(f"{WS}/delegations", **gives(Delegation, 201))
async def delegate(workspace_id: str, body: NewDelegation, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Delegates your own deciding until a date."""
    until = timing.moment(body.until, "until", BadDelegation)
    return await delegations.delegate(ctx, workspace_id, body.to, until, body.scope, dry_run=body.dry_run)


@router.get("/delegations/{delegation_id}", **gives(Delegation))
async def show_delegation(delegation_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One delegation."""
    return await delegations.show(ctx, delegation_id)


@router.post("/delegations/{delegation_id}/end", **gives(Delegation))
async def end_delegation(delegation_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Ends it before its time; holds for the next decision."""
    return await delegations.end(ctx, delegation_id)


# bypasses -----------------------------------------------------------------------------------------------------------
@router.get(f"{WS}/bypasses", **gives(Items[Bypass]))
async def list_bypasses(
    workspace_id: str,
    state: Literal["awaiting_approval", "open", "closed"] | None = Query(None),
    page: Page = Depends(),
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """What is let through, newest first."""
    return page.answer(await bypass.listing(ctx, workspace_id, state, page.id, page.limit), "id")


@router.post(f"{WS}/bypasses", **gives(Bypass, 201))
async def open_bypass(workspace_id: str, body: NewBypass, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Lets approvals of a boundary or tool through, for a while and a number of uses. Where you are not the only owner,
    another one has to approve it first."""
    until = timing.moment(body.until, "until", BadBypass)
    return await bypass.open_(
        ctx, workspace_id, body.kind, body.target, body.why, until, body.most_uses, dry_run=body.dry_run
    )


@router.get("/bypasses/{bypass_id}", **gives(Bypass))
async def show_bypass(bypass_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One bypass, with its uses."""
    return await bypass.show(ctx, bypass_id)


@router.post("/bypasses/{bypass_id}/close", **gives(Bypass))
async def close_bypass(bypass_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Ends it; holds for the next approval."""
    return await bypass.close(ctx, bypass_id)
