"""What the API gives for workflows and tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.kernel.http import Answer


class SavedWorkflow(Answer):
    """The version that was saved; `created` is false where the same document was there already."""

    definition_id: str
    name: str
    version: int
    digest: str
    created: bool


class WorkflowVersion(Answer):
    """A version of a workflow definition, without its document."""

    id: str
    name: str
    version: int
    digest: str
    description: str | None
    steps: int
    created_by: str
    created_at: datetime


class Workflow(Answer):
    """A version of a workflow definition with its document."""

    id: str
    workspace_id: str
    name: str
    version: int
    definition: dict[str, Any]
    digest: str
    created_by: str
    created_at: datetime


class OpenWait(Answer):
    """What a task waits for now."""

    kind: str
    ref: str
    name: str
    since: datetime
    deadline: datetime | None


class Wait(OpenWait):
    """A typed wait of a task, past or present."""

    id: str
    task_id: str
    step_id: str
    cleared_at: datetime | None
    cleared_by: str | None


class ListedTask(Answer):
    """A task in a list, with what it waits for."""

    id: str
    title: str
    state: str
    reason: str
    since: datetime
    member_id: str
    originating_person: str | None
    segment: int
    attempt: int
    last_progress: datetime
    expected_seconds: int
    error: dict[str, Any] | None
    trace_id: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    lease_until: datetime | None
    workflow: str
    version: int
    waiting_on: list[OpenWait] | None


class Receipt(Answer):
    """A phase of a step that was recorded."""

    phase: str
    attempt_id: str
    at: datetime


class StepOfTask(Answer):
    """A step of a task."""

    id: str
    position: int
    name: str
    kind: str
    state: str
    reason: str
    since: datetime
    attempt: int
    idempotency_key: str
    invocation_id: str | None
    approval_id: str | None
    decision_id: str | None
    error: dict[str, Any] | None
    effect_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    has_result: bool
    receipts: list[Receipt]


class Task(Answer):
    """A task with its steps, waits, receipts and links."""

    id: str
    workspace_id: str
    definition_id: str
    title: str
    inputs: dict[str, Any]
    member_id: str
    originating_person: str | None
    state: str
    reason: str
    since: datetime
    segment: int
    attempt: int
    claimed_by: str | None
    lease_until: datetime | None
    next_try: datetime | None
    held_since: datetime | None
    begun_at: datetime | None
    last_progress: datetime
    expected_seconds: int
    error: dict[str, Any] | None
    trace_id: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    workflow: str
    version: int
    definition_digest: str
    steps: list[StepOfTask]
    waits: list[Wait]
    links: dict[str, str]
    ran_seconds: float
