"""Service accounts in the console: made, given a token, rotated, ended; each looked at before it is done. A token stands in the
one answer that made it, and nowhere else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from worka.governance import preview
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, Problem, TooMany
from worka.kernel.http import context
from worka.web import auth, data
from worka.web.people import can
from worka.web.render import for_reader, page, redirect
from worka.workspaces import accounts as service
from worka.workspaces import actions

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Role = Literal["member", "viewer"]
Row = dict[str, Any]
MOST_DAYS = 3650


@router.get("/w/{workspace_id}/accounts")
async def accounts(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    name: Annotated[str, Query(max_length=80)] = "",
    purpose: Annotated[str, Query(max_length=2000)] = "",
    role: Annotated[Role, Query()] = "viewer",
) -> Response:
    """The programs of this workspace; and, with a name, what one more of them could do. Looking makes nothing."""
    asked = {"name": name.strip(), "purpose": purpose.strip(), "role": role}
    if not asked["name"]:
        return await _list(request, ctx, asked)
    try:
        would = await preview.of_account(ctx, workspace_id, asked["name"], asked["purpose"], role)
    except (Conflict, Denied, Invalid, TooMany) as problem:
        return await _list(request, ctx, asked, problem)
    return await _list(request, ctx, asked, would=would)


@router.post("/w/{workspace_id}/accounts", dependencies=[Depends(auth.same_origin)])
async def create(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    name: Annotated[str, Form(min_length=1, max_length=80)],
    purpose: Annotated[str, Form(min_length=1, max_length=2000)],
    role: Annotated[Role, Form()] = "viewer",
) -> Response:
    """Makes one of the reader's own. It has no token yet."""
    try:
        made = await service.create(ctx, workspace_id, name.strip(), purpose.strip(), role)
    except (Conflict, Denied, Invalid, TooMany) as problem:
        return await _list(request, ctx, {"name": name, "purpose": purpose, "role": role}, problem)
    return redirect(f"/w/{workspace_id}/accounts/{made['id']}")


@router.get("/w/{workspace_id}/accounts/{account_id}")
async def account(
    request: Request,
    workspace_id: str,
    account_id: str,
    ctx: Reader,
    look: Annotated[Literal["", "token", "rotate", "end"], Query()] = "",
    days: Annotated[str, Query(max_length=4)] = "",
) -> Response:
    """One of them, what it may do; and what a step would do before it is taken."""
    return await _one(request, ctx, account_id, look=look, days=days)


@router.post("/w/{workspace_id}/accounts/{account_id}", dependencies=[Depends(auth.same_origin)])
async def step(
    request: Request,
    workspace_id: str,
    account_id: str,
    ctx: Reader,
    do: Annotated[Literal["token", "rotate", "end"], Form()],
    days: Annotated[str, Form(max_length=4)] = "",
) -> Response:
    """A token, another one for all of them, or its end."""
    try:
        if do == "end":
            await service.end(ctx, workspace_id, account_id)
            return redirect(f"/w/{workspace_id}/accounts/{account_id}")
        fresh = await service.token(ctx, workspace_id, account_id, _days(days), rotate=do == "rotate")
    except (Conflict, Denied, Invalid, TooMany) as problem:
        return await _one(request, ctx, account_id, problem, look=do, days=days)
    return await _one(request, ctx, account_id, fresh=fresh)


def _days(text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST_DAYS:
        raise Invalid(f"{text[:20]!r} is no number of days from 1 to {MOST_DAYS}.", field="days")
    return int(text)


async def _list(
    request: Request, ctx: Context, asked: Row, problem: Problem | None = None, would: Row | None = None
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    values = {
        "accounts": await service.listing(ctx, here, None, 200),
        "names": await data.names_of(ctx),
        "may": await can(ctx, here, actions.SERVICE_ACCOUNT_CREATE),
        "asked": asked,
        "would": would,
        "problem": for_reader(ctx, problem) if problem else None,
    }
    shell = await data.shell(ctx)
    status = problem.status if problem else 200
    return page(request, "accounts.html", status, here="people", shell=shell, workspace_id=here, **values)


async def _one(
    request: Request, ctx: Context, account_id: str, problem: Problem | None = None, *, look: str = "", days: str = "",
    fresh: Row | None = None,
) -> Response:  # fmt: skip
    here = ctx.workspace_id
    assert here is not None
    row = await service.show(ctx, here, account_id)
    mine = row["owner_person_id"] == ctx.principal.id
    over = row["ended_at"] is not None
    end = await can(ctx, here, actions.SERVICE_ACCOUNT_END)
    values = {
        "account": row,
        "owner": (await data.names_of(ctx)).get(row["owner_person_id"], ""),
        "held_now": None if over else await preview.of_existing(ctx, here, account_id),
        "keys": {
            "can": mine and not over,
            "because": "" if mine else "Its token is its owner's: it acts for them.",
            "remedy": "" if mine else "Ask its owner, or make one of your own.",
        },
        "ends": end,
        "look": "" if over or fresh else look,
        "days": days,
        "fresh": fresh,
        "problem": for_reader(ctx, problem) if problem else None,
    }
    shell = await data.shell(ctx)
    status = problem.status if problem else 200
    return page(request, "account.html", status, here="people", shell=shell, workspace_id=here, **values)
