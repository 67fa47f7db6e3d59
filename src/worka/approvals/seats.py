"""The grammar of approval rules, and how votes fill their seats. Pure.

    confirm [stepup]
    approve[:N] [stepup]
    approve:N of WHO { and N [of WHO] } [stepup]          WHO: group:NAME { or group:NAME }

Each N is a number of seats. Within one rule a person fills one seat, and the votes are given to seats so that as many as
possible are filled: someone who fits two of them is never the reason why a third person's vote counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verb = Literal["confirm", "approve"]
OF_ROLES = {"owners": ("owner",), "admins": ("owner", "admin")}
"""Groups that the roles make by themselves; no workspace names one of its own so."""
ONLY_GROUPS = "-"
"""Stands among the groups of who may take seats of groups alone, not those of whoever may approve."""
GROUP = r"^[a-z][a-z0-9-]{0,39}$"
_WHO = r"group:[a-z][a-z0-9-]{0,39}(?: or group:[a-z][a-z0-9-]{0,39}){0,4}"
_RULE = re.compile(rf"(confirm|approve)(?::([1-9]))?(?: of ({_WHO}))?((?: and [1-9](?: of {_WHO})?){{0,4}})( stepup)?")
_FURTHER = re.compile(rf" and ([1-9])(?: of ({_WHO}))?")


@dataclass(frozen=True)
class Term:
    """Seats of one kind: `count` of them, for members of any of `groups`; without groups for whoever may approve."""

    count: int
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.count} of {' or '.join(f'group:{name}' for name in self.groups)}"
            if self.groups
            else f"{self.count}"
        )

    def fits(self, groups: Iterable[str]) -> bool:
        """Whether a member of these groups may sit here."""
        return not set(self.groups).isdisjoint(groups) if self.groups else ONLY_GROUPS not in groups


@dataclass(frozen=True)
class Rule:
    """`approve:2`: two people other than those who asked; `confirm`: the person behind it. `terms` are set where groups
    are named; `quorum` is the number of seats."""

    verb: Verb
    quorum: int
    terms: tuple[Term, ...] = ()
    stepup: bool = False

    @property
    def seats(self) -> tuple[Term, ...]:
        """The seats of the rule by kind."""
        return self.terms or (Term(self.quorum),)

    @property
    def groups(self) -> frozenset[str]:
        """Every group that it names."""
        return frozenset(name for term in self.terms for name in term.groups)

    @property
    def words(self) -> str:
        """Who has to agree, for people: `2 people who did not ask for it`."""
        factor = ", with a fresh second factor" if self.stepup else ""
        if self.verb == "confirm":
            return f"the person it is done for confirms{factor}"
        seats = []
        for term in self.seats:
            people = "1 person" if term.count == 1 else f"{term.count} people"
            seats.append(f"{people} from {' or '.join(term.groups)}" if term.groups else people)
        return f"{' and '.join(seats)} who did not ask for it{factor}"

    def __str__(self) -> str:
        text = "confirm" if self.verb == "confirm" else "approve:" + " and ".join(map(str, self.seats))
        return f"{text} stepup" if self.stepup else text


def parse_rule(text: str) -> Rule:
    """Reads one rule. Raises ValueError."""
    match = _RULE.fullmatch(text.strip())
    plain = match is not None and not match[3] and not match[4]
    if match is None or (match[1] == "confirm" and (match[2] not in (None, "1") or not plain)):
        raise ValueError(
            f"{text!r} is no approval rule: use confirm, approve or approve:N with N from 1 to 9, or seats of groups such"
            " as `approve:2 of group:security and 1 of group:release`; `stepup` at the end wants a fresh second factor"
        )
    stepup = match[5] is not None
    if match[1] == "confirm":
        return Rule("confirm", 1, (), stepup)
    count = int(match[2] or 1)
    if plain:
        return Rule("approve", count, (), stepup)
    terms = [Term(count, _names(match[3])), *(Term(int(n), _names(who)) for n, who in _FURTHER.findall(match[4]))]
    merged: dict[tuple[str, ...], int] = {}
    for term in terms:
        merged[term.groups] = merged.get(term.groups, 0) + term.count
    if sum(merged.values()) > 9:
        raise ValueError(f"{text!r} asks for more than 9 people")
    if set(merged) == {()}:
        return Rule("approve", merged[()], (), stepup)
    # The seats of anybody come last, so that equal rules are equal texts.
    ordered = sorted(merged, key=lambda groups: (not groups, groups))
    return Rule("approve", sum(merged.values()), tuple(Term(merged[groups], groups) for groups in ordered), stepup)


def _names(who: str | None) -> tuple[str, ...]:
    return tuple(sorted({part.removeprefix("group:") for part in who.split(" or ")})) if who else ()


def parse_rules(texts: Iterable[str]) -> list[Rule]:
    """All of them apply. Of several without groups the highest quorum counts; of equal ones the one that wants a step-up.
    Without any: one approver."""
    found: dict[tuple[Verb, tuple[Term, ...]], Rule] = {}
    for rule in map(parse_rule, texts):
        key = (rule.verb, rule.terms)
        before = found.get(key, rule)
        found[key] = Rule(rule.verb, max(before.quorum, rule.quorum), rule.terms, before.stepup or rule.stepup)
    return [found[key] for key in sorted(found, key=lambda key: (key[0], str(found[key])))] or [Rule("approve", 1)]


People = Sequence[Iterable[str]]
"""The groups of each person that stands for a seat."""


def assign(terms: Sequence[Term], people: People) -> list[list[int]]:
    """Who sits where: for each term the numbers of the people in its seats, as many as can be (a maximum matching, by
    augmenting paths). Who came first keeps a seat, though not always the same one."""
    sitting: list[list[int]] = [[] for _ in terms]
    groups = [frozenset(person) for person in people]

    def sit(person: int, tried: set[int]) -> bool:
        for number, term in enumerate(terms):
            if number in tried or not term.fits(groups[person]):
                continue
            tried.add(number)
            if len(sitting[number]) < term.count:
                sitting[number].append(person)
                return True
            for place, other in enumerate(sitting[number]):
                if sit(other, tried):
                    sitting[number][place] = person
                    return True
        return False

    for person in range(len(groups)):
        sit(person, set())
    return sitting


@dataclass(frozen=True)
class Free:
    """`count` seats of one term that nobody fills, and every term whose seats would free one of them by moving people."""

    term: Term
    count: int
    through: tuple[Term, ...]

    def fits(self, groups: Iterable[str]) -> bool:
        """Whether one more person of these groups would fill one."""
        wanted = frozenset(groups)
        return any(term.fits(wanted) for term in self.through)

    def __str__(self) -> str:
        words = f"{self.count} of {self.term.count} approvals"
        names = sorted({name for term in self.through for name in term.groups})
        anybody = any(not term.groups for term in self.through)
        return words if anybody else f"{words} from {' or '.join(f'group:{name}' for name in names)}"


def free(terms: Sequence[Term], people: People) -> list[Free]:
    """The seats that these people leave empty."""
    sitting = assign(terms, people)
    groups = [frozenset(person) for person in people]
    found = []
    for number, term in enumerate(terms):
        empty = term.count - len(sitting[number])
        if not empty:
            continue
        through = [number]
        for reached in through:  # grows while it is walked: who sits in `other` could move to `reached`
            for other, held in enumerate(sitting):
                if other not in through and any(terms[reached].fits(groups[person]) for person in held):
                    through.append(other)
        found.append(Free(term, empty, tuple(terms[place] for place in sorted(through))))
    return found
