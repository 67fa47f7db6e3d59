"""Kill switches: what one would touch, setting it, and lifting it in stages.

Set in one commit, and read in the same statement as the policy versions: it holds for the very next call in every
process. A lift goes through a trial (for named workspaces or members the switch does not hold) before it is for all.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from worka import authorization
from worka.governance import actions as names
from worka.governance import events, hanging, kills, store
from worka.governance.errors import AlreadyKilled, KillMoved, KillNotFound
from worka.kernel import kinds
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Denied, Invalid
from worka.kernel.ids import new_id
from worka.workspaces import store as workspaces

Row = dict[str, Any]
MOST_CALLS = 50
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[1-9][0-9]{0,4})?\Z")
_LISTS = ("workspaces", "attachments", "tasks", "calls")
_SHOWN = (
    "id", "kind", "subject", "workspace_id", "reason", "state", "exempt", "receipt", "set_by", "set_by_name", "at",
    "moved_by", "moved_at", "move_reason", "by_operator",
)  # fmt: skip


async def preview_kill(
    ctx: Context, workspace_id: str, kind: str, subject: str, everywhere: bool, days: int = 7
) -> dict[str, Any]:
    """What a kill switch would touch, and which of the calls of the last days it would have refused, before it is set
    (GOV-14, BEY-2). Over the whole tenant only for who could set it there. Raises KillNotFound, Invalid, Denied."""
    async with ctx.transaction():
        await ctx.require(names.KILL_VIEW, Resource("workspace", workspace_id, workspace_id))
        if (everywhere or kind == "tenant") and not await _reads_wide(ctx):
            raise Denied(
                f"Who may not {names.KILL_SET_WIDE} is not shown what that would touch in the whole tenant.",
                action=names.KILL_SET_WIDE,
                resource_type="tenant",
                remedy="Look at this workspace alone, or ask an owner of all workspaces of the tenant.",
            )
        subject, name, where = await _meant(ctx, workspace_id, kind, subject, everywhere)
        return {
            "kind": kind,
            "subject": subject,
            "workspace_id": where,
            **await touched(ctx, kind, subject, name, where),
            "recorded": await recorded(ctx, kind, subject, where, days),
        }


async def kill(
    ctx: Context, workspace_id: str, kind: str, subject: str, reason: str, everywhere: bool
) -> dict[str, Any]:
    """Sets it; the answer's `receipt` is what it touched in that moment.

    Raises KillNotFound, AlreadyKilled, Invalid, Denied."""
    async with _settled(), ctx.transaction():
        facts = {"role": await _role_of(ctx, workspace_id, subject)} if kind == "member" else {}
        # Who may not is told so before anything is looked for: a 404 would say which ids there are elsewhere.
        where = None if everywhere or kind == "tenant" else workspace_id
        await _require(ctx, workspace_id, where, kind, **facts)
        subject, name, where = await _meant(ctx, workspace_id, kind, subject, everywhere)
        return await _set(ctx, kind, subject, name, where, reason, by_operator=False)


async def kill_in_tenant(ctx: Context, tenant_id: str, kind: str, subject: str, reason: str) -> dict[str, Any]:
    """The deployment's operator sets it over a tenant; nobody of the tenant can lift it. The receipt is the tenant's: the
    operator, who may try this without leaving a trace, is told how much it is and nothing of what it is. Raises as `kill`."""
    async with _settled(), _operating(ctx, tenant_id) as inside:
        subject, name, _ = await _meant(inside, "", kind, subject, everywhere=True)
        return _numbers(await _set(inside, kind, subject, name, None, reason, by_operator=True))


async def lift_in_tenant(
    ctx: Context, tenant_id: str, kill_id: str, stage: str, exempt: list[str], reason: str, skip_trial: bool
) -> dict[str, Any]:
    """The same for a lift. Raises as `lift`."""
    async with _operating(ctx, tenant_id) as inside:
        row = await store.kill(inside.conn, kill_id, lock=True)
        if row is None:
            raise KillNotFound(f"There is no kill switch {kill_id} in this tenant.")
        return _numbers(await _move(inside, row, stage, exempt, reason, skip_trial))


@asynccontextmanager
async def _settled() -> AsyncIterator[None]:
    """Who finds it on already, because somebody has just set it, is not told so sooner than they are."""
    try:
        yield
    except AlreadyKilled:
        await asyncio.sleep(kills.SETTLE_SECONDS)
        raise


@asynccontextmanager
async def _operating(ctx: Context, tenant_id: str) -> AsyncIterator[Context]:
    """Inside a tenant as the operator, who has no role there: what may be done was asked outside of every tenant."""
    platform = ctx.acting(ctx.principal)
    platform.tenant_id, platform.workspace_id = None, None
    async with platform.transaction():
        await platform.require(names.KILL_DEPLOY, Resource("tenant", tenant_id, None))
    there = ctx.acting(ctx.principal, tenant_id=tenant_id)
    there.workspace_id = None
    async with there.transaction() as conn:
        if not await workspaces.workspace_ids(conn):
            raise KillNotFound(f"There is no tenant {tenant_id[:60]}.")
        yield there


async def list_in_tenant(ctx: Context, tenant_id: str, after: str | None, limit: int) -> list[dict[str, Any]]:
    """The kill switches of a tenant that hold or held in all of it, newest first; up to limit + 1. For the operator, who has
    no part in the tenant: how much each touched, not what. Raises KillNotFound, Denied."""
    async with _operating(ctx, tenant_id) as inside:
        return [_numbers(shown(row)) for row in await store.kills(inside.conn, "", after, limit + 1)]


async def _meant(
    ctx: Context, workspace_id: str, kind: str, subject: str, everywhere: bool
) -> tuple[str, str, str | None]:
    """(subject, its name, where it holds: None in the whole tenant). What is not in the tenant does not exist, and through
    the door of one workspace what is in others alone does not either."""
    if kind == "destination":
        place = subject.strip().lower().rstrip(".")
        if not _HOST.match(place) or ".." in place:
            raise Invalid(f"{subject[:80]!r} is no host, *.host or host:port.", field="subject")
        return place, place, None if everywhere else workspace_id
    where = None if everywhere or kind == "tenant" else workspace_id
    found = await store.stoppable(ctx.conn, kind, subject)
    if found is None or (where is not None and where not in found["workspaces"]):
        # What left since it was stopped is still looked at before that is lifted.
        found = await store.stopped(ctx.conn, kind, subject, where)
    if found is None:
        raise KillNotFound(f"There is no {kind} with the id {subject[:80]} here.")
    return subject, str(found["name"]), where


async def _role_of(ctx: Context, workspace_id: str, subject: str) -> str | None:
    """The role of a member that is about to be stopped, which nobody changes meanwhile: only an owner stops an owner, as
    only an owner removes one."""
    of = kinds.kind_of(subject)
    found = await workspaces.lock_members(ctx.conn, workspace_id, of.name, subject) if of else []
    return next((str(row["role"]) for row in found if row["principal_id"] == subject), None)


async def _reads_wide(ctx: Context) -> bool:
    """Whether the reader is shown what lies in other workspaces: who could stop it there."""
    tenant = Resource("tenant", ctx.tenant_id or "", None)
    return await authorization.may(
        ctx.conn, ctx, ctx.principal.kind, ctx.principal.id, names.KILL_SET_WIDE, tenant
    )  # fmt: skip


async def _require(ctx: Context, workspace_id: str, where: str | None, kind: str, **facts: Any) -> None:
    if where is None:
        tenant = Resource("tenant", ctx.tenant_id or "", None, {"kind": kind, **facts})
        await ctx.require(names.KILL_SET_WIDE, tenant)
    else:
        place = Resource("workspace", workspace_id, workspace_id)
        await ctx.require(names.KILL_SET, place, kind=kind, **facts)


async def recorded(ctx: Context, kind: str, subject: str, where: str | None, days: int) -> Row:
    """The calls of the last `days` that had to do with it, and so would have been refused: all counted, the newest shown."""
    total, calls = await store.recorded_calls(ctx.conn, kind, subject, where, now() - timedelta(days=days), MOST_CALLS)
    return {"days": days, "total": total, "calls": calls}


async def touched(ctx: Context, kind: str, subject: str, name: str, where: str | None) -> Row:
    """The serving attachments, the open tasks and the calls under way that have to do with it, complete; and what else hangs
    on a member, or goes to a destination."""
    places: list[str] = []
    hangs: list[Row] = []
    if kind == "member":
        places, hangs = await hanging.of_member(ctx, subject, where)
    elif kind == "destination":
        hangs = await hanging.of_destination(ctx, subject, where)
        places = [row["workspace_id"] for row in hangs if row["workspace_id"]]
    attachments = await store.touched_attachments(ctx.conn, kind, subject, where)
    tasks = await store.touched_tasks(ctx.conn, kind, subject, where, attachments)
    calls = await store.touched_calls(ctx.conn, kind, subject, where, [row["id"] for row in attachments])
    return {
        "name": name,
        "workspaces": sorted({*places, *(row["workspace_id"] for row in (*attachments, *tasks))}),
        "hangs": hangs,
        "attachments": [{key: row[key] for key in ("id", "pack", "workspace_id")} for row in attachments],
        "tasks": [{key: row[key] for key in ("id", "title", "state", "workspace_id")} for row in tasks],
        "calls": calls,
    }


async def _set(
    ctx: Context, kind: str, subject: str, name: str, where: str | None, reason: str, *, by_operator: bool
) -> dict[str, Any]:
    if not reason.strip():
        raise Invalid("A kill switch needs a reason: whoever is stopped by it reads it.", field="reason")
    if kind == "member" and subject in (ctx.principal.id, ctx.originating_person):
        raise Invalid("Nobody stops themselves: then nobody of you could lift it.", field="subject")
    own = await workspaces.membership(ctx.conn, where, ctx.principal.kind, ctx.principal.id) if where else None
    made = await store.add_kill(
        ctx.conn,
        {
            "tenant_id": ctx.tenant_id,
            "id": new_id("kill"),
            "workspace_id": where,
            "kind": kind,
            "subject": subject,
            "reason": reason,
            "receipt": await touched(ctx, kind, subject, name, where),
            "set_by": ctx.principal.id,
            "set_by_name": ctx.principal.name,
            "by_operator": by_operator,
            # In the whole tenant only owners stop something, or the operator.
            "by_owner": not by_operator and (where is None or (own is not None and own["role"] == "owner")),
        },
    )
    if made is None:
        raise AlreadyKilled(f"A kill switch on the {kind} {subject} is on already.")
    ctx.record(events.kill_set(made))
    await ctx.publish("kill.set", {"kill_id": made["id"], "kind": kind})
    ctx.failpoint("kill.moved.before_commit")
    ctx.settles(kills.SETTLE_SECONDS)
    return shown(made)


def shown(row: Row) -> Row:
    """A kill switch as the API shows it, with the words that whoever is stopped reads."""
    found = {key: row[key] for key in _SHOWN}
    on = row["state"] != "lifted"
    words = {"sentence": kills.said(row), "who_can_lift": kills.remedy(row) if on else ""}
    return {**found, "receipt_cut": False, "counts": counts(row["receipt"]), **words}


def counts(receipt: Row) -> Row:
    """How much a receipt names, and nothing of what. Pure."""
    found: Row = {name: len(receipt.get(name, ())) for name in _LISTS}
    return {**found, "hangs": dict(Counter(thing["what"] for thing in receipt.get("hangs", ())))}


def _numbers(row: Row) -> Row:
    """A kill switch as the operator sees it: not even the name of its subject, which is one of the tenant's people or things."""
    bare = {"name": row["subject"], **{name: [] for name in (*_LISTS, "hangs")}}
    return {**row, "receipt": bare, "receipt_cut": True}


async def _shown_in(ctx: Context, workspace_id: str, rows: list[Row]) -> list[Row]:
    """As a reader of this workspace sees them: of what holds in the whole tenant the receipt's part of this workspace,
    unless they could set it there themselves."""
    wide = [row for row in rows if row["workspace_id"] is None]
    if not wide or await _reads_wide(ctx):
        return [shown(row) for row in rows]
    calls = [call for row in wide for call in row["receipt"].get("calls", ())]
    here = set(await store.calls_of(ctx.conn, workspace_id, calls))
    return [shown(row) if row["workspace_id"] else _cut(shown(row), workspace_id, here) for row in rows]


def _cut(row: Row, workspace_id: str, calls: set[str]) -> Row:
    receipt = row["receipt"]
    part = {
        **receipt,
        "workspaces": [place for place in receipt.get("workspaces", ()) if place == workspace_id],
        "calls": [call for call in receipt.get("calls", ()) if call in calls],
    }
    for name in ("attachments", "tasks", "hangs"):
        part[name] = [thing for thing in receipt.get(name, ()) if thing["workspace_id"] == workspace_id]
    return {**row, "receipt": part, "receipt_cut": True, "counts": counts(part)}


async def lift(
    ctx: Context, workspace_id: str, kill_id: str, stage: str, exempt: list[str], reason: str, skip_trial: bool
) -> dict[str, Any]:
    """Lifts it: `trial` for the named workspaces or members, `all` after a trial (or with `skip_trial`, which the ledger
    says), `none` takes a trial back. Raises KillNotFound, KillMoved, Invalid, Denied."""
    async with ctx.transaction():
        row = await _visible(ctx, workspace_id, kill_id, lock=True)
        await _require(ctx, workspace_id, row["workspace_id"], row["kind"], source=kills.setter(row))
        if row["by_operator"]:
            raise Denied("The deployment's operator set it: nobody of the tenant lifts it.", remedy=kills.remedy(row))
        return await _move(ctx, row, stage, exempt, reason, skip_trial)


async def _move(ctx: Context, row: Row, stage: str, exempt: list[str], reason: str, skip_trial: bool) -> dict[str, Any]:
    if not reason.strip():
        raise Invalid("A lift needs a reason.", field="reason")
    if row["state"] == "lifted":
        raise KillMoved(f"{row['id']} is lifted already.", state=row["state"])
    if stage == "trial" and not exempt:
        raise Invalid("A trial names the workspaces or members for which it is lifted.", field="for")
    if stage != "trial" and exempt:
        raise Invalid(
            "Only a lift on trial is for some: this one is for all." if stage == "all" else "It holds for all again.",
            field="for",
            remedy="Name nobody, or lift it on trial.",
        )
    if stage == "none" and row["state"] == "on":
        raise KillMoved(f"{row['id']} holds for all already.", state=row["state"])
    if stage == "all" and row["state"] == "on" and not skip_trial:
        raise KillMoved(
            f"{row['id']} was not lifted on trial yet.",
            state=row["state"],
            remedy=f"Lift it on trial for one workspace or member first: `worka kill lift {row['id']} --for ID`; or, on"
            " purpose, for all at once: `--skip-trial`.",
        )
    if stage == "trial":
        await _spares_somebody(ctx, row, exempt)
    state = {"trial": "trial", "all": "lifted", "none": "on"}[stage]
    moved = await store.move_kill(
        ctx.conn, row["id"], state, sorted(set(exempt)) if state == "trial" else [], ctx.principal.id, reason
    )
    ctx.record(events.kill_lifted(moved, row["state"]) if state == "lifted" else events.kill_moved(moved, row["state"]))
    ctx.failpoint("kill.moved.before_commit")
    if stage == "none":
        ctx.settles(kills.SETTLE_SECONDS)
    return shown(moved)


async def _spares_somebody(ctx: Context, row: Row, exempt: list[str]) -> None:
    """Raises Invalid for a trial that lifts it for nobody: it would open the lift for all, and the ledger would not say that
    nothing was tried."""
    place = row["subject"] if row["kind"] == "workspace" else row["workspace_id"]
    unknown = sorted(set(exempt) - set(await store.exemptible(ctx.conn, exempt, place)))
    if unknown:
        raise Invalid(
            f"{', '.join(repr(name[:64]) for name in unknown[:5])}: no workspace or member that it stops.",
            field="for",
            remedy="Name a workspace where it holds, or a member there; `worka member list` names who is here.",
        )
    if row["kind"] == "member" and not any(_meets(row["subject"], name) for name in exempt):
        raise Invalid(
            f"It stops {row['subject']}: for another person alone nothing would be lifted.",
            field="for",
            remedy="Name a workspace, the member that is stopped, or an AI team member or service account.",
        )


def _meets(subject: str, exempt: str) -> bool:
    """Whether a request that a switch on a member stops can have to do with who is exempt: no two people are in one. Pure."""
    return exempt == subject or not all(name.startswith("per_") for name in (subject, exempt))


async def list_kills(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[dict[str, Any]]:
    """The kill switches that hold, or held, here; newest first; up to limit + 1."""
    async with ctx.transaction() as conn:
        await ctx.require(names.KILL_VIEW, Resource("workspace", workspace_id, workspace_id))
        return await _shown_in(ctx, workspace_id, await store.kills(conn, workspace_id, after, limit + 1))


async def show_kill(ctx: Context, workspace_id: str, kill_id: str) -> dict[str, Any]:
    """One of them. Raises KillNotFound."""
    async with ctx.transaction():
        return (await _shown_in(ctx, workspace_id, [await _visible(ctx, workspace_id, kill_id)]))[0]


async def _visible(ctx: Context, workspace_id: str, kill_id: str, *, lock: bool = False) -> Row:
    await ctx.require(names.KILL_VIEW, Resource("workspace", workspace_id, workspace_id))
    row = await store.kill(ctx.conn, kill_id, lock=lock)
    if row is None or row["workspace_id"] not in (None, workspace_id):
        raise KillNotFound(f"There is no kill switch {kill_id} here.")
    return row
