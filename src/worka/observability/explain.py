"""`why` of anything: asks the domain whose id it is. One function behind every door."""

from __future__ import annotations

import importlib
from typing import Any, Final

from worka.kernel import ids
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.explanation import Evidence, Explanation, NextAction, WaitingOn
from worka.observability import service, store
from worka.observability.errors import NothingKnown

DOMAIN: Final = {
    "apr": "worka.approvals.explain",
    "att": "worka.packs.explain",
    "byp": "worka.approvals.explain",
    "conn": "worka.connections.explain",
    "dec": "worka.governance.explain",
    "dlv": "worka.notifications.explain",
    "egr": "worka.broker.explain",
    "epr": "worka.packs.proposals.explain",
    "inv": "worka.packs.explain",
    "pub": "worka.packs.registry.explain",
    "kdn": "worka.treasury.explain",
    "mov": "worka.packs.moving.explain",
    "rel": "worka.packs.explain",
    "sec": "worka.treasury.explain",
    "srd": "worka.treasury.explain",
    "task": "worka.workflows.explain",
    "wch": "worka.broker.explain",
    "whk": "worka.notifications.explain",
}


async def why(ctx: Context, some_id: str) -> Explanation:
    """The Explanation of the thing with this id for this reader. Raises NothingKnown, or the domain's own 404."""
    prefix = ids.prefix_of(some_id)
    if prefix == "proc":
        return await process(ctx, some_id)
    if prefix in ("step", "wait"):
        async with ctx.transaction() as conn:
            row = await store.home_of(conn, prefix, some_id)
        if row is None or row["task_id"] is None:
            raise NothingKnown(f"Nothing is known under {some_id}.")
        return await why(ctx, row["task_id"])
    module = DOMAIN.get(prefix)
    if module is None:
        raise NothingKnown(f"Nothing can be explained under {some_id[:80]!r}.")
    explain: Any = importlib.import_module(module).explain
    found = await explain(ctx, some_id)
    assert isinstance(found, Explanation)
    return found


async def process(ctx: Context, process_id: str) -> Explanation:
    """Why a process of ours counts as healthy, down or unknown."""
    health = await service.processes(ctx)
    row = next((row for row in health["processes"] if row["id"] == process_id), None)
    if row is None:
        raise NothingKnown(f"There is no process {process_id}: it ended in good order, or long ago.")
    well = row["health"] == "healthy"
    others = [other for other in health["processes"] if other["role"] == row["role"] and other["health"] == "healthy"]
    alone = "" if well else " No other is alive." if not others else f" {len(others)} other {row['role']} lives."
    operator = ctx.principal.operator
    return Explanation(
        subject=process_id,
        headline=f"The {row['headline']}.{alone}",
        state=row["health"],
        reason=row["reason"],
        since=row["beat_at"] if row["health"] == "down" else row["started_at"],
        layer="platform",
        scope="platform",
        evidence=[Evidence(kind="heartbeat", ref=f"pid {row['pid']}", label=f"build {row['build']}")],
        waiting_on=[]
        if well
        else [
            WaitingOn(
                kind="service",
                ref=row["role"],
                name=f"a sign of life of the {row['role']}",
                since=row["beat_at"],
                who=[f"{'you, the operator' if operator else 'the operator'} of this deployment, on its machine"],
                you_can=operator,
                because="A part that ended is started again by itself; one that hangs is not.",
            )
        ],
        next=[]
        if well
        else [
            NextAction(label="See on the machine which part of Worka is down, and what helps", command="worka doctor"),
            NextAction(
                label="Start a part that hangs anew, with all parts: work that waits goes on",
                command="worka down && worka up",
                permission="operator",
                allowed=operator,
                because="" if operator else "It needs an operator of this deployment.",
            ),
        ],
        certainty="observed" if well else "inferred",
        observed_at=row["beat_at"] or now(),
    )
