"""What can have happened to the ledger itself: looking at it is recorded in it."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event


def exported(workspace_id: str) -> Event:
    """audit.ledger.exported: somebody took the workspace's ledger out."""
    return Event("audit.ledger.exported", workspace_id, "", lane="access", workspace_id=workspace_id)


def verified(workspace_id: str, ok: bool, rows: int, problems: list[str]) -> Event:
    """audit.ledger.verified: the platform's verification ran, and what it found."""
    data: dict[str, Any] = {"ok": ok, "rows": rows, "problems": problems[:5]}
    return Event("audit.ledger.verified", workspace_id, "", data=data, lane="access", workspace_id=workspace_id)
