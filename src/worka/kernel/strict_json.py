"""One way to read JSON from outside: what two readers could take for different things is refused, with its place.

RFC 8259 leaves open what a repeated name means, how deep a document may be and how large a number; RFC 7493 (I-JSON)
closes it. We refuse what it calls unsafe, so that what a person approves is what every reader behind us reads.
"""

from __future__ import annotations

import json
import math
from typing import Any

from worka.kernel.errors import BadRequest

DEPTH = 64
"""Levels of objects and lists. A manifest with its schemas needs about 20."""
SAFE_INTEGER = 2**53 - 1


class Unreadable(BadRequest):
    """The body is not JSON that every reader reads alike."""

    code, title = "body_unreadable", "The body cannot be read"
    default_remedy = "Send one JSON document in UTF-8, each name once in its object (RFC 7493)."


def loads(raw: bytes) -> Any:
    """The document. Raises Unreadable: not UTF-8, not JSON, a name twice in one object, too deep, a number that not every
    reader can hold, or a character that cannot be stored. `field` is a JSON Pointer where one is known."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"The body is not UTF-8 (byte {error.start}).", field="/body") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise Unreadable(f"The body is nested deeper than {DEPTH} levels.", field="/body") from error
    except json.JSONDecodeError as error:
        raise Unreadable(
            f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).", field="/body"
        ) from error
    except ValueError as error:  # an integer of thousands of digits
        raise Unreadable("A number in the body has too many digits.", field="/body") from error
    if (fault := _fault(value, 0)) is not None:
        steps, problem = fault
        pointer = "/".join(["/body", *map(_step, reversed(steps))])[:200]
        raise Unreadable(f"{pointer}: {problem}", field=pointer)
    return value


def _step(name: str) -> str:
    """A name as a step of a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Unreadable(f"The name {twice[:80]!r} stands twice in one object.", field=twice[:80])
    return found


def _constant(name: str) -> Any:
    raise Unreadable(f"{name} is not JSON.", field="/body")


def _fault(value: Any, depth: int) -> tuple[list[str], str] | None:
    """The first fault: the steps to it, the innermost first, and what it is. The way is put together only where there is
    one: a long name above a long list would be copied for every item."""
    if isinstance(value, str):
        problem = _text(value)
        return None if problem is None else ([], problem)
    if isinstance(value, float):
        return None if math.isfinite(value) else ([], "the number is too large")
    if isinstance(value, int):
        if abs(value) > SAFE_INTEGER:
            return [], "an integer beyond 2^53 - 1 is not read alike everywhere: send it as a string"
        return None
    if isinstance(value, (dict, list)):
        if depth >= DEPTH:
            return [], f"nested deeper than {DEPTH} levels"
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str) and (problem := _text(name)) is not None:
                return [], f"in a name: {problem}"
            if (fault := _fault(inner, depth + 1)) is not None:
                fault[0].append(str(name))
                return fault
    return None


def _text(text: str) -> str | None:
    if text.isascii():
        return "the character NUL cannot be stored" if "\x00" in text else None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair is no character"
    return "the character NUL cannot be stored" if "\x00" in text else None
