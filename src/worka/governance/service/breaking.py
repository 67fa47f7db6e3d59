"""Break-glass: the operator, on the machine, puts a place back to the floor for a while. Recorded, visible, ends by itself."""

from __future__ import annotations

from typing import Any

from worka.authorization import layers
from worka.governance import events, store
from worka.governance.errors import PolicyNotFound
from worka.kernel.context import Context
from worka.kernel.errors import Denied, Invalid
from worka.kernel.ids import new_id
from worka.workspaces import store as workspaces

MOST_HOURS = 24


async def break_glass(ctx: Context, workspace_id: str | None, reason: str, hours: float) -> dict[str, Any]:
    """Sets the policy of the tenant (or of one workspace) aside for a while; the shipped floor, the deployment's policy and
    every kill switch go on. No policy is asked: this is for when policy itself is what is broken. Only the platform, on
    the machine, does it. Raises Denied, Invalid, PolicyNotFound for a workspace that is not the tenant's."""
    _on_the_machine(ctx)
    if not reason.strip():
        raise Invalid("A break-glass needs a reason.", field="reason")
    if not 0 < hours <= MOST_HOURS:
        raise Invalid(f"It lasts at most {MOST_HOURS} hours.", field="hours")
    async with ctx.transaction() as conn:
        if workspace_id is not None and workspace_id not in await workspaces.workspace_ids(conn):
            raise PolicyNotFound(f"{workspace_id} is no workspace of this tenant.")
        scope = workspace_id or layers.TENANT
        for before in await store.end_glass(conn, scope, "opened anew"):
            ctx.record(events.glass_mended(before))
        row = await store.add_glass(
            conn,
            {
                "tenant_id": ctx.tenant_id,
                "id": new_id("glass"),
                "scope": scope,
                "reason": reason,
                "opened_by": ctx.principal.name,
                "seconds": hours * 3600,
            },
        )
        ctx.record(events.glass_broken(row))
        ctx.failpoint("policy.break_glass.before_commit")
    return row


async def mend_glass(ctx: Context, workspace_id: str | None) -> list[dict[str, Any]]:
    """Ends it before its time; the place's own policy holds again."""
    _on_the_machine(ctx)
    async with ctx.transaction() as conn:
        rows = await store.end_glass(conn, workspace_id or layers.TENANT, "ended on the machine")
        for row in rows:
            ctx.record(events.glass_mended(row))
        ctx.failpoint("policy.break_glass.before_commit")
    return rows


def _on_the_machine(ctx: Context) -> None:
    if ctx.principal.kind != "platform":
        raise Denied("Only the deployment's operator, on the machine itself, breaks the glass.")
