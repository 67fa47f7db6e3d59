"""Use cases of connections."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from worka import treasury
from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.connections import actions, events, rules, store
from worka.connections.errors import ConnectionNotFound, SecretNotUsable
from worka.connections.rules import CONNECTION
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.treasury import service as vault

Row = dict[str, Any]
SUBJECT = "connection"
_KEYS = (
    "id", "workspace_id", "provider", "name", "host", "port", "access", "why", "secret_id", "metadata", "state",
    "reason",
    "since", "approval_id", "created_by", "created_at",
)  # fmt: skip


def _resource(row: Row) -> Resource:
    facts = {key: row[key] for key in ("provider", "name", "host", "port", "access")}
    return Resource("connection", row["id"], row["workspace_id"], {**facts, "secret": row["secret_id"]})


async def create(
    ctx: Context,
    workspace_id: str,
    *,
    provider: str,
    name: str,
    host: str,
    port: int,
    access: str,
    secret_id: str | None,
    metadata: dict[str, Any],
    why: str,
) -> Row:
    """Connects an outside system: active, or waiting for the approval that policy asks for. Grants nothing.

    Raises Denied, EndpointInvalid, SecretNotUsable, MetadataInvalid."""
    assert ctx.tenant_id is not None
    place, _, number = treasury.rules.endpoint(f"{host}:{port}").rpartition(":")
    row: Row = {
        "tenant_id": ctx.tenant_id, "id": new_id("conn"), "workspace_id": workspace_id, "provider": provider,
        "name": name,
        "host": place, "port": int(number), "access": access, "why": why, "secret_id": secret_id,
        "metadata": rules.check_metadata(metadata), "created_by": ctx.principal.id,
    }  # fmt: skip
    async with ctx.transaction() as conn:
        decision = await ctx.require(actions.CONNECTION_CREATE, _resource(row))
        secret = await _secret(ctx, secret_id, workspace_id)
        asks = decision.verdict == "ask"
        row |= {"state": "awaiting_approval", "reason": "waiting_for_approver"} if asks else {
            "state": "active", "reason": "connection_in_service",
        }  # fmt: skip
        made = await store.add(conn, row)
        ctx.record(events.created(made, decision.id))
        if asks:
            approval = await _ask(ctx, made, secret, decision)
            await store.set_approval(conn, made["id"], approval["id"])
        else:
            await _announce(ctx, made)
        ctx.failpoint("connection.created.before_commit")
        found = await store.get(conn, made["id"])
    assert found is not None
    return shown(found)


async def _secret(ctx: Context, secret_id: str | None, workspace_id: str) -> Row | None:
    if secret_id is None:
        return None
    secret = await treasury.store.secret(ctx.conn, secret_id, lock="share")
    if secret is None or secret["workspace_id"] != workspace_id:
        raise SecretNotUsable(f"There is no secret {secret_id} in this workspace.", field="secret_id")
    if secret["state"] not in treasury.rules.LEASABLE:
        raise SecretNotUsable(f"{secret['name']} is {secret['state']}.", field="secret_id")
    return secret


async def _ask(ctx: Context, row: Row, secret: Row | None, decision: Decision) -> Row:
    initiator = f"{ctx.principal.kind}:{ctx.principal.id}"
    # Where the request goes, with which credential, and who asked: a change in any of it is another request.
    card = rules.subject(row, initiator, ctx.originating_person)
    credential = f" with the secret {secret['name']}" if secret else " without a credential"
    return await approvals.request(
        ctx,
        boundary=actions.CONNECTION_CREATE,
        action=actions.CONNECTION_CREATE,
        subject_type=SUBJECT,
        subject_id=row["id"],
        title=f"Connect {row['name']} ({row['provider']})",
        effect=f"Packs of this workspace to which it is granted may reach"
        f" {row['host']}:{row['port']}{credential}: {row['access']}.",
        digest=rules.digest(row, initiator, ctx.originating_person),
        card={**card, "secret": secret["name"] if secret else None},
        arguments=None,
        rules=list(decision.approval_rules),
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": SUBJECT, "id": row["id"], "name": row["name"]}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours),
    )


async def approval_locking(ctx: Context, payload: dict[str, Any]) -> None:
    """The secret, the connection, its approval: in the order in which revoking the secret takes them."""
    if payload["subject_type"] != SUBJECT:
        return
    row = await store.get(ctx.conn, payload["subject_id"])
    if row is not None and row["secret_id"] is not None:
        await treasury.store.secret(ctx.conn, row["secret_id"], lock="share")
    await store.get(ctx.conn, payload["subject_id"], lock=True)


async def approval_decided(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction of the decision: the connection becomes active, or ends. Not ours: nothing happens."""
    if payload["subject_type"] != SUBJECT:
        return
    row = await store.get(ctx.conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "awaiting_approval" or row["approval_id"] != payload["approval_id"]:
        return
    cause = {"kind": "approval", "id": payload["approval_id"]}
    if payload["state"] != "approved":
        await _move(ctx, row, "rejected", rules.NOT_APPROVED[payload["state"]], cause)
        return
    if not await _redeem(ctx, row):
        await _move(ctx, row, "rejected", "connection_superseded", cause)
        return
    await _announce(ctx, await _move(ctx, row, "active", "connection_in_service", cause))


async def _redeem(ctx: Context, row: Row) -> bool:
    """Decides again, as who asked, now: rights and policy of the moment count, not those of the request."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    assert approval is not None
    asker = ctx.acting(Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id))
    asker.originating_person = approval["originating_person"]
    decision = await asker.decide(actions.CONNECTION_CREATE, _resource(row))
    initiator = f"{approval['requester_kind']}:{approval['requester_id']}"
    now_digest = rules.digest(row, initiator, approval["originating_person"])
    redemption = await approvals.redeem(ctx, approval["id"], digest=now_digest, decision=decision, used_by=row["id"])
    return redemption.usable


async def secret_revoked(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a secret is revoked: what it backs is broken, and says so."""
    for row in await store.of_secret(ctx.conn, payload["secret_id"]):
        if row["state"] == "awaiting_approval":
            await approvals.end_for(ctx, row["id"], "withdrawn")
        await _move(ctx, row, "broken", "connection_secret_revoked", {"kind": "secret", "id": payload["secret_id"]})


async def _move(ctx: Context, row: Row, state: str, reason: str, cause: Row | None) -> Row:
    CONNECTION.check(row["state"], state)
    moved = await store.move(ctx.conn, row["id"], state, reason)
    ctx.record(events.moved(row, state, reason, cause))
    return moved


async def _announce(ctx: Context, row: Row) -> None:
    await ctx.publish("connection.activated", {"connection_id": row["id"], "workspace_id": row["workspace_id"]})


async def remove(ctx: Context, connection_id: str) -> Row:
    """Ends a connection and the grants of its secret for its endpoint. {…, stopped: [attachment ids]}.

    Raises ConnectionNotFound, Denied, Conflict when it has ended already."""
    async with ctx.transaction() as conn:
        row = await _visible(ctx, connection_id, lock=True)
        await ctx.require(actions.CONNECTION_REMOVE, _resource(row))
        if row["state"] == "awaiting_approval":
            await approvals.end_for(ctx, connection_id, "withdrawn")
        await _move(ctx, row, "revoked", "connection_removed", None)
        gone: list[Row] = []
        if row["secret_id"] is not None and not await store.same_way(conn, row):
            endpoint = f"{row['host']}:{row['port']}"
            gone = await vault.revoke_grants_of_connection(ctx, connection_id, row["secret_id"], endpoint)
        found = await store.get(conn, connection_id)
    assert found is not None
    return {**shown(found), "stopped": sorted({grant["attachment_id"] for grant in gone})}


async def get(ctx: Context, connection_id: str) -> Row:
    """One connection. Raises ConnectionNotFound."""
    async with ctx.transaction():
        return shown(await _visible(ctx, connection_id))


async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The workspace's connections, newest first (up to limit + 1)."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.CONNECTION_VIEW, Resource("connection", "*", workspace_id))
        return [shown(row) for row in await store.listed(conn, workspace_id, after, limit + 1)]


async def _visible(ctx: Context, connection_id: str, *, lock: bool = False) -> Row:
    row = await store.get(ctx.conn, connection_id, lock=lock)
    if row is None:
        raise ConnectionNotFound(f"There is no connection {connection_id}.")
    try:
        await ctx.require(actions.CONNECTION_VIEW, Resource("connection", connection_id, row["workspace_id"]))
    except Denied as denied:
        raise ConnectionNotFound(f"There is no connection {connection_id}.") from denied
    return row


def shown(row: Row) -> Row:
    """A connection as the API shows it: the secret by name, never by value."""
    return {**{key: row[key] for key in _KEYS}, "secret": row["secret_name"]}
