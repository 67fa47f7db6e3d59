"""States of tasks and steps, and what each non-terminal one may give as its reason (spec/explanation.md)."""

from __future__ import annotations

from worka.kernel.states import State, StateMachine, machine

_FAILED = (
    "step_failed",
    "step_refused",
    "definition_refused",
    "limit_reached",
    "approval_rejected",
    "approval_expired",
    "approval_withdrawn",
    "resolved_as_failed",
)

_CONNECTION = ("connection_missing", "connection_expired", "connection_broken")
"""What a step waits for that would have no account outside to act with."""

TASK = machine(
    StateMachine(
        name="task",
        states=[
            State("queued", reasons=("queued_waiting_for_worker", "queued_over_quota")),
            State("running", reasons=("running_step",)),
            State("waiting", reasons=("waiting_for_approval", *_CONNECTION)),
            State("retrying", reasons=("worker_lost", "retrying")),
            # Never stored: what a running task is called once it is silent for longer than its step may take, or once the
            # worker that holds it is.
            State("stalled", reasons=("stalled", "holder_silent")),
            State("unknown", reasons=("unknown_outcome",)),
            State("succeeded", terminal=True, reasons=("all_steps_done",)),
            State("failed", terminal=True, reasons=(*_FAILED, "given_up")),
            State("cancelled", terminal=True, reasons=("cancelled_by_person",)),
        ],
        transitions=[
            ("queued", "running"),
            ("queued", "queued"),
            ("queued", "retrying"),
            ("queued", "cancelled"),
            ("queued", "failed"),
            ("running", "waiting"),
            ("running", "retrying"),
            ("running", "unknown"),
            ("running", "running"),
            ("running", "succeeded"),
            ("running", "failed"),
            ("running", "cancelled"),
            ("retrying", "running"),
            ("retrying", "retrying"),
            ("retrying", "queued"),
            ("retrying", "cancelled"),
            ("retrying", "failed"),
            ("waiting", "queued"),
            ("waiting", "failed"),
            ("waiting", "cancelled"),
            ("running", "stalled"),
            ("stalled", "running"),
            ("stalled", "retrying"),
            ("stalled", "cancelled"),
            ("unknown", "queued"),
            ("unknown", "failed"),
            ("unknown", "cancelled"),
        ],
    )
)

STEP = machine(
    StateMachine(
        name="step",
        states=[
            State("queued", reasons=("not_reached", "queued_waiting_for_worker", "retrying")),
            State("running", reasons=("running_step",)),
            State("waiting", reasons=("waiting_for_approval", *_CONNECTION)),
            State("unknown", reasons=("unknown_outcome",)),
            State("succeeded", terminal=True, reasons=("step_done",)),
            State("failed", terminal=True, reasons=_FAILED),
            State("cancelled", terminal=True, reasons=("task_ended",)),
        ],
        transitions=[
            ("queued", "running"),
            ("queued", "waiting"),
            ("queued", "succeeded"),
            ("queued", "failed"),
            ("queued", "cancelled"),
            ("running", "running"),
            ("running", "succeeded"),
            ("running", "failed"),
            ("running", "waiting"),
            ("running", "queued"),
            ("running", "unknown"),
            ("running", "cancelled"),
            ("waiting", "queued"),
            ("waiting", "failed"),
            ("waiting", "cancelled"),
            ("unknown", "queued"),
            ("unknown", "succeeded"),
            ("unknown", "failed"),
            ("unknown", "cancelled"),
        ],
    )
)

ENDED = frozenset({"succeeded", "failed", "cancelled"})
