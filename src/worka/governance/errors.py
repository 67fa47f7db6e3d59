"""Problems of governance.

Invalid ── BadPolicy        NotFound ── DecisionNotFound, PolicyNotFound        Conflict ── PolicyMoved
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Invalid, NotFound


class BadPolicy(Invalid):
    """The text is not acceptable; `errors` holds [{statement, line, message}]."""

    code, title = "bad_policy", "This policy cannot be saved"
    default_remedy = "Correct the statements named in `errors`; docs/reference/policy.md lists actions and facts."


class DecisionNotFound(NotFound):
    """No such decision, or none that concerns the reader."""

    code, title = "decision_not_found", "There is no such decision for you"


class PolicyNotFound(NotFound):
    """No such version."""

    code, title = "policy_not_found", "There is no such policy version"


class PolicyMoved(Conflict):
    """Somebody saved a version at the same moment."""

    code, title = "policy_moved", "Another version was saved meanwhile"
