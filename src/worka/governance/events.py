"""What can have happened in governance."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from worka.authorization import layers
from worka.kernel.context import Resource
from worka.kernel.events import Event


def denied(action: str, resource: Resource, decision_id: str, layer: str, rules: list[str]) -> Event:
    """access.denied: somebody asked for something and may not; the decision has the inputs."""
    return Event(
        "access.denied",
        resource.id,
        str(resource.attrs.get("name", "")),
        cause={"kind": "decision", "id": decision_id},
        data={"action": action, "resource_type": resource.type, "layer": layer, "rules": rules},
        lane="access",
        workspace_id=resource.workspace_id,
    )


def policy_saved(
    kind: str,
    before: dict[str, Any] | None,
    after: dict[str, Any],
    workspace_id: str | None,
    cause: dict[str, Any] | None = None,
) -> Event:
    """policy.version.saved: from the next decision on this version holds in its place. Without a cause one person's word
    was enough: the place has one owner only, or it is the deployment's."""
    return Event(
        "policy.version.saved",
        f"{kind}.{after['version']}",
        f"{kind} policy of the {layers.word(after['scope'])}, version {after['version']}",
        before=_shown(before),
        after=_shown(after),
        cause=cause,
        lane="policy",
        workspace_id=workspace_id,
    )


def _shown(row: dict[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    digest = hashlib.sha256(row["text"].encode()).hexdigest()
    return {
        "version": row["version"],
        "scope": row["scope"],
        "sha256": digest,
        "note": row["note"],
        "text": row["text"],
        "approved_by": row["approved_by"],
    }


def change_proposed(row: dict[str, Any]) -> Event:
    """policy.change.proposed: a change of policy waits for its second person, and holds nothing until then."""
    return _change("policy.change.proposed", row, cause={"kind": "approval", "id": row["approval_id"]})


def change_closed(row: dict[str, Any]) -> Event:
    """policy.change.closed: a proposed change will not come into force: rejected, expired, withdrawn or superseded."""
    return _change("policy.change.closed", row, before={"state": "open"})


def _change(kind: str, row: dict[str, Any], **fields: Any) -> Event:
    after = {key: row[key] for key in ("state", "outcome", "kind", "scope", "base_version", "digest", "note")}
    name = f"change of the {row['kind']} policy of the {layers.word(row['scope'])}"
    return Event(kind, row["id"], name, after=after, lane="policy", workspace_id=row["workspace_id"], **fields)


def glass_broken(row: dict[str, Any]) -> Event:
    """policy.break_glass.opened: until then a place has the floor alone; the operator did it on the machine."""
    return _glass(
        "policy.break_glass.opened", row, {key: row[key] for key in ("reason", "opened_by", "until", "scope")}
    )


def glass_mended(row: dict[str, Any]) -> Event:
    """policy.break_glass.ended: the place has its own policy again, before its time or with a new version."""
    return _glass("policy.break_glass.ended", row, {"scope": row["scope"], "because": row["ended_because"]})


def _glass(kind: str, row: dict[str, Any], after: dict[str, Any]) -> Event:
    after = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in after.items()}
    name = f"break-glass of the {layers.word(row['scope'])}"
    return Event(kind, row["id"], name, after=after, lane="policy", workspace_id=row["scope"] or None)


def kill_set(row: dict[str, Any]) -> Event:
    """kill.set: from now on this is stopped, in every process. How much it touched; what that was stands in the
    receipt, which the kill switch of this id keeps and shows to who may see it."""
    touched = ("workspaces", "attachments", "tasks", "calls")
    counts = {name: len(row["receipt"].get(name, ())) for name in touched}
    return _kill("kill.set", row, None, data={"receipt": {"id": row["id"], **counts}})


def kill_moved(row: dict[str, Any], before: str) -> Event:
    """kill.moved: a kill switch is lifted on trial for some, or set back to holding for all."""
    return _kill("kill.moved", row, before)


def kill_lifted(row: dict[str, Any], before: str) -> Event:
    """kill.lifted: what it stopped goes on, for all."""
    return _kill("kill.lifted", row, before)


def _kill(kind: str, row: dict[str, Any], before: str | None, **fields: Any) -> Event:
    after = {key: row[key] for key in ("state", "kind", "subject", "reason", "exempt", "by_operator")}
    return Event(
        kind,
        row["id"],
        f"kill switch on {row['kind']} {row['subject']}",
        before={"state": before} if before else None,
        after={**after, "why": row["move_reason"]} if before else after,
        lane="policy",
        workspace_id=row["workspace_id"],
        **fields,
    )
