"""API shapes of the treasury. A value goes in and never comes out, but by a reading that a second person agreed to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from worka.kernel.http import Answer, Body
from worka.treasury.rules import ENDPOINT, MOST_CHARACTERS, MOST_OVERLAP_MINUTES

_NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"
Moment = Annotated[
    str,
    Field(max_length=40, json_schema_extra={"format": "date-time"}, description="when the outside system ends it"),
]
KindName = Literal[
    "api_token", "oauth_access", "oauth_refresh", "oauth_client", "password", "registry", "publication", "infrastructure",
    "other",
]  # fmt: skip
Days = Field(None, ge=1, le=3650, description="days after which it is to have a new value")


class NewSecret(Body):
    """A secret: what it is called, what it is for, its kind, and its value. Without a value the platform makes one, and nobody
    ever sees it."""

    name: str = Field(min_length=1, max_length=120, pattern=_NAME)
    purpose: str = Field("", max_length=400)
    kind: KindName = "api_token"
    value: SecretStr | None = Field(None, min_length=6, max_length=MOST_CHARACTERS)
    expires_at: Moment | None = None
    rotate_days: int | None = Days


class NewValue(Body):
    """The new value of a rotation; without one the platform makes it. Where the secret has grants, `grants` says whether they
    remain. `listed` is of the dependants that were seen: where they are others now, nothing is rotated."""

    value: SecretStr | None = Field(None, min_length=6, max_length=MOST_CHARACTERS)
    grants: Literal["keep", "end"] | None = None
    overlap_minutes: int = Field(
        0, ge=0, le=MOST_OVERLAP_MINUTES, description="how long the old value is valid beside the new one"
    )
    listed: str | None = Field(None, min_length=16, max_length=16)


class NewDates(Body):
    """When it ends and how often it is to be rotated; what is left out is no date."""

    expires_at: Moment | None = None
    rotate_days: int | None = Days


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
    """A secret without its value: what it is for, who may use it, when it ends."""

    id: str
    workspace_id: str
    name: str
    purpose: str
    kind: str
    binds: Literal["endpoint", "signing", "platform"]
    state: Literal["active", "rotating", "revoked", "destroyed"]
    reason: str
    version: int
    created_by: str
    created_at: datetime
    rotated_at: datetime | None
    expires_at: datetime | None
    rotate_days: int | None
    previous_version: int | None
    overlap_until: datetime | None
    due_at: datetime | None
    warning: Literal["", "soon", "due"]
    last_leased_at: datetime | None
    grants: list[Grant]
    connections: list[Backed]


class Dependant(Answer):
    """Something that stands on a secret."""

    what: Literal["connection", "attachment", "publisher_key", "call", "task"]
    id: str
    name: str
    state: str
    place: str
    uses: int


class Dependants(Answer):
    """What stands on a secret, before it is rotated or revoked. `listed` is the digest of the list."""

    secret_id: str
    name: str
    state: str
    items: list[Dependant]
    counts: dict[str, int]
    listed: str
    sentence: str


class RevokedSecret(Secret):
    """A secret that was ended; `stopped` are the attachments that could use it, `stopped_more` all that stood on it."""

    stopped: list[str]
    stopped_more: list[Dependant]


class SecretLease(Answer):
    """One use of a secret: who had it, when, for which call and endpoint. Never the value."""

    id: str
    workspace_id: str
    secret_id: str
    secret_version: int
    grant_id: str
    attachment_id: str
    invocation_id: str
    endpoint: str
    issued_at: datetime
    expires_at: datetime
    used_count: int
    last_used_at: datetime | None
    closed_at: datetime | None
    trace_id: str
    pack: str | None
    tool: str | None
    task_id: str | None
    initiator_kind: str | None
    initiator_id: str | None
    originating_person: str | None


class NewReading(Body):
    """Why a person has to see the value, and for how many minutes after the consent."""

    why: str = Field(min_length=1, max_length=400, pattern=r"\S")
    minutes: int = Field(10, ge=1, le=60)


class Reading(Answer):
    """The reading of one value by one person. Never the value."""

    id: str
    workspace_id: str
    secret_id: str
    why: str
    minutes: int
    until: datetime | None
    state: Literal["awaiting_approval", "open", "closed"]
    reason: str
    approval_id: str | None
    opened_by: str
    created_at: datetime
    since: datetime
    read_at: datetime | None


class ReadValue(Reading):
    """A value, once, to who asked for it and was agreed to."""

    value: str


class DataKey(Answer):
    """The tenant's data keys: the one in force, those that open what was sealed before, how many values wait to be sealed anew."""

    version: int
    versions: list[int]
    left: int
    destroyed: int


class DataKeyStep(DataKey):
    """A step of a rotation: ask again until `left` is 0."""

    begun: bool
    done: int


class Reach(Answer):
    """What would be gone for good with the tenant's data keys; `digest` is for who asks for it."""

    counts: dict[str, int]
    sentence: str
    digest: str


class NewDestruction(Body):
    """Why the tenant's data keys are to be destroyed, and the reach that was seen."""

    why: str = Field(min_length=1, max_length=400, pattern=r"\S")
    digest: str = Field(min_length=16, max_length=16)


class Destruction(Answer):
    """A destruction of the tenant's data keys, which another owner consents to."""

    id: str
    workspace_id: str
    why: str
    reach: dict[str, int]
    state: Literal["awaiting_approval", "closed"]
    reason: str
    approval_id: str | None
    asked_by: str
    created_at: datetime
    since: datetime


class Sealing(Body):
    """Whether the treasury is to be sealed, and why."""

    sealed: bool
    why: str = Field(min_length=1, max_length=400, pattern=r"\S")


class Treasury(Answer):
    """The treasury of the deployment: whether it is sealed, and by which master key it is kept. `left` keys of tenants are not
    yet under the newest one; of `lost` ones the master key does not lie here."""

    sealed: bool
    why: str
    by: str
    at: datetime | None
    master_key_id: str
    next_master_key_id: str | None
    under: int
    left: int
    lost: int
    tenants: int


class MasterKeyStep(Treasury):
    """A step of a rotation of the master key: ask again until it is finished. `root` is what an operator whose key comes from a
    setting puts behind the new one there."""

    done: int
    finished: bool
    root: str
