"""What the API gives for the registry."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worka.kernel.http import Answer

Visibility = Literal["private", "shared", "public"]


class Publication(Answer):
    """A publication of a release."""

    id: str
    workspace_id: str
    release_id: str
    artifact_id: str
    destination_id: str | None
    destination: str
    visibility: Visibility
    shared_with: list[str]
    state: str
    reason: str
    since: datetime
    attempt: int
    error: dict[str, Any] | None
    approval_id: str | None
    location: str | None
    created_by: str
    created_kind: str | None
    originating_person: str | None
    created_at: datetime
    signatures_there: list[str]
    signatures_tries: int
    signatures_next: datetime | None
    signatures_error: dict[str, Any] | None
    digest: str
    pack: str
    version: str


class Destination(Answer):
    """A registry that releases may be published to, where policy lets them."""

    id: str
    workspace_id: str
    name: str
    host: str
    port: int
    repository: str
    place: str
    credential: bool
    token_service: str
    blob_hosts: list[str]
    state: Literal["active", "removed"]
    created_by: str
    created_at: datetime


class NamedDestination(Destination):
    """A registry that was just named."""

    led: list[str] = Field(
        description="where it has a credential: what is recorded of where its names lead, and who vouches for them; a sentence a record"
    )


class PublisherKey(Answer):
    """A publisher's key: its public half, and the secret that the private one lies in."""

    id: str
    workspace_id: str
    publisher: str
    key_id: str
    public_key: str
    secret_id: str
    state: str
    created_by: str
    created_at: datetime


class ReleaseTrust(Answer):
    """What the trust root in force says of a release."""

    state: Literal["trusted", "untrusted", "unsigned"]
    reason: str
    sentence: str
    keys: list[str]


class ReleaseSignature(Answer):
    """An envelope about a release's artifact; `trusted`: its key counts."""

    id: str
    key_id: str
    digest: str
    envelope: dict[str, Any]
    created_by: str
    created_at: datetime
    trusted: bool


class ReleaseSignatures(Answer):
    """What is said of a release, and what it counts."""

    release_id: str
    digest: str | None
    trust: ReleaseTrust
    signatures: list[ReleaseSignature]


class ReleaseReview(Answer):
    """A person looked at an artifact."""

    id: str
    release_id: str
    digest: str
    note: str
    created_by: str
    created_at: datetime


class MarketTool(Answer):
    """A tool that a release offers."""

    name: str
    description: str
    side_effect: str


class MarketSource(Answer):
    """Where the source of a release is."""

    repository: str
    revision: str


class MarketRelease(Answer):
    """A release that this tenant may have: what for, whether it can be installed, who vouches, what it needs."""

    release_id: str
    listing_id: str | None
    pack: str
    version: str
    display_name: str
    purpose: str
    publisher: str
    own: bool
    visibility: Visibility
    state: Literal["listed", "withdrawn", "unlisted"]
    installable: bool
    because: str
    trust: ReleaseTrust
    reviewed: bool
    reviewed_by_publisher: bool
    digest: str | None
    dependencies: list[str]
    connections: list[str]
    reach: list[str]
    tools: list[MarketTool]
    license: str | None
    source: MarketSource
    since: datetime


class BuiltRelease(Answer):
    """What was built."""

    state: str
    digest: str | None
    packages: int


class ArtifactShown(Answer):
    """The artifact of a release."""

    id: str
    digest: str
    size: int
    layers: list[dict[str, Any]]
    created_at: datetime


class SignaturesThere(Answer):
    """How many of the signatures that are known here lie beside an artifact at a registry outside, and what became of those
    that do not: when they are brought next (none: not by itself), and why they were not yet."""

    there: int
    of: int
    next: datetime | None
    tries: int
    error: dict[str, Any] | None


class ArtifactImage(Answer):
    """Where an artifact lies. `signatures`: none for the deployment's own layout, which has them all."""

    location: str
    destination: str
    publication_id: str
    signatures: SignaturesThere | None


class SourceShown(Answer):
    """Where a release comes from, and what there was already that is like it."""

    origin: Literal["private", "trusted", "marketplace_shared", "marketplace_public", "forge"]
    repository: str
    revision: str
    contents: str
    taken_from: str
    similar: list[dict[str, Any]]


class InstallableRelease(Answer):
    """The newest release of a pack that can be attached."""

    release_id: str
    version: str


class InRegistry(Answer):
    """All that the registry knows of a release, in one answer."""

    release_id: str
    pack: str
    version: str
    built: BuiltRelease
    artifact: ArtifactShown | None
    images: list[ArtifactImage]
    source: SourceShown
    installable: InstallableRelease | None
    visibility: Visibility
    listing: Literal["listed", "withdrawn", "unlisted"]
    trust: ReleaseTrust
    signatures: list[ReleaseSignature]
    reviews: list[ReleaseReview]


class ListingState(Answer):
    """How a release is listed."""

    id: str
    release_id: str
    digest: str
    visibility: Visibility
    state: Literal["listed", "withdrawn"]
    why: str
    since: datetime


class ReportRow(Answer):
    """A row of a report: the artifact or publication, and what is to be said of it."""

    id: str
    release_id: str
    pack: str
    version: str
    digest: str
    visibility: Visibility
    created_at: datetime
    reason: str
    said: str


class EffectivePolicy(Answer):
    """The layers put together. Each list of destinations stands for a layer: a place must be in all of them."""

    visibility: Visibility
    most: Visibility
    image_destinations: list[list[str]]
    source_destinations: list[list[str]]
    approvers: list[str]
    require_signature: bool
    public_on_trial: bool


class RegistryLayer(Answer):
    """One layer, the widest first."""

    place: Literal["deployment", "tenant", "workspace"]
    version: int | None
    settings: dict[str, Any]


class RegistryPolicy(Answer):
    """What may be published where, and how widely."""

    effective: EffectivePolicy
    layers: list[RegistryLayer]
    on_trial: bool


class TrustedPublisher(Answer):
    """Which keys vouch for a publisher, and how many of them are needed."""

    keyids: list[str]
    threshold: int


class TrustRoot(Answer):
    """A trust root of the deployment."""

    version: int
    state: Literal["missing", "in_force", "expired"]
    expires: datetime | None
    publishers: dict[str, TrustedPublisher]
    document: dict[str, Any] | None
    created_at: datetime | None
