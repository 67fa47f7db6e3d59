"""Stages of a registration that failed: tried again by themselves, each from where it stands, or at once when somebody asks.
What went before is not done again, and what cannot change by itself is not tried again by itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from worka.kernel.context import Context, Resource
from worka.kernel.errors import Problem
from worka.packs import actions, events, model, rules, store
from worka.packs.errors import ReleaseNotFound
from worka.packs.service import reading

Row = dict[str, Any]
log = logging.getLogger("worka.packs")


async def try_due(ctx: Context, most: int = 50) -> int:
    """Takes up every failed stage whose pause is over, of every tenant; returns how many. `ctx` is the platform's."""
    async with ctx.db.transaction(None) as conn:
        due = await store.releases_due(conn, most)
    done = 0
    for entry in due:
        inside = replace(ctx, tx=None, tenant_id=entry["tenant_id"])
        try:
            async with inside.transaction() as conn:
                row = await store.release_for_update(conn, entry["id"])
                if row is not None and await store.pause_over(conn, entry["id"]):
                    await _take_up(inside, row)
                    done += 1
        except Problem as problem:
            log.warning("%s was not taken up again: %s", entry["id"], problem.problem_code)
    return done


async def retry(ctx: Context, release_id: str) -> Row:
    """Takes up the failed stage of a registration, now; a worker goes on from there. Raises ReleaseNotFound, Denied, Conflict."""
    known = await reading.release(ctx, release_id)
    if known["workspace_id"] != ctx.workspace_id and ctx.workspace_id is not None:
        raise ReleaseNotFound(f"This workspace has registered no release {release_id}.")
    facts = {
        "pack": f"{known['publisher']}.{known['name']}", "publisher": known["publisher"], "version": known["version"],
        "source": known["source"]["ecosystem"],
    }  # fmt: skip
    async with ctx.transaction() as conn:
        await ctx.require(actions.REGISTER.name, Resource("pack", facts["pack"], known["workspace_id"], facts), **facts)
        row = await store.release_for_update(conn, release_id)
        assert row is not None
        model.RELEASE.check(row["state"], row["failed_stage"] or "draft")
        await _take_up(ctx, {**row, "tries": 0})
        found = await store.release(conn, release_id)
        assert found is not None
        return found


async def _take_up(ctx: Context, row: Row) -> None:
    """In the caller's transaction, which holds the release: its failed stage is the next one again."""
    stage = row["failed_stage"]
    model.RELEASE.check(row["state"], stage)
    reason, attempt = rules.WAITS_FOR[stage], int(row["source"].get("attempt", 1)) + 1
    await store.move_release(
        ctx.conn, row["id"], stage, reason, source={**row["source"], "attempt": attempt}, tries=row["tries"],
        next_try=None,
    )  # fmt: skip
    assert ctx.tenant_id is not None
    await store.enqueue_registration(ctx.conn, ctx.tenant_id, row["id"], attempt)
    ctx.record(events.release(events.RELEASE_MOVED, row, "failed", stage, reason))
    ctx.commit_points("release.stage")
