"""Pure rules of approvals: what is bound, who may decide, when it is decided. No clock, no database.

`ways` and `eligible`, which picks the best of them, are the one place that says who may decide; card, list, explanation,
reminders, notifications and the decision itself all call it. How votes fill the seats of a rule stands in `seats.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from worka.approvals.seats import ONLY_GROUPS, Free, Rule, Verb, free, parse_rule, parse_rules
from worka.kernel import canonical
from worka.kernel.context import Resource
from worka.kernel.reasons import Reason, register
from worka.kernel.states import State, StateMachine, machine

__all__ = [
    "APPROVAL", "Ask", "Delegator", "Eligibility", "Reader", "Rule", "Verb", "Voter", "digest", "eligible", "missing", "open_reason",
    "parse_rule", "parse_rules", "resource_of", "tally", "wants_stepup", "ways",
]  # fmt: skip

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
        causes="Four eyes leave out whoever asked, the owner of the AI team member that acts, and who recorded where a name leads"
        " that a credential would go to.",
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
        "bypassed", "approvals", "approval", "An owner's bypass let it through: nobody looked at this one.",
        causes="A bypass of this boundary or tool was open, recorded with its reason, its end and a number of uses.",
        check="worka approvals bypass list: who opened it, why, until when, and how often it was used.",
        remedy="Close the bypass if it is not needed any more: worka approvals bypass close ID.",
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
    Reason(
        "rule_changed", "approvals", "approval", "Policy has changed: it does not ask for this consent any more.",
        causes="A version of policy that was saved meanwhile asks other people or more of them, nobody, or refuses it.",
        check="worka approvals show ID: what policy asks now, by which version, and the approval that took its place.",
        remedy="Decide the new approval; where there is none yet, whoever asked repeats what they did.",
    ),
)  # fmt: skip

register(
    Reason(
        "bypass_waits_for_owner", "approvals", "approval", "Another owner has not agreed to this bypass yet.",
        causes="The workspace has more than one owner: who opens a bypass needs another one's consent (four eyes).",
        check="worka approvals bypass list: its approval, and who may decide that.",
        remedy="Another owner approves or rejects it; or close it.",
    ),
    Reason(
        "bypass_in_force", "approvals", "approval", "Approvals of this boundary or tool are let through, and recorded.",
        causes="An owner opened it, with a reason, an end and a number of uses.",
        check="worka approvals bypass list: its uses, and its end.",
        remedy="None is needed; worka approvals bypass close ID ends it early.",
    ),
    Reason(
        "bypass_closed", "approvals", "approval", "An owner closed this bypass.",
        causes="It was not needed any more.",
        check="worka changes: who closed it.",
        remedy="None is needed; open another one if it must be.",
    ),
    Reason(
        "bypass_over", "approvals", "approval", "This bypass is used up, or its time is over.",
        causes="Its number of uses was reached, or its end has come.",
        check="worka approvals bypass list: its uses, and its end.",
        remedy="None is needed; approvals are asked for again. Open another one if it must be.",
    ),
    Reason(
        "bypass_refused", "approvals", "approval", "The consent that this bypass waited for was not given.",
        causes="Its approval was rejected, withdrawn, ended by a change of policy, or not decided in time.",
        check="worka approvals show ID: how it ended, by whom, and the comment.",
        remedy="Have the approvals themselves decided.",
    ),
    Reason(
        "bypass_held", "approvals", "approval", "This bypass lets nothing through while its opener could not open it.",
        causes="A kill switch stops who opened it, or policy refuses them bypasses now.",
        check="worka why ID: who opened it, and what stops them.",
        remedy="Have the approvals themselves decided; it goes on when its opener may again. Another owner closes it.",
    ),
    Reason(
        "bypass_opener_may_not", "approvals", "approval", "Who opened this bypass may not open one any more: it ended.",
        causes="They left the workspace, are no owner of it now, or were stopped or refused when another owner agreed.",
        check="worka changes: who changed their role or took them out, or which kill switch stopped them.",
        remedy="Another owner opens one, if it must be.",
    ),
)  # fmt: skip

APPROVAL = machine(
    StateMachine(
        name="approval",
        states=[
            State("open", reasons=("waiting_for_approver", "waiting_for_confirmation", "nobody_can_decide")),
            State("approved", reasons=("approved", "bypassed", "used")),
            State("rejected", terminal=True, reasons=("rejected",)),
            State("expired", terminal=True, reasons=("expired",)),
            State("withdrawn", terminal=True, reasons=("withdrawn",)),
            State("superseded", terminal=True, reasons=("superseded", "rule_changed")),
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


BYPASS = machine(
    StateMachine(
        name="approval_bypass",
        states=[
            State("awaiting_approval", reasons=("bypass_waits_for_owner",)),
            State("open", reasons=("bypass_in_force", "bypass_held")),
            State(
                "closed",
                terminal=True,
                reasons=("bypass_closed", "bypass_over", "bypass_refused", "bypass_opener_may_not"),
            ),
        ],
        transitions=[("awaiting_approval", "open"), ("awaiting_approval", "closed"), ("open", "closed")],
    )
)


def resource_of(row: dict[str, Any]) -> Resource:
    """An approval as policy sees it, in the act as in every answer to who could."""
    return Resource("approval", row["id"], row["workspace_id"], {"boundary": row["boundary"], "name": row["title"]})


class Voter(NamedTuple):
    """One vote: who gave it, approve or reject, the groups of the seat's owner at that time, and on whose behalf."""

    person: str
    decision: str
    groups: frozenset[str] = frozenset()
    behalf: str | None = None

    @property
    def authority(self) -> str:
        """Whose seat it takes."""
        return self.behalf or self.person


@dataclass(frozen=True)
class Ask:
    """What the rules need of an approval."""

    state: str
    rules: tuple[Rule, ...]
    four_eyes: bool
    originating_person: str | None
    acting_owner: str | None
    expires_at: datetime
    voters: tuple[tuple[str, str] | Voter, ...] = ()
    escalated_to: str | None = None
    """A group whose members may take any seat by now."""
    about: Resource | None = None
    """The approval as the deciding itself asks policy about it; None: any."""
    led_by: frozenset[str] = frozenset()
    """Who recorded where a credential of it would go: consent of theirs would be to their own record."""

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
            tuple(
                Voter(
                    vote["person_id"],
                    vote["decision"],
                    frozenset(vote.get("groups") or ()),
                    vote.get("on_behalf_of"),
                )
                for vote in votes
            ),
            row.get("escalated_to"),
            resource_of(row),
            frozenset(row["led_by"]),
        )

    @property
    def votes(self) -> list[Voter]:
        """The voters, each whole."""
        return [Voter(*voter) for voter in self.voters]

    @property
    def behind(self) -> str | None:
        """Who confirms: the person behind it, or the owner of what acts by itself."""
        return self.originating_person or self.acting_owner

    @property
    def groups(self) -> frozenset[str]:
        """Every group that its rules name."""
        return frozenset(name for rule in self.rules for name in rule.groups)

    def seated(self, groups: frozenset[str]) -> frozenset[str]:
        """The groups for which members of `groups` may take a seat: all, once it was escalated to one of theirs."""
        whole = ONLY_GROUPS not in groups
        return groups | self.groups if whole and self.escalated_to in groups else groups


@dataclass(frozen=True)
class Delegator:
    """Somebody who has delegated deciding to a reader. `groups` are those that the delegation reaches, with ONLY_GROUPS
    where it is not for everything that they may decide. `may_approve`: they may themselves, now."""

    id: str
    name: str
    may_approve: bool
    groups: frozenset[str]
    admitted: bool = True
    """Policy would let the reader decide if it were a named approver."""
    refused: str = ""
    """In which words policy or a kill switch refuses the delegator, where a role would let them."""
    taker_refused: str = ""
    """The same of the reader."""
    taker_stopped: bool = False
    """It is governance, or a kill switch, that refuses the reader."""


@dataclass(frozen=True)
class Reader:
    """Somebody who looks at an approval. `may_approve`: the façade would let them approve it now; `refused` says in which
    words policy or a kill switch does not, where a role would; `stopped`: it is governance or a kill switch.
    `unconfirming`: why they may not confirm; empty: they may."""

    kind: str
    id: str
    may_approve: bool
    member: bool = True
    groups: frozenset[str] = frozenset()
    delegators: tuple[Delegator, ...] = ()
    refused: str = ""
    stopped: bool = False
    unconfirming: str = ""


@dataclass(frozen=True)
class Eligibility:
    """Whether a reader may decide, in which way, and why in words addressed to them. `behalf`: whose seat it would take,
    if not their own. `needed`: a yes would fill a seat that is empty; without it only their no would count. `refused`: it is
    the reader whom governance or a kill switch refuses: so does the act, with a decision of its own."""

    eligible: bool
    because: str
    verb: Verb | None = None
    behalf: str | None = None
    needed: bool = True
    groups: frozenset[str] = frozenset()
    refused: bool = False


def ways(ask: Ask, reader: Reader, at: datetime) -> list[Eligibility]:
    """Every way in which a reader may decide an approval, or the one refusal that says why there is none: the only place
    that says so.

    A person, while it is open, once. `approve` needs the approve permission, a seat of their own or of somebody who
    delegated it to them, and under four eyes neither the person behind the action nor the owner of the team member that
    acts, nor who recorded where its credential would go, on either end of a delegation. `confirm` is the person behind it
    alone, and is never delegated. Where no person is behind it (a team member on its own trigger), its owner may do either
    (decisions.md 5)."""
    if reader.kind != "person":
        return [Eligibility(False, "Only a person gives consent.")]
    if not reader.member:
        return [Eligibility(False, "You are not a member of this workspace.")]
    if ask.state != "open":
        return [Eligibility(False, f"It is {ask.state} already.")]
    if at >= ask.expires_at:
        return [Eligibility(False, "It has expired.")]
    if any(voter.person == reader.id for voter in ask.votes):
        return [Eligibility(False, "You have decided it already.")]
    verbs = {rule.verb for rule in ask.rules}
    if "confirm" in verbs and reader.id == ask.behind:
        if not reader.unconfirming:
            return [Eligibility(True, "It is done on your behalf: you confirm it.", "confirm")]
        if "approve" not in verbs:
            because = f"It is done on your behalf, and you may not confirm it now: {reader.unconfirming}"
            return [Eligibility(False, because, "confirm", refused=True)]
    if "approve" not in verbs:
        return [Eligibility(False, "Only the person it is done for confirms it.")]
    own = _own(ask, reader)
    if (because := _barred(ask, reader.id)) and not own.eligible:
        # Whoever delegated to them: it opens nothing.
        return [Eligibility(False, because) if reader.delegators else own]
    found = [own] if own.eligible else []
    delegated = [_delegated(ask, delegator) for delegator in reader.delegators]
    found += [way for way in delegated if way.eligible]
    return found or [own if not delegated or reader.may_approve else delegated[0]]


def eligible(ask: Ask, reader: Reader, at: datetime) -> Eligibility:
    """The way in which a reader would decide: one that is needed before one that is not, their own before another's."""
    found = ways(ask, reader, at)
    return next((way for way in found if way.needed), found[0])


def _barred(ask: Ask, person: str) -> str:
    """Why four eyes leave somebody out; empty when they do not."""
    if ask.four_eyes and person == ask.originating_person:
        return "You asked for it: somebody else has to approve it (four eyes)."
    if ask.four_eyes and ask.originating_person is not None and person == ask.acting_owner:
        return "You own the AI team member that acts: somebody else has to approve it (four eyes)."
    if ask.four_eyes and person in ask.led_by:
        return "You recorded where its name leads, or who vouches for it: somebody else has to approve it (four eyes)."
    return ""


def _own(ask: Ask, reader: Reader) -> Eligibility:
    if not reader.may_approve and reader.refused:
        return Eligibility(False, f"You may not decide here now: {reader.refused}", refused=reader.stopped)
    if not reader.may_approve:
        return Eligibility(False, "You do not hold the permission approve here, and are no named approver.")
    if because := _barred(ask, reader.id):
        return Eligibility(False, because)
    if any(voter.authority == reader.id for voter in ask.votes):
        return Eligibility(False, "Somebody to whom you delegated it has decided it for you already.")
    because = "You hold the permission approve, and did not ask for it."
    if reader.id == ask.acting_owner:
        because = "Nobody is behind it, and you own the AI team member that acts."
    return _seat(ask, ask.seated(reader.groups), because, "You are in none of the groups that have to approve it ({}).")


def _delegated(ask: Ask, of: Delegator) -> Eligibility:
    name = of.name
    if not of.admitted:
        why = f": {of.taker_refused}" if of.taker_refused else "."
        because = f"{name} delegated it to you, and policy does not let you decide here{why}"
        return Eligibility(False, because, behalf=of.id, refused=of.taker_stopped)
    if not of.may_approve:
        why = f" now: {of.refused}" if of.refused else " any more."
        return Eligibility(False, f"{name} delegated it to you, and may not decide here{why}")
    if _barred(ask, of.id):
        return Eligibility(
            False,
            f"{name} delegated it to you, and asked for it, owns what acts or recorded where it leads: somebody else has to"
            " (four eyes).",
        )
    if any(of.id in (voter.person, voter.authority) for voter in ask.votes):
        return Eligibility(False, f"{name} delegated it to you, and has decided it already.")
    without = f"{name} delegated it to you, but no seat of the groups that have to approve it ({{}})."
    way = _seat(ask, ask.seated(of.groups), f"{name} delegated it to you.", without)
    return Eligibility(way.eligible, way.because, way.verb, of.id, way.needed, way.groups)


def _seat(ask: Ask, groups: frozenset[str], because: str, without: str) -> Eligibility:
    """Whether somebody of these groups has a seat."""
    terms = [term for rule in ask.rules if rule.verb == "approve" for term in rule.seats]
    if not any(term.fits(groups) for term in terms):
        names = ", ".join(sorted({name for term in terms for name in term.groups})) or "none is named"
        return Eligibility(False, without.format(names))
    needed = any(empty.fits(groups) for rule in ask.rules if rule.verb == "approve" for empty in _free(ask, rule))
    if not needed:
        because += " The seats that you could take are filled: your no would count, your yes adds nothing."
    return Eligibility(True, because, "approve", None, needed, groups)


def _free(ask: Ask, rule: Rule) -> list[Free]:
    """The empty seats of one rule; each rule is satisfied by itself."""
    return free(rule.seats, _counted(ask, rule))


def _counted(ask: Ask, rule: Rule) -> list[frozenset[str]]:
    """The votes that fill seats of this rule, by their groups. Of the votes each counts for one verb."""
    asks_confirm = any(other.verb == "confirm" for other in ask.rules)
    agreed = [voter for voter in ask.votes if voter.decision == "approve"]
    confirmed = [voter for voter in agreed if asks_confirm and voter.person == ask.behind]
    counted = confirmed if rule.verb == "confirm" else [voter for voter in agreed if voter not in confirmed]
    return [voter.groups for voter in counted]


def missing(ask: Ask) -> list[str]:
    """The seats that are not filled yet, in words; empty: all are."""
    return [
        "the confirmation of the person it is done for" if rule.verb == "confirm" else str(empty)
        for rule in ask.rules
        for empty in _free(ask, rule)
    ]


def tally(ask: Ask) -> Literal["open", "approved", "rejected"]:
    """One no rejects; all rules satisfied approves; otherwise it stays open."""
    if any(voter.decision == "reject" for voter in ask.votes):
        return "rejected"
    return "open" if missing(ask) else "approved"


def wants_stepup(ask: Ask, verb: Verb | None) -> bool:
    """Whether whoever decides in this way needs a fresh second factor."""
    return any(rule.stepup for rule in ask.rules if rule.verb == verb)


def open_reason(ask: Ask, able: int | Sequence[Eligibility]) -> str:
    """The reason code of an open approval when these may decide it now, each by a seat of their own (or as many, of no
    group, as the number says)."""
    if isinstance(able, int):
        given = sum(1 for voter in ask.votes if voter.decision == "approve")
        enough = able + given >= sum(rule.quorum for rule in ask.rules)
    else:
        enough = all(_could_be_filled(ask, rule, able) for rule in ask.rules)
    if not enough:
        return "nobody_can_decide"
    if all(rule.verb == "confirm" for rule in ask.rules):
        return "waiting_for_confirmation"
    return "waiting_for_approver"


def _could_be_filled(ask: Ask, rule: Rule, able: Sequence[Eligibility]) -> bool:
    further = [way.groups for way in able if way.verb == rule.verb]
    return not free(rule.seats, [*_counted(ask, rule), *further])
