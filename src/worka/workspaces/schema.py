"""API shapes of workspaces."""

from __future__ import annotations

from pydantic import Field

from worka.kernel.http import Body


class NewTenant(Body):
    """A tenant, its first workspace, and who is invited to own it."""

    slug: str = Field(max_length=48)
    name: str = Field(min_length=1, max_length=120)
    workspace_name: str = Field(min_length=1, max_length=120)
    owner_email: str = Field(max_length=254)


class NewInvitation(Body):
    """Who is invited, as what."""

    email: str = Field(max_length=254)
    role: str = Field(pattern="^(owner|admin|member|viewer)$")
    approver: bool = False


class Acceptance(Body):
    """The invited person: a new password, or that of the account with this e-mail address."""

    token: str = Field(max_length=200)
    password: str = Field(max_length=1024)
    display_name: str = Field("", max_length=120)


class ChangedMember(Body):
    """What changes; absent fields stay."""

    role: str | None = Field(None, pattern="^(owner|admin|member|viewer)$")
    approver: bool | None = None
