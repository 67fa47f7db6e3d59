"""Problems as pages: in the frame of the console where the reader is known, so that nobody is left at a dead end."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.web import data
from worka.web.render import local, page, redirect

_WORKSPACE = re.compile(r"^/w/(ws_[0-9a-z]{26})(/|$)")
_KINDS = {403: "forbidden", 404: "not_found", 409: "changed", 422: "invalid", 429: "slow", 503: "away"}
# What helps a program does not help a person: it is said in the page's own words.
_FOR_PROGRAMS = frozenset({"no_such_route", "method_not_allowed"})


async def problem_page(request: Request, body: dict[str, Any]) -> Response:
    """A problem (its RFC 9457 body) as a page: not found, forbidden, changed meanwhile, failed. 401: to sign-in."""
    status = int(body.get("status", 500))
    if status == 401:
        return _to_sign_in(request)
    shell, workspace_id = await _frame(request, status)
    kind = _KINDS.get(status, "failed" if status >= 500 else "invalid")
    if body.get("code") in _FOR_PROGRAMS:
        body = {key: value for key, value in body.items() if key != "remedy"}
    if body.get("code") == "no_such_route":
        kind, body = "no_page", {**body, "detail": ""}
    answer = page(
        request,
        "problem.html",
        status,
        problem=body,
        kind=kind,
        workspace_id=workspace_id,
        shell=shell,
        at=now(),
        again=local(_target(request)) if request.method == "GET" else None,
    )
    if "retry_after" in body:
        answer.headers["Retry-After"] = str(body["retry_after"])
    return answer


async def _frame(request: Request, status: int) -> tuple[dict[str, Any] | None, str | None]:
    """Who reads, and the workspace whose navigation stands beside the problem: that of the address where it is one of the
    reader's, else their only one. Nothing is read when something of ours is away."""
    state = request.scope.get("state", {})
    ctx = state.get("ctx") or state.get("reader")
    if not isinstance(ctx, Context) or status >= 500:
        return None, None
    try:
        mine = {row["workspace_id"]: row["tenant_id"] for row in await data.workspaces(ctx)}
        match = _WORKSPACE.match(request.url.path)
        named = match.group(1) if match else ""
        workspace_id = named if named in mine else next(iter(mine)) if len(mine) == 1 else None
        at = ctx.alone(workspace_id=workspace_id, tenant_id=mine[workspace_id] if workspace_id else ctx.tenant_id)
        return await data.shell(at), workspace_id
    except Problem:
        return None, None


def _to_sign_in(request: Request) -> Response:
    if request.method != "GET":
        return redirect("/sign-in")
    # A strict cookie is not sent when the reader follows a link from another site. One step from our own page sends it.
    if request.headers.get("sec-fetch-site") == "cross-site":
        return page(request, "onward.html", 200, target=local(_target(request)))
    return redirect(f"/sign-in?next={quote(local(_target(request)), safe='')}")


def _target(request: Request) -> str:
    return quote(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
