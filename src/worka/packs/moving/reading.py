"""Reading moves, and where an attachment stands, for those who may see its pack."""

from __future__ import annotations

from typing import Any

from worka.kernel.context import Context, Resource
from worka.packs import actions
from worka.packs import store as rows
from worka.packs.moving import store, versions
from worka.packs.moving.errors import MoveNotFound
from worka.packs.service import reading

Row = dict[str, Any]


async def own(ctx: Context, attachment_id: str) -> tuple[Row, Row]:
    """(attachment, its release), for who may see it. Raises AttachmentNotFound."""
    row = await reading.attachment(ctx, attachment_id)
    async with ctx.transaction() as conn:
        release = await rows.release(conn, row["release_id"])
    assert release is not None
    return row, release


async def read(ctx: Context, move_id: str) -> Row:
    """A move, for who may see its pack. Raises MoveNotFound."""
    async with ctx.transaction() as conn:
        row = await store.move(conn, move_id)
    if row is not None:
        seen = Resource("pack", row["pack"], row["workspace_id"], {"pack": row["pack"]})
        if (await ctx.decide(actions.VIEW.name, seen)).verdict != "deny":
            return row
    raise MoveNotFound(f"There is no move {move_id}.")


async def standing(ctx: Context, attachment_id: str) -> Row:
    """{attachment, release, newer, move, back}: where an attachment stands: the newer releases, newest first; the move under
    way; and the release that it would go back to."""
    row, release = await own(ctx, attachment_id)
    async with ctx.transaction() as conn:
        # The move before the attachment: one that is made in between is shown as under way, and never as if there were none.
        moves = await store.moves_of(conn, attachment_id, None, 1)
        row = await rows.attachment(conn, attachment_id) or row
        release = await rows.release(conn, row["release_id"]) or release
        known = await store.releases_of(conn, row["pack"])
        # What is marked as not final comes after what is.
        newer = sorted(
            (r for r in known if versions.newer(r["version"], release["version"])),
            key=lambda r: (not versions.is_trial(r["version"]), versions.key(r["version"])),
            reverse=True,
        )  # fmt: skip
        came = await store.arrival(conn, attachment_id, row["release_id"])
        before = await rows.release(conn, came["from_release"]) if came else None
    open_one = moves[0] if moves and moves[0]["ended_at"] is None else None
    return {
        "attachment": row,
        "release": release,
        "newer": newer[:50],
        "move": open_one,
        "back": None if before is None else {key: before[key] for key in ("id", "version", "state")},
    }


async def history(ctx: Context, attachment_id: str, after: str | None, limit: int) -> list[Row]:
    """The moves of an attachment, newest first; up to limit + 1. Raises AttachmentNotFound."""
    await own(ctx, attachment_id)
    async with ctx.transaction() as conn:
        return await store.moves_of(conn, attachment_id, after, limit + 1)
