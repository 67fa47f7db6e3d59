"""Use cases of the ledger's readers: rows, counts, an export. A workspace's rows are for who may see its egress; the
tenant's are those of every workspace in which the reader may, and how many workspaces that leaves out is said."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from worka.broker import actions
from worka.broker.errors import EgressUnknown
from worka.broker.records import store
from worka.broker.records.model import Filter
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.workspaces import store as workspaces

Row = dict[str, Any]
_HIDDEN = frozenset({"tenant_id", "xid"})
MOST_KEYS = 200
_CHUNK = 500
COLUMNS = (
    "id", "at", "last_at", "workspace_id", "workspace", "pack", "version", "attachment_id", "invocation_id", "tool",
    "initiator_kind", "initiator_id", "initiator_name", "originating_person", "originating_name", "host", "port", "kind",
    "method", "path", "outcome", "verdict", "reason", "rule", "count", "status", "bytes_out", "bytes_in", "duration_ms",
    "address", "opaque", "exception_id", "connection_id", "connection_name", "secret_id", "secret_name", "lease_id",
    "decision_id", "trace_id",
)  # fmt: skip
"""Of a CSV, in this order; new ones are added at the end."""


def shown(row: Row) -> Row:
    """A row as the API shows it."""
    return {key: value for key, value in row.items() if key not in _HIDDEN}


async def places(ctx: Context, everywhere: bool) -> tuple[list[str], int]:
    """(the workspaces that are read, how many of the tenant's are not this reader's to see). In the open transaction.
    Raises Denied where the reader may not see the egress of the workspace that the request is in."""
    here = ctx.workspace_id
    assert here is not None
    await ctx.require(actions.EGRESS_VIEW, Resource("workspace", here, here))
    if not everywhere:
        return [here], 0
    known = await workspaces.workspace_ids(ctx.conn)
    seen = [here]
    for workspace_id in known:
        if workspace_id == here:
            continue
        looking = replace(ctx, unrecorded=True)
        found = await looking.decide(actions.EGRESS_VIEW, Resource("workspace", workspace_id, workspace_id))
        if found.verdict == "allow":
            seen.append(workspace_id)
    return seen, len(known) - len(seen)


async def page(ctx: Context, what: Filter, after: str | None, limit: int, everywhere: bool) -> tuple[list[Row], int]:
    """(up to `limit` rows, newest first; how many workspaces are not the reader's to see). Raises Denied."""
    async with ctx.transaction() as conn:
        seen, unseen = await places(ctx, everywhere)
        return [shown(row) for row in await store.page(conn, seen, what, after, limit)], unseen


async def one(ctx: Context, egress_id: str) -> Row:
    """One row. Raises EgressUnknown, also for a row that the reader may not see."""
    async with ctx.transaction() as conn:
        row = await store.one(conn, egress_id)
        if row is None or not await visible(ctx, row):
            raise EgressUnknown(f"There is no egress row {egress_id}.")
        return shown(row)


async def visible(ctx: Context, row: Row) -> bool:
    """Whether the reader may see the egress of the workspace that this lies in. In the open transaction."""
    where = str(row["workspace_id"])
    found = await ctx.decide(actions.EGRESS_VIEW, Resource("workspace", where, where))
    return found.verdict == "allow"


async def counted(ctx: Context, what: Filter, by: str, everywhere: bool) -> Row:
    """{by, items, more, unseen}: the same rows, counted. Raises Denied."""
    async with ctx.transaction() as conn:
        seen, unseen = await places(ctx, everywhere)
        rows = await store.counts(conn, seen, what, by, MOST_KEYS + 1)
    return {"by": by, "items": rows[:MOST_KEYS], "more": len(rows) > MOST_KEYS, "unseen": unseen}


async def export(ctx: Context, what: Filter, form: str, everywhere: bool) -> AsyncIterator[bytes]:
    """The rows as CSV or as a JSON document a line, newest first, read page by page; what begins after this began is not in
    it. Raises Denied before the first byte."""
    what = replace(what, until=what.until or now())
    async with ctx.transaction():
        seen, _unseen = await places(ctx, everywhere)
    return _written(ctx, seen, what, form)


async def _written(ctx: Context, seen: list[str], what: Filter, form: str) -> AsyncIterator[bytes]:
    after: str | None = None
    if form == "csv":
        yield _line(COLUMNS)
    while True:
        async with ctx.transaction() as conn:
            rows = await store.page(conn, seen, what, after, _CHUNK)
        for row in rows:
            yield csv_line(row) if form == "csv" else ndjson_line(row)
        if len(rows) < _CHUNK:
            return
        after = rows[-1]["id"]


def ndjson_line(row: Row) -> bytes:
    """A row as one line of JSON."""
    return (json.dumps(shown(row), default=str, ensure_ascii=False) + "\n").encode()


def csv_line(row: Row) -> bytes:
    """A row as one line of CSV. What a pack or the outside wrote must not be a formula to whoever opens it."""
    return _line([_cell(row[name]) for name in COLUMNS])


_FORMULA = frozenset(
    "=+-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)
"""What spreadsheets begin a formula with, or cut away before they look."""


def _cell(value: Any) -> str:
    text = "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.lstrip(" ")[:1] in _FORMULA else text


def _line(cells: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()
