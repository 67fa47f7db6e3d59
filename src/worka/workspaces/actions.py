"""What can be asked for in workspaces."""

from __future__ import annotations

from worka.kernel.actions import Action, register

ACCESS_VIEW = "access.view"
LIMIT_DEPLOY = "limit.deploy"
LIMIT_SET = "limit.set"
LIMIT_SET_WIDE = "limit.set_wide"
LIMIT_VIEW = "limit.view"
MEMBER_CHANGE = "member.change"
MEMBER_INVITE = "member.invite"
MEMBER_REMOVE = "member.remove"
MEMBER_RESET_FACTOR = "member.reset_second_factor"
MEMBER_VIEW = "member.view"
SERVICE_ACCOUNT_CREATE = "service_account.create"
SERVICE_ACCOUNT_END = "service_account.end"
SERVICE_ACCOUNT_TOKEN = "service_account.token"  # noqa: S105 - the name of an action
SERVICE_ACCOUNT_VIEW = "service_account.view"
TENANT_CREATE = "tenant.create"
TENANT_VIEW = "tenant.view"
WORKSPACE_VIEW = "workspace.view"

register(
    Action(ACCESS_VIEW, "view", "workspace", "See one's own permissions, and the matrix.", records=False),
    Action(LIMIT_DEPLOY, "operate", "tenant", "Set a limit for every tenant, or for one of them."),
    Action(LIMIT_SET, "own", "workspace", "Set a limit of a workspace, or of one of its members."),
    Action(LIMIT_SET_WIDE, "own", "tenant", "Set a limit of the tenant (an owner of all its workspaces)."),
    Action(LIMIT_VIEW, "view", "workspace", "See the limits, and how much of them is in use.", records=False),
    Action(MEMBER_CHANGE, "administer", "workspace", "Change a member's role, or name an approver."),
    Action(MEMBER_INVITE, "administer", "workspace", "Invite people to the workspace."),
    Action(MEMBER_REMOVE, "administer", "workspace", "Take a member out of the workspace."),
    Action(MEMBER_RESET_FACTOR, "own", "workspace", "Take the second factor from a member who lost it."),
    Action(MEMBER_VIEW, "view", "workspace", "See who is in the workspace, and as what.", records=False),
    Action(SERVICE_ACCOUNT_CREATE, "administer", "workspace", "Make a service account of one's own."),
    Action(SERVICE_ACCOUNT_END, "administer", "service_account", "End a service account, from the next call on."),
    Action(SERVICE_ACCOUNT_TOKEN, "change", "service_account", "Make a token of a service account of one's own."),
    Action(SERVICE_ACCOUNT_VIEW, "view", "workspace", "See the service accounts and their owners.", records=False),
    Action(TENANT_CREATE, "operate", "tenant", "Make a tenant with its first workspace."),
    Action(TENANT_VIEW, "operate", "tenant", "See which tenants there are, by id.", records=False),
    Action(WORKSPACE_VIEW, "view", "workspace", "See a workspace.", records=False),
)
