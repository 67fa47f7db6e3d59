"""Whether policy still asks for an approval as it did when it was asked for (decisions.md 14).

The digest says what would be done; the version of policy stands beside it. Where a later version asks other people, nobody,
or refuses, nobody decides by the old rules: the approval is superseded, and what waits for it asks anew.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from worka.approvals.seats import parse_rules
from worka.kernel.context import Context, Decision

Row = dict[str, Any]


async def now_asked(ctx: Context, row: Row) -> Decision | None:
    """What policy says now, where that is something else than this approval asks; in the open transaction. None: the same,
    or its record does not tell, and then the decision at its use does (`service.redeem`)."""
    found = await ctx.authorizer.again(ctx, row["decision_id"])
    return found if found is not None and differs(row, found) else None


def wanted(own: Collection[str], decision: Decision) -> list[str]:
    """The rules of an approval: what policy asks for, and what the domain asks for of its own, whatever policy says (`own`:
    kept with the approval). Empty: nobody is asked, or it is refused. The one place that joins the two. Pure."""
    asked = decision.approval_rules if decision.verdict == "ask" else ()
    if decision.verdict == "deny" or (decision.verdict == "allow" and not own):
        return []
    return [str(rule) for rule in parse_rules([*asked, *own])]


def differs(row: Row, decision: Decision) -> bool:
    """Whether consent by the approval's rules is not what this decision, and its domain, ask for. Pure."""
    return sorted(wanted(row["own_rules"], decision)) != sorted(row["rules"])


def told(row: Row, decision: Decision) -> Row:
    """What is kept of it, and told: {verdict, rules, policy_version, by, because}. Pure."""
    rules = [str(rule) for rule in parse_rules(decision.approval_rules)] if decision.verdict == "ask" else []
    beside = f"beside {', '.join(row['own_rules'])}" if row["own_rules"] else "to it"
    # The shipped floor asks as it did: what moved is a text above it.
    by = [rule for rule in decision.rules if not rule.partition("/")[2].startswith("floor")] or list(decision.rules)
    says = {
        "ask": f"policy asks for {', '.join(rules)} now",
        "allow": f"policy asks for no consent {beside} any more",
        "deny": "policy refuses it now" + (f" ({decision.reasons[0]})" if decision.reasons else ""),
    }[decision.verdict]
    return {
        "verdict": decision.verdict,
        "rules": rules,
        "policy_version": decision.policy_version,
        "by": by,
        "because": f"{says}, by {by[0] if by else decision.policy_version}",
    }
