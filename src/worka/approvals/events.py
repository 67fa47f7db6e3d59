"""What can have happened to an approval. No arguments in any of them: those are sealed in the approval."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event


def requested(row: dict[str, Any]) -> Event:
    """approval.requested: something waits for a person."""
    after = {"state": "open", "boundary": row["boundary"], "digest": row["digest"], "rules": row["rules"]}
    return _event("approval.requested", row, after=after, cause={"kind": "decision", "id": row["decision_id"]})


def voted(row: dict[str, Any], decision: str, missing: list[str]) -> Event:
    """approval.vote.recorded: one of those who may decide has; more are needed."""
    return _event("approval.vote.recorded", row, data={"decision": decision, "missing": missing})


def closed(row: dict[str, Any], before: str) -> Event:
    """approval.<state>: approved, rejected, expired, withdrawn or superseded."""
    return _event(
        f"approval.{row['state']}",
        row,
        before={"state": before},
        after={"state": row["state"], "reason": row["reason"]},
    )


def used(row: dict[str, Any]) -> Event:
    """approval.used: the approved action was begun, once."""
    return _event("approval.used", row, after={"used_by": row["consumed_by"]})


def refused(row: dict[str, Any], because: str) -> Event:
    """approval.decision.refused: somebody tried to decide who may not."""
    return _event("approval.decision.refused", row, data={"because": because})


def _event(kind: str, row: dict[str, Any], **fields: Any) -> Event:
    return Event(kind, row["id"], row["title"], lane="policy", workspace_id=row["workspace_id"], **fields)
