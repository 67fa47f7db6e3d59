"""Which outside systems may be connected: the deployment's settings, and the operator's word for one tenant. Both only take
away; what is connected already stays until somebody ends it, and the answer says how much that is.
"""

from __future__ import annotations

import re
from typing import Any

from worka import workspaces
from worka.connections import actions, catalogue, events, store
from worka.connections.errors import ProviderRestricted, ProviderUnusable
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Invalid, NotFound

Row = dict[str, Any]


async def limits(ctx: Context) -> Row:
    """In the caller's transaction: {deployment, tenant, reason, by} that hold for the tenant; None: no restriction."""
    row = await store.restriction(ctx.conn)
    everywhere = list(ctx.settings.connections.providers) if ctx.settings is not None else []
    return {
        "deployment": everywhere or None,
        "tenant": list(row["providers"]) if row and row["providers"] is not None else None,
        "reason": row["reason"] if row else "",
        "by": row["set_by_name"] if row else "",
    }


def refusal(held: Row, provider: str) -> str | None:
    """Why this provider may not be connected, as a sentence; None: it may."""
    if held["deployment"] is not None and provider not in held["deployment"]:
        return "The operator lets only " + (", ".join(held["deployment"])) + " be connected in this deployment."
    if held["tenant"] is not None and provider not in held["tenant"]:
        allowed = ", ".join(held["tenant"]) or "no outside system"
        return f"The operator ({held['by']}) lets only {allowed} be connected here: {held['reason']}"
    return None


async def check(ctx: Context, provider: str) -> None:
    """In the caller's transaction. Raises ProviderRestricted."""
    because = refusal(await limits(ctx), provider)
    if because is not None:
        raise ProviderRestricted(because, provider=provider)


async def show(ctx: Context, tenant_id: str) -> Row:
    """What holds for a tenant, and what it has connected (operators only). Raises Denied, NotFound."""
    await _operator(ctx, tenant_id)
    inside = _inside(ctx, tenant_id)
    async with inside.transaction():
        return await _shown(inside, tenant_id)


async def restrict(ctx: Context, tenant_id: str, providers: list[str] | None, reason: str) -> Row:
    """The operator says which outside systems a tenant may connect; None: no restriction. What is connected stays, and is
    counted in the answer. Raises Denied, NotFound, Invalid."""
    if not reason.strip():
        raise Invalid("A restriction needs a reason: whoever is held back by it reads it.", field="reason")
    for name in providers or []:
        if not re.fullmatch(catalogue.NAME, name):
            raise ProviderUnusable(f"{name[:60]!r} is no name of a provider.", field="providers")
    await _operator(ctx, tenant_id)
    inside = _inside(ctx, tenant_id)
    async with inside.transaction() as conn:
        before = await store.restriction(conn)
        row = await store.restrict(
            conn,
            {
                "tenant_id": tenant_id, "providers": sorted(set(providers)) if providers is not None else None,
                "reason": reason.strip(), "set_by": ctx.principal.id, "set_by_name": ctx.principal.name,
            },
        )  # fmt: skip
        inside.record(events.restricted(tenant_id, before["providers"] if before else None, row))
        inside.failpoint("connection.changed.before_commit")
        return await _shown(inside, tenant_id)


async def _operator(ctx: Context, tenant_id: str) -> None:
    """Asked outside of every tenant: the operator has no role in any of them."""
    platform = ctx.acting(ctx.principal)
    platform.tenant_id, platform.workspace_id = None, None
    async with platform.transaction():
        await platform.require(actions.PROVIDER_RESTRICT, Resource("tenant", tenant_id, None))


def _inside(ctx: Context, tenant_id: str) -> Context:
    inside = ctx.acting(ctx.principal, tenant_id=tenant_id)
    inside.workspace_id = None
    return inside


async def _shown(inside: Context, tenant_id: str) -> Row:
    if not await workspaces.store.workspace_ids(inside.conn):
        raise NotFound(f"There is no tenant {tenant_id[:60]}.", code="tenant_not_found")
    held = await limits(inside)
    return {
        "tenant_id": tenant_id,
        "deployment": held["deployment"],
        "providers": held["tenant"],
        "reason": held["reason"],
        "set_by": held["by"],
        "connected": [
            {**row, "allowed": refusal(held, row["provider"]) is None} for row in await store.active_of(inside.conn)
        ],
    }
