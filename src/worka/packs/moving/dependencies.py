"""Packs that a pack declares it calls: which are not here, as named waits (LIF-3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worka.kernel.db import Connection
from worka.packs.moving import store

Row = dict[str, Any]


async def state_of(conn: Connection, workspace_id: str, manifest: Row) -> list[Row]:
    """Each declared dependency: {pack, tools, attachment_id, version, lacking}. `attachment_id` is None where the pack does
    not serve here; `lacking` are the declared tools that its attached release does not have."""
    wanted = [item for item in manifest.get("dependencies") or [] if isinstance(item, dict)]
    if not wanted:
        return []
    here = {row["pack"]: row for row in await store.attached_tools(conn, workspace_id, [w["pack"] for w in wanted])}
    found = []
    for item in wanted:
        row, tools = here.get(item["pack"]), list(item.get("tools") or [])
        found.append(
            {
                "pack": item["pack"],
                "tools": tools,
                "attachment_id": row["attachment_id"] if row else None,
                "version": row["version"] if row else None,
                "lacking": [tool for tool in tools if row is None or tool not in row["tools"]],
            }
        )
    return found


async def missing(conn: Connection, workspace_id: str, manifest: Row) -> list[Row]:
    """Those that are not attached, or lack a tool."""
    return [
        item
        for item in await state_of(conn, workspace_id, manifest)
        if item["attachment_id"] is None or item["lacking"]
    ]


def words(lacking: Iterable[Row]) -> list[str]:
    """A name for each, as a person is told what is waited for."""
    return [
        item["pack"] if item["attachment_id"] is None else f"{item['pack']} with {', '.join(item['lacking'])}"
        for item in lacking
    ]
