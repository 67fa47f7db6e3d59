"""API shapes of observability."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worka.kernel.http import Answer


class Named(Answer):
    """A thing by its name."""

    id: str | None
    name: str | None


class Actor(Answer):
    """Who did it."""

    kind: str
    id: str
    name: str


class Committed(Answer):
    """What was committed: who, for whom, what, before, after, and why."""

    id: int
    xid: str
    cursor: str
    at: datetime
    type: str
    lane: str
    sentence: str
    diff: str
    subject: Named
    actor: Actor
    on_behalf_of: Named | None
    in_the_place_of: Named | None = Field(description="Whose seat a delegate's vote took.")
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    cause: dict[str, Any] | None
    data: dict[str, Any]
    trace_id: str


class Item(Answer):
    """Something that needs somebody. `mine`: this reader can clear it."""

    kind: str
    ref: str
    title: str
    state: str
    reason: str
    since: datetime | None
    headline: str
    mine: bool


class Attention(Answer):
    """What needs the reader now."""

    items: list[Item]
    counts: dict[str, int]
    observed_at: datetime


class Chain(Answer):
    """The chain from request to effect and audit."""

    from_: str | None = Field(alias="from")
    root: str | None
    trace_id: str | None
    complete: bool
    missing: list[Any]
    links: list[dict[str, Any]]


class UsedDestination(Answer):
    """Where requests went, and whether the list would let them; `item` is what to add to it."""

    host: str
    port: int
    address: str | None
    kind: Literal["packs", "platform"]
    tenants: int
    requests: int
    last_at: datetime
    permitted: bool
    item: str


class ConfiguredDestination(Answer):
    """What the settings name."""

    what: str
    host: str
    port: int
    permitted: bool


class NetworkNeeded(Answer):
    """What the deployment dialled and names, against its air gap or a list that is only tried."""

    air_gapped: bool
    allowed: list[str]
    since: datetime
    items: list[UsedDestination]
    configured: list[ConfiguredDestination]
    complete: bool
