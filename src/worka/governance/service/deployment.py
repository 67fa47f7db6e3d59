"""The deployment's own policy, which its operator adds to the floor of every tenant."""

from __future__ import annotations

import asyncio
from typing import Any

from worka import approvals, authorization
from worka.authorization import layers
from worka.authorization.rules import Actor
from worka.governance import actions as names
from worka.governance import events, lockout, statements, store
from worka.governance.errors import PolicyLocksOut, PolicyMoved, PolicyNotFound
from worka.governance.lockout import Place
from worka.governance.service import sets
from worka.governance.service.dry_runs import bounds, count_in_tenant
from worka.governance.service.policies import SHOWN, checked, diff, first_of
from worka.governance.service.reading import text_of
from worka.governance.statements import Fault
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces
from worka.workspaces.errors import TenantNotFound

Row = dict[str, Any]


async def save_deployment_policy(ctx: Context, kind: str, text: str, note: str) -> dict[str, Any]:
    """Adds to the floor of every tenant; in force from the next decision on. The operator only, of whom there is one (0030),
    so nobody else can be asked; the platform's ledger and the changes of no tenant hold who did it.

    Raises BadPolicy, PolicyLocksOut, PolicyMoved, Denied."""
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await _require(platform, kind)
        await checked(kind, text)
        holds = await authorization.store.in_force(conn, None)
        number = holds.of(kind).deployment
        faults = await _lockout(conn, kind, text, number)
        if faults:
            raise PolicyLocksOut(first_of(faults), errors=[fault.shown() for fault in faults])
        before = await authorization.store.policy(conn, kind, number, layers.DEPLOYMENT) if number else None
        if not await store.add_deployment_policy(conn, kind, number + 1, text, note, ctx.principal.id):
            raise PolicyMoved(f"Version {number + 1} of the deployment's {kind} policy was saved by somebody else.")
        row = await authorization.store.policy(conn, kind, number + 1, layers.DEPLOYMENT)
        assert row is not None
        platform.record(events.policy_saved(kind, before, row, None))
        platform.failpoint("policy.saved.before_commit")
    return {**{key: row[key] for key in SHOWN}, "state": "in_force"}


async def _lockout(conn: Connection, kind: str, text: str, number: int) -> list[Fault]:
    """A tenant of nobody in particular: an owner, a second one, and an operator who must still be able to save this."""
    owner, second, operator = (
        Actor("person", f"per_{name}", name, True, (role,))
        for name, role in (("owner", "owner"), ("second", "owner"), ("operator", "operator"))
    )
    new = {
        which: await sets.with_text(conn, "", which, layers.Layers(), layers.DEPLOYMENT, text, number + 1)
        if which == kind
        else await sets.in_force(conn, "", which, layers.Layers())
        for which in ("access", "governance")
    }
    prefix = layers.prefix(kind, "deployment", number + 1)
    tenant = Place(
        "ten_any", "ws_any", (owner,), (owner, second), new["access"], new["governance"], names.POLICY_SAVE, True
    )
    return lockout.judge([tenant], prefix, text) + lockout.operators(operator, new, prefix, text)


async def list_deployment(ctx: Context, after: tuple[str, int] | None, limit: int) -> list[Row]:
    """The deployment's versions of both kinds, newest first; up to limit + 1. For the operator: others read what holds for
    them as a layer (`policy_layers`)."""
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await _require(platform)
        return await store.deployment_policies(conn, limit + 1, after)


async def show_deployment(ctx: Context, kind: str, version: int | None = None) -> Row:
    """A version of the deployment's policy with its text and the shipped floor under it; the newest one without a number
    (version 0: it has none). Raises PolicyNotFound."""
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await _require(platform, kind)
        number = (await authorization.store.in_force(conn, None)).of(kind).deployment if version is None else version
        row = await authorization.store.policy(conn, kind, number, layers.DEPLOYMENT) if number else None
    if row is None and number:
        raise PolicyNotFound(f"The deployment's {kind} policy has no version {number}.")
    return {**text_of(kind, number, layers.DEPLOYMENT, row), "break_glass": None}


async def check_deployment(ctx: Context, kind: str, text: str) -> Row:
    """What saving this text would say, without saving: as `check_policy` for the other places."""
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await _require(platform, kind)
        faults = await asyncio.to_thread(statements.check, kind, text, approvals.rules.parse_rule)
        number = (await authorization.store.in_force(conn, None)).of(kind).deployment
        if not faults:
            faults = await _lockout(conn, kind, text, number)
        before = await authorization.store.policy(conn, kind, number, layers.DEPLOYMENT) if number else None
    now = before["text"] if before else ""
    return {
        "ok": not faults,
        "kind": kind,
        "scope": layers.DEPLOYMENT,
        "base_version": number,
        "faults": [fault.shown() for fault in faults],
        "difference": diff(now, text),
        "would": "be refused" if faults else "change nothing" if now == text else "hold at once",
    }


async def dry_run_deployment(
    ctx: Context, tenant_id: str, kind: str, text: str, since: str | None, until: str | None, after: str | None
) -> Row:
    """A page of how many recorded decisions of a tenant would be others under this text, by action. An operator has no part
    in a tenant: whose they are, and about what, is not said. Raises TenantNotFound, BadPolicy, BadWindow, Denied."""
    platform = _platform(ctx)
    async with platform.transaction():
        await _require(platform, kind)
    began, ended = bounds(since, until)
    await checked(kind, text)
    inside = ctx.acting(ctx.principal, tenant_id=tenant_id)
    inside.workspace_id = None
    async with inside.transaction() as conn:
        if not await workspaces.workspace_ids(conn):
            raise TenantNotFound(f"There is no tenant {tenant_id[:60]}.")
    page = await count_in_tenant(inside, kind, text, began, ended, after)
    return {"tenant_id": tenant_id, **page, "since": began, "until": ended}


def _platform(ctx: Context) -> Context:
    """The same request outside of every tenant, where the operator's rights are."""
    platform = ctx.acting(ctx.principal)
    platform.tenant_id, platform.workspace_id = None, None
    return platform


async def _require(platform: Context, kind: str = "") -> None:
    place = Resource("tenant", "deployment", None, {"kind": kind} if kind else {})
    await platform.require(names.POLICY_DEPLOY, place)
