"""Where a queued task stands: the limit, who holds the places, and its position in line. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from worka.kernel.clock import clock
from worka.kernel.explanation import NextAction, WaitingOn
from worka.workflows.words import Holder

Row = dict[str, Any]
LIMIT: Final = "WORKA_WORKFLOWS__CONCURRENCY"


@dataclass(frozen=True)
class Line:
    """`workers`: those alive, with how many tasks each may run at once. `holders`: running tasks of this workspace;
    `running` counts those of everybody, `ahead` who is before this task."""

    workers: list[Row] = field(default_factory=list)
    ahead: int = 0
    running: int = 0
    holders: list[Row] = field(default_factory=list)
    silent: str = "worker"
    """The worker that was heard of last, when none is alive: what stands still waits for it."""

    @property
    def places(self) -> int:
        """How many tasks may run at once."""
        return sum(int(worker["detail"].get("places") or 1) for worker in self.workers)

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return bool(self.workers) and self.running >= self.places


def pause(task: dict[str, Any]) -> WaitingOn:
    """The pause of a retrying task before its next try."""
    return WaitingOn(
        kind="retry",
        ref=task["id"],
        name="the end of the pause before its next try",
        since=task["since"],
        deadline=task["next_try"],
        who=["a worker, by itself, once the pause is over"],
        because="It is tried again by itself.",
    )


def wait(line: Line, since: datetime, operator: bool) -> WaitingOn:
    """What a queued or retrying task waits for."""
    if not line.workers:
        return WaitingOn(
            kind="slot",
            ref=line.silent,
            name="a worker: no worker is alive to take it",
            since=since,
            who=[operators(operator)],
            because="Workers take tasks by themselves, once there is one.",
        )
    workers = f"{len(line.workers)} worker{'s' if len(line.workers) != 1 else ''}"
    if not line.full:
        return WaitingOn(
            kind="slot",
            ref="worker",
            name=f"one of {workers}, which take it at once; {line.ahead} before it",
            since=since,
            who=["the next free worker"],
            because="Workers take tasks by themselves.",
        )
    named = [f"“{holder['title']}” ({holder['id']})" for holder in line.holders]
    others = line.running - len(named)
    if others > 0:
        named.append(f"{others} more outside of this workspace" if named else f"{others} outside of this workspace")
    return WaitingOn(
        kind="slot",
        ref=LIMIT,
        name=f"a free place: all {line.places} of {workers} are taken ({LIMIT}), position {line.ahead + 1} in line",
        since=since,
        who=[f"held by {holder}" for holder in named],
        because="A place is free when one of these ends, waits for somebody, or is cancelled.",
    )


def stall(task: Row, reason: str, holder: Holder, operator: bool, at: datetime) -> WaitingOn:
    """What a task that stands still waits for, and whether somebody is there to clear it."""
    due = task["last_progress"] + timedelta(seconds=task["expected_seconds"])
    ref = task["claimed_by"] or "worker"
    if reason != "holder_silent":
        return WaitingOn(
            kind="slot",
            ref=ref,
            name="a sign of progress from the worker that holds it, which is alive",
            since=task["last_progress"],
            deadline=due,
            who=["the worker, when the step goes on", "who cancels the task"],
            because="A step cannot be pushed; a task can be cancelled.",
        )
    gone = clock(holder.seen_at, at)
    if holder.living:
        return WaitingOn(
            kind="slot",
            ref=ref,
            name=f"another worker, because the one that holds it is down since {gone}",
            since=holder.seen_at,
            deadline=due,
            who=[
                f"{'the living worker' if holder.living == 1 else f'one of {holder.living} living workers'}, by itself"
            ],
            because="Workers take tasks over by themselves, within seconds.",
        )
    return WaitingOn(
        kind="slot",
        ref=ref,
        name=f"a worker: the one that holds it is down since {gone}, and no other is alive to take it over",
        since=holder.seen_at,
        deadline=due,
        who=[operators(operator)],
        because="Workers take tasks over by themselves, once one is alive.",
    )


def operators(reader_is_one: bool) -> str:
    """Who starts a worker again."""
    return f"{'you, the operator' if reader_is_one else 'the operator'} of this deployment, on its machine"


def start_a_worker(line: Line, operator: bool) -> list[NextAction]:
    """What is done on the machine when no worker is alive. What was killed is started again by itself; what hangs is
    not."""
    if line.workers:
        return []
    because = "" if operator else "It needs an operator of this deployment."
    return [
        NextAction(label="See which part of Worka is down, and why", command="worka doctor"),
        NextAction(
            label="Start a worker that hangs anew, with all parts: work that waits goes on",
            command="worka down && worka up",
            permission="operator",
            allowed=operator,
            because=because,
        ),
    ]


def raise_limit(line: Line, operator: bool) -> list[NextAction]:
    """What can be done when every place is taken."""
    if not line.full:
        return []
    return [
        NextAction(
            label="Let more tasks run at once",
            command=f"{LIMIT}={line.places * 2} worka up",
            permission="operator",
            allowed=operator,
            because="" if operator else "It needs an operator of this deployment.",
        )
    ]
