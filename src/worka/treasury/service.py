"""Use cases of the treasury: secrets, grants, leases."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from worka.kernel import redact
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.events import Event
from worka.kernel.ids import check, new_id
from worka.treasury import actions, events, keys, store
from worka.treasury.errors import EndpointNotBound, GrantNotFound, NoGrant, SecretExists, SecretNotFound, SecretUnusable
from worka.treasury.sealer import DATA, TreasurySealer

Row = dict[str, Any]
_LEASE = timedelta(minutes=10)
USABLE = ("active", "rotating")


@dataclass(frozen=True, slots=True)
class Lease:
    """A value for one invocation and one endpoint. Its repr never shows the value."""

    id: str
    value: str = field(repr=False)


def _sealer(ctx: Context) -> TreasurySealer:
    sealer = ctx.sealer
    if not isinstance(sealer, TreasurySealer):
        raise TypeError("this process has no treasury")
    return sealer


def _resource(row: Row) -> Resource:
    return Resource("secret", row["id"], row["workspace_id"], {"name": row["name"], "kind": row["kind"], "state": row["state"]})


async def create(ctx: Context, *, name: str, purpose: str, kind: str, value: str) -> Row:
    """Puts a secret into the treasury. It grants nothing to anyone (TRE-5)."""
    redact.remember(value)
    await ctx.require(actions.CREATE.name, Resource("secret", "new", ctx.workspace_id, {"name": name, "kind": kind}))
    secret_id = new_id("sec")
    async with ctx.transaction() as conn:
        row = {
            "tenant_id": ctx.tenant_id,
            "id": secret_id,
            "workspace_id": ctx.workspace_id,
            "name": name,
            "purpose": purpose,
            "kind": kind,
            "created_by": ctx.principal.id,
        }
        if not await store.insert_secret(conn, row):
            raise SecretExists(f"The workspace has a secret called {name}.")
        await _add_version(ctx, secret_id, 1, value)
        ctx.record(events.secret(events.SECRET_CREATED, row, None, {"state": "active", "version": 1}))
        return await _shown(ctx, await _secret(ctx, secret_id))


async def _add_version(ctx: Context, secret_id: str, number: int, value: str) -> None:
    assert ctx.tenant_id is not None
    key = await _sealer(ctx).tenant_key(ctx.conn, ctx.tenant_id, DATA)
    nonce, sealed = keys.encrypt(key, value.encode(), keys.place(ctx.tenant_id, secret_id, number))
    await store.insert_version(ctx.conn, ctx.tenant_id, secret_id, number, nonce, sealed)


async def rotate(ctx: Context, secret_id: str, value: str) -> Row:
    """Gives a secret its next value; the next lease takes it."""
    redact.remember(value)
    async with ctx.transaction() as conn:
        row = await _secret(ctx, secret_id)
        await ctx.require(actions.ROTATE.name, _resource(row))
        row = await _secret(ctx, secret_id, lock=True)
        if row["state"] not in USABLE:
            raise SecretUnusable(f"{row['name']} is {row['state']}.", state=row["state"])
        number = row["version"] + 1
        await _add_version(ctx, secret_id, number, value)
        await store.set_secret(conn, secret_id, "active", "secret_active", number)
        ctx.record(events.secret(events.SECRET_ROTATED, row, {"version": row["version"]}, {"version": number}))
        return await _shown(ctx, await _secret(ctx, secret_id))


async def revoke(ctx: Context, secret_id: str) -> Row:
    """Ends a secret and its grants, and says what stopped (TRE-12)."""
    async with ctx.transaction() as conn:
        row = await _secret(ctx, secret_id)
        await ctx.require(actions.REVOKE.name, _resource(row))
        row = await _secret(ctx, secret_id, lock=True)
        if row["state"] == "revoked":
            return {**await _shown(ctx, row), "stopped": []}
        if row["state"] not in USABLE:
            raise SecretUnusable(f"{row['name']} is {row['state']}.", state=row["state"])
        await store.set_secret(conn, secret_id, "revoked", "secret_revoked", row["version"])
        ctx.record(events.secret(events.SECRET_REVOKED, row, {"state": row["state"]}, {"state": "revoked"}))
        stopped = await revoke_grants(ctx, secret_id=secret_id)
        return {**await _shown(ctx, await _secret(ctx, secret_id)), "stopped": [g["attachment_id"] for g in stopped]}


async def secret(ctx: Context, secret_id: str) -> Row:
    """What a secret is for, who may use it, when it was last used; never its value (TRE-4)."""
    async with ctx.transaction():
        row = await _secret(ctx, secret_id)
        await ctx.require(actions.VIEW.name, _resource(row))
        return await _shown(ctx, row)


async def secrets(ctx: Context, after: str | None, limit: int) -> list[Row]:
    """A page of the workspace's secrets."""
    assert ctx.workspace_id is not None
    await ctx.require(actions.VIEW.name, Resource("secret", "all", ctx.workspace_id))
    async with ctx.transaction() as conn:
        return await store.secrets(conn, ctx.workspace_id, after, limit)


async def _secret(ctx: Context, secret_id: str, *, lock: bool = False) -> Row:
    row = await store.secret(ctx.conn, secret_id, lock=lock) if check(secret_id, "sec") else None
    if row is None or (ctx.workspace_id is not None and row["workspace_id"] != ctx.workspace_id):
        raise SecretNotFound(f"There is no secret {secret_id[:40]} here.")
    return row


async def _shown(ctx: Context, row: Row) -> Row:
    return {**row, "grants": await store.grants(ctx.conn, row["id"]), "leases": await store.leases(ctx.conn, row["id"], 20)}


async def grant(ctx: Context, secret_id: str, *, attachment_id: str, endpoint: str) -> Row:
    """Lets one attachment use a secret on one endpoint, by someone who manages connections."""
    async with ctx.transaction() as conn:
        row = await _secret(ctx, secret_id)
        await ctx.require(actions.GRANT.name, _resource(row), destination=endpoint)
        if await store.attachment_workspace(conn, attachment_id) != row["workspace_id"]:
            raise SecretNotFound("There is no such attachment in the secret's workspace.", code="attachment_not_found")
        return await grant_for_attachment(
            ctx, secret_id, attachment_id=attachment_id, workspace_id=row["workspace_id"], endpoint=endpoint, cause=None
        )


async def grant_for_attachment(
    ctx: Context, secret_id: str, *, attachment_id: str, workspace_id: str, endpoint: str, cause: Row | None
) -> Row:
    """Writes the grant that an approved attachment (or `grant`) brings, in the caller's transaction."""
    row = await _secret(ctx, secret_id)
    if row["state"] not in USABLE:
        raise SecretUnusable(f"{row['name']} is {row['state']}.", state=row["state"])
    made = {
        "tenant_id": ctx.tenant_id,
        "id": new_id("grt"),
        "workspace_id": workspace_id,
        "secret_id": secret_id,
        "attachment_id": attachment_id,
        "endpoint": endpoint.lower(),
        "granted_by": ctx.principal.id,
    }
    await store.insert_grant(ctx.conn, made)
    ctx.record(events.grant(events.GRANT_CREATED, made, row["name"], cause))
    return {key: made[key] for key in ("id", "secret_id", "attachment_id", "endpoint", "granted_by")}


async def remove_grant(ctx: Context, grant_id: str) -> Row:
    """Ends one grant. The very next call that needs it is refused."""
    async with ctx.transaction() as conn:
        row = await store.grant(conn, grant_id) if check(grant_id, "grt") else None
        if row is None:
            raise GrantNotFound(f"There is no grant {grant_id[:40]} here.")
        await ctx.require(actions.UNGRANT.name, Resource("secret", row["secret_id"], row["workspace_id"], {"name": row["name"]}))
        await revoke_grants(ctx, grant_id=grant_id)
        return {"id": grant_id, "state": "revoked"}


async def revoke_grants(
    ctx: Context, *, grant_id: str | None = None, secret_id: str | None = None, attachment_id: str | None = None, cause: Row | None = None
) -> list[Row]:
    """Ends the live grants that match, in the caller's transaction, each with its event."""
    rows = await store.revoke_grants(ctx.conn, ctx.principal.id, grant_id=grant_id, secret_id=secret_id, attachment_id=attachment_id)
    for row in rows:
        ctx.record(events.grant(events.GRANT_REVOKED, row, row["name"], cause))
    return rows


async def revoke_grants_of_attachment(ctx: Context, attachment_id: str, workspace_id: str) -> list[Row]:
    """What a detached pack held, ends with it."""
    return await revoke_grants(ctx, attachment_id=attachment_id, cause={"kind": "attachment", "id": attachment_id})


async def lease(ctx: Context, *, secret_id: str, attachment_id: str, invocation_id: str, endpoint: str) -> Lease:
    """The value, for a running invocation of an attachment that holds a live grant for exactly this endpoint.

    Asked for by the broker only. The lease row and its audit entry are committed before the value is handed out.
    Raises SecretNotFound, NoGrant, EndpointNotBound, SecretUnusable, Unreadable.
    """
    endpoint = endpoint.lower()
    async with ctx.transaction() as conn:
        invocation = await store.running_invocation(conn, invocation_id)
        if invocation is None or invocation["attachment_id"] != attachment_id:
            raise NoGrant("Leases live only while the invocation of this attachment runs.", code="no_active_invocation")
        row = await store.secret(conn, secret_id)
        if row is None or row["workspace_id"] != invocation["workspace_id"]:
            raise SecretNotFound("The secret is not of this workspace.")
        held = await store.live_grants(conn, secret_id, attachment_id)
        if not held:
            raise NoGrant(f"{row['name']} is not granted to this attachment.", secret_id=secret_id)
        bound = next((item for item in held if item["endpoint"] == endpoint), None)
        if bound is None:
            raise EndpointNotBound(f"{row['name']} is granted for {', '.join(item['endpoint'] for item in held)}, not for {endpoint}.")
        if row["state"] not in USABLE:
            raise SecretUnusable(f"{row['name']} is {row['state']}.", state=row["state"])
        value = await _value(ctx, row)
        redact.remember(value)
        made = {
            "tenant_id": ctx.tenant_id,
            "id": new_id("lse"),
            "workspace_id": row["workspace_id"],
            "secret_id": secret_id,
            "secret_version": row["version"],
            "grant_id": bound["id"],
            "attachment_id": attachment_id,
            "invocation_id": invocation_id,
            "endpoint": endpoint,
            "trace_id": ctx.trace_id,
            "expires_at": now() + _LEASE,
        }
        await store.insert_lease(conn, made)
        ctx.record(
            Event(
                events.LEASE_ISSUED,
                made["id"],
                row["name"],
                after={"secret": secret_id, "version": row["version"], "endpoint": endpoint, "attachment": attachment_id},
                cause={"kind": "invocation", "id": invocation_id},
                lane="secrets",
                workspace_id=row["workspace_id"],
            )
        )
        ctx.failpoint("treasury.lease.before_commit")
    return Lease(made["id"], value)


async def _value(ctx: Context, row: Row) -> str:
    assert ctx.tenant_id is not None
    stored = await store.version(ctx.conn, row["id"], row["version"])
    if stored is None:
        raise SecretNotFound(f"{row['name']} has no value.")
    key = await _sealer(ctx).tenant_key(ctx.conn, ctx.tenant_id, DATA)
    where = keys.place(ctx.tenant_id, row["id"], row["version"])
    return keys.decrypt(key, bytes(stored["nonce"]), bytes(stored["ciphertext"]), where, f"the secret {row['name']}").decode()


async def close_leases(ctx: Context, *, invocation_id: str) -> None:
    """Ends the invocation's leases; calling it without any is fine."""
    async with ctx.transaction() as conn:
        await store.close_leases(conn, invocation_id, now())
