"""Recorded decisions asked again about something else: what would have been said of this call, had another tool served it.

Who acted, for whom and with which rights is as it was; policy and kill switches are those in force now. Nothing is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from worka import authorization
from worka.governance import kills, replay
from worka.governance.replay import Said, Sets
from worka.governance.service import sets
from worka.kernel.context import Context

Row = dict[str, Any]


@dataclass(frozen=True)
class Instead:
    """The row of a decision, the resource that it would have been about, and the facts that would have been others."""

    row: Row
    resource_id: str
    facts: Row


async def answers(ctx: Context, workspace_id: str, asked: Sequence[Instead]) -> list[Said | str]:
    """One answer for each; a text says what is missing to give one. Joins or opens a transaction for what is in force."""
    tenant = ctx.tenant_id or ""
    async with ctx.transaction() as conn:
        holds = await authorization.store.in_force(conn, workspace_id)
        now = Sets(
            await sets.in_force(conn, tenant, "access", holds.access),
            await sets.in_force(conn, tenant, "governance", holds.governance),
        )
    return await asyncio.to_thread(lambda: [_one(item, now, list(holds.kills)) for item in asked])


def _one(item: Instead, now: Sets, on: list[Row]) -> Said | str:
    try:
        was = replay.requests_of(item.row)
    except LookupError as error:
        return str(error)
    if lacking := replay.missing(was) or replay.unrecorded(item.row, now):
        return lacking
    requests = [
        replace(
            request,
            resource_id=item.resource_id,
            attrs={**request.attrs, **item.facts},
            context={**request.context, **item.facts},
        )
        for request in was
    ]
    if (gate := kills.gate(item.row["action"], requests, on)) is not None:
        return Said("deny", (), gate.rules, gate.reasons)
    return replay.answer(requests, now)
