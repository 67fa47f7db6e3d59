"""How a task's state is said in one sentence, and how long ago something was. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.kernel.explanation import WaitingOn
from worka.kernel.reasons import get as reason_of

Row = dict[str, Any]


def ago(seconds: float) -> str:
    """A duration as people say it: `5 s`, `12 min`, `3 h`, `2 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def headline(
    task: Row,
    state: str,
    reason: str,
    step: Row | None,
    steps: list[Row],
    waiting_on: list[WaitingOn],
    member: str,
    usual: float | None,
    at: datetime,
) -> str:
    """One sentence that a person understands. `member` is the team member's name, `usual` the p95 of the step."""
    lasting = ago((at - task["since"]).total_seconds())
    place = f"step {step['position']} of {len(steps)}, {step['name']}" if step else "no step"
    message = str((task["error"] or {}).get("message") or "").partition("\n")[0].rstrip(".")
    failed_step = str((task["error"] or {}).get("step") or (step["name"] if step else ""))
    if state == "waiting":
        return f"Waiting {lasting} for {_and(waiting_on)} ({place})."
    if state == "running":
        window = f"; it usually takes up to {ago(usual)}" if usual else f"; it may take {ago(task['expected_seconds'])}"
        return f"Running {place} for {ago((at - task['last_progress']).total_seconds())}{window}."
    if state == "stalled":
        silence = ago((at - task["last_progress"]).total_seconds())
        if reason == "holder_silent":
            return f"Stalled in {place}: the worker that holds it is silent, no progress for {silence}."
        return f"Stalled in {place}: no progress for {silence}, {ago(task['expected_seconds'])} were expected."
    if state == "queued":
        return f"Queued for {lasting}: waits for {_and(waiting_on)}."
    if state == "retrying":
        cause = f" after “{message}”" if message else ""
        return f"Retrying {place}{cause}: waits for {_and(waiting_on)}."
    if state == "unknown":
        return f"Nobody knows whether {failed_step} had its effect: a person has to look and decide ({place})."
    if state == "succeeded":
        took = ago((task["ended_at"] - task["created_at"]).total_seconds())
        return f"Done: all {len(steps)} steps succeeded in {took}, by {member}."
    if state == "cancelled":
        return f"Cancelled by a person before it was done ({place})."
    known = reason_of(task["reason"])
    why = message or (known.meaning.rstrip(".") if known else task["reason"])
    return f"Failed in {place}: {why}."


def _and(waiting_on: list[WaitingOn]) -> str:
    told = []
    for wait in waiting_on:
        if wait.kind == "approval":
            told.append(f"approval “{wait.name}” from {' or '.join(wait.who) or 'nobody who is here now'}")
        else:
            told.append(wait.name if wait.kind == "slot" else f"the {wait.kind} “{wait.name}”")
    return " and for ".join(told) or "something that nobody recorded"
