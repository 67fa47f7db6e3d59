"""API shapes of identity."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from worka.identity import rules
from worka.kernel.http import Answer, Body

Email = Annotated[str, Field(max_length=254, json_schema_extra={"pattern": rules.EMAIL})]
NewPassword = Annotated[str, Field(max_length=1024, json_schema_extra={"minLength": rules.SHORTEST_PASSWORD})]
ToolNames = Annotated[
    list[Annotated[str, Field(max_length=200, json_schema_extra={"pattern": rules.TOOL})]], Field(max_length=500)
]


class SetUp(Body):
    """The first operator."""

    token: str = Field(max_length=200)
    email: Email
    password: NewPassword
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
    tools: ToolNames = Field(default_factory=list)
    role: Literal["member", "viewer"] = "member"


class ChangedTeamMember(Body):
    """What changes; absent fields stay."""

    responsibility: str | None = Field(None, min_length=1, max_length=2000)
    instructions: str | None = Field(None, max_length=20000)
    tools: ToolNames | None = None
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
