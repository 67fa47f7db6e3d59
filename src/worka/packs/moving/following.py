"""Attachments that follow new releases by themselves, on the account of whoever let them, whose rights of the moment count."""

from __future__ import annotations

from typing import Any

from worka.kernel.context import Context, Principal, Resource
from worka.kernel.db import Connection
from worka.kernel.ids import new_id
from worka.kernel.kinds import kind_of
from worka.packs import actions, events
from worka.packs import store as rows
from worka.packs.errors import AttachmentNotUsable
from worka.packs.moving import difference, reading, steps, store, versions
from worka.packs.moving.ending import end_open, step
from worka.packs.moving.errors import ModeAlready

Row = dict[str, Any]


async def release_released(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a release can be attached: a move of each attachment that follows its pack is planned.
    Whether it may be made is decided by the job, so that nobody's rights stand in the way of the release."""
    new = await rows.release(ctx.conn, payload["release_id"])
    assert new is not None
    for row in await store.followers(ctx.conn, f"{new['publisher']}.{new['name']}"):
        await follow_to(ctx, row, new)


async def follow_to(ctx: Context, row: Row, new: Row) -> Row | None:
    """Plans the move of an attachment that follows, unless one to a release that is as new is under way."""
    conn = ctx.conn
    old = await rows.release(conn, row["release_id"])
    assert old is not None
    if not versions.followed(new["version"], old["version"]):
        return None
    there = await store.open_move(conn, row["id"])
    if there is not None:
        target = await rows.release(conn, there["to_release"])
        assert target is not None
        # What is being tried is let end: `look_again` finds something newer then. What somebody asked for is theirs.
        if (
            there["state"] == "trying"
            or there["kind"] != "followed"
            or not versions.newer(new["version"], target["version"])
        ):
            return None
        await end_open(ctx.acting(ctx.principal, workspace_id=row["workspace_id"]), row["id"], "newer_move")
    who_id = row["followed_by"] or row["created_by"]
    kind = kind_of(who_id)
    who = Principal(kind.name if kind else "person", who_id, "", row["tenant_id"])  # type: ignore[arg-type]
    inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
    told = difference.between(steps.as_compared(old), steps.as_compared(new))
    made = await steps.plan(inside, row, old, new, "followed", told, steps.mounts_of(row, new, []), new_id("mov"), who,
                       row["followed_for"], "")  # fmt: skip
    await store.enqueue_move(conn, row["tenant_id"], made["id"])
    return made


async def newest_to_follow(conn: Connection, row: Row) -> Row | None:
    """The newest release that an attachment would follow to; None where it has that."""
    old = await rows.release(conn, row["release_id"])
    assert old is not None
    known = [
        found
        for found in await store.releases_of(conn, row["pack"])
        if versions.followed(found["version"], old["version"])
    ]
    best = max(known, key=lambda found: versions.key(found["version"]), default=None)
    return None if best is None else await rows.release(conn, best["id"])


async def decide_followed(ctx: Context, move_id: str) -> None:
    """A planned move: whether it may be made, as whoever lets the attachment follow (or accepted the proposal that it came of),
    by the policy of now."""
    async with ctx.transaction() as conn:
        known = await store.move(conn, move_id)
        assert known is not None
        row, old, new = await steps.locked(conn, known["attachment_id"], known["to_release"])
        move = await store.move_for_update(conn, move_id)
        if move is None or move["state"] != "planned":
            return
        inside = steps.for_requester(ctx, move)
        if new["state"] != "released":
            await step(inside, move, "refused", steps.not_released(new))
        elif row["release_id"] != move["from_release"] or row["state"] not in ("attached", "held"):
            await step(inside, move, "superseded", "attachment_changed")
        elif move["kind"] == "followed" and row["mode"] != "tracking":
            await step(inside, move, "superseded", "attachment_pinned")
        elif steps.lacking_mounts(new, move["mounts"]):
            await step(inside, move, "refused", "move_needs_a_person", mounts=steps.lacking_mounts(new, move["mounts"]))
        else:
            facts, resource, _told = steps.facts_of(row, old, new, move["kind"], {})
            decision = await steps.as_requester(ctx, move).decide(actions.UPDATE.name, resource, **facts)
            if decision.verdict == "deny":
                await store.set_decision(conn, move_id, decision.id, None)
                error = {"code": "move_denied", "message": "; ".join(decision.reasons)}
                await step(inside, move, "refused", "move_denied", error)
            else:
                await steps.go_on(inside, move, row, new, decision)


async def attachment_serves(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which an attachment began to serve: what was released before that is followed too."""
    await look_again(ctx, payload["attachment_id"])


async def look_again(ctx: Context, attachment_id: str) -> None:
    """What was released while a move was being tried is not missed: an attachment that follows goes on to it."""
    row = await rows.attachment_for_update(ctx.conn, attachment_id)
    if row is None or row["mode"] != "tracking" or row["state"] not in ("attached", "held"):
        return
    new = await newest_to_follow(ctx.conn, row)
    if new is None:
        return
    tried = await store.moves_of(ctx.conn, attachment_id, None, 20)
    # What did not do is not tried again and again: a person asks for it, or a newer release comes.
    if not any(found["to_release"] == new["id"] for found in tried):
        await follow_to(ctx, row, new)


async def set_mode(ctx: Context, attachment_id: str, mode: str, why: str = "") -> Row:
    """Lets an attachment follow new releases (`tracking`) on the caller's account, or pins it. If a newer release is there,
    a move to it is planned at once. Raises AttachmentNotFound, Denied, ModeAlready, AttachmentNotUsable."""
    row, _old = await reading.own(ctx, attachment_id)
    action = actions.FOLLOW if mode == "tracking" else actions.PIN
    async with ctx.transaction() as conn:
        inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
        await inside.require(
            action.name,
            Resource("attachment", attachment_id, row["workspace_id"], {"pack": row["pack"], "state": row["state"]}),
        )
        found = await rows.attachment_for_update(conn, attachment_id)
        assert found is not None
        row = found
        if row["state"] == "detached":
            raise AttachmentNotUsable(f"{row['pack']} is detached.", attachment_id=attachment_id, state=row["state"])
        if row["mode"] == mode:
            raise ModeAlready(f"{row['pack']} is {mode} already.", attachment_id=attachment_id)
        if row["state"] == "awaiting_approval":
            # The mode is part of what is being approved.
            raise AttachmentNotUsable(
                f"{row['pack']} waits for its approval.", attachment_id=attachment_id, state=row["state"]
            )
        follows = mode == "tracking"
        await store.set_mode(conn, attachment_id, mode, ctx.principal.id if follows else None,
                             ctx.originating_person if follows else None)  # fmt: skip
        kind = events.ATTACHMENT_FOLLOWS if follows else events.ATTACHMENT_PINNED
        inside.record(
            events.attachment(kind, row, row["mode"], mode, "attachment_in_service" if follows else "attachment_pinned",
                              None, why=why)
        )  # fmt: skip
        if not follows and row["state"] != "updating":
            await end_open(inside, attachment_id, "attachment_pinned", only="followed")
        ctx.commit_points("attachment.mode")
        now = await rows.attachment_for_update(conn, attachment_id)
        assert now is not None
        if follows and now["state"] in ("attached", "held"):
            new = await newest_to_follow(conn, now)
            if new is not None:
                await follow_to(inside, now, new)
        return now
