"""A tool's arguments as facts that policy can look at: typed, flat, bounded. Pure.

Cedar has records with fixed fields and no maps; what has tags of one type is an entity. So the arguments of a call are four
of those, by type: `context.args` (texts), `args_number`, `args_flag`, `args_list` (lists of texts, numbers or flags, as
texts), asked by `hasTag("name")` and `getTag("name")`, a nested one by its path with dots. `context.args_unseen` names those
that fit no type: null, fractions, numbers beyond 64 bits, texts that are too long (a cut one would hide its end), lists
of objects, and what is nested too deep or is one too many. A statement that must not miss an argument asks for those too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TYPES = {"args": "String", "args_number": "Long", "args_flag": "Bool", "args_list": "Set<String>"}
"""The word in the context, and the type of its tags."""
UNSEEN = "args_unseen"
ACTION = "tool.invoke"
"""The one action that is given any."""
MOST, DEEPEST, LONGEST = 100, 4, 4000
_LEAST, _GREATEST = -(2**63), 2**63 - 1
Typed = dict[str, Any]


def entity_type(word: str) -> str:
    """`args_number` -> `ArgsNumber`."""
    return "".join(part.capitalize() for part in word.split("_"))


def typed(arguments: Mapping[str, Any]) -> Typed:
    """{args: {name: text}, args_number: …, args_flag: …, args_list: …, args_unseen: [names]}."""
    found: Typed = {word: {} for word in TYPES}
    unseen: set[str] = set()
    for number, (name, value) in enumerate(_leaves(arguments, "", 1)):
        if number >= MOST:
            unseen.add(name)
        elif isinstance(value, bool):
            found["args_flag"][name] = value
        elif isinstance(value, float) and value.is_integer() and _LEAST <= value <= _GREATEST:
            found["args_number"][name] = int(value)
        elif isinstance(value, int) and _LEAST <= value <= _GREATEST:
            found["args_number"][name] = value
        elif isinstance(value, str) and len(value) <= LONGEST:
            found["args"][name] = value
        elif isinstance(value, list) and len(value) <= MOST and all(map(_plain, value)):
            found["args_list"][name] = sorted({_text(item) for item in value})
        else:
            unseen.add(name)
    return {**found, UNSEEN: sorted(unseen)}


def _leaves(arguments: Mapping[str, Any], before: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in arguments.items():
        name = f"{before}{key}"
        if "." in key or (isinstance(value, dict) and depth == DEEPEST):
            # A dot in a name would make two paths one.
            yield name, None
        elif isinstance(value, dict):
            yield from _leaves(value, f"{name}.", depth + 1)
        else:
            yield name, value


def _plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST
    return isinstance(value, bool | int)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def looked_at(arguments: Typed, names: frozenset[str]) -> Typed:
    """Those of these names alone: what a policy asks for is all that is evaluated and recorded."""
    found: Typed = {}
    for word in TYPES:
        if some := {name: value for name, value in arguments.get(word, {}).items() if name in names}:
            found[word] = some
    if hidden := [name for name in arguments.get(UNSEEN, ()) if name in names or _below(name, names)]:
        found[UNSEEN] = hidden
    return found


def _below(name: str, names: frozenset[str]) -> bool:
    """Whether an unseen branch hides an asked one, or lies below it."""
    return any(asked.startswith(f"{name}.") or name.startswith(f"{asked}.") for asked in names)


def apart(context: Mapping[str, Any]) -> tuple[Typed, dict[str, Any]]:
    """(the arguments in a context, its other facts)."""
    given = {name: value for name, value in context.items() if name in TYPES or name == UNSEEN}
    return given, {name: value for name, value in context.items() if name not in given}


def fault_of(given: Typed) -> str:
    """What of them is not of its type; empty when all is. A record that was changed must not pass for another fact."""
    kinds: dict[str, Any] = {"args": str, "args_number": int, "args_flag": bool, "args_list": list}
    for word, value in given.items():
        if word == UNSEEN:
            right = isinstance(value, list) and all(isinstance(item, str) for item in value)
        else:
            right = isinstance(value, dict) and all(
                isinstance(item, kinds[word]) and (word == "args_flag" or not isinstance(item, bool))
                for item in value.values()
            )
        if not right:
            return f"{word} does not hold what its type says"
    return ""


def names_in(policy: Any) -> tuple[frozenset[str], bool]:
    """(the argument names that a policy in Cedar's JSON asks for, whether every one is written out)."""
    names: set[str] = set()
    literal = True
    for node in _nodes(policy):
        for verb in ("hasTag", "getTag"):
            if verb in node and isinstance(node[verb], dict):
                asked = node[verb].get("right", {}).get("Value")
                if isinstance(asked, str):
                    names.add(asked)
                else:
                    literal = False
        contains = node.get("contains")
        if isinstance(contains, dict) and contains.get("left", {}).get(".", {}).get("attr") == UNSEEN:
            asked = contains.get("right", {}).get("Value")
            if isinstance(asked, str):
                names.add(asked)
            else:
                literal = False
    return frozenset(names), literal


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)
