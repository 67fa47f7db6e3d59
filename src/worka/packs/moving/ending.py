"""The end of a move that is under way, when something else makes it pointless."""

from __future__ import annotations

from typing import Any

from worka.approvals import service as approvals
from worka.kernel.context import Context
from worka.packs import events
from worka.packs.moving import model, store

Row = dict[str, Any]


async def end_open(ctx: Context, attachment_id: str, reason: str, *, only: str | None = None) -> Row | None:
    """In the caller's transaction, which holds the attachment: ends the move that is under way, with its approval. `only`:
    those of this kind. None: there is none."""
    row = await store.open_move(ctx.conn, attachment_id)
    if row is None or (only is not None and row["kind"] != only):
        return None
    await step(ctx, row, "superseded", reason)
    # The other way round than `approval_decided`, which holds the attachment too: never at once.
    await approvals.end_for(ctx, row["id"], "withdrawn" if reason != "newer_move" else "superseded")
    return row


async def step(ctx: Context, row: Row, state: str, reason: str, error: Row | None = None, **data: Any) -> Row:
    """The next state of a move, in the caller's transaction; returns it as it is then."""
    model.MOVE.check(row["state"], state)
    await store.set_state(ctx.conn, row["id"], state, reason, error)
    ctx.record(events.move(events.MOVE_CHANGED, row, row["state"], state, reason, **data))
    ctx.commit_points("attachment.move")
    return {**row, "state": state, "reason": reason}
