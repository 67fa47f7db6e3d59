"""What the API takes and gives for the ledger's readers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from worka.broker.records.model import Outcome
from worka.broker.schema import Egress
from worka.kernel.http import Answer, Body

Host = Annotated[str, Field(min_length=1, max_length=253)]


class EgressRow(Egress):
    """A row with what stands behind it. `outcome` keeps apart what was refused here and what the outside answered or did not:
    an error of the outside is never a denial."""

    workspace: str | None
    outcome: Outcome
    pack: str | None = Field(description="null: one of the platform's own calls")
    attachment_state: str | None
    release_id: str | None
    version: str | None
    tool: str | None
    side_effect: str | None
    initiator_kind: str | None
    initiator_id: str | None
    initiator_name: str | None
    originating_person: str | None
    originating_name: str | None
    provider: str | None
    connection_name: str | None
    secret_id: str | None = Field(description="whose value was put on the wire; the value stands nowhere")
    secret_name: str | None


class EgressRows(Answer):
    """A page of rows, newest first. `everywhere`: of every workspace of the tenant in which you may read them; `unseen` counts
    the workspaces in which you may not."""

    items: list[EgressRow]
    next: str | None
    unseen: int = 0


class EgressCount(Answer):
    """Rows counted by one thing: `refused` here, and `upstream` errors, are two numbers."""

    key: str
    name: str
    rows: int
    requests: int
    refused: int
    upstream: int
    bytes_out: int
    bytes_in: int
    first_at: datetime
    last_at: datetime


class EgressCounts(Answer):
    """The ledger counted, most requests first. `more`: there are further keys, with fewer requests; ask with a filter."""

    by: str
    items: list[EgressCount]
    more: bool
    unseen: int


class BackingConnection(Answer):
    """The account behind requests to a destination. `granted`: its secret may be used by this attachment there."""

    id: str | None
    provider: str
    name: str | None
    state: str
    required: bool
    owner_id: str | None
    owner_name: str | None
    secret_id: str | None
    secret_name: str | None
    granted: bool
    placed: str = Field(description="where on the request: `header Authorization`; never the value")


class Reachable(Answer):
    """One destination that one attached pack may reach, by one rule of its release. `methods` and `paths` empty: what the
    tool's class allows, and every path. `stopped`: what keeps all of it from passing now, in words."""

    host: str
    ports: list[int]
    methods: list[str]
    paths: list[str]
    rule: str
    unread: bool = Field(description="TLS whose content nobody sees here")
    attachment_id: str
    attachment_state: str
    workspace_id: str
    workspace: str | None
    pack: str
    release_id: str
    version: str
    attached_by: str
    attached_by_name: str | None
    since: datetime
    connections: list[BackingConnection]
    exceptions: list[str]
    policy: list[str]
    stopped: list[str]
    requests: int
    first_at: datetime | None
    last_at: datetime | None


class ReachableList(Answer):
    """Every destination that attached packs may reach, before any call was made; complete. `days`: how far back use is counted."""

    items: list[Reachable]
    days: int
    unseen: int


class CredentialUse(Answer):
    """What one attachment sent to a destination, under one rule and with one credential (or none)."""

    host: str
    port: int
    attachment_id: str
    workspace_id: str
    pack: str | None
    rule: str | None
    connection_id: str | None
    connection_name: str | None
    secret_id: str | None
    secret_name: str | None
    owner_name: str | None
    requests: int
    refused: int
    methods: list[str]
    first_at: datetime
    last_at: datetime


class OnBehalf(Answer):
    """Somebody on whose behalf it was reached."""

    id: str | None
    kind: str | None
    name: str | None
    requests: int
    last_at: datetime


class EgressDestination(Answer):
    """A destination from every side: who may reach it, who did, with whose credential, under which rule, since when."""

    host: str
    port: int
    sentence: str
    allowed: list[Reachable]
    used: list[CredentialUse]
    people: list[OnBehalf]
    counts: list[EgressCount] = Field(description="by outcome")
    kills: list[dict[str, Any]]
    days: int
    unseen: int


class TriedRequest(Body):
    """A request that is not made. Without `tool` it is asked for the widest class of the pack's tools. `websocket`: whether it
    asks to become one. `resolve`: whether the broker looks the name up, as it would."""

    attachment_id: str = Field(max_length=64)
    host: Host
    port: Literal[80, 443] = 443
    method: str = Field("GET", min_length=1, max_length=20)
    path: str = Field("/", min_length=1, max_length=4000)
    tool: str | None = Field(None, max_length=200)
    websocket: bool = False
    resolve: bool = True


class TriedStep(Answer):
    """One thing that was looked at, in the order in which the broker looks."""

    name: Literal["host", "stopped", "rules", "policy", "connection", "addresses", "credential"]
    state: Literal["ok", "failed", "not_reached", "unknown"]
    detail: str
    ref: str | None = None


class TriedAddress(Answer):
    """An address of the name, and why it may not be dialled."""

    address: str
    refused: str | None


class Tried(Answer):
    """What would become of the request. Nothing was sent, and no row was written."""

    verdict: Literal["allowed", "denied"]
    reason: str
    sentence: str
    remedy: str
    rule: str | None
    side_effect: str
    release_id: str
    version: str
    pack: str
    steps: list[TriedStep]
    credential: BackingConnection | None
    addresses: list[TriedAddress]
    exception_id: str | None
    proposal: dict[str, Any]


Items = Annotated[list[Any], Field(max_length=500)]


class Replayed(Body):
    """Rules that are only tried on the record: `outbound` (items of a manifest) in the place of a release's (of one attachment, or of a
    pack's everywhere you may look), or `policy` in the place of the tenant's or the workspace's."""

    outbound: Items | None = None
    attachment_id: str | None = Field(None, max_length=64)
    pack: str | None = Field(None, max_length=200)
    policy: dict[str, Any] | None = None
    scope: Literal["tenant", "workspace"] = "workspace"


class ReplayedRow(Answer):
    """A row whose requests the rules would decide otherwise than they are decided `today`; `earlier`: rules that changed since
    did that, not these. `certain` false: the row counts several requests and keeps the path of the last one alone. `missing`:
    why it cannot be said at all."""

    egress_id: str
    at: datetime
    workspace_id: str
    attachment_id: str
    pack: str | None
    invocation_id: str | None
    host: str
    port: int
    kind: str
    method: str | None
    path: str | None
    count: int
    from_: Literal["allowed", "denied"] = Field(alias="from", serialization_alias="from")
    from_reason: str
    today: Literal["allowed", "denied"] | None
    today_rule: str | None
    to: Literal["allowed", "denied"] | None
    to_reason: str | None
    to_rule: str | None
    earlier: bool
    certain: bool
    missing: str | None


class ReplayPage(Answer):
    """A page of a replay: `scanned` rows of the window were decided again, all others are on other pages."""

    items: list[ReplayedRow]
    scanned: int
    requests: int
    counts: dict[str, int]
    unreconstructed: int
    since: datetime
    until: datetime
    sentence: str
    next: str | None
