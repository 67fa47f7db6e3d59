"""API shapes of governance."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worka.kernel.http import Answer, Body

Kind = Literal["governance", "access"]


class NewPolicy(Body):
    """A whole new text for the tenant's policy of a kind; an empty one goes back to the shipped floor alone."""

    kind: Kind
    text: str = Field(max_length=64_000)
    note: str = Field("", max_length=2000)


class PolicyVersion(Answer):
    """A version of a tenant's policy, without its text."""

    kind: Kind
    version: int
    note: str
    owner_person_id: str
    created_by: str
    created_at: datetime


class SavedPolicy(PolicyVersion):
    """The version that was saved."""


class PolicyText(Answer):
    """A version with its text and the shipped floor under it; version 0 is the floor alone."""

    kind: Kind
    version: int
    text: str
    note: str = ""
    owner_person_id: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    floor_version: str
    floor_text: str


class Acting(Answer):
    """The caller."""

    kind: str
    id: str
    name: str


class Access(Answer):
    """What the caller may do in a workspace."""

    principal: Acting
    role: str | None
    approver: bool
    permissions: dict[str, bool]
    also: list[str]
    actions: dict[str, bool]
    matrix: dict[str, Any]


class RuleText(Answer):
    """A rule that decided, with its text of that day."""

    rule: str
    text: str | None
    source: str


class Decision(Answer):
    """Why something was allowed, denied or asked about. The second half is for readers of evidence."""

    id: str
    verdict: Literal["allow", "deny", "ask"]
    action: str
    resource_type: str
    layer: str
    reasons: list[str]
    approval_rules: list[Any]
    remedy: str
    trace_id: str
    at: datetime
    reader: Literal["evidence", "concerned"]
    workspace_id: str | None = None
    principal_kind: str | None = None
    principal_id: str | None = None
    originating_person: str | None = None
    resource_id: str | None = None
    rules: list[str] | None = None
    access_version: str | None = None
    governance_version: str | None = None
    inputs: dict[str, Any] | None = None
    policy: list[RuleText] | None = None
    replay: dict[str, Any] | None = None
