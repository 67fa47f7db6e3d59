"""Stages of a registration that failed: tried again by themselves, each from where it stands, or at once when somebody asks.
What went before is not done again, and what cannot change by itself is not tried again by itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

from worka.kernel import clock
from worka.kernel.context import Context, Principal, Resource
from worka.kernel.errors import Problem
from worka.packs import actions, events, model, rules, store
from worka.packs.errors import ReleaseNotFound
from worka.packs.service import reading

Row = dict[str, Any]
log = logging.getLogger("worka.packs")


STUCK = timedelta(hours=24)
"""For so long a registration may stand at one stage: far above what any takes. Then it ends, and holds no name any more."""


def asked(ctx: Context) -> Row:
    """Who stands behind a registration, as its row holds it."""
    return {"asked_kind": ctx.principal.kind, "asked_by": ctx.principal.id, "asked_for": ctx.originating_person}


async def try_due(ctx: Context, most: int = 50) -> int:
    """Takes up every failed stage whose pause is over, of every tenant, and ends what stands still; returns how many were
    taken up. `ctx` is the platform's."""
    await _end_stuck(ctx, most)
    async with ctx.db.transaction(None) as conn:
        due = await store.releases_due(conn, most)
    done = 0
    for entry in due:
        inside = replace(ctx, tx=None, tenant_id=entry["tenant_id"])
        try:
            async with inside.transaction() as conn:
                row = await store.release_for_update(conn, entry["id"])
                if row is not None and await store.pause_over(conn, entry["id"]):
                    if why := await _refused(inside, row):
                        error = {**(row["error"] or {}), "rests": why}
                        await store.rest(conn, row["id"], error)
                        inside.record(
                            events.release(events.RELEASE_MOVED, row, "failed", "failed", row["reason"], rests=why)
                        )
                        inside.commit_points("release.stage")
                        continue
                    await _take_up(inside, row)
                    done += 1
        except Problem as problem:
            log.warning("%s was not taken up again: %s", entry["id"], problem.problem_code)
    return done


async def _refused(ctx: Context, row: Row) -> str:
    """Why it is not tried again by itself, by what whoever asked for it may do now; empty when it is."""
    if row["asked_by"] is None:
        return "It is older than the record of who asked for it: try it again by hand."
    asker = ctx.acting(
        Principal(row["asked_kind"], row["asked_by"], "", ctx.tenant_id), workspace_id=row["workspace_id"]
    )
    asker.originating_person = row["asked_for"]
    facts = _facts(row)
    resource = Resource("pack", facts["pack"], row["workspace_id"], facts)
    decision = await asker.decide(actions.REGISTER.name, resource, **facts)
    if decision.verdict != "deny":
        return ""
    return f"Who asked for it may not register it any more: {'; '.join(decision.reasons)}".rstrip(".:; ") + "."


async def _end_stuck(ctx: Context, most: int) -> None:
    """A registration that has not moved for a day has failed: nobody works on it, and a name that nobody else may have is
    not held for it."""
    async with ctx.db.transaction(None) as conn:
        stuck = await store.releases_stuck(conn, STUCK, most)
    for entry in stuck:
        inside = replace(ctx, tx=None, tenant_id=entry["tenant_id"])
        async with inside.transaction() as conn:
            row = await store.release_for_update(conn, entry["id"])
            if row is None or row["state"] not in model.RELEASE_ROAD[:-1] or clock.now() - row["since"] < STUCK:
                continue
            told = f"It stood at this stage for {STUCK.total_seconds() / 3600:.0f} hours, and nothing took it on."
            model.RELEASE.check(row["state"], "failed")
            await store.move_release(
                conn, row["id"], "failed", "host_unavailable", failed_stage=row["state"],
                error={"code": "host_unavailable", "message": told}, next_try=None,
            )  # fmt: skip
            inside.record(events.release(events.RELEASE_MOVED, row, row["state"], "failed", "host_unavailable"))
            inside.commit_points("release.stage")


def _facts(row: Row) -> Row:
    return {
        "pack": f"{row['publisher']}.{row['name']}", "publisher": row["publisher"], "version": row["version"],
        "source": row["source"]["ecosystem"],
    }  # fmt: skip


async def retry(ctx: Context, release_id: str) -> Row:
    """Takes up the failed stage of a registration, now; a worker goes on from there. Raises ReleaseNotFound, Denied, Conflict."""
    known = await reading.release(ctx, release_id)
    if known["workspace_id"] != ctx.workspace_id and ctx.workspace_id is not None:
        raise ReleaseNotFound(f"This workspace has registered no release {release_id}.")
    facts = _facts(known)
    async with ctx.transaction() as conn:
        await ctx.require(actions.REGISTER.name, Resource("pack", facts["pack"], known["workspace_id"], facts), **facts)
        row = await store.release_for_update(conn, release_id)
        assert row is not None
        model.RELEASE.check(row["state"], row["failed_stage"] or "draft")
        await _take_up(ctx, {**row, "tries": 0}, asked(ctx))
        found = await store.release(conn, release_id)
        assert found is not None
        return found


async def _take_up(ctx: Context, row: Row, by: Row | None = None) -> None:
    """In the caller's transaction, which holds the release: its failed stage is the next one again. `by`: who stands behind
    it from now on, where somebody asked."""
    stage = row["failed_stage"]
    model.RELEASE.check(row["state"], stage)
    reason, attempt = rules.WAITS_FOR[stage], int(row["source"].get("attempt", 1)) + 1
    await store.move_release(
        ctx.conn, row["id"], stage, reason, source={**row["source"], "attempt": attempt}, tries=row["tries"],
        next_try=None, **(by or {}),
    )  # fmt: skip
    assert ctx.tenant_id is not None
    await store.enqueue_registration(ctx.conn, ctx.tenant_id, row["id"], attempt)
    ctx.record(events.release(events.RELEASE_MOVED, row, "failed", stage, reason))
    ctx.commit_points("release.stage")
