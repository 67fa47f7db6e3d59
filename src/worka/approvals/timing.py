"""When approvals remind, escalate and expire: a workspace's own settings, within what the deployment allows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worka.approvals import actions, events, store
from worka.approvals.errors import BadSettings
from worka.approvals.people import audience
from worka.approvals.seats import OF_ROLES
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Invalid
from worka.kernel.settings import ApprovalSettings

Row = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """What holds in a workspace. `remind` and `escalate` are None for never."""

    life: timedelta
    remind: timedelta | None
    times: int
    escalate: timedelta | None
    escalate_to: str
    blanket: timedelta


def timing(deployment: ApprovalSettings, own: Row | None) -> Timing:
    """The workspace's own settings where it has any; an approval never lives longer than the deployment says. Pure."""
    found = own or dict.fromkeys(store.SETTINGS)

    def minutes(name: str, default: int) -> timedelta | None:
        value = default if found[name] is None else found[name]
        return timedelta(minutes=value) if value else None

    longest = timedelta(hours=deployment.expires_hours)
    blanket = deployment.blanket_seconds if found["blanket_seconds"] is None else found["blanket_seconds"]
    return Timing(
        life=min(minutes("expires_minutes", 0) or longest, longest),
        remind=minutes("remind_minutes", deployment.remind_minutes),
        times=deployment.remind_times if found["remind_times"] is None else found["remind_times"],
        escalate=minutes("escalate_minutes", deployment.escalate_minutes),
        escalate_to=found["escalate_to"] or deployment.escalate_to,
        blanket=timedelta(seconds=blanket),
    )


async def of_workspace(ctx: Context, workspace_id: str) -> Timing:
    """What holds in a workspace now."""
    deployment = ApprovalSettings() if ctx.settings is None else ctx.settings.approvals
    return timing(deployment, await store.settings(ctx.conn, workspace_id))


def first_due(when: Timing, asked: datetime, expires: datetime) -> datetime | None:
    """When the first reminder or the escalation of a new approval is due; None: neither before it expires. Pure."""
    times = [asked + when.remind] if when.remind and when.times else []
    times += [asked + when.escalate] if when.escalate else []
    soonest = min(times, default=None)
    return soonest if soonest is not None and soonest < expires else None


@dataclass(frozen=True)
class Due:
    """What is to be done about an open approval now, and when to look again."""

    escalate: bool
    remind: bool
    again: datetime | None


def due(when: Timing, row: Row, at: datetime) -> Due:
    """Pure. What was missed while nothing ran is done once, not once for each time that passed. An approval that was
    escalated is not reminded of in the same moment: who is told of the escalation is told."""
    escalation = row["created_at"] + when.escalate if when.escalate and row["escalated_at"] is None else None
    escalate = escalation is not None and escalation <= at
    left = when.times - row["reminders"]
    reminder = row["created_at"] + when.remind * (row["reminders"] + 1) if when.remind and left > 0 else None
    remind = reminder is not None and reminder <= at and not escalate
    times = [] if escalation is None or escalate else [escalation]
    if when.remind and reminder is not None and left > int(remind):
        times.append(max(reminder, at + when.remind) if remind or reminder <= at else reminder)
    again = min(times, default=None)
    return Due(escalate, remind, again if again is not None and again < row["expires_at"] else None)


def moment(text: str, field: str, wrong: type[Invalid]) -> datetime:
    """An ISO 8601 time with its zone. Raises `wrong`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise wrong(f"{field}: {text[:40]!r} is no ISO 8601 time.", field=f"/{field}") from error
    if found.tzinfo is None:
        raise wrong(f"{field}: {text[:40]!r} has no zone.", field=f"/{field}")
    return found


def place(workspace_id: str) -> Resource:
    """The workspace whose settings they are."""
    return Resource("workspace", workspace_id, workspace_id)


async def show(ctx: Context, workspace_id: str) -> Row:
    """What a workspace sets itself, and what holds."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
        return shown(ctx, workspace_id, await store.settings(conn, workspace_id))


def shown(ctx: Context, workspace_id: str, own: Row | None) -> Row:
    """Settings as the API shows them: the own ones (null: the deployment's), and what holds."""
    when = timing(ctx.settings.approvals, own)

    def minutes(span: timedelta | None) -> int:
        return int(span.total_seconds() // 60) if span else 0

    return {
        "workspace_id": workspace_id,
        "own": {name: (own or {}).get(name) for name in store.SETTINGS},
        "holds": {
            "expires_minutes": minutes(when.life),
            "remind_minutes": minutes(when.remind),
            "remind_times": when.times,
            "escalate_minutes": minutes(when.escalate),
            "escalate_to": when.escalate_to,
            "blanket_seconds": int(when.blanket.total_seconds()),
        },
        "updated_by": own["updated_by"] if own else None,
        "updated_at": own["updated_at"] if own else None,
    }


async def put(ctx: Context, workspace_id: str, wanted: Row) -> Row:
    """Sets them, whole; null gives a setting back to the deployment. Open approvals are looked at again with the next
    sweep, by the new ones. Raises BadSettings."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_SETTINGS, place(workspace_id))
        await store.lock_people(conn, workspace_id)
        longest = ctx.settings.approvals.expires_hours * 60
        if (wanted["expires_minutes"] or 0) > longest:
            raise BadSettings(
                f"An approval lives {longest} minutes at most in this deployment.", field="/expires_minutes"
            )
        people = await audience(conn, ctx, workspace_id)
        if wanted["escalate_to"] is not None and wanted["escalate_to"] not in people.groups:
            raise BadSettings(
                f"{wanted['escalate_to']} is no group here; there are {', '.join(sorted(people.groups))}.",
                field="/escalate_to",
                remedy=f"Name {' or '.join(OF_ROLES)}, or make the group first: worka group create.",
            )
        before = await store.settings(conn, workspace_id)
        row = {"tenant_id": ctx.tenant_id, "workspace_id": workspace_id, "updated_by": ctx.principal.id, **wanted}
        made = await store.put_settings(conn, row)
        held = {name: (before or {}).get(name) for name in store.SETTINGS}
        if held != {name: made[name] for name in store.SETTINGS}:
            ctx.record(events.settings_changed(workspace_id, held, {name: made[name] for name in store.SETTINGS}))
        await store.look_again(conn, workspace_id, now())
        ctx.failpoint("approval.settings.before_commit")
        return shown(ctx, workspace_id, made)
