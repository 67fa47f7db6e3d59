"""Moves that are in nobody's hands are handed to the engine again: a job may be lost with the process that it ran in, or end
in a fault that nobody foresaw, and the attachment would be `updating` for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.packs.moving import store

Row = dict[str, Any]
log = logging.getLogger("worka.packs")
SILENCE = timedelta(minutes=5)
"""Longer than a move takes that is carried; twice as long after each time it was handed on: its job may only be late."""
_MOST = 100


async def hand_on(contexts: Callable[[str | None], Context], silence: timedelta = SILENCE) -> int:
    """Hands on every move that has stood still for so long in a state in which the platform acts; how many. Done twice, or
    while a job is at it all the same, nothing happens twice: a job reads where its move stands."""
    async with contexts(None).db.single() as conn:
        left = await store.moves_left(conn, silence, _MOST)
    handed = 0
    for row in left:
        ctx = contexts(row["tenant_id"])
        try:
            async with ctx.transaction() as conn:
                if await store.still_left(conn, row["move_id"], silence):
                    await store.enqueue_move(conn, row["tenant_id"], row["move_id"])
                    ctx.commit_points("attachment.move")
                    handed += 1
        except Problem as problem:
            log.warning("a move could not be handed on: %s", problem.problem_code, extra={"subject": row["move_id"]})
    if handed:
        log.warning("%s moves were in nobody's hands and were handed on", handed)
    return handed
