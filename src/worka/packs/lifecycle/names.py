"""Names that people and models may take for another one: a publisher's, a pack's, a tool's. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

NEAR_FROM = 6
"""Names shorter than this are near each other by chance: only those that look alike are refused."""
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "8": "b", "2": "z"})
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))


class Clash(NamedTuple):
    """Which name it may be taken for, by which reason code, in words."""

    code: str
    other: str
    because: str


def skeleton(name: str) -> str:
    """What is left of a name for somebody who reads it in passing: no case, no separators, look-alikes as one letter."""
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_ALIKE)
    for pair, letter in _PAIRS:
        plain = plain.replace(pair, letter)
    return re.sub(r"[^a-z0-9]", "", plain)


def near(a: str, b: str) -> bool:
    """Whether one slip of a finger (a letter more, fewer, another, two changed about) makes one of the other. Names that
    differ in their numbers alone are a series, not a slip."""
    if a == b or re.sub(r"\d+", "#", a) == re.sub(r"\d+", "#", b):
        return False
    if min(len(a), len(b)) < NEAR_FROM or abs(len(a) - len(b)) > 1:
        return False
    if len(a) == len(b):
        off = [i for i in range(len(a)) if a[i] != b[i]]
        swapped = len(off) == 2 and off[1] == off[0] + 1 and (a[off[0]], a[off[1]]) == (b[off[1]], b[off[0]])
        return len(off) == 1 or swapped
    short, long = sorted((a, b), key=len)
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def squatting(publisher: str, name: str, workspace_id: str, known: Iterable[Mapping[str, Any]]) -> Clash | None:
    """Whose identity `publisher.name` may be taken for, of those that are known ({publisher, name, workspace_id}). What
    other publishers of the same workspace are called may be near: its people know both; what looks the same may not."""
    for other in known:
        if other["publisher"] == publisher:
            continue
        theirs, full = other["publisher"], f"{other['publisher']}.{other['name']}"
        if skeleton(theirs) == skeleton(publisher):
            return Clash("publisher_confusable", theirs, f"{publisher} reads like the publisher {theirs}")
        if skeleton(full) == skeleton(f"{publisher}.{name}"):
            return Clash("pack_confusable", full, f"{publisher}.{name} reads like the pack {full}")
        if other["workspace_id"] != workspace_id and near(theirs, publisher):
            return Clash("publisher_near", theirs, f"{publisher} is one slip away from the publisher {theirs}")
    return None


def shadowing(
    pack: str, publisher: str, tools: Iterable[str], attached: Iterable[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """The tools of a pack that may be taken for an attached one ({pack, publisher, tool}): [{tool, other, code}].

    `tool_shadowed`: another publisher's pack offers a tool of this very name. `tool_confusable`: one of a name that reads
    like it, whoever offers it: nobody needs `search` beside `se_arch`."""
    found = []
    there: dict[str, list[Mapping[str, Any]]] = {}
    for other in attached:
        if other["pack"] != pack:
            there.setdefault(skeleton(other["tool"]), []).append(other)
    for tool in tools:
        for other in there.get(skeleton(tool), ()):
            named = f"{other['pack']}.{other['tool']}"
            if tool == other["tool"]:
                if other["publisher"] != publisher:
                    found.append({"tool": tool, "other": named, "code": "tool_shadowed"})
            else:
                found.append({"tool": tool, "other": named, "code": "tool_confusable"})
    return found
