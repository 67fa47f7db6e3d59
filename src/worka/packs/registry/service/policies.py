"""What may be published where, in layers: the deployment's settings, the tenant's, the workspace's."""

from __future__ import annotations

from typing import Any

from worka.approvals.rules import parse_rule
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.packs import actions as pack_actions
from worka.packs.registry import actions, events, rules, store
from worka.packs.registry.errors import PolicyInvalid
from worka.packs.registry.model import VISIBILITIES

Row = dict[str, Any]
_LISTS = ("image_destinations", "source_destinations", "approvers")


def deployment(ctx: Context) -> Row:
    """The deployment's layer, out of its settings; what they leave empty says nothing."""
    given = ctx.settings.registry
    layer: Row = {name: getattr(given, name) for name in ("visibility", "most") if getattr(given, name)}
    layer |= {name: list(getattr(given, name)) for name in _LISTS if getattr(given, name)}
    layer["require_signature"] = given.require_signature
    layer["public_on_trial"] = given.public_on_trial
    return layer


async def effective(ctx: Context, conn: Connection, workspace_id: str) -> rules.Policy:
    """What holds in a workspace now."""
    rows = await store.policies(conn, workspace_id)
    return rules.effective([deployment(ctx), *(row["settings"] for row in rows)])


def on_trial(ctx: Context) -> bool:
    """Whether the tenant of this request is on trial."""
    return ctx.tenant_id in ctx.settings.registry.trial_tenants


async def show(ctx: Context, workspace_id: str) -> Row:
    """{effective, layers: [{place, version, settings}], on_trial}. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        rows = await store.policies(conn, workspace_id)
        layers = [{"place": "deployment", "version": None, "settings": deployment(ctx)}]
        for row in rows:
            place = "workspace" if row["workspace_id"] else "tenant"
            layers.append({"place": place, "version": row["version"], "settings": row["settings"]})
        return {
            "effective": (await effective(ctx, conn, workspace_id)).shown(),
            "layers": layers,
            "on_trial": on_trial(ctx),
        }


async def set_policy(ctx: Context, workspace_id: str, *, scope: str, settings: Row, note: str) -> Row:
    """A new version of the tenant's or the workspace's layer; what it leaves out says nothing. The tenant's
    replaces what holds in every workspace, so it takes the right in all of them.

    Raises Denied, PolicyInvalid."""
    checked = _checked(settings)
    assert ctx.tenant_id is not None
    place = workspace_id if scope == "workspace" else ""
    async with ctx.transaction() as conn:
        if scope == "workspace":
            here = Resource("workspace", workspace_id, workspace_id, {"kind": scope})
            await ctx.require(actions.REGISTRY_POLICY_SET, here, kind=scope)
        else:
            await ctx.require(
                actions.REGISTRY_POLICY_SET_WIDE, Resource("tenant", ctx.tenant_id, None, {"kind": scope})
            )
        await store.lock_policy(conn, ctx.tenant_id)
        there = {row["workspace_id"]: row for row in await store.policies(conn, workspace_id)}
        before = there.get(place)
        row = {
            "tenant_id": ctx.tenant_id, "workspace_id": place, "version": before["version"] + 1 if before else 1,
            "settings": checked, "note": note, "created_by": ctx.principal.id,
        }  # fmt: skip
        await store.add_policy(conn, row)
        ctx.record(events.policy_set(row, before, place or ctx.tenant_id, f"registry policy of the {scope}"))
        ctx.commit_points("registry.changed")
        return await show(ctx, workspace_id)


def _checked(settings: Row) -> Row:
    """The settings without what says nothing. Raises PolicyInvalid."""
    found = {name: value for name, value in settings.items() if value is not None}
    for name in ("visibility", "most"):
        if name in found and found[name] not in VISIBILITIES:
            raise PolicyInvalid(f"{name} is one of {', '.join(VISIBILITIES)}.", field=f"/settings/{name}")
    for name in ("image_destinations", "source_destinations"):
        for item in found.get(name, ()):
            if not item or "*" in item.removesuffix("/*") or not item.isprintable() or " " in item:
                raise PolicyInvalid(
                    f"{item[:80]!r}: a destination is written whole, or ends in /*.", field=f"/settings/{name}"
                )
    for rule in found.get("approvers", ()):
        try:
            parse_rule(rule)
        except ValueError as error:
            raise PolicyInvalid(f"{rule[:80]!r} is no approval rule: {error}", field="/settings/approvers") from error
    return found
