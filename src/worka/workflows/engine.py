"""A task's row against the engine's own record of its current segment: where they say different things, both are named
(OBS-2). Pure: the row is the truth for people, the engine's record decides whether anything will move it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from worka.workflows.model import ENDED

Row = dict[str, Any]
ACTIVE: Final = frozenset({"ENQUEUED", "PENDING", "DELAYED"})
SETTLED: Final = timedelta(seconds=3)
"""The two are written in different transactions: a difference younger than this is only one of them being first."""


def disagreement(task: Row, runs: list[Row], at: datetime) -> str:
    """A sentence that names both, or nothing. `runs`: the engine's runs of the task's current segment."""
    if at - max([task["since"], *(run["moved_at"] for run in runs)]) < SETTLED:
        return ""
    active = [run["status"] for run in runs if run["status"] in ACTIVE]
    if task["state"] in ("queued", "retrying", "running"):
        if active or task["next_try"] is not None:  # in a pause the engine has nothing yet
            return ""
        told = f"says {runs[-1]['status']}" if runs else "has no run of it"
        return f"The task says {task['state']}, the engine {told}."
    if not active:
        return ""
    if task["state"] == "cancelled" and at - task["since"] < timedelta(seconds=task["expected_seconds"]):
        # A call that was on its way is let finish: its outcome is kept on the invocation.
        return ""
    ended = "has ended" if task["state"] in ENDED else "rests"
    return f"The task says {task['state']} and {ended}, the engine says {active[-1]}."
