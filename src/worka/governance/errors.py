"""Problems of governance.

BadRequest ── BadPageToken, IncompleteEvaluation, WorkspaceRequired        Conflict ── AlreadyKilled, KillMoved, PolicyMoved
Invalid ── BadPolicy, BadWindow, FactUnknown, NotListed, PolicyLocksOut, UnknownAction        Denied ── Killed, UseRefused
NotFound ── DecisionNotFound, KillNotFound, PolicyNotFound, PrincipalNotFound, ProposalNotFound, ResourceNotFound
"""

from __future__ import annotations

from worka.kernel.errors import BadRequest, Conflict, Denied, Invalid, NotFound


class BadPolicy(Invalid):
    """The text is not acceptable; `errors` holds [{statement, line, message}]."""

    code, title = "bad_policy", "This policy cannot be saved"
    default_remedy = "Correct the statements named in `errors`; docs/reference/policy.md lists actions and facts."


class BadWindow(Invalid):
    """The window of a dry run cannot be read."""

    code, title = "bad_window", "This window of time cannot be read"
    default_remedy = "Give `since` and `until` as an ISO 8601 time with its zone, or as an age such as 24h."


class DecisionNotFound(NotFound):
    """No such decision, or none that concerns the reader."""

    code, title = "decision_not_found", "There is no such decision for you"


class KillNotFound(NotFound):
    """No such kill switch, or nothing under the id that it should stop."""

    code, title = "kill_not_found", "There is no such kill switch, or no such thing to stop"


class Killed(Denied):
    """A kill switch stops it; the detail says who set it, when and why, the remedy who can lift it."""

    code, title = "killed", "A kill switch stops this"
    default_remedy = "worka kill list: an owner can lift it."


class UseRefused(Denied):
    """A governance policy refuses that this pack uses this secret there."""

    code, title = "denied_by_governance", "Policy refuses this use"
    default_remedy = "An owner can say why, and change what the tenant itself added to the policy."


class AlreadyKilled(Conflict):
    """It is stopped already."""

    code, title = "already_killed", "It is stopped already"
    default_remedy = "Read the kill switch that is on; lift it to set another."


class KillMoved(Conflict):
    """It cannot go from its state to the one that is asked for."""

    code, title = "kill_moved", "This kill switch is in another state"
    default_remedy = "Read it again; a lift goes first to a trial, then to all."


class PolicyNotFound(NotFound):
    """No such version."""

    code, title = "policy_not_found", "There is no such policy version"


class PolicyLocksOut(Invalid):
    """With this text nobody could see, change or approve policy any more; `errors` names the statements that do it."""

    code, title = "policy_locks_out", "This policy would lock every owner out"
    default_remedy = (
        "Leave a way in: except owners from the statements named in `errors`, or the actions policy.view, policy.save and"
        " approval.decide. If policy is broken already: worka policy break-glass, on the machine."
    )


class ProposalNotFound(NotFound):
    """No such proposed change in a workspace of the reader."""

    code, title = "proposal_not_found", "There is no such proposed change here"


class PolicyMoved(Conflict):
    """Somebody saved a version at the same moment."""

    code, title = "policy_moved", "Another version was saved meanwhile"


class PrincipalNotFound(NotFound):
    """Nobody of this id acts in the workspace: unknown, a stranger to it, and of another tenant are one."""

    code, title = "principal_not_found", "Nobody of this id acts in this workspace"
    default_remedy = (
        "`worka access list --action ACTION` names who acts here; `GET /v1/workspaces/{w}/members` lists all."
    )


class ResourceNotFound(NotFound):
    """No such thing in the workspace."""

    code, title = "resource_not_found", "There is no such thing in this workspace"
    default_remedy = "Check the id; ask with `*` for a new one, or any one, of the action's type."


class UnknownAction(Invalid):
    """An action that nothing here knows."""

    code, title = "unknown_action", "There is no such action"
    default_remedy = "docs/reference/actions.md lists the actions."


class FactUnknown(Invalid):
    """A fact that policy cannot see, or one of another type."""

    code, title = "fact_unknown", "This fact cannot be taken"
    default_remedy = "Write it as name=value, with a name and a type of docs/reference/access.md."


class NotListed(Invalid):
    """Things of this type stand in no list."""

    code, title = "not_listed", "Things of this type are not listed"
    default_remedy = "Ask about one of them by its id, or about any with `*`."


class IncompleteEvaluation(BadRequest):
    """A question without its subject, action or resource, or with one of another shape."""

    code, title = "incomplete_evaluation", "This question is not whole"
    default_remedy = "Give subject {type, id}, action {name} and resource {type, id}, in the evaluation or at the top."


class WorkspaceRequired(BadRequest):
    """The question does not say in which workspace."""

    code, title = "workspace_required", "Name the workspace"
    default_remedy = "Add workspace_id to resource.properties or to context, or use a token of one workspace."


class BadPageToken(BadRequest):
    """The token is not one of ours, or was given for another request."""

    code, title = "bad_page_token", "This page token cannot be used"
    default_remedy = "Send the next_token of the page before with the very same request, or no token to begin anew."
