"""What the API gives of network exceptions and upstream trust that wait for a second person."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from worka.kernel.http import Answer


class WayChange(Answer):
    """A network exception or a record of upstream trust for a name that a credential goes to: `open` while it waits for a second
    person, `recorded` as `made_id`, or `closed`. It holds nothing until it is recorded."""

    id: str
    workspace_id: str
    kind: Literal["network_exception", "upstream_trust"]
    name: str
    port: int
    leads_to: str = Field(description="the address and port behind the name; empty for upstream trust")
    authorities: list[str] = Field(description="whom it trusts: SHA-256 of each certificate")
    attachment_id: str = Field(description="for this attachment alone; empty: for all of the workspace")
    replaces: str | None = Field(description="the record in whose place it would stand")
    why: str
    credentials: list[str] = Field(description="what goes to this name, in words; never a value")
    words: str = Field(description="what it does, as whoever decides reads it")
    state: Literal["open", "recorded", "closed"]
    reason: str
    since: datetime
    approval_id: str | None
    made_id: str | None = Field(description="the exception or record that it became")
    proposed_by: str
    created_at: datetime
