"""Problems of approvals.

NotFound ── ApprovalNotFound        Denied ── NotEligible
Conflict ── DigestChanged, NotOpen, ApprovalUsed
"""

from __future__ import annotations

from worka.kernel import ids
from worka.kernel.errors import Conflict, Denied, NotFound


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


class DigestChanged(Conflict):
    """What is asked for now is not what the reader saw."""

    code, title = "digest_changed", "What would be approved is not what you saw"
    default_remedy = "Read the approval again and decide on the digest that it has now."


class NotOpen(Conflict):
    """It is decided, expired or withdrawn."""

    code, title = "approval_not_open", "This approval is not open any more"
    default_remedy = "Nothing is to be decided; ask again for a new approval if the action is still wanted."


class ApprovalUsed(Conflict):
    """It was used, or is not usable for this."""

    code, title = "approval_not_usable", "This approval cannot be used for this action"
    default_remedy = "Ask again: each use, and each change of the action, needs its own approval."
