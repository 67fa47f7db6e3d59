"""HTTP for previews of access; no logic."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request

from worka.governance import preview
from worka.governance.schema import (
    ChangePreview,
    InvitedPreview,
    PreviewedChange,
    PreviewedInvitation,
    PreviewedToken,
    RolePreview,
)
from worka.identity.routes import anonymous
from worka.kernel.context import Context
from worka.kernel.http import context, gives, routes

router = routes(prefix="/v1", tags=["governance"])


@router.post("/workspaces/{workspace_id}/invitations/preview", **gives(RolePreview))
async def invitation(workspace_id: str, body: PreviewedInvitation, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What an invitation would give, by the policy of this place. Nothing is sent."""
    return await preview.of_invitation(ctx, workspace_id, body.email, body.role, body.approver)


@router.post("/workspaces/{workspace_id}/members/{principal_id}/preview", **gives(ChangePreview))
async def member(
    workspace_id: str, principal_id: str, body: PreviewedChange, ctx: Context = Depends(context)
) -> dict[str, Any]:
    """What a change of a member's role, or taking it out, would give and take. Nothing is changed."""
    return await preview.of_change(ctx, workspace_id, principal_id, body.role, body.approver, body.remove)


@router.post("/invitations/preview", **gives(InvitedPreview))
async def invited(body: PreviewedToken, request: Request, ctx: Context = Depends(anonymous)) -> dict[str, Any]:
    """What the invitation that one holds gives, before it is accepted. It stays usable."""
    return await preview.of_token(ctx, body.token, request.client.host if request.client else "")
