"""What can be asked for in approvals."""

from __future__ import annotations

from worka.kernel.actions import Action, register

APPROVAL_CONFIRM = "approval.confirm"
APPROVAL_DECIDE = "approval.decide"
APPROVAL_VIEW = "approval.view"
APPROVAL_WITHDRAW = "approval.withdraw"

register(
    Action(APPROVAL_CONFIRM, "change", "approval", "Confirm what is done on one's own behalf."),
    Action(APPROVAL_DECIDE, "approve", "approval", "Approve or reject what somebody else asked for."),
    Action(APPROVAL_VIEW, "view", "approval", "See approvals, what they block, and who may decide.", records=False),
    Action(APPROVAL_WITHDRAW, "change", "approval", "Take back what one has asked for oneself."),
)
