"""What can have happened in packs. None carries arguments, results or secrets."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

MOST_NAMED = 200
"""Calls that one event names; it counts all."""

RELEASE_REGISTERED = "pack.release.registered"
"""A registration was asked for: the release is a draft."""
RELEASE_MOVED = "pack.release.moved"
"""A release reached its next state, or failed at a stage."""
ATTACHMENT_REQUESTED = "pack.attachment.requested"
ATTACHMENT_MOVED = "pack.attachment.moved"
ATTACHMENT_CREATED = "pack.attachment.created"
"""The attachment serves: mounts, uid and grants are in force."""
ATTACHMENT_FOLLOWS = "pack.attachment.follows"
"""The attachment moves to newer releases by itself from now on."""
ATTACHMENT_HELD = "pack.attachment.held"
ATTACHMENT_PINNED = "pack.attachment.pinned"
"""The attachment stays on the release that it has."""
DEFINITION_ACCEPTED = "pack.definition.accepted"
"""A tool's changed definition serves from now on: what it was and is, by their hashes."""
DEFINITION_REFUSED = "pack.definition.refused"
"""A tool's changed definition was refused: the tool is off in this attachment."""
ATTACHMENT_DETACHED = "pack.attachment.detached"
WITHDRAWN = "pack.withdrawn"
"""A release, a pack or an attachment was taken away, or given back: the receipt holds what that touched."""
SESSIONS_ENDED = "pack.sessions.ended"
"""Sandboxes were ended because of a withdrawal or a kill switch: how many, and the calls that ended with them."""
ADVISORIES_IMPORTED = "pack.advisories.imported"
"""Known vulnerabilities were handed in."""
FINDING_MOVED = "pack.finding.moved"
"""A known vulnerability hits a release, or what was thought of that is decided."""
MOVE_CHANGED = "pack.move.changed"
"""A move to another release reached its next state, or its end."""
MOVE_PLANNED = "pack.move.planned"
"""A move to another release is under way: what differs is known."""
PROPOSAL_DECIDED = "pack.proposal.decided"
"""A proposal to widen or narrow what a pack reaches was accepted, rejected or overtaken."""
PROPOSAL_MADE = "pack.proposal.made"
"""Somebody proposed exactly what was refused, or to take away what is not used; nothing changed by that."""
INVOCATION_STARTED = "pack.invocation.started"
INVOCATION_FINISHED = "pack.invocation.finished"

ALL = (
    RELEASE_REGISTERED,
    RELEASE_MOVED,
    ATTACHMENT_REQUESTED,
    ATTACHMENT_MOVED,
    ATTACHMENT_CREATED,
    ATTACHMENT_FOLLOWS,
    ATTACHMENT_HELD,
    ATTACHMENT_PINNED,
    ATTACHMENT_DETACHED,
    WITHDRAWN,
    SESSIONS_ENDED,
    ADVISORIES_IMPORTED,
    FINDING_MOVED,
    PROPOSAL_DECIDED,
    PROPOSAL_MADE,
    DEFINITION_ACCEPTED,
    DEFINITION_REFUSED,
    MOVE_CHANGED,
    MOVE_PLANNED,
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


def withdrawn(row: dict[str, Any], cause: dict[str, Any] | None) -> Event:
    """A withdrawal, by its receipt: how much it touched, and what of it moved."""
    receipt = row["receipt"]
    return Event(
        type=WITHDRAWN,
        subject=row["id"],
        subject_name=row["name"],
        before=None,
        after={"act": row["act"], "reason": row["why"]},
        cause=cause,
        data={
            "kind": row["kind"],
            "of": row["subject"],
            "attachments": len(receipt["attachments"]),
            "workspaces": len(receipt["workspaces"]),
            "tasks": len(receipt["tasks"]),
            "calls": len(receipt["calls"]),
        },
        lane="capability",
        workspace_id=row["workspace_id"],
    )


def sessions_ended(subject: str, name: str, workspace_id: str | None, sessions: int, calls: list[str]) -> Event:
    """What a withdrawal or a kill switch ended: sandboxes, and calls that ran in them or waited for one."""
    return Event(
        type=SESSIONS_ENDED,
        subject=subject,
        subject_name=name,
        before=None,
        after={"sessions": sessions, "calls": len(calls)},
        data={"calls": calls[:MOST_NAMED]},
        lane="capability",
        workspace_id=workspace_id,
    )


def advisories(workspace_id: str, by: str, **counts: int) -> Event:
    """A feed that was handed in: how many of it are new, and how many hits that made."""
    return Event(
        type=ADVISORIES_IMPORTED,
        subject=workspace_id,
        subject_name="advisories",
        before=None,
        after=dict(counts),
        data={"by": by},
        lane="capability",
        workspace_id=workspace_id,
    )


def finding(row: dict[str, Any], before: str | None, cause: dict[str, Any] | None = None) -> Event:
    """A hit, or its next state."""
    return Event(
        type=FINDING_MOVED,
        subject=row["id"],
        subject_name=f"{row['package']} {row['version']}",
        before=None if before is None else {"state": before},
        after={"state": row["state"], "advisory": row["advisory_id"]},
        cause=cause,
        data={"release": row["release_id"]},
        lane="capability",
        workspace_id=row["workspace_id"],
    )


def move(kind: str, row: dict[str, Any], before: str | None, after: str, reason: str, **data: Any) -> Event:
    """A change of state of a move; its cause is the attachment."""
    return Event(
        type=kind,
        subject=row["id"],
        subject_name=row["pack"],
        before=None if before is None else {"state": before},
        after={"state": after, "reason": reason},
        cause={"kind": "attachment", "id": row["attachment_id"]},
        data={"from": row["from_release"], "to": row["to_release"], **data},
        lane="capability",
        workspace_id=row["workspace_id"],
    )


def proposal(kind: str, row: dict[str, Any], before: str | None, words: str, **data: Any) -> Event:
    """A change of state of a proposal; its cause is the attachment."""
    return Event(
        type=kind,
        subject=row["id"],
        subject_name=row["pack"],
        before=None if before is None else {"state": before},
        after={"state": row["state"], "reason": row["reason"], "difference": row["difference"]},
        cause={"kind": "attachment", "id": row["attachment_id"]},
        data={"kind": row["kind"], "words": words[:2000], "times": row["times"], **data},
        lane="capability",
        workspace_id=row["workspace_id"],
    )
