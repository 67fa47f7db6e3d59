"""HTTP for the treasury."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from worka.kernel.context import Context
from worka.kernel.http import Page, context
from worka.treasury import service
from worka.treasury.schema import CreateGrant, CreateSecret, RotateSecret

router = APIRouter(tags=["treasury"])
Ctx = Annotated[Context, Depends(context)]


@router.get("/v1/workspaces/{workspace_id}/secrets", summary="Secrets of a workspace, without values")
async def list_secrets(ctx: Ctx, workspace_id: str, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    after = str(page.after[0]) if page.after else None
    return page.answer(await service.secrets(ctx, after, page.limit + 1), "id")


@router.post("/v1/workspaces/{workspace_id}/secrets", status_code=201, summary="Put a secret into the treasury; it grants nothing")
async def create_secret(ctx: Ctx, workspace_id: str, body: CreateSecret) -> dict[str, Any]:
    return await service.create(ctx, name=body.name, purpose=body.purpose, kind=body.kind, value=body.value.get_secret_value())


@router.get("/v1/secrets/{secret_id}", summary="What a secret is for, who may use it, its last uses; never its value")
async def show_secret(ctx: Ctx, secret_id: str) -> dict[str, Any]:
    return await service.secret(ctx, secret_id)


@router.post("/v1/secrets/{secret_id}/rotate", summary="Give a secret its next value")
async def rotate_secret(ctx: Ctx, secret_id: str, body: RotateSecret) -> dict[str, Any]:
    return await service.rotate(ctx, secret_id, body.value.get_secret_value())


@router.post("/v1/secrets/{secret_id}/revoke", summary="End a secret and its grants; says what stopped")
async def revoke_secret(ctx: Ctx, secret_id: str) -> dict[str, Any]:
    return await service.revoke(ctx, secret_id)


@router.post("/v1/secrets/{secret_id}/grants", status_code=201, summary="Let one attachment use a secret on one endpoint")
async def create_grant(ctx: Ctx, secret_id: str, body: CreateGrant) -> dict[str, Any]:
    return await service.grant(ctx, secret_id, attachment_id=body.grantee_id, endpoint=body.endpoint)


@router.delete("/v1/grants/{grant_id}", summary="End one grant; the very next call that needs it is refused")
async def delete_grant(ctx: Ctx, grant_id: str) -> dict[str, Any]:
    return await service.remove_grant(ctx, grant_id)
