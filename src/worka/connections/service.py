"""Use cases of connections."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from worka.approvals import service as approvals
from worka.connections import actions, events, store
from worka.connections.errors import ConnectionNotFound, SecretMissing
from worka.connections.model import CONNECTION
from worka.connections.rules import host_name
from worka.kernel import canonical
from worka.kernel.context import Context, Resource
from worka.kernel.ids import check, new_id
from worka.treasury import service as treasury

Row = dict[str, Any]
SUBJECT = "connection"


async def create(ctx: Context, *, provider: str, name: str, host: str, port: int, access: str, why: str, secret_id: str | None, metadata: dict[str, str]) -> Row:
    """Asks to connect an outside system; active at once only where policy asks nobody.

    Raises EndpointInvalid, SecretMissing, Denied.
    """
    host = host_name(host)
    connection_id = new_id("con")
    facts = {"provider": provider, "host": host, "port": port, "access": access, "name": name}
    decision = await ctx.require(actions.CREATE.name, Resource("connection", connection_id, ctx.workspace_id, facts), **facts)
    async with ctx.transaction() as conn:
        assert ctx.workspace_id is not None
        if secret_id is not None and not await store.secret_exists(conn, secret_id, ctx.workspace_id):
            raise SecretMissing(f"{secret_id[:40]} is no usable secret of this workspace.")
        asked = decision.verdict == "ask"
        row: Row = {
            "tenant_id": ctx.tenant_id,
            "id": connection_id,
            "workspace_id": ctx.workspace_id,
            "provider": provider,
            "name": name,
            "host": host,
            "port": port,
            "access": access,
            "why": why,
            "secret_id": secret_id,
            "metadata": metadata,
            "state": "awaiting_approval" if asked else "active",
            "reason": "connection_awaiting_approval" if asked else "connection_active",
            "created_by": ctx.principal.id,
        }
        await store.insert(conn, row)
        if asked:
            approval = await _ask(ctx, row, decision)
            await store.set_approval(conn, connection_id, approval["id"])
            ctx.record(events.changed(events.REQUESTED, row, None, row["state"], {"kind": "decision", "id": decision.id}))
        else:
            await _activated(ctx, row, None, {"kind": "decision", "id": decision.id})
        ctx.failpoint("connection.created.before_commit")
        return await _get(ctx, connection_id)


async def _ask(ctx: Context, row: Row, decision: Any) -> Row:
    exact = {
        "action": actions.CREATE.name,
        "connection": row["id"],
        "workspace": row["workspace_id"],
        "provider": row["provider"],
        "endpoint": f"{row['host']}:{row['port']}",
        "access": row["access"],
        "secret": row["secret_id"],
        "metadata": row["metadata"],
        "initiator": f"{ctx.principal.kind}:{ctx.principal.id}",
        "originating_person": ctx.originating_person,
    }
    return await approvals.request(
        ctx,
        boundary=actions.CREATE.name,
        action=actions.CREATE.name,
        subject_type=SUBJECT,
        subject_id=row["id"],
        title=f"Connect {row['name']} ({row['host']})",
        effect=f"Packs of this workspace that ask for {row['provider']} may be granted its credential, on {row['host']}:{row['port']} only: {row['access']}.",
        digest=canonical.sha256_hex(exact),
        card={**exact, "why": row["why"], "name": row["name"]},
        arguments=None,
        rules=list(decision.approval_rules),
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": SUBJECT, "id": row["id"], "name": row["name"]}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours) if ctx.settings else timedelta(hours=72),
    )


async def approval_decided(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction of the decision: the connection becomes active, or ends. Not ours: nothing happens."""
    if payload["subject_type"] != SUBJECT:
        return
    row = await store.get(ctx.conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "awaiting_approval":
        return
    cause = {"kind": "approval", "id": payload["approval_id"]}
    if payload["state"] != "approved":
        CONNECTION.check(row["state"], "rejected")
        await store.move(ctx.conn, row["id"], "rejected", "connection_rejected")
        ctx.record(events.changed(events.REJECTED, row, row["state"], "rejected", cause))
        return
    await approvals.consume(ctx, payload["approval_id"], row["id"])
    CONNECTION.check(row["state"], "active")
    await store.move(ctx.conn, row["id"], "active", "connection_active")
    await _activated(ctx, row, row["state"], cause)


async def _activated(ctx: Context, row: Row, before: str | None, cause: Row) -> None:
    ctx.record(events.changed(events.ACTIVATED, row, before, "active", cause))
    await ctx.publish(
        "connection.activated",
        {
            "connection_id": row["id"],
            "workspace_id": row["workspace_id"],
            "provider": row["provider"],
            "host": row["host"],
            "port": row["port"],
            "secret_id": row["secret_id"],
        },
    )


async def remove(ctx: Context, connection_id: str, reason: str) -> Row:
    """Removes a connection; the grants of its secret end in the same commit, and the answer lists what lost its use."""
    async with ctx.transaction() as conn:
        row = await _get(ctx, connection_id)
        await ctx.require(actions.REMOVE.name, _resource(row))
        row = await _get(ctx, connection_id, lock=True)
        if row["state"] == "revoked":
            return {**row, "stopped": []}
        CONNECTION.check(row["state"], "revoked")
        await store.move(conn, connection_id, "revoked", "connection_revoked")
        cause = {"kind": SUBJECT, "id": connection_id}
        stopped = await treasury.revoke_grants(ctx, secret_id=row["secret_id"], cause=cause) if row["secret_id"] else []
        if row["state"] == "awaiting_approval":
            await approvals.end_for(ctx, connection_id, "withdrawn")
        ctx.record(events.changed(events.REVOKED, row, row["state"], "revoked", why=reason))
        await ctx.publish("connection.revoked", {"connection_id": connection_id, "workspace_id": row["workspace_id"]})
        return {**await _get(ctx, connection_id), "stopped": sorted({grant["attachment_id"] for grant in stopped})}


async def show(ctx: Context, connection_id: str) -> Row:
    """One connection. Raises ConnectionNotFound."""
    async with ctx.transaction():
        row = await _get(ctx, connection_id)
        await ctx.require(actions.VIEW.name, _resource(row))
        return row


async def listed(ctx: Context, after: str | None, limit: int) -> list[Row]:
    """A page of the workspace's connections."""
    assert ctx.workspace_id is not None
    await ctx.require(actions.VIEW.name, Resource("connection", "all", ctx.workspace_id))
    async with ctx.transaction() as conn:
        return await store.listed(conn, ctx.workspace_id, after, limit)


def _resource(row: Row) -> Resource:
    facts = {key: row[key] for key in ("provider", "host", "port", "access", "name", "state")}
    return Resource("connection", row["id"], row["workspace_id"], facts)


async def _get(ctx: Context, connection_id: str, *, lock: bool = False) -> Row:
    row = await store.get(ctx.conn, connection_id, lock=lock) if check(connection_id, "con") else None
    if row is None or (ctx.workspace_id is not None and row["workspace_id"] != ctx.workspace_id):
        raise ConnectionNotFound(f"There is no connection {connection_id[:40]} here.")
    return row
