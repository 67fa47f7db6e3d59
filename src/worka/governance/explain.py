"""Why something was allowed, denied or asked about, for whom it concerns and for who reads evidence."""

from __future__ import annotations

from worka.governance import kills, service
from worka.kernel.context import Context
from worka.kernel.explanation import Evidence, Explanation, NextAction, Scope

_REASONS = {
    ("allow", "authorization"): "allowed",
    ("ask", "governance"): "approval_asked",
    ("deny", "authorization"): "denied_by_access",
    ("deny", "governance"): "denied_by_governance",
}
_SCOPES: dict[str, Scope] = {"authorization": "user", "governance": "tenant"}
_VERBS = {"allow": "was allowed", "deny": "was denied", "ask": "needs an approval first"}


async def explain(ctx: Context, decision_id: str) -> Explanation:
    """The explanation of a decision. Raises DecisionNotFound."""
    found = await service.decision(ctx, decision_id)
    why = f": {'; '.join(found['reasons'])}" if found["reasons"] else ""
    rules = found.get("policy", [])
    killed = found["killed_by"] is not None
    return Explanation(
        subject=decision_id,
        headline=f"{found['action']} {_VERBS[found['verdict']]}{why}",
        state=found["verdict"],
        reason=kills.REASON if killed else _REASONS[(found["verdict"], found["layer"])],
        since=found["at"],
        layer=found["layer"],
        timing="before_start",
        # Access is about this principal; a governance rule holds for everybody in the tenant.
        scope=_SCOPES[found["layer"]],
        evidence=[
            Evidence(kind="trace", ref=found["trace_id"]),
            *(Evidence(kind="rule", ref=rule["rule"], label=rule["source"]) for rule in rules),
        ],
        next=[NextAction(label=found["remedy"], command=f"worka decision show {decision_id}")]
        if found["remedy"]
        else [],
        observed_at=found["at"],
    )
