"""What the API takes and gives for the lifecycle of packs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worka.kernel.http import Answer, Body


class WithdrawalReason(Body):
    """The reason that a person gives: whoever is stopped by it reads it."""

    reason: str = Field(min_length=1, max_length=500)


class AdvisoryFeed(Body):
    """Known vulnerabilities, as OSV documents."""

    documents: list[dict[str, Any]] = Field(min_length=1, max_length=2000)


class NamedThing(Answer):
    """Something that an answer is about."""

    id: str
    name: str
    workspace_id: str


class ToldOfTool(Answer):
    """One question about a running tool with its answer: `key` is owner, source, release, attached, approved, may, users or
    breaks, in this order."""

    key: str
    question: str
    answer: str
    refs: list[NamedThing]


class Lineage(Answer):
    """A running tool, an attachment or an invocation, back to its source."""

    subject: str
    sentence: str
    tool: str | None
    source: dict[str, Any]
    build: dict[str, Any]
    release: dict[str, Any]
    attachment: dict[str, Any]
    approval: dict[str, Any] | None
    invocation: dict[str, Any] | None
    withdrawal: dict[str, Any] | None
    """What was taken away of it last, if anything: who, when, why."""
    answers: list[ToldOfTool]


class PackUser(Answer):
    """A workspace that uses a pack."""

    id: str
    workspace_id: str
    workspace: str | None
    state: str
    reason: str
    mode: str
    since: datetime
    release_id: str
    version: str
    release_state: str
    created_by: str
    created_at: datetime


class PlaceInUse(Answer):
    """A workspace."""

    id: str
    name: str


class BreaksWithout(Answer):
    """Something that breaks without the thing."""

    id: str
    name: str
    workspace_id: str
    state: str


class AttachmentInUse(Answer):
    """An attachment of it."""

    id: str
    pack: str
    workspace_id: str
    workspace: str | None
    state: str
    reason: str
    release_id: str
    version: str


class DestinationInReach(Answer):
    """Where it may go, or went: `used` requests in the last 30 days."""

    host: str
    port: int
    methods: list[str]
    declared: bool
    used: int
    last_at: datetime | None


class TouchedThings(Answer):
    """What hangs on a thing in the workspaces that the reader sees. `secrets`: the credentials that it may use, or of a
    destination those that are put on requests to it."""

    kind: Literal["release", "pack", "attachment", "destination", "secret"]
    subject: str
    name: str
    reaches: list[DestinationInReach]
    workspaces: list[PlaceInUse]
    attachments: list[AttachmentInUse]
    tasks: list[BreaksWithout]
    calls: list[BreaksWithout]
    workflows: list[BreaksWithout]
    views: list[BreaksWithout]
    connections: list[BreaksWithout]
    dependents: list[BreaksWithout]
    secrets: list[BreaksWithout]


class BlastRadius(TouchedThings):
    """The blast radius. `elsewhere` counts what lies in other workspaces, for who could take the thing away; else null."""

    sentence: str
    elsewhere: dict[str, int] | None


class WithdrawalReceipt(TouchedThings):
    """What a withdrawal touched, as it was in its commit."""

    releases: list[dict[str, Any]]
    moved: list[dict[str, Any]]


class Withdrawal(Answer):
    """Something that was taken away, or given back."""

    id: str
    workspace_id: str
    kind: Literal["release", "pack", "attachment"]
    subject: str
    name: str
    act: Literal["revoke", "quarantine", "lift", "detach"]
    why: str
    by_kind: str
    by_id: str
    by_name: str
    approval_id: str | None
    at: datetime
    sentence: str
    receipt: WithdrawalReceipt
    receipt_cut: bool
    """Whether more was touched than this reader sees."""


class QualityCheck(Answer):
    """One check of a release's quality."""

    name: str
    asks: str
    passed: bool
    faults: list[str]
    fix: str


class ReleaseGrade(Answer):
    """How good a release is, by checks that a machine makes."""

    release_id: str
    grade: Literal["A", "B", "C", "D", "-"]
    passed: int
    of: int
    checks: list[QualityCheck]
    sentence: str


class BillOfMaterials(Answer):
    """A CycloneDX 1.6 document. What stands in its parts is that format's."""

    schema_: str = Field(alias="$schema")
    bomFormat: Literal["CycloneDX"]
    specVersion: Literal["1.6"]
    serialNumber: str
    version: int
    metadata: dict[str, Any]
    components: list[dict[str, Any]]
    dependencies: list[dict[str, Any]]


class ReleaseGate(Answer):
    """A gate of a release: what it says, and who can clear it."""

    name: str
    state: Literal["satisfied", "waiting", "failed", "missing", "not_needed", "closed"]
    because: str
    ref: str | None
    who: list[str]
    you_can: bool
    since: datetime | None


class ReleaseGates(Answer):
    """The gates of a release in order, and which of them block it."""

    release_id: str
    name: str
    state: str
    gates: list[ReleaseGate]
    blocking: list[ReleaseGate]


class FailuresByReason(Answer):
    """What failed by one reason."""

    what: Literal["invocation", "release"]
    reason: str
    layer: str
    """The layer of a call; the stage of a registration."""
    count: int
    first_at: datetime | None
    last_at: datetime | None
    newest: str
    names: list[str]
    meaning: str


class FeedTakenIn(Answer):
    """What became of a feed."""

    read: int
    taken: int
    """Those that speak of packages that a pack can hold, and were new or newer."""
    checked: int
    hits: int
    proposals: int


class ReleasesChecked(Answer):
    """What a check of every release found."""

    checked: int
    hits: int
    proposals: int


class KnownVulnerability(Answer):
    """A known vulnerability that was handed in."""

    id: str
    summary: str
    severity: str
    modified: datetime
    withdrawn: bool
    imported_at: datetime
    packages: list[str]


class VulnerabilityFinding(Answer):
    """A known vulnerability that hits a release."""

    id: str
    workspace_id: str
    release_id: str
    name: str
    advisory_id: str
    package: str
    version: str
    summary: str
    severity: str
    state: Literal["open", "proposed", "quarantined", "kept", "gone"]
    approval_id: str | None
    since: datetime
    created_at: datetime
