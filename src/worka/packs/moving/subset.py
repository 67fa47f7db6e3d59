"""Whether one JSON Schema accepts nothing that another does not. Pure, and careful: what it cannot show, it denies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import re2

from worka.kernel import canonical, schemas

_WORDS = frozenset(
    {"title", "description", "examples", "default", "$comment", "deprecated", "readOnly", "writeOnly", "$schema", "$id"}
)
"""Keywords that tell a reader something and refuse no value."""
_FLOORS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_CEILINGS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_INSTEAD = ("prefixItems", "patternProperties")
"""Keywords whose values the general one (`items`, `additionalProperties`) is not asked about."""
_TYPES = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})
_DEEPEST = 24


def plain(schema: Any) -> Any:
    """The schema without what only people and models read."""
    if isinstance(schema, Mapping):
        return {
            key: {name: plain(inner) for name, inner in value.items()}
            if key in ("properties", "$defs", "definitions", "patternProperties") and isinstance(value, Mapping)
            else value
            if key in ("enum", "const", "required")
            else plain(value)
            for key, value in schema.items()
            if key not in _WORDS
        }
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    return schema


def same(one: Any, other: Any) -> bool:
    """Equal as JSON."""
    return canonical.sha256_hex({"v": one}) == canonical.sha256_hex({"v": other})


def within(after: Any, before: Any) -> bool:
    """True when every value that `after` accepts is shown to be one that `before` accepts. False: it is wider, or nobody
    can tell. Both are schemas, None (which accepts everything), or booleans."""
    left, right = _whole(after), _whole(before)
    if _refers(left) or _refers(right):
        # What a reference leads to stands elsewhere in the document: equal as a whole, or not shown.
        return same(left, right)
    return _within(left, right, 0)


def _refers(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return bool({"$ref", "$dynamicRef", "$recursiveRef"} & schema.keys()) or any(map(_refers, schema.values()))
    return isinstance(schema, list) and any(map(_refers, schema))


def _whole(schema: Any) -> Any:
    return {} if schema is None or schema is True else plain(schema)


def _within(after: Any, before: Any, depth: int) -> bool:
    if depth > _DEEPEST:
        return False
    after, before = (({} if side is True or side is None else side) for side in (after, before))
    if before == {} or after is False:
        return True
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return same(after, before)
    if same(after, before):
        return True
    values = [after["const"]] if "const" in after else after.get("enum")
    if isinstance(values, list):
        return _all_fit(before, values)
    if any(key in after and not (key in before and same(after[key], before[key])) for key in _INSTEAD):
        return False
    return all(_implied(key, value, after, before, depth + 1) for key, value in before.items())


def _all_fit(schema: Mapping[str, Any], values: list[Any]) -> bool:
    try:
        return not any(schemas.errors(schema, value, most=1) for value in values)
    except (schemas.TooCostly, re2.error, RecursionError):
        return False


def _implied(key: str, value: Any, after: Mapping[str, Any], before: Mapping[str, Any], depth: int) -> bool:
    """Whether what `before` demands by one keyword holds for everything that `after` accepts."""
    mine = after.get(key)
    if key in ("$defs", "definitions"):
        return True  # demands nothing by itself, and nothing here refers to it
    if key == "type":
        return _types(after) <= _types(before)
    if key in _FLOORS or key in _CEILINGS:
        number = isinstance(mine, int | float) and isinstance(value, int | float)
        return number and (mine >= value if key in _FLOORS else mine <= value)
    if key == "required":
        return isinstance(mine, list) and set(value) <= set(mine)
    if key == "properties":
        return all(_property(name, inner, after, depth) for name, inner in value.items())
    if key == "additionalProperties":
        return _additional(value, after, before, depth)
    if key == "items":
        return "items" in after and _within(mine, value, depth)
    if key == "uniqueItems":
        return value is False or mine is True
    # A pattern, a format, any combination: demanded by both in the same words, or not shown.
    return key in after and same(mine, value)


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    named = schema.get("type")
    found = frozenset(named if isinstance(named, list) else [named] if isinstance(named, str) else _TYPES)
    return found | {"integer"} if "number" in found else found


def _property(name: str, inner: Any, after: Mapping[str, Any], depth: int) -> bool:
    """Whether what `after` lets stand under a name is what `before` lets stand there."""
    own = after.get("properties")
    if isinstance(own, Mapping) and name in own:
        return _within(own[name], inner, depth)
    if after.get("patternProperties"):
        return False
    return _within(after.get("additionalProperties", {}), inner, depth)


def _additional(value: Any, after: Mapping[str, Any], before: Mapping[str, Any], depth: int) -> bool:
    """Whether every name that only `after` knows, and every one that neither does, is let stand by `before` too."""
    if before.get("patternProperties") and not same(after.get("patternProperties"), before.get("patternProperties")):
        return False
    own = after.get("properties")
    known = before.get("properties")
    new = {name: inner for name, inner in (own or {}).items() if not isinstance(known, Mapping) or name not in known}
    rest = _within(after.get("additionalProperties", {}), value, depth)
    return rest and all(_within(inner, value, depth) for inner in new.values())
