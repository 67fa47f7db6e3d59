"""What a connection was used for: each scope asked for, granted and used; and the last calls, each with whose it was."""

from __future__ import annotations

from typing import Any

from worka.connections import catalogue, service, store
from worka.kernel.context import Context

Row = dict[str, Any]
DAYS = 30
CALLS = 50


async def of(ctx: Context, connection_id: str) -> Row:
    """{connection_id, days, requests, scopes, calls}. Raises ConnectionNotFound."""
    async with ctx.transaction() as conn:
        row = await service.visible(ctx, connection_id)
        asked = await store.requests_of(conn, connection_id, DAYS)
        calls = await store.calls_of(conn, connection_id, CALLS)
    known = catalogue.providers(ctx.settings).get(row["provider"])
    names = list(dict.fromkeys([*row["scopes"], *row["granted"]]))
    return {
        "connection_id": connection_id,
        "days": DAYS,
        "requests": sum(item["count"] for item in asked),
        "scopes": [_scope(name, row, known, asked) for name in names],
        "calls": calls,
    }


def _scope(name: str, row: Row, known: catalogue.Provider | None, asked: list[Row]) -> Row:
    words = known.scopes.get(name) if known else None
    fitting = [
        item["last"] for item in asked if words and any(use.fits(item["method"], item["path"]) for use in words.uses)
    ]
    return {
        "scope": name,
        "words": known.said(name) if known else name,
        "asked": name in row["scopes"],
        "granted": name in row["granted"],
        "used": bool(fitting) if words and words.uses else None,
        "last": max(fitting) if fitting else None,
    }
