"""Values that connections bring and the platform itself keeps: tokens that a provider gave, and the secret of a client there.

Whoever calls has been allowed to connect, renew or end the connection, in the transaction that is open; nothing here is a
door of its own. A value is opened for one call of the platform's to the provider, and each time is in the ledger.
"""

from __future__ import annotations

from datetime import datetime

from worka.kernel import redact
from worka.kernel.context import Context
from worka.kernel.ids import new_id
from worka.treasury import errors, events, rules, service, store, values
from worka.treasury.rules import SECRET
from worka.treasury.service import Row


async def put_in(
    ctx: Context, workspace_id: str, *, name: str, purpose: str, kind: str, value: str, cause: Row,
    expires_at: datetime | None = None, person_id: str | None = None,
) -> Row:  # fmt: skip
    """In the caller's transaction: a new secret with this value; it grants nothing. Raises SecretEmpty, SecretNameTaken."""
    assert ctx.tenant_id is not None
    data = rules.check_value(value)
    redact.remember(value)
    row = await store.add_secret(
        ctx.conn,
        {
            "tenant_id": ctx.tenant_id, "id": new_id("sec"), "workspace_id": workspace_id, "name": name,
            "purpose": purpose, "kind": kind, "created_by": ctx.principal.id, "expires_at": expires_at,
            "person_id": person_id,
        },
    )  # fmt: skip
    if row is None:
        raise errors.SecretNameTaken(f"This workspace has a secret {name}.")
    await values.put(ctx, row, 1, data)
    ctx.record(events.brought(row, cause))
    return row


async def renew(ctx: Context, secret_id: str, value: str, *, expires_at: datetime | None, cause: Row) -> None:
    """In the caller's transaction: another value under the same grants, for the very next lease. Raises SecretNotFound,
    SecretRevoked."""
    data = rules.check_value(value)
    redact.remember(value)
    row = await store.secret(ctx.conn, secret_id, lock="update")
    if row is None:
        raise errors.SecretNotFound(f"There is no secret {secret_id}.")
    if row["state"] not in rules.LEASABLE:
        raise errors.SecretRevoked(f"{row['name']} is {row['state']}.")
    version = row["version"] + 1
    await values.put(ctx, row, version, data)
    await store.set_version(ctx.conn, secret_id, version)
    await store.end_versions(ctx.conn, secret_id, [version])
    await store.set_overlap(ctx.conn, secret_id, None, None)
    await store.set_dates(ctx.conn, secret_id, expires_at, row["rotate_days"])
    if row["state"] == "rotating":
        SECRET.check(row["state"], "active")
        await store.set_state(ctx.conn, secret_id, "active", "secret_ready")
    ctx.record(events.rotated(row, version, 0, cause))


async def opened(ctx: Context, secret_id: str, purpose: str) -> str:
    """In the caller's transaction: the value, for one call of the platform's own; `purpose` says which. Raises
    SecretNotFound, SecretRevoked, SecretUnreadable, SecretReplayed, KeyDestroyed, TreasurySealed."""
    row = await store.secret(ctx.conn, secret_id, lock="share")
    if row is None:
        raise errors.SecretNotFound(f"There is no secret {secret_id}.")
    if row["state"] not in rules.LEASABLE:
        raise errors.SecretRevoked(f"{row['name']} is {row['state']}.")
    value = await values.opened(ctx, row)
    redact.remember(value)
    ctx.record(events.used(row, purpose))
    return value


async def last_value(ctx: Context, secret_id: str, purpose: str) -> str | None:
    """In the caller's transaction: what a secret holds whose connection is over, so that the provider can be told; None where
    nothing is left of it."""
    row = await store.secret(ctx.conn, secret_id, lock="share")
    if row is None or row["state"] == "destroyed":
        return None
    value = await values.opened(ctx, row)
    redact.remember(value)
    ctx.record(events.used(row, purpose))
    return value


async def end(ctx: Context, secret_id: str, cause: Row) -> list[Row]:
    """In the caller's transaction: it and its grants are over, for the next call. The grants that ended."""
    row = await store.secret(ctx.conn, secret_id, lock="update")
    if row is None or row["state"] not in rules.LEASABLE:
        return []
    SECRET.check(row["state"], "revoked")
    await store.set_state(ctx.conn, secret_id, "revoked", "secret_revoked")
    await store.set_overlap(ctx.conn, secret_id, None, None)
    gone = await service.end_grants(ctx, cause, secret_id=secret_id)
    ctx.record(events.revoked(row, "its connection ended", sorted({grant["attachment_id"] for grant in gone})))
    return gone


async def wipe(ctx: Context, secret_id: str, cause: Row) -> None:
    """In the caller's transaction: nothing of its value is left."""
    row = await store.secret(ctx.conn, secret_id, lock="update")
    if row is None or row["state"] != "revoked":
        return
    SECRET.check(row["state"], "destroyed")
    await store.end_versions(ctx.conn, secret_id, [])
    await store.set_state(ctx.conn, secret_id, "destroyed", "secret_destroyed")
    ctx.record(events.destroyed(row, "its connection ended", cause))
