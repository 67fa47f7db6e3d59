"""From annotations to schemas, and JSON to typed values: what is understood, what is refused, and where."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worka_sdk import Field, Wrong
from worka_sdk.schema import convert, dump, schema_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(TypedDict):
    name: str
    height: NotRequired[float]


@dataclass
class Thing:
    """Something."""

    count: Annotated[int, Field("how many", least=1, most=9)]
    colour: Colour
    mode: Literal["a", "b"] = "a"
    words: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    note: str | None = None
    anything: Any = None


GOOD = {"count": 2, "colour": "red", "words": ["x"], "places": {"p": {"name": "Bern"}}, "note": None}


def test_a_schema_takes_exactly_what_becomes_the_type() -> None:
    schema = schema_of(Thing)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(GOOD, schema)
    thing = convert(Thing, GOOD)
    assert (thing.count, thing.colour, thing.mode, thing.places["p"]["name"]) == (2, Colour.RED, "a", "Bern")
    assert convert(Thing, json.loads(json.dumps(dump(thing)))) == thing
    assert schema["required"] == ["count", "colour"]
    assert schema["properties"]["count"] == {"type": "integer", "description": "how many", "minimum": 1, "maximum": 9}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"count": 10}, "/count"),
    ({"count": True}, "/count"),
    ({"count": 1.5}, "/count"),
    ({"colour": "green"}, "/colour"),
    ({"mode": 1}, "/mode"),
    ({"words": ["x", 5]}, "/words/1"),
    ({"words": "x"}, "/words"),
    ({"places": {"a/b": {}}}, "/places/a~1b/name"),
    ({"places": {"p": {"name": "x", "depth": 1}}}, "/places/p/depth"),
    ({"note": 5}, "/note"),
    ({"unknown": 1}, "/unknown"),
]


def test_what_does_not_fit_is_told_with_its_place_as_the_schema_would() -> None:
    for change, pointer in WRONG:
        wrong = GOOD | change
        with pytest.raises(Wrong) as refused:
            convert(Thing, wrong)
        assert refused.value.pointer == pointer
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema_of(Thing))


@dataclass
class Endless:
    inner: list[Endless]


@given(st.integers() | st.floats(allow_nan=False) | st.text() | st.booleans() | st.none())
def test_a_value_of_a_union_keeps_its_own_type_whatever_is_named_first(value: Any) -> None:
    for kind in (str | float | int | bool | None, float | Annotated[int, Field("n")] | bool | str | None):
        found = convert(kind, value)
        assert (found, type(found)) == (value, type(value))
    assert convert(float | str, 2) == 2.0, "the control: a whole number is a number where nothing nearer is named"


def test_a_type_without_a_schema_is_refused_where_it_is_defined() -> None:
    for kind in (bytes, set[str], dict[int, str], object, Endless, complex):
        with pytest.raises(TypeError):
            schema_of(kind)
    assert schema_of(dict[str, int]) == {"type": "object", "additionalProperties": {"type": "integer"}}, "the control"


def test_a_value_that_json_cannot_hold_is_refused() -> None:
    for value in (float("nan"), float("inf"), b"x", object(), {"a": {1, 2}}):
        with pytest.raises(TypeError):
            dump(value)
    assert dump({"\udcff": ["\ud800x", "Zürich 🐐"]}) == {"?": ["?x", "Zürich 🐐"]}, "half of a pair is no character"
    assert dump({"a": (1, None, Colour.BLUE)}) == {"a": [1, None, "blue"]}
