"""Use cases of the treasury."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from worka import governance
from worka.governance.errors import Killed, UseRefused
from worka.kernel import redact
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Denied, Problem
from worka.kernel.ids import new_id
from worka.treasury import actions, errors, events, keys, rules, store
from worka.treasury.rules import SECRET, Refusal
from worka.treasury.sealer import TreasurySealer

Row = dict[str, Any]
DAYS = 30
"""How far back uses are counted."""
_REFUSALS: dict[str, type[Problem]] = {
    "no_grant": errors.NoGrant,
    "endpoint_not_bound": errors.EndpointNotBound,
    "secret_revoked": errors.SecretRevoked,
    "secret_expired": errors.SecretExpired,
    "treasury_sealed": errors.TreasurySealed,
    "invocation_not_running": errors.InvocationNotRunning,
    governance.kills.REASON: Killed,
    UseRefused.code: UseRefused,
}


@dataclass(frozen=True, slots=True)
class Lease:
    """A value for one invocation and endpoint; `id` is the row in `lease`. The value shows nowhere by accident."""

    id: str
    value: str = field(repr=False)

    def __str__(self) -> str:
        return f"Lease({self.id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a lease does not travel")


# secrets ------------------------------------------------------------------------------------------------------------
async def create(
    ctx: Context,
    workspace_id: str,
    *,
    name: str,
    purpose: str,
    kind: str,
    value: str | None = None,
    expires_at: datetime | None = None,
    rotate_days: int | None = None,
) -> Row:
    """Puts a secret into the treasury; it grants nothing. Without a value one is made here, and nobody ever sees it. The
    answer has no value. Raises Denied, SecretNameTaken, SecretEmpty, DatesInvalid."""
    assert ctx.tenant_id is not None
    generated = value is None
    value = made_up(kind) if value is None else value
    data = rules.check_value(value)
    rules.check_end(expires_at, now())
    redact.remember(value)
    secret_id = new_id("sec")
    async with ctx.transaction() as conn:
        await _allowed(ctx, actions.SECRET_CREATE, secret_id, workspace_id, name=name, kind=kind)
        row = await store.add_secret(
            conn,
            {
                "tenant_id": ctx.tenant_id, "id": secret_id, "workspace_id": workspace_id, "name": name,
                "purpose": purpose,
                "kind": kind, "created_by": ctx.principal.id, "expires_at": expires_at, "rotate_days": rotate_days,
            },
        )  # fmt: skip
        if row is None:
            raise errors.SecretNameTaken(f"This workspace has a secret {name}.")
        await put(ctx, row, 1, data)
        ctx.record(events.created(row, generated))
    return shown(row, [], [])


def made_up(kind: str) -> str:
    """A value that the platform makes: a signing key's seed, or 256 random bits as text."""
    size = os.urandom(32)
    return (
        (base64.b64encode if kind == "publication" else base64.urlsafe_b64encode)(size)
        .decode()
        .rstrip("" if kind == "publication" else "=")
    )


async def rotate(
    ctx: Context, secret_id: str, value: str | None, *, overlap_minutes: int = 0, cause: Row | None = None
) -> Row:
    """A new value under the same grants; the next lease has it, and the old one is wiped, now or when the overlap is over.
    Without a value one is made here. What else a person is asked about it is in `rotation`. Raises SecretNotFound, Denied,
    SecretRevoked, SigningKeyKept."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, secret_id, lock="update")
        await _allowed(ctx, actions.SECRET_ROTATE, secret_id, row["workspace_id"], name=row["name"])
        if row["state"] not in rules.LEASABLE:
            raise errors.SecretRevoked(f"{row['name']} is {row['state']}.")
        if rules.KINDS.get(row["kind"], rules.KINDS["other"]).binds == "signing":
            raise errors.SigningKeyKept(f"{row['name']} signs for a publisher.")
        value = made_up(row["kind"]) if value is None else value
        data = rules.check_value(value)
        redact.remember(value)
        version = row["version"] + 1
        await put(ctx, row, version, data)
        await store.set_version(conn, secret_id, version)
        await store.end_versions(conn, secret_id, [version, row["version"]] if overlap_minutes else [version])
        await store.set_overlap(conn, secret_id, row["version"] if overlap_minutes else None, overlap_minutes or None)
        to = "rotating" if overlap_minutes else "active"
        if to != row["state"]:
            SECRET.check(row["state"], to)
            await store.set_state(conn, secret_id, to, rules.READY[to])
        ctx.record(events.rotated(row, version, overlap_minutes, cause))
        ctx.failpoint("treasury.rotated.before_commit")
        return await get(ctx, secret_id)


async def revoke(ctx: Context, secret_id: str, why: str) -> Row:
    """Ends a secret and its grants, for the very next call. {…, stopped: [attachment ids]}. Raises SecretNotFound,
    Denied."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, secret_id, lock="update")
        await _allowed(ctx, actions.SECRET_REVOKE, secret_id, row["workspace_id"], name=row["name"])
        SECRET.check(row["state"], "revoked")
        await store.set_state(conn, secret_id, "revoked", "secret_revoked")
        await store.set_overlap(conn, secret_id, None, None)
        stood = await store.dependants(conn, secret_id, DAYS)
        cause = {"kind": "secret", "id": secret_id}
        gone = await end_grants(ctx, cause, secret_id=secret_id)
        stopped = sorted({grant["attachment_id"] for grant in gone})
        ctx.record(events.revoked(row, why, stopped, [item["id"] for item in stood]))
        await ctx.publish(
            "secret.revoked", {"secret_id": secret_id, "workspace_id": row["workspace_id"], "name": row["name"]}
        )
        return {**await get(ctx, secret_id), "stopped": stopped, "stopped_more": stood}


async def get(ctx: Context, secret_id: str) -> Row:
    """Name, purpose, state, connections and grants of a secret; never its value. Raises SecretNotFound."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, secret_id)
        last = await store.last_lease(conn, secret_id)
        return shown(row, await store.grants(conn, secret_id), await store.connections_of(conn, secret_id), last)


async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The workspace's secrets, newest first (up to limit + 1), without values."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.SECRET_VIEW, Resource("secret", "*", workspace_id))
        rows = await store.secrets(conn, workspace_id, after, limit + 1)
        return [
            shown(row, await store.grants(conn, row["id"]), [], await store.last_lease(conn, row["id"])) for row in rows
        ]


def shown(row: Row, grants: list[Row], connections: list[Row], last: Row | None = None) -> Row:
    """A secret as the API shows it. There is no field that could hold a value."""
    keys_ = (
        "id",
        "workspace_id",
        "name",
        "purpose",
        "kind",
        "state",
        "reason",
        "version",
        "created_by",
        "created_at",
        "rotated_at",
        "expires_at",
        "rotate_days",
        "previous_version",
        "overlap_until",
    )
    further = {
        "binds": rules.KINDS.get(row["kind"], rules.KINDS["other"]).binds,
        "due_at": rules.due(row) if row["state"] in rules.LEASABLE else None,
        "warning": rules.warning(row, now()),
        "last_leased_at": last["issued_at"] if last else None,
    }
    live = [grant_shown(grant) for grant in grants if grant["revoked_at"] is None]
    return {**{key: row[key] for key in keys_}, **further, "grants": live, "connections": connections}


# grants -------------------------------------------------------------------------------------------------------------
async def grant(ctx: Context, secret_id: str, attachment_id: str, endpoint: str) -> Row:
    """Lets one attachment use one secret on one endpoint; the same grant twice is one. Raises SecretNotFound, Denied,
    EndpointInvalid, AttachmentUnknown, SecretRevoked."""
    bound = rules.endpoint(endpoint)
    async with ctx.transaction() as conn:
        row = await visible(ctx, secret_id, lock="share")
        await _allowed(ctx, actions.SECRET_GRANT, secret_id, row["workspace_id"], name=row["name"], destination=bound)
        rules.bindable(row["kind"], row["name"])
        grantee = await store.attachment(conn, attachment_id)
        if grantee is None or grantee["workspace_id"] != row["workspace_id"] or grantee["state"] == "detached":
            raise errors.AttachmentUnknown(f"{attachment_id} is no attachment of this workspace.", field="grantee_id")
        return await _grant(ctx, row, attachment_id, bound, None)


async def grant_for_attachment(
    ctx: Context,
    secret_id: str,
    *,
    attachment_id: str,
    workspace_id: str,
    endpoint: str,
    cause: Row | None = None,
) -> Row | None:
    """In the caller's transaction: the grant that an approved attachment gets (who attached it was asked already).

    None, and nothing is granted, when the secret is not of that workspace or not usable: the attachment then waits for,
    or fails by name on, its connection. Raises EndpointInvalid.
    """
    row = await store.secret(ctx.conn, secret_id, lock="share")
    if row is None or row["workspace_id"] != workspace_id or row["state"] not in rules.LEASABLE:
        return None
    if rules.KINDS.get(row["kind"], rules.KINDS["other"]).binds != "endpoint":
        return None
    return await _grant(ctx, row, attachment_id, rules.endpoint(endpoint), cause)


async def _grant(ctx: Context, row: Row, attachment_id: str, bound: str, cause: Row | None) -> Row:
    if row["state"] not in rules.LEASABLE:
        raise errors.SecretRevoked(f"{row['name']} is {row['state']}.")
    for known in await store.live_grants(ctx.conn, row["id"], attachment_id):
        if known["endpoint"] == bound:
            return grant_shown(known)
    made = await store.add_grant(
        ctx.conn,
        {
            "tenant_id": ctx.tenant_id, "id": new_id("grant"), "workspace_id": row["workspace_id"],
            "secret_id": row["id"],
            "attachment_id": attachment_id, "endpoint": bound, "granted_by": ctx.principal.id,
        },
    )  # fmt: skip
    ctx.record(events.granted(made, row["name"], cause))
    return grant_shown(made)


def grant_shown(row: Row) -> Row:
    """A grant as the API shows it."""
    names = ("id", "workspace_id", "secret_id", "attachment_id", "endpoint", "granted_by", "granted_at", "revoked_at")
    return {**{name: row[name] for name in names}, "grantee_id": row["attachment_id"], "pack": row.get("pack")}


async def revoke_grant(ctx: Context, grant_id: str) -> None:
    """Takes a grant back, for the very next request; open leases under it end. Raises GrantNotFound, Denied."""
    async with ctx.transaction() as conn:
        row = await store.grant(conn, grant_id)
        if row is None or not await sees(ctx, row["workspace_id"]):
            raise errors.GrantNotFound(f"There is no grant {grant_id}.")
        await _allowed(
            ctx,
            actions.SECRET_UNGRANT,
            row["secret_id"],
            row["workspace_id"],
            name=row["name"],
            destination=row["endpoint"],
        )
        await end_grants(ctx, None, grant_id=grant_id)


async def revoke_grants_of_attachment(ctx: Context, attachment_id: str, workspace_id: str) -> int:
    """In the caller's transaction, when an attachment ends: how many grants ended with it."""
    return len(await end_grants(ctx, {"kind": "attachment", "id": attachment_id}, attachment_id=attachment_id))


async def revoke_other_grants(
    ctx: Context, attachment_id: str, keep: list[tuple[str, str]], cause: Row | None = None
) -> int:
    """In the caller's transaction, when an attachment needs less: ends its live grants but those of (secret, endpoint) in
    `keep`; how many ended."""
    gone = 0
    for known in await store.grants_of_attachment(ctx.conn, attachment_id):
        if (known["secret_id"], known["endpoint"]) not in keep:
            gone += len(await end_grants(ctx, cause, grant_id=known["id"]))
    return gone


async def revoke_grants_of_connection(ctx: Context, connection_id: str, secret_id: str, endpoint: str) -> list[Row]:
    """In the caller's transaction, when a connection ends: the grants of its secret for its endpoint end with it."""
    cause = {"kind": "connection", "id": connection_id}
    return await end_grants(ctx, cause, secret_id=secret_id, endpoint=rules.endpoint(endpoint))


async def end_grants(ctx: Context, cause: Row | None, **which: str) -> list[Row]:
    """In the caller's transaction: ends the live grants that fit, each with its event."""
    gone = await store.revoke_grants(ctx.conn, ctx.principal.id, **which)
    for row in gone:
        ctx.record(events.ungranted(row, row["name"], cause))
    return gone


# leases -------------------------------------------------------------------------------------------------------------
async def lease(ctx: Context, *, secret_id: str, attachment_id: str, invocation_id: str, endpoint: str) -> Lease:
    """The value, for the broker, while the invocation runs. Raises SecretNotFound, NoGrant, EndpointNotBound,
    SecretRevoked, InvocationNotRunning, SecretUnreadable. The row and its audit entry commit before the value
    leaves."""
    assert ctx.tenant_id is not None
    bound = rules.endpoint(endpoint)
    asked = {
        "secret_id": secret_id, "attachment_id": attachment_id, "invocation_id": invocation_id, "endpoint": bound,
    }  # fmt: skip
    refusal: Refusal | None = None
    value, lease_id = "", new_id("lease")
    async with ctx.transaction() as conn:
        row = await store.secret(conn, secret_id, lock="share")
        if row is None:
            raise errors.SecretNotFound(f"There is no secret {secret_id}.")
        running = await store.invocation(conn, invocation_id)
        answer = rules.may_lease(
            row,
            await store.live_grants(conn, secret_id, attachment_id, lock=True),
            running,
            attachment_id,
            bound,
            now(),
        )
        if not isinstance(answer, Refusal) and running is not None:
            answer = await _governed(ctx, row, running, bound) or await _sealed(ctx) or answer
        if isinstance(answer, Refusal):
            refusal = answer
            ctx.record(events.refused(row["workspace_id"], asked, answer.reason, row["name"]))
        else:
            before = await store.leased_before(conn, secret_id, invocation_id) if row["state"] == "rotating" else None
            number = rules.leased_version(row, before)
            value = await _value(ctx, row, number)
            made = await store.add_lease(
                conn,
                {
                    **asked, "tenant_id": ctx.tenant_id, "id": lease_id, "workspace_id": row["workspace_id"],
                    "secret_version": number, "grant_id": answer["id"], "trace_id": ctx.trace_id,
                },
                rules.LEASE_SECONDS,
            )  # fmt: skip
            ctx.record(events.leased(made, row["name"]))
            ctx.failpoint("treasury.lease.before_commit")
    if refusal is not None:
        raise _REFUSALS[refusal.reason](
            refusal.sentence[:1].upper() + refusal.sentence[1:] + ".", reason=refusal.reason
        )
    redact.remember(value)
    return Lease(lease_id, value)


async def _sealed(ctx: Context) -> Refusal | None:
    """Whether the operator has sealed the treasury: read in the transaction of the lease, so in every process at once."""
    seal = await store.sealed(ctx.conn)
    if seal is None or not seal["sealed"]:
        return None
    return Refusal("treasury_sealed", f"the treasury was sealed by {seal['by_name'] or seal['by_whom']}: {seal['why']}")


async def unsealed(ctx: Context) -> None:
    """For what gives or uses a value without a lease. Raises TreasurySealed."""
    refusal = await _sealed(ctx)
    if refusal is not None:
        raise errors.TreasurySealed(refusal.sentence[:1].upper() + refusal.sentence[1:] + ".", reason="treasury_sealed")


async def _governed(ctx: Context, row: Row, running: Row, bound: str) -> Refusal | None:
    """What policy and kill switches say of this pack, this secret and this endpoint, now."""
    host, _, port = bound.rpartition(":")
    refusal = await governance.service.may_use(
        ctx,
        running["pack"],
        actions.SECRET_USE,
        Resource("secret", row["id"], row["workspace_id"], {"name": row["name"], "kind": row["kind"]}),
        members=tuple(who for who in (running["initiator_id"], running["originating_person"]) if who),
        secret=row["id"],
        pack=running["pack"],
        publisher=running["pack"].partition(".")[0],
        release=running["release_id"],
        tool=running["tool"],
        attachment=running["attachment_id"],
        host=host,
        port=int(port),
        endpoint=bound,
    )
    if refusal is None:
        return None
    killed = any(rule.startswith(governance.kills.PREFIX) for rule in refusal.rules)
    return Refusal(governance.kills.REASON if killed else UseRefused.code, "; ".join(refusal.reasons))


async def close_leases(ctx: Context, *, invocation_id: str) -> None:
    """Ends the leases of an invocation that is over; none is fine."""
    async with ctx.transaction() as conn:
        for row in await store.close_leases(conn, invocation_id):
            ctx.record(events.closed(row))


# surroundings -------------------------------------------------------------------------------------------------------
async def put(ctx: Context, row: Row, version: int, data: bytes) -> None:
    """Seals a value as this version of the secret."""
    key_version, key = await sealer_of(ctx).tenant_key(ctx.conn, row["tenant_id"], "data", look=True)
    nonce, sealed = keys.encrypt(key, data, _bound(row, version))
    await store.add_version(ctx.conn, row["tenant_id"], row["id"], version, key_version, nonce, sealed)


def _bound(row: Row, version: int) -> bytes:
    """What a sealed value is bound to: it opens as this version of this secret of this tenant, and as nothing else."""
    return keys.associated("secret", row["tenant_id"], row["id"], version)


async def opened(ctx: Context, row: Row, version: int | None = None) -> str:
    """For the treasury's own files: the value of a secret that does not leave (a signing key), or leaves by their rules.
    Raises SecretUnreadable, SecretReplayed, KeyDestroyed, TreasurySealed."""
    await unsealed(ctx)
    return await _value(ctx, row, row["version"] if version is None else version)


async def _value(ctx: Context, row: Row, version: int) -> str:
    found = await store.version(ctx.conn, row["id"], version)
    if found is not None and found["newest"] != row["version"]:
        raise errors.SecretReplayed(
            f"{row['name']} ({row['id']}) says that version {row['version']} is its newest, and {found['newest']} is.",
            item=row["id"],
            reason="secret_replayed",
        )
    if found is None or found["ended_at"] is not None:
        raise errors.SecretUnreadable(f"{row['name']}: version {version} is gone.", item=row["id"])
    _, key = await sealer_of(ctx).tenant_key(ctx.conn, row["tenant_id"], "data", found["key_version"])
    try:
        return keys.decrypt(
            key, bytes(found["nonce"]), bytes(found["ciphertext"]), _bound(row, found["version"])
        ).decode()
    except (keys.Unopened, UnicodeDecodeError) as error:
        raise errors.SecretUnreadable(f"{row['name']} ({row['id']}) does not open.", item=row["id"]) from error


def sealer_of(ctx: Context) -> TreasurySealer:
    """The sealer of this process."""
    assert isinstance(ctx.sealer, TreasurySealer)
    return ctx.sealer


async def sees(ctx: Context, workspace_id: str) -> bool:
    """Whether the caller may see the workspace's secrets."""
    try:
        await ctx.require(actions.SECRET_VIEW, Resource("secret", "*", workspace_id))
    except Denied:
        return False
    return True


async def visible(ctx: Context, secret_id: str, lock: str = "") -> Row:
    """In the caller's transaction: the secret, for who may see the workspace's secrets. Raises SecretNotFound."""
    row = await store.secret(ctx.conn, secret_id, lock=lock)
    if row is None or not await sees(ctx, row["workspace_id"]):
        raise errors.SecretNotFound(f"There is no secret {secret_id}.")
    return row


async def _allowed(ctx: Context, action: str, secret_id: str, workspace_id: str, **facts: Any) -> None:
    await ctx.require(action, Resource("secret", secret_id, workspace_id, facts))
