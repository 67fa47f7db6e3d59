"""API shapes of approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worka.kernel.http import Answer, Body

ApprovalState = Literal["open", "approved", "rejected", "expired", "withdrawn", "superseded"]


class NewDecision(Body):
    """Consent or refusal to exactly what has this digest."""

    decision: Literal["approve", "reject"]
    digest: str = Field(min_length=1, max_length=128)
    comment: str = Field("", max_length=4000)


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
    decision: Literal["approve", "reject"]
    comment: str
    at: datetime


class Eligibility(Answer):
    """Whether the reader may decide it, and why."""

    eligible: bool
    because: str
    verb: str | None


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


class Card(Approval):
    """An approval with the exact arguments, for those who may see them."""

    arguments: Any
    arguments_hidden: str
