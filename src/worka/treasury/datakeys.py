"""A tenant's data keys: a new one and its secrets sealed anew, in batches; and the destruction of all of them."""

from __future__ import annotations

from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.kernel import canonical
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.ids import new_id
from worka.treasury import actions, errors, events, keys, service, store, values
from worka.treasury.rules import DESTRUCTION, SECRET
from worka.treasury.service import Row

BATCH = 100
SUBJECT = "key_destruction"
OWN_RULES = ["approve:1 of group:owners"]


def _tenant(ctx: Context) -> Resource:
    return Resource("tenant", ctx.tenant_id or "", None)


async def status(ctx: Context, workspace_id: str) -> Row:
    """{version, versions, left, destroyed}: the data key in force, how many there are, how many values wait to be sealed
    under it, how many keys were destroyed. Raises Denied."""
    async with ctx.transaction():
        await ctx.require(actions.KEY_VIEW, Resource("workspace", workspace_id, workspace_id))
        return await _status(ctx)


async def _status(ctx: Context) -> Row:
    rows = [row for row in await store.tenant_keys(ctx.conn, ctx.tenant_id or "") if row["purpose"] == "data"]
    living = [row["version"] for row in rows if row["destroyed_at"] is None]
    newest = max(living, default=0)
    return {
        "version": newest,
        "versions": living,
        "left": await store.count_under_older(ctx.conn, newest),
        "destroyed": len(rows) - len(living),
    }


async def rotate(ctx: Context, workspace_id: str, most: int = BATCH) -> Row:
    """A step of the rotation: makes a new data key unless values wait for the newest one still, and seals up to `most` values
    anew under it, in one commit. Asked again until `left` is 0; what died in between goes on where it was. Older keys stay,
    for opening only: what was sealed under them elsewhere (results, arguments) keeps its key. Raises Denied."""
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        await ctx.require(actions.KEY_ROTATE, _tenant(ctx))
        sealer = values.sealer_of(ctx)
        version, _ = await sealer.tenant_key(conn, ctx.tenant_id, "data", look=True)
        begun = not await store.count_under_older(conn, version)
        if begun:
            made = await sealer.add_key(conn, ctx.tenant_id, "data", version + 1)
            assert made is not None
            ctx.record(events.key_rotated(ctx.tenant_id, made["version"], workspace_id))
            version = made["version"]
        _, key = await sealer.tenant_key(conn, ctx.tenant_id, "data", version)
        rows = await store.under_older(conn, version, most)
        for row in rows:
            _, old = await sealer.tenant_key(conn, ctx.tenant_id, "data", row["key_version"])
            bound = keys.associated("secret", ctx.tenant_id, row["secret_id"], row["version"])
            try:
                plain = keys.decrypt(old, bytes(row["nonce"]), bytes(row["ciphertext"]), bound)
            except keys.Unopened as error:
                raise errors.SecretUnreadable(
                    f"{row['secret_id']} does not open, so nothing was sealed anew.", item=row["secret_id"]
                ) from error
            nonce, sealed = keys.encrypt(key, plain, bound)
            await store.reseal(conn, row["secret_id"], row["version"], version, nonce, sealed)
        ctx.failpoint("treasury.resealed.before_commit")
        return {**await _status(ctx), "begun": begun, "done": len(rows)}


# destruction --------------------------------------------------------------------------------------------------------
async def reach(ctx: Context) -> Row:
    """What would be gone for good: {counts, sentence, digest}. For an owner of the whole tenant. Raises Denied."""
    async with ctx.transaction():
        await ctx.require(actions.KEY_DESTROY, _tenant(ctx))
        return await _reach(ctx)


async def _reach(ctx: Context) -> Row:
    counts = await store.sealed_things(ctx.conn)
    told = [f"{number} {what.replace('_', ' ')}" for what, number in counts.items() if number]
    return {
        "counts": counts,
        "sentence": "This cannot be undone by anybody. Gone for good in the whole tenant: "
        + (", ".join(told) or "nothing that is sealed yet")
        + ". A backup of before, beside the master key, still holds them.",
        "digest": canonical.sha256_hex({"v": 1, "secrets": counts["secrets"], "tenant": ctx.tenant_id})[:16],
    }


async def ask(ctx: Context, workspace_id: str, why: str, digest: str) -> Row:
    """Asks another owner to consent to the destruction of all data keys of the tenant. `digest`: the reach that was seen. Raises
    Denied, DependantsMoved."""
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        decision = await ctx.require(actions.KEY_DESTROY, _tenant(ctx))
        seen = await _reach(ctx)
        if digest != seen["digest"]:
            raise errors.DependantsMoved(
                seen["sentence"], remedy="Look at what it reaches again.", listed=seen["digest"]
            )
        row: Row = {
            "tenant_id": ctx.tenant_id, "id": new_id("kdn"), "workspace_id": workspace_id, "why": why,
            "reach": seen["counts"], "asked_by": ctx.principal.id,
        }  # fmt: skip
        ctx.workspace_id = workspace_id
        asked = await approvals.request(
            ctx,
            boundary=actions.KEY_DESTROY,
            action=actions.KEY_DESTROY,
            subject_type=SUBJECT,
            subject_id=row["id"],
            title="Destroy the tenant's data keys",
            effect=seen["sentence"],
            digest=_digest(row),
            card={"why": why, **seen["counts"]},
            arguments=None,
            rules=list(decision.approval_rules),
            own_rules=OWN_RULES,
            decision_id=decision.id,
            policy_version=decision.policy_version,
            blocks=[{"kind": SUBJECT, "id": row["id"], "name": "destruction of the tenant's data keys"}],
        )
        made = await store.add_destruction(conn, {**row, "approval_id": asked["id"]})
        ctx.record(events.destruction_asked(made))
        ctx.failpoint("treasury.changed.before_commit")
    return shown(made)


def shown(row: Row) -> Row:
    """As the API shows it."""
    names = ("id", "workspace_id", "why", "reach", "state", "reason", "approval_id", "asked_by", "created_at", "since")
    return {name: row[name] for name in names}


def _digest(row: Row) -> str:
    return canonical.sha256_hex(
        {"v": 1, "action": SUBJECT, "id": row["id"], "why": row["why"], "tenant": row["tenant_id"]}
    )


async def decided(ctx: Context, payload: Row) -> None:
    """In the transaction of the decision: the keys are gone, or nothing is."""
    row = await store.destruction(ctx.conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "awaiting_approval" or row["approval_id"] != payload["approval_id"]:
        return
    reason = "destruction_refused"
    if payload["state"] == "approved" and await _redeemed(ctx, row):
        await _destroy(ctx, row)
        reason = "keys_destroyed"
    DESTRUCTION.check(row["state"], "closed")
    closed = await store.close_destruction(ctx.conn, row["id"], reason)
    ctx.record(events.destruction_ended(closed))
    ctx.failpoint("treasury.keys_destroyed.before_commit")


async def _redeemed(ctx: Context, row: Row) -> bool:
    """Decides again, as who asked, now."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    assert approval is not None
    decision: Decision = await asker(ctx, approval).decide(actions.KEY_DESTROY, _tenant(ctx))
    if decision.verdict == "deny":
        await approvals.end(ctx, approval, "superseded")
        return False
    return (
        await approvals.redeem(ctx, approval["id"], digest=_digest(row), decision=decision, used_by=row["id"])
    ).usable


def asker(ctx: Context, approval: Row) -> Context:
    """Who asked for it, in this transaction."""
    found = ctx.acting(Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id))
    found.originating_person = approval["originating_person"]
    return found


async def _destroy(ctx: Context, row: Row) -> None:
    conn = ctx.conn
    cause = {"kind": "approval", "id": row["approval_id"]}
    for secret in await store.living_secrets(conn):
        SECRET.check(secret["state"], "destroyed")
        await service.end_grants(ctx, cause, secret_id=secret["id"])
        await store.end_versions(conn, secret["id"], [])
        await store.set_overlap(conn, secret["id"], None, None)
        await store.set_state(conn, secret["id"], "destroyed", "secret_destroyed")
        ctx.record(events.destroyed(secret, row["why"], cause))
        await ctx.publish(
            "secret.revoked",
            {"secret_id": secret["id"], "workspace_id": secret["workspace_id"], "name": secret["name"]},
        )
    await store.destroy_keys(conn, row["tenant_id"])
    values.sealer_of(ctx).forget(row["tenant_id"])
