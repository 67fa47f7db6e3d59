"""Schemas that come from outside are applied in bounded time, and otherwise mean what JSON Schema says."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest
import re2
from jsonschema import Draft202012Validator

from worka.kernel import schemas

SLOW = "^(a+)+$"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEEP: dict[str, Any] = {
    "$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {"type": "string"}},
    "$ref": "#/$defs/d0",
}


def took(schema: dict[str, Any], value: Any) -> float:
    """Seconds of processor time, whatever came of it.

    Without the collector: in a process that holds millions of objects one full collection takes longer than any schema
    here, and it is the process's cost, not the schema's.
    """
    gc.disable()
    began = time.thread_time()
    try:
        schemas.errors(schema, value)
    except schemas.TooCostly:
        pass
    finally:
        gc.enable()
    return time.thread_time() - began


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": {"x": {"pattern": SLOW}}}, {"x": "a" * 40 + "!"}),
        ({"properties": {"x": {"$schema": DIALECT, "pattern": SLOW}}}, {"x": "a" * 40 + "!"}),
        ({"allOf": [{"$schema": "http://json-schema.org/draft-07/schema#", "pattern": SLOW}]}, "a" * 40 + "!"),
        ({"patternProperties": {SLOW: {}}, "additionalProperties": False}, {"a" * 40 + "!": 1}),
        ({"items": {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}, ["a" * 5000] * 50),
        (DEEP, "x"),
        ({"uniqueItems": True}, [{"n": n} for n in range(20_000)]),
        ({"anyOf": [{"items": {"anyOf": [{"const": n} for n in range(300)]}}] * 20}, list(range(-3000, 0))),
    ],
    ids=[
        "pattern",
        "dialect",
        "another dialect",
        "names",
        "long texts",
        "references that double",
        "unique objects",
        "alternatives",
    ],
)
def test_a_costly_schema_is_over_in_a_moment(schema: dict[str, Any], value: Any) -> None:
    assert took(schema, value) < 1.0


def test_what_takes_too_many_steps_is_refused_and_not_let_through() -> None:
    with pytest.raises(schemas.TooCostly):
        schemas.errors(DEEP, "x")


def test_a_pattern_that_needs_looking_around_is_named_before_it_is_ever_applied() -> None:
    for pattern in ("^(?=a)b", "(a)\\1", "(?<!x)y", "("):
        assert repr(pattern) in schemas.faults({"properties": {"x": {"pattern": pattern}}})[0]
        with pytest.raises(re2.error):
            schemas.errors({"pattern": pattern}, "text")
    assert schemas.faults({"allOf": [{"patternProperties": {"(?!a)": {}}}]})
    assert schemas.faults({"properties": {"pattern": {"type": "string"}}, "pattern": "^[\\u0041-\\u005a]\\d+$"}) == []


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "b+"}, "abc"), ({"pattern": "^b"}, "abc"), ({"pattern": "^\\u0062"}, "b"), ({"pattern": "x"}, 7),
        ({"properties": {"a": {"type": "integer"}}, "additionalProperties": False}, {"a": 1, "b": 2}),
        ({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": False}, {"x-a": "1", "y": 1}),
        ({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": {"type": "null"}}, {"x-a": 1, "y": None}),
        ({"additionalProperties": {"minimum": 3}}, {"a": 2, "b": 4}),
        ({"uniqueItems": True}, [1, 2, 1]), ({"uniqueItems": True}, ["a", "b"]), ({"uniqueItems": False}, [1, 1]),
        ({"oneOf": [{"type": "string"}, {"minLength": 2}]}, "abc"), ({"enum": [1, "a"]}, "b"),
        ({"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
         {"next": {"next": 5}}),
        ({"required": ["a"], "dependentRequired": {"b": ["c"]}}, {"b": 1}), (True, 1), ({"not": {}}, 1),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}), ({"contains": {"const": 2}}, [1, 2]),
        ({"unevaluatedProperties": False, "properties": {"a": {}}}, {"a": 1, "b": 2}),
    ],
)  # fmt: skip
def test_the_verdict_is_that_of_json_schema(schema: Any, value: Any) -> None:
    if schema is True:
        schema = {}
    ours = {error.json_path for error in schemas.errors(schema, value)}
    theirs = {error.json_path for error in Draft202012Validator(schema).iter_errors(value)}
    assert ours == theirs


@pytest.mark.parametrize("dialect", [DIALECT, "http://json-schema.org/draft-07/schema#"])
def test_a_part_that_names_a_dialect_is_applied_by_the_same_rules(dialect: str) -> None:
    looks = {"pattern": "(?=a)"}
    for schema in ({"properties": {"x": looks}}, {"properties": {"x": {"$schema": dialect, **looks}}}):
        with pytest.raises(re2.error):
            schemas.errors(schema, {"x": "a"})
    assert schemas.errors({"properties": {"x": {"$schema": dialect, "pattern": "a"}}}, {"x": "a"}) == [], "the control"


def test_checking_a_schema_is_over_in_a_moment_however_long_it_is() -> None:
    wide = {"properties": {f"p{number}": {"type": "string"} for number in range(20_000)}}
    kinds = {"type": [1, *map(str, range(9000))]}
    patterns = {"anyOf": [{"pattern": f"a{number}"} for number in range(10_000)]}
    for schema in (wide, kinds, patterns):
        began = time.thread_time()
        with schemas.allowance(20_000):
            assert "steps" in schemas.check(schema)[0]
        assert time.thread_time() - began < 2
    assert schemas.check({"properties": {f"p{number}": {"type": "string"} for number in range(500)}}) == []
    assert "not a JSON Schema" in schemas.check({"type": "text"})[0]
    assert "RE2" in schemas.check({"pattern": "(?=a)"})[0]


def test_the_schemas_of_one_document_share_what_checking_may_take() -> None:
    one, two = ({"properties": {f"{name}{number}": {} for number in range(40)}} for name in "ab")
    with schemas.allowance(1500):
        assert schemas.check(one) == []
        assert "steps" in schemas.check(two)[0]
        assert schemas.check(one) == [], "what was found sound is not looked at again"
    assert schemas.check(two) == [], "the control: by itself"
