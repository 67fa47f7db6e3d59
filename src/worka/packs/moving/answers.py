"""What the API takes and gives for differences, reviews, moves and held definitions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worka.kernel.http import Answer, Body
from worka.packs import schema
from worka.packs.answers import Attachment

Row = dict[str, Any]
Kind = Literal["asked", "followed", "back"]


class MoveTo(Body):
    """Body of POST /v1/attachments/{attachment_id}/moves. Without a release: the newest. `mounts`: name -> path of a git
    repository on this machine, for what the new release reads and the old one did not."""

    release_id: str | None = Field(default=None, max_length=64)
    mounts: dict[str, str] = Field(default_factory=dict)
    why: str = Field(default="", max_length=500)


class WhyMoved(Body):
    """A reason that a person gives; it stands in the changes and in the ledger."""

    why: str = Field(default="", max_length=500)


class AttachmentMode(Body):
    """Body of PUT /v1/attachments/{attachment_id}/mode."""

    mode: Literal["pinned", "tracking"]
    why: str = Field(default="", max_length=500)


class OnDefinition(Body):
    """Body of POST /v1/attachments/{attachment_id}/definitions. `pin`: of the definition that was looked at."""

    tool: str = Field(min_length=1, max_length=200)
    pin: str = Field(max_length=64)
    decision: Literal["accept", "refuse"]
    why: str = Field(default="", max_length=500)


class ReleaseChange(Answer):
    """One thing that differs between two releases."""

    area: str
    subject: str
    change: Literal["added", "removed", "changed"]
    # "class" is a word of Python; the field has its name in the answer.
    class_: Literal["widening", "narrowing", "neutral"] = Field(alias="class")
    words: str
    before: Any
    after: Any
    diff: str
    pinned: bool


class ReleaseSide(Answer):
    """A release, as one side of a difference."""

    id: str
    version: str
    digest: str | None


class ReleaseDifference(Answer):
    """What differs between two releases of a pack, the widening changes first."""

    pack: str
    from_: ReleaseSide = Field(alias="from")
    to: ReleaseSide
    widens: bool
    redefines: bool
    counts: dict[str, int]
    risk: dict[str, str]
    sentence: str
    changes: list[ReleaseChange]


class ListedMove(Answer):
    """A move in a list."""

    id: str
    workspace_id: str
    attachment_id: str
    pack: str
    kind: Kind
    from_release: str
    to_release: str
    from_version: str
    to_version: str
    state: str
    reason: str
    since: datetime
    widens: bool
    redefines: bool
    requester_kind: str
    requester_id: str
    originating_person: str | None
    approval_id: str | None
    decision_id: str | None
    error: dict[str, Any] | None
    why: str
    created_at: datetime
    ended_at: datetime | None


class MovedMount(Answer):
    """What a mount would bind, as a person chose it."""

    name: str
    source: str
    target: str
    mode: str
    revision: str | None = None
    commits: int | None = None


class AttachmentMove(ListedMove):
    """A move of an attachment to another release, with what differs."""

    difference: ReleaseDifference
    mounts: list[MovedMount]


class NewerRelease(Answer):
    """A release that can be attached."""

    id: str
    version: str
    digest: str | None
    created_at: datetime


class ReleaseBefore(Answer):
    """The release before the last move."""

    id: str
    version: str
    state: str


class AttachmentStanding(Answer):
    """Where an attachment stands: its release, the newer ones (newest first), the move under way, and the way back."""

    attachment: Attachment
    version: str
    newer: list[NewerRelease]
    move: ListedMove | None
    back: ReleaseBefore | None


class HeldDefinition(Answer):
    """A definition that differs from what was approved. `waits`: nobody has decided on it. `approved_pin`: the release's;
    accepted, it takes back what was decided."""

    tool: str
    diff: str
    waits: bool
    pin: str | None
    approved_pin: str | None
    definition: dict[str, Any] | None
    decision: Literal["accepted", "refused"] | None
    by: str | None
    why: str


class HeldDefinitions(Answer):
    """What differs in an attachment, complete."""

    attachment_id: str
    pack: str
    state: str
    items: list[HeldDefinition]


class AttachmentReview(Answer):
    """What a person looks at before a release is attached, and what it would meet. tests hold it to what is answered."""

    release: dict[str, Any]
    workspace_id: str
    risk: str
    grade: dict[str, Any]
    effect: str
    source: dict[str, Any]
    tools: list[dict[str, Any]]
    outbound: list[dict[str, Any]]
    host_services: list[str]
    connections: list[dict[str, Any]]
    mounts: list[dict[str, Any]]
    limits: dict[str, int]
    dependencies: list[dict[str, Any]]
    audience: dict[str, Any]
    update_policy: dict[str, str]
    approval: dict[str, Any]
    warnings: list[dict[str, str]]
    attached: dict[str, Any] | None
    difference: ReleaseDifference | None
    waits: list[dict[str, Any]]


class RecalledCall(Answer):
    """A call that was made, or refused (then `id` is the decision's), and what would have come of it: `would_be` is the tool
    that would have served it, None where there is none of that shape."""

    id: str
    tool: str
    state: str
    initiator_kind: str
    initiator_id: str
    at: datetime
    would_be: str | None
    verdict: Literal["served", "asked", "refused", "reshaped", "unknown"]
    because: str


class RecalledCalls(Answer):
    """A page of them, newest first, and how many of the page are what."""

    items: list[RecalledCall]
    counts: dict[str, int]
    sentence: str
    next: str | None


_HIDDEN = frozenset({"tenant_id", "runs", "difference", "mounts"})


def listed(row: Row) -> Row:
    """A move as a list shows it."""
    return {key: value for key, value in row.items() if key not in _HIDDEN}


def move(row: Row) -> Row:
    """A move as the API shows it; where a clone lies on our disk is nobody's business."""
    mounts = [{key: value for key, value in mount.items() if key != "clone"} for mount in row["mounts"]]
    return {**listed(row), "difference": row["difference"], "mounts": mounts}


def standing(found: Row) -> Row:
    """Where an attachment stands."""
    return {
        "attachment": schema.attachment(found["attachment"]),
        "version": found["release"]["version"],
        "newer": found["newer"],
        "move": listed(found["move"]) if found["move"] else None,
        "back": found["back"],
    }
