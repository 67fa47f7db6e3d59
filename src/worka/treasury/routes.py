"""HTTP for the treasury. No route answers with a value."""

from __future__ import annotations

from typing import Any

from fastapi import Depends

from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, context, gives, routes
from worka.treasury import explain, service
from worka.treasury.schema import GivenWhy, Grant, NewGrant, NewSecret, NewValue, RevokedSecret, Secret

router = routes(prefix="/v1", tags=["treasury"])


@router.get("/workspaces/{workspace_id}/secrets", **gives(Items[Secret]))
async def list_secrets(workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """The workspace's secrets, newest first: names, purposes, grants."""
    return page.answer(await service.listing(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/secrets", **gives(Secret, 201))
async def create_secret(workspace_id: str, body: NewSecret, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Puts a secret into the treasury. This grants nothing."""
    return await service.create(
        ctx, workspace_id, name=body.name, purpose=body.purpose, kind=body.kind, value=body.value.get_secret_value()
    )


@router.get("/secrets/{secret_id}", **gives(Secret))
async def get_secret(secret_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """A secret without its value: purpose, state, connections, grants."""
    return await service.get(ctx, secret_id)


@router.get("/secrets/{secret_id}/why")
async def why_secret(secret_id: str, ctx: Context = Depends(context)) -> Explanation:
    """Why it can, or cannot, be used."""
    return await explain.explain(ctx, secret_id)


@router.post("/secrets/{secret_id}/rotate", **gives(Secret))
async def rotate_secret(secret_id: str, body: NewValue, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Gives it a new value under the same grants."""
    return await service.rotate(ctx, secret_id, body.value.get_secret_value())


@router.post("/secrets/{secret_id}/revoke", **gives(RevokedSecret))
async def revoke_secret(secret_id: str, body: GivenWhy, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Ends it and every grant of it; `stopped` names the attachments that could use it."""
    return await service.revoke(ctx, secret_id, body.why)


@router.post("/secrets/{secret_id}/grants", **gives(Grant, 201))
async def grant_secret(secret_id: str, body: NewGrant, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Lets one attachment use it on one endpoint."""
    return await service.grant(ctx, secret_id, body.grantee_id, body.endpoint)


@router.delete("/grants/{grant_id}", status_code=204)
async def revoke_grant(grant_id: str, ctx: Context = Depends(context)) -> None:
    """Takes a grant back; holds for the very next request."""
    await service.revoke_grant(ctx, grant_id)
