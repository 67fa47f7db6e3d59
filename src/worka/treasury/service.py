"""Use cases of the treasury."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

from worka import governance
from worka.governance.errors import Killed, UseRefused
from worka.kernel import redact
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Denied, Problem
from worka.kernel.ids import new_id
from worka.treasury import actions, errors, events, keys, rules, store
from worka.treasury.rules import SECRET, Refusal
from worka.treasury.sealer import TreasurySealer

Row = dict[str, Any]
_REFUSALS: dict[str, type[Problem]] = {
    "no_grant": errors.NoGrant,
    "endpoint_not_bound": errors.EndpointNotBound,
    "secret_revoked": errors.SecretRevoked,
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
async def create(ctx: Context, workspace_id: str, *, name: str, purpose: str, kind: str, value: str) -> Row:
    """Puts a secret into the treasury; it grants nothing. The answer has no value. Raises Denied, SecretNameTaken."""
    assert ctx.tenant_id is not None
    data = rules.check_value(value)
    redact.remember(value)
    secret_id = new_id("sec")
    async with ctx.transaction() as conn:
        await _allowed(ctx, actions.SECRET_CREATE, secret_id, workspace_id, name=name, kind=kind)
        row = await store.add_secret(
            conn,
            {
                "tenant_id": ctx.tenant_id, "id": secret_id, "workspace_id": workspace_id, "name": name,
                "purpose": purpose,
                "kind": kind, "created_by": ctx.principal.id,
            },
        )  # fmt: skip
        if row is None:
            raise errors.SecretNameTaken(f"This workspace has a secret {name}.")
        await _put(ctx, row, 1, data)
        ctx.record(events.created(row))
    return shown(row, [], [])


async def rotate(ctx: Context, secret_id: str, value: str) -> Row:
    """A new value under the same grants; the next lease has it. Raises SecretNotFound, Denied, SecretRevoked."""
    data = rules.check_value(value)
    redact.remember(value)
    async with ctx.transaction() as conn:
        row = await _own(ctx, secret_id, lock="update")
        await _allowed(ctx, actions.SECRET_ROTATE, secret_id, row["workspace_id"], name=row["name"])
        if row["state"] not in rules.LEASABLE:
            raise errors.SecretRevoked(f"{row['name']} is {row['state']}.")
        version = row["version"] + 1
        await _put(ctx, row, version, data)
        await store.set_version(conn, secret_id, version)
        ctx.record(events.rotated(row, version))
    return await get(ctx, secret_id)


async def revoke(ctx: Context, secret_id: str, why: str) -> Row:
    """Ends a secret and its grants, for the very next call. {…, stopped: [attachment ids]}. Raises SecretNotFound,
    Denied."""
    async with ctx.transaction() as conn:
        row = await _own(ctx, secret_id, lock="update")
        await _allowed(ctx, actions.SECRET_REVOKE, secret_id, row["workspace_id"], name=row["name"])
        SECRET.check(row["state"], "revoked")
        await store.set_state(conn, secret_id, "revoked", "secret_revoked")
        cause = {"kind": "secret", "id": secret_id}
        gone = await _end_grants(ctx, cause, secret_id=secret_id)
        stopped = sorted({grant["attachment_id"] for grant in gone})
        ctx.record(events.revoked(row, why, stopped))
        await ctx.publish(
            "secret.revoked", {"secret_id": secret_id, "workspace_id": row["workspace_id"], "name": row["name"]}
        )
    return {**await get(ctx, secret_id), "stopped": stopped}


async def get(ctx: Context, secret_id: str) -> Row:
    """Name, purpose, state, connections and grants of a secret; never its value. Raises SecretNotFound."""
    async with ctx.transaction() as conn:
        row = await _visible(ctx, secret_id)
        return shown(row, await store.grants(conn, secret_id), await store.connections_of(conn, secret_id))


async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The workspace's secrets, newest first (up to limit + 1), without values."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.SECRET_VIEW, Resource("secret", "*", workspace_id))
        rows = await store.secrets(conn, workspace_id, after, limit + 1)
        return [shown(row, await store.grants(conn, row["id"]), []) for row in rows]


def shown(row: Row, grants: list[Row], connections: list[Row]) -> Row:
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
    )
    live = [grant_shown(grant) for grant in grants if grant["revoked_at"] is None]
    return {**{key: row[key] for key in keys_}, "grants": live, "connections": connections}


# grants -------------------------------------------------------------------------------------------------------------
async def grant(ctx: Context, secret_id: str, attachment_id: str, endpoint: str) -> Row:
    """Lets one attachment use one secret on one endpoint; the same grant twice is one. Raises SecretNotFound, Denied,
    EndpointInvalid, AttachmentUnknown, SecretRevoked."""
    bound = rules.endpoint(endpoint)
    async with ctx.transaction() as conn:
        row = await _own(ctx, secret_id, lock="share")
        await _allowed(ctx, actions.SECRET_GRANT, secret_id, row["workspace_id"], name=row["name"], destination=bound)
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
        if row is None or not await _sees(ctx, row["workspace_id"]):
            raise errors.GrantNotFound(f"There is no grant {grant_id}.")
        await _allowed(
            ctx,
            actions.SECRET_UNGRANT,
            row["secret_id"],
            row["workspace_id"],
            name=row["name"],
            destination=row["endpoint"],
        )
        await _end_grants(ctx, None, grant_id=grant_id)


async def revoke_grants_of_attachment(ctx: Context, attachment_id: str, workspace_id: str) -> int:
    """In the caller's transaction, when an attachment ends: how many grants ended with it."""
    return len(await _end_grants(ctx, {"kind": "attachment", "id": attachment_id}, attachment_id=attachment_id))


async def revoke_other_grants(
    ctx: Context, attachment_id: str, keep: list[tuple[str, str]], cause: Row | None = None
) -> int:
    """In the caller's transaction, when an attachment needs less: ends its live grants but those of (secret, endpoint) in
    `keep`; how many ended."""
    gone = 0
    for known in await store.grants_of_attachment(ctx.conn, attachment_id):
        if (known["secret_id"], known["endpoint"]) not in keep:
            gone += len(await _end_grants(ctx, cause, grant_id=known["id"]))
    return gone


async def revoke_grants_of_connection(ctx: Context, connection_id: str, secret_id: str, endpoint: str) -> list[Row]:
    """In the caller's transaction, when a connection ends: the grants of its secret for its endpoint end with it."""
    cause = {"kind": "connection", "id": connection_id}
    return await _end_grants(ctx, cause, secret_id=secret_id, endpoint=rules.endpoint(endpoint))


async def _end_grants(ctx: Context, cause: Row | None, **which: str) -> list[Row]:
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
            row, await store.live_grants(conn, secret_id, attachment_id, lock=True), running, attachment_id, bound
        )
        if not isinstance(answer, Refusal) and running is not None:
            answer = await _governed(ctx, row, running, bound) or answer
        if isinstance(answer, Refusal):
            refusal = answer
            ctx.record(events.refused(row["workspace_id"], asked, answer.reason, row["name"]))
        else:
            value = await _value(ctx, row)
            made = await store.add_lease(
                conn,
                {
                    **asked, "tenant_id": ctx.tenant_id, "id": lease_id, "workspace_id": row["workspace_id"],
                    "secret_version": row["version"], "grant_id": answer["id"], "trace_id": ctx.trace_id,
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
async def _put(ctx: Context, row: Row, version: int, data: bytes) -> None:
    key_version, key = await _sealer(ctx).tenant_key(ctx.conn, row["tenant_id"], "data")
    nonce, sealed = keys.encrypt(key, data, keys.associated("secret", row["tenant_id"], row["id"], version))
    await store.add_version(ctx.conn, row["tenant_id"], row["id"], version, key_version, nonce, sealed)


async def opened(ctx: Context, row: Row) -> str:
    """For the treasury's own files: the value of a secret that does not leave (a signing key)."""
    return await _value(ctx, row)


async def _value(ctx: Context, row: Row) -> str:
    found = await store.version(ctx.conn, row["id"], row["version"])
    if found is None:
        raise errors.SecretUnreadable(f"{row['name']}: version {row['version']} is gone.", item=row["id"])
    _, key = await _sealer(ctx).tenant_key(ctx.conn, row["tenant_id"], "data", found["key_version"])
    data = keys.associated("secret", row["tenant_id"], row["id"], found["version"])
    try:
        return keys.decrypt(key, bytes(found["nonce"]), bytes(found["ciphertext"]), data).decode()
    except (keys.Unopened, UnicodeDecodeError) as error:
        raise errors.SecretUnreadable(f"{row['name']} ({row['id']}) does not open.", item=row["id"]) from error


def _sealer(ctx: Context) -> TreasurySealer:
    assert isinstance(ctx.sealer, TreasurySealer)
    return ctx.sealer


async def _sees(ctx: Context, workspace_id: str) -> bool:
    try:
        await ctx.require(actions.SECRET_VIEW, Resource("secret", "*", workspace_id))
    except Denied:
        return False
    return True


async def _visible(ctx: Context, secret_id: str, lock: str = "") -> Row:
    row = await store.secret(ctx.conn, secret_id, lock=lock)
    if row is None or not await _sees(ctx, row["workspace_id"]):
        raise errors.SecretNotFound(f"There is no secret {secret_id}.")
    return row


async def _own(ctx: Context, secret_id: str, lock: str) -> Row:
    """404 before 403: who may not even see the workspace's secrets does not learn that there is one."""
    return await _visible(ctx, secret_id, lock)


async def _allowed(ctx: Context, action: str, secret_id: str, workspace_id: str, **facts: Any) -> None:
    await ctx.require(action, Resource("secret", secret_id, workspace_id, facts))
