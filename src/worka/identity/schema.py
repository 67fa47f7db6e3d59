"""API shapes of identity."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from worka.identity import rules
from worka.kernel.http import Answer, Body, Name

Email = Annotated[str, Field(max_length=254, json_schema_extra={"pattern": rules.EMAIL})]
NewPassword = Annotated[str, Field(max_length=1024, json_schema_extra={"minLength": rules.SHORTEST_PASSWORD})]
ToolNames = Annotated[
    list[Annotated[str, Field(max_length=200, json_schema_extra={"pattern": rules.TOOL})]], Field(max_length=500)
]


Code = Annotated[str, Field(max_length=40)]


class SetUp(Body):
    """The first operator."""

    token: str = Field(max_length=200)
    email: Email
    password: NewPassword
    display_name: Name = Field(min_length=1, max_length=120)


class SignIn(Body):
    """E-mail and password; the code of the second factor where there is one."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)
    code: Code = ""


class NewFactor(Body):
    """The password; a code too, to put another secret in the place of the one in force."""

    password: str = Field(max_length=1024)
    code: Code = ""


class GivenCode(Body):
    """A code of the second factor, or a recovery code."""

    code: Code


class ResetFactor(Body):
    """Why the second factor of somebody who lost it is taken away, and how it was made sure that it is they who ask."""

    why: str = Field(min_length=1, max_length=500)


class NewTeamMember(Body):
    """An AI team member with the only tools it may call."""

    name: Name = Field(min_length=1, max_length=80)
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

    name: Name = Field(min_length=1, max_length=80)
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


class SecondFactor(Answer):
    """Whether one's own second factor is in force, and how many recovery codes are left."""

    state: Literal["off", "on"]
    since: datetime | None
    recovery_left: int
    pending_until: datetime | None


class PendingFactor(Answer):
    """A new secret for an authenticator app, shown once."""

    secret: str
    otpauth_uri: str
    pending_until: datetime


class RecoveryCodes(Answer):
    """Ten recovery codes, shown once; each works once."""

    state: Literal["on"]
    recovery_codes: list[str]


class SteppedUp(Answer):
    """The second factor was given in this session; until when that counts."""

    stepped_up_at: datetime
    until: datetime
    method: Literal["totp", "recovery_code"]


class Reset(Answer):
    """A second factor was taken away from who lost it; their sessions have ended."""

    person_id: str
    sessions_ended: int
