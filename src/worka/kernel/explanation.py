"""The Explanation: the one object behind every "why" (spec/explanation.md). Console, CLI and API render this same object."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from worka.kernel import reasons
from worka.kernel.clock import now

Timing = Literal["before_start", "during", "after_completion"]
Scope = Literal["user", "workspace", "tenant", "platform"]
Certainty = Literal["observed", "inferred", "unknown"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WaitingOn(_Part):
    """One thing that is waited for."""

    kind: str
    ref: str
    name: str
    since: datetime
    deadline: datetime | None = None
    who: list[str] = Field(default_factory=list)
    """Who can clear it, in words (names, roles)."""
    you_can: bool = False
    because: str = ""
    """Why this reader can or cannot clear it."""


class LastError(_Part):
    """The last error that was met."""

    code: str
    message: str
    attempt: int = 1
    next_try: datetime | None = None
    output_ref: str | None = None


class Change(_Part):
    """A change in scope that precedes the onset."""

    at: datetime
    who: str
    what: str
    ref: str


class Evidence(_Part):
    """A link to what was observed."""

    kind: str
    ref: str
    label: str = ""


class NextAction(_Part):
    """What can be done, and whether this reader may."""

    label: str
    command: str
    permission: str = ""
    allowed: bool = True
    because: str = ""


class Leg(_Part):
    """One leg of the road of an invocation."""

    name: str
    state: Literal["ok", "failed", "not_reached", "unknown"]
    detail: str = ""
    ref: str | None = None


class Explanation(_Part):
    """Why something is as it is. `reason` is a registered code; `incident_class` follows from `layer`."""

    subject: str
    headline: str
    state: str
    reason: str
    since: datetime
    layer: str
    incident_class: str = ""
    timing: Timing = "during"
    scope: Scope = "workspace"
    waiting_on: list[WaitingOn] = Field(default_factory=list)
    last_error: LastError | None = None
    changed_just_before: list[Change] = Field(default_factory=list)
    evidence: list[Evidence] = Field(default_factory=list)
    next: list[NextAction] = Field(default_factory=list)
    road: list[Leg] = Field(default_factory=list)
    certainty: Certainty = "observed"
    observed_at: datetime = Field(default_factory=now)

    def model_post_init(self, _context: Any) -> None:
        if not self.incident_class:
            self.incident_class = reasons.INCIDENT_CLASS[self.layer]
