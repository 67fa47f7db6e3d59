"""Releases: which there are, the gates of one, what hangs on it, where it comes from, and what fails by which reason.

Nothing is changed here: what takes a release away is a command that is shown with what it would touch.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from markupsafe import Markup
from starlette.responses import Response

from worka.kernel.context import Context
from worka.kernel.errors import NotFound
from worka.kernel.http import Page, context
from worka.packs import routes as packs
from worka.packs.lifecycle import picture
from worka.packs.service import reaching, tracing, vulnerabilities, withdrawing
from worka.web import data, words
from worka.web.render import page, redirect

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
        names=await data.names_of(ctx),
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
            problem = missing.body(ctx.trace_id)
    tools = (await packs.list_tools(workspace_id, ctx))["items"]
    return await _page(
        request, ctx, "lineage.html", "releases", lineage=found, subject=subject, problem=problem, tools=tools
    )


@router.get("/w/{workspace_id}/failures")
async def failures(
    request: Request, workspace_id: str, ctx: Reader, days: Annotated[int, Query(ge=1, le=90)] = 7
) -> Response:
    """What failed, calls and registrations, by reason."""
    rows = await tracing.failures(ctx, workspace_id, days, None)
    return await _page(request, ctx, "failures.html", "releases", failures=rows, days=days)
