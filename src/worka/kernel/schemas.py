"""JSON Schemas that come from outside, applied in bounded time.

A pack's manifest, a probed tool and a workflow bring schemas along, and they are applied in our own process. Python's
regular expressions can take longer than the universe for one short text, and references can multiply. So patterns run on
RE2, whose time grows with the text only, and every application has a budget of steps
and of processor time.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import jsonschema
import re2
from jsonschema import Draft202012Validator, validators
from referencing import Registry

STEPS = 100_000
"""Keywords that one application may evaluate."""
SECONDS = 0.25
"""Processor time that one application may take: everything else in this process waits so long."""
CHECK_STEPS = 500_000
"""Keywords that checking the schemas of one document may evaluate: about 17,000 schemas within schemas, two seconds."""
_PATTERN_STEPS = 250
_MOST_SOUND = 10_000
_sound: set[bytes] = set()
_left: ContextVar[int] = ContextVar("schema_steps_left")
_until: ContextVar[float] = ContextVar("schema_until")
_quiet = re2.Options()
_quiet.log_errors = False
_quiet.max_mem = 1 << 20


class TooCostly(Exception):
    """The schema needs more steps than an application may take."""


@lru_cache(maxsize=2000)
def compiled(pattern: str) -> Any:
    """The pattern for RE2, with JavaScript's \\uXXXX. Raises re2.error for what RE2 cannot (looking around, references back)."""
    return re2.compile(re.sub(r"\\u([0-9a-fA-F]{4})", r"\\x{\1}", pattern), _quiet)


@contextmanager
def allowance(steps: int = CHECK_STEPS) -> Iterator[None]:
    """What is checked within, by `check` and `faults`, may take so many steps together."""
    token, end = _left.set(steps), _until.set(math.inf)
    try:
        yield
    finally:
        _left.reset(token)
        _until.reset(end)


def check(schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with a schema, in words; empty if nothing: it is no JSON Schema, or we cannot apply it in bounded time. A
    schema that was found sound is not looked at again."""
    known = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).digest()
    if known in _sound:
        return []
    with nullcontext() if _left.get(None) is not None else allowance():
        try:
            first = next(_Bounded(Draft202012Validator.META_SCHEMA, registry=Registry()).iter_errors(schema), None)
            found = faults(schema) if first is None else [f"not a JSON Schema: {first.message[:300]}"]
        except (TooCostly, RecursionError):
            return [f"it takes more than {CHECK_STEPS} steps to check the schemas of one document"]
    if not found:
        if len(_sound) >= _MOST_SOUND:
            _sound.clear()
        _sound.add(known)
    return found


def faults(schema: Any) -> list[str]:
    """What about a schema we cannot apply in bounded time, in words; empty if nothing."""
    with nullcontext() if _left.get(None) is not None else allowance():
        try:
            return _faults(schema)
        except TooCostly:
            return [f"it takes more than {CHECK_STEPS} steps to check the schemas of one document"]


def _faults(schema: Any) -> list[str]:
    found: list[str] = []
    names: set[str] = set()
    stack = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            names |= set(item)
            patterns = [item["pattern"]] if isinstance(item.get("pattern"), str) else []
            if isinstance(item.get("patternProperties"), Mapping):
                patterns += list(item["patternProperties"])
            for pattern in patterns:
                _spend(_PATTERN_STEPS)
                try:
                    compiled(pattern)
                except re2.error:
                    found.append(
                        f"the pattern {pattern[:80]!r} is none that can be matched in bounded time (RE2 syntax)"
                    )
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    if {"patternProperties", "unevaluatedProperties"} <= names:
        found.append("patternProperties and unevaluatedProperties do not go together here")
    return sorted(set(found))


def errors(
    schema: Mapping[str, Any], value: Any, *, formats: jsonschema.FormatChecker | None = None, most: int = 20
) -> list[jsonschema.ValidationError]:
    """Where the value does not fit, at most `most` of them. Raises TooCostly, re2.error, Unresolvable, RecursionError.

    An empty registry: a schema from outside must not make this process fetch what its $ref names."""
    token, end = _left.set(STEPS), _until.set(time.thread_time() + SECONDS)
    try:
        found = []
        for error in _Bounded(dict(schema), registry=Registry(), format_checker=formats).iter_errors(value):
            found.append(error)
            if len(found) >= most:
                break
        return found
    finally:
        _left.reset(token)
        _until.reset(end)


def _spend(steps: int) -> None:
    left = _left.get()
    if left < steps or (left % 64 < steps and time.thread_time() > _until.get()):
        raise TooCostly(f"the schema takes more than {STEPS} steps or {SECONDS} s for this value")
    _left.set(left - steps)


Keyword = Callable[[Any, Any, Any, Any], Iterator[jsonschema.ValidationError] | None]


def _counted(keyword: Keyword) -> Keyword:
    def run(validator: Any, want: Any, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
        _spend(1)
        yield from keyword(validator, want, value, schema) or ()

    return run


def _pattern(validator: Any, want: str, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(value, "string"):
        _spend(1 + len(value) // 1000)
        if not compiled(want).search(value):
            yield jsonschema.ValidationError(f"does not match {want!r}")


def _pattern_properties(validator: Any, want: Any, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(value, "object"):
        for pattern, inner in want.items():
            _spend(1 + len(value))
            for name, part in value.items():
                if compiled(pattern).search(name):
                    yield from validator.descend(part, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, want: Any, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    if not validator.is_type(value, "object"):
        return
    patterns = list(schema.get("patternProperties", ()))
    _spend(1 + len(value) * (1 + len(patterns)))
    known = schema.get("properties", {})
    for name, part in value.items():
        if name in known or any(compiled(pattern).search(name) for pattern in patterns):
            continue
        if validator.is_type(want, "object"):
            yield from validator.descend(part, want, path=name)
        elif not want:
            yield jsonschema.ValidationError(f"{name[:80]!r} is not a known field")


def _unique_items(validator: Any, want: bool, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, list):
        # What cannot be sorted is compared pair by pair.
        simple = all(isinstance(item, str) for item in value)
        _spend(len(value) if simple else len(value) * len(value) // 100)
    yield from Draft202012Validator.VALIDATORS["uniqueItems"](validator, want, value, schema) or ()


_KEYWORDS: dict[str, Keyword] = {
    **{name: _counted(keyword) for name, keyword in Draft202012Validator.VALIDATORS.items()},
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
_Bounded: Any = validators.extend(Draft202012Validator, _KEYWORDS)  # type: ignore[no-untyped-call]


def _evolve(self: Any, **changes: Any) -> Any:
    """The same validator for a part of the schema. jsonschema's own takes another one, which counts nothing and runs Python's
    regular expressions, for a part that says `$schema`."""
    kept = {field.alias: getattr(self, field.name) for field in type(self).__attrs_attrs__ if field.init}
    return type(self)(**(kept | changes))


_Bounded.evolve = _evolve
