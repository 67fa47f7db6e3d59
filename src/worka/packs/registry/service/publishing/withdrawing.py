"""Taking a release from the marketplace."""

from __future__ import annotations

from typing import Any

from worka.kernel.context import Context, Resource
from worka.packs import store as packs
from worka.packs.registry import actions, events, store
from worka.packs.registry.errors import NotListed
from worka.packs.registry.service.publishing.records import name_of, pack_of
from worka.packs.service import reading

Row = dict[str, Any]


async def withdraw(ctx: Context, release_id: str, why: str) -> Row:
    """Takes a release from the marketplace, for the very next look. What was installed stays. Raises ReleaseNotFound, Denied,
    NotListed."""
    release = await reading.release(ctx, release_id)
    async with ctx.transaction() as conn:
        # One after another with what lists it: a publication sees the withdrawal, or was there before it.
        await packs.release_for_update(conn, release_id)
        facts = {"pack": pack_of(release), "release": release_id}
        await ctx.require(
            actions.LISTING_WITHDRAW, Resource("pack", pack_of(release), release["workspace_id"], facts), **facts
        )
        before = await store.listing_of(conn, release_id)
        if before is None or before["state"] != "listed":
            raise NotListed(f"{name_of(release)} is not listed.")
        after = await store.put_listing(conn, {**before, "state": "withdrawn", "why": why})
        ctx.record(events.listing_moved(after, name_of(release), before, why))
        ctx.commit_points("registry.changed")
        return {key: after[key] for key in ("id", "release_id", "digest", "visibility", "state", "why", "since")}
