"""API shapes of connections."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from worka.connections import rules
from worka.kernel.http import Answer, Body
from worka.kernel.letters import Name
from worka.treasury.rules import HOST

Metadata = Annotated[
    dict[str, Annotated[str, Field(json_schema_extra={"pattern": rules.PLAIN})] | int],
    Field(json_schema_extra={"propertyNames": {"pattern": rules.KEY}, "maxProperties": rules.MOST_FIELDS}),
]


class NewConnection(Body):
    """An outside system: which, where, with what access, backed by which secret, and why."""

    provider: str = Field(min_length=1, max_length=60, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    name: Name = Field(min_length=1, max_length=120)
    host: str = Field(min_length=1, max_length=253, json_schema_extra={"pattern": HOST})
    port: int = Field(443, ge=1, le=65535)
    access: str = Field(min_length=1, max_length=400)
    secret_id: str | None = Field(None, max_length=80)
    metadata: Metadata = Field(default_factory=dict)
    why: str = Field("", max_length=1000)


class Connection(Answer):
    """An outside system, and the secret behind it by its name."""

    id: str
    workspace_id: str
    provider: str
    name: str
    host: str
    port: int
    access: str
    why: str
    secret_id: str | None
    metadata: dict[str, str | int]
    state: Literal["awaiting_approval", "active", "expired", "broken", "revoked", "rejected"]
    reason: str
    since: datetime
    approval_id: str | None
    created_by: str
    created_at: datetime
    secret: str | None


class EndedConnection(Connection):
    """A connection that was ended; `stopped` are the attachments that could use it."""

    stopped: list[str]
