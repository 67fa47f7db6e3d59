"""Deciding many approvals together."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from worka.approvals import batch, fatigue, service
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, NotFound, Problem, TooMany
from worka.kernel.http import context
from worka.web import auth, data
from worka.web.render import for_reader, page

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
MOST = 25  # cards on one page: as many as somebody reads
_PERIOD = timedelta(days=30)


async def _page(request: Request, ctx: Context, template: str, status: int = 200, **values: Any) -> Response:
    shell = await data.shell(ctx)
    return page(request, template, status, here="approvals", shell=shell, workspace_id=ctx.workspace_id, **values)


async def warning(ctx: Context) -> str:
    """What the reader's own way of deciding says, if it says something."""
    if ctx.workspace_id is None or ctx.principal.kind != "person":
        return ""
    try:
        return str((await fatigue.mine(ctx, ctx.workspace_id, now() - _PERIOD))["warning"])
    except Problem:
        return ""


async def _kinds(ctx: Context) -> list[dict[str, Any]]:
    """The cards that wait for the reader, with their arguments, those of one kind together."""
    assert ctx.workspace_id is not None
    waiting = await service.listing(ctx, ctx.workspace_id, "open", None, MOST, "mine")
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in waiting[:MOST]:
        card = await data.approval(ctx, row["id"])
        found[row["boundary"], str(row["card"].get("tool") or "")].append(card)
    return [
        {"boundary": boundary, "tool": tool, "cards": cards}
        for (boundary, tool), cards in sorted(found.items(), key=lambda pair: -len(pair[1]))
    ]


@router.get("/w/{workspace_id}/deciding")
async def deciding(request: Request, workspace_id: str, ctx: Reader) -> Response:
    """What waits for you, those of one kind together, each with its arguments."""
    kinds = await _kinds(ctx)
    said = await warning(ctx)
    return await _page(
        request, ctx, "deciding.html", kinds=kinds, step_up=_wants_code(kinds), warning=said, results=None
    )


def _wants_code(kinds: list[dict[str, Any]]) -> bool:
    return any(card["you"]["step_up"] for kind in kinds for card in kind["cards"])


@router.post("/w/{workspace_id}/deciding", dependencies=[Depends(auth.same_origin)])
async def decide(request: Request, workspace_id: str, ctx: Reader) -> Response:
    """Decides what was chosen, each by itself, and says what came of each. What was not chosen is left alone."""
    form = await request.form()
    comment = str(form.get("comment") or "").strip()[:2000]
    items = []
    for name, chosen in form.multi_items():
        approval_id = name.removeprefix("decision-")
        if name.startswith("decision-") and chosen in ("approve", "reject"):
            digest = str(form.get(f"digest-{approval_id}") or "")
            items.append({"approval_id": approval_id, "decision": str(chosen), "digest": digest, "comment": comment})
    code = str(form.get("code") or "")[:40]
    done, refused = None, None
    try:
        done = await batch.decide(ctx, workspace_id, items[: batch.MOST], code) if items else None
    except (Denied, Conflict, TooMany) as problem:  # the code: nothing was decided
        refused = problem
    titles = {}
    for item in items:
        try:
            titles[item["approval_id"]] = (await service.show(ctx, item["approval_id"]))["title"]
        except NotFound:
            titles[item["approval_id"]] = item["approval_id"]
    status = refused.status if refused else 409 if done and done["refused"] else 200
    kinds = await _kinds(ctx)
    return await _page(
        request, ctx, "deciding.html", status, kinds=kinds, step_up=_wants_code(kinds), warning=await warning(ctx),
        results=done, titles=titles, nothing=not items, problem=for_reader(ctx, refused) if refused else None,
    )  # fmt: skip
