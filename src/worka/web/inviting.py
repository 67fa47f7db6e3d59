"""Inviting people and changing their roles, each with a look at the access it gives first; and the page of the invited."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from worka.governance import preview
from worka.identity.errors import SecondFactorRequired
from worka.identity.routes import anonymous
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem, TooMany
from worka.kernel.http import context
from worka.web import auth
from worka.web.people import show
from worka.web.render import for_reader, page, redirect
from worka.workspaces import service as workspaces

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Role = Literal["owner", "admin", "member", "viewer"]


@router.post("/w/{workspace_id}/people", dependencies=[Depends(auth.same_origin)])
async def change(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[
        Literal["look", "invite", "withdraw", "renew", "compare", "change", "remove", "compare-remove"], Form()
    ],
    email: Annotated[str, Form(max_length=254)] = "",
    role: Annotated[Role, Form()] = "member",
    approver: Annotated[bool, Form()] = False,
    subject: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """One step: look at what it would give, then do it. What is shown once stands in this answer only."""
    asked = {"do": do, "email": email, "role": role, "approver": approver, "subject": subject}
    found: dict[str, Any] = {}
    try:
        if do == "look":
            found = {"would": await preview.of_invitation(ctx, workspace_id, email, role, approver)}
        elif do == "compare":
            found = {"differs": await preview.of_change(ctx, workspace_id, subject, role, approver, False)}
        elif do == "compare-remove":
            found = {"differs": await preview.of_change(ctx, workspace_id, subject, None, None, True)}
        elif do == "invite":
            found = {"sent": await workspaces.invite(ctx, workspace_id, email, role, approver)}
        elif do == "renew":
            found = {"sent": await workspaces.renew_invitation(ctx, workspace_id, subject)}
        elif do == "withdraw":
            await workspaces.withdraw_invitation(ctx, workspace_id, subject)
        elif do == "change":
            await workspaces.change_member(ctx, workspace_id, subject, role, approver)
        else:
            await workspaces.remove_member(ctx, workspace_id, subject)
    except (Conflict, Denied, Invalid, NotFound) as problem:
        return await show(request, ctx, problem.status, problem=for_reader(ctx, problem), chosen=asked)
    if found:
        if "sent" in found:
            public = ctx.settings.http.public_url if ctx.settings is not None else ""
            base = (public or str(request.base_url)).rstrip("/")
            found["link"] = f"{base}/invitation?token={found['sent']['invitation_token']}"
        return await show(request, ctx, chosen=asked, **found)
    return redirect(f"/w/{workspace_id}/people")


@router.get("/invitation")
async def invitation(request: Request, ctx: Annotated[Context, Depends(anonymous)], token: str = "") -> Response:
    """Where an invitation leads and what it gives. Nothing is used until the button is pressed."""
    return await _invitation(request, ctx, token[:200])


@router.post("/invitation", dependencies=[Depends(auth.same_origin)])
async def accept(
    request: Request,
    ctx: Annotated[Context, Depends(anonymous)],
    token: Annotated[str, Form(max_length=200)] = "",
    name: Annotated[str, Form(max_length=120)] = "",
    password: Annotated[str, Form(max_length=1024)] = "",
    code: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Accepts it and signs in."""
    try:
        session = await workspaces.accept(ctx, token, password, name, code)
    except SecondFactorRequired as problem:
        return await _invitation(request, ctx, token, problem, name, needs_code=True)
    except (Problem, TooMany) as problem:
        return await _invitation(request, ctx, token, problem, name, needs_code=bool(code))
    answer = redirect(f"/w/{session['workspace_id']}/attention")
    auth.keep(answer, request, ctx, session)
    return answer


async def _invitation(
    request: Request,
    ctx: Context,
    token: str,
    problem: Problem | None = None,
    name: str = "",
    *,
    needs_code: bool = False,
) -> Response:
    told = for_reader(ctx, problem) if problem else None
    try:
        found = await preview.of_token(ctx, token, request.client.host if request.client else "")
    except Problem as over:
        found, told = {}, told or for_reader(ctx, over)
    status = int(told["status"]) if told else 200
    return page(
        request, "invitation.html", status, found=found, token=token, name=name, problem=told, needs_code=needs_code,
        settle=f"/invitation?token={quote(token)}",
    )  # fmt: skip
