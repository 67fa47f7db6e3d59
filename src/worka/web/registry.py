"""The registry and the marketplace in the console: what is published where, the reports to review it by, what there is to have
before anything is built, and one release of it in full."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable
from worka.kernel.http import Page, context
from worka.packs import actions as pack_actions
from worka.packs.registry import actions
from worka.packs.registry.service import market, policies, publishing, reports, vouching
from worka.web import auth, data
from worka.web.people import can
from worka.web.render import for_reader, page, redirect
from worka.web.settling import settled

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Row = dict[str, Any]
SHOWN: Final = 20
"""Rows of a report on the page; the API and the command line have them all."""
REFUSALS: Final = (Conflict, Denied, Invalid, NotFound, Unavailable)
OFFERED: Final = {
    "publish": actions.PUBLISH, "sign": actions.SIGN, "review": actions.REVIEW, "withdraw": actions.LISTING_WITHDRAW,
    "install": pack_actions.REGISTER.name,
}  # fmt: skip


async def _may(ctx: Context, here: str) -> dict[str, Row]:
    return {name: await can(ctx, here, action) for name, action in OFFERED.items()}


@router.get("/w/{workspace_id}/registry")
async def overview(
    request: Request, workspace_id: str, ctx: Reader, days: Annotated[int, Query(ge=0, le=3650)] = 30
) -> Response:
    """Publications, the five reports, the policy in force and the trust root."""
    return await _overview(request, ctx, days)


async def _overview(request: Request, ctx: Context, days: int = 30, problem: Problem | None = None) -> Response:
    here = ctx.workspace_id
    assert here is not None
    found: Row = {
        "publications": await publishing.listing(ctx, here, None, SHOWN, None, None),
        "reports": [
            {"name": name, "title": reports.WORDS[name][0], "lead": reports.WORDS[name][1],
             "rows": await reports.report(ctx, here, name, None, SHOWN, days)}
            for name in reports.NAMES
        ],
        "policy": await policies.show(ctx, here),
        "root": await vouching.show_root(ctx, here),
        "may": await _may(ctx, here),
        "days": days,
        "shown": SHOWN,
    }  # fmt: skip
    return await settled(request, ctx, "registry.html", "registry", problem=problem, **found)


@router.post("/w/{workspace_id}/registry/retry", dependencies=[Depends(auth.same_origin)])
async def retry(
    request: Request, workspace_id: str, ctx: Reader, publication_id: Annotated[str, Form(max_length=60)]
) -> Response:
    """Takes up a failed publication again."""
    try:
        await publishing.retry(ctx, publication_id)
    except REFUSALS as problem:
        return await _overview(request, ctx, problem=problem)
    return redirect(f"/w/{workspace_id}/registry")


@router.get("/w/{workspace_id}/marketplace")
async def marketplace(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    at: Annotated[Page, Depends()],
    q: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """What this tenant may have; with words, what fits them."""
    rows, following = await market.search(ctx, workspace_id, q, at.id, at.limit)
    shell = await data.shell(ctx)
    return page(
        request, "marketplace.html", here="marketplace", shell=shell, workspace_id=workspace_id, listings=rows,
        next=following, q=q,
    )  # fmt: skip


@router.get("/w/{workspace_id}/marketplace/{release_id}")
async def listing(request: Request, workspace_id: str, release_id: str, ctx: Reader) -> Response:
    """One release: what for, whether it can be installed, who vouches, what it needs and reaches."""
    return await _listing(request, ctx, release_id)


async def _listing(request: Request, ctx: Context, release_id: str, problem: Problem | None = None) -> Response:
    here = ctx.workspace_id
    assert here is not None
    shown = await market.listing(ctx, here, release_id)
    found: Row = {
        "item": shown,
        "known": await market.answers(ctx, release_id) if shown["own"] else None,
        "policy": (await policies.show(ctx, here))["effective"],
        "may": await _may(ctx, here),
        "problem": for_reader(ctx, problem) if problem else None,
    }
    shell = await data.shell(ctx)
    status = problem.status if problem else 200
    return page(
        request, "listing.html", status, here="marketplace", shell=shell, workspace_id=here,
        settle=f"/w/{here}/marketplace/{release_id}", **found,
    )  # fmt: skip


@router.post("/w/{workspace_id}/marketplace/{release_id}", dependencies=[Depends(auth.same_origin)])
async def act(
    request: Request,
    workspace_id: str,
    release_id: str,
    ctx: Reader,
    do: Annotated[Literal["publish", "install", "sign", "review", "withdraw"], Form()],
    visibility: Annotated[Literal["", "private", "shared", "public"], Form()] = "",
    destination: Annotated[str, Form(max_length=60)] = "local",
    text: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Publishes, installs, signs, reviews or withdraws it."""
    after = f"/w/{workspace_id}/marketplace/{release_id}"
    try:
        if do == "publish":
            row = await publishing.publish(
                ctx, workspace_id, release_id=release_id, destination=destination.strip() or "local",
                visibility=visibility or None, shared_with=[],
            )  # fmt: skip
            after = f"/w/{workspace_id}/why/{row['id']}"
        elif do == "install":
            made = await market.install(ctx, workspace_id, release_id)
            after = (
                f"/w/{workspace_id}/marketplace/{made['id']}"
                if made["state"] == "released"
                else f"/w/{workspace_id}/why/{made['id']}"
            )
        elif do == "sign":
            await vouching.sign(ctx, release_id)
        elif not text.strip():
            raise Invalid("Say what you looked at, or why it goes.", field="text")
        elif do == "review":
            await vouching.review(ctx, release_id, text.strip())
        else:
            await publishing.withdraw(ctx, release_id, text.strip())
    except REFUSALS as problem:
        return await _listing(request, ctx, release_id, problem)
    return redirect(after)
