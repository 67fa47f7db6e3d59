"""What a recorded decision would be under other sets, or with another role: the arithmetic of a dry run. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from worka import authorization
from worka.approvals.rules import parse_rules
from worka.authorization.cedar import Policies, Request
from worka.authorization.rules import Answer
from worka.governance import kills, rules
from worka.governance.rules import Gate
from worka.kernel import actions
from worka.kernel.context import Verdict
from worka.kernel.redact import MASK

VERBS: dict[str, str] = {"allow": "allowed", "ask": "asked", "deny": "denied"}
OTHERS = "asked other people, or more of them,"
"""It was asked about then, too: whose consent it wants is what changes."""


@dataclass(frozen=True)
class Sets:
    """Both sets that answer a question."""

    access: Policies
    governance: Policies


@dataclass(frozen=True)
class Said:
    """The answer that matters to whoever asked: the verdict, whose consent it wants, and why."""

    verdict: Verdict
    approval_rules: tuple[str, ...]
    rules: tuple[str, ...]
    reasons: tuple[str, ...]

    def differs(self, verdict: str, approval_rules: Iterable[str]) -> bool:
        """Another verdict, or the consent of others or of more people."""
        if self.verdict != verdict:
            return True
        return self.verdict == "ask" and _asked(self.approval_rules) != _asked(approval_rules)


def _asked(texts: Iterable[str]) -> list[str]:
    return sorted(str(rule) for rule in parse_rules(texts))


def answer(requests: list[Request], sets: Sets) -> Said:
    """The same two questions that `ctx.require` asks."""
    found = access(requests, sets.access)
    if not found.allowed:
        return Said("deny", (), found.rules, found.reasons)
    gate: Gate = rules.gate(requests[0], sets.governance)
    if gate.verdict == "allow":
        return Said("allow", (), found.rules, ())
    return Said(gate.verdict, gate.approval_rules, gate.rules, gate.reasons)


def access(requests: list[Request], policies: Policies, by: Iterable[str] = ()) -> Answer:
    """What access says. The platform holds no right: what it may do on its own stands in a recorded rule (`by`), and was
    let through there by somebody who may write it (`uses.of_platform`)."""
    if requests[0].kind == "platform":
        return Answer(True, tuple(by), ())
    return authorization.rules.decide(requests, actions.get(requests[0].action), policies)


def requests_of(row: dict[str, Any]) -> list[Request]:
    """The questions of a recorded decision, as they were asked. Raises LookupError naming what is missing for that."""
    kept = row["context"]
    if row["rules"] and row["rules"][0].startswith(kills.PREFIX):
        raise LookupError("a kill switch decided it, not policy")
    if actions.get(row["action"]) is None:
        raise LookupError(f"the action {row['action']} is not known to this build")
    for part in ("attrs", "facts", "actors"):
        if part not in kept or (part == "actors" and not kept[part]):
            raise LookupError(f"its record holds no {part}")
    return [
        Request(
            kind=actor["kind"],
            id=actor["id"],
            enabled=actor["enabled"],
            roles=tuple(actor["roles"]),
            may_use=tuple(actor["may_use"]),
            action=row["action"],
            resource_type=row["resource_type"],
            resource_id=row["resource_id"],
            workspace_id=row["workspace_id"],
            tenant_id=row["tenant_id"],
            attrs=kept["attrs"],
            context=kept["facts"],
        )
        for actor in kept["actors"]
    ]


def missing(requests: list[Request]) -> str:
    """Which fact of the record is not what was decided on: masked, so that no secret is kept. Empty: none."""
    first = requests[0]
    masked = [name for name, value in {**first.attrs, **first.context}.items() if MASK in json.dumps(value)]
    return f"the fact {', '.join(sorted(masked))} was masked when it was recorded" if masked else ""


def unrecorded(row: dict[str, Any], *asked: Sets) -> str:
    """Which arguments of a call these sets ask for that its record does not speak of. Empty: none."""
    if row["action"] != "tool.invoke":
        return ""
    names = frozenset().union(*(one.access.arguments | one.governance.arguments for one in asked))
    lacking = sorted(names - set(row["context"].get("arguments", ())))
    return f"the argument {', '.join(lacking)} was not recorded: no policy asked for it then" if lacking else ""


def with_role(requests: list[Request], principal_id: str, roles: tuple[str, ...]) -> list[Request]:
    """The questions if this principal held exactly these roles there. What it is beside them stays: an operator, and a
    named approver who is still a member."""
    return [
        replace(
            request,
            roles=tuple(
                sorted({*roles, *(({"operator", "approver"} if roles else {"operator"}) & set(request.roles))})
            ),
        )
        if request.id == principal_id
        else request
        for request in requests
    ]


def sentence(flips: Iterable[dict[str, Any]], scanned: int, unreconstructed: int, window: str) -> str:
    """What a person reads first: how often it would say something else than what is in force."""
    flips = list(flips)
    counts = Counter(
        OTHERS if flip["today"] == flip["to"] else VERBS[flip["to"]] for flip in flips if not flip["earlier"]
    )
    parts = [
        f"{word} {counts[word]} {'time' if counts[word] == 1 else 'times'}"
        for word in (*VERBS.values(), OTHERS)
        if counts[word]
    ]
    said = ", ".join(parts) if parts else "decided nothing differently"
    before = sum(bool(flip["earlier"]) for flip in flips)
    since = (
        f"; {before} {'is' if before == 1 else 'are'} decided differently since then by earlier changes"
        if before
        else ""
    )
    rest = f"; {unreconstructed} could not be evaluated again" if unreconstructed else ""
    return f"In {window} this would have {said}, of {scanned} recorded decisions{since}{rest}."
