"""What runs by itself: approvals that nobody decided in time expire, and whoever waits is told in the same commit."""

from __future__ import annotations

from dataclasses import replace

from worka.approvals import service, store
from worka.kernel.clock import now
from worka.kernel.context import Context


async def expire_due(ctx: Context, most: int = 100) -> int:
    """Expires up to `most` overdue approvals over all tenants, each in a transaction of its own; returns how many.

    `ctx` is the platform's. Two processes may run it at once: the row's lock and state let one of them do it."""
    async with ctx.db.transaction(None) as conn:
        due = await store.overdue(conn, most)
    done = 0
    for entry in due:
        inside = replace(ctx, tx=None, tenant_id=entry["tenant_id"])
        async with inside.transaction() as conn:
            row = await store.get(conn, entry["approval_id"], lock=True)
            if row is None or row["state"] != "open" or row["expires_at"] > now():
                continue
            inside.workspace_id = row["workspace_id"]
            await service.end(inside, row, "expired", publish=True)
            done += 1
    return done
