"""What can have happened in governance."""

from __future__ import annotations

import hashlib
from typing import Any

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


def policy_saved(kind: str, before: dict[str, Any] | None, after: dict[str, Any], workspace_id: str | None) -> Event:
    """policy.version.saved: from the next decision on this version holds in the whole tenant."""
    return Event(
        "policy.version.saved",
        f"{kind}.{after['version']}",
        f"{kind} policy, version {after['version']}",
        before=_shown(before),
        after=_shown(after),
        lane="policy",
        workspace_id=workspace_id,
    )


def _shown(row: dict[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    digest = hashlib.sha256(row["text"].encode()).hexdigest()
    return {"version": row["version"], "sha256": digest, "note": row["note"], "text": row["text"]}
