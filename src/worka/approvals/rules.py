"""Pure rules of approvals: what is bound, who may decide, when it is decided. No clock, no database.

`eligible` is the one function that says who may decide; card, list, explanation and decision all call it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from worka.kernel import canonical
from worka.kernel.reasons import Reason, register
from worka.kernel.states import State, StateMachine, machine

Verb = Literal["confirm", "approve"]
_RULE = re.compile(r"^(confirm|approve)(?::([1-9]))?$")

register(
    Reason(
        "waiting_for_approver", "approvals", "approval", "Somebody who may decide has not decided yet.",
        causes="It was asked a short while ago; those who may decide have not seen it, or are away.",
        check="worka approvals show ID: who may decide, who has, what is missing.",
        remedy="Ask one of those named to decide; where nobody is named, an owner can name an approver.",
    ),
    Reason(
        "waiting_for_confirmation", "approvals", "approval", "The person this is done for has not confirmed it yet.",
        causes="A rule wants the consent of the originating person, whose turn it is.",
        check="worka approvals show ID: who is asked, since when, and until when.",
        remedy="The person it is done for confirms or rejects it, in the console or with `worka approvals approve ID`.",
    ),
    Reason(
        "nobody_can_decide", "approvals", "approval", "Too few people in the workspace may decide this approval.",
        causes="Four eyes leave out whoever asked, and the owner of the AI team member that acts.",
        check="worka approvals show ID: how many are wanted, who is left, and why the others are not.",
        remedy="Name an approver, or invite an admin: then they can decide.",
    ),
    Reason(
        "approved", "approvals", "approval", "It is approved and may be used once, until it expires.",
        causes="Everybody who was wanted has said yes, and what it was given for was not begun yet.",
        check="worka approvals show ID: who approved, the digest, and when it expires.",
        remedy="None is needed for a task, which goes on by itself. A call is repeated with the same idempotency key.",
    ),
    Reason(
        "used", "approvals", "approval", "It was approved, and the action was begun with it.",
        causes="The action reached its intent; a retry of the same intent is the same use.",
        check="worka approvals show ID: what used it, and when.",
        remedy="None is needed; another action asks for an approval of its own.",
    ),
    Reason(
        "rejected", "approvals", "approval", "Somebody who may decide has said no.",
        causes="The card showed something that should not be done, or not now, or not so.",
        check="worka approvals show ID: who rejected it, when, and the comment.",
        remedy="Read the comment; ask again if it changed.",
    ),
    Reason(
        "expired", "approvals", "approval", "Nobody decided, or used it, in time.",
        causes="Those who may decide did not within WORKA_APPROVALS__EXPIRES_HOURS, or nobody began what was approved.",
        check="worka approvals show ID: when it was asked, when it expired, and who could have decided.",
        remedy="Ask again, and tell those who may decide beforehand.",
    ),
    Reason(
        "withdrawn", "approvals", "approval", "Whoever asked took it back, or what it was for has ended.",
        causes="The requester withdrew it, or its task was cancelled, or what it was for was removed.",
        check="worka changes: the entry that withdrew it, and its cause.",
        remedy="Ask again if it is still wanted: the action itself asks by being tried again.",
    ),
    Reason(
        "superseded", "approvals", "approval", "What would be done is no longer what was approved.",
        causes="Arguments, release or target changed, or policy now says something else.",
        check="worka approvals show ID: its digest, and the approval that took its place.",
        remedy="Read what is different, and decide the new approval that took its place.",
    ),
)  # fmt: skip

APPROVAL = machine(
    StateMachine(
        name="approval",
        states=[
            State("open", reasons=("waiting_for_approver", "waiting_for_confirmation", "nobody_can_decide")),
            State("approved", reasons=("approved", "used")),
            State("rejected", terminal=True, reasons=("rejected",)),
            State("expired", terminal=True, reasons=("expired",)),
            State("withdrawn", terminal=True, reasons=("withdrawn",)),
            State("superseded", terminal=True, reasons=("superseded",)),
        ],
        transitions=[
            ("open", "approved"),
            ("open", "rejected"),
            ("open", "expired"),
            ("open", "withdrawn"),
            ("open", "superseded"),
            ("approved", "superseded"),
            ("approved", "expired"),
            ("approved", "withdrawn"),
        ],
    )
)


@dataclass(frozen=True)
class Rule:
    """`approve:2`: two people other than those who asked; `confirm`: the person behind it."""

    verb: Verb
    quorum: int

    def __str__(self) -> str:
        return self.verb if self.verb == "confirm" else f"approve:{self.quorum}"


def parse_rule(text: str) -> Rule:
    """Reads `confirm`, `approve` or `approve:<1 to 9>`. Raises ValueError."""
    match = _RULE.match(text.strip())
    if match is None or (match[1] == "confirm" and match[2] not in (None, "1")):
        raise ValueError(f"{text!r} is no approval rule: use confirm, approve or approve:N with N from 1 to 9")
    return Rule("confirm" if match[1] == "confirm" else "approve", int(match[2] or 1))


def parse_rules(texts: Iterable[str]) -> list[Rule]:
    """All of them apply; of several with one verb the highest quorum counts. Without any: one approver."""
    found: dict[Verb, int] = {}
    for rule in map(parse_rule, texts):
        found[rule.verb] = max(found.get(rule.verb, 0), rule.quorum)
    return [Rule(verb, quorum) for verb, quorum in sorted(found.items())] or [Rule("approve", 1)]


def digest(
    *,
    action: str,
    arguments: Any,
    tool: str | None,
    release: str | None,
    attachment: str | None,
    workspace: str,
    connection: str | None,
    target_host: str | None,
    initiator: str,
    originating_person: str | None,
) -> str:
    """SHA-256, hex, over the RFC 8785 form of exactly what would be done (decisions.md 14). `release` is the release's
    digest. The policy version stands beside it, not in it. Raises ValueError for arguments that JSON cannot hold."""
    return canonical.sha256_hex(
        {
            "v": 1,
            "action": action,
            "arguments": arguments,
            "tool": tool,
            "release": release,
            "attachment": attachment,
            "workspace": workspace,
            "connection": connection,
            "target_host": target_host,
            "initiator": initiator,
            "originating_person": originating_person,
        }
    )


@dataclass(frozen=True)
class Ask:
    """What the rules need of an approval."""

    state: str
    rules: tuple[Rule, ...]
    four_eyes: bool
    originating_person: str | None
    acting_owner: str | None
    expires_at: datetime
    voters: tuple[tuple[str, str], ...] = ()
    """(person, approve or reject)."""

    @classmethod
    def of(cls, row: dict[str, Any], votes: Iterable[dict[str, Any]]) -> Ask:
        """From a row and its votes."""
        return cls(
            row["state"],
            tuple(parse_rules(row["rules"])),
            row["four_eyes"],
            row["originating_person"],
            row["acting_owner"],
            row["expires_at"],
            tuple((vote["person_id"], vote["decision"]) for vote in votes),
        )


@dataclass(frozen=True)
class Reader:
    """Somebody who looks at an approval. `may_approve`: policy gives them the approve permission here, now."""

    kind: str
    id: str
    may_approve: bool
    member: bool = True


@dataclass(frozen=True)
class Eligibility:
    """Whether a reader may decide, in which way, and why in words addressed to them."""

    eligible: bool
    because: str
    verb: Verb | None = None


def eligible(ask: Ask, reader: Reader, at: datetime) -> Eligibility:
    """Who may decide an approval: the only place that says so.

    A person, while it is open, once. `approve` needs the approve permission, and under four eyes neither the person
    behind the action nor the owner of the team member that acts. `confirm` is the person behind it alone. Where no
    person is behind it (a team member on its own trigger), its owner may do either (decisions.md 5)."""
    if reader.kind != "person":
        return Eligibility(False, "Only a person gives consent.")
    if not reader.member:
        return Eligibility(False, "You are not a member of this workspace.")
    if ask.state != "open":
        return Eligibility(False, f"It is {ask.state} already.")
    if at >= ask.expires_at:
        return Eligibility(False, "It has expired.")
    if any(person == reader.id for person, _ in ask.voters):
        return Eligibility(False, "You have decided it already.")
    verbs = {rule.verb for rule in ask.rules}
    behind = ask.originating_person or ask.acting_owner
    if "confirm" in verbs and reader.id == behind:
        return Eligibility(True, "It is done on your behalf: you confirm it.", "confirm")
    if "approve" not in verbs:
        return Eligibility(False, "Only the person it is done for confirms it.")
    if not reader.may_approve:
        return Eligibility(False, "You do not hold the permission approve here, and are no named approver.")
    if ask.four_eyes and reader.id == ask.originating_person:
        return Eligibility(False, "You asked for it: somebody else has to approve it (four eyes).")
    if ask.four_eyes and ask.originating_person is not None and reader.id == ask.acting_owner:
        return Eligibility(False, "You own the AI team member that acts: somebody else has to approve it (four eyes).")
    if reader.id == ask.acting_owner:
        return Eligibility(True, "Nobody is behind it, and you own the AI team member that acts.", "approve")
    return Eligibility(True, "You hold the permission approve, and did not ask for it.", "approve")


def missing(ask: Ask) -> list[str]:
    """The rules that are not satisfied yet, in words; empty: all are. Of the votes each counts for one verb."""
    behind = ask.originating_person or ask.acting_owner
    asks_confirm = any(rule.verb == "confirm" for rule in ask.rules)
    agreed = [person for person, said in ask.voters if said == "approve"]
    confirmed = [person for person in agreed if asks_confirm and person == behind]
    approved = [person for person in agreed if person not in confirmed]
    words = []
    for rule in ask.rules:
        given = len(confirmed if rule.verb == "confirm" else approved)
        if given < rule.quorum:
            words.append(
                "the confirmation of the person it is done for"
                if rule.verb == "confirm"
                else f"{rule.quorum - given} of {rule.quorum} approvals"
            )
    return words


def tally(ask: Ask) -> Literal["open", "approved", "rejected"]:
    """One no rejects; all rules satisfied approves; otherwise it stays open."""
    if any(said == "reject" for _, said in ask.voters):
        return "rejected"
    return "open" if missing(ask) else "approved"


def open_reason(ask: Ask, able: int) -> str:
    """The reason code of an open approval when `able` people may decide it now."""
    given = sum(1 for _, said in ask.voters if said == "approve")
    if able + given < sum(rule.quorum for rule in ask.rules):
        return "nobody_can_decide"
    if all(rule.verb == "confirm" for rule in ask.rules):
        return "waiting_for_confirmation"
    return "waiting_for_approver"
