"""HTTP for the ledger."""

from __future__ import annotations

from typing import Any

from fastapi import Depends
from fastapi.responses import StreamingResponse

from worka.audit import export, service
from worka.audit.schema import PlatformVerification, Verification
from worka.kernel.context import Context
from worka.kernel.http import context, gives, routes

router = routes(tags=["audit"])


@router.get(
    "/v1/workspaces/{workspace_id}/audit/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "a tar file",
            "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def export_ledger(workspace_id: str, ctx: Context = Depends(context)) -> StreamingResponse:
    """The workspace's ledger, its seals and an offline verifier, as a tar file."""
    file = await service.export_ledger(ctx, workspace_id)
    headers = {"Content-Disposition": f'attachment; filename="ledger-{workspace_id}.tar"'}
    return StreamingResponse(export.chunks(file), media_type="application/x-tar", headers=headers)


@router.get("/v1/workspaces/{workspace_id}/audit/verify", **gives(Verification))
async def verify(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Verifies the tenant's ledger on the platform: every MAC, link, head and the last seal; the first bad row is
    named."""
    return await service.verify(ctx, workspace_id)


@router.get("/v1/audit/verify", **gives(PlatformVerification))
async def verify_platform(ctx: Context = Depends(context)) -> dict[str, Any]:
    """Verifies the ledgers of all tenants (operators); no contents are shown."""
    return await service.verify_platform(ctx)
