"""What was let through and stands open is looked at again while it does (a WebSocket, a tunnel, a long answer): a kill switch, a
grant that was taken back, a secret that ended or a treasury that was sealed ends it within a second, and a call that holds such a
credential holds it no more.

One look for each tenant that has a call under way, beside the requests and never in their way. Where the database does not
answer nothing is known: nothing new leaves without its row, and what stands goes on for as long as a database takes to start
again, and is cut then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from worka import governance
from worka.broker import store
from worka.broker.session import Active, Open, Session
from worka.broker.stops import Stop
from worka.governance import kills

log = logging.getLogger("worka.broker")
LOOK_SECONDS = 0.4
_PATIENCE_SECONDS = 2.0
_ENDED = {
    "ended": ("connection_not_granted", "the grant or the secret behind it ended while this was open"),
    "sealed": ("secret_unavailable", "the treasury was sealed while this was open"),
}


async def watch(sessions: Mapping[str, Session], patience: float) -> None:
    """Looks again and again, until it is cancelled. A tenant whose look hangs holds up no other's. What has stood for `patience`
    seconds without a look is cut, whether looks fail or hang."""
    looking: dict[str, asyncio.Task[None]] = {}
    away: set[str] = set()
    seen: dict[str, float] = {}
    """When a tenant's calls were looked at last, or began."""
    try:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = defaultdict(list)
            for session in sessions.values():
                active = session.active
                if active is not None and (active.open or active.leases):
                    found[session.tenant_id].append((session.workspace_id, active))
            looking = {tenant: task for tenant, task in looking.items() if not task.done()}
            clock = time.monotonic()
            for tenant in seen.keys() - found.keys():
                del seen[tenant]
            for tenant, calls in found.items():
                if clock - seen.setdefault(tenant, clock) > patience:
                    _cut_unseen(calls, clock, patience)
                if tenant not in looking:
                    looking[tenant] = asyncio.create_task(_look(tenant, calls, away, seen))
    finally:
        for task in looking.values():
            task.cancel()
        await asyncio.gather(*looking.values(), return_exceptions=True)


def _cut_unseen(calls: Sequence[tuple[str, Active]], clock: float, patience: float) -> None:
    """What was let through since is let stand: on a look at the kill switches then, or at most `LOOK_SECONDS` before."""
    for _, active in calls:
        for item in list(active.open):
            if clock - item.since > patience:
                detail = f"the database did not answer for {patience:g} s"
                item.stop(Stop("egress_unwatched", detail, rule=item.entry.row["rule"]))


async def _look(tenant: str, calls: Sequence[tuple[str, Active]], away: set[str], seen: dict[str, float]) -> None:
    """One tenant's calls under way: (workspace, call) of each. `away`: the tenants that could not be looked at last."""
    began = time.monotonic()
    held = {lease.id for _, active in calls for lease in active.leases.values()}
    held |= {item.lease.id for _, active in calls for item in active.open if item.lease is not None}
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            async with calls[0][1].context().transaction() as conn:
                on = await governance.store.kills_on(conn)
                over = await store.leases_over(conn, sorted(held))
    except Exception as error:
        if tenant not in away:
            log.warning("what stands open cannot be looked at now: %s", type(error).__name__)
        away.add(tenant)
        return
    away.discard(tenant)
    seen[tenant] = began
    for workspace_id, active in calls:
        for item in list(active.open):
            stop = _stopped(item, workspace_id, active, on, over)
            if stop is not None:
                item.stop(stop)
        # The next request of the call asks for it anew, and is refused by name, or has the new value.
        for key, lease in list(active.leases.items()):
            if lease.id in over:
                del active.leases[key]


def _stopped(
    item: Open, workspace_id: str, active: Active, on: Sequence[Mapping[str, Any]], over: Mapping[str, str]
) -> Stop | None:
    row, place = item.entry.row, active.ledger.place
    kill = kills.matching(
        on,
        workspace=workspace_id,
        members=place.members,
        releases=[place.release_id] if place.release_id else (),
        secrets=[row["secret_id"]] if row.get("secret_id") else (),
        destinations=[f"{row['host']}:{row['port']}"],
    )
    if kill is not None:
        return Stop(kills.REASON, kills.said(kill), rule=kills.PREFIX + kill["id"], remedy=kills.remedy(kill))
    ended = _ENDED.get(over.get(item.lease.id, "")) if item.lease is not None else None
    return Stop(*ended, rule=row["rule"]) if ended is not None else None
