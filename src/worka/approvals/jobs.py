"""What runs by itself: approvals that nobody decided in time are reminded of, escalated, and expire, and whoever waits is
told in the same commit; and what follows when somebody leaves a workspace or another owner decides about a bypass."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from worka.approvals import bypass, delegations, events, groups, service, store, timing
from worka.approvals.notices import ESCALATION, REMINDER, send, waited_for
from worka.approvals.people import Audience, audience
from worka.approvals.rules import Ask
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.errors import Problem
from worka.kernel.events import Subscribers

Row = dict[str, Any]
Find = Callable[[Connection, int], Awaitable[list[Row]]]
Act = Callable[[Context, str], Awaitable[bool]]
log = logging.getLogger("worka.approvals")


def subscribe(subscribers: Subscribers) -> None:
    """Plugs the handlers in, in every process role that decides approvals or changes members."""
    bypass.subscribe(subscribers)
    subscribers.on("membership.changed", delegations.left)
    subscribers.on("membership.changed", bypass.left)
    subscribers.on("membership.changed", groups.left)


async def expire_due(ctx: Context, most: int = 100) -> int:
    """Expires up to `most` overdue approvals over all tenants, each in a transaction of its own; returns how many.

    `ctx` is the platform's. Two processes may run it at once: the row's lock and state let one of them do it."""
    return await _each(ctx, store.overdue, _expired, most)


async def remind_due(ctx: Context, most: int = 100) -> int:
    """Reminds of and escalates up to `most` approvals that are due, over all tenants, each in a transaction of its own;
    returns of how many somebody is told. `ctx` is the platform's. Two processes may run it at once: who takes the row's lock
    second finds nothing due any more."""
    return await _each(ctx, store.due, _told, most)


async def _each(ctx: Context, find: Find, act: Act, most: int) -> int:
    """No tenant waits for another: one whose policy cannot be read, or whose keys are gone, is passed over until the next
    sweep, and where such tenants fill all that was found, more is looked for."""
    done, ill = 0, set[str]()
    while True:
        async with ctx.db.transaction(None) as conn:
            found = await find(conn, most)
        for entry in found:
            tenant_id, approval_id = entry["tenant_id"], entry["approval_id"]
            if tenant_id in ill:
                continue
            try:
                done += await act(replace(ctx, tx=None, tenant_id=tenant_id), approval_id)
            except (Problem, ValueError):
                log.exception("approval %s was passed over, and what else is due in its tenant", approval_id)
                ill.add(tenant_id)
        if done or len(found) < most:
            return done
        most *= 2


async def _expired(ctx: Context, approval_id: str) -> bool:
    async with ctx.transaction():
        row = await service.locked(ctx, approval_id)
        if row is None or row["state"] != "open" or row["expires_at"] > now():
            return False
        ctx.workspace_id = row["workspace_id"]
        await service.end(ctx, row, "expired", publish=True)
        return True


async def _told(ctx: Context, approval_id: str) -> bool:
    if await service.supersede(ctx, approval_id) is not None:
        return True
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id, lock=True)
        at = now()
        if row is None or row["state"] != "open" or row["due_at"] is None or row["due_at"] > at:
            return False
        ctx.workspace_id = row["workspace_id"]
        when = await timing.of_workspace(ctx, row["workspace_id"])
        what = timing.due(when, row, at) if row["expires_at"] > at else timing.Due(False, False, None)
        await store.schedule(conn, approval_id, what.again)
        if what.escalate and row["verb"] == "approve":
            await _escalate(ctx, row, when.escalate_to)
        elif what.remind or what.escalate:
            await _remind(ctx, row)  # a confirmation is one person's: nobody else's seat can be opened
        return what.escalate or what.remind


async def _escalate(ctx: Context, row: Row, to: str) -> None:
    escalated = await store.mark_escalated(ctx.conn, row["id"], to)
    assert escalated is not None, "the row is locked"
    ask, people = await _asked(ctx, escalated)
    await store.set_reason(ctx.conn, row["id"], groups.reason_of(ask, people))
    told = waited_for(ask, people)
    ctx.record(events.escalated(escalated, told))
    await send(ctx, ESCALATION, escalated, {"escalated_to": to, "people": told})
    ctx.failpoint("approval.escalated.before_commit")


async def _remind(ctx: Context, row: Row) -> None:
    reminded = await store.mark_reminded(ctx.conn, row["id"])
    assert reminded is not None, "the row is locked"
    ask, people = await _asked(ctx, reminded)
    told = waited_for(ask, people)
    ctx.record(events.reminded(reminded, told))
    await send(ctx, REMINDER, reminded, {"number": reminded["reminders"], "people": told})
    ctx.failpoint("approval.reminded.before_commit")


async def _asked(ctx: Context, row: Row) -> tuple[Ask, Audience]:
    votes = await store.votes(ctx.conn, row["id"])
    return Ask.of(row, votes), await audience(ctx.conn, ctx, row["workspace_id"])
