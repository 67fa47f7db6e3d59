"""Universal search: an id of anything leads to its page; words are looked for in the names that a reader could know."""

from __future__ import annotations

import re
from typing import Any, Final

from worka.approvals import service as approvals
from worka.connections import service as connections
from worka.kernel import ids
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.http import Page
from worka.observability import chain
from worka.observability import service as observability
from worka.packs import routes as packs
from worka.views import service as views
from worka.web import words
from worka.workflows import service as workflows

Row = dict[str, Any]
LOOKED_THROUGH: Final = 100
"""The newest of each kind: a name that is older is found by its id."""
MOST: Final = 30
_LINKS: Final = {"egr", "lease", "step", "wait"}
_TRACE: Final = re.compile(r"[0-9a-f]{32}\Z")


async def target(ctx: Context, text: str) -> str:
    """The page that an id (or a trace id) leads to; empty when the text is none, or nothing of this workspace."""
    wanted = text.lower()
    page = words.href(wanted, ctx.workspace_id)
    if page and ids.prefix_of(wanted) not in _LINKS:
        return page
    if ids.prefix_of(wanted) in _LINKS or _TRACE.match(wanted):
        # A link of a chain has no page: what it happened in has one.
        try:
            return words.href((await chain.chain(ctx, wanted))["root"], ctx.workspace_id)
        except Problem:
            return ""
    return ""


async def named(ctx: Context, text: str) -> list[Row]:
    """[{kind, icon, id, title, state, href}]: what has all the words in its name, kind or tool, or ends with the letters
    that a shortened id shows. The newest first within each kind."""
    asked = [word for word in re.split(r"[\s…]+", text.casefold()) if word]
    if not asked:
        return []
    found: list[Row] = []
    everything = await _everything(ctx)
    titles = {row["id"]: row["title"] for kind, _, rows in everything if kind == "Task" for row in rows}
    for kind, icon, rows in everything:
        for row in rows:
            if not row["for"] and row["task_id"]:
                row["for"] = titles.get(row["task_id"], "")
            state = words.status(row["state"]).word if row.get("state") else ""
            name = f"{kind} {row['title']} {state} {row.get('more') or ''}".casefold()
            if all(word in name or (len(word) > 3 and row["id"].endswith(word)) for word in asked):
                target = words.href(row["id"], ctx.workspace_id)
                found.append({**row, "kind": kind, "icon": icon, "href": target})
    return found[:MOST]


async def _everything(ctx: Context) -> list[tuple[str, str, list[Row]]]:
    """(kind, icon, [{id, title, state, more}]) of all that this reader may see. What they may not is left out."""
    assert ctx.workspace_id is not None
    here, page = ctx.workspace_id, Page(limit=LOOKED_THROUGH, cursor=None)
    sources: list[tuple[str, str, Any]] = [
        ("Task", "tasks", lambda: workflows.listing(ctx, None, LOOKED_THROUGH, None)),
        ("Approval", "approvals", lambda: approvals.listing(ctx, here, None, None, LOOKED_THROUGH)),
        ("View", "views", lambda: views.listing(ctx, None, LOOKED_THROUGH)),
        ("Pack", "box", lambda: packs.list_attachments(here, ctx, page)),
        ("Connection", "link", lambda: connections.listing(ctx, here, None, LOOKED_THROUGH)),
        ("Invocation", "invocations", lambda: packs.list_invocations(here, ctx, page, None, None)),
    ]
    sources.append(("Part of Worka", "box", lambda: _parts(ctx)))
    answers = []
    for kind, icon, ask in sources:
        try:
            rows = await ask()
        except Problem as problem:
            if problem.status >= 500:
                raise
            continue
        answers.append((kind, icon, [_row(row) for row in (rows["items"] if isinstance(rows, dict) else rows)]))
    return answers


async def _parts(ctx: Context) -> list[Row]:
    """The processes of the deployment that have an id; whoever looks for the doctor finds those that are not well."""
    found = (await observability.processes(ctx))["processes"]
    return [
        {
            "id": row["id"],
            "title": row["role"].capitalize(),
            "state": row["health"],
            "reason": "" if row["health"] == "healthy" else "doctor",
        }
        for row in found
        if ids.check(row["id"])
    ]


def _row(row: Row) -> Row:
    title = row.get("title") or row.get("name") or row.get("tool") or row.get("pack")
    blocked = ", ".join(str(item.get("name") or "") for item in row.get("blocks") or [])
    more = " ".join(str(part) for part in (row.get("workflow"), blocked, row.get("reason")) if part)
    return {
        "id": row["id"],
        "title": str(title),
        "state": row.get("state"),
        "more": words.spoken(more),
        "for": blocked,
        "task_id": row.get("task_id"),
    }
