"""HTTP for connections. No route answers with a token, a verifier or a client's secret."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request

from worka.connections import clients, consent, ending, explain, needs, renewing, restricting, service, uses
from worka.connections.schema import (
    Answered,
    Connection,
    ConnectionReach,
    ConnectionUses,
    Consent,
    ConsentAnswer,
    EndedConnection,
    Need,
    NewClient,
    NewConnection,
    NewConsent,
    NewEnd,
    NewRestriction,
    Provider,
    ProviderClient,
    Renewed,
    Restriction,
)
from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, context, gives, routes, trying

router = routes(prefix="/v1", tags=["connections"])
CALLBACK = "/connections/callback"
Tenant = Annotated[str, Query(min_length=1, max_length=60)]


def callback(request: Request, ctx: Context) -> str:
    """The one address to which a provider sends people back: of the door's public name, else of the one that was asked."""
    public = str(ctx.settings.http.public_url).rstrip("/")
    return f"{public or str(request.base_url).rstrip('/')}{CALLBACK}"


@router.get("/workspaces/{workspace_id}/connections", **gives(Items[Connection]))
async def list_connections(
    workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The workspace's connections, newest first."""
    return page.answer(await service.listing(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/connections", **gives(Connection, 201))
async def create_connection(workspace_id: str, body: NewConnection, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Connects an outside system; by the shipped policy it waits for an approval (`state`, `approval_id`), then, where the
    provider gives the credential, for a person's consent there."""
    return await service.create(ctx, workspace_id, **body.model_dump())


@router.get("/workspaces/{workspace_id}/providers", **gives(Items[Provider]))
async def list_providers(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The outside systems of the catalogue: how each is connected, and whether it may be here."""
    return {"items": await clients.providers(ctx, workspace_id), "next": None}


@router.get("/workspaces/{workspace_id}/connection-needs", **gives(Items[Need]))
async def list_connection_needs(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What the packs and tasks of the workspace need outside, those that wait first."""
    return {"items": await needs.listing(ctx, workspace_id), "next": None}


@router.get("/workspaces/{workspace_id}/provider-clients", **gives(Items[ProviderClient]))
async def list_provider_clients(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What the workspace is registered as at providers."""
    return {"items": await clients.listing(ctx, workspace_id), "next": None}


@router.post("/workspaces/{workspace_id}/provider-clients", **gives(ProviderClient, 201))
async def register_provider_client(
    workspace_id: str, body: NewClient, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Registers the workspace's client at a provider; its secret goes into the treasury."""
    secret = body.secret.get_secret_value() if body.secret is not None else None
    return await clients.register(
        ctx, workspace_id, provider=body.provider, client_id=body.client_id, secret=secret, metadata=body.metadata
    )


@router.delete("/provider-clients/{client_id}", **gives(ProviderClient))
async def remove_provider_client(client_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Takes a client back, once no connection stands on it."""
    return await clients.remove(ctx, client_id)


@router.post("/workspaces/{workspace_id}/consent-answers", **gives(Answered))
async def answer_consent(workspace_id: str, body: ConsentAnswer, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Ends a consent with what the provider sent back: by who began it, in the same session, once."""
    return await consent.finish(ctx, workspace_id, **body.model_dump())


@router.get("/connections/{connection_id}", **gives(Connection))
async def get_connection(connection_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One connection."""
    return await service.get(ctx, connection_id)


@router.get("/connections/{connection_id}/why")
async def why_connection(connection_id: str, ctx: Context = Depends(context)) -> Explanation:
    """Why it is as it is, and who acts next."""
    return await explain.explain(ctx, connection_id)


@router.get("/connections/{connection_id}/uses", **gives(ConnectionUses))
async def list_connection_uses(connection_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Its scopes, granted and used; and the last calls that used it, each with whose it was."""
    return await uses.of(ctx, connection_id)


@router.get("/connections/{connection_id}/reach", **gives(ConnectionReach))
async def get_connection_reach(connection_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What ending it would stop. Look before you remove."""
    return await ending.reach(ctx, connection_id)


@router.post("/connections/{connection_id}/authorize", **gives(Consent))
async def authorize_connection(
    connection_id: str, body: NewConsent, request: Request, ctx: Context = Depends(context)
) -> dict[str, Any]:
    """Begins a person's consent at the provider, or begins it anew: where to go, and what is agreed to there."""
    if body.how == "device":
        return await consent.begin_device(ctx, connection_id)
    return await consent.begin(ctx, connection_id, callback(request, ctx))


@router.post("/connections/{connection_id}/renew", **gives(Renewed))
async def renew_connection(connection_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Renews its credential now; `outcome` says whether a new one came."""
    return await renewing.by_hand(ctx, connection_id)


@router.post("/connections/{connection_id}/remove", **gives(EndedConnection))
async def end_connection(connection_id: str, body: NewEnd, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Ends it with a reason; the receipt says what stopped and, soon after, whether the provider was told."""
    return await ending.remove(ctx, connection_id, body.why)


@router.delete("/connections/{connection_id}", **gives(EndedConnection))
async def remove_connection(connection_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Ends it and the grants behind it; `stopped` names the attachments that could use it."""
    return await ending.remove(ctx, connection_id)


@router.get("/deployment/provider-restriction", **gives(Restriction))
async def show_provider_restriction(tenant_id: Tenant, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Which outside systems a tenant may connect, and what it has connected (operators only)."""
    return await restricting.show(ctx, tenant_id)


@router.put("/deployment/provider-restriction", **gives(Restriction))
async def restrict_providers(body: NewRestriction, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Restricts which outside systems a tenant may connect; what is connected stays (operators only)."""
    return await restricting.restrict(ctx, body.tenant_id, body.providers, body.reason)
