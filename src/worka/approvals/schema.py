"""API shapes of approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from worka.approvals.seats import GROUP
from worka.identity.schema import Code
from worka.kernel.http import Answer, Body

PersonId = Annotated[str, Field(min_length=1, max_length=64)]
Moment = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
GroupName = Annotated[str, Field(max_length=40, pattern=GROUP)]
ApprovalState = Literal["open", "approved", "rejected", "expired", "withdrawn", "superseded"]


class NewDecision(Body):
    """Consent or refusal to exactly what has this digest."""

    decision: Literal["approve", "reject"]
    digest: str = Field(min_length=1, max_length=128)
    comment: str = Field("", max_length=4000)
    on_behalf_of: PersonId | None = Field(
        None, description="the person who delegated it; default: where a yes is needed"
    )
    code: Code = Field("", description="a code of the second factor, where the rule wants one just now")


class BatchItem(Body):
    """One decision of many: approve, reject (a veto of this one alone) or skip."""

    approval_id: str = Field(min_length=1, max_length=64)
    decision: Literal["approve", "reject", "skip"]
    digest: str = Field(min_length=1, max_length=128)
    comment: str = Field("", max_length=4000)
    on_behalf_of: PersonId | None = None


class NewBatch(Body):
    """Decisions, each bound to its digest and decided by itself."""

    items: list[BatchItem] = Field(min_length=1, max_length=100)
    code: Code = Field("", description="a code of the second factor, once for all of them")


class NewGroup(Body):
    """A group that approval rules name as group:NAME."""

    name: GroupName
    purpose: str = Field("", max_length=400)
    members: list[PersonId] = Field(default_factory=list, max_length=200)


class ChangedGroup(Body):
    """What changes; absent fields stay."""

    purpose: str | None = Field(None, max_length=400)
    add: list[PersonId] = Field(default_factory=list, max_length=200)
    remove: list[PersonId] = Field(default_factory=list, max_length=200)


class NewDelegation(Body):
    """Who decides in the caller's place, until when, and for which seats: all, or those of one group."""

    to: PersonId
    until: Moment
    scope: GroupName = "all"
    dry_run: bool = False


class NewBypass(Body):
    """A boundary or a tool whose approvals are let through, why, until when, and how often at most."""

    kind: Literal["boundary", "tool"]
    target: str = Field(min_length=1, max_length=200)
    why: str = Field(min_length=1, max_length=1000)
    until: Moment
    most_uses: int = Field(ge=1, le=10_000)
    dry_run: bool = False


class Timing(Body):
    """When approvals remind, escalate and expire, whole: what is null or absent is the deployment's."""

    expires_minutes: int | None = Field(None, ge=1, le=525_600)
    remind_minutes: int | None = Field(None, ge=0, le=525_600)
    remind_times: int | None = Field(None, ge=0, le=100)
    escalate_minutes: int | None = Field(None, ge=0, le=525_600)
    escalate_to: GroupName | None = None
    blanket_seconds: int | None = Field(None, ge=0, le=3600)


class Who(Answer):
    """A principal by its name."""

    kind: str
    id: str
    name: str


class Subject(Answer):
    """What an approval is about."""

    type: str
    id: str


class Vote(Answer):
    """One person's decision."""

    person: Who
    on_behalf_of: Who | None
    decision: Literal["approve", "reject"]
    comment: str
    at: datetime
    stepped_up_at: datetime | None
    stepped_up_by: str | None


class Eligibility(Answer):
    """Whether the reader may decide it, and why."""

    eligible: bool
    because: str
    verb: str | None
    on_behalf_of: Who | None
    needed: bool
    step_up: bool
    lacks_factor: bool
    """The rule wants a second factor and the reader has none: they may decide it once they have set one up."""


class Approval(Answer):
    """An approval: what it is about, what it blocks, who has decided and who could."""

    id: str
    workspace_id: str
    state: ApprovalState
    reason: str
    since: datetime
    verb: Literal["confirm", "approve"]
    boundary: str
    action: str
    title: str
    effect: str
    digest: str
    rules: list[str]
    quorum: int
    decision_id: str
    policy_version: str
    card: dict[str, Any]
    blocks: list[dict[str, Any]]
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    consumed_at: datetime | None
    consumed_by: str | None
    trace_id: str
    subject: Subject
    requester: Who | None
    originating_person: Who | None
    votes: list[Vote]
    missing: list[Any]
    eligibility: Eligibility
    who_could: list[str]
    absent_groups: list[str]
    due_at: datetime | None
    reminders: int
    escalated_at: datetime | None
    escalated_to: str | None
    bypass_id: str | None
    moved: dict[str, Any] | None
    """What policy says now, where that is not what it asks for: {verdict, rules, policy_version, by, because}."""
    led_by: list[str]
    """The people who recorded where a credential of it would go: they do not decide it, and no bypass lets it through."""


class Card(Approval):
    """An approval with the exact arguments, for those who may see them; `superseded_by`: which one took its place."""

    superseded_by: str | None
    arguments: Any
    arguments_hidden: str


class Trouble(Answer):
    """Why one of many was refused."""

    code: str
    title: str
    detail: str
    remedy: str


class Result(Answer):
    """What came of one of many decisions."""

    approval_id: str
    decision: Literal["approve", "reject", "skip"]
    result: Literal["decided", "already", "skipped", "refused"]
    state: ApprovalState | None
    problem: Trouble | None


class Batch(Answer):
    """What came of each, in the order of the request, and how many of each kind."""

    results: list[Result]
    decided: int
    already: int
    skipped: int
    refused: int


class GroupMember(Answer):
    """A person of a group; `counts`: they may approve at all here, now."""

    id: str
    name: str
    counts: bool
    because: str


class Group(Answer):
    """A group that approval rules name."""

    id: str
    workspace_id: str
    name: str
    purpose: str
    created_by: str
    created_at: datetime
    members: list[GroupMember]


class TouchedApproval(Answer):
    """An open approval that would wait for other people: who could fill a seat of it that could not, and the other way
    round. `freed`: too few could decide it now, and enough then; `nobody`: too few could then."""

    id: str
    title: str
    gains: list[str]
    loses: list[str]
    freed: bool
    nobody: bool


class GroupPreview(Answer):
    """What it would do; nothing is done. `complete` is false where there are more open approvals than are looked at."""

    group_id: str | None
    name: str
    purpose: str
    deleted: bool
    joins: list[GroupMember]
    leaves: list[GroupMember]
    stays: list[GroupMember]
    approvals: list[TouchedApproval]
    complete: bool
    sentence: str


class Delegation(Answer):
    """Who decides in whose place, for what, until when. `id` is null where it was only tried."""

    id: str | None
    workspace_id: str
    scope: str
    until: datetime
    created_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    state: Literal["in_force", "ended", "over", "void"]
    from_: Who = Field(alias="from")
    to: Who


class Bypass(Answer):
    """What is let through, why, until when, and how often it was. `id` is null where it was only tried."""

    id: str | None
    workspace_id: str
    kind: Literal["boundary", "tool"]
    target: str
    why: str
    until: datetime
    most_uses: int
    uses: int
    state: Literal["awaiting_approval", "open", "closed"]
    reason: str
    since: datetime
    approval_id: str | None
    created_at: datetime
    closed_by: str | None
    opened_by: Who
    you_close: bool
    held: str = Field(description="why an open one lets nothing through now: its opener could not open it; else empty")


class OwnTiming(Answer):
    """What a workspace sets itself; null: the deployment's."""

    expires_minutes: int | None
    remind_minutes: int | None
    remind_times: int | None
    escalate_minutes: int | None
    escalate_to: str | None
    blanket_seconds: int | None


class HeldTiming(Answer):
    """What holds. 0: never."""

    expires_minutes: int
    remind_minutes: int
    remind_times: int
    escalate_minutes: int
    escalate_to: str
    blanket_seconds: int


class Settings(Answer):
    """When approvals of a workspace remind, escalate and expire."""

    workspace_id: str
    own: OwnTiming
    holds: HeldTiming
    updated_by: str | None
    updated_at: datetime | None


class Figures(Answer):
    """How some votes were given. Times are seconds from the asking to the vote."""

    votes: int
    approved: int
    rejected: int
    blanket: int
    never_opened: int
    in_batch: int
    median_seconds: float | None
    p90_seconds: float | None
    warning: str


class PersonFigures(Figures):
    """One person's."""

    id: str
    name: str


class RuleFigures(Figures):
    """Those under one rule."""

    rule: str


class Fatigue(Answer):
    """How everybody decided in a period. `complete` is false where there were more votes than are looked at."""

    workspace_id: str
    since: datetime
    until: datetime
    blanket_seconds: int
    complete: bool
    all: Figures
    people: list[PersonFigures]
    rules: list[RuleFigures]
