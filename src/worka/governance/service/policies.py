"""Policies of the tenant, of a workspace and of the deployment: read, checked, changed.

A change by one owner, where there is another, is a proposal: it holds when somebody else has approved exactly this text
for exactly this place and base version (boundary `policy.change`), in the commit of that approval. Where a place has
one owner only, nobody could be asked who answers for it as well: the change is in force at once, and its version says
that nobody approved it (docs/decisions, four eyes on policy). A rule of policy on `policy.save` asks everywhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

from worka import approvals, authorization
from worka.approvals import service as consent
from worka.approvals import store as approval_rows
from worka.authorization import layers
from worka.authorization.rules import Actor
from worka.governance import actions as names
from worka.governance import events, lockout, statements, store
from worka.governance.errors import BadPolicy, PolicyLocksOut, PolicyMoved
from worka.governance.lockout import Place
from worka.governance.service import sets
from worka.governance.statements import Fault
from worka.kernel import canonical, differing
from worka.kernel.clock import now
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.db import Connection
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.workspaces import store as workspaces

Row = dict[str, Any]
BOUNDARY = "policy.change"
SUBJECT = "policy_proposal"
OWN_RULES = ("approve:1",)
"""Somebody else approves a proposed change, whatever policy asks for beside that."""
SHOWN = ("kind", "scope", "version", "note", "owner_person_id", "created_by", "created_at", "approved_by")
PROPOSED = (
    "id", "workspace_id", "kind", "scope", "base_version", "note", "digest", "state", "outcome", "since", "approval_id",
    "version", "proposed_by", "created_at",
)  # fmt: skip
_MOST_PLACES = 50
_CARD_LINES = 200


def place(scope: str, workspace_id: str) -> str:
    """The scope as it is stored: empty for the tenant, else the workspace's id."""
    return workspace_id if scope == "workspace" else layers.TENANT


async def _require(ctx: Context, kind: str, scope: str) -> Decision:
    if scope == layers.TENANT:
        return await ctx.require(names.POLICY_SAVE, Resource("policy", kind, None, {"kind": kind}))
    return await ctx.require(names.POLICY_SAVE_HERE, Resource("workspace", scope, scope), kind=kind)


async def save_policy(
    ctx: Context, workspace_id: str, kind: str, text: str, note: str, scope: str = "tenant", over: int | None = None
) -> dict[str, Any]:
    """Changes the policy of the tenant or of this workspace: {state: in_force, version, …} when it holds from the next
    decision on, {state: open, id, approval_id, …} when it waits for a second person. `over`: the version that its writer
    saw; where another is the newest now, nothing is changed.

    Raises BadPolicy with every fault located, PolicyLocksOut, PolicyMoved."""
    where = place(scope, workspace_id)
    async with ctx.transaction() as conn:
        decision = await _require(ctx, kind, where)
        await checked(kind, text)
        assert ctx.tenant_id is not None
        await store.lock_place(conn, ctx.tenant_id, kind, where)
        number = await store.newest_policy(conn, kind, where)
        if over is not None and over != number:
            raise PolicyMoved(
                f"It was written over version {over} of the {kind} policy, and version {number} is in force."
            )
        await _no_lockout(conn, ctx, kind, where, text, number)
        by = ctx.originating_person or ctx.principal.id
        owners = await owners_of(conn, where)
        if decision.verdict == "ask" or [owner for owner in owners if owner != by]:
            return await _propose(ctx, workspace_id, kind, where, text, note, number, decision)
        row = await _put_in_force(ctx, workspace_id, kind, where, text, note, number, by=by)
        ctx.failpoint("policy.saved.before_commit")
        return {**{key: row[key] for key in SHOWN}, "state": "in_force"}


async def checked(kind: str, text: str) -> None:
    faults = await asyncio.to_thread(statements.check, kind, text, approvals.rules.parse_rule)
    if faults:
        raise BadPolicy(first_of(faults), errors=[fault.shown() for fault in faults])


def first_of(faults: list[Fault]) -> str:
    return f"Statement {faults[0].statement}, line {faults[0].line}: {faults[0].message}"


async def owners_of(conn: Connection, scope: str) -> list[str]:
    if scope == layers.TENANT:
        return await workspaces.owners_everywhere(conn)
    return [
        row["principal_id"]
        for row in await workspaces.members(conn, scope)
        if row["principal_kind"] == "person" and row["role"] == "owner" and row["enabled"]
    ]


async def _no_lockout(conn: Connection, ctx: Context, kind: str, scope: str, text: str, number: int) -> None:
    faults = await lockout_of(conn, ctx, kind, scope, text, number)
    if faults:
        raise PolicyLocksOut(first_of(faults), errors=[fault.shown() for fault in faults])


async def lockout_of(conn: Connection, ctx: Context, kind: str, scope: str, text: str, number: int) -> list[Fault]:
    if not statements.split(text):
        return []
    tenant = ctx.tenant_id or ""
    owners = await owners_of(conn, scope)
    places = []
    for workspace_id in [scope] if scope else (await workspaces.workspace_ids(conn))[:_MOST_PLACES]:
        holds = await authorization.store.in_force(conn, workspace_id)
        sets_now = {
            which: await sets.with_text(conn, tenant, which, holds.of(which), scope, text, number + 1)
            if which == kind
            else await sets.in_force(conn, tenant, which, holds.of(which))
            for which in ("access", "governance")
        }
        people = [
            Actor("person", row["principal_id"], row["name"], True, _roles(row))
            for row in await workspaces.members(conn, workspace_id)
            if row["principal_kind"] == "person" and row["enabled"]
        ]
        savers = tuple(person for person in people if person.id in owners)
        save = names.POLICY_SAVE if scope == layers.TENANT else names.POLICY_SAVE_HERE
        places.append(
            Place(
                tenant, workspace_id, savers, tuple(people), sets_now["access"], sets_now["governance"], save,
                len(owners) > 1,
            )
        )  # fmt: skip
    return lockout.judge(places, layers.prefix(kind, layers.word(scope), number + 1), text)


def _roles(row: Row) -> tuple[str, ...]:
    return (row["role"], "approver") if row["approver"] else (row["role"],)


def change_digest(kind: str, scope: str, base_version: int, text: str) -> str:
    """What an approver of a change decides on: exactly this text, for this place, over this version."""
    return canonical.sha256_hex(
        {"v": 1, "action": BOUNDARY, "kind": kind, "scope": scope, "base_version": base_version, "text": text}
    )


async def _propose(
    ctx: Context, workspace_id: str, kind: str, scope: str, text: str, note: str, number: int, decision: Decision
) -> dict[str, Any]:
    conn = ctx.conn
    digest = change_digest(kind, scope, number, text)
    by = ctx.originating_person or ctx.principal.id
    for row in await store.open_proposals(conn, kind, scope):
        if row["digest"] == digest and row["proposed_by"] == by:
            return {key: row[key] for key in PROPOSED}
    made = await store.add_proposal(
        conn,
        {
            "tenant_id": ctx.tenant_id,
            "id": new_id("pol"),
            "workspace_id": workspace_id,
            "kind": kind,
            "scope": scope,
            "base_version": number,
            "text": text,
            "note": note,
            "digest": digest,
            "proposed_by": by,
        },
    )
    before = await authorization.store.policy(conn, kind, number, scope) if number else None
    word = layers.word(scope)
    difference = diff(before["text"] if before else "", text)
    ctx.workspace_id = workspace_id
    approval = await consent.request(
        ctx,
        boundary=BOUNDARY,
        action=names.POLICY_SAVE if scope == layers.TENANT else names.POLICY_SAVE_HERE,
        subject_type=SUBJECT,
        subject_id=made["id"],
        title=f"Change the {kind} policy of the {word}",
        effect=f"From the next decision on, version {number + 1} of the {kind} policy holds in the {word}.",
        digest=digest,
        card={
            "kind": kind,
            "scope": word,
            "base_version": number,
            "note": note,
            "difference": difference[:_CARD_LINES],
            "difference_cut": max(0, len(difference) - _CARD_LINES),
        },
        arguments=text.encode(),
        rules=list(decision.approval_rules),
        own_rules=OWN_RULES,
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": SUBJECT, "id": made["id"], "name": f"{kind} policy of the {word}, version {number + 1}"}],
    )
    row = await store.set_proposal_approval(conn, made["id"], approval["id"])
    ctx.record(events.change_proposed(row))
    ctx.failpoint("policy.proposed.before_commit")
    return {key: row[key] for key in PROPOSED}


def diff(before: str, after: str) -> list[str]:
    """The lines that go and come, with their surroundings."""
    return differing.unified(before.splitlines(), after.splitlines(), "in force", "proposed", around=3, most=1000)


async def _put_in_force(
    ctx: Context,
    workspace_id: str,
    kind: str,
    scope: str,
    text: str,
    note: str,
    number: int,
    *,
    by: str,
    approved_by: str = "",
    cause: Row | None = None,
) -> Row:
    conn = ctx.conn
    before = await authorization.store.policy(conn, kind, number, scope) if number else None
    row = await store.add_policy(
        conn,
        {
            "tenant_id": ctx.tenant_id,
            "kind": kind,
            "scope": scope,
            "version": number + 1,
            "text": text,
            "note": note,
            "owner_person_id": by,
            "created_by": by,
            "approved_by": approved_by,
        },
    )
    if row is None:
        raise PolicyMoved(f"Version {number + 1} of the {kind} policy was saved by somebody else.")
    ctx.record(events.policy_saved(kind, before, row, scope or workspace_id, cause))
    for glass in await store.end_glass(conn, scope, "a new version is in force"):
        ctx.record(events.glass_mended(glass))
    # What waits by rules that this version changed is ended by the next sweep, and by whoever would decide it before.
    await approval_rows.look_again(conn, scope or None, now())
    for other in await store.open_proposals(conn, kind, scope):
        if cause is None or other["approval_id"] != cause["id"]:
            # Written over a version that is no longer there: whoever approved it would approve something else.
            await consent.end_for(ctx, other["id"], "superseded")
            await _close(ctx, other, "superseded")
    return row


async def _close(ctx: Context, row: Row, outcome: str) -> None:
    closed = await store.close_proposal(ctx.conn, row["id"], outcome)
    if closed is not None:
        ctx.record(events.change_closed(closed))


async def approval_locking(ctx: Context, payload: dict[str, Any]) -> None:
    """The place, the proposal, its approval: in the order in which a save takes them."""
    found = await store.proposal(ctx.conn, payload["subject_id"]) if payload["subject_type"] == SUBJECT else None
    if found is not None:
        await store.lock_place(ctx.conn, found["tenant_id"], found["kind"], found["scope"])
        await store.proposal(ctx.conn, found["id"], lock=True)


async def approval_decided(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction of the decision: the change is in force, or closed. Not ours: nothing happens."""
    if payload["subject_type"] != SUBJECT:
        return
    conn = ctx.conn
    row = await store.proposal(conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "open" or row["approval_id"] != payload["approval_id"]:
        return
    if payload["state"] != "approved":
        await _close(ctx, row, payload["state"])
        return
    if not await _redeem(ctx, row):
        await _close(ctx, row, "superseded")
        return
    votes = await approval_rows.votes(conn, row["approval_id"])
    agreed = " ".join(vote["person_id"] for vote in votes if vote["decision"] == "approve")
    cause = {"kind": "approval", "id": row["approval_id"]}
    made = await _put_in_force(
        ctx, row["workspace_id"], row["kind"], row["scope"], row["text"], row["note"], row["base_version"],
        by=row["proposed_by"], approved_by=agreed, cause=cause,
    )  # fmt: skip
    await store.close_proposal(conn, row["id"], "", made["version"])
    ctx.failpoint("policy.approved.before_commit")


async def _redeem(ctx: Context, row: Row) -> bool:
    """Decides again, as who asked, now: rights, policy, base version and the way out count as they are at this moment.
    An approval that cannot be used is superseded, not spent."""
    conn = ctx.conn
    approval = await approval_rows.get(conn, row["approval_id"])
    assert approval is not None
    asker = ctx.acting(Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id))
    asker.originating_person = approval["originating_person"]
    number = await store.newest_policy(conn, row["kind"], row["scope"])
    stale = number != row["base_version"]
    stale = stale or bool(await lockout_of(conn, ctx, row["kind"], row["scope"], row["text"], number))
    try:
        decision = await _require(asker, row["kind"], row["scope"])
    except Denied:
        stale = True
    if stale:
        await consent.end(ctx, approval, "superseded")
        return False
    digest = change_digest(row["kind"], row["scope"], row["base_version"], row["text"])
    redemption = await consent.redeem(ctx, approval["id"], digest=digest, decision=decision, used_by=row["id"])
    return redemption.usable
