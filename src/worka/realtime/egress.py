"""The egress ledger as it is written: each row when its request was decided, and again when its outcome or its count changed."""

from __future__ import annotations

import json
from typing import Any

from worka.broker import actions
from worka.broker.records import service, store
from worka.broker.records.model import Filter
from worka.kernel.db import Connection
from worka.realtime.stream import PAGE, Feed

Row = dict[str, Any]


def feed(what: Filter) -> Feed:
    """The rows that fit. A row's place is its transaction: the ledger writes one row in each."""

    async def rows(conn: Connection, workspace_id: str, after: tuple[str, int]) -> list[Row]:
        return whole(await store.followed(conn, workspace_id, what, after[0], PAGE), PAGE)

    async def waiting(conn: Connection, workspace_id: str, after: tuple[str, int]) -> bool:
        return await store.held_back(conn, workspace_id, after[0])

    return Feed(actions.EGRESS_VIEW, rows, waiting, lambda row: (row["xid"], 0), frame)


def whole(rows: list[Row], most: int) -> list[Row]:
    """Of a full page what is not cut: rows of its last transaction may go on beyond it, and their place would skip the rest."""
    if len(rows) < most or rows[0]["xid"] == rows[-1]["xid"]:
        return rows
    return [row for row in rows if row["xid"] != rows[-1]["xid"]]


def frame(row: Row) -> bytes:
    """One row: `id` is its place in the order of commits, `event` how it ended so far, `data` the row as JSON on one line."""
    body = json.dumps(service.shown(row), ensure_ascii=False, default=str)
    return f"id: {row['xid']}-0\nevent: egress.{row['outcome']}\ndata: {body}\n\n".encode()
