"""What can have happened in the treasury. No event holds a value."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

SECRET_CREATED = "treasury.secret.created"
SECRET_ROTATED = "treasury.secret.rotated"
SECRET_REVOKED = "treasury.secret.revoked"
GRANT_CREATED = "treasury.grant.created"
GRANT_REVOKED = "treasury.grant.revoked"
LEASE_ISSUED = "treasury.lease.issued"


def secret(kind: str, row: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any], cause: dict[str, Any] | None = None) -> Event:
    """An event about one secret."""
    return Event(
        kind, row["id"], row["name"], before, after, cause, {"purpose": row["purpose"]}, lane="secrets", workspace_id=row["workspace_id"]
    )


def grant(kind: str, row: dict[str, Any], name: str, cause: dict[str, Any] | None = None) -> Event:
    """An event about one grant: secret, attachment, endpoint."""
    facts = {"secret": row["secret_id"], "attachment": row["attachment_id"], "endpoint": row["endpoint"]}
    made = kind == GRANT_CREATED
    return Event(
        kind, row["id"], name, None if made else facts, facts if made else None, cause, lane="secrets", workspace_id=row["workspace_id"]
    )
