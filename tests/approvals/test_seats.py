"""The grammar of approval rules, and the seats of all-of and any-of groups filled as well as they can be."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worka.approvals.seats import ONLY_GROUPS, Rule, Term, assign, free, parse_rule, parse_rules

NAMES = ("a", "b", "c")
TERMS = st.lists(
    st.builds(Term, st.integers(1, 2), st.sets(st.sampled_from(NAMES)).map(lambda found: tuple(sorted(found)))),
    min_size=1,
    max_size=3,
)
PEOPLE = st.lists(st.frozensets(st.sampled_from((*NAMES, ONLY_GROUPS))), max_size=5)


def most(terms: Sequence[Term], people: Sequence[frozenset[str]]) -> int:
    """How many seats can be filled at all: every way of seating, one after the other."""
    best = 0
    for places in itertools.product([None, *range(len(terms))], repeat=len(people)):
        taken = [place for place in places if place is not None]
        fits = all(place is None or terms[place].fits(person) for place, person in zip(places, people, strict=True))
        if fits and all(taken.count(number) <= term.count for number, term in enumerate(terms)):
            best = max(best, len(taken))
    return best


def filled(terms: Sequence[Term], people: Sequence[Iterable[str]]) -> int:
    return sum(map(len, assign(terms, people)))


@pytest.mark.capability("APR-11", part="a vote is given to the seat where it does most")
@settings(max_examples=150, deadline=None)
@given(TERMS, PEOPLE)
# Whoever came first fits both, and sits where the second alone could.
@example([Term(1, ("a",)), Term(1, ("b",))], [frozenset("ab"), frozenset("a")])
def test_votes_fill_as_many_seats_as_any_seating_of_the_same_people(
    terms: list[Term], people: list[frozenset[str]]
) -> None:
    sitting = assign(terms, people)
    seated = [person for held in sitting for person in held]
    assert len(seated) == len(set(seated)), "a person has one seat"
    for term, held in zip(terms, sitting, strict=True):
        assert len(held) <= term.count
        assert all(term.fits(people[person]) for person in held)
    assert len(seated) == most(terms, people)


@pytest.mark.capability("APR-11", part="who is waited for is exactly whose yes fills a seat")
@settings(max_examples=150, deadline=None)
@given(TERMS, PEOPLE, st.frozensets(st.sampled_from(NAMES)))
def test_somebody_is_needed_exactly_if_one_more_seat_is_filled_with_them(
    terms: list[Term], people: list[frozenset[str]], newcomer: frozenset[str]
) -> None:
    needed = any(empty.fits(newcomer) for empty in free(terms, people))
    assert needed == (filled(terms, [*people, newcomer]) > filled(terms, people))


@settings(max_examples=150, deadline=None)
@given(TERMS, PEOPLE)
def test_the_empty_seats_are_those_that_are_not_filled(terms: list[Term], people: list[frozenset[str]]) -> None:
    wanted = sum(term.count for term in terms)
    assert sum(empty.count for empty in free(terms, people)) == wanted - filled(terms, people)


def test_somebody_of_two_groups_makes_room_for_who_is_in_one() -> None:
    terms = [Term(1, ("release",)), Term(1, ("security",))]
    both, release = frozenset({"release", "security"}), frozenset({"release"})
    assert filled(terms, [both, release]) == filled(terms, [release, both]) == 2
    assert [str(empty) for empty in free(terms, [both])] == ["1 of 1 approvals from group:release or group:security"]
    assert free(terms, [release])[0].fits(both)
    assert not free(terms, [release])[0].fits(release)


def test_a_seat_of_one_group_that_was_delegated_is_no_seat_of_anybody() -> None:
    assert filled([Term(1)], [frozenset({"security", ONLY_GROUPS})]) == 0
    assert filled([Term(1)], [frozenset({"security"})]) == 1
    assert filled([Term(1, ("security",))], [frozenset({"security", ONLY_GROUPS})]) == 1


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("approve", "approve:1"),
        ("approve:3", "approve:3"),
        ("confirm", "confirm"),
        ("approve:2 stepup", "approve:2 stepup"),
        ("confirm stepup", "confirm stepup"),
        ("approve:2 of group:security and 1 of group:release", "approve:1 of group:release and 2 of group:security"),
        ("approve of group:b or group:a or group:b", "approve:1 of group:a or group:b"),
        ("approve:1 of group:a and 2 of group:a", "approve:3 of group:a"),
        ("approve:1 and 1 of group:a", "approve:1 of group:a and 1"),
        ("approve:1 and 2", "approve:3"),
        ("approve:1 of group:owners stepup", "approve:1 of group:owners stepup"),
    ],
)
def test_a_rule_is_read_and_equal_rules_are_equal_texts(text: str, same: str) -> None:
    assert str(parse_rule(text)) == same
    assert parse_rule(same) == parse_rule(text)


@pytest.mark.parametrize(
    "wrong",
    [
        "", "approve:0", "approve:10", "confirm:2", "owner", "approve:1:self", "approve:1 of security",
        "approve:1 of group:Security", "approve:1 of group:", "confirm of group:a", "approve:1 and", "stepup",
        "approve:1 or 1 of group:a", "approve:9 of group:a and 1 of group:b",
        "approve:1  of group:a", "approve:1 stepup stepup", "approve:1 of group:" + "a" * 41,
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"approval rule|more than 9"):
        parse_rule(wrong)
    assert parse_rule("approve:1 of group:security").terms, "the control"


def test_rules_of_one_decision_all_apply_and_the_stricter_of_two_alike_counts() -> None:
    found = parse_rules(["approve:1", "approve:2 of group:a", "approve:3", "approve:2 of group:a stepup", "confirm"])
    assert [str(rule) for rule in found] == ["approve:2 of group:a stepup", "approve:3", "confirm"]
    assert parse_rules([]) == [Rule("approve", 1)]
