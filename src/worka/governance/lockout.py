"""Would anybody still be able to see, change and approve policy? Asked of a text before it is in force. Pure.

Nothing here is about good policy: it only refuses a text after which the people of a place could not undo it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worka import authorization
from worka.approvals.rules import parse_rules
from worka.authorization.cedar import Policies
from worka.authorization.rules import Actor
from worka.governance import rules, statements
from worka.governance.statements import Fault
from worka.kernel import actions
from worka.kernel.context import Resource

WORDS = {
    "policy.view": "see the policy",
    "policy.save": "change the policy",
    "policy.save_here": "change the policy",
    "policy.deploy": "change the deployment's policy",
    "approval.decide": "approve a change of it",
}


@dataclass(frozen=True)
class Place:
    """One workspace with its people, under the sets as they would be."""

    tenant_id: str
    workspace_id: str
    savers: tuple[Actor, ...]
    people: tuple[Actor, ...]
    access: Policies
    governance: Policies
    save_action: str
    second_person: bool
    """Whether a change needs somebody else's approval whatever policy says."""


@dataclass(frozen=True)
class _Tried:
    allowed: bool
    rules: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


def judge(places: Iterable[Place], prefix: str, text: str) -> list[Fault]:
    """Empty when in some place somebody could see and change policy, and enough others approve; else the statements of
    the text (its rule ids begin with `prefix`) that are in the way. What other layers forbid is not this text's fault."""
    culprits: dict[str, str] = {}
    for place in places:
        for saver in place.savers:
            found = _way_in(place, saver, prefix)
            if found is None:
                return []
            culprits = {**found, **culprits}
    return _located(culprits, text)


def operators(operator: Actor, sets: Mapping[str, Policies], prefix: str, text: str) -> list[Fault]:
    """The same for the deployment's own text: an operator must still be able to save the next one."""
    place = Place("", "", (operator,), (), sets["access"], sets["governance"], "policy.deploy", False)
    tried = _try(place, operator, "policy.deploy", Resource("tenant", "deployment", None, {"kind": "access"}))
    if tried.allowed:
        return []
    return _located({name: WORDS["policy.deploy"] for name in _names(tried, prefix)}, text)


def _way_in(place: Place, saver: Actor, prefix: str) -> dict[str, str] | None:
    """None: this person still has a way in; else {statement of this text: what it stops}."""
    here = Resource("workspace", place.workspace_id, place.workspace_id)
    wanted = [("policy.view", here)]
    for kind in ("access", "governance"):
        policy = Resource("policy", kind, None, {"kind": kind})
        wanted.append((place.save_action, policy if place.save_action == "policy.save" else here))
    found: dict[str, str] = {}
    quorum = 1 if place.second_person else 0
    asking: list[str] = []
    for action, resource in wanted:
        tried = _try(place, saver, action, resource)
        if not tried.allowed:
            found |= {name: WORDS[action] for name in _names(tried, prefix)}
            return found
        if tried.asks:
            quorum = max(quorum, *(rule.quorum for rule in parse_rules(tried.asks) if rule.verb == "approve"), 0)
            asking += [rule.removeprefix(prefix + "/") for rule in tried.rules if rule.startswith(prefix + "/")]
    able = 0
    approval = Resource("approval", "*", place.workspace_id, {"boundary": "policy.change"})
    for person in place.people:
        if person.id == saver.id or able >= quorum:
            continue
        tried = _try(place, person, "approval.decide", approval)
        able += tried.allowed
        found |= {} if tried.allowed else {name: WORDS["approval.decide"] for name in _names(tried, prefix)}
    if able >= quorum:
        return None
    return found | {name: f"approve a change of it ({quorum} others are wanted, {able} could)" for name in asking}


def _try(place: Place, person: Actor, action: str, resource: Resource) -> _Tried:
    asked = authorization.rules.question(person, action, resource, {}, place.tenant_id)
    answer = authorization.rules.decide([asked], actions.get(action), place.access)
    if not answer.allowed:
        return _Tried(False, answer.rules, answer.reasons)
    gate = rules.gate(asked, place.governance)
    return _Tried(gate.verdict != "deny", gate.rules, gate.reasons, gate.approval_rules)


def _names(tried: _Tried, prefix: str) -> list[str]:
    """The statements of this text in a refusal: those that matched, or the one that could not be evaluated."""
    begin = prefix + "/"
    named = [rule.removeprefix(begin) for rule in tried.rules if rule.startswith(begin)]
    return named or re.findall(re.escape(begin) + r"([^`\s]+)", " ".join(tried.reasons))


def _located(culprits: dict[str, str], text: str) -> list[Fault]:
    faults = []
    for name, stopped in culprits.items():
        place = statements.place_of(text, name)
        number, line = (place[0], place[1].line) if place else (0, 1)
        faults.append(
            Fault(number, line, f"this locks every owner out: nobody could {stopped} any more, and so never undo it")
        )
    return sorted(faults, key=lambda fault: fault.statement)
