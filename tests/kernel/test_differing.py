"""Two texts are compared in bounded time, and whatever is told of them leads from the one to the other."""

from __future__ import annotations

import random
import re
import time

import pytest

from worka.governance.service import policies
from worka.kernel import differing
from worka.packs import rules


def applied(told: list[str], before: list[str]) -> list[str]:
    """What a person gets who follows the diff by hand."""
    made: list[str] = []
    place = 0
    for line in told[2:]:
        if begins := re.match(r"@@ -(\d+),", line):
            made += before[place : int(begins[1]) - 1]
            place = int(begins[1]) - 1
        elif line.startswith("+"):
            made.append(line[1:])
        else:
            assert before[place] == line[1:]
            made += [line[1:]] if line.startswith(" ") else []
            place += 1
    return made + before[place:]


@pytest.mark.parametrize("most", [1, 5, 400])
def test_what_is_told_leads_from_the_one_text_to_the_other_wherever_it_stops_comparing(most: int) -> None:
    chance = random.Random(most)
    for _ in range(300):
        before = [str(chance.randrange(chance.choice((2, 50)))) for _ in range(chance.randrange(40))]
        after = list(before)
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(after) + 1)
            after[place : place + chance.randrange(4)] = [str(chance.randrange(50)) for _ in range(chance.randrange(4))]
        told = differing.unified(before, after, "old", "new", most=most)
        assert bool(told) == (before != after)
        assert not told or applied(told, before) == after


def test_a_small_change_of_a_long_text_is_told_as_a_small_change() -> None:
    before = [f"line {number}" for number in range(5000)]
    after = [*before[:4000], "another", *before[4001:]]
    told = differing.unified(before, after, "old", "new")
    assert told[3:] == [" line 3998", " line 3999", "-line 4000", "+another", " line 4001", " line 4002"]


@pytest.mark.capability(
    "TOL-5", part="accepted or refused by a person, exactly what was shown, in the commit of the decision"
)
def test_what_is_beyond_the_bound_is_told_as_gone_and_come_and_not_compared() -> None:
    same = [str(number) for number in range(1000)]
    told = differing.unified(["first", *same, "last"], ["1st", *same, "final"], "old", "new", most=400)
    assert sum(line.startswith("-") for line in told[2:]) == 1 + 602
    short = differing.unified(["first", *same, "last"], ["1st", *same, "final"], "old", "new", most=2000)
    assert sum(line.startswith("-") for line in short[2:]) == 2, "the control: within it the same is the same"


def shuffled(seed: int) -> str:
    lines = [f"line {number}" for number in range(20_000)]
    random.Random(seed).shuffle(lines)
    return "\n".join(lines)


def test_two_shuffled_texts_of_twenty_thousand_lines_are_compared_in_a_moment() -> None:
    began = time.perf_counter()
    assert rules.diff(shuffled(1), shuffled(2)).startswith("--- declared")
    assert rules.diff({"text": shuffled(1).split()}, {"text": shuffled(2).split()})
    assert policies.diff(shuffled(1), shuffled(2))
    assert time.perf_counter() - began < 10, "it took minutes, and all that time nobody else was served"
