"""API shapes of connections."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from worka.connections import catalogue, rules
from worka.kernel.http import Answer, Body, Name
from worka.treasury.rules import HOST

Metadata = Annotated[
    dict[str, Annotated[str, Field(json_schema_extra={"pattern": rules.PLAIN})] | int],
    Field(json_schema_extra={"propertyNames": {"pattern": rules.KEY}, "maxProperties": rules.MOST_FIELDS}),
]
ProviderName = Annotated[str, Field(min_length=1, max_length=60, pattern=catalogue.NAME)]
Kind = Literal["token", "oauth_code", "oauth_device", "oauth_client"]
State = Literal["awaiting_approval", "awaiting_consent", "active", "expired", "broken", "revoked", "rejected"]


class NewConnection(Body):
    """An outside system: which, where, with what access, backed by what, and why. With `kind` other than `token` the provider
    gives the credential; `own`: it is the caller's own account, for calls that are made for them."""

    provider: str = Field(min_length=1, max_length=60, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    name: Name = Field(min_length=1, max_length=120)
    host: str = Field("", max_length=253, json_schema_extra={"pattern": rf"^$|{HOST}"})
    port: int = Field(443, ge=1, le=65535)
    access: str = Field(min_length=1, max_length=400)
    secret_id: str | None = Field(None, max_length=80)
    metadata: Metadata = Field(default_factory=dict)
    why: str = Field("", max_length=1000)
    kind: Kind = "token"
    scopes: list[Annotated[str, Field(pattern=catalogue.SCOPE)]] | None = Field(None, max_length=40)
    own: bool = False


class Asker(Answer):
    """What needed the connection when it was asked for."""

    kind: str
    id: str
    name: str


class Met(Answer):
    """Why the last try at the provider came to nothing; `error` is the provider's own word."""

    code: str
    error: str
    detail: str
    at: str


class Account(Answer):
    """Whose account it is outside, as the provider says; empty where it cannot be asked."""

    id: str = ""
    name: str = ""


class Connection(Answer):
    """An outside system, and the secret behind it by its name. `person_id`: whose own account it is; null: the workspace's."""

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
    state: State
    reason: str
    since: datetime
    approval_id: str | None
    created_by: str
    created_at: datetime
    kind: Kind
    person_id: str | None
    client_id: str | None
    scopes: list[str]
    granted: list[str]
    account: Account
    asked_by: list[Asker]
    expires_at: datetime | None
    refresh_at: datetime | None
    refreshed_at: datetime | None
    problem: Met | None
    receipt: dict[str, Any] | None
    secret: str | None


class Answered(Connection):
    """A connection after a consent: `outcome` says what came of it, `said` what the provider said."""

    outcome: str
    said: str


class EndedConnection(Connection):
    """A connection that was ended, with its receipt; `stopped` are the attachments that could use it."""

    stopped: list[str]


class Standing(Answer):
    """Something that stands on a connection."""

    what: Literal["attachment", "call", "task"]
    id: str
    name: str
    state: str


class ConnectionReach(Answer):
    """What ending a connection would stop, and whether the provider can be told."""

    connection_id: str
    name: str
    state: str
    items: list[Standing]
    counts: dict[str, int]
    sentence: str
    provider: Literal["told_after", "cannot_be_told", "nothing_to_tell"]
    seen: str


class ScopeUse(Answer):
    """One scope: asked for, granted, and used in the last days; null: the catalogue cannot tell."""

    scope: str
    words: str
    asked: bool
    granted: bool
    used: bool | None
    last: datetime | None


class ConnectionCall(Answer):
    """A call that used a connection, and for whom."""

    invocation_id: str
    pack: str
    tool: str
    person: str
    state: str
    at: datetime
    requests: int


class ConnectionUses(Answer):
    """What a connection was used for: its scopes, and the last calls."""

    connection_id: str
    days: int
    requests: int
    scopes: list[ScopeUse]
    calls: list[ConnectionCall]


class NewEnd(Body):
    """Why it is ended; the receipt has it."""

    why: str = Field("", max_length=400)


class NewConsent(Body):
    """How the person is to consent: `code` with a browser, `device` by typing a code in elsewhere."""

    how: Literal["code", "device"] = "code"


class Consent(Answer):
    """A consent that began: where to go, and what will be agreed to there."""

    flow_id: str
    connection_id: str
    workspace_id: str
    provider: str
    words: str
    kind: Literal["code", "device"]
    url: str
    user_code: str
    verification_uri: str
    redirect_uri: str
    scopes: dict[str, str]
    access: str
    why: str
    host: str
    expires_at: datetime


class ConsentAnswer(Body):
    """What the provider sent the person back with, word for word."""

    state: str = Field(min_length=1, max_length=400)
    code: str = Field("", max_length=4000)
    iss: str | None = Field(None, max_length=400)
    error: str = Field("", max_length=200)


class Renewed(Answer):
    """What came of a renewal; only `renewed` is one."""

    outcome: str
    connection: Connection


class Provider(Answer):
    """An outside system of the catalogue, as this workspace may connect it."""

    name: str
    words: str
    kinds: list[Kind]
    hosts: list[str]
    scopes: dict[str, str]
    metadata: dict[str, str]
    docs: str
    origin: Literal["shipped", "operator"]
    allowed: bool
    because: str
    client_id: str | None


class NewClient(Body):
    """What the workspace is registered as at a provider. The secret is kept in the treasury and never shown."""

    provider: ProviderName
    client_id: str = Field(min_length=1, max_length=400)
    secret: SecretStr | None = Field(None, max_length=4000)
    metadata: Metadata = Field(default_factory=dict)


class ProviderClient(Answer):
    """A client at a provider; its secret lies in the treasury."""

    id: str
    workspace_id: str
    provider: str
    client_id: str
    metadata: dict[str, str | int]
    created_by: str
    created_at: datetime
    secret_id: str | None


class NeedAttachment(Answer):
    """An attachment that needs it."""

    id: str
    pack: str
    state: str


class NeedTask(Answer):
    """A task that waits for it."""

    id: str
    title: str
    step: str
    since: datetime


class NeedConnection(Answer):
    """A connection that is there for it, in whatever state."""

    id: str
    name: str
    state: str
    person_id: str | None


class Need(Answer):
    """A provider and endpoint that something here needs. `reason`: why it blocks; empty: it does not."""

    provider: str
    words: str
    kinds: list[Kind]
    endpoint: str
    access: str
    scopes: list[str]
    required: bool
    attachments: list[NeedAttachment]
    tasks: list[NeedTask]
    connections: list[NeedConnection]
    reason: Literal["", "connection_missing", "connection_expired", "connection_broken"]
    allowed: bool
    because: str


class NewRestriction(Body):
    """Which outside systems a tenant may connect; null: no restriction."""

    tenant_id: str = Field(min_length=1, max_length=60)
    providers: list[ProviderName] | None = Field(max_length=200)
    reason: str = Field(min_length=1, max_length=400)


class Connected(Answer):
    """How many connections of a provider there are; `allowed`: whether more could be made."""

    provider: str
    count: int
    allowed: bool


class Restriction(Answer):
    """What a tenant may connect, who says so, and what it has connected already, which stays."""

    tenant_id: str
    deployment: list[str] | None
    providers: list[str] | None
    reason: str
    set_by: str
    connected: list[Connected]
