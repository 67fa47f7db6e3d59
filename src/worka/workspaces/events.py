"""What can have happened to tenants, workspaces and memberships."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event


def tenant_created(tenant_id: str, name: str) -> Event:
    """tenant.created: a new isolation boundary."""
    return Event("tenant.created", tenant_id, name, lane="config")


def workspace_created(row: dict[str, Any]) -> Event:
    """workspace.created: a workspace stands."""
    return Event("workspace.created", row["id"], row["name"], lane="config", workspace_id=row["id"])


def invited(workspace_id: str, role: str, approver: bool) -> Event:
    """workspace.member.invited: an invitation was handed out; the address stays out of the ledger."""
    after = {"role": role, "approver": approver}
    return Event("workspace.member.invited", workspace_id, "", after=after, lane="access", workspace_id=workspace_id)


def member_added(workspace_id: str, member: dict[str, Any], name: str) -> Event:
    """workspace.member.added: somebody has a role from now on."""
    return Event(
        "workspace.member.added",
        member["principal_id"],
        name,
        after={"role": member["role"], "approver": member["approver"]},
        lane="access",
        workspace_id=workspace_id,
    )


def member_changed(workspace_id: str, name: str, before: dict[str, Any], after: dict[str, Any]) -> Event:
    """workspace.member.changed: another role, or named approver or not."""
    return Event(
        "workspace.member.changed",
        after["principal_id"],
        name,
        before={"role": before["role"], "approver": before["approver"]},
        after={"role": after["role"], "approver": after["approver"]},
        lane="access",
        workspace_id=workspace_id,
    )


def member_removed(workspace_id: str, name: str, before: dict[str, Any], tokens: int) -> Event:
    """workspace.member.removed: no role any more; its API tokens of the workspace are revoked with it."""
    return Event(
        "workspace.member.removed",
        before["principal_id"],
        name,
        before={"role": before["role"], "approver": before["approver"]},
        data={"tokens_revoked": tokens},
        lane="access",
        workspace_id=workspace_id,
    )
