"""HTTP for proposals, no logic."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query

from worka.kernel.context import Context
from worka.kernel.http import Items, Page, context, gives, routes, trying
from worka.packs.proposals import answers, service, unused

router = routes(prefix="/v1", tags=["egress"])
Caller = Annotated[Context, Depends(context)]
Trying = Annotated[Context, Depends(trying)]
Days = Annotated[int, Query(ge=1, le=90)]


@router.post("/workspaces/{workspace_id}/egress-proposals", **gives(answers.EgressProposal, 201))
async def propose_egress(workspace_id: str, body: answers.NewProposal, ctx: Trying) -> dict[str, Any]:
    """Proposes exactly what a row of the ledger was refused; the same again is counted on the one that is open."""
    return await service.propose(
        ctx, body.egress_id, why=body.why, port=body.port, method=body.method, path=body.path, again=body.again
    )


@router.get("/workspaces/{workspace_id}/egress-proposals", **gives(Items[answers.EgressProposal]))
async def list_egress_proposals(
    workspace_id: str,
    ctx: Caller,
    page: Annotated[Page, Depends()],
    state: Annotated[answers.State | None, Query()] = None,
    attachment_id: Annotated[str | None, Query(max_length=64)] = None,
) -> dict[str, Any]:
    """What was proposed here of what packs reach, newest first."""
    rows = await service.listing(ctx, workspace_id, state, attachment_id, page.id, page.limit + 1)
    return page.answer(rows, "id")


@router.get("/egress-proposals/{egress_proposal_id}", **gives(answers.EgressProposal))
async def show_egress_proposal(egress_proposal_id: str, ctx: Caller) -> dict[str, Any]:
    """One of them, with what became of it."""
    return await service.get(ctx, egress_proposal_id)


@router.post("/egress-proposals/{egress_proposal_id}/decision", **gives(answers.EgressProposal))
async def decide_egress_proposal(egress_proposal_id: str, body: answers.OnProposal, ctx: Trying) -> dict[str, Any]:
    """Accepts it (a release with a move to it, or a change of policy; both ask for what they always ask for), or rejects it."""
    if body.decision == "accept":
        return await service.accept(ctx, egress_proposal_id, body.why)
    return await service.reject(ctx, egress_proposal_id, body.why)


@router.get("/attachments/{attachment_id}/unused", **gives(answers.Unused))
async def show_unused(attachment_id: str, ctx: Caller, days: Days = 30) -> dict[str, Any]:
    """What an attachment declares and did not use, with the difference ready to apply."""
    return await unused.report(ctx, attachment_id, days)


@router.post("/attachments/{attachment_id}/narrowings", **gives(answers.EgressProposal, 201))
async def propose_narrowing(attachment_id: str, body: answers.Narrowing, ctx: Trying) -> dict[str, Any]:
    """Proposes to take away what it declares and did not use."""
    found = await unused.report(ctx, attachment_id, body.days)
    return await service.propose_difference(ctx, attachment_id, found["difference"], why=body.why, again=body.again)
