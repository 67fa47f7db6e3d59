"""The policy on destinations: read, tried, changed. A change that only tightens holds from the next call on; one that may let
more through waits for a second owner, where there is one, and holds in the commit of that approval."""

from __future__ import annotations

from typing import Any

from worka.approvals import service as consent
from worka.approvals import store as approval_rows
from worka.broker import actions, events
from worka.broker.errors import PolicyChangeUnknown, PolicyInvalid, PolicyMoved
from worka.broker.policy import rules, store
from worka.broker.rules import RuleProblem
from worka.governance.service.policies import owners_of
from worka.kernel import canonical
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.db import Connection
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id

Row = dict[str, Any]
BOUNDARY = "egress_policy.change"
SUBJECT = "egress_policy_change"
OWN_RULES = ("approve:1",)
"""Somebody else approves that more is let through, whatever policy asks for beside that."""
_CARD_ITEMS = 60


def place(scope: str, workspace_id: str) -> str:
    """The scope as it is stored: empty for the tenant, else the workspace's id."""
    return workspace_id if scope == "workspace" else ""


def checked(settings: Row) -> Row:
    """The settings without what says nothing. Raises PolicyInvalid naming the item."""
    found = {part: settings[part] for part in rules.PARTS if settings.get(part) is not None}
    try:
        rules.parse(found, "")
    except RuleProblem as problem:
        raise PolicyInvalid(f"{problem}.", field=f"/settings/{str(problem).partition(':')[0]}") from problem
    return found


async def show(ctx: Context, workspace_id: str) -> Row:
    """{layers, changes}: what holds in a workspace, the tenant's first, and the changes that wait. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.EGRESS_POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        rows = await store.in_force(conn, workspace_id)
        waiting = [row for row in await store.changes(conn, workspace_id, None, 50) if row["state"] == "open"]
        return {"layers": [layer(row) for row in rows], "changes": [change_shown(row) for row in waiting]}


def layer(row: Row) -> Row:
    """A version as the API shows it."""
    return {
        "scope": "workspace" if row["workspace_id"] else "tenant",
        **{key: row[key] for key in ("version", "note", "created_by", "approved_by", "created_at")},
        "settings": row["settings"],
        "words": words(row["settings"]),
    }


def words(settings: Row) -> list[str]:
    """What a version says, a sentence an item."""
    found = [f"refused: {rules.said(item)}" for item in settings.get("refuse") or ()]
    found += [f"excepted from that: {rules.said(item)}" for item in settings.get("except") or ()]
    if settings.get("only") is not None:
        found += [f"on the list: {rules.said(item)}" for item in settings["only"]] or [
            "the list is empty: nothing goes"
        ]
    return found


def change_shown(row: Row) -> Row:
    """A change as the API shows it."""
    keys = ("id", "workspace_id", "base_version", "note", "state", "outcome", "since", "approval_id", "version",
            "proposed_by", "created_at", "settings")  # fmt: skip
    scope = "workspace" if row["scope"] else "tenant"
    return {**{key: row[key] for key in keys}, "scope": scope, "words": words(row["settings"])}


async def history(ctx: Context, workspace_id: str, scope: str, below: int | None, limit: int) -> list[Row]:
    """The versions of a place, newest first. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.EGRESS_POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        return [layer(row) for row in await store.versions(conn, place(scope, workspace_id), below, limit)]


async def changes(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Changes that waited or wait, newest first. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.EGRESS_POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        return [change_shown(row) for row in await store.changes(conn, workspace_id, after, limit)]


async def change(ctx: Context, change_id: str) -> Row:
    """One of them. Raises PolicyChangeUnknown."""
    async with ctx.transaction() as conn:
        row = await store.change(conn, change_id)
        if row is None:
            raise PolicyChangeUnknown()
        where = str(row["scope"] or row["workspace_id"])
        seen = await ctx.decide(actions.EGRESS_POLICY_VIEW, Resource("workspace", where, where))
        if seen.verdict == "deny":
            raise PolicyChangeUnknown()
        return change_shown(row)


async def _require(ctx: Context, scope: str, loosens: bool) -> Decision:
    facts = {"widens": loosens}
    if scope:
        return await ctx.require(actions.EGRESS_POLICY_SET, Resource("workspace", scope, scope), **facts)
    assert ctx.tenant_id is not None
    return await ctx.require(actions.EGRESS_POLICY_SET_WIDE, Resource("tenant", ctx.tenant_id), **facts)


async def save(
    ctx: Context, workspace_id: str, *, scope: str, settings: Row, note: str, over: int | None = None
) -> Row:
    """A new version of the tenant's or this workspace's policy: {state: in_force, version, …} when it holds from the next
    call on, {state: open, id, approval_id, …} when it waits for a second person. `over`: the version that its writer saw.

    Raises Denied, PolicyInvalid, PolicyMoved."""
    found, where = checked(settings), place(scope, workspace_id)
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        await store.lock(conn, ctx.tenant_id)
        before = await store.newest(conn, where)
        loosens = _loosens(before, found)
        decision = await _require(ctx, where, loosens)
        number = before["version"] if before else 0
        if over is not None and over != number:
            raise PolicyMoved(f"It was written over version {over}, and version {number} is in force.")
        by = ctx.originating_person or ctx.principal.id
        owners = await owners_of(conn, where)
        if decision.verdict == "ask" or (loosens and [owner for owner in owners if owner != by]):
            return await _propose(ctx, workspace_id, where, found, note, before, decision)
        row = await _put_in_force(ctx, workspace_id, where, found, note, before, by=by)
        return {**layer(row), "state": "in_force", "loosens": loosens}


def _loosens(before: Row | None, settings: Row) -> bool:
    was = rules.parse(before["settings"] if before else {}, "")
    return rules.loosens(was, rules.parse(settings, ""))


def digest_of(scope: str, base_version: int, settings: Row) -> str:
    """What an approver decides on: exactly these destinations, for this place, over this version."""
    return canonical.sha256_hex(
        {"v": 1, "action": BOUNDARY, "scope": scope, "base_version": base_version, "settings": settings}
    )


async def _propose(
    ctx: Context, workspace_id: str, scope: str, settings: Row, note: str, before: Row | None, decision: Decision
) -> Row:
    conn, number = ctx.conn, before["version"] if before else 0
    digest, by = digest_of(scope, number, settings), ctx.originating_person or ctx.principal.id
    for row in await store.open_changes(conn, scope):
        if row["digest"] == digest and row["proposed_by"] == by:
            return {**change_shown(row), "loosens": True}
    made = await store.add_change(
        conn,
        {
            "tenant_id": ctx.tenant_id, "id": new_id("epc"), "workspace_id": workspace_id, "scope": scope,
            "base_version": number, "settings": settings, "note": note, "digest": digest, "proposed_by": by,
        },
    )  # fmt: skip
    word = "workspace" if scope else "tenant"
    was, will = words(before["settings"]) if before else [], words(settings)
    difference = [
        *(f"- {line}" for line in was if line not in will),
        *(f"+ {line}" for line in will if line not in was),
    ]
    ctx.workspace_id = workspace_id
    approval = await consent.request(
        ctx,
        boundary=BOUNDARY,
        action=actions.EGRESS_POLICY_SET if scope else actions.EGRESS_POLICY_SET_WIDE,
        subject_type=SUBJECT,
        subject_id=made["id"],
        title=f"Change the policy on destinations of the {word}",
        effect=f"From the next call on, version {number + 1} of the policy on destinations holds in the {word}.",
        digest=digest,
        card={
            "kind": "egress", "scope": word, "base_version": number, "note": note, "difference": difference[:_CARD_ITEMS],
            "difference_cut": max(0, len(difference) - _CARD_ITEMS),
        },
        arguments="\n".join(will).encode(),
        rules=list(decision.approval_rules),
        own_rules=OWN_RULES,
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": SUBJECT, "id": made["id"], "name": f"policy on destinations of the {word}, version {number + 1}"}],
    )  # fmt: skip
    row = await store.set_approval(conn, made["id"], approval["id"])
    ctx.record(events.policy_change_proposed(row))
    ctx.failpoint("egress.policy.before_commit")
    return {**change_shown(row), "loosens": True}


async def _put_in_force(
    ctx: Context,
    workspace_id: str,
    scope: str,
    settings: Row,
    note: str,
    before: Row | None,
    *,
    by: str,
    approved_by: str = "",
    cause: Row | None = None,
) -> Row:
    conn = ctx.conn
    row = await store.add(
        conn,
        {
            "tenant_id": ctx.tenant_id, "workspace_id": scope, "version": (before["version"] if before else 0) + 1,
            "settings": settings, "note": note, "created_by": by, "approved_by": approved_by,
        },
    )  # fmt: skip
    ctx.record(events.policy_saved(row, before, workspace_id, cause))
    for other in await store.open_changes(conn, scope):
        if cause is None or other["approval_id"] != cause["id"]:
            # Written over a version that is no longer there: whoever approved it would approve something else.
            await consent.end_for(ctx, other["id"], "superseded")
            await _close(ctx, other, "superseded")
    ctx.failpoint("egress.policy.before_commit")
    return row


async def _close(ctx: Context, row: Row, outcome: str) -> None:
    if (closed := await store.close_change(ctx.conn, row["id"], outcome)) is not None:
        ctx.record(events.policy_change_closed(closed))


async def approval_locking(ctx: Context, payload: Row) -> None:
    """The place, the change, its approval: in the order in which a save takes them."""
    if payload["subject_type"] == SUBJECT:
        assert ctx.tenant_id is not None
        await store.lock(ctx.conn, ctx.tenant_id)
        await store.change(ctx.conn, payload["subject_id"], lock=True)


async def approval_decided(ctx: Context, payload: Row) -> None:
    """In the transaction of the decision: the change is in force, or closed. Not ours: nothing happens."""
    if payload["subject_type"] != SUBJECT:
        return
    conn = ctx.conn
    row = await store.change(conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "open" or row["approval_id"] != payload["approval_id"]:
        return
    if payload["state"] != "approved":
        await _close(ctx, row, payload["state"])
        return
    before = await store.newest(conn, row["scope"])
    if not await _redeem(ctx, conn, row, before):
        await _close(ctx, row, "superseded")
        return
    votes = await approval_rows.votes(conn, row["approval_id"])
    agreed = " ".join(vote["person_id"] for vote in votes if vote["decision"] == "approve")
    cause = {"kind": "approval", "id": row["approval_id"]}
    made = await _put_in_force(
        ctx, row["workspace_id"], row["scope"], row["settings"], row["note"], before, by=row["proposed_by"],
        approved_by=agreed, cause=cause,
    )  # fmt: skip
    await store.close_change(conn, row["id"], "", made["version"])


async def _redeem(ctx: Context, conn: Connection, row: Row, before: Row | None) -> bool:
    """Decides again, as who asked, now. An approval that cannot be used is superseded, not spent."""
    approval = await approval_rows.get(conn, row["approval_id"])
    assert approval is not None
    asker = ctx.acting(Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id))
    asker.originating_person = approval["originating_person"]
    stale = (before["version"] if before else 0) != row["base_version"]
    try:
        decision = await _require(asker, row["scope"], _loosens(before, row["settings"]))
    except Denied:
        stale = True
    if stale:
        await consent.end(ctx, approval, "superseded")
        return False
    digest = digest_of(row["scope"], row["base_version"], row["settings"])
    return (await consent.redeem(ctx, approval["id"], digest=digest, decision=decision, used_by=row["id"])).usable
