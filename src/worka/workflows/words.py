"""How a task's state is said in one sentence, and how long ago something was. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worka.kernel.clock import ago, clock
from worka.kernel.explanation import WaitingOn
from worka.kernel.reasons import get as reason_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Holder:
    """The worker that holds a task and gives no sign of life: since when, and how many others live."""

    seen_at: datetime
    living: int

    def told(self, at: datetime) -> str:
        """What became of it, and of what it held."""
        then = "and no worker is alive" if not self.living else "and another worker takes the task over"
        return f"its worker is down since {clock(self.seen_at, at)}, {then}"


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
    holder: Holder | None = None,
) -> str:
    """One sentence that a person understands. `member` is the team member's name, `usual` the p95 of the step, `holder`
    the worker of a task that stands still."""
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
            gone = holder or Holder(task["last_progress"], 0)
            return f"Stalled in {place}: {gone.told(at)}; no progress for {silence}."
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


def line(task: Row, state: str, reason: str, living: int) -> str:
    """Why a task is as it is in a few words, for lists: what is said about it after its title. `living`: how many workers
    are alive."""
    message = str((task.get("error") or {}).get("message") or "").partition("\n")[0]
    nobody = "" if living else ", and no worker is alive"
    known = reason_of(reason)
    if state == "stalled" and reason == "holder_silent":
        return (
            "its worker is down, and no worker is alive" if not living else "its worker is down; another takes it over"
        )
    if state == "stalled":
        return "no progress for longer than its step may take"
    if state == "waiting" and reason in CONNECTION:
        return CONNECTION[reason]
    if state == "waiting":
        return "waits for an approval"
    if state == "unknown":
        return "nobody knows whether its effect happened: look and decide"
    if reason == "queued_over_quota":
        return f"waits in line: as many tasks run as a limit allows{nobody}"
    if state == "queued":
        return f"waits for a worker{nobody}"
    if state == "retrying":
        after = f" after: {message.rstrip('.')}" if message else ""
        return f"is tried again{after}{nobody}"
    if state == "failed":
        return f"failed: {message or (known.meaning if known else reason.replace('_', ' '))}"
    return {"running": "runs a step", "succeeded": "all steps are done", "cancelled": "a person ended it"}.get(
        state, reason.replace("_", " ")
    )


CONNECTION = {
    "connection_missing": "waits for a connection that is not there",
    "connection_expired": "waits for a connection whose credential expired",
    "connection_broken": "waits for a connection that is broken",
}


def _and(waiting_on: list[WaitingOn]) -> str:
    told = []
    for wait in waiting_on:
        if wait.kind == "approval":
            told.append(f"approval “{wait.name}” from {' or '.join(wait.who) or 'nobody who is here now'}")
        else:
            told.append(wait.name if wait.kind in ("slot", "quota") else f"the {wait.kind} “{wait.name}”")
    return " and for ".join(told) or "something that nobody recorded"
