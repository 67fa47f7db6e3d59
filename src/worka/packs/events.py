"""What can have happened in packs. None carries arguments, results or secrets."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

RELEASE_REGISTERED = "pack.release.registered"
"""A registration was asked for: the release is a draft."""
RELEASE_MOVED = "pack.release.moved"
"""A release reached its next state, or failed at a stage."""
ATTACHMENT_REQUESTED = "pack.attachment.requested"
ATTACHMENT_MOVED = "pack.attachment.moved"
ATTACHMENT_CREATED = "pack.attachment.created"
"""The attachment serves: mounts, uid and grants are in force."""
ATTACHMENT_HELD = "pack.attachment.held"
ATTACHMENT_DETACHED = "pack.attachment.detached"
INVOCATION_STARTED = "pack.invocation.started"
INVOCATION_FINISHED = "pack.invocation.finished"

ALL = (
    RELEASE_REGISTERED,
    RELEASE_MOVED,
    ATTACHMENT_REQUESTED,
    ATTACHMENT_MOVED,
    ATTACHMENT_CREATED,
    ATTACHMENT_HELD,
    ATTACHMENT_DETACHED,
    INVOCATION_STARTED,
    INVOCATION_FINISHED,
)


def release(kind: str, row: dict[str, Any], before: str | None, after: str, reason: str, **data: Any) -> Event:
    """A release's change of state."""
    return Event(
        type=kind,
        subject=row["id"],
        subject_name=f"{row['publisher']}.{row['name']} {row['version']}",
        before=None if before is None else {"state": before},
        after={"state": after, "reason": reason},
        data=data,
        lane="capability",
        workspace_id=row["workspace_id"],
    )


def attachment(
    kind: str,
    row: dict[str, Any],
    before: str | None,
    after: str,
    reason: str,
    cause: dict[str, Any] | None = None,
    **data: Any,
) -> Event:
    """An attachment's change of state."""
    return Event(
        type=kind,
        subject=row["id"],
        subject_name=row["pack"],
        before=None if before is None else {"state": before},
        after={"state": after, "reason": reason},
        cause=cause,
        data=data,
        lane="capability",
        workspace_id=row["workspace_id"],
    )


def invocation(kind: str, row: dict[str, Any], after: dict[str, Any] | None = None, **data: Any) -> Event:
    """The start or the end of an invocation; the cause is its task step, where it has one."""
    return Event(
        type=kind,
        subject=row["id"],
        subject_name=row["tool"],
        after=after,
        cause={"kind": "task", "id": row["task_id"]} if row.get("task_id") else None,
        data=data,
        lane="work",
        workspace_id=row["workspace_id"],
    )
