"""What can have happened in the treasury. Names and ids; never a value, nor a part or a digest of one."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

_GRANT = ("id", "secret_id", "attachment_id", "endpoint")


def created(row: dict[str, Any]) -> Event:
    """treasury.secret.created: a secret lies in the treasury; nobody may use it yet."""
    after = {"state": row["state"], "version": row["version"], "kind": row["kind"], "purpose": row["purpose"]}
    return Event(
        "treasury.secret.created", row["id"], row["name"], None, after, lane="secrets", workspace_id=row["workspace_id"]
    )


def rotated(row: dict[str, Any], version: int) -> Event:
    """treasury.secret.rotated: a new value; the next lease has it."""
    before, after = {"version": row["version"]}, {"version": version}
    return Event(
        "treasury.secret.rotated",
        row["id"],
        row["name"],
        before,
        after,
        lane="secrets",
        workspace_id=row["workspace_id"],
    )


def revoked(row: dict[str, Any], why: str, stopped: list[str]) -> Event:
    """treasury.secret.revoked: no lease is given any more; `stopped` names the attachments that could use it."""
    before, after = {"state": row["state"]}, {"state": "revoked"}
    data = {"why": why, "stopped": stopped}
    return Event(
        "treasury.secret.revoked",
        row["id"],
        row["name"],
        before,
        after,
        data=data,
        lane="secrets",
        workspace_id=row["workspace_id"],
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
    """treasury.grant.revoked: it may no longer, from its very next request on."""
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
