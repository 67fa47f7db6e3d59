"""What changed around here just before something began: one look-up for the explanations of every domain."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

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
            what=_what(row),
            ref=row["subject"],
        )
        for row in rows
    ]


def _what(row: dict[str, Any]) -> str:
    """`saved workflow definition “payments”`; with the state that it came to: `moved pack release “a 1.0” to released`."""
    *noun, verb = row["type"].replace("_", " ").split(".")
    verb = "withdrew" if verb == "withdrawn" else verb
    name = f" “{row['subject_name']}”" if row["subject_name"] else ""
    came_to = f" to {row['state'].replace('_', ' ')}" if verb == "moved" and row["state"] else ""
    return f"{verb} {' '.join(noun)}{name}{came_to}"
