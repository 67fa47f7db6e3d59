"""Policies as they are read: what holds, versions, proposed changes, and what saving a text would say."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from worka import approvals, authorization, identity
from worka.approvals.people import audience
from worka.authorization import floor as access_floor
from worka.authorization import layers
from worka.governance import actions as names
from worka.governance import rules, statements, store
from worka.governance.errors import PolicyNotFound, ProposalNotFound
from worka.governance.service import sets
from worka.governance.service.policies import PROPOSED, diff, lockout_of, owners_of, place
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Denied

_STEPUP = re.compile(r"@rule\(\s*\"[^\"]* stepup\"\s*\)")
_GLASS = ("id", "reason", "opened_by", "opened_at", "until")


async def check_policy(ctx: Context, workspace_id: str, kind: str, text: str, scope: str = "tenant") -> dict[str, Any]:
    """What saving this text would say, without saving: {ok, faults, difference, base_version, would}."""
    where = place(scope, workspace_id)
    async with ctx.transaction() as conn:
        await ctx.require(names.POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        faults = await asyncio.to_thread(statements.check, kind, text, approvals.rules.parse_rule)
        number = await store.newest_policy(conn, kind, where)
        if not faults:
            faults = await lockout_of(conn, ctx, kind, where, text, number)
        before = await authorization.store.policy(conn, kind, number, where) if number else None
        owners = await owners_of(conn, where)
        warnings = [] if faults else await factors_lacking(ctx, workspace_id, kind, text, where)
    now = before["text"] if before else ""
    would = "change nothing" if now == text else "hold at once" if len(owners) < 2 else "wait for a second person"
    return {
        "ok": not faults,
        "kind": kind,
        "scope": where,
        "base_version": number,
        "faults": [fault.shown() for fault in faults],
        "difference": diff(now, text),
        "would": would if not faults else "be refused",
        "warnings": warnings,
    }


async def factors_lacking(ctx: Context, workspace_id: str, kind: str, text: str, where: str) -> list[str]:
    """For a text whose rules want a second factor: how many of those who may approve in this workspace have one. Told to who
    could save it in its place: who has none is whose account opens with a password alone."""
    if not _STEPUP.search(text) or not await _saves(ctx, kind, where):
        return []
    here = await audience(ctx.conn, ctx, workspace_id)
    able = [who for who, reader in here.readers.items() if reader.may_approve]
    have = await identity.store.with_second_factor(ctx.conn, able)
    if len(have) == len(able):
        return []
    return [
        f"Its rules want a second factor: {len(have)} of {len(able)} people who may approve here"
        f" {'has' if len(have) == 1 else 'have'} one. The others cannot decide until they set one up:"
        f" {', '.join(here.names[who] for who in able if who not in have)}."
    ]


async def _saves(ctx: Context, kind: str, where: str) -> bool:
    """Whether the reader could save a policy of this place, or propose it: they are not shown more than they govern."""
    action, thing = (
        (names.POLICY_SAVE, Resource("policy", kind, None, {"kind": kind}))
        if where == layers.TENANT
        else (names.POLICY_SAVE_HERE, Resource("workspace", where, where, {"kind": kind}))
    )
    return await authorization.may(ctx.conn, ctx, ctx.principal.kind, ctx.principal.id, action, thing)


async def list_policies(
    ctx: Context, workspace_id: str, after: tuple[str, int] | None, limit: int, scope: str = "tenant"
) -> list[dict[str, Any]]:
    """The versions of both kinds of a place (`deployment` too), newest first; up to limit + 1."""
    async with ctx.transaction() as conn:
        await ctx.require(names.POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        if scope == "deployment":
            return await store.deployment_policies(conn, limit + 1)
        return await store.policies(conn, after, limit + 1, place(scope, workspace_id))


async def show_policy(
    ctx: Context, workspace_id: str, kind: str, version: int, scope: str = "tenant"
) -> dict[str, Any]:
    """A version with its text and the shipped floor under it (version 0: the floor alone). Raises PolicyNotFound."""
    where = layers.DEPLOYMENT if scope == "deployment" else place(scope, workspace_id)
    async with ctx.transaction() as conn:
        await ctx.require(names.POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        row = await authorization.store.policy(conn, kind, version, where) if version else None
        if kind not in ("access", "governance") or (row is None and version != 0):
            raise PolicyNotFound(f"{kind} has no version {version}.")
    return text_of(kind, version, where, row)


def text_of(kind: str, version: int, where: str, row: dict[str, Any] | None) -> dict[str, Any]:
    """A version as it is shown with its text; without a row the floor alone."""
    keys = ("text", "note", "owner_person_id", "created_by", "created_at", "approved_by")
    shown = {key: row[key] for key in keys} if row else {"text": ""}
    return {
        "kind": kind,
        "version": version,
        "scope": where,
        **shown,
        "floor_version": sets.floor_name(kind),
        "floor_text": _floor_text(kind),
    }


def _floor_text(kind: str) -> str:
    return access_floor.text() if kind == "access" else rules.floor_text(rules.CURRENT_FLOOR)


async def newest_policy(ctx: Context, workspace_id: str, kind: str, scope: str = "tenant") -> dict[str, Any]:
    """The newest version of a kind, as `show_policy` gives it (version 0: none was saved), and whether a break-glass
    covers it now."""
    where = layers.DEPLOYMENT if scope == "deployment" else place(scope, workspace_id)
    async with ctx.transaction() as conn:
        holds = await authorization.store.in_force(conn, workspace_id)
        number = (
            holds.of(kind).version(where)
            if where == layers.DEPLOYMENT
            else await store.newest_policy(conn, kind, where)
        )
        shown = await show_policy(ctx, workspace_id, kind, number, scope)
        glass = [row for row in await store.open_glass(conn) if row["scope"] == where]
        return {**shown, "break_glass": {key: glass[0][key] for key in _GLASS} if glass else None}


async def policy_layers(ctx: Context, workspace_id: str) -> list[dict[str, Any]]:
    """Everything that holds in this workspace, from the top: [{kind, layer, scope, version, text, break_glass, …}]. A
    place's text that a break-glass sets aside is there too, and says so."""
    async with ctx.transaction() as conn:
        await ctx.require(names.POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        holds = await authorization.store.in_force(conn, workspace_id)
        glass = {row["scope"]: row for row in await store.open_glass(conn)}
        found: list[dict[str, Any]] = []
        for kind in ("access", "governance"):
            floor = {"kind": kind, "layer": "floor", "scope": "floor", "version": 0, "text": _floor_text(kind)}
            found.append({**floor, "name": sets.floor_name(kind), "in_force": True})
            for scope in (layers.DEPLOYMENT, layers.TENANT, workspace_id):
                broken = glass.get(scope)
                number = (
                    holds.of(kind).version(scope)
                    if scope == layers.DEPLOYMENT
                    else await store.newest_policy(conn, kind, scope)
                )
                row = await authorization.store.policy(conn, kind, number, scope) if number else None
                if row is None:
                    continue
                keys = ("version", "text", "note", "owner_person_id", "created_at", "approved_by")
                found.append(
                    {
                        "kind": kind,
                        "layer": layers.word(scope),
                        "scope": scope,
                        "name": f"{layers.word(scope)}.{number}",
                        "in_force": broken is None,
                        **{key: row[key] for key in keys},
                        "break_glass": {key: broken[key] for key in _GLASS} if broken else None,
                    }
                )
        return found


async def list_proposals(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[dict[str, Any]]:
    """The proposed changes that were asked for in this workspace, newest first; up to limit + 1."""
    async with ctx.transaction() as conn:
        await ctx.require(names.POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        return await store.proposals(conn, workspace_id, after, limit + 1)


async def show_proposal(ctx: Context, proposal_id: str) -> dict[str, Any]:
    """One proposed change with its text, and how it differs from what it was written over. Raises ProposalNotFound."""
    async with ctx.transaction() as conn:
        row = await store.proposal(conn, proposal_id)
        if row is None:
            raise ProposalNotFound(f"There is no proposed change {proposal_id}.")
        try:
            await ctx.require(names.POLICY_VIEW, Resource("workspace", row["workspace_id"], row["workspace_id"]))
        except Denied as denied:
            raise ProposalNotFound(f"There is no proposed change {proposal_id}.") from denied
        base = row["base_version"]
        before = await authorization.store.policy(conn, row["kind"], base, row["scope"]) if base else None
    shown = {key: row[key] for key in (*PROPOSED, "text")}
    return {**shown, "difference": diff(before["text"] if before else "", row["text"])}
