"""What can have happened in the treasury. Names and ids; never a value, nor a part or a digest of one."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

_GRANT = ("id", "secret_id", "attachment_id", "endpoint")


def created(row: dict[str, Any], generated: bool = False) -> Event:
    """treasury.secret.created: a secret lies in the treasury; nobody may use it yet. `generated`: its value was made here."""
    after = {"state": row["state"], "version": row["version"], "kind": row["kind"], "purpose": row["purpose"]}
    return Event(
        "treasury.secret.created", row["id"], row["name"], None, after, data={"generated": generated}, lane="secrets",
        workspace_id=row["workspace_id"],
    )  # fmt: skip


def brought(row: dict[str, Any], cause: dict[str, Any]) -> Event:
    """treasury.secret.brought: a provider gave a token to a connection, and it lies in the treasury; it grants nothing."""
    after = {"state": row["state"], "version": row["version"], "kind": row["kind"], "purpose": row["purpose"]}
    return _event("treasury.secret.brought", row, None, after, {}, cause)


def used(row: dict[str, Any], purpose: str) -> Event:
    """treasury.secret.used: the platform itself opened the value for one call of its own; `purpose` says which."""
    return _event("treasury.secret.used", row, data={"purpose": purpose})


def rotated(row: dict[str, Any], version: int, overlap_minutes: int = 0, cause: dict[str, Any] | None = None) -> Event:
    """treasury.secret.rotated: a new value; the next lease has it. The old one is valid beside it for `overlap_minutes`."""
    before, after = {"version": row["version"]}, {"version": version}
    return _event("treasury.secret.rotated", row, before, after, {"overlap_minutes": overlap_minutes}, cause)


def overlap_ended(row: dict[str, Any], after: dict[str, Any], by_hand: bool) -> Event:
    """treasury.secret.overlap_ended: one of the two values of a rotation is gone; `after` says which is left."""
    before = {"state": row["state"], "version": row["version"], "previous_version": row["previous_version"]}
    return _event("treasury.secret.overlap_ended", row, before, after, {"by_hand": by_hand})


def dated(row: dict[str, Any], after: dict[str, Any]) -> Event:
    """treasury.secret.dated: when it ends, or how often it is to be rotated, is another."""
    before = {"expires_at": _moment(row["expires_at"]), "rotate_days": row["rotate_days"]}
    return _event("treasury.secret.dated", row, before, after)


def warned(row: dict[str, Any], level: str, due_at: Any) -> Event:
    """treasury.secret.warned: it has to have a new value soon, or now."""
    return _event("treasury.secret.warned", row, data={"level": level, "due_at": _moment(due_at)})


def destroyed(row: dict[str, Any], why: str, cause: dict[str, Any] | None = None) -> Event:
    """treasury.secret.destroyed: its values are gone for good."""
    return _event(
        "treasury.secret.destroyed", row, {"state": row["state"]}, {"state": "destroyed"}, {"why": why}, cause
    )


def revoked(row: dict[str, Any], why: str, stopped: list[str], more: list[str] | None = None) -> Event:
    """treasury.secret.revoked: no lease is given any more; `stopped` names the attachments that could use it, and
    `dependants` all that stood on it."""
    before, after = {"state": row["state"]}, {"state": "revoked"}
    data = {"why": why, "stopped": stopped, "dependants": (more or [])[:100]}
    return _event("treasury.secret.revoked", row, before, after, data)


def sealed(on: bool, why: str) -> Event:
    """treasury.sealed: no value leaves the treasury any more, or `sealed` is false: it does again."""
    after = {"sealed": on}
    return Event(
        "treasury.sealed", "treasury", "treasury", {"sealed": not on}, after, data={"why": why}, lane="secrets"
    )


def master_rotated(before: str, after: str, tenants: int) -> Event:
    """treasury.master_key.rotated: every tenant's keys are wrapped under another master key."""
    return Event(
        "treasury.master_key.rotated", "treasury", "treasury", {"master_key": before}, {"master_key": after},
        data={"tenants": tenants}, lane="secrets",
    )  # fmt: skip


def rewrapped(tenant_id: str, master_key: str) -> Event:
    """treasury.key.rewrapped: a tenant's keys are wrapped under another master key."""
    return Event("treasury.key.rewrapped", tenant_id, after={"master_key": master_key}, lane="secrets")


def key_rotated(tenant_id: str, version: int, workspace_id: str) -> Event:
    """treasury.key.rotated: the tenant has a new data key; its secrets are sealed anew under it."""
    return Event(
        "treasury.key.rotated", tenant_id, before={"version": version - 1}, after={"version": version}, lane="secrets",
        workspace_id=workspace_id,
    )  # fmt: skip


def destruction_asked(row: dict[str, Any]) -> Event:
    """treasury.keys.destruction_asked: somebody wants the tenant's data keys destroyed."""
    return _event("treasury.keys.destruction_asked", {**row, "name": ""}, None, {"state": row["state"]}, {
        "why": row["why"], "reach": row["reach"], "approval_id": row["approval_id"],
    })  # fmt: skip


def destruction_ended(row: dict[str, Any]) -> Event:
    """treasury.keys.destruction_ended: the tenant's data keys are gone for good, or it was refused."""
    before, after = {"state": "awaiting_approval"}, {"state": row["state"], "reason": row["reason"]}
    return _event("treasury.keys.destruction_ended", {**row, "name": ""}, before, after, {"why": row["why"]})


def reading_moved(row: dict[str, Any], before: str | None, name: str) -> Event:
    """treasury.secret.reading: a person asked to read a value, may read it, has read it, or may not any more."""
    after = {"state": row["state"], "reason": row["reason"]}
    data = {"secret_id": row["secret_id"], "why": row["why"], "minutes": row["minutes"], "opened_by": row["opened_by"]}
    return _event("treasury.secret.reading", {**row, "name": name}, {"state": before} if before else None, after, data)


def _moment(value: Any) -> str | None:
    return value.isoformat() if value is not None else None


def _event(
    kind: str,
    row: dict[str, Any],
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    cause: dict[str, Any] | None = None,
) -> Event:
    return Event(
        kind, row["id"], row["name"], before, after, cause, data or {}, lane="secrets", workspace_id=row["workspace_id"]
    )


def granted(grant: dict[str, Any], name: str, cause: dict[str, Any] | None) -> Event:
    """treasury.grant.created: an attachment may use a secret on one endpoint."""
    after = {key: grant[key] for key in _GRANT}
    return Event(
        "treasury.grant.created",
        grant["id"],
        name,
        None,
        after,
        cause,
        lane="secrets",
        workspace_id=grant["workspace_id"],
    )


def ungranted(grant: dict[str, Any], name: str, cause: dict[str, Any] | None) -> Event:
    """treasury.grant.revoked: it may no longer: its next call at once, one that runs within a second."""
    before = {key: grant[key] for key in _GRANT}
    return Event(
        "treasury.grant.revoked",
        grant["id"],
        name,
        before,
        None,
        cause,
        lane="secrets",
        workspace_id=grant["workspace_id"],
    )


def signed(row: dict[str, Any], digest: str) -> Event:
    """treasury.secret.signed: the treasury signed with a key that lies in it; `digest` is of what was signed."""
    return Event(
        "treasury.secret.signed", row["id"], row["name"], data={"digest": digest}, lane="secrets",
        workspace_id=row["workspace_id"],
    )  # fmt: skip


def leased(lease: dict[str, Any], name: str) -> Event:
    """treasury.secret.leased: the broker has the value for one invocation and endpoint."""
    keys = ("secret_id", "secret_version", "grant_id", "attachment_id", "endpoint")
    cause = {"kind": "invocation", "id": lease["invocation_id"]}
    return Event(
        "treasury.secret.leased", lease["id"], name, cause=cause, data={key: lease[key] for key in keys},
        lane="secrets",
        workspace_id=lease["workspace_id"],
    )  # fmt: skip


def refused(workspace_id: str | None, asked: dict[str, Any], reason: str, name: str) -> Event:
    """treasury.lease.refused: a value was asked for and not given."""
    cause = {"kind": "invocation", "id": asked["invocation_id"]}
    return Event(
        "treasury.lease.refused", asked["secret_id"], name, cause=cause, data={**asked, "reason": reason},
        lane="secrets",
        workspace_id=workspace_id,
    )  # fmt: skip


def closed(lease: dict[str, Any]) -> Event:
    """treasury.lease.closed: the invocation is over; `used` counts the requests that carried the value."""
    cause = {"kind": "invocation", "id": lease["invocation_id"]}
    data = {"used": lease["used_count"]}
    return Event(
        "treasury.lease.closed",
        lease["id"],
        "",
        cause=cause,
        data=data,
        lane="secrets",
        workspace_id=lease["workspace_id"],
    )
