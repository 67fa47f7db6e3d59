"""The five reports that an operator reviews publications by."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, get_args

from worka.kernel.context import Context, Resource
from worka.packs import actions as pack_actions
from worka.packs.registry import dsse, rules, store

Row = dict[str, Any]
Report = Literal["publication_failures", "public_artifacts", "stale_private", "mismatches", "unreviewed"]
NAMES: tuple[Report, ...] = get_args(Report)
WORDS: dict[Report, tuple[str, str]] = {
    "publication_failures": ("Recent publication failures", "Publications that stand failed. Each can be tried again."),
    "public_artifacts": ("Public artifacts", "What every tenant of this deployment can install."),
    "stale_private": ("Stale private artifacts", "Private, attached nowhere, and older than the days given."),
    "mismatches": ("Source and image differ", "Signed for, or made from, another source than the release names."),
    "unreviewed": ("Installable, not reviewed", "Can be attached; nobody has said that they looked at it."),
}
_SCANNED = 20
"""Artifacts that are read at a time: each brings its envelopes along."""


async def report(ctx: Context, workspace_id: str, name: Report, after: str | None, limit: int, days: int) -> list[Row]:
    """The rows of a report, newest first (up to limit + 1). `days`: how far back failures count, and how old is stale.
    Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        most = limit + 1
        if name == "publication_failures":
            rows = await store.publication_failures(conn, workspace_id, after, most, days)
            return [_row(row, row["error"]["message"] if row["error"] else "", row["reason"]) for row in rows]
        if name == "public_artifacts":
            rows = await store.public_artifacts(conn, workspace_id, after, most)
            return [_row(row, "Every tenant can install it.") for row in rows]
        if name == "stale_private":
            rows = await store.stale_private(conn, workspace_id, after, most, days)
            return [_row(row, f"Made {row['created_at']:%Y-%m-%d}, attached nowhere.") for row in rows]
        if name == "unreviewed":
            rows = await store.unreviewed(conn, workspace_id, after, most)
            return [_row(row, "Nobody has reviewed this artifact.") for row in rows]
        found: list[Row] = []
        while len(found) < most:
            rows = await store.sources_and_images(conn, workspace_id, after, _SCANNED)
            said = await asyncio.to_thread(lambda rows: [_difference(row) for row in rows], rows)
            found += [_row(row, text, "source_differs") for row, text in zip(rows, said, strict=True) if text]
            if len(rows) < _SCANNED:
                break
            after = rows[-1]["id"]
        return found[:most]


def _difference(row: Row) -> str:
    if row["contents"] != row["release_contents"]:
        return "The artifact was made of other contents than the release has."
    for given in row["envelopes"]:
        try:
            said = dsse.said(dsse.read(given)[0])
        except dsse.EnvelopeProblem:
            continue
        if problem := rules.attested_elsewhere(row["manifest"], said.repository, said.revision):
            return f"{problem[:1].upper()}{problem[1:]}."
    return ""


def _row(row: Row, said: str, reason: str = "") -> Row:
    names = ("id", "release_id", "pack", "version", "digest", "visibility", "created_at")
    return {**{name: row[name] for name in names}, "reason": reason, "said": said}
