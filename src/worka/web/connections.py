"""Connections in the console: what packs here need outside, asking for it, consenting at the provider, whose account is used,
and the end. Looked at before it is done; no token and no client's secret is shown by anything here."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from worka.connections import actions, clients, consent, ending, explain, needs, oauth, renewing, service, uses
from worka.connections.catalogue import WORDS
from worka.connections.errors import ConnectionNotFound
from worka.connections.routes import CALLBACK, callback
from worka.identity.routes import anonymous
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable
from worka.kernel.http import Page, context
from worka.web import auth, data
from worka.web.people import can
from worka.web.render import page, redirect
from worka.web.settling import settled

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Row = dict[str, Any]
REFUSALS: Final = (Conflict, Denied, Invalid, NotFound, Unavailable)
ACTIONS: Final = (
    actions.CONNECTION_CREATE, actions.CONNECTION_OWN, actions.CONNECTION_AUTHORIZE, actions.CONNECTION_REMOVE,
    actions.CLIENT_REGISTER, actions.CLIENT_REMOVE,
)  # fmt: skip


async def _may(ctx: Context, here: str) -> dict[str, Row]:
    return {action: await can(ctx, here, action) for action in ACTIONS}


# all of them --------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/connections")
async def connections(
    request: Request, workspace_id: str, ctx: Reader, at: Annotated[Page, Depends()], provider: str = "", host: str = ""
) -> Response:
    """What is needed, what is connected, and the form to ask for one; `provider` and `host` fill it in."""
    return await _list(request, ctx, at, asked={"provider": provider[:60], "host": host[:253]})


async def _list(
    request: Request, ctx: Context, at: Page | None = None, problem: Problem | None = None, **values: Any
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    limit = at.limit if at else 50
    rows = await service.listing(ctx, here, at.id if at else None, limit)
    found = {
        "connections": rows[:limit],
        "next": rows[limit - 1]["id"] if len(rows) > limit else None,
        "needs": await needs.listing(ctx, here),
        "providers": await clients.providers(ctx, here),
        "clients": await clients.listing(ctx, here),
        "callback": callback(request, ctx),
        "kinds": WORDS,
        "may": await _may(ctx, here),
        "names": await data.names_of(ctx),
        "asked": {},
        **values,
    }
    return await settled(request, ctx, "connections.html", "connections", problem=problem, **found)


@router.post("/w/{workspace_id}/connections", dependencies=[Depends(auth.same_origin)])
async def change(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[Literal["ask", "register", "unregister"], Form()],
    provider: Annotated[str, Form(max_length=60)] = "",
    name: Annotated[str, Form(max_length=120)] = "",
    kind: Annotated[Literal["token", "oauth_code", "oauth_device", "oauth_client"], Form()] = "token",
    host: Annotated[str, Form(max_length=253)] = "",
    access: Annotated[str, Form(max_length=400)] = "",
    why: Annotated[str, Form(max_length=1000)] = "",
    secret: Annotated[str, Form(max_length=80)] = "",
    field: Annotated[str, Form(max_length=400)] = "",
    own: Annotated[bool, Form()] = False,
    client: Annotated[str, Form(max_length=400)] = "",
    client_secret: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Asks for a connection, registers the workspace's client at a provider, or takes one back."""
    asked = {"do": do, "provider": provider, "name": name, "kind": kind, "host": host, "access": access, "why": why,
             "secret": secret, "field": field, "own": own, "client": client}  # fmt: skip
    try:
        if do == "register":
            await clients.register(
                ctx, workspace_id, provider=provider.strip(), client_id=client.strip(), secret=client_secret or None,
                metadata=_pairs(field),
            )  # fmt: skip
        elif do == "unregister":
            await clients.remove(ctx, client)
        else:
            if not access.strip():
                raise Invalid("Say for what access: whoever approves reads it.", field="access")
            made = await service.create(
                ctx, workspace_id, provider=provider.strip(), name=name.strip() or provider.strip(), kind=kind,
                host=host.strip(), access=access.strip(), why=why.strip(), secret_id=secret.strip() or None,
                metadata=_pairs(field), own=own,
            )  # fmt: skip
            return redirect(f"/w/{workspace_id}/connections/{made['id']}")
    except REFUSALS as problem:
        return await _list(request, ctx, problem=problem, asked=asked)
    return redirect(f"/w/{workspace_id}/connections")


def _pairs(text: str) -> dict[str, str]:
    """`subdomain=acme account=7` as fields. Raises Invalid."""
    parts = text.split()
    if wrong := [part for part in parts if "=" not in part]:
        raise Invalid(f"{wrong[0][:40]!r} is not name=value.", field="metadata")
    return dict(part.split("=", 1) for part in parts)


# one of them --------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/connections/{connection_id}")
async def connection(request: Request, workspace_id: str, connection_id: str, ctx: Reader) -> Response:
    """One connection: why it is as it is, whose account, its scopes, who used it, what stands on it."""
    return await _shown(request, ctx, connection_id)


async def _shown(
    request: Request, ctx: Context, connection_id: str, problem: Problem | None = None, **values: Any
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    row = await service.get(ctx, connection_id)
    if row["workspace_id"] != here:
        raise ConnectionNotFound(f"There is no connection {connection_id}.")
    mine = row["person_id"] == ctx.principal.id
    may = await _may(ctx, here)
    found = {
        "connection": row,
        "why": await explain.explain(ctx, connection_id),
        "uses": await uses.of(ctx, connection_id),
        "reach": await ending.reach(ctx, connection_id),
        "kinds": WORDS,
        "may": may,
        "tends": may[actions.CONNECTION_OWN] if mine else may[actions.CONNECTION_AUTHORIZE],
        "ends": may[actions.CONNECTION_OWN] if mine else may[actions.CONNECTION_REMOVE],
        "names": await data.names_of(ctx),
        "begun": None,
        "looking": False,
        "asked": {},
        **values,
    }
    return await settled(request, ctx, "connection.html", "connections", connection_id, problem, **found)


@router.post("/w/{workspace_id}/connections/{connection_id}", dependencies=[Depends(auth.same_origin)])
async def act(
    request: Request,
    workspace_id: str,
    connection_id: str,
    ctx: Reader,
    do: Annotated[Literal["authorize", "renew", "remove-look", "remove"], Form()],
    why: Annotated[str, Form(max_length=400)] = "",
) -> Response:
    """Begins a consent (and says where to go), renews, or ends it."""
    try:
        if do == "remove-look":
            return await _shown(request, ctx, connection_id, looking=True, asked={"why": why})
        if do == "authorize":
            row = await service.get(ctx, connection_id)
            if row["kind"] == "oauth_device":
                begun = await consent.begin_device(ctx, connection_id)
            else:
                begun = await consent.begin(ctx, connection_id, callback(request, ctx))
            return await _shown(request, ctx, connection_id, begun=begun)
        if do == "renew":
            await renewing.by_hand(ctx, connection_id)
        else:
            await ending.remove(ctx, connection_id, why.strip())
    except REFUSALS as problem:
        return await _shown(request, ctx, connection_id, problem, asked={"why": why})
    return redirect(f"/w/{workspace_id}/connections/{connection_id}")


# coming back --------------------------------------------------------------------------------------------------------
@router.get(CALLBACK)
async def came_back(
    request: Request,
    ctx: Annotated[Context, Depends(anonymous)],
    state: str = "",
    code: str = "",
    iss: str = "",
    error: str = "",
) -> Response:
    """Where a provider sends people back to. The session's cookie does not come with a link of another site, so nothing is
    used until the button is pressed here."""
    read = oauth.read_state(state)
    given = {"state": state[:400], "code": code[:4000], "iss": iss[:400], "error": error[:200]}
    return page(
        request, "came_back.html", 200 if read else 400, place=read[0] if read else "", given=given, settle="/",
    )  # fmt: skip


@router.post("/w/{workspace_id}/came-back", dependencies=[Depends(auth.same_origin)])
async def finish(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    state: Annotated[str, Form(max_length=400)],
    code: Annotated[str, Form(max_length=4000)] = "",
    iss: Annotated[str, Form(max_length=400)] = "",
    error: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Ends the consent, in the session that began it."""
    try:
        found = await consent.finish(ctx, workspace_id, state=state, code=code, iss=iss or None, error=error)
    except REFUSALS as problem:
        return await _list(request, ctx, problem=problem)
    if found["outcome"] not in ("connected", "consent_refused") and found["state"] != "awaiting_consent":
        told = Conflict(
            {"another_account": "It is another account than before: nothing was changed."}.get(
                found["outcome"], f"The provider gave no token that is taken: {found['said'] or found['outcome']}."
            ),
            code=found["outcome"],
        )
        return await _shown(request, ctx, found["id"], told)
    return redirect(f"/w/{workspace_id}/connections/{found['id']}")
