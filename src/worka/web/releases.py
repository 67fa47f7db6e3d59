"""Packs and releases: which there are, the gates of one, what hangs on it, where it comes from, and what fails by which
reason. Nothing is changed here: what takes one away is `withdrawing`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from markupsafe import Markup
from starlette.responses import Response

from worka.kernel.context import Context
from worka.kernel.errors import Denied, NotFound
from worka.kernel.http import Page, context
from worka.packs import routes as packs
from worka.packs.lifecycle import picture
from worka.packs.moving import service as moving
from worka.packs.registry.service import publishing
from worka.packs.service import reaching, tracing, vulnerabilities, withdrawing
from worka.web import data, words
from worka.web.render import for_reader, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Cursor = Annotated[str | None, Query(max_length=400)]
Row = dict[str, Any]
SHOWN = 20
"""Withdrawals and findings that a page shows; all of them are a command away."""


async def _page(request: Request, ctx: Context, template: str, here: str, **values: Any) -> Response:
    shell = await data.shell(ctx)
    return page(request, template, here=here, shell=shell, workspace_id=ctx.workspace_id, **values)


@router.get("/w/{workspace_id}/releases")
async def releases(request: Request, workspace_id: str, ctx: Reader, cursor: Cursor = None) -> Response:
    """The tenant's releases, newest first, each with whether it is in use, and what was taken away lately."""
    answer = await packs.list_releases(workspace_id, ctx, Page(limit=50, cursor=cursor))
    return await _page(
        request, ctx, "releases.html", "releases", releases=answer,
        withdrawals=await withdrawing.listed(ctx, workspace_id, None, SHOWN),
        findings=await vulnerabilities.listed(ctx, workspace_id, None, SHOWN),
    )  # fmt: skip


@router.get("/w/{workspace_id}/releases/{release_id}")
async def release(request: Request, workspace_id: str, release_id: str, ctx: Reader) -> Response:
    """Which gate blocks it and who can clear that; its grade; what it reaches and what breaks without it; what is in it."""
    if target := words.elsewhere(release_id, workspace_id, "releases"):
        return redirect(target)
    found = await packs.get_release(release_id, ctx)
    why = await data.why(ctx, release_id)
    reach = await reaching.of(ctx, "release", release_id)
    users = await tracing.users(ctx, found["pack"], None, 50)
    # The picture escapes what it draws.
    return await _page(
        request, ctx, "release.html", "releases", release=found, why=why, gates=await tracing.gates(ctx, release_id),
        grade=await tracing.graded(ctx, release_id), reach=reach, drawn=Markup(picture.svg(reach)), users=users,  # noqa: S704
        names=await data.names_of(ctx), taken=await tracing.taken(ctx, release_id, found["pack"]),
        publications=[row for row in await publishing.listing(ctx, workspace_id, None, 5, None, release_id)],
    )  # fmt: skip


@router.get("/w/{workspace_id}/packs/{pack}")
async def pack(request: Request, workspace_id: str, pack: str, ctx: Reader) -> Response:
    """One pack: what an operator asks of it, its releases, who uses it, what fails of it, and what breaks without it."""
    async with ctx.transaction():
        releases = (await reaching.visible_pack(ctx, pack))[::-1]
    users = await tracing.users(ctx, pack, None, 50)
    here = next((row for row in reversed(users) if row["workspace_id"] == workspace_id), None)
    try:
        failures = await tracing.failures(ctx, workspace_id, 7, pack)
    except Denied:
        failures = []
    known = {row["id"] for row in releases}
    found = await vulnerabilities.listed(ctx, workspace_id, None, 200)
    standing = await tracing.taken(ctx, pack)
    return await _page(
        request, ctx, "pack.html", "packs", pack=pack, releases=releases, users=users, failures=failures,
        newest={**releases[0], **{key: releases[0]["manifest"].get(key) for key in ("display_name", "description")}},
        offered=next((row["tools"] for row in releases if here and row["id"] == here["release_id"]), releases[0]["tools"]),
        mine=here, lineage=await tracing.lineage(ctx, workspace_id, here["id"]) if here else None,
        attachable=next((row for row in releases if row["state"] == "released"), None),
        reach=await reaching.of(ctx, "pack", pack), findings=[row for row in found if row["release_id"] in known],
        move=(await moving.standing(ctx, here["id"]))["move"] if here else None,
        standing=standing if standing and standing["act"] != "lift" else None,
    )  # fmt: skip


@router.get("/w/{workspace_id}/lineage")
async def lineage(
    request: Request, workspace_id: str, ctx: Reader, subject: Annotated[str, Query(max_length=300)] = ""
) -> Response:
    """From a tool, an attachment or an invocation back to its source."""
    found: Row | None = None
    problem: Row | None = None
    if subject.strip():
        try:
            found = await tracing.lineage(ctx, workspace_id, subject.strip())
        except NotFound as missing:
            problem = for_reader(ctx, missing)
    tools = (await packs.list_tools(workspace_id, ctx))["items"]
    return await _page(
        request, ctx, "lineage.html", "packs", lineage=found, subject=subject, problem=problem, tools=tools
    )


@router.get("/w/{workspace_id}/failures")
async def failures(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    days: Annotated[int, Query(ge=1, le=90)] = 7,
    pack: Annotated[str | None, Query(max_length=130)] = None,
) -> Response:
    """What failed, calls and registrations, by reason; of one pack, where one is named."""
    rows = await tracing.failures(ctx, workspace_id, days, pack or None)
    return await _page(request, ctx, "failures.html", "packs", failures=rows, days=days, pack=pack)
