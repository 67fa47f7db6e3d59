"""API shapes of workspaces."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from worka.identity.schema import Code, Email, NewPassword, Token
from worka.kernel.http import Answer, Body, Name
from worka.workspaces import rules

Role = Literal["owner", "admin", "member", "viewer"]


class NewTenant(Body):
    """A tenant, its first workspace, and who is invited to own it."""

    slug: str = Field(max_length=48, json_schema_extra={"pattern": rules.SLUG})
    name: Name = Field(min_length=1, max_length=120)
    workspace_name: Name = Field(min_length=1, max_length=120)
    owner_email: Email


class NewInvitation(Body):
    """Who is invited, as what."""

    email: Email
    role: Role
    approver: bool = False


class Acceptance(Body):
    """The invited person: a new password, or that of the account with this e-mail address (with its second factor)."""

    token: str = Field(max_length=200)
    password: NewPassword
    display_name: Name = Field("", max_length=120)
    code: Code = ""


class ChangedMember(Body):
    """What changes; absent fields stay."""

    role: Role | None = None
    approver: bool | None = None


class Workspace(Answer):
    """A workspace, with its tenant."""

    id: str
    tenant_id: str
    slug: str
    name: str
    tenant_slug: str
    tenant_name: str
    created_at: datetime


class MyWorkspace(Workspace):
    """A workspace with the caller's role in it."""

    role: str


class Me(Answer):
    """Who the caller is, and where it is a member."""

    id: str
    kind: str
    name: str
    operator: bool
    credential_id: str | None
    tenant_id: str | None
    workspaces: list[MyWorkspace]
    owner_person_id: str | None = None
    tools: list[str] | None = None


class Tenant(Answer):
    """A tenant that was made, and its owner's invitation, shown once."""

    tenant_id: str
    workspace_id: str
    invitation_token: str


class TenantId(Answer):
    """A tenant. What is in it is not the operator's to see."""

    tenant_id: str


class Invitation(Answer):
    """An invitation, shown once."""

    invitation_id: str
    invitation_token: str
    expires_at: datetime
    role: str
    approver: bool


class InvitationRow(Answer):
    """An invitation as it stands; its token is never shown again."""

    id: str
    email: str
    role: str
    approver: bool
    state: Literal["open", "accepted", "withdrawn", "expired"]
    invited_by: str
    created_at: datetime
    expires_at: datetime
    held: str = Field(description="why an open one lets nobody in for now: who sent it is stopped; else empty")


class NewServiceAccount(Body):
    """A program of the workspace's own, owned by the caller."""

    name: Name = Field(min_length=1, max_length=80)
    purpose: str = Field(min_length=1, max_length=2000)
    role: Literal["member", "viewer"] = "viewer"


class AccountToken(Body):
    """How long a new token lives; without it until it is revoked."""

    expires_in_days: int | None = Field(None, ge=1, le=3650)


class ServiceAccount(Answer):
    """A service account and its owner; without a role it acts no more."""

    id: str
    workspace_id: str
    name: str
    purpose: str
    owner_person_id: str
    created_at: datetime
    ended_at: datetime | None
    role: str | None


class RotatedToken(Token):
    """A token of a service account, shown once, and how many older ones it voids."""

    tokens_revoked: int


class Accepted(Answer):
    """The session of who accepted an invitation."""

    session_token: str
    expires_at: datetime
    person_id: str
    session_id: str
    workspace_id: str
    tenant_id: str


class Member(Answer):
    """Somebody in a workspace."""

    principal_kind: str
    principal_id: str
    name: str
    email: str | None
    role: str
    approver: bool
    enabled: bool
    owner_person_id: str | None
    created_at: datetime


class MemberChange(Answer):
    """A member's role as it is now."""

    principal_id: str
    role: str
    approver: bool


class TeamMember(Answer):
    """An AI team member, its owner and the only tools it may call."""

    id: str
    workspace_id: str
    name: str
    responsibility: str
    instructions: str
    tools: list[str]
    owner_person_id: str
    enabled: bool
    created_at: datetime
    role: str | None
