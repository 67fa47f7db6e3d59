"""What runs on another domain's event, inside its transaction."""

from __future__ import annotations

from typing import Any

from worka.kernel.context import Context
from worka.kernel.events import Subscribers
from worka.treasury import datakeys, reading, store


def subscribe(subscribers: Subscribers) -> None:
    """The decision about a reading, or about the destruction of keys, and what follows from it are one commit."""
    subscribers.on("approval.locking", locking)
    subscribers.on("approval.decided", decided)


async def locking(ctx: Context, payload: dict[str, Any]) -> None:
    """What waits before its approval."""
    if payload["subject_type"] == reading.SUBJECT:
        await store.reading(ctx.conn, payload["subject_id"], lock=True)
    elif payload["subject_type"] == datakeys.SUBJECT:
        await store.destruction(ctx.conn, payload["subject_id"], lock=True)


async def decided(ctx: Context, payload: dict[str, Any]) -> None:
    """Not ours: nothing happens."""
    if payload["subject_type"] == reading.SUBJECT:
        await reading.decided(ctx, payload)
    elif payload["subject_type"] == datakeys.SUBJECT:
        await datakeys.decided(ctx, payload)
