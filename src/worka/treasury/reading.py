"""Break-glass: a person reads one value, once, within minutes of the consent of another owner; both are told, and it is recorded."""

from __future__ import annotations

from datetime import timedelta

from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.kernel import canonical, redact
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Invalid
from worka.kernel.ids import new_id
from worka.treasury import actions, errors, events, rules, service, store, values
from worka.treasury.datakeys import OWN_RULES, asker
from worka.treasury.rules import READING
from worka.treasury.service import Row

SUBJECT = "secret_reading"
READ = "secret.read"
MOST_MINUTES = 60


def _secret(row: Row) -> Resource:
    return Resource("secret", row["id"], row["workspace_id"], {"name": row["name"], "kind": row["kind"]})


async def ask(ctx: Context, secret_id: str, why: str, minutes: int) -> Row:
    """Asks another owner to let the caller read the value. Nothing is shown yet. Raises SecretNotFound, Denied, SecretRevoked."""
    assert ctx.tenant_id is not None
    if not why.strip() or not 1 <= minutes <= MOST_MINUTES:
        raise Invalid(f"Say why, and for how many minutes: 1 to {MOST_MINUTES}.", field="why")
    async with ctx.transaction() as conn:
        secret = await service.visible(ctx, secret_id, lock="share")
        decision = await ctx.require(actions.SECRET_READ, _secret(secret))
        _readable(ctx, secret)
        if secret["state"] not in rules.LEASABLE:
            raise errors.SecretRevoked(f"{secret['name']} is {secret['state']}.")
        row: Row = {
            "tenant_id": ctx.tenant_id, "id": new_id("srd"), "workspace_id": secret["workspace_id"],
            "secret_id": secret_id, "why": why, "minutes": minutes, "opened_by": ctx.principal.id,
        }  # fmt: skip
        ctx.workspace_id = secret["workspace_id"]
        asked = await approvals.request(
            ctx,
            boundary=actions.SECRET_READ,
            action=actions.SECRET_READ,
            subject_type=SUBJECT,
            subject_id=row["id"],
            title=f"Read the value of {secret['name']}",
            effect=f"{ctx.principal.name} sees the value once, within {minutes} minutes of this consent: {why}",
            digest=_digest(row),
            card={"secret": secret["name"], "why": why, "minutes": minutes},
            arguments=None,
            rules=list(decision.approval_rules),
            own_rules=OWN_RULES,
            decision_id=decision.id,
            policy_version=decision.policy_version,
            blocks=[{"kind": SUBJECT, "id": row["id"], "name": f"reading of {secret['name']}"}],
        )
        made = await store.add_reading(conn, {**row, "approval_id": asked["id"]})
        ctx.record(events.reading_moved(made, None, secret["name"]))
        ctx.failpoint("treasury.changed.before_commit")
    return shown(made)


def _readable(ctx: Context, secret: Row) -> None:
    """Raises AnotherPersons for what is of somebody's own account: owners of the workspace agree about the workspace's."""
    if secret["person_id"] and secret["person_id"] != ctx.principal.id:
        raise errors.AnotherPersons(f"{secret['name']} is of another person's own account.")


def shown(row: Row) -> Row:
    """As the API shows it; one whose time is over is shown as closed, though nothing has closed it."""
    names = ("id", "workspace_id", "secret_id", "why", "minutes", "until", "approval_id", "opened_by", "created_at",
             "since", "read_at")  # fmt: skip
    over = row["state"] == "open" and row["until"] <= now()
    state, reason = ("closed", "reading_over") if over else (row["state"], row["reason"])
    return {**{name: row[name] for name in names}, "state": state, "reason": reason}


def _digest(row: Row) -> str:
    keys = ("id", "secret_id", "why", "minutes", "opened_by")
    return canonical.sha256_hex({"v": 1, "action": SUBJECT, **{key: row[key] for key in keys}})


async def listing(ctx: Context, secret_id: str, after: str | None, limit: int) -> list[Row]:
    """The readings of a secret, newest first (up to limit + 1). Raises SecretNotFound."""
    async with ctx.transaction() as conn:
        await service.visible(ctx, secret_id)
        return [shown(row) for row in await store.readings(conn, secret_id, after, limit + 1)]


async def read(ctx: Context, reading_id: str) -> Row:
    """{…, value}: the value, to who asked for it, once. The row and its audit entry commit before it leaves. Raises
    ReadingNotFound, ReadingOver, TreasurySealed, SecretUnreadable."""
    async with ctx.transaction() as conn:
        row = await store.reading(conn, reading_id, lock=True)
        if row is None or ctx.principal.kind != "person" or row["opened_by"] != ctx.principal.id:
            raise errors.ReadingNotFound(f"There is no reading {reading_id} of yours.")
        secret = await service.visible(ctx, row["secret_id"], lock="share")
        await ctx.require(actions.SECRET_READ, _secret(secret))
        _readable(ctx, secret)
        seen = shown(row)
        if seen["state"] != "open":
            raise errors.ReadingOver(f"It is {seen['state'].replace('_', ' ')}.", reason=seen["reason"])
        if secret["state"] not in rules.LEASABLE:
            raise errors.SecretRevoked(f"{secret['name']} is {secret['state']}.")
        value = await values.opened(ctx, secret)
        redact.remember(value)
        READING.check("open", "closed")
        closed = await store.move_reading(conn, reading_id, "closed", "reading_done", read=True)
        ctx.record(events.reading_moved(closed, "open", secret["name"]))
        payload = {
            "workspace_id": row["workspace_id"], "secret_id": row["secret_id"], "name": secret["name"], "why": row["why"],
            "read_by": {"id": ctx.principal.id, "name": ctx.principal.name}, "reading_id": reading_id,
        }  # fmt: skip
        await approval_rows.send_later(
            conn, {"tenant_id": row["tenant_id"], "id": new_id("out"), "topic": READ, "payload": payload}
        )
        ctx.failpoint("treasury.read.before_commit")
    return {**shown(closed), "value": value}


async def decided(ctx: Context, payload: Row) -> None:
    """In the transaction of the decision: it is open for its minutes, or closed."""
    row = await store.reading(ctx.conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "awaiting_approval" or row["approval_id"] != payload["approval_id"]:
        return
    secret = await store.secret(ctx.conn, row["secret_id"])
    assert secret is not None
    state, reason, until = "closed", "reading_refused", None
    if payload["state"] == "approved" and await _redeemed(ctx, row, secret):
        state, reason, until = "open", "reading_open", now() + timedelta(minutes=row["minutes"])
    READING.check(row["state"], state)
    moved = await store.move_reading(ctx.conn, row["id"], state, reason, until=until)
    ctx.record(events.reading_moved(moved, row["state"], secret["name"]))
    ctx.failpoint("treasury.reading.before_commit")


async def _redeemed(ctx: Context, row: Row, secret: Row) -> bool:
    """Decides again, as who asked, now: who lost the right meanwhile reads nothing."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    assert approval is not None
    decision = await asker(ctx, approval).decide(actions.SECRET_READ, _secret(secret))
    if decision.verdict == "deny":
        await approvals.end(ctx, approval, "superseded")
        return False
    return (
        await approvals.redeem(ctx, approval["id"], digest=_digest(row), decision=decision, used_by=row["id"])
    ).usable
