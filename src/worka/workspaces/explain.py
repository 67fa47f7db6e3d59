"""What changed around here just before something began: one look-up for the explanations of every domain."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from worka.kernel.db import Connection
from worka.kernel.explanation import Change
from worka.workspaces import store

MOST: Final = 3


async def changed_just_before(conn: Connection, workspace_id: str, onset: datetime, *apart_from: str) -> list[Change]:
    """Up to three changes in scope that precede the onset, the nearest first."""
    rows = await store.changes_before(conn, workspace_id, onset, list(apart_from), MOST)
    return [
        Change(
            at=row["at"],
            who=row["actor_name"] or row["actor_id"],
            what=f"{row['type'].replace('.', ' ').replace('_', ' ')}: {row['subject_name'] or row['subject']}",
            ref=row["subject"],
        )
        for row in rows
    ]
