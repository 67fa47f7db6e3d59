"""Before a release is quarantined or revoked, or a secret revoked: what it touches, and which recorded calls it would have
refused (GOV-14, BEY-2). The same look as before a kill switch. Nothing is taken away here."""

from __future__ import annotations

from typing import Any, Literal

from worka import authorization
from worka.governance import actions as names
from worka.governance import store
from worka.governance.errors import ResourceNotFound
from worka.governance.service.switches import recorded, touched
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Denied

Row = dict[str, Any]


async def preview(ctx: Context, kind: Literal["release", "secret"], subject: str, days: int) -> Row:
    """Workspaces, attachments, tasks in flight and calls under way, and the calls of the last `days`. Of a release over
    the whole tenant, since it is taken away everywhere: of what lies in workspaces that the reader does not see, how much it
    is. Raises ResourceNotFound, Denied."""
    async with ctx.transaction() as conn:
        found = await store.withdrawable(conn, kind, subject)
        missing = ResourceNotFound(f"There is no {kind} {subject[:80]} here.")
        if found is None:
            raise missing
        place = found["workspace_id"]
        try:
            await ctx.require(names.KILL_VIEW, Resource("workspace", place, place))
        except Denied as denied:
            # Whether it exists for others is secret.
            raise missing from denied
        # It counts over the whole tenant: who could not do it anyway is not shown that.
        action = {"release": "pack.quarantine", "secret": "secret.revoke"}[kind]
        thing = Resource("pack" if kind == "release" else "secret", subject, place)
        if not await authorization.may(conn, ctx, ctx.principal.kind, ctx.principal.id, action, thing):
            raise Denied(
                f"Who may not {action} is not shown what it would touch.", action=action, resource_type=thing.type
            )
        what = await touched(ctx, kind, subject, found["name"], None)
        calls = await recorded(ctx, kind, subject, None, days)
        seen = await _seen(ctx, {*what["workspaces"], *(call["workspace_id"] for call in calls["calls"])})
        part, elsewhere = await _part(ctx, what, calls, seen)
    sentence = (
        f"Taking {found['name']} away touches {len(what['workspaces'])} workspaces, {len(what['attachments'])}"
        f" attachments, {len(what['tasks'])} tasks in flight and {len(what['calls'])} calls under way;"
        f" of the calls of the last {days} days it would have refused {calls['total']}."
    )
    base = {"kind": kind, "subject": subject, "state": found["state"], "sentence": sentence}
    return {**base, **part, "elsewhere": elsewhere}


async def _seen(ctx: Context, places: set[str]) -> set[str]:
    """Those of these workspaces whose kill switches the reader may see, and so what they touch."""
    who = ctx.principal
    return {
        place
        for place in sorted(places)
        if await authorization.may(
            ctx.conn, ctx, who.kind, who.id, names.KILL_VIEW, Resource("workspace", place, place)
        )
    }


async def _part(ctx: Context, what: Row, calls: Row, seen: set[str]) -> tuple[Row, Row]:
    """What lies in the workspaces that the reader sees, and how much lies elsewhere. Recorded calls are shown up to a number:
    `elsewhere` counts those that would have been shown."""
    running = [call for place in sorted(seen) for call in await store.calls_of(ctx.conn, place, what["calls"])]
    part: Row = {
        **what,
        "workspaces": [place for place in what["workspaces"] if place in seen],
        "calls": sorted(running),
        "recorded": {**calls, "calls": [call for call in calls["calls"] if call["workspace_id"] in seen]},
    }
    for name in ("attachments", "tasks"):
        part[name] = [thing for thing in what[name] if thing["workspace_id"] in seen]
    elsewhere = {name: len(what[name]) - len(part[name]) for name in ("workspaces", "attachments", "tasks", "calls")}
    return part, {**elsewhere, "recorded": len(calls["calls"]) - len(part["recorded"]["calls"])}
