"""A dry run: recorded decisions evaluated again with a text, or a role, that is not in force. Nothing is changed.

Complete: every recorded decision of the window is evaluated, page by page, as policy is and as it would be. Each is the
same, or listed as a flip, or as one that an earlier change flipped already, or with the fact that is missing to say. Reads
that were allowed leave no record, so none is listed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from worka import authorization
from worka.authorization import layers
from worka.governance import actions as names
from worka.governance import replay, store
from worka.governance.errors import BadWindow
from worka.governance.replay import Said, Sets, requests_of
from worka.governance.service import sets
from worka.governance.service.policies import checked, place
from worka.governance.service.reading import factors_lacking
from worka.kernel import clock
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces

Row = dict[str, Any]
BATCH = 200
MOST_SCANNED = 2000
"""Of one page: a request is bounded whatever the window is."""


async def dry_run(
    ctx: Context,
    workspace_id: str,
    *,
    kind: str | None,
    text: str,
    scope: str,
    role_of: str | None,
    role: str | None,
    since: str | None,
    until: str | None,
    after: str | None,
    limit: int,
) -> dict[str, Any]:
    """A page: {items: flips and what could not be reconstructed, scanned, counts, sentence, since, until, next}. `kind`
    None: no text, only the role. A text for the tenant is tried on the whole tenant, else on this workspace.

    Raises BadPolicy, BadWindow, Denied."""
    wide = kind is not None and scope == "tenant"
    async with ctx.transaction():
        if wide:
            await ctx.require(names.POLICY_TRY, Resource("policy", kind or "", None, {"kind": kind}))
        else:
            await ctx.require(names.POLICY_TRY_HERE, Resource("workspace", workspace_id, workspace_id))
    began, ended = bounds(since, until)
    if kind is not None:
        await checked(kind, text)
    async with ctx.transaction():
        where, told = place(scope, workspace_id), kind is not None and after is None
        warnings = await factors_lacking(ctx, workspace_id, kind or "", text, where) if told else []
    trial = _Trial(ctx, workspace_id, kind, text, where, role_of, role)
    items: list[Row] = []
    scanned, cursor, more = 0, after, True
    while more and len(items) < limit and scanned < MOST_SCANNED:
        async with ctx.transaction() as conn:
            rows = await store.decisions_between(conn, None if wide else workspace_id, began, ended, cursor, BATCH)
            await trial.prepare(conn, rows)
        # Outside of the transaction, and off the loop: nobody waits for it with a lock in hand.
        found, used = await asyncio.to_thread(trial.run, rows, limit - len(items))
        items += found
        scanned += used
        cursor = rows[used - 1]["id"] if used else cursor
        more = used < len(rows) or len(rows) == BATCH
    flips = [item for item in items if item["missing"] is None]
    counts: dict[str, int] = {}
    for flip in flips:
        if flip["earlier"]:
            continue
        key = f"{flip['today']} to {flip['to']}"
        counts[key] = counts.get(key, 0) + 1
    unknown = len(items) - len(flips)
    return {
        "items": items,
        "scanned": scanned,
        "counts": counts,
        "unreconstructed": unknown,
        "since": began,
        "until": ended,
        "sentence": replay.sentence(flips, scanned, unknown, window(began, ended)),
        "warnings": warnings,
        "next": cursor if more else None,
    }


def bounds(since: str | None, until: str | None) -> tuple[datetime, datetime]:
    """The window that is meant; the last day without one. Raises BadWindow."""
    at = clock.now()
    try:
        ended = clock.moment(until, at) if until else at
        began = clock.moment(since, ended) if since else ended - timedelta(hours=24)
    except ValueError as error:
        raise BadWindow(str(error)) from error
    if began >= ended:
        raise BadWindow("`since` is not before `until`.")
    return began, ended


async def count_in_tenant(
    inside: Context, kind: str, text: str, began: datetime, ended: datetime, after: str | None
) -> Row:
    """A page of a dry run of the deployment's text over a whole tenant, which `inside` is in: {items: how many flips of what,
    scanned, unreconstructed, next}. Nothing says whose the decisions are."""
    trial = _Trial(inside, "", kind, text, layers.DEPLOYMENT, None, None)
    counts: Counter[tuple[str, str, str]] = Counter()
    scanned, unknown, cursor, more = 0, 0, after, True
    while more and scanned < MOST_SCANNED:
        async with inside.transaction() as conn:
            rows = await store.decisions_between(conn, None, began, ended, cursor, BATCH)
            await trial.prepare(conn, rows)
        found, used = await asyncio.to_thread(trial.run, rows, BATCH + 1)
        unknown += sum(1 for item in found if item["missing"] is not None)
        counts.update((item["action"], item["from"], item["to"]) for item in found if item["missing"] is None)
        scanned += used
        cursor = rows[-1]["id"] if rows else cursor
        more = len(rows) == BATCH
    items = [
        {"action": action, "from": was, "to": to, "count": count} for (action, was, to), count in sorted(counts.items())
    ]
    return {"items": items, "scanned": scanned, "unreconstructed": unknown, "next": cursor if more else None}


def window(began: datetime, ended: datetime) -> str:
    """`the 24 hours before 2026-11-28 20:00 UTC`."""
    hours = (ended - began).total_seconds() / 3600
    length = f"{hours:.0f} hours" if hours >= 2 else f"{hours * 60:.0f} minutes"
    return f"the {length} before {ended:%Y-%m-%d %H:%M} UTC"


class _Trial:
    """The sets of every workspace that a page meets, as they are and as they would be."""

    def __init__(
        self,
        ctx: Context,
        workspace_id: str,
        kind: str | None,
        text: str,
        scope: str,
        role_of: str | None,
        role: str | None,
    ) -> None:
        self.tenant, self.workspace_id = ctx.tenant_id or "", workspace_id
        self.kind, self.text, self.scope = kind, text, scope
        self.role_of = role_of
        self.roles = () if role in (None, "none") else (role,)
        self._sets: dict[str | None, tuple[Sets, Sets]] = {}
        self._one_workspace: bool | None = None

    async def prepare(self, conn: Connection, rows: list[Row]) -> None:
        """Reads what the decisions of a batch need."""
        if self._one_workspace is None:
            self._one_workspace = len(await workspaces.workspace_ids(conn)) == 1
        for where in {row["workspace_id"] for row in rows} - set(self._sets):
            holds = await authorization.store.in_force(conn, where)
            now = Sets(
                await sets.in_force(conn, self.tenant, "access", holds.access),
                await sets.in_force(conn, self.tenant, "governance", holds.governance),
            )
            self._sets[where] = (now, now)
            if self.kind is None or self.scope not in (layers.DEPLOYMENT, layers.TENANT, where):
                continue
            layered = holds.of(self.kind)
            wide = self.scope == layers.DEPLOYMENT
            number = layered.deployment if wide else await store.newest_policy(conn, self.kind, self.scope)
            new = await sets.with_text(conn, self.tenant, self.kind, layered, self.scope, self.text, number + 1)
            self._sets[where] = (
                now,
                Sets(new, now.governance) if self.kind == "access" else Sets(now.access, new),
            )

    def run(self, rows: list[Row], room: int) -> tuple[list[Row], int]:
        """Up to `room` items of a batch: flips, and what could not be reconstructed; and how many rows that took."""
        items: list[Row] = []
        for number, row in enumerate(rows, 1):
            item = self._one(row)
            if item is not None:
                items.append(item)
                if len(items) == room:
                    return items, number
        return items, len(rows)

    def _one(self, row: Row) -> Row | None:
        now, then = self._sets[row["workspace_id"]]
        try:
            requests = requests_of(row)
            changed = self._with_role(row, requests)
        except LookupError as error:
            return _item(row, None, None, str(error))
        if lacking := replay.missing(requests) or replay.unrecorded(row, now, then):
            return _item(row, None, None, lacking)
        said = replay.answer(changed, then)
        today = said if now is then and changed is requests else replay.answer(requests, now)
        # Against what holds now as well: a text may undo what an earlier one did, and the record knows nothing of that.
        if not said.differs(row["verdict"], row["approval_rules"]) and not said.differs(
            today.verdict, today.approval_rules
        ):
            return None
        return _item(row, said, today, None)

    def _with_role(self, row: Row, requests: list[Any]) -> list[Any]:
        if self.role_of is None or all(request.id != self.role_of for request in requests):
            return requests
        if row["workspace_id"] is None and not self._one_workspace:
            raise LookupError("it asked for a role in the whole tenant, and the change is in one workspace")
        if row["workspace_id"] not in (None, self.workspace_id):
            return requests
        return replay.with_role(requests, self.role_of, self.roles)


def _item(row: Row, to: Said | None, today: Said | None, lacking: str | None) -> Row:
    keys = ("at", "workspace_id", "principal_kind", "principal_id", "action", "resource_type", "resource_id")
    return {
        "decision_id": row["id"],
        **{key: row[key] for key in keys},
        "from": row["verdict"],
        "from_rules": row["approval_rules"],
        "to": to.verdict if to else None,
        "to_rules": list(to.approval_rules) if to else [],
        "rules": list(to.rules) if to else [],
        "reasons": list(to.reasons) if to else [],
        # What policy says today without the change. Where it says the same with it, an earlier change did that.
        "today": today.verdict if today else None,
        "today_rules": list(today.approval_rules) if today else [],
        "earlier": bool(to and today and not to.differs(today.verdict, today.approval_rules)),
        "missing": lacking,
    }
