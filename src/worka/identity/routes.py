"""HTTP for identity, no logic."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from worka.identity import service
from worka.identity.schema import NewToken, Session, SetUp, SignIn, SignInLink, Token
from worka.kernel.context import Context
from worka.kernel.errors import Unauthenticated
from worka.kernel.http import context, gives

router = APIRouter(prefix="/v1", tags=["identity"])


async def anonymous(request: Request) -> Context:
    """Dependency: the Context of someone who is not signed in yet, on the few open paths."""
    ctx = getattr(request.state, "ctx_anonymous", None)
    if not isinstance(ctx, Context):
        raise Unauthenticated("This path is not open.")
    return ctx


@router.post("/setup", **gives(Session, 201))
async def set_up(body: SetUp, ctx: Context = Depends(anonymous)) -> dict[str, Any]:
    """Makes the first operator with the one-time setup token of WORKA_HOME/setup-token."""
    return await service.set_up(ctx, body.token, body.email, body.password, body.display_name)


@router.post("/sessions", **gives(Session, 201))
async def sign_in(body: SignIn, request: Request, ctx: Context = Depends(anonymous)) -> dict[str, Any]:
    """Signs in with e-mail and password."""
    address = request.client.host if request.client else ""
    return await service.sign_in(ctx, body.email, body.password, address)


@router.delete("/sessions/current", status_code=204)
async def sign_out(ctx: Context = Depends(context)) -> None:
    """Ends the session of this request."""
    await service.sign_out(ctx)


@router.post("/sign-in-links", **gives(SignInLink, 201))
async def sign_in_link(request: Request, ctx: Context = Depends(context)) -> dict[str, Any]:
    """A one-time sign-in of the caller, for the console."""
    public = ctx.settings.http.public_url if ctx.settings is not None else ""
    return await service.sign_in_link(ctx, public or str(request.base_url))


@router.post("/workspaces/{workspace_id}/tokens", **gives(Token, 201))
async def create_token(workspace_id: str, body: NewToken, ctx: Context = Depends(context)) -> dict[str, Any]:
    """An API token, shown once: one's own, or an AI team member's."""
    return await service.create_token(ctx, workspace_id, body.name, body.principal_id, body.expires_in_days)


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(token_id: str, ctx: Context = Depends(context)) -> None:
    """Revokes an API token; it opens nothing from the next call on."""
    await service.revoke_token(ctx, token_id)
