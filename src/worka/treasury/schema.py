"""API shapes of the treasury. A value goes in and never comes out."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, SecretStr

from worka.kernel.http import Answer, Body
from worka.treasury.rules import ENDPOINT, MOST_CHARACTERS

_NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"


class NewSecret(Body):
    """A secret: what it is called, what it is for, its kind, and its value."""

    name: str = Field(min_length=1, max_length=120, pattern=_NAME)
    purpose: str = Field("", max_length=400)
    kind: Literal["api_token", "oauth_access", "password", "registry", "publication", "infrastructure", "other"] = (
        "api_token"
    )
    value: SecretStr = Field(min_length=6, max_length=MOST_CHARACTERS)


class NewValue(Body):
    """The new value of a rotation."""

    value: SecretStr = Field(min_length=6, max_length=MOST_CHARACTERS)


class NewGrant(Body):
    """Which attachment may use the secret, on which endpoint (host:port)."""

    grantee_id: str = Field(min_length=1, max_length=80)
    endpoint: str = Field(min_length=3, max_length=259, json_schema_extra={"pattern": ENDPOINT})


class GivenWhy(Body):
    """Why it is taken back; it stands in the ledger."""

    why: str = Field("", max_length=400)


class Grant(Answer):
    """One attachment may use the secret on one endpoint."""

    id: str
    workspace_id: str
    secret_id: str
    attachment_id: str
    endpoint: str
    granted_by: str
    granted_at: datetime
    revoked_at: datetime | None
    grantee_id: str
    pack: str | None


class Backed(Answer):
    """A connection that the secret is behind."""

    id: str
    name: str
    provider: str
    host: str
    port: int
    state: str


class Secret(Answer):
    """A secret without its value: what it is for, who may use it."""

    id: str
    workspace_id: str
    name: str
    purpose: str
    kind: str
    state: Literal["active", "rotating", "revoked", "destroyed"]
    reason: str
    version: int
    created_by: str
    created_at: datetime
    rotated_at: datetime | None
    grants: list[Grant]
    connections: list[Backed]


class RevokedSecret(Secret):
    """A secret that was ended; `stopped` are the attachments that could use it."""

    stopped: list[str]
