"""What can have happened to a connection."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

REQUESTED = "connection.requested"
ACTIVATED = "connection.activated"
REJECTED = "connection.rejected"
REVOKED = "connection.revoked"


def changed(kind: str, row: dict[str, Any], before: str | None, after: str, cause: dict[str, Any] | None = None, **data: Any) -> Event:
    """A move of a connection, with what it is bound to."""
    facts = {"provider": row["provider"], "endpoint": f"{row['host']}:{row['port']}", "access": row["access"], **data}
    return Event(
        kind,
        row["id"],
        row["name"],
        before={"state": before} if before else None,
        after={"state": after},
        cause=cause,
        data=facts,
        lane="access",
        workspace_id=row["workspace_id"],
    )
