"""HTTP for differences, reviews, moves and held definitions, no logic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, NamePage, Page, context, gives, routes, trying
from worka.packs import schema
from worka.packs.answers import Attachment
from worka.packs.moving import answers, explain, held, recorded, service

router = routes()
Caller = Annotated[Context, Depends(context)]
Paged = Annotated[Page, Depends()]


@router.get("/releases/{release_id}/difference", **gives(answers.ReleaseDifference))
async def difference(release_id: str, ctx: Caller, since: Annotated[str, Query(max_length=64)]) -> dict[str, Any]:
    """What this release may do, offers and says that the release `since` does not, and the other way round."""
    return await service.compare(ctx, release_id, since)


@router.get("/workspaces/{workspace_id}/releases/{release_id}/review", **gives(answers.AttachmentReview))
async def review(
    workspace_id: str, release_id: str, ctx: Caller, mode: Literal["pinned", "tracking"] = "pinned"
) -> dict[str, Any]:
    """What to look at before the release is attached here, and what that would meet: approval, connections, packs."""
    return await service.review(ctx, workspace_id, release_id, mode)


@router.get("/workspaces/{workspace_id}/releases/{release_id}/recorded-calls", **gives(answers.RecalledCalls))
async def recorded_calls(
    workspace_id: str,
    release_id: str,
    ctx: Caller,
    page: Annotated[NamePage, Depends()],
    days: Annotated[int, Query(ge=1, le=90, description="how far back")] = 7,
) -> dict[str, Any]:
    """Which of the calls made here the release would have served if it had been attached, which policy would have refused,
    and which have another shape there. Nothing is done."""
    rows = await recorded.page(ctx, workspace_id, release_id, days, page.after, page.limit + 1)
    found = page.answer(rows)
    return {**found, **recorded.summed(found["items"], days)}


@router.get("/attachments/{attachment_id}/standing", **gives(answers.AttachmentStanding))
async def standing(attachment_id: str, ctx: Caller) -> dict[str, Any]:
    """The attachment, newer releases, the move under way, and the release that it would go back to."""
    return answers.standing(await service.standing(ctx, attachment_id))


@router.get("/attachments/{attachment_id}/moves", **gives(Items[answers.ListedMove]))
async def list_moves(attachment_id: str, ctx: Caller, page: Paged) -> dict[str, Any]:
    """The moves of an attachment from release to release, newest first."""
    found = page.answer(await service.history(ctx, attachment_id, page.id, page.limit), "id")
    return {**found, "items": [answers.listed(row) for row in found["items"]]}


@router.post("/attachments/{attachment_id}/moves", **gives(answers.AttachmentMove, 202))
async def move(attachment_id: str, body: answers.MoveTo, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Moves the attachment to a newer release, or asks for that; GET the move to follow it."""
    row = await service.update(ctx, attachment_id, release_id=body.release_id, mounts=body.mounts, why=body.why)
    return answers.move(row)


@router.post("/attachments/{attachment_id}/back", **gives(answers.AttachmentMove, 202))
async def go_back(attachment_id: str, body: answers.WhyMoved, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Moves the attachment back to the release before its last move, and pins it there; or asks for that."""
    return answers.move(await service.back(ctx, attachment_id, body.why))


@router.put("/attachments/{attachment_id}/mode", **gives(Attachment))
async def set_mode(attachment_id: str, body: answers.AttachmentMode, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Lets the attachment follow new releases, or pins it to the one that it has."""
    return schema.attachment(await service.set_mode(ctx, attachment_id, body.mode, body.why))


@router.get("/attachments/{attachment_id}/definitions", **gives(answers.HeldDefinitions))
async def definitions(attachment_id: str, ctx: Caller) -> dict[str, Any]:
    """The definitions that the server changed after they were approved, with their differences and what was decided."""
    return await held.shown(ctx, attachment_id)


@router.post("/attachments/{attachment_id}/definitions", **gives(answers.HeldDefinitions))
async def decide_definition(
    attachment_id: str, body: answers.OnDefinition, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Accepts or refuses a changed definition: exactly the one of the pin that was looked at."""
    act = service.accept if body.decision == "accept" else service.refuse
    await act(ctx, attachment_id, body.tool, body.pin, body.why)
    return await held.shown(ctx, attachment_id)


@router.get("/moves/{move_id}", **gives(answers.AttachmentMove))
async def get_move(move_id: str, ctx: Caller) -> dict[str, Any]:
    """One move, with what differs between its releases."""
    return answers.move(await service.read(ctx, move_id))


@router.get("/moves/{move_id}/why")
async def why_move(move_id: str, ctx: Caller) -> Explanation:
    """Why the move is where it is."""
    return await explain.explain(ctx, move_id)


@router.post("/moves/{move_id}/withdraw", **gives(answers.AttachmentMove))
async def withdraw(move_id: str, body: answers.WhyMoved, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Takes a move back before it is tried."""
    return answers.move(await service.withdraw(ctx, move_id, body.why))
