"""HTTP for workspaces, no logic. `/access` lives in authorization's door, which knows the matrix."""

from __future__ import annotations

from typing import Any

from fastapi import Depends

from worka.identity import service as people
from worka.identity.routes import anonymous
from worka.identity.schema import ChangedTeamMember, NewTeamMember, Reset, ResetFactor
from worka.kernel.context import Context
from worka.kernel.http import Items, Page, context, gives, routes, trying
from worka.workspaces import accounts, service
from worka.workspaces.schema import (
    Acceptance,
    Accepted,
    AccountToken,
    ChangedMember,
    Invitation,
    InvitationRow,
    Me,
    Member,
    MemberChange,
    MyWorkspace,
    NewInvitation,
    NewServiceAccount,
    NewTenant,
    RotatedToken,
    ServiceAccount,
    TeamMember,
    Tenant,
    TenantId,
    Workspace,
)

router = routes(prefix="/v1", tags=["workspaces"])


@router.get("/me", **gives(Me))
async def me(ctx: Context = Depends(context)) -> dict[str, Any]:
    """Who the caller is, and where it is a member."""
    return await service.me(ctx)


@router.post("/tenants", **gives(Tenant, 201))
async def create_tenant(body: NewTenant, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """A tenant with its first workspace and an invitation for its owner (operators only)."""
    return await service.create_tenant(ctx, body.slug, body.name, body.workspace_name, body.owner_email)


@router.get("/tenants", **gives(Items[TenantId]))
async def list_tenants(ctx: Context = Depends(context)) -> dict[str, Any]:
    """The ids of the deployment's tenants, complete (operators only)."""
    return {"items": [{"tenant_id": name} for name in await service.tenants(ctx)], "next": None}


@router.post("/invitations/accept", **gives(Accepted, 201))
async def accept(body: Acceptance, ctx: Context = Depends(anonymous)) -> dict[str, Any]:
    """Accepts an invitation and signs in."""
    return await service.accept(ctx, body.token, body.password, body.display_name, body.code)


@router.get("/workspaces", **gives(Items[MyWorkspace]))
async def list_workspaces(ctx: Context = Depends(context)) -> dict[str, Any]:
    """The caller's workspaces, complete."""
    return {"items": await service.my_workspaces(ctx), "next": None}


@router.get("/workspaces/{workspace_id}", **gives(Workspace))
async def get_workspace(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One workspace."""
    return await service.workspace(ctx, workspace_id)


@router.post("/workspaces/{workspace_id}/invitations", **gives(Invitation, 201))
async def invite(workspace_id: str, body: NewInvitation, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Invites a person with a role; `approver` makes them a named approver."""
    return await service.invite(ctx, workspace_id, body.email, body.role, body.approver)


@router.get("/workspaces/{workspace_id}/invitations", **gives(Items[InvitationRow]))
async def list_invitations(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The invitations into the workspace and what became of each, complete."""
    return {"items": await service.invitations(ctx, workspace_id), "next": None}


@router.post("/workspaces/{workspace_id}/invitations/{invitation_id}/withdraw", **gives(InvitationRow))
async def withdraw_invitation(workspace_id: str, invitation_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Takes an unused invitation back."""
    return await service.withdraw_invitation(ctx, workspace_id, invitation_id)


@router.post("/workspaces/{workspace_id}/invitations/{invitation_id}/renew", **gives(Invitation))
async def renew_invitation(workspace_id: str, invitation_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """A new link for an unused invitation; the old one opens nothing any more."""
    return await service.renew_invitation(ctx, workspace_id, invitation_id)


@router.get("/workspaces/{workspace_id}/members", **gives(Items[Member]))
async def list_members(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Everyone in the workspace, complete."""
    return {"items": await service.members(ctx, workspace_id), "next": None}


@router.get("/workspaces/{workspace_id}/members/{principal_id}", **gives(Member))
async def get_member(workspace_id: str, principal_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One member, with its role."""
    return await service.member(ctx, workspace_id, principal_id)


@router.patch("/workspaces/{workspace_id}/members/{principal_id}", **gives(MemberChange))
async def change_member(
    workspace_id: str, principal_id: str, body: ChangedMember, ctx: Context = Depends(context)
) -> dict[str, Any]:
    """Changes a role, or names an approver."""
    return await service.change_member(ctx, workspace_id, principal_id, body.role, body.approver)


@router.delete("/workspaces/{workspace_id}/members/{principal_id}", status_code=204)
async def remove_member(workspace_id: str, principal_id: str, ctx: Context = Depends(context)) -> None:
    """Takes a member out; its tokens of this workspace are revoked with it."""
    await service.remove_member(ctx, workspace_id, principal_id)


@router.post("/workspaces/{workspace_id}/members/{principal_id}/second-factor/reset", **gives(Reset))
async def reset_second_factor(
    workspace_id: str, principal_id: str, body: ResetFactor, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Takes the second factor from a member who lost it (owners of everything that it opens); their sessions end."""
    return await service.reset_second_factor(ctx, workspace_id, principal_id, body.why)


@router.get("/workspaces/{workspace_id}/team-members", **gives(Items[TeamMember]))
async def list_team_members(
    workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The AI team members."""
    return page.answer(await service.team_members(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/team-members", **gives(TeamMember, 201))
async def add_team_member(workspace_id: str, body: NewTeamMember, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Adds an AI team member, owned by the caller."""
    fields = body.model_dump(exclude={"role"})
    return await service.add_team_member(ctx, workspace_id, fields, body.role)


@router.get("/workspaces/{workspace_id}/team-members/{member_id}", **gives(TeamMember))
async def get_team_member(workspace_id: str, member_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One AI team member."""
    return await service.team_member(ctx, workspace_id, member_id)


@router.patch("/workspaces/{workspace_id}/team-members/{member_id}", **gives(TeamMember))
async def change_team_member(
    workspace_id: str, member_id: str, body: ChangedTeamMember, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Changes its tools, words, or whether it may act."""
    row = await people.change_team_member(ctx, workspace_id, member_id, body.model_dump(exclude_unset=True))
    return service.team_member_shown(row)


@router.get("/workspaces/{workspace_id}/service-accounts", **gives(Items[ServiceAccount]))
async def list_service_accounts(
    workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The service accounts, ended ones too."""
    return page.answer(await accounts.listing(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/service-accounts", **gives(ServiceAccount, 201))
async def create_service_account(
    workspace_id: str, body: NewServiceAccount, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Makes a service account, owned by the caller."""
    return await accounts.create(ctx, workspace_id, body.name, body.purpose, body.role)


@router.get("/workspaces/{workspace_id}/service-accounts/{account_id}", **gives(ServiceAccount))
async def get_service_account(workspace_id: str, account_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One service account."""
    return await accounts.show(ctx, workspace_id, account_id)


@router.post("/workspaces/{workspace_id}/service-accounts/{account_id}/tokens", **gives(RotatedToken, 201))
async def add_account_token(
    workspace_id: str, account_id: str, body: AccountToken, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """One more token of a service account of one's own, shown once."""
    return await accounts.token(ctx, workspace_id, account_id, body.expires_in_days, rotate=False)


@router.post("/workspaces/{workspace_id}/service-accounts/{account_id}/rotate", **gives(RotatedToken, 201))
async def rotate_account_token(
    workspace_id: str, account_id: str, body: AccountToken, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """A new token in the place of all older ones, which open nothing from the next call on."""
    return await accounts.token(ctx, workspace_id, account_id, body.expires_in_days, rotate=True)


@router.post("/workspaces/{workspace_id}/service-accounts/{account_id}/end", **gives(ServiceAccount))
async def end_service_account(workspace_id: str, account_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Ends it, from the next call on."""
    return await accounts.end(ctx, workspace_id, account_id)
