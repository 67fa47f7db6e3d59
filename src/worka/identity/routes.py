"""HTTP for identity, no logic."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request

from worka.identity import factors, service
from worka.identity.errors import NotYours
from worka.identity.schema import (
    GivenCode,
    NewFactor,
    NewToken,
    PendingFactor,
    RecoveryCodes,
    Reset,
    ResetFactor,
    SecondFactor,
    Session,
    SetUp,
    SignIn,
    SignInLink,
    SteppedUp,
    Token,
)
from worka.kernel.context import Context
from worka.kernel.errors import Unauthenticated
from worka.kernel.http import context, gives, routes, trying

router = routes(prefix="/v1", tags=["identity"])


async def anonymous(request: Request) -> Context:
    """Dependency: the Context of someone who is not signed in yet, on the few open paths."""
    ctx = getattr(request.state, "ctx_anonymous", None)
    if not isinstance(ctx, Context):
        raise Unauthenticated("This path is not open.")
    return ctx


@router.post("/setup", **gives(Session, 201))
async def set_up(body: SetUp, ctx: Context = Depends(anonymous)) -> dict[str, Any]:
    """Makes the first operator with the one-time setup token of WORKA_HOME/run/setup-token (`worka setup`)."""
    return await service.set_up(ctx, body.token, body.email, body.password, body.display_name)


@router.post("/sessions", **gives(Session, 201))
async def sign_in(body: SignIn, request: Request, ctx: Context = Depends(anonymous)) -> dict[str, Any]:
    """Signs in with e-mail and password, and with a code where there is a second factor."""
    address = request.client.host if request.client else ""
    return await service.sign_in(ctx, body.email, body.password, address, body.code)


@router.delete("/sessions/current", status_code=204)
async def sign_out(ctx: Context = Depends(context)) -> None:
    """Ends the session of this request."""
    await service.sign_out(ctx)


@router.post("/sessions/current/step-up", **gives(SteppedUp))
async def step_up(body: GivenCode, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Gives the second factor now: for a while this session decides what wants that."""
    if ctx.credential_id is None or not ctx.credential_id.startswith("ses_"):
        raise NotYours(
            "A token has no session to step up.", remedy="Send the code with the decision itself (`code`), or sign in."
        )
    return factors.until_of(await factors.step_up(ctx, body.code))


@router.get("/me/second-factor", **gives(SecondFactor))
async def second_factor(ctx: Context = Depends(context)) -> dict[str, Any]:
    """Whether the caller has a second factor."""
    return await factors.show(ctx)


@router.post("/me/second-factor", **gives(PendingFactor, 201))
async def begin_second_factor(body: NewFactor, ctx: Context = Depends(context)) -> dict[str, Any]:
    """A new secret, shown once; in force with its first right code (`confirm`)."""
    return await factors.begin(ctx, body.password, body.code)


@router.post("/me/second-factor/confirm", **gives(RecoveryCodes))
async def confirm_second_factor(body: GivenCode, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Puts the secret into force with its first code; gives the recovery codes, once."""
    return await factors.confirm(ctx, body.code)


@router.post("/me/second-factor/recovery-codes", **gives(RecoveryCodes))
async def renew_recovery_codes(body: GivenCode, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Ten new recovery codes; the old ones open nothing any more."""
    return await factors.renew_recovery_codes(ctx, body.code)


@router.post("/me/second-factor/end", **gives(SecondFactor))
async def end_second_factor(body: GivenCode, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Takes one's own second factor away, with a code."""
    return await factors.end(ctx, body.code)


@router.post("/people/{person_id}/second-factor/reset", **gives(Reset))
async def reset_second_factor(person_id: str, body: ResetFactor, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Takes the second factor from another person who lost it (operators only); their sessions end."""
    return await service.reset_second_factor(ctx, person_id, body.why)


@router.post("/sign-in-links", **gives(SignInLink, 201))
async def sign_in_link(request: Request, ctx: Context = Depends(context)) -> dict[str, Any]:
    """A one-time sign-in of the caller, for the console."""
    public = ctx.settings.http.public_url if ctx.settings is not None else ""
    return await service.sign_in_link(ctx, public or str(request.base_url))


@router.post("/workspaces/{workspace_id}/tokens", **gives(Token, 201))
async def create_token(workspace_id: str, body: NewToken, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """An API token, shown once: one's own, or an AI team member's."""
    return await service.create_token(ctx, workspace_id, body.name, body.principal_id, body.expires_in_days)


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(token_id: str, ctx: Context = Depends(trying)) -> None:
    """Revokes an API token; it opens nothing from the next call on."""
    await service.revoke_token(ctx, token_id)
