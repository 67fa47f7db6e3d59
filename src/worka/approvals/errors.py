"""Problems of approvals.

NotFound ── ApprovalNotFound, GroupNotFound, DelegationNotFound, BypassNotFound
Denied   ── NotEligible, StepUpRequired, ForeignDelegation
Conflict ── DigestChanged, RuleChanged, NotOpen, ApprovalUsed, GroupExists, GroupInUse, DelegateOfDelegate, DelegationOver, BypassOver
Invalid  ── NotAPerson, BadDelegation, BadSettings, BadBypass
"""

from __future__ import annotations

from worka.kernel import ids
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound


class ApprovalNotFound(NotFound):
    """No such approval in a workspace of the reader."""

    code, title = "approval_not_found", "There is no such approval here"


def not_found(approval_id: str) -> ApprovalNotFound:
    """What is told of an id under which the reader sees no approval. What another kind of id says by itself is no
    secret."""
    kind = ids.prefix_of(approval_id)
    if kind and kind != "apr":
        return ApprovalNotFound(
            f"{approval_id} is the id of another kind of thing, not of an approval.",
            remedy=f"`worka why {approval_id}` explains it, if it is in a workspace of yours.",
        )
    return ApprovalNotFound(f"{approval_id} is not in a workspace of yours.")


class NotEligible(Denied):
    """The reader may not decide this one; the detail says why, the remedy who could."""

    code, title = "not_eligible", "You may not decide this approval"
    default_remedy = "Somebody else has to decide it."


class StepUpRequired(Denied):
    """Its rule wants a second factor that was given just now, in the session that decides."""

    code, title = "step_up_required", "This decision needs a fresh second factor"
    default_remedy = (
        "Give a code of your second factor with the decision (`--code`, or `code` in the request), or step this session up"
        " first. If you have none: set one up (`worka me second-factor set-up`, or your name in the console)."
    )


class DigestChanged(Conflict):
    """What is asked for now is not what the reader saw."""

    code, title = "digest_changed", "What would be approved is not what you saw"
    default_remedy = "Read the approval again and decide on the digest that it has now."


class RuleChanged(Conflict):
    """Policy moved since it was asked for, and asks something else now: nothing is decided by rules that hold no more."""

    code, title = "rule_changed", "Policy asks something else by now"
    default_remedy = "Decide the approval that takes its place."


class NotOpen(Conflict):
    """It is decided, expired or withdrawn."""

    code, title = "approval_not_open", "This approval is not open any more"
    default_remedy = "Nothing is to be decided; ask again for a new approval if the action is still wanted."


class ApprovalUsed(Conflict):
    """It was used, or is not usable for this."""

    code, title = "approval_not_usable", "This approval cannot be used for this action"
    default_remedy = "Ask again: each use, and each change of the action, needs its own approval."


class GroupNotFound(NotFound):
    """No such group in a workspace of the reader."""

    code, title = "group_not_found", "There is no such group here"
    default_remedy = "`worka group list` shows the groups of the workspace."


class GroupExists(Conflict):
    """The name is taken, or is a role's."""

    code, title = "group_exists", "There is a group of this name already"
    default_remedy = "Choose another name, or change the group that is there: worka group list."


class GroupInUse(Conflict):
    """Open approvals wait for its members."""

    code, title = "group_in_use", "Open approvals name this group"
    default_remedy = "Have them decided first (worka approvals list), or they would wait for nobody."


class NotAPerson(Invalid):
    """Only people who are in the workspace are in its groups and stand in for one another."""

    code, title = "not_a_member_person", "This is not a person of the workspace"
    default_remedy = "Name a person who is a member (`worka member list`); invite them first (`worka member invite`)."


class BadDelegation(Invalid):
    """It would delegate what its giver does not have, to themselves, or for no time that is left."""

    code, title = "bad_delegation", "This cannot be delegated so"
    default_remedy = "Delegate what you may decide yourself, to somebody else, until a time to come."


class DelegateOfDelegate(Conflict):
    """A chain: who decides for another cannot pass it on, and who has passed it on cannot take another's."""

    code, title = "delegate_of_delegate", "A delegate does not delegate further"
    default_remedy = "Choose somebody who is no delegate in that time, or end the other delegation first."


class DelegationNotFound(NotFound):
    """No such delegation in a workspace of the reader."""

    code, title = "delegation_not_found", "There is no such delegation here"
    default_remedy = "`worka approvals delegations` lists them."


class ForeignDelegation(Denied):
    """Neither given nor taken by the reader, who owns nothing here either."""

    code, title = "foreign_delegation", "This delegation is between others"
    default_remedy = "Who gave it, who was given it, or an owner ends it."


class DelegationOver(Conflict):
    """It has ended."""

    code, title = "delegation_over", "This delegation has ended already"
    default_remedy = "Nothing is to be ended."


class BadSettings(Invalid):
    """A value beyond what the deployment allows, or an escalation to nobody."""

    code, title = "bad_approval_settings", "Approvals cannot be set so"
    default_remedy = "Stay within what the deployment allows; detail names it."


class BadBypass(Invalid):
    """Beyond the deployment's cap, without an end to come, or of something that is never bypassed."""

    code, title = "bad_bypass", "No such bypass can be opened"
    default_remedy = "Stay within the deployment's cap, and name one boundary or one tool."


class BypassNotFound(NotFound):
    """No such bypass in a workspace of the reader."""

    code, title = "bypass_not_found", "There is no such bypass here"
    default_remedy = "`worka approvals bypass list` lists them."


class BypassOver(Conflict):
    """It is closed."""

    code, title = "bypass_over", "This bypass is closed already"
    default_remedy = "Nothing is to be closed."
