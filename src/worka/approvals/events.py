"""What can have happened to an approval. No arguments in any of them: those are sealed in the approval."""

from __future__ import annotations

from typing import Any

from worka.kernel import reasons
from worka.kernel.events import Event


def requested(row: dict[str, Any]) -> Event:
    """approval.requested: something waits for a person."""
    after = {"state": "open", "boundary": row["boundary"], "digest": row["digest"], "rules": row["rules"]}
    return _event("approval.requested", row, after=after, cause={"kind": "decision", "id": row["decision_id"]})


def voted(
    row: dict[str, Any], decision: str, missing: list[str], behalf: str | None = None, factor: str | None = None
) -> Event:
    """approval.vote.recorded: one of those who may decide has; more are needed. `on_behalf_of`: whose seat it took;
    `second_factor`: how it was given just before."""
    more = {"on_behalf_of": behalf, "second_factor": factor}
    data = {"decision": decision, "missing": missing, **{key: value for key, value in more.items() if value}}
    return _event("approval.vote.recorded", row, data=data)


def closed(row: dict[str, Any], before: str) -> Event:
    """approval.<state>: approved, rejected, expired, withdrawn or superseded."""
    moved = row.get("moved")
    return _event(
        f"approval.{row['state']}",
        row,
        before={"state": before},
        after={"state": row["state"], "reason": row["reason"]},
        **({"data": {"because": moved["because"], "policy_version": moved["policy_version"]}} if moved else {}),
    )


def used(row: dict[str, Any]) -> Event:
    """approval.used: the approved action was begun, once."""
    return _event("approval.used", row, after={"used_by": row["consumed_by"]})


def refused(row: dict[str, Any], because: str) -> Event:
    """approval.decision.refused: somebody tried to decide who may not."""
    return _event("approval.decision.refused", row, data={"because": because})


def reminded(row: dict[str, Any], people: list[dict[str, Any]]) -> Event:
    """approval.reminded: those who may decide are told again; whom, and for the how manieth time."""
    return _event("approval.reminded", row, data={"people": people, "number": row["reminders"]})


def escalated(row: dict[str, Any], people: list[dict[str, Any]]) -> Event:
    """approval.escalated: nobody decided in time, so more people may."""
    return _event("approval.escalated", row, after={"escalated_to": row["escalated_to"]}, data={"people": people})


def bypassed(row: dict[str, Any], bypass: dict[str, Any]) -> Event:
    """approval.bypassed: an open bypass let it through; nobody looked at it."""
    data = {"bypass": bypass["id"], "use": bypass["uses"], "most_uses": bypass["most_uses"], "why": bypass["why"]}
    return _event("approval.bypassed", row, data=data, cause={"kind": "bypass", "id": bypass["id"]})


def group_created(row: dict[str, Any]) -> Event:
    """approval.group.created: a group that approval rules can name."""
    return _access("approval.group.created", row, row["name"], after={"name": row["name"], "purpose": row["purpose"]})


def group_changed(row: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> Event:
    """approval.group.changed: other people are in it, or it is for something else."""
    return _access("approval.group.changed", row, row["name"], before=before, after=after)


def group_deleted(row: dict[str, Any]) -> Event:
    """approval.group.deleted: rules that name it find nobody from now on."""
    return _access("approval.group.deleted", row, row["name"], before={"members": row["members"]})


def delegated(row: dict[str, Any], name: str) -> Event:
    """approval.delegation.created: somebody decides in another's place until a time."""
    keys = ("from_person", "to_person", "scope")
    after = {**{key: row[key] for key in keys}, "until": row["until"].isoformat()}
    return _access("approval.delegation.created", row, name, after=after)


def delegation_ended(row: dict[str, Any], name: str) -> Event:
    """approval.delegation.ended: before its time."""
    before = {"until": row["until"].isoformat()}
    return _access("approval.delegation.ended", row, name, before=before, after={"ended_by": row["ended_by"]})


def settings_changed(workspace_id: str, before: dict[str, Any], after: dict[str, Any]) -> Event:
    """approval.settings.changed: when approvals remind, escalate and expire."""
    return Event(
        "approval.settings.changed", workspace_id, "approvals", lane="policy", workspace_id=workspace_id,
        before=before, after=after,
    )  # fmt: skip


def bypass_opened(row: dict[str, Any], alone: bool) -> Event:
    """approval.bypass.opened: approvals of a boundary or tool are let through, or will be when another owner agrees."""
    after = {"state": row["state"], "most_uses": row["most_uses"], "until": row["until"].isoformat(), "why": row["why"]}
    return _access("approval.bypass.opened", row, row["target"], after=after, data={"only_owner": alone})


def bypass_moved(row: dict[str, Any], before: str) -> Event:
    """approval.bypass.moved: it came into force, or was closed; and why."""
    after = {"state": row["state"], "reason": row["reason"], "uses": row["uses"]}
    known = reasons.get(row["reason"])
    because = known.meaning.rstrip(".") if known else ""
    return _access(
        "approval.bypass.moved", row, row["target"], before={"state": before}, after=after, data={"because": because}
    )


def _event(kind: str, row: dict[str, Any], **fields: Any) -> Event:
    return Event(kind, row["id"], row["title"], lane="policy", workspace_id=row["workspace_id"], **fields)


def _access(kind: str, row: dict[str, Any], name: str, **fields: Any) -> Event:
    return Event(kind, row["id"], name, lane="access", workspace_id=row["workspace_id"], **fields)
