"""API shapes of identity."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from worka.kernel.http import Answer, Body


class SetUp(Body):
    """The first operator."""

    token: str = Field(max_length=200)
    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)
    display_name: str = Field(min_length=1, max_length=120)


class SignIn(Body):
    """E-mail and password."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)


class NewTeamMember(Body):
    """An AI team member with the only tools it may call."""

    name: str = Field(min_length=1, max_length=80)
    responsibility: str = Field(min_length=1, max_length=2000)
    instructions: str = Field("", max_length=20000)
    tools: list[str] = Field(default_factory=list, max_length=500)
    role: str = Field("member", pattern="^(member|viewer)$")


class ChangedTeamMember(Body):
    """What changes; absent fields stay."""

    responsibility: str | None = Field(None, min_length=1, max_length=2000)
    instructions: str | None = Field(None, max_length=20000)
    tools: list[str] | None = Field(None, max_length=500)
    enabled: bool | None = None


class NewToken(Body):
    """An API token for oneself, or for an AI team member."""

    name: str = Field(min_length=1, max_length=80)
    principal_id: str | None = Field(None, max_length=64)
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class Session(Answer):
    """A session; its token is shown once."""

    session_token: str
    expires_at: datetime
    person_id: str
    session_id: str


class SignInLink(Answer):
    """A one-time sign-in, shown once."""

    token: str
    url: str
    expires_at: datetime


class Token(Answer):
    """An API token, shown once."""

    token: str
    token_id: str
    principal_id: str
    expires_at: datetime | None
