"""What can have happened to a connection. References only; no credential, no metadata values."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

_SHOWN = ("provider", "host", "port", "access", "secret_id", "state", "reason")


def _after(row: dict[str, Any], state: str, reason: str) -> dict[str, Any]:
    return {**{key: row[key] for key in _SHOWN}, "state": state, "reason": reason}


def created(row: dict[str, Any], decision_id: str) -> Event:
    """connection.created: somebody asked to connect an outside system; it is active, or waits for an approval."""
    after, data = _after(row, row["state"], row["reason"]), {"why": row["why"], "decision_id": decision_id}
    return Event(
        "connection.created",
        row["id"],
        row["name"],
        None,
        after,
        data=data,
        lane="access",
        workspace_id=row["workspace_id"],
    )


def moved(row: dict[str, Any], state: str, reason: str, cause: dict[str, Any] | None) -> Event:
    """connection.<state>: activated, rejected, broken, expired or revoked."""
    kind = "connection.activated" if state == "active" else f"connection.{state}"
    before = {"state": row["state"], "reason": row["reason"]}
    return Event(
        kind,
        row["id"],
        row["name"],
        before,
        _after(row, state, reason),
        cause,
        lane="access",
        workspace_id=row["workspace_id"],
    )
