"""What the API takes and gives for proposals, and for what is declared and not used."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worka.kernel.http import Answer, Body

State = Literal["open", "accepted", "rejected", "superseded"]


class NewProposal(Body):
    """A proposal of exactly what a row was refused. `port`, `method` and `path` only where the row is a refused lookup of a name:
    of all others they are the refusal's own."""

    egress_id: str = Field(max_length=64)
    why: str = Field("", max_length=1000)
    port: Literal[80, 443] | None = None
    method: str | None = Field(None, min_length=1, max_length=20)
    path: str | None = Field(None, min_length=1, max_length=2000)
    again: bool = Field(False, description="although the same was rejected before")


class Narrowing(Body):
    """A proposal to take away what an attachment declares and did not use."""

    days: int = Field(30, ge=1, le=90)
    why: str = Field("", max_length=1000)
    again: bool = False


class OnProposal(Body):
    """A decision on a proposal."""

    decision: Literal["accept", "reject"]
    why: str = Field("", max_length=1000)


class EgressProposal(Answer):
    """What somebody proposes of what a pack reaches, who answers for it, and what became of it. `difference` is in the manifest's
    own terms ({add, remove, drop}), or of policy ({scope, part, add}); `became` says in words what holds now."""

    id: str
    workspace_id: str
    attachment_id: str
    pack: str
    release_id: str
    kind: Literal["widen", "narrow", "policy"]
    difference: dict[str, Any]
    words: str
    cause: str
    refused: list[str]
    times: int
    state: State
    reason: str
    since: datetime
    why: str
    owner_kind: str
    owner_id: str
    owner_name: str | None
    originating_person: str | None
    decided_by: str | None
    decided_by_name: str | None
    decided_why: str
    became: str
    made_release: str | None
    version: str | None
    release_state: str | None
    move_id: str | None
    move_state: str | None
    change_id: str | None
    change_state: str | None
    policy_version: int | None
    approval_id: str | None
    created_at: datetime
    last_at: datetime


class UnusedThing(Answer):
    """Something that is declared and was not used."""

    what: Literal["destination", "port", "method", "path", "websocket", "connection", "tool", "secret"]
    name: str
    id: str
    words: str


class Unused(Answer):
    """What an attachment declares and did not use, with the difference ready: of the manifest (`manifest` is the whole of it),
    of policy for its tools (`policy`), and the commands that take grants back. `whole`: it is attached for longer than that."""

    attachment_id: str
    pack: str
    release_id: str
    version: str
    days: int
    since: datetime
    whole: bool
    items: list[UnusedThing]
    difference: dict[str, Any]
    words: str
    manifest: dict[str, Any] | None
    policy: str
    commands: list[str]
    sentence: str
