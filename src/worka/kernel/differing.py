"""What differs between two texts, line by line, in bounded time: texts of strangers are compared while others wait."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from typing import Any

_OFTEN = 4


def unified(
    before: Sequence[str], after: Sequence[str], old: str, new: str, *, around: int = 2, most: int = 400
) -> list[str]:
    """The lines of a unified diff; none where both are the same.

    What stands alike at both ends is set aside; of what is left the first `most` lines of each side are compared, and the rest
    is told as gone and come. A line that stands there often is no place to begin to compare at: `difflib` alone takes
    minutes for two shuffled texts.
    """
    head = _alike(before, after)
    tail = _alike(before[head:][::-1], after[head:][::-1])
    left, right = (lines[head : len(lines) - tail] for lines in (before, after))
    seen = Counter(right[:most])
    middle = difflib.SequenceMatcher(lambda line: seen[line] > _OFTEN, left[:most], right[:most], autojunk=False)
    steps = [("equal", 0, head, 0, head)]
    steps += [(tag, head + i, head + i_to, head + j, head + j_to) for tag, i, i_to, j, j_to in middle.get_opcodes()]
    i, j = head + len(left), head + len(right)
    steps += [("replace", head + min(most, len(left)), i, head + min(most, len(right)), j)]
    steps += [("equal", i, len(before), j, len(after))]
    found = _Found([step for step in steps if step[1] < step[2] or step[3] < step[4]])
    return _told(list(found.get_grouped_opcodes(around)), before, after, old, new)


class _Found(difflib.SequenceMatcher[str]):
    """Steps that were found already, to be grouped with their surroundings."""

    def __init__(self, steps: list[Any]) -> None:
        super().__init__(autojunk=False)
        self._steps = steps

    def get_opcodes(self) -> list[Any]:
        return self._steps


def _alike(before: Sequence[str], after: Sequence[str]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )


def _told(
    groups: list[list[tuple[str, int, int, int, int]]], before: Sequence[str], after: Sequence[str], old: str, new: str
) -> list[str]:
    told = [f"--- {old}", f"+++ {new}"] if groups else []
    for group in groups:
        (_, i, _, j, _), (_, _, i_to, _, j_to) = group[0], group[-1]
        told.append(f"@@ -{i + 1},{i_to - i} +{j + 1},{j_to - j} @@")
        for tag, left, left_to, right, right_to in group:
            if tag == "equal":
                told += [f" {line}" for line in before[left:left_to]]
            else:
                told += [f"-{line}" for line in before[left:left_to]] + [f"+{line}" for line in after[right:right_to]]
    return told
