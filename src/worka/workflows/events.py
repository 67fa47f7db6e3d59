"""What can have happened in workflows. Names follow noun.noun.verbed; none carries arguments, inputs or results."""

from __future__ import annotations

SAVED = "workflow.definition.saved"
STARTED = "workflow.task.started"
CLAIMED = "workflow.task.claimed"
HELD = "workflow.task.held"
"""A limit leaves no place: the task waits in line."""
REOFFERED = "workflow.task.reoffered"
WAITING = "workflow.task.waiting"
RESUMED = "workflow.task.resumed"
UNKNOWN = "workflow.task.unknown"
RETRYING = "workflow.task.retrying"
FINISHED = "workflow.task.finished"
STEP_STARTED = "workflow.step.started"
STEP_FINISHED = "workflow.step.finished"
STEP_REFUSED = "workflow.step.refused"
"""A late outcome of a cancelled task: kept on the invocation, not on the task."""

ALL = (
    SAVED,
    STARTED,
    CLAIMED,
    HELD,
    REOFFERED,
    WAITING,
    RESUMED,
    UNKNOWN,
    RETRYING,
    FINISHED,
    STEP_STARTED,
    STEP_FINISHED,
    STEP_REFUSED,
)
