"""Publications as rows: who may see them, and their next state."""

from __future__ import annotations

from typing import Any

from worka.kernel.context import Context, Resource
from worka.packs import actions as pack_actions
from worka.packs.registry import events, store
from worka.packs.registry.errors import PublicationNotFound
from worka.packs.registry.model import PUBLICATION

Row = dict[str, Any]


async def get(ctx: Context, publication_id: str) -> Row:
    """One publication. Raises PublicationNotFound."""
    async with ctx.transaction():
        return await visible(ctx, publication_id)


async def listing(
    ctx: Context, workspace_id: str, after: str | None, limit: int, state: str | None, release_id: str | None
) -> list[Row]:
    """The publications of a workspace, newest first (up to limit + 1). Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        return await store.publications(conn, workspace_id, after, limit + 1, state, release_id)


async def visible(ctx: Context, publication_id: str, *, lock: bool = False) -> Row:
    """In the caller's transaction: the publication, for who may see its pack. Raises PublicationNotFound."""
    row = await store.publication(ctx.conn, publication_id, lock=lock)
    if row is not None:
        seen = await ctx.decide(
            pack_actions.VIEW.name, Resource("pack", row["pack"], row["workspace_id"], {"pack": row["pack"]})
        )
        if seen.verdict != "deny":
            return row
    raise PublicationNotFound(f"There is no publication {publication_id}.")


async def move(ctx: Context, row: Row, state: str, reason: str, **more: Any) -> None:
    """Its next state, in the caller's transaction. Raises Conflict for one that does not follow."""
    PUBLICATION.check(row["state"], state)
    await store.move_publication(ctx.conn, row["id"], state, reason, **more)
    ctx.record(events.publication_moved(row, f"{row['pack']} {row['version']}", row["state"], state, reason))


def pack_of(release: Row) -> str:
    """The full name of a release's pack."""
    return f"{release['publisher']}.{release['name']}"


def name_of(release: Row) -> str:
    """A release as people name it."""
    return f"{pack_of(release)} {release['version']}"
