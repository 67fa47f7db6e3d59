"""One way to read JSON from outside: what two readers could take for different things is refused, with its place.

RFC 8259 leaves open what a repeated name means, how deep a document may be and how large a number; RFC 7493 (I-JSON)
closes it. We refuse what it calls unsafe, so that what a person approves is what every reader behind us reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
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
    for pointer, problem in _faults(value, "/body", 0):
        raise Unreadable(f"{pointer or '/'}: {problem}", field=pointer)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise Unreadable(f"The name {twice[:80]!r} stands twice in one object.", field=twice[:80])
    return found


def _constant(name: str) -> Any:
    raise Unreadable(f"{name} is not JSON.", field="/body")


def _faults(value: Any, pointer: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if (problem := _text(value)) is not None:
            yield pointer, problem
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield pointer, "the number is too large"
    elif isinstance(value, int):
        if abs(value) > SAFE_INTEGER:
            yield pointer, "an integer beyond 2^53 - 1 is not read alike everywhere: send it as a string"
    elif isinstance(value, (dict, list)):
        if depth >= DEPTH:
            yield pointer[:200], f"nested deeper than {DEPTH} levels"
            return
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str) and (problem := _text(name)) is not None:
                yield pointer, f"in a name: {problem}"
                return
            yield from _faults(inner, f"{pointer}/{name}", depth + 1)


def _text(text: str) -> str | None:
    if text.isascii():
        return "the character NUL cannot be stored" if "\x00" in text else None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair is no character"
    return "the character NUL cannot be stored" if "\x00" in text else None
