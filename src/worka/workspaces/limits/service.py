"""Use cases of limits: seeing them with their use, trying and setting one, and counting against them."""

from __future__ import annotations

import math
from typing import Any

from worka.kernel import kinds
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.errors import Invalid
from worka.workspaces import actions, events, store
from worka.workspaces.errors import LimitMoved, LimitTooHigh, MemberNotFound, QuotaFull, RateReached, TenantNotFound
from worka.workspaces.limits import rules
from worka.workspaces.limits.rules import Bound, Scope

Row = dict[str, Any]
_SHOWN = (
    "layer", "scope", "name", "value", "workspace_id", "member_id", "revision", "reason", "set_by", "set_by_name", "set_at",
)  # fmt: skip


def setting_shown(row: Any) -> Row:
    """A setting as the API shows it."""
    return {
        "layer": "deployment",
        "workspace_id": "",
        "member_id": "",
        **{key: row[key] for key in _SHOWN if key in row},
    }


# seeing -------------------------------------------------------------------------------------------------------------
async def show(ctx: Context, workspace_id: str, member_id: str | None = None) -> Row:
    """Every limit over every scope, for the caller or another member: how much holds, how much is in use, where it comes
    from. Raises MemberNotFound, Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.LIMIT_VIEW, Resource("workspace", workspace_id, workspace_id))
        who = member_id or ctx.principal.id
        if member_id:
            await _member(conn, workspace_id, member_id)
        settings = await store.limits_in_force(conn)
        items = []
        for limit in rules.all_limits():
            use = await limit.count(conn)
            bounds = rules.holding(settings, limit.name, workspace_id, who)
            items += [
                _item(limit, scope, bounds.get(scope), use.of(scope, workspace_id, who)) for scope in limit.scopes
            ]
    here = [row for row in settings if row["workspace_id"] in ("", workspace_id)]
    return {
        "workspace_id": workspace_id,
        "member_id": who,
        "items": items,
        "settings": [setting_shown(row) for row in here],
    }


def _item(limit: rules.Limit, scope: Scope, bound: Bound | None, use: int) -> Row:
    return {
        "name": limit.name,
        "words": limit.words,
        "scope": scope,
        "limit": bound.value if bound else None,
        "use": use,
        "window_seconds": limit.seconds,
        "over": limit.over,
        "source": setting_shown(bound.row) if bound else None,
        "who_can_raise": rules.who_raises(bound.source) if bound else "",
    }


async def _member(conn: Connection, workspace_id: str, member_id: str) -> None:
    kind = kinds.kind_of(member_id)
    if kind is None or await store.membership(conn, workspace_id, kind.name, member_id) is None:
        raise MemberNotFound(f"Nobody in this workspace has the id {member_id[:60]}.")


# setting ------------------------------------------------------------------------------------------------------------
async def preview(ctx: Context, workspace_id: str, wish: Row) -> Row:
    """What `set_limit` would do with the same wish, and who would be over it; nothing is set. Raises as it, but a limit
    that is too high is said in the answer."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.LIMIT_VIEW, Resource("workspace", workspace_id, workspace_id))
        row = await _meant(ctx, workspace_id, wish)
        if row["layer"] != "workspace":
            # It counts in every workspace of the tenant: who could not set it is not shown that.
            tenant = Resource("tenant", ctx.tenant_id or "", None, {"name": row["name"]})
            await ctx.require(actions.LIMIT_SET_WIDE, tenant)
        before = await store.limit_setting(conn, row)
        return await _would(conn, row, before, workspace_id)


async def _would(conn: Connection, row: Row, before: Row | None, workspace_id: str) -> Row:
    limit = rules.known(row["name"])
    use = await limit.count(conn)
    because = _too_high(row, await store.limits_in_force(conn))
    value = row["value"]
    place = row["workspace_id"] or workspace_id
    found = {
        "tenant": {row.get("tenant_id") or "tenant": use.tenant},
        "workspace": {
            ws: count
            for ws, count in use.workspaces.items()
            if (row["layer"] != "workspace" and not row["workspace_id"]) or ws == place
        },
        "member": {
            member: count
            for (ws, member), count in use.members.items()
            if (ws == place or not row["workspace_id"]) and row["member_id"] in ("", member)
        },
    }[row["scope"]]
    over = [] if value is None else sorted((who, count) for who, count in found.items() if count > value)
    now = max(found.values(), default=0)
    words = f"{limit.words} of {'each ' if _each(row) else 'the '}{row['scope']}"
    sentence = (
        f"There would be no limit on {words} from this layer any more."
        if value is None
        else f"At most {value} {words}; " + _held_now(row, value, now, len(found), len(over)) + "."
    )
    return {
        "name": row["name"],
        "scope": row["scope"],
        "value": value,
        "before": setting_shown(before) if before else None,
        "use": now,
        "over": [{"scope": row["scope"], "id": who, "use": count} for who, count in over],
        "allowed": not because,
        "because": because,
        "sentence": because or sentence,
    }


def _held_now(row: Row, value: int, now: int, places: int, over: int) -> str:
    """How many there are now, and how many of them are too many: never a count of another thing without its name. Pure."""
    if not _each(row) or places < 2:
        return f"{now} now" + (f", {now - value} too many" if over else "")
    return f"{now} now where they are most" + (f"; {over} of {places} {row['scope']}s above it" if over else "")


def _each(row: Row) -> bool:
    if row["scope"] == "tenant":
        return bool(row["layer"] == "deployment")
    return not (row["member_id"] if row["scope"] == "member" else row["workspace_id"])


async def set_limit(ctx: Context, workspace_id: str, wish: Row) -> Row:
    """Sets a limit of this workspace, or of the tenant, from the next request on. Raises MemberNotFound, LimitTooHigh,
    LimitMoved, Invalid, Denied."""
    async with ctx.transaction():
        row = await _meant(ctx, workspace_id, wish)
        if row["layer"] == "workspace":
            await ctx.require(actions.LIMIT_SET, Resource("workspace", workspace_id, workspace_id), name=row["name"])
        else:
            tenant = Resource("tenant", ctx.tenant_id or "", None, {"name": row["name"]})
            await ctx.require(actions.LIMIT_SET_WIDE, tenant)
        return await _set(ctx, row)


async def _meant(ctx: Context, workspace_id: str, wish: Row) -> Row:
    """The setting that is meant. Raises Invalid for one that counts nothing, MemberNotFound."""
    limit = rules.known(wish["name"])
    layer, scope, member_id = wish["layer"], wish["scope"], wish.get("member_id") or ""
    if scope not in limit.scopes:
        raise Invalid(f"{limit.name} is counted over {' and '.join(limit.scopes)}, not over {scope}.", field="scope")
    _high_enough(limit, wish["value"])
    if layer == "workspace" and scope == "tenant":
        raise Invalid("A workspace limits itself and its members; the tenant's layer limits the tenant.", field="scope")
    if member_id and (scope != "member" or layer != "workspace"):
        raise Invalid("One member is limited by the workspace, over the scope member.", field="member_id")
    if member_id:
        await _member(ctx.conn, workspace_id, member_id)
    here = layer == "workspace" or (wish.get("here") and scope == "workspace")
    return {
        "tenant_id": ctx.tenant_id,
        "layer": layer,
        "scope": scope,
        "workspace_id": workspace_id if here else "",
        "member_id": member_id,
        "name": limit.name,
        "value": wish["value"],
        "reason": str(wish.get("reason") or "").strip(),
        "set_by": ctx.principal.id,
        "set_by_name": ctx.principal.name,
        "known": wish.get("revision"),
    }


def _high_enough(limit: rules.Limit, value: int | None) -> None:
    if value is not None and value < limit.least:
        raise Invalid(f"{limit.name} is {limit.least} at least: with less nobody could raise it again.", field="value")


async def _set(ctx: Context, row: Row) -> Row:
    if not row["reason"]:
        raise Invalid("A limit needs a reason: whoever is held back by it reads it.", field="reason")
    # Who sets a limit of the tenant waits for whoever counts against it, and the other way round.
    await store.lock_limit(ctx.conn, row["tenant_id"], row["name"])
    if because := _too_high(row, await store.limits_in_force(ctx.conn)):
        raise LimitTooHigh(because)
    before = await store.limit_setting(ctx.conn, row)
    made = await store.set_limit(ctx.conn, row)
    if made is None:
        raise LimitMoved(f"The limit is at revision {before['revision'] if before else 0}.")
    ctx.record(events.limit_set(before, made))
    ctx.failpoint("limit.set.before_commit")
    return setting_shown(made)


def _too_high(row: Row, settings: list[Row]) -> str:
    """Why a value exceeds what the layers above left; empty when it does not."""
    if row["value"] is None:
        return ""
    above = rules.ceiling(settings, row["layer"], row["scope"], row["name"], row["workspace_id"], row["member_id"])
    if above is None or row["value"] <= above["value"]:
        return ""
    return (
        f"{row['value']} is more than the {above['value']} that the {above['layer']} set for the {above['scope']}:"
        " a limit only tightens what is above it."
    )


# the deployment's ---------------------------------------------------------------------------------------------------
async def show_deployment(ctx: Context) -> list[Row]:
    """What every tenant is given (operators only)."""
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await platform.require(actions.LIMIT_DEPLOY, Resource("tenant", "", None))
        return [setting_shown(row) for row in await store.deployment_limits(conn) if row["value"] is not None]


async def set_deployment(ctx: Context, wish: Row) -> Row:
    """The operator limits every tenant, or one. Raises TenantNotFound, LimitTooHigh, LimitMoved, Invalid, Denied."""
    limit = rules.known(wish["name"])
    if wish["scope"] not in limit.scopes:
        raise Invalid(f"{limit.name} is counted over {' and '.join(limit.scopes)}.", field="scope")
    _high_enough(limit, wish["value"])
    if not wish["reason"].strip():
        raise Invalid("A limit needs a reason: whoever is held back by it reads it.", field="reason")
    tenant_id = wish["tenant_id"]
    row = {
        **{key: wish[key] for key in ("scope", "name", "value", "reason")},
        "tenant_id": tenant_id,
        "layer": "operator" if tenant_id else "deployment",
        "workspace_id": "",
        "member_id": "",
        "set_by": ctx.principal.id,
        "set_by_name": ctx.principal.name,
        "known": wish.get("revision"),
    }
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        # Asked outside of every tenant: the operator has no role in any of them.
        await platform.require(actions.LIMIT_DEPLOY, Resource("tenant", tenant_id, None, {"name": limit.name}))
        if not tenant_id:
            held = {(old["scope"], old["name"]): old for old in await store.deployment_limits(conn)}
            before = held.get((row["scope"], row["name"]))
            made = await store.set_deployment_limit(conn, row)
            if made is None:
                raise LimitMoved(f"The limit is at revision {before['revision'] if before else 0}.")
            platform.record(events.limit_set(before, setting_shown(made)))
            platform.failpoint("limit.set.before_commit")
            return setting_shown(made)
    inside = ctx.acting(ctx.principal, tenant_id=tenant_id)
    inside.workspace_id = None
    async with inside.transaction() as conn:
        if not await store.workspace_ids(conn):
            raise TenantNotFound(f"There is no tenant {tenant_id[:60]}.")
        return await _set(inside, row)


async def preview_deployment(ctx: Context, wish: Row, after: str | None, most: int) -> Row:
    """Which tenants would be over a limit that the operator sets: for each how much the most that is counted there uses, and
    how many are over it. Tenants in the order of their ids, `most` of them looked at; nothing is set, and nothing of a tenant
    is told but these numbers. Raises TenantNotFound, Invalid, Denied."""
    limit = rules.known(wish["name"])
    if wish["scope"] not in limit.scopes:
        raise Invalid(f"{limit.name} is counted over {' and '.join(limit.scopes)}.", field="scope")
    one, value = wish["tenant_id"], wish["value"]
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await platform.require(actions.LIMIT_DEPLOY, Resource("tenant", one, None, {"name": limit.name}))
        tenants = [
            name for name in await store.tenant_ids(conn) if one in ("", name) and (after is None or name > after)
        ]
    if one and not tenants and after is None:
        raise TenantNotFound(f"There is no tenant {one[:60]}.")
    looked_at, items = tenants[:most], []
    for tenant_id in looked_at:
        inside = ctx.acting(ctx.principal, tenant_id=tenant_id)
        inside.workspace_id = None
        async with inside.transaction() as conn:
            use = await limit.count(conn)
        used = {"tenant": [use.tenant], "workspace": use.workspaces.values(), "member": use.members.values()}[
            wish["scope"]
        ]
        over = [] if value is None else [count for count in used if count > value]
        if over:
            items.append({"tenant_id": tenant_id, "use": max(over), "over": len(over)})
    return {
        "name": limit.name,
        "scope": wish["scope"],
        "value": value,
        "items": items,
        "tenants": len(looked_at),
        "next": looked_at[-1] if len(tenants) > most else None,
    }


def _platform(ctx: Context) -> Context:
    platform = ctx.acting(ctx.principal)
    platform.tenant_id, platform.workspace_id = None, None
    return platform


# counting against one -----------------------------------------------------------------------------------------------
async def take_one(
    ctx: Context, name: str, workspace_id: str, member_id: str = "", settings: list[Row] | None = None
) -> None:
    """Room for one more, kept until the open transaction ends: called in the transaction that adds it, before it does.
    `settings`, if they are known, save the one look that it is without a limit. Raises QuotaFull, RateReached."""
    assert ctx.tenant_id is not None
    rows = settings if settings is not None else await store.bounds_of(ctx.conn, name, workspace_id, member_id)
    bounds = rules.holding(rows, name, workspace_id, member_id)
    if not bounds:
        return
    limit = rules.known(name)
    await store.lock_limit(ctx.conn, ctx.tenant_id, name)
    use = await limit.count(ctx.conn)
    over = rules.full(bounds, {scope: use.of(scope, workspace_id, member_id) for scope in bounds})
    if over is not None:
        wait = await limit.wait(ctx.conn, over.scope, workspace_id, member_id) if limit.wait is not None else 0.0
        raise refusal(limit, over, use.of(over.scope, workspace_id, member_id), max(1, math.ceil(wait)))


def refusal(limit: rules.Limit, bound: Bound, use: int, retry_after: int | None = None) -> QuotaFull | RateReached:
    """The problem that says which limit, how much of it is in use, where it comes from and who can raise it."""
    # Lowered below what is in use, a limit is no share of which so many are taken.
    much = f"{use} of {bound.value} {limit.words}" if use <= bound.value else f"{use} {limit.words}"
    most = "" if use <= bound.value else f", and the most is {bound.value}"
    detail = f"{much} {rules.within(bound.scope)}{most}; {rules.said(bound)}"
    wait = (retry_after or limit.seconds) if limit.seconds else 0
    facts: Row = {
        "name": limit.name,
        "scope": bound.scope,
        "limit": bound.value,
        "use": use,
        "source": bound.source,
        "who_can_raise": rules.who_raises(bound.source),
        "remedy": rules.way_out(bound, wait),
    }
    if limit.seconds:
        return RateReached(detail, retry_after=wait, window_seconds=limit.seconds, **facts)
    return QuotaFull(detail, **facts)
