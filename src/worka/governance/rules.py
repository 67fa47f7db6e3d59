"""The gate: allow, deny or ask, from the governance set alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from worka.approvals.rules import parse_rules
from worka.authorization import cedar
from worka.authorization.cedar import Policies, Request
from worka.kernel import actions
from worka.kernel.context import Verdict
from worka.kernel.reasons import Reason, register

CURRENT_FLOOR = 4
NOBODY_TO_ASK = "A rule asks for an approval first, and this action cannot wait for one."
ERROR = "governance/error"

register(
    Reason(
        "allowed",
        "governance",
        "authorization",
        "A role permits it, and governance does not object.",
        causes="A role of whoever acts, and of the person behind it, holds the permission.",
        check="worka decision show ID (owner, admin): the rules that matched, and the inputs.",
        remedy="None is needed. To refuse it from now on, save a policy version that forbids it.",
    ),
    Reason(
        "approval_asked",
        "governance",
        "governance",
        "It is permitted, and policy wants a person's consent first.",
        causes="The action crosses a boundary: an attachment with rights, an outside system, an outside effect.",
        check="worka decision show ID: the rule, and how many have to approve.",
        remedy="It goes on when the approval is given.",
    ),
    Reason(
        "denied_by_governance",
        "governance",
        "governance",
        "A governance policy refuses this action, whoever asks.",
        causes="The shipped floor, or a policy version of the tenant.",
        check="worka decision show ID (owner, admin): the rule, its text on that day, and the inputs.",
        remedy="Do it another way, or ask an owner about the policy; the shipped floor cannot be loosened.",
    ),
)


@dataclass(frozen=True)
class Gate:
    """The gate's answer. `approval_rules` are set for ask: every one of them applies."""

    verdict: Verdict
    rules: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    approval_rules: tuple[str, ...] = ()
    remedy: str = ""


def gate(request: Request, policies: Policies) -> Gate:
    """Any error denies (Cedar skips a forbid that errors); any matching deny denies; else every matching ask asks, and
    refuses where the action cannot wait: what a rule wants a consent for is not done without it."""
    outcome = cedar.evaluate(request, policies)
    if outcome.errors:
        return Gate("deny", (ERROR,), (f"Policy could not be evaluated: {outcome.errors[0]}",), (), _DEFAULT_REMEDY)
    if outcome.allowed:
        return Gate("allow")
    notes = {rule: policies.annotations[rule] for rule in outcome.matched}
    denying = [rule for rule in outcome.matched if notes[rule].get("verdict") != "ask"]
    if denying or not notes:
        remedy = next((notes[rule]["remedy"] for rule in denying if notes[rule].get("remedy")), _DEFAULT_REMEDY)
        return Gate(
            "deny", tuple(denying) or (ERROR,), tuple(_reason(rule, notes[rule]) for rule in denying), (), remedy
        )
    reasons = tuple(_reason(rule, notes[rule]) for rule in outcome.matched)
    known = actions.get(request.action)
    if known is None or not known.waits:
        return Gate("deny", outcome.matched, (*reasons, NOBODY_TO_ASK), (), _SPARED_REMEDY)
    return Gate(
        "ask",
        outcome.matched,
        reasons,
        # In approvals' own words, so that equal rules are equal texts: of two quorums the higher.
        tuple(str(rule) for rule in parse_rules(notes[matched]["rule"] for matched in outcome.matched)),
        "It goes on when the approval is given.",
    )


_SPARED_REMEDY = "Let somebody do it whom the rule spares, or have an owner change the rule."
_DEFAULT_REMEDY = "Policy refuses this for everyone; an owner can say why, and change what the tenant itself added."


def _reason(rule: str, notes: dict[str, str]) -> str:
    return notes.get("reason") or f"Policy {rule} applies."


@lru_cache(maxsize=8)
def floor_text(number: int) -> str:
    """The shipped set of this version. Raises LookupError for one that this build does not have."""
    try:
        return resources.files("worka.governance").joinpath("floors", f"{number}.cedar").read_text()
    except FileNotFoundError as error:
        raise LookupError(f"governance floor.{number} is not in this build") from error


@lru_cache(maxsize=8)
def floor(number: int = CURRENT_FLOOR) -> Policies:
    """The shipped set, parsed; its ids begin with `governance/floor/`."""
    return cedar.load(floor_text(number), "governance/floor")
