"""What the queries of the treasury share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString

from worka.kernel.db import Connection


async def one(conn: Connection, query: LiteralString, values: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a statement that always has one. Raises AssertionError."""
    row = await (await conn.execute(query, values)).fetchone()
    assert row is not None
    return row


async def page(
    conn: Connection, table: str, column: str, wanted: str, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """Rows of a table of ours where a column is `wanted`, newest first, below the id `after`."""
    cursor = await conn.execute(
        f"select * from worka.{table} where {column} = %s and (%s::text is null or id < %s) order by id desc limit %s",  # noqa: S608
        (wanted, after, after, limit),
    )
    return await cursor.fetchall()
