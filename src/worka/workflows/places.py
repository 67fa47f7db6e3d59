"""Where a queued task stands: the limit, who holds the places, and its position in line. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from worka.kernel.explanation import NextAction, WaitingOn

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


def wait(line: Line, since: datetime) -> WaitingOn:
    """What a queued or retrying task waits for."""
    if not line.workers:
        return WaitingOn(
            kind="slot",
            ref="worker",
            name="a worker: no worker is alive to take it",
            since=since,
            who=["the operator: `worka doctor` names what is down"],
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
