"""Moves that somebody asks for: to a newer release, or back; and what an approval, a connection or a pack sets going."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from worka.approvals import service as approvals
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.packs import actions
from worka.packs import manifest as manifests
from worka.packs import store as rows
from worka.packs.errors import MountInvalid, ReleaseNotFound
from worka.packs.moving import difference, model, reading, steps, store, trying, versions
from worka.packs.moving.ending import end_open, step
from worka.packs.moving.errors import MoveOver, MoveUnderWay, NothingBefore, NothingNewer, OtherPack
from worka.packs.runtime import clone
from worka.packs.service import attachments, withdrawing
from worka.packs.service import reading as packs_seen

Row = dict[str, Any]


async def compare(ctx: Context, release_id: str, other_id: str) -> Row:
    """What the first release may do, offers and says that `other_id` does not, and the other way round.

    Raises ReleaseNotFound, OtherPack."""
    after, before = await packs_seen.release(ctx, release_id), await packs_seen.release(ctx, other_id)
    if (before["publisher"], before["name"]) != (after["publisher"], after["name"]):
        raise OtherPack(
            f"{before['publisher']}.{before['name']} and {after['publisher']}.{after['name']} are two packs."
        )
    return difference.between(steps.as_compared(before), steps.as_compared(after))


async def update(
    ctx: Context,
    attachment_id: str,
    *,
    release_id: str | None = None,
    mounts: dict[str, str] | None = None,
    why: str = "",
) -> Row:
    """The move of an attachment to a newer release (without one named: the newest), under way: it waits for an approval, a
    connection or a pack, or is being tried. `mounts`: name -> path, for what the new release reads and the old did not.

    Raises AttachmentNotFound, ReleaseNotFound, Denied, ReleaseNotUsable, NotNewer, NothingNewer, MoveUnderWay,
    AttachmentNotUsable, OtherPack, MountInvalid.
    """
    row, old = await reading.own(ctx, attachment_id)
    if release_id is None:
        async with ctx.transaction() as conn:
            known = await store.releases_of(conn, row["pack"])
        best = max((r for r in known if not versions.is_trial(r["version"])), key=lambda r: versions.key(r["version"]),
                   default=None)  # fmt: skip
        if best is None or not versions.newer(best["version"], old["version"]):
            raise NothingNewer(f"{row['pack']} {old['version']} is the newest release that can be attached.")
        release_id = best["id"]
    return await _ask(ctx, row, release_id, "asked", mounts or {}, why)


async def back(ctx: Context, attachment_id: str, why: str = "") -> Row:
    """The move back to the release before the last move. The attachment is pinned there: it would follow forward at once.

    Raises what `update` does, and NothingBefore."""
    row, _old = await reading.own(ctx, attachment_id)
    async with ctx.transaction() as conn:
        came = await store.arrival(conn, attachment_id, row["release_id"])
    if came is None:
        raise NothingBefore(f"{row['pack']} was never moved to the release that it has.")
    return await _ask(ctx, row, came["from_release"], "back", {}, why)


async def _ask(ctx: Context, row: Row, release_id: str, kind: str, chosen: dict[str, str], why: str) -> Row:
    async with ctx.transaction() as conn:
        new = await rows.release(conn, release_id)
        old = await rows.release(conn, row["release_id"])
    if new is None:
        raise ReleaseNotFound(f"There is no release {release_id}.")
    assert old is not None
    inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
    facts, resource, _told = steps.facts_of(row, old, new, kind, chosen)
    if (await replace(inside, unrecorded=True).decide(actions.UPDATE.name, resource, **facts)).verdict == "deny":
        await inside.require(actions.UPDATE.name, resource, **facts)  # nothing is cloned for who may not
    move_id = new_id("mov")
    bound = await _bind(inside, row, new, chosen, move_id)
    made: Row | None = None
    try:
        async with ctx.transaction() as conn:
            inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
            await withdrawing.refuse_withdrawn(inside, row["pack"])
            row, old, new = await steps.locked(conn, row["id"], release_id)
            facts, resource, told = steps.facts_of(row, old, new, kind, chosen)
            decision = await inside.require(actions.UPDATE.name, resource, **facts)
            steps.movable(row, old, new, kind)
            await steps.fits(inside, row, new)
            there = await store.open_move(conn, row["id"])
            if there is not None and there["to_release"] == release_id and there["kind"] == kind and not chosen:
                return await steps.shown(conn, there["id"])
            mounts = steps.mounts_of(row, new, bound)
            if lacking := steps.lacking_mounts(new, mounts):
                raise MountInvalid(f"{row['pack']} {new['version']} needs a path for {', '.join(lacking)}.")
            await end_open(ctx, row["id"], "newer_move")
            made = await steps.plan(inside, row, old, new, kind, told, mounts, move_id, ctx.principal, ctx.originating_person,
                               why)  # fmt: skip
            await steps.go_on(inside, made, row, new, decision)
            return await steps.shown(conn, move_id)
    finally:
        if made is None or ctx.undone:
            await asyncio.to_thread(_unbind, ctx, bound)


async def _bind(ctx: Context, row: Row, new: Row, chosen: dict[str, str], move_id: str) -> list[Row]:
    """Fresh clones of what was chosen, beside those of the attachment that serves. Raises MountInvalid."""
    if not chosen:
        return []
    manifest, _ = manifests.read(new["manifest"])
    kept = frozenset(mount["name"] for mount in row["mounts"]) | {
        mount.name for mount in manifest.runtime.mounts if mount.name not in chosen
    }
    return await attachments._clone_all(ctx, row["id"], manifest, chosen, kept=kept, beside=f".{move_id}")


def _unbind(ctx: Context, bound: list[Row]) -> None:
    for mount in bound:
        clone.remove(Paths(ctx.settings.home).clones, Path(mount["clone"]))


async def approval_locking(ctx: Context, payload: dict[str, Any]) -> None:
    """The release, the attachment and the move before the approval, as everywhere here."""
    if payload["subject_type"] == steps.SUBJECT:
        move = await store.move(ctx.conn, payload["subject_id"])
        if move is not None:
            await steps.locked(ctx.conn, move["attachment_id"], move["to_release"])
            await store.move_for_update(ctx.conn, move["id"])


async def approval_decided(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction of the decision: the move goes on, or ends. The approval is used when the move is made."""
    if payload["subject_type"] != steps.SUBJECT:
        return
    conn = ctx.conn
    known = await store.move(conn, payload["subject_id"])
    if known is None:
        return
    row, _old, new = await steps.locked(conn, known["attachment_id"], known["to_release"])
    move = await store.move_for_update(conn, known["id"])
    if move is None or move["state"] != "awaiting_approval" or move["approval_id"] != payload["approval_id"]:
        return
    inside = ctx.acting(ctx.principal, workspace_id=move["workspace_id"])
    if payload["state"] != "approved":
        await step(inside, move, "refused", "move_superseded" if payload["state"] == "superseded" else "move_rejected")
    elif new["state"] != "released":
        await step(inside, move, "refused", steps.not_released(new))
    elif row["release_id"] != move["from_release"] or row["state"] not in ("attached", "held"):
        await step(inside, move, "superseded", "attachment_changed")
    else:
        await steps.go_on(inside, move, row, new, None)


async def connection_activated(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a connection became active: moves that waited for it go on by themselves."""
    if workspace := payload.get("workspace_id") or ctx.workspace_id:
        await _waited_for(ctx, workspace, "awaiting_connection")


async def attachment_serves(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a pack began to serve: moves that waited for it go on by themselves."""
    await _waited_for(ctx, payload["workspace_id"], "awaiting_dependency")


async def _waited_for(ctx: Context, workspace_id: str, state: str) -> None:
    for known in await store.waiting_moves(ctx.conn, workspace_id, state):
        row, _old, new = await steps.locked(ctx.conn, known["attachment_id"], known["to_release"])
        move = await store.move_for_update(ctx.conn, known["id"])
        if move is None or move["state"] != state:
            continue
        inside = ctx.acting(ctx.principal, workspace_id=workspace_id)
        if new["state"] != "released":
            await step(inside, move, "refused", steps.not_released(new))
        elif row["release_id"] != move["from_release"] or row["state"] not in ("attached", "held"):
            await step(inside, move, "superseded", "attachment_changed")
        else:
            await steps.go_on(inside, move, row, new, None)


async def withdraw(ctx: Context, move_id: str, why: str = "") -> Row:
    """Takes a move back before it is tried, or when nobody tries it any more. Raises MoveNotFound, Denied, MoveOver,
    MoveUnderWay."""
    known = await reading.read(ctx, move_id)
    async with ctx.transaction() as conn:
        inside = ctx.acting(ctx.principal, workspace_id=known["workspace_id"])
        await inside.require(
            actions.PIN.name,
            Resource("attachment", known["attachment_id"], known["workspace_id"], {"pack": known["pack"]}),
        )
        row = await rows.attachment_for_update(conn, known["attachment_id"])
        move = await store.move_for_update(conn, move_id)
        assert row is not None
        assert move is not None
        if model.MOVE.terminal(move["state"]):
            raise MoveOver(
                f"The move ended as {move['state']} ({move['reason']}).", move_id=move_id, state=move["state"]
            )
        if move["state"] == "trying" and (now() - move["since"]).total_seconds() < trying.LOST_SECONDS:
            raise MoveUnderWay("It is being tried just now.", move_id=move_id)
        if move["state"] == "trying" and row["state"] == "updating":
            await trying.stays(inside, row, move, "superseded", "move_withdrawn")
            return await steps.shown(conn, move_id)
        await step(inside, move, "superseded", "move_withdrawn", why=why)
        await approvals.end_for(ctx, move_id, "withdrawn")
        return await steps.shown(conn, move_id)
