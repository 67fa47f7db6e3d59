"""What a person is shown and asked when a secret gets another value, or ends: dependants, grants, overlap, dates."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import Literal

from worka.approvals import store as outbox
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Problem
from worka.kernel.ids import new_id
from worka.treasury import actions, errors, events, rules, service, store, values
from worka.treasury.rules import SECRET
from worka.treasury.service import Row

log = logging.getLogger("worka.treasury")
EXPIRING = "secret.expiring"
_WORDS = {
    "connection": ("connection", "connections"),
    "attachment": ("grant of an attachment", "grants of attachments"),
    "publisher_key": ("publisher's key", "publishers' keys"),
    "call": ("call that holds it now", "calls that hold it now"),
    "task": ("task in flight that used it", "tasks in flight that used it"),
}
_STANDS = ("connection", "attachment", "publisher_key")
"""What a list is compared by: calls and tasks come and go by themselves."""


async def dependants(ctx: Context, secret_id: str) -> Row:
    """What stands on a secret: {secret_id, name, state, items, counts, listed, sentence}. `listed` is the digest of the list,
    for the rotation that follows. Raises SecretNotFound."""
    async with ctx.transaction():
        row = await service.visible(ctx, secret_id)
        return await _listed(ctx, row)


async def _listed(ctx: Context, row: Row) -> Row:
    items = await store.dependants(ctx.conn, row["id"], service.DAYS)
    counts = {what: sum(item["what"] == what for item in items) for what in _WORDS}
    told = [f"{number} {_WORDS[what][number != 1]}" for what, number in counts.items() if number]
    return {
        "secret_id": row["id"],
        "name": row["name"],
        "state": row["state"],
        "items": items,
        "counts": counts,
        "listed": rules.listed([f"{it['what']} {it['id']} {it['place']}" for it in items if it["what"] in _STANDS]),
        "sentence": f"On {row['name']} stand {', '.join(told)}." if told else f"Nothing stands on {row['name']}.",
    }


async def rotate(
    ctx: Context,
    secret_id: str,
    value: str | None,
    *,
    grants: Literal["keep", "end"] | None,
    overlap_minutes: int = 0,
    listed: str | None = None,
) -> Row:
    """A new value, after the question of what becomes of the grants. `listed`: the list of dependants that was seen; where
    it is another now, nothing is rotated. Raises GrantsUndecided, DependantsMoved, and as `service.rotate`."""
    rules.check_overlap(overlap_minutes)
    async with ctx.transaction():
        row = await service.visible(ctx, secret_id, lock="update")
        seen = await _listed(ctx, row)
        if listed is not None and listed != seen["listed"]:
            raise errors.DependantsMoved(seen["sentence"], listed=seen["listed"])
        if grants is None and seen["counts"]["attachment"]:
            raise errors.GrantsUndecided(seen["sentence"], listed=seen["listed"])
        found = await service.rotate(ctx, secret_id, value, overlap_minutes=overlap_minutes)
        if grants == "end":
            await service.end_grants(ctx, {"kind": "secret", "id": secret_id}, secret_id=secret_id)
            found = await service.get(ctx, secret_id)
    return found


async def finish(ctx: Context, secret_id: str) -> Row:
    """Ends the overlap by hand: the old value is wiped. Raises SecretNotFound, Denied, NotRotating."""
    async with ctx.transaction():
        row = await _rotating(ctx, secret_id)
        await _end(ctx, row, by_hand=True)
        return await service.get(ctx, secret_id)


async def back(ctx: Context, secret_id: str) -> Row:
    """Takes a rotation back while its overlap lasts: the old value is the newest again, under a number of its own, and the
    new one is wiped. Raises SecretNotFound, Denied, NotRotating."""
    async with ctx.transaction() as conn:
        row = await _rotating(ctx, secret_id)
        old = await values.opened(ctx, row, row["previous_version"])
        number = row["version"] + 1
        await values.put(ctx, row, number, old.encode())
        await store.set_version(conn, secret_id, number)
        await _end(ctx, {**row, "version": number}, by_hand=True, before=row)
        return await service.get(ctx, secret_id)


async def _rotating(ctx: Context, secret_id: str) -> Row:
    row = await service.visible(ctx, secret_id, lock="update")
    await ctx.require(actions.SECRET_ROTATE, Resource("secret", secret_id, row["workspace_id"], {"name": row["name"]}))
    if row["state"] != "rotating":
        raise errors.NotRotating(f"{row['name']} is {row['state']}.")
    return row


async def _end(ctx: Context, row: Row, *, by_hand: bool, before: Row | None = None) -> None:
    SECRET.check(row["state"], "active")
    await store.end_versions(ctx.conn, row["id"], [row["version"]])
    await store.set_overlap(ctx.conn, row["id"], None, None)
    await store.set_state(ctx.conn, row["id"], "active", "secret_ready")
    ctx.record(events.overlap_ended(before or row, {"state": "active", "version": row["version"]}, by_hand))
    ctx.failpoint("treasury.overlap.before_commit")


async def set_dates(ctx: Context, secret_id: str, expires_at: datetime | None, rotate_days: int | None) -> Row:
    """When it ends, and how often it is to be rotated; None: no such date. Raises SecretNotFound, Denied, SecretRevoked,
    DatesInvalid."""
    rules.check_end(expires_at, now())
    rules.check_days(rotate_days)
    async with ctx.transaction() as conn:
        row = await service.visible(ctx, secret_id, lock="update")
        await ctx.require(
            actions.SECRET_DATE, Resource("secret", secret_id, row["workspace_id"], {"name": row["name"]})
        )
        if row["state"] not in rules.LEASABLE:
            raise errors.SecretRevoked(f"{row['name']} is {row['state']}.")
        await store.set_dates(conn, secret_id, expires_at, rotate_days)
        after = {"expires_at": expires_at.isoformat() if expires_at else None, "rotate_days": rotate_days}
        ctx.record(events.dated(row, after))
        ctx.failpoint("treasury.changed.before_commit")
        return await service.get(ctx, secret_id)


async def destroy(ctx: Context, secret_id: str, why: str) -> Row:
    """Wipes the values of a revoked secret, for good. Raises SecretNotFound, Denied, Conflict."""
    async with ctx.transaction() as conn:
        row = await service.visible(ctx, secret_id, lock="update")
        await ctx.require(
            actions.SECRET_DESTROY, Resource("secret", secret_id, row["workspace_id"], {"name": row["name"]})
        )
        if row["state"] != "revoked":
            raise errors.SecretRevoked(
                f"{row['name']} is {row['state']}: only what is revoked is destroyed.", code="state_conflict",
                remedy="Revoke it first, and look at what stops.",
            )  # fmt: skip
        SECRET.check(row["state"], "destroyed")
        await store.end_versions(conn, secret_id, [])
        await store.set_state(conn, secret_id, "destroyed", "secret_destroyed")
        ctx.record(events.destroyed(row, why))
        ctx.failpoint("treasury.changed.before_commit")
        return await service.get(ctx, secret_id)


async def leases(ctx: Context, secret_id: str, after: str | None, limit: int) -> list[Row]:
    """The use log of a secret, the newest first (up to limit + 1): who, when, for which call and endpoint; never the value.
    Raises SecretNotFound."""
    async with ctx.transaction() as conn:
        await service.visible(ctx, secret_id)
        return await store.leases(conn, secret_id, after, limit + 1)


async def ending(ctx: Context, workspace_id: str) -> list[Row]:
    """For the attention of people: {id, name, warning, due_at} of what has to have a new value."""
    rows = await store.ending(ctx.conn, workspace_id, rules.SOON)
    at = now()
    return [
        {
            **{key: row[key] for key in ("id", "name", "since")},
            "warning": rules.warning(row, at),
            "due_at": rules.due(row),
        }
        for row in rows
    ]


# by itself ----------------------------------------------------------------------------------------------------------
async def sweep(ctx: Context, most: int = 100) -> int:
    """Ends overlaps that are over, and tells of secrets that end: over all tenants, each in a transaction of its own; how
    many. `ctx` is the platform's. Two processes may run it at once: the row's lock lets one of them do it."""
    done, ill = 0, set[str]()
    while True:
        async with ctx.db.transaction(None) as conn:
            found = await store.due(conn, most, rules.SOON)
        for entry in found:
            tenant_id = entry["tenant_id"]
            if tenant_id in ill:
                continue
            try:
                done += await _tend(replace(ctx, tx=None, tenant_id=tenant_id), entry["secret_id"])
            except Problem:
                log.exception("secret %s was passed over, and what else is due in its tenant", entry["secret_id"])
                ill.add(tenant_id)
        # No tenant waits for another: where those that cannot be tended fill all that was found, more is looked for.
        if done or len(found) < most:
            return done
        most *= 2


async def _tend(ctx: Context, secret_id: str) -> bool:
    async with ctx.transaction() as conn:
        row = await store.secret(conn, secret_id, lock="update")
        if row is None:
            return False
        at, done = now(), False
        ctx.workspace_id = row["workspace_id"]
        if row["state"] == "rotating" and row["overlap_until"] is not None and row["overlap_until"] <= at:
            await _end(ctx, row, by_hand=False)
            done = True
        level = rules.warning(row, at)
        if level and level != row["warned"]:
            await store.set_warned(conn, secret_id, level)
            ctx.record(events.warned(row, level, rules.due(row)))
            await _tell(ctx, row, level)
            ctx.failpoint("treasury.warned.before_commit")
            done = True
        return done


async def _tell(ctx: Context, row: Row, level: str) -> None:
    """A message of the outbox: whoever delivers turns it into what people and systems are told."""
    end = rules.due(row)
    assert end is not None
    stands = await store.dependants(ctx.conn, row["id"], service.DAYS)
    payload = {
        "workspace_id": row["workspace_id"], "secret_id": row["id"], "name": row["name"], "level": level,
        "due_at": end.isoformat(), "dependants": [item["id"] for item in stands if item["what"] in _STANDS][:50],
    }  # fmt: skip
    await outbox.send_later(
        ctx.conn, {"tenant_id": row["tenant_id"], "id": new_id("out"), "topic": EXPIRING, "payload": payload}
    )
