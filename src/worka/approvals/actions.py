"""What can be asked for in approvals."""

from __future__ import annotations

from worka.kernel.actions import Action, register

APPROVAL_CONFIRM = "approval.confirm"
APPROVAL_DECIDE = "approval.decide"
APPROVAL_DECIDE_FOR = "approval.decide_for"
APPROVAL_MEASURE = "approval.measure"
APPROVAL_SETTINGS = "approval.settings.change"
APPROVAL_VIEW = "approval.view"
APPROVAL_WITHDRAW = "approval.withdraw"
BYPASS_CLOSE = "approval.bypass.close"
BYPASS_OPEN = "approval.bypass.open"
DELEGATION_CREATE = "approval.delegation.create"
DELEGATION_END = "approval.delegation.end"
GROUP_CHANGE = "approval.group.change"
GROUP_CREATE = "approval.group.create"
GROUP_DELETE = "approval.group.delete"

register(
    Action(BYPASS_CLOSE, "own", "workspace", "End a bypass of approvals."),
    Action(
        BYPASS_OPEN,
        "own",
        "workspace",
        "Let approvals of a boundary or tool through for a while, recorded.",
        waits=True,
    ),
    Action(APPROVAL_CONFIRM, "change", "approval", "Confirm what is done on one's own behalf."),
    Action(APPROVAL_DECIDE, "approve", "approval", "Approve or reject what somebody else asked for."),
    Action(APPROVAL_DECIDE_FOR, "view", "approval", "Approve or reject in the place of somebody who delegated it."),
    Action(DELEGATION_CREATE, "approve", "workspace", "Delegate deciding approvals to somebody until a date."),
    Action(DELEGATION_END, "view", "workspace", "End a delegation that one gave or was given."),
    Action(GROUP_CHANGE, "administer", "workspace", "Change who is in a group that approval rules name."),
    Action(GROUP_CREATE, "administer", "workspace", "Make a group that approval rules can name."),
    Action(GROUP_DELETE, "administer", "workspace", "Delete a group of approvers."),
    Action(APPROVAL_MEASURE, "audit", "workspace", "See how everybody decides: how fast, and how often unread."),
    Action(APPROVAL_SETTINGS, "own", "workspace", "Set when approvals remind, escalate and expire."),
    Action(APPROVAL_VIEW, "view", "approval", "See approvals, what they block, and who may decide.", records=False),
    Action(APPROVAL_WITHDRAW, "change", "approval", "Take back what one has asked for oneself."),
)
