"""Use cases of the treasury."""

from __future__ import annotations

import base64
import os
from datetime import datetime
from typing import Any

from worka.kernel import redact
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.treasury import actions, errors, events, rules, store, values
from worka.treasury.leasing import Lease, close_leases, lease
from worka.treasury.rules import SECRET

__all__ = [
    "DAYS",
    "Lease",
    "close_leases",
    "create",
    "end_grants",
    "get",
    "grant",
    "grant_for_attachment",
    "grant_shown",
    "lease",
    "listing",
    "made_up",
    "revoke",
    "revoke_grant",
    "revoke_grants_of_attachment",
    "revoke_grants_of_connection",
    "revoke_other_grants",
    "rotate",
    "sees",
    "shown",
    "visible",
]
Row = dict[str, Any]
DAYS = 30
"""How far back uses are counted."""


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
    secret_id = new_id("sec")
    async with ctx.transaction() as conn:
        await _allowed(ctx, actions.SECRET_CREATE, secret_id, workspace_id, name=name, kind=kind)
        # Only now: whoever may put nothing in has nothing masked for everybody, and pushes no other value out.
        redact.remember(value)
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
        await values.put(ctx, row, 1, data)
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
    SecretRevoked, SigningKeyKept, AnotherPersons."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, secret_id, lock="update")
        await _allowed(ctx, actions.SECRET_ROTATE, secret_id, row["workspace_id"], name=row["name"])
        if row["state"] not in rules.LEASABLE:
            raise errors.SecretRevoked(f"{row['name']} is {row['state']}.")
        if rules.KINDS.get(row["kind"], rules.KINDS["other"]).binds == "signing":
            raise errors.SigningKeyKept(f"{row['name']} signs for a publisher.")
        if row["person_id"] and row["person_id"] != ctx.principal.id:
            # Their calls would go out as somebody else, and say that they are theirs.
            raise errors.AnotherPersons(f"{row['name']} is of another person's own account.")
        value = made_up(row["kind"]) if value is None else value
        data = rules.check_value(value)
        redact.remember(value)
        version = row["version"] + 1
        await values.put(ctx, row, version, data)
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
    """Takes a grant back, for the next call at once and for one that runs within a second. Raises GrantNotFound, Denied."""
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
    gone = await store.revoke_grants(ctx.conn, ctx.principal.id, cause=cause["kind"] if cause else "", **which)
    for row in gone:
        ctx.record(events.ungranted(row, row["name"], cause))
    return gone


# surroundings -------------------------------------------------------------------------------------------------------
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
