"""Problems of workspaces.

NotFound ── WorkspaceNotFound, MemberNotFound, InvitationNotFound, AccountNotFound, TenantNotFound
Conflict ── SlugTaken, AlreadyMember, LastOwner, InvitationOpen, InvitationOver, AccountEnded, LimitMoved, QuotaFull
Denied ── SignsInElsewhere, InvitationHeld       Invalid ── LimitTooHigh       TooMany ── RateReached
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, TooMany


class WorkspaceNotFound(NotFound):
    """There is no such workspace for the caller; whether it exists for others is secret."""

    code, title = "workspace_not_found", "There is no such workspace here"


class MemberNotFound(NotFound):
    """Nobody of this id in the workspace."""

    code, title = "member_not_found", "There is no such member here"


class SlugTaken(Conflict):
    """The short name of a tenant is in use."""

    code, title = "slug_taken", "This short name is taken"
    default_remedy = "Choose another slug."


class AlreadyMember(Conflict):
    """The person has a role here."""

    code, title = "already_member", "They are a member already"
    default_remedy = "Change the role instead."


class InvitationOpen(Conflict):
    """The address holds an invitation into this workspace that still opens it. `invitation`: its id."""

    code, title = "invitation_open", "An invitation to this address is open"
    default_remedy = "Send it again, or take it back first."


class LastOwner(Conflict):
    """A workspace keeps at least one owner."""

    code, title = "last_owner", "A workspace keeps one owner at least"
    default_remedy = "Make somebody else an owner first."


class SignsInElsewhere(Denied):
    """A person's sign-in opens more than the workspaces that the caller owns: it is not the caller's to weaken."""

    code, title = "signs_in_elsewhere", "Their sign-in is not this workspace's alone"
    default_remedy = "Ask an operator of the deployment to reset it."


class InvitationNotFound(NotFound):
    """No invitation of this id in the workspace."""

    code, title = "invitation_not_found", "There is no such invitation here"


class InvitationOver(Conflict):
    """It was accepted or taken back."""

    code, title = "invitation_over", "This invitation is over"
    default_remedy = "Invite the person again, if they should come."


class InvitationHeld(Denied):
    """Who sent it is stopped by a kill switch: what they set in motion waits. Whoever holds it is not told by whom or why."""

    code, title = "invitation_held", "This invitation opens nothing for now"
    default_remedy = (
        "Ask an owner or admin of the workspace for a link of their own (`worka member resend`, or New link in People and"
        " access). This one opens again when its sender is no longer stopped; trying it uses nothing up."
    )


class TenantNotFound(NotFound):
    """No tenant of this id."""

    code, title = "tenant_not_found", "There is no such tenant"


class LimitMoved(Conflict):
    """Somebody set the same limit meanwhile."""

    code, title = "limit_moved", "This limit was set by somebody else meanwhile"
    default_remedy = "Read it again (`worka limits show`) and decide on what it is now."


class LimitTooHigh(Invalid):
    """A layer only tightens what the one above left."""

    code, title = "limit_above_its_layer", "A limit cannot be higher than the one above it"
    default_remedy = "Set it no higher, or have the limit above it raised first."


class QuotaFull(Conflict):
    """As many are there as a limit allows. `limit`, `use`, `scope`, `name`, `who_can_raise`."""

    code, title = "quota_full", "A limit leaves no room for one more"
    default_remedy = "Take one away, or ask whoever set the limit to raise it."


class RateReached(TooMany):
    """As many were done in the window as a limit allows. `limit`, `use`, `scope`, `name`, `retry_after`, `who_can_raise`."""

    code, title = "rate_limit_reached", "A limit leaves no room for one more now"
    default_remedy = "Wait, then try again: the answer says when (Retry-After). Whoever set the limit can raise it."


class AccountNotFound(NotFound):
    """No service account of this id in the workspace."""

    code, title = "service_account_not_found", "There is no such service account here"


class AccountEnded(Conflict):
    """It acts no more."""

    code, title = "service_account_ended", "This service account has ended"
    default_remedy = "Make another one: an ended one does not come back."
