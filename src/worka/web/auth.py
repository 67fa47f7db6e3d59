"""The console's door for people: the session cookie, the one-time link, and the check that a form is our own.

The cookie is HttpOnly and SameSite=Strict; a change must also name this console as its Origin, because "same site" is
wider than "same origin" (another port of the same host is the same site).
"""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from worka.identity.errors import SecondFactorRequired, TooManyCodes
from worka.identity.routes import anonymous
from worka.kernel.context import Context
from worka.kernel.errors import Denied, Problem
from worka.kernel.http import context
from worka.web import data
from worka.web.render import local, page, redirect
from worka.web.words import moment

COOKIE = "worka_session"
router = APIRouter(include_in_schema=False)


class NotOurForm(Denied):
    """The request to change something did not come from a page of this console."""

    code, title = "cross_site_refused", "This did not come from the console"
    default_remedy = "Open the page in the console and try there."


def same_origin(request: Request) -> None:
    """Dependency of every POST. Raises NotOurForm. A browser that sends no Origin must at least say `same-origin`."""
    origin = request.headers.get("origin")
    ours = (
        origin.split("://", 1)[-1] == request.headers.get("host")
        if origin is not None
        else request.headers.get("sec-fetch-site") == "same-origin"
    )
    if not ours:
        raise NotOurForm("The request names another page, or none, as the one it came from.")


@router.get("/sign-in")
async def sign_in_page(
    request: Request, ctx: Annotated[Context, Depends(anonymous)], link: str = "", next: str = "/"
) -> Response:
    """The form; or, with a one-time link, the button that takes it (a link that is only looked at stays unused); on a new
    deployment what to do first."""
    fresh = not link and await data.nobody_yet(ctx)
    return page(
        request, "sign_in.html", link=link[:400], next=local(next), email="", problem=None, onward="", fresh=fresh
    )


@router.post("/sign-in", dependencies=[Depends(same_origin)])
async def sign_in(
    request: Request,
    ctx: Annotated[Context, Depends(anonymous)],
    email: Annotated[str, Form(max_length=320)] = "",
    password: Annotated[str, Form(max_length=1024)] = "",
    link: Annotated[str, Form(max_length=400)] = "",
    onward: Annotated[str, Form(max_length=400)] = "",
    code: Annotated[str, Form(max_length=40)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Opens a session with password or link, as a cookie. Where there is a second factor the page asks for its code next;
    what it goes on with is good for nothing else, and for a few minutes."""
    address = request.client.host if request.client else ""
    try:
        if link:
            session = await data.sign_in_by_link(ctx, link)
        elif onward:
            session = await data.finish_sign_in(ctx, onward, code, address)
        else:
            session = await data.sign_in(ctx, email, password, address)
    except (SecondFactorRequired, TooManyCodes) as problem:
        kept = onward or getattr(problem, "continuation", "")
        said = problem.body() if onward else None
        return page(
            request, "sign_in.html", problem.status, link="", next=local(next), email=email, problem=said, onward=kept
        )
    except Problem as problem:
        # The link is spent or wrong: what is left is the form.
        said = problem.body()
        return page(
            request, "sign_in.html", problem.status, link="", next=local(next), email=email, problem=said, onward=""
        )
    answer = redirect(local(next))
    keep(answer, request, ctx, session)
    return answer


@router.post("/sign-out", dependencies=[Depends(same_origin)])
async def sign_out(ctx: Annotated[Context, Depends(context)]) -> Response:
    """Ends the session here and on the server."""
    with contextlib.suppress(Problem):
        await data.sign_out(ctx)
    answer = redirect("/sign-in")
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


@router.post("/theme", dependencies=[Depends(same_origin)])
async def theme(request: Request, theme: Annotated[str, Form()] = "", back: Annotated[str, Form()] = "/") -> Response:
    """Keeps the reader's choice of light or dark. Works without a script; with one, the page does not reload."""
    answer = redirect(local(back))
    if theme in ("light", "dark"):
        answer.set_cookie("worka_theme", theme, max_age=31_536_000, path="/", samesite="lax")
    else:
        answer.delete_cookie("worka_theme", path="/")
    return answer


def keep(answer: Response, request: Request, ctx: Context, session: dict[str, Any]) -> None:
    """The session as this browser's cookie."""
    # Behind a proxy that ends TLS this process is asked over plain HTTP: then the public address tells.
    public = ctx.settings.http.public_url if ctx.settings is not None else ""
    answer.set_cookie(
        COOKIE,
        session["session_token"],
        expires=moment(session["expires_at"]),
        path="/",
        secure=request.url.scheme == "https" or public.startswith("https://"),
        httponly=True,
        samesite="strict",
    )
