"""A credential that the provider does not take, noticed in the middle of a call (401): by the broker, told at the call's end.

Nothing is sent a second time here: who called has the provider's answer, and decides. What can be renewed is made due at once,
for the calls after this one; what cannot is marked, and stays in use until somebody puts a good one in its place.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.connections import events, rules, store, tokens
from worka.connections.oauth import OAuthProblem
from worka.kernel.clock import now
from worka.kernel.context import Context

Row = dict[str, Any]


async def refused(ctx: Context, connection_id: str, seen: datetime | None, invocation_id: str) -> None:
    """The provider answered 401 to the credential that was there at `seen` (the connection's `refreshed_at` as the call began):
    of an older one it says nothing about the one there is now."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, connection_id, lock=True)
        if row is None or row["state"] != "active" or row["refreshed_at"] != seen:
            return
        ctx.workspace_id = row["workspace_id"]
        renews = rules.renews_at_once(row, now())
        if row["reason"] == rules.REFUSED and not renews:
            return  # said already
        said = "the provider answered 401 to a call with this credential"
        told = tokens.told(OAuthProblem(rules.REFUSED, said, "401"))
        await store.refused(conn, connection_id, told, renew=renews)
        await store.move(conn, connection_id, "active", rules.REFUSED)
        ctx.record(events.credential_refused(row, invocation_id, renews))
        ctx.failpoint("connection.changed.before_commit")


async def accepted(ctx: Context, connection_id: str, seen: datetime | None, invocation_id: str) -> None:
    """The provider took the credential again, which was marked as refused."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, connection_id, lock=True)
        if row is None or row["reason"] != rules.REFUSED or row["refreshed_at"] != seen:
            return
        if not rules.renewable(row):
            await store.set_problem(conn, connection_id, None)
        await store.move(conn, connection_id, "active", "connection_in_service")
        ctx.record(events.credential_accepted(row, invocation_id))
        ctx.failpoint("connection.changed.before_commit")
