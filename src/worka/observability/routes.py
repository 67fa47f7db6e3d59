"""HTTP for observability."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query

from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import CommitPage, Items, Moment, context, gives, routes
from worka.observability import chain, explain, network, rules, service
from worka.observability.schema import Attention, Chain, Committed, NetworkNeeded

router = routes(tags=["observability"])
Ctx = Annotated[Context, Depends(context)]


@router.get("/v1/workspaces/{workspace_id}/changes", **gives(Items[Committed]))
async def list_changes(
    workspace_id: str,
    ctx: Ctx,
    page: Annotated[CommitPage, Depends()],
    since: Moment = None,
    until: Moment = None,
    lane: Annotated[list[str] | None, Query()] = None,
    actor: Annotated[str | None, Query(max_length=60)] = None,
    subject: Annotated[str | None, Query(max_length=60)] = None,
) -> dict[str, Any]:
    """What changed in the workspace, newest first. `since` and `until`: an ISO 8601 time, or an age such as 2h."""
    at = now()
    rows = await service.changes(
        ctx,
        before=page.commit,
        since=rules.since(since, at),
        until=rules.since(until, at),
        lanes=lane,
        actor=actor,
        subject=subject,
        limit=page.limit,
    )
    return page.answer(rows, "xid", "id")


@router.get("/v1/workspaces/{workspace_id}/attention", **gives(Attention))
async def get_attention(workspace_id: str, ctx: Ctx) -> dict[str, Any]:
    """What needs this reader now."""
    return await service.attention(ctx)


@router.get("/v1/workspaces/{workspace_id}/chain/{link_id}", **gives(Chain))
async def get_chain(workspace_id: str, link_id: str, ctx: Ctx) -> dict[str, Any]:
    """The chain from request to effect and audit, from any link of it (an id, or a trace id)."""
    return await chain.chain(ctx, link_id)


@router.get("/v1/workspaces/{workspace_id}/why/{thing_id}")
async def get_why(workspace_id: str, thing_id: str, ctx: Ctx) -> Explanation:
    """Why this thing is as it is, by its id."""
    return await explain.why(ctx, thing_id)


@router.get("/v1/why/{thing_id}")
async def get_why_by_id(thing_id: str, ctx: Ctx) -> Explanation:
    """Why this thing is as it is, by its id alone."""
    return await explain.why(ctx, thing_id)


@router.get("/v1/deployment/network", **gives(NetworkNeeded))
async def get_network_needed(
    ctx: Ctx,
    since: Moment = "24h",
    allowed: Annotated[list[Annotated[str, Query(max_length=300)]] | None, Query(max_length=200)] = None,
) -> dict[str, Any]:
    """Where the deployment dialled since then, and what an air gap with this list would refuse (operators only). `allowed`: a list
    that is only tried, in the place of the setting's. Nothing is changed."""
    at = now()
    return await network.needed(ctx, rules.since(since, at) or at, allowed)
