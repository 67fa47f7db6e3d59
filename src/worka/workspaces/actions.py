"""What can be asked for in workspaces."""

from __future__ import annotations

from worka.kernel.actions import Action, register

ACCESS_VIEW = "access.view"
MEMBER_CHANGE = "member.change"
MEMBER_INVITE = "member.invite"
MEMBER_REMOVE = "member.remove"
MEMBER_VIEW = "member.view"
TENANT_CREATE = "tenant.create"
WORKSPACE_VIEW = "workspace.view"

register(
    Action(ACCESS_VIEW, "view", "workspace", "See one's own permissions, and the matrix.", records=False),
    Action(MEMBER_CHANGE, "administer", "workspace", "Change a member's role, or name an approver."),
    Action(MEMBER_INVITE, "administer", "workspace", "Invite a person, with a role."),
    Action(MEMBER_REMOVE, "administer", "workspace", "Take a member out of the workspace."),
    Action(MEMBER_VIEW, "view", "workspace", "See who is in the workspace, and as what.", records=False),
    Action(TENANT_CREATE, "operate", "tenant", "Make a tenant with its first workspace."),
    Action(WORKSPACE_VIEW, "view", "workspace", "See a workspace.", records=False),
)
