"""Use cases of a bypass: for a while, and for a number of uses, approvals of one boundary or tool are let through.

It is never silent: opening, each use and closing are events of their own, and each approval that went through says by which
bypass. Where there is more than one owner, another one has to agree first. It stays within the deployment's cap."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worka.approvals import actions, events, openers, service, store
from worka.approvals.errors import BadBypass, BypassNotFound, BypassOver
from worka.approvals.groups import place
from worka.approvals.moved import wanted
from worka.approvals.people import Audience, audience
from worka.approvals.rules import BYPASS
from worka.kernel import canonical
from worka.kernel.clock import now
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.events import Subscribers
from worka.kernel.ids import new_id

Row = dict[str, Any]
SUBJECT = "bypass"


async def open_(
    ctx: Context, workspace_id: str, kind: str, target: str, why: str, until: datetime, most_uses: int,
    *, dry_run: bool = False,
) -> Row:  # fmt: skip
    """Opens a bypass for a boundary (`tool.external_side_effect`) or a tool (`acme.notes.publish`), at once by the only
    owner, else when another owner approves it. With `dry_run` everything is checked and nothing is kept. Raises BadBypass."""
    async with ctx.transaction() as conn:
        decision = await ctx.require(actions.BYPASS_OPEN, place(workspace_id, boundary=target, kind=kind))
        _check(ctx, target, why, until, most_uses)
        people = await audience(conn, ctx, workspace_id)
        owners = [who for who, reader in people.readers.items() if "owners" in reader.groups]
        alone = owners == [ctx.principal.id]
        own = [] if alone else ["approve:1 of group:owners"]
        rules = wanted(own, decision)
        row = {
            "tenant_id": ctx.tenant_id,
            "id": new_id("byp"),
            "workspace_id": workspace_id,
            "kind": kind,
            "target": target,
            "why": why,
            "until": until,
            "most_uses": most_uses,
            "state": "awaiting_approval" if rules else "open",
            "reason": "bypass_waits_for_owner" if rules else "bypass_in_force",
            "approval_id": None,
            "opened_by": ctx.principal.id,
        }
        if dry_run:
            kept = {"uses": 0, "since": now(), "created_at": now(), "closed_by": None}
            return {**shown(ctx, {**row, **kept}, people), "id": None}
        if rules:
            asked = await _ask(ctx, row, decision, own)
            row["approval_id"] = asked["id"]
        made = await store.add_bypass(conn, row)
        ctx.record(events.bypass_opened(made, alone))
        ctx.failpoint("approval.bypass.before_commit")
        return shown(ctx, made, people)


def _check(ctx: Context, target: str, why: str, until: datetime, most_uses: int) -> None:
    cap = ctx.settings.approvals
    if not cap.bypass_hours:
        raise BadBypass("This deployment has no bypass (approvals.bypass_hours is 0).")
    if ctx.principal.kind != "person":
        raise BadBypass("Only a person opens a bypass.")
    if target in service.NEVER_BYPASSED:
        raise BadBypass(
            "The consent to a bypass, to a change of policy, or to where a credential goes is never bypassed.",
            field="/target",
        )
    if not now() < until <= now() + timedelta(hours=cap.bypass_hours):
        raise BadBypass(f"It ends in time to come, within {cap.bypass_hours} hours.", field="/until")
    if not 1 <= most_uses <= cap.bypass_uses:
        raise BadBypass(f"It has 1 to {cap.bypass_uses} uses.", field="/most_uses")
    if not why.strip():
        raise BadBypass("Say why.", field="/why")


async def _ask(ctx: Context, row: Row, decision: Decision, own: list[str]) -> Row:
    """The consent of another owner to exactly this bypass."""
    what = {key: row[key] for key in ("kind", "target", "why", "most_uses")} | {"until": row["until"].isoformat()}
    return await service.request(
        ctx,
        boundary=service.BYPASS_BOUNDARY,
        action=actions.BYPASS_OPEN,
        subject_type=SUBJECT,
        subject_id=row["id"],
        title=f"Bypass approvals of {row['target']}",
        effect=f"Up to {row['most_uses']} approvals of {row['kind']} {row['target']} go through unseen"
        f" until {row['until'].isoformat()}: {row['why']}",
        digest=canonical.sha256_hex({"bypass": row["id"], **what}),
        card=what,
        arguments=None,
        rules=list(decision.approval_rules),
        own_rules=own,
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": SUBJECT, "id": row["id"], "name": f"bypass of {row['target']}"}],
        expires_in=max(row["until"] - now(), timedelta(seconds=1)),
    )


def subscribe(subscribers: Subscribers) -> None:
    """The decision about a bypass and its coming into force are one commit."""
    subscribers.on(service.LOCKING, locking)
    subscribers.on(service.TOPIC, decided)


async def locking(ctx: Context, payload: dict[str, Any]) -> None:
    """The bypass before its approval, as in closing it."""
    if payload["subject_type"] == SUBJECT:
        await store.bypass(ctx.conn, payload["subject_id"], lock=True)


async def decided(ctx: Context, payload: dict[str, Any]) -> None:
    """Another owner agreed, or not."""
    if payload["subject_type"] != SUBJECT:
        return
    row = await store.bypass(ctx.conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "awaiting_approval" or row["approval_id"] != payload["approval_id"]:
        return
    state, reason = "closed", "bypass_refused"
    if payload["state"] == "approved":
        reason = "bypass_over"
        # Used here: it is for this bypass and for nothing else. Who asked has to be an owner still.
        opener = Principal("person", row["opened_by"], "", row["tenant_id"])
        asker = ctx.acting(opener, originating_person=row["opened_by"], workspace_id=row["workspace_id"])
        may = await asker.decide(
            actions.BYPASS_OPEN, place(row["workspace_id"], boundary=row["target"], kind=row["kind"])
        )
        await service.consume(ctx, payload["approval_id"], row["id"])
        if may.verdict == "deny":
            reason = "bypass_opener_may_not"
        elif row["until"] > now():
            state, reason = "open", "bypass_in_force"
    BYPASS.check(row["state"], state)
    moved = await store.move_bypass(ctx.conn, row["id"], row["state"], state, reason, ctx.principal.id)
    assert moved is not None, "the row is locked"
    ctx.record(events.bypass_moved(moved, row["state"]))
    ctx.failpoint("approval.bypass.before_commit")


async def close(ctx: Context, bypass_id: str) -> Row:
    """Ends a bypass; holds for the next approval. Raises BypassNotFound, BypassOver."""
    async with ctx.transaction() as conn:
        row, people = await _seen(ctx, bypass_id, lock=True)
        await ctx.require(actions.BYPASS_CLOSE, place(row["workspace_id"], boundary=row["target"], kind=row["kind"]))
        if row["state"] == "closed":
            raise BypassOver("It is closed.")
        if row["state"] == "awaiting_approval":
            await service.end_for(ctx, row["id"], "withdrawn")
        BYPASS.check(row["state"], "closed")
        closed = await store.move_bypass(conn, bypass_id, row["state"], "closed", "bypass_closed", ctx.principal.id)
        assert closed is not None, "the row is locked"
        ctx.record(events.bypass_moved(closed, row["state"]))
        ctx.failpoint("approval.bypass.before_commit")
        return shown(ctx, closed, people)


async def left(ctx: Context, payload: dict[str, Any]) -> None:
    """A bypass ends with the ownership of who opened it: coming back brings none back."""
    workspace_id, person = payload["workspace_id"], payload["principal_id"]
    rows = await store.bypasses_of(ctx.conn, workspace_id, person, now())
    if not rows or "owners" in (await audience(ctx.conn, ctx, workspace_id)).reader("person", person).groups:
        return
    for row in rows:
        if row["state"] == "awaiting_approval":
            await service.end_for(ctx, row["id"], "withdrawn")
        BYPASS.check(row["state"], "closed")
        closed = await store.move_bypass(
            ctx.conn, row["id"], row["state"], "closed", "bypass_opener_may_not", ctx.principal.id
        )
        assert closed is not None, "the row is locked"
        ctx.record(events.bypass_moved(closed, row["state"]))
        ctx.failpoint("approval.bypass.before_commit")


async def _seen(ctx: Context, bypass_id: str, *, lock: bool = False) -> tuple[Row, Audience]:
    row = await store.bypass(ctx.conn, bypass_id, lock=lock)
    people = await audience(ctx.conn, ctx, row["workspace_id"]) if row is not None else None
    if row is None or people is None or ctx.principal.id not in people.names:
        raise BypassNotFound(f"{bypass_id} is not in a workspace of yours.")
    return row, people


async def show(ctx: Context, bypass_id: str) -> Row:
    """One bypass. Raises BypassNotFound."""
    async with ctx.transaction():
        row, people = await _seen(ctx, bypass_id)
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", row["workspace_id"]))
        return shown(ctx, row, people)


def _owns(ctx: Context, people: Audience) -> bool:
    return "owners" in people.reader(ctx.principal.kind, ctx.principal.id).groups


async def listing(ctx: Context, workspace_id: str, state: str | None, after: str | None, limit: int) -> list[Row]:
    """The bypasses of a workspace, newest first; limit + 1."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
        rows = await store.bypasses(conn, workspace_id, state, after, limit + 1)
        people = await audience(conn, ctx, workspace_id)
        return [shown(ctx, row, people) for row in rows]


def shown(ctx: Context, row: Row, people: Audience) -> Row:
    """A bypass as the API shows it; `you_close`: the caller may end it. One whose time is over is shown as closed, though
    nothing has closed it yet; `held`: why one that is open lets nothing through meanwhile."""
    keys = ("id", "workspace_id", "kind", "target", "why", "until", "most_uses", "uses", "since", "approval_id",
            "created_at", "closed_by")  # fmt: skip
    over = row["state"] == "open" and row["until"] <= now()
    held = openers.held(people, row) if row["state"] == "open" and not over else ""
    return {
        **{key: row[key] for key in keys},
        "state": "closed" if over else row["state"],
        "reason": "bypass_over" if over else "bypass_held" if held else row["reason"],
        "held": held,
        "you_close": _owns(ctx, people),
        "opened_by": {
            "kind": "person",
            "id": row["opened_by"],
            "name": people.name(row["opened_by"]),
        },
    }
