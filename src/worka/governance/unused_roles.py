"""Roles that are held and were not needed (BEY-4): of every member the narrowest role under which all that they did in a window
would have been answered as it was. What was recorded is asked again, so that policy counts and not the matrix alone. What
cannot be asked again counts as needing the role that is held; looks leave no record, so those that would go are named."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from worka import authorization
from worka.authorization import matrix
from worka.authorization.cedar import Request
from worka.governance import questions, replay, store
from worka.governance.replay import Sets
from worka.governance.service import sets
from worka.kernel import actions
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces

Row = dict[str, Any]
DAYS = 30
MOST = 5000
"""Acts that differ in what they were about; beyond that nothing is said."""


class Held(NamedTuple):
    """A membership's role, and whether it is a named approver's."""

    role: str
    approver: bool

    def __str__(self) -> str:
        return f"{self.role} and named approver" if self.approver else self.role

    def permissions(self, kind: str) -> set[str]:
        """What it holds by the matrix."""
        return matrix.permissions_of(kind, [self.role, *(["approver"] if self.approver else [])])


async def report(ctx: Context, workspace_id: str, days: int = DAYS) -> Row:
    """{days, since, complete, items, sentence}: who holds more than they needed, each with the change ready to apply. Nobody's is
    listed where there is more to look at than is read at once. Raises Denied for who may not ask about everybody."""
    since = now() - timedelta(days=days)
    async with ctx.transaction() as conn:
        await questions.may_ask(ctx, workspace_id, None)
        members = await workspaces.members(conn, workspace_id)
        acts = await store.acts(conn, workspace_id, since, MOST + 1)
        alone = len(await workspaces.workspace_ids(conn)) == 1
        hold = {where: await _in_force(conn, ctx.tenant_id or "", where) for where in {a["workspace_id"] for a in acts}}
    complete = len(acts) <= MOST
    items = await asyncio.to_thread(_found, members, acts, hold, alone, since, days) if complete else []
    return {
        "days": days, "since": since, "complete": complete, "items": items,
        "sentence": _sentence(len(items), len(members), days, complete),
    }  # fmt: skip


async def _in_force(conn: Connection, tenant: str, where: str | None) -> Sets:
    holds = await authorization.store.in_force(conn, where)
    return Sets(
        await sets.in_force(conn, tenant, "access", holds.access),
        await sets.in_force(conn, tenant, "governance", holds.governance),
    )


def _found(
    members: Sequence[Row],
    acts: Sequence[Row],
    hold: Mapping[str | None, Sets],
    alone: bool,
    since: datetime,
    days: int,
) -> list[Row]:
    owners = sum(1 for row in members if row["role"] == "owner")
    items = []
    for row in members:
        own = [act for act in acts if row["principal_id"] in (act["principal_id"], act["originating_person"])]
        # The last owner stays one, whatever they did.
        if row["role"] == "owner" and owners < 2:
            continue
        found = narrowest(row, own, hold, alone)
        if found is not None:
            items.append(_item(row, found, own, since, days))
    return items


def narrowest(row: Row, acts: Sequence[Row], hold: Mapping[str | None, Sets], alone: bool) -> Held | None:
    """The narrowest role under which each of a member's acts has the answer that it has under theirs; None: theirs is it.
    `alone`: it is the tenant's only workspace, so that an act on the whole tenant rests on the role in it. Pure."""
    held = Held(row["role"], row["approver"])
    left = _narrower(row["principal_kind"], held)
    for act in acts:
        if not left:
            return None
        policies = hold[act["workspace_id"]]
        try:
            requests = replay.requests_of(act)
        except LookupError:
            return None
        if replay.missing(requests) or replay.unrecorded(act, policies) or (act["workspace_id"] is None and not alone):
            return None
        today = replay.answer(_as(requests, row["principal_id"], held), policies)
        if today.verdict == "deny":
            continue  # it would not be done any more
        left = [
            other for other in left
            if not replay.answer(_as(requests, row["principal_id"], other), policies).differs(
                today.verdict, today.approval_rules
            )
        ]  # fmt: skip
    return left[0] if left else None


def _narrower(kind: str, held: Held) -> list[Held]:
    """Every role that holds less, the narrowest first."""
    mine = held.permissions(kind)
    others = [Held(role, mark) for role in matrix.ROLES for mark in {False, held.approver}]
    return sorted(
        (other for other in others if other.permissions(kind) < mine), key=lambda other: len(other.permissions(kind))
    )


def _as(requests: Sequence[Request], principal_id: str, held: Held) -> list[Request]:
    roles = (held.role, "approver") if held.approver else (held.role,)
    return [
        replace(request, roles=tuple(sorted({*roles, *({"operator"} & set(request.roles))})))
        if request.id == principal_id
        else request
        for request in requests
    ]


def _item(row: Row, found: Held, acts: Sequence[Row], since: datetime, days: int) -> Row:
    kind, held = row["principal_kind"], Held(row["role"], row["approver"])
    gone = held.permissions(kind) - found.permissions(kind)
    known = [known for act in acts if (known := actions.get(act["action"])) is not None]
    did = sorted({action.words for action in known})
    whole = bool(row["created_at"] < since)
    early = "" if whole else f" They have been here for less than {days} days: what is not needed yet may still be."
    told = (
        f"did nothing that is recorded in {days} days" if not did else f"did in {days} days what {_a(found)} may do too"
    )
    mark = " --no-approver" if held.approver and not found.approver else ""
    role = f" --role {found.role}" if found.role != held.role else ""
    return {
        "principal_kind": kind, "principal_id": row["principal_id"], "name": row["name"], "role": held.role,
        "approver": held.approver, "to_role": found.role, "to_approver": found.approver, "did": did,
        "unused": sorted(gone), "whole": whole,
        "looks": sorted(action.words for action in actions.all_actions() if action.permission in gone and not action.records),
        "words": f"{row['name']} is {_a(held)} and {told}.{early}",
        "command": f"worka member change {row['principal_id']}{role}{mark}",
    }  # fmt: skip


def _a(held: Held) -> str:
    return f"{'an' if held.role[0] in 'ao' else 'a'} {held}"


def _sentence(items: int, members: int, days: int, complete: bool) -> str:
    if not complete:
        return f"More was done in {days} days than is looked at here at once: ask for fewer days."
    if not items:
        return f"Nobody here holds more than they needed in the last {days} days."
    return f"{items} of {members} here hold{'s' if items == 1 else ''} more than they needed in the last {days} days."
