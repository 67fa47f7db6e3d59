"""Definitions and references: what may be saved, and how a step's arguments come about."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from worka.workflows import rules
from worka.workflows.errors import DefinitionInvalid, InputsInvalid, ReferenceMissing

DEFINITION: dict[str, Any] = {
    "schema_version": "worka.workflow.v1",
    "name": "notes",
    "title": {"$join": ["Notes of ", {"$input": "repository"}]},
    "inputs": {
        "type": "object",
        "required": ["repository"],
        "properties": {
            "repository": {"type": "string"},
            "since": {"type": "string", "format": "date-time"},
            "limit": {"type": "integer", "minimum": 1, "default": 100},
        },
    },
    "members": [{"name": "*", "tools": ["a.git.log", "a.notes.publish"]}],
    "steps": [
        {
            "kind": "tool",
            "name": "log",
            "tool": "a.git.log",
            "arguments": {"n": {"$input": "limit"}, "from": {"$input": "since"}},
        },
        {
            "kind": "tool",
            "name": "publish",
            "tool": "a.notes.publish",
            "arguments": {"text": {"$step": "log", "path": "text"}},
        },
        {
            "kind": "publish_view",
            "name": "show",
            "view": "notes",
            "title": "Notes",
            "document": {"$step": "log", "path": "text"},
        },
    ],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(DEFINITION)
    place: Any = document
    *way, last = path.split(".")
    for part in way:
        place = place[int(part)] if part.isdigit() else place[part]
    place[int(last) if last.isdigit() else last] = value
    return document


def resolve(template: Any, **scope: Any) -> Any:
    return rules.resolve(template, **{"inputs": {}, "results": {}, "task": {}, **scope})


def test_the_digest_is_of_the_meaning_and_not_of_the_spelling() -> None:
    reordered = dict(reversed(DEFINITION.items()))
    assert rules.digest(rules.read(DEFINITION)) == rules.digest(rules.read(reordered))
    assert rules.digest(rules.read(DEFINITION)) != rules.digest(rules.read(changed("steps.0.seconds", 7)))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("steps.0.tool", "a.git.push", "no member declares"),
        ("steps.1.name", "log", "two steps are called log"),
        ("steps.0.arguments", {"n": {"$input": "limitt"}}, "no input 'limitt'"),
        ("steps.0.arguments", {"n": {"$step": "publish"}}, "no earlier step"),
        ("steps.1.arguments", {"n": {"$eval": "1+1"}}, "is not a reference"),
        ("steps.1.arguments", {"n": {"$step": "log", "default": 1}}, "is not a reference"),
        ("steps.1.arguments", {"n": [{"$task": "secret"}]}, "no field 'secret'"),
        ("steps.0.kind", "shell", "kind"),
        ("inputs", {"type": "array"}, "type object"),
        ("inputs", {"type": "object", "properties": {"a": {"$ref": "https://elsewhere/x"}}}, "refer only to itself"),
        ("limits", {"steps": 2}, "more than limits.steps"),
        ("title", {"$step": "log"}, "not a reference"),
        ("outcomes", ["done"], "outcomes"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_definition_that_cannot_hold_is_refused_with_the_field(path: str, value: Any, said: str) -> None:
    with pytest.raises(DefinitionInvalid) as refused:
        rules.read(changed(path, value))
    told = " ".join(f"{item['field']}: {item['message']}" for item in refused.value.extra["errors"])
    assert said in told


def test_inputs_are_typed_and_defaults_filled_in() -> None:
    definition = rules.read(DEFINITION)
    assert rules.check_inputs(definition, {"repository": "x"}) == {"repository": "x", "limit": 100}
    for bad in ({}, {"repository": 3}, {"repository": "x", "limit": 0}, {"repository": "x", "more": 1}):
        with pytest.raises(InputsInvalid):
            rules.check_inputs(definition, bad)
    for time, good in (("2026-01-02T03:04:05Z", True), ("yesterday", False), ("2026-01-02T03:04:05", False)):
        given = {"repository": "x", "since": time}
        if good:
            assert rules.check_inputs(definition, given)["since"] == time
        else:
            with pytest.raises(InputsInvalid):
                rules.check_inputs(definition, given)


def test_references_are_replaced_and_an_absent_input_leaves_its_key_out() -> None:
    results = {"log": {"text": "abc", "structured": {"items": [{"url": "u"}]}}}
    assert resolve({"a": {"$input": "since"}, "b": {"$input": "n"}}, inputs={"n": 2}) == {"b": 2}
    assert resolve({"u": {"$step": "log", "path": "structured.items.0.url"}}, results=results) == {"u": "u"}
    assert (
        resolve({"$join": ["n=", {"$input": "n"}, "/", {"$task": "id"}]}, inputs={"n": 2}, task={"id": "t"}) == "n=2/t"
    )
    assert resolve([{"$input": "gone"}, 1]) == [1]


def test_what_a_result_says_is_never_read_as_a_reference() -> None:
    results = {"log": {"text": {"$input": "secret"}}}
    found = resolve({"x": {"$step": "log", "path": "text"}}, results=results, inputs={"secret": "s3cret"})
    assert found == {"x": {"$input": "secret"}}


@pytest.mark.parametrize("path", ["nothing", "structured.items.7", "text.deeper", "structured.items.x"])
def test_a_missing_value_is_named_without_telling_the_values_around_it(path: str) -> None:
    results = {"log": {"text": "very private", "structured": {"items": [1]}}}
    with pytest.raises(ReferenceMissing) as refused:
        resolve({"$step": "log", "path": path}, results=results)
    assert path in refused.value.detail
    assert "private" not in refused.value.detail


def test_an_undeclared_tool_or_member_is_refused() -> None:
    definition = rules.read(changed("members", [{"name": "Rena", "tools": ["a.git.log", "a.notes.publish"]}]))
    assert rules.may_call(definition, "Rena", "a.git.log")
    assert not rules.may_call(definition, "Rena", "a.git.push")
    assert not rules.may_call(definition, "Otto", "a.git.log")
    assert not rules.may_take_part(definition, "Otto")


def test_the_title_is_one_line_made_of_the_inputs() -> None:
    assert rules.title(rules.read(DEFINITION), {"repository": "wor\nka"}) == "Notes of wor ka"
