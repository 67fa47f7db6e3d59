"""Rules replayed over the record: which of the last requests they would decide otherwise. Nothing is changed.

Complete: every row of the window is decided again, page by page, by the rules as they are and as they would be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from worka.broker import actions
from worka.broker.errors import PolicyInvalid, RulesUnreadable
from worka.broker.policy import rules as policy
from worka.broker.policy import store as policy_rows
from worka.broker.policy.service import checked
from worka.broker.records import replay, store
from worka.broker.records.model import Filter
from worka.broker.records.replay import Book
from worka.broker.records.service import places
from worka.broker.rules import Rule, RuleProblem, parse_rules
from worka.governance.errors import BadWindow
from worka.governance.service.dry_runs import bounds, window
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection

Row = dict[str, Any]
BATCH = 200
MOST_SCANNED = 2000
MOST_HOURS = 24 * 14


async def run(
    ctx: Context,
    *,
    outbound_domains: list[Any] | None = None,
    attachment_id: str | None = None,
    pack: str | None = None,
    settings: Row | None = None,
    scope: str = "workspace",
    since: str | None = None,
    until: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Row:
    """A page: {items, scanned, requests, counts, unreconstructed, since, until, sentence, next}. A policy of the tenant is
    tried over every workspace in which the reader may see egress.

    Raises PolicyInvalid, RulesUnreadable, BadWindow, Denied."""
    if (settings is None) == (outbound_domains is None):
        raise PolicyInvalid("Either `policy` or `outbound` is tried, one of them.", field="/policy")
    if outbound_domains is not None and attachment_id is None and pack is None:
        raise PolicyInvalid("`outbound` is of an `attachment_id` or of a `pack`.", field="/attachment_id")
    began, ended = bounds(since, until)
    if (ended - began).total_seconds() > MOST_HOURS * 3600:
        raise BadWindow(f"A replay looks at {MOST_HOURS // 24} days at most.")
    here = ctx.workspace_id
    assert here is not None
    what = Filter(attachment_id=attachment_id, pack=pack).within(began, ended)
    async with ctx.transaction():
        await ctx.require(actions.EGRESS_POLICY_VIEW, Resource("workspace", here, here))
        seen, _unseen = await places(ctx, everywhere=scope == "tenant" or pack is not None)
    trial = _Trial(
        _declared(outbound_domains), None if settings is None else checked(settings), "" if scope == "tenant" else here,
        ctx.settings.broker.opaque,
    )  # fmt: skip
    items: list[Row] = []
    scanned, requests, cursor, more = 0, 0, after, True
    while more and len(items) < limit and scanned < MOST_SCANNED:
        async with ctx.transaction() as conn:
            rows = await store.recorded(conn, seen, what, cursor, BATCH)
            await trial.prepare(conn, rows)
        # Outside of the transaction, and off the loop: nobody waits for it with a lock in hand.
        found, taken = await asyncio.to_thread(replay.compare, rows, trial.today, trial.then, limit - len(items))
        items += found
        scanned += taken
        requests += sum(row["count"] for row in rows[:taken])
        cursor = rows[taken - 1]["id"] if taken else cursor
        more = taken < len(rows) or len(rows) == BATCH
    return {
        "items": items,
        "scanned": scanned,
        "requests": requests,
        "counts": replay.counts(items),
        "unreconstructed": sum(1 for item in items if item["missing"] is not None),
        "since": began,
        "until": ended,
        "sentence": replay.sentence(items, scanned, requests, window(began, ended)),
        "next": cursor if more else None,
    }


def _declared(items: list[Any] | None) -> tuple[Rule, ...] | None:
    try:
        return None if items is None else parse_rules(items)
    except RuleProblem as problem:
        raise RulesUnreadable(str(problem)) from problem


class _Trial:
    """The books of every attachment that a page meets, as they are and as they would be."""

    def __init__(self, declared: tuple[Rule, ...] | None, settings: Row | None, scope: str, opaque: bool) -> None:
        self.declared, self.settings, self.scope = declared, settings, scope
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._held: dict[str, tuple[tuple[policy.Layer, ...], tuple[policy.Layer, ...]]] = {}
        self.today: Callable[[Row], Book] = lambda row: Book(
            self._rules.get(row["now_release"], ()), self._held[row["workspace_id"]][0], opaque
        )
        self.then: Callable[[Row], Book] = lambda row: Book(
            self._rules.get(row["now_release"], ()) if self.declared is None else self.declared,
            self._held[row["workspace_id"]][1],
            opaque,
        )

    async def prepare(self, conn: Connection, rows: list[Row]) -> None:
        """Reads what the rows of a batch need."""
        wanted = {row["now_release"] for row in rows if row["now_release"]} - set(self._rules)
        for release, manifest in (await store.manifests(conn, sorted(wanted))).items():
            try:
                self._rules[release] = parse_rules(manifest.get("outbound_domains") or [])
            except RuleProblem:
                self._rules[release] = ()  # as the broker has it: nothing leaves under rules read by halves
        for where in {row["workspace_id"] for row in rows} - set(self._held):
            there = await policy_rows.in_force(conn, where)
            self._held[where] = (policy.layers(there), self._would_hold(there, where))

    def _would_hold(self, there: list[Row], where: str) -> tuple[policy.Layer, ...]:
        if self.settings is None or self.scope not in ("", where):
            return policy.layers(there)
        number = next((row["version"] for row in there if row["workspace_id"] == self.scope), 0)
        kept = [row for row in there if row["workspace_id"] != self.scope]
        tried = {"workspace_id": self.scope, "version": number + 1, "settings": self.settings}
        return policy.layers([*kept, tried])
