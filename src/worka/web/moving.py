"""The console's pages of packs that move: what is attached, an attachment with what differs and what is held, the difference
between two releases, and the review before one is attached."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from worka.authorization.explain import reader_may
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem
from worka.kernel.http import NamePage, Page, context
from worka.packs import actions
from worka.packs import routes as packs
from worka.packs import service as attaching
from worka.packs.moving import held, recorded, service
from worka.packs.service import reading, tracing
from worka.web import auth, data, words
from worka.web.render import for_reader, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Cursor = Annotated[str | None, Query(max_length=400)]
Row = dict[str, Any]
CALL_DAYS = 7
"""How far back the review looks for calls that the release would have served."""
OFFERED = (actions.UPDATE, actions.PIN, actions.FOLLOW, actions.RELEASE_HELD, actions.ATTACH)
"""What the pages offer to do: a form that its reader could not use is not shown."""


async def _page(request: Request, ctx: Context, template: str, status: int = 200, **values: Any) -> Response:
    shell = await data.shell(ctx)
    may = {
        action.name: (await reader_may(ctx, action.name, Resource(action.resource_type, "*", ctx.workspace_id)))[0]
        for action in OFFERED
    }
    return page(
        request, template, status, here="packs", shell=shell, workspace_id=ctx.workspace_id, may=may,
        names=await data.names_of(ctx), **values,
    )  # fmt: skip


@router.get("/w/{workspace_id}/packs")
async def overview(request: Request, workspace_id: str, ctx: Reader, cursor: Cursor = None) -> Response:
    """What is attached here and whether it follows, and the releases that can be."""
    attached = await packs.list_attachments(workspace_id, ctx, Page(limit=200, cursor=None))
    released = await packs.list_releases(workspace_id, ctx, Page(limit=50, cursor=cursor))
    shown = [row for row in attached["items"] if row["state"] != "detached"]
    return await _page(
        request, ctx, "packs.html", attachments=shown, releases=released["items"], next=released["next"],
        detached=len(attached["items"]) - len(shown),
    )  # fmt: skip


@router.get("/w/{workspace_id}/attachments/{attachment_id}")
async def attachment(request: Request, workspace_id: str, attachment_id: str, ctx: Reader) -> Response:
    """One attachment: why it is as it is, where it could move to, what it moved through, and what is held."""
    if target := words.elsewhere(attachment_id, workspace_id, "attachments"):
        return redirect(target)
    return await _attachment(request, ctx, attachment_id)


async def _attachment(request: Request, ctx: Context, attachment_id: str, problem: Problem | None = None) -> Response:
    found = await service.standing(ctx, attachment_id)
    _here(found["attachment"], ctx.workspace_id, attachment_id)
    newest = found["newer"][0] if found["newer"] else None
    told: Row | None = None
    if found["move"] is not None:
        told = (await service.read(ctx, found["move"]["id"]))["difference"]
    elif newest is not None:
        told = await service.compare(ctx, newest["id"], found["release"]["id"])
    return await _page(
        request, ctx, "attachment.html", problem.status if problem else 200, **found, difference=told,
        moves=await service.history(ctx, attachment_id, None, 20), definitions=await held.waiting(ctx, attachment_id),
        taken=await _taken(ctx, found), why=await data.why(ctx, attachment_id), problem=for_reader(ctx, problem) if problem else None,
        settle=f"/w/{ctx.workspace_id}/attachments/{attachment_id}",
    )  # fmt: skip


async def _taken(ctx: Context, found: Row) -> Row | None:
    """Who took it away and why, where that is why it does not serve."""
    row, release = found["attachment"], found["release"]
    if row["state"] not in ("suspended", "detached") and release["state"] == "released":
        return None
    told = await tracing.taken(ctx, row["id"], release["id"], row["pack"])
    return told if told and told["act"] != "lift" else None


@router.post("/w/{workspace_id}/attachments/{attachment_id}", dependencies=[Depends(auth.same_origin)])
async def act(
    request: Request,
    workspace_id: str,
    attachment_id: str,
    ctx: Reader,
    act: Annotated[Literal["update", "back", "pin", "follow", "withdraw", "accept", "refuse"], Form()],
    release_id: Annotated[str, Form(max_length=64)] = "",
    move_id: Annotated[str, Form(max_length=64)] = "",
    tool: Annotated[str, Form(max_length=200)] = "",
    pin: Annotated[str, Form(max_length=64)] = "",
    why: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Moves it, goes back, pins it, lets it follow, takes a move back, or decides on a held definition."""
    _here(await reading.attachment(ctx, attachment_id), workspace_id, attachment_id)
    try:
        if act == "update":
            await service.update(ctx, attachment_id, release_id=release_id or None, why=why.strip())
        elif act == "back":
            await service.back(ctx, attachment_id, why.strip())
        elif act == "withdraw":
            await service.withdraw(ctx, move_id, why.strip())
        elif act in ("pin", "follow"):
            await service.set_mode(ctx, attachment_id, "pinned" if act == "pin" else "tracking", why.strip())
        else:
            decide = service.accept if act == "accept" else service.refuse
            await decide(ctx, attachment_id, tool, pin, why.strip())
    except (Conflict, Denied, Invalid, NotFound) as problem:
        return await _attachment(request, ctx, attachment_id, problem)
    return redirect(f"/w/{workspace_id}/attachments/{attachment_id}")


@router.get("/w/{workspace_id}/releases/{release_id}/difference")
async def difference(
    request: Request, workspace_id: str, release_id: str, ctx: Reader, since: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """What a release may do, offers and says that another does not; without another: the one that is attached here."""
    release = await reading.release(ctx, release_id)
    if not since:
        told = await service.review(ctx, workspace_id, release_id)
        since = (told["attached"] or {}).get("release_id") or release_id
    return await _page(
        request, ctx, "difference.html", difference=await service.compare(ctx, release_id, since), release=release
    )


@router.get("/w/{workspace_id}/releases/{release_id}/review")
async def review(
    request: Request,
    workspace_id: str,
    release_id: str,
    ctx: Reader,
    mode: Annotated[Literal["pinned", "tracking"], Query()] = "pinned",
    calls: Cursor = None,
) -> Response:
    """What to look at before a release is attached here, and what that would meet; `calls` is a page of recorded ones."""
    return await _review(request, ctx, release_id, mode, calls=calls)


async def _recorded(ctx: Context, workspace_id: str, release_id: str, cursor: str | None) -> Row | None:
    """A page of the calls made here, and what would have come of them; None for who does not see calls."""
    if not (await reader_may(ctx, actions.INVOCATION_VIEW.name, Resource("invocation", "*", workspace_id)))[0]:
        return None
    shown = NamePage(limit=20, cursor=cursor)
    rows = await recorded.page(ctx, workspace_id, release_id, CALL_DAYS, shown.after, shown.limit + 1)
    found = shown.answer(rows)
    return {**found, **recorded.summed(found["items"], CALL_DAYS), "cursor": cursor}


async def _review(
    request: Request, ctx: Context, release_id: str, mode: str, problem: Problem | None = None,
    given: Row | None = None, calls: str | None = None,
) -> Response:  # fmt: skip
    assert ctx.workspace_id is not None
    return await _page(
        request, ctx, "review.html", problem.status if problem else 200,
        review=await service.review(ctx, ctx.workspace_id, release_id, mode), mode=mode, given=given or {},
        recorded=await _recorded(ctx, ctx.workspace_id, release_id, calls),
        problem=for_reader(ctx, problem) if problem else None,
        settle=f"/w/{ctx.workspace_id}/releases/{release_id}/review",
    )  # fmt: skip


@router.post("/w/{workspace_id}/releases/{release_id}/review", dependencies=[Depends(auth.same_origin)])
async def attach(
    request: Request,
    workspace_id: str,
    release_id: str,
    ctx: Reader,
    mode: Annotated[Literal["pinned", "tracking"], Form()] = "pinned",
) -> Response:
    """Attaches what was reviewed. What was typed comes back with a refusal."""
    form = await request.form()
    mounts = {
        name.removeprefix("mount."): str(value).strip()
        for name, value in form.items()
        if name.startswith("mount.") and str(value).strip()
    }
    try:
        row = await attaching.attach(ctx, release_id, mode=mode, mounts=mounts)
    except (Conflict, Denied, Invalid, NotFound) as problem:
        return await _review(request, ctx, release_id, mode, problem, mounts)
    return redirect(f"/w/{workspace_id}/attachments/{row['id']}")


def _here(row: Row, workspace_id: str | None, subject: str) -> Row:
    """The row, if it belongs to the workspace of the address."""
    if row.get("workspace_id") != workspace_id:
        raise NotFound(f"There is no {subject} in this workspace.")
    return row
