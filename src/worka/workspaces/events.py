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


def invitation_moved(workspace_id: str, invitation_id: str, verb: str, role: str, approver: bool) -> Event:
    """workspace.invitation.<verb>: withdrawn (it opens nothing any more) or renewed (the old link does not)."""
    return Event(
        f"workspace.invitation.{verb}",
        invitation_id,
        "",
        after={"role": role, "approver": approver},
        lane="access",
        workspace_id=workspace_id,
    )


def invitation_held(workspace_id: str, invitation_id: str, role: str, approver: bool, because: str) -> Event:
    """workspace.invitation.held: somebody came with its link while its sender was stopped by a kill switch."""
    return Event(
        "workspace.invitation.held",
        invitation_id,
        "",
        data={"because": because, "role": role, "approver": approver},
        lane="access",
        workspace_id=workspace_id,
    )


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


def member_changed(
    workspace_id: str, name: str, before: dict[str, Any], after: dict[str, Any], invitations: int = 0
) -> Event:
    """workspace.member.changed: another role, or named approver or not; unused invitations that they had sent and may send no
    more are withdrawn with it."""
    return Event(
        "workspace.member.changed",
        after["principal_id"],
        name,
        before={"role": before["role"], "approver": before["approver"]},
        after={"role": after["role"], "approver": after["approver"]},
        data={"invitations_withdrawn": invitations} if invitations else {},
        lane="access",
        workspace_id=workspace_id,
    )


def member_removed(workspace_id: str, name: str, before: dict[str, Any], tokens: int, invitations: int = 0) -> Event:
    """workspace.member.removed: no role any more; its API tokens of the workspace are revoked with it, and the invitations
    that it had sent."""
    return Event(
        "workspace.member.removed",
        before["principal_id"],
        name,
        before={"role": before["role"], "approver": before["approver"]},
        data={"tokens_revoked": tokens, **({"invitations_withdrawn": invitations} if invitations else {})},
        lane="access",
        workspace_id=workspace_id,
    )


def limit_set(before: dict[str, Any] | None, after: dict[str, Any]) -> Event:
    """limit.set: from the next request on this much may be used, no more; a value of null takes the limit away."""
    shown = ("layer", "scope", "name", "value", "revision", "workspace_id", "member_id", "reason")
    place = after.get("workspace_id") or None
    return Event(
        "limit.set",
        after["name"],
        f"limit on {after['name'].replace('_', ' ')} of the {after['scope']}",
        before={key: before.get(key) for key in ("value", "revision")} if before else None,
        after={key: after.get(key) for key in shown},
        lane="policy",
        workspace_id=place,
    )
