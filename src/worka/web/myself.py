"""The reader's own page: the second factor, what is told by mail, and what the reader may do here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import segno
from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from worka.governance import service as governance
from worka.identity import factors
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, TooMany
from worka.kernel.http import context
from worka.notifications import told
from worka.web import auth, data
from worka.web.render import for_reader, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]


def qr(uri: str) -> str:
    """A QR code as SVG: drawn here, so that the secret goes to nobody else."""
    return segno.make(uri, error="m").svg_inline(
        scale=4, border=2, dark="#000", light="#fff", title="QR code", omitsize=False
    )


@router.get("/w/{workspace_id}/me")
async def me(request: Request, workspace_id: str, ctx: Reader) -> Response:
    """The reader, their second factor, and what they may do here."""
    return await _page(request, ctx)


@router.post("/w/{workspace_id}/me", dependencies=[Depends(auth.same_origin)])
async def change(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[Literal["begin", "confirm", "codes", "end", "mail", "no-mail"], Form()],
    password: Annotated[str, Form(max_length=1024)] = "",
    code: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """One step of the second factor, or the wish for mail. What is shown once is in this answer only, which no cache keeps."""
    shown: dict[str, Any] = {}
    try:
        if do == "begin":
            begun = await factors.begin(ctx, password, code)
            shown = {"pending": begun, "qr": qr(begun["otpauth_uri"])}
        elif do == "confirm":
            shown = {"codes": (await factors.confirm(ctx, code))["recovery_codes"]}
        elif do == "codes":
            shown = {"codes": (await factors.renew_recovery_codes(ctx, code))["recovery_codes"]}
        elif do == "end":
            await factors.end(ctx, code)
        else:
            await told.choose(ctx, do == "mail")
            return redirect(f"/w/{workspace_id}/me")
    except (Conflict, Denied, Invalid, TooMany) as problem:
        return await _page(request, ctx, problem.status, problem=for_reader(ctx, problem), tried=do)
    return await _page(request, ctx, did=do, **shown)


async def _page(request: Request, ctx: Context, status: int = 200, **values: Any) -> Response:
    assert ctx.workspace_id is not None
    return page(
        request,
        "me.html",
        status,
        here="me",
        shell=await data.shell(ctx),
        workspace_id=ctx.workspace_id,
        access=await governance.access(ctx, ctx.workspace_id),
        factor=await factors.show(ctx) if ctx.principal.kind == "person" else None,
        wish=await told.choice(ctx) if ctx.principal.kind == "person" else None,
        **values,
    )
