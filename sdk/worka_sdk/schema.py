"""From annotations to JSON Schema, from JSON to typed values, and back.

Understood: str, int, float, bool, None, Any, Literal, Enum, lists, `dict[str, T]`, unions, dataclasses, TypedDicts, and
`Annotated[T, Field(…)]` (or a plain text as its description). What is not understood is refused where the tool is
defined, so that no pack starts with a schema that says less than its code.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from worka_sdk.errors import Wrong

_PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


@dataclass(frozen=True)
class Field:
    """What is said of a parameter or a field, and its bounds. `least`/`most` bound numbers, `min_length`/`max_length`
    texts and lists; `pattern` must match the whole text."""

    description: str = ""
    least: float | None = None
    most: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None

    def keywords(self, kind: str | None) -> dict[str, Any]:
        """As keywords of JSON Schema for a value of this type."""
        lengths = ("minItems", "maxItems") if kind == "array" else ("minLength", "maxLength")
        said = {
            "description": self.description or None,
            "minimum": self.least,
            "maximum": self.most,
            lengths[0]: self.min_length,
            lengths[1]: self.max_length,
            "pattern": f"^(?:{self.pattern})$" if self.pattern is not None else None,
        }
        return {key: value for key, value in said.items() if value is not None}

    def check(self, value: Any, pointer: str) -> None:
        """Raises Wrong where a value is out of these bounds."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.least is not None and value < self.least:
                raise Wrong(pointer, f"must be at least {self.least:g}")
            if self.most is not None and value > self.most:
                raise Wrong(pointer, f"must be at most {self.most:g}")
        if isinstance(value, str | list):
            what = "characters" if isinstance(value, str) else "items"
            if self.min_length is not None and len(value) < self.min_length:
                raise Wrong(pointer, f"must have at least {self.min_length} {what}")
            if self.max_length is not None and len(value) > self.max_length:
                raise Wrong(pointer, f"must have at most {self.max_length} {what}")
        if self.pattern is not None and isinstance(value, str) and not re.fullmatch(self.pattern, value):
            raise Wrong(pointer, f"must match {self.pattern}")


def _parts(kind: Any) -> tuple[Any, list[Field]]:
    """The type and what is said of it."""
    if get_origin(kind) is not Annotated:
        return kind, []
    inner, *said = get_args(kind)
    return inner, [item if isinstance(item, Field) else Field(item) for item in said if isinstance(item, Field | str)]


def members(kind: Any) -> dict[str, tuple[Any, Any]]:
    """name -> (type, default or MISSING) of a dataclass or a TypedDict."""
    hints = get_type_hints(kind, include_extras=True)
    if is_typeddict(kind):
        return {name: (_bare(hint), _needed(kind, name, hint)) for name, hint in hints.items()}
    found: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = (hints[field.name], default)
    return found


def _needed(kind: Any, name: str, hint: Any) -> Any:
    # The class itself does not know: where annotations are texts, it never saw `NotRequired`.
    optional = get_origin(hint) is NotRequired or (
        get_origin(hint) is not Required and name not in kind.__required_keys__
    )
    return None if optional else dataclasses.MISSING


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint


def structured(kind: Any) -> bool:
    """Whether values of this type are JSON objects."""
    kind, _ = _parts(kind)
    return is_typeddict(kind) or (isinstance(kind, type) and dataclasses.is_dataclass(kind)) or get_origin(kind) is dict


def schema_of(kind: Any, seen: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The JSON Schema of a type. Raises TypeError for one that is not understood, or that holds itself."""
    kind, said = _parts(kind)
    found = _schema(kind, seen)
    for field in said:
        found |= field.keywords(found.get("type"))
    return found


def _schema(kind: Any, seen: tuple[Any, ...]) -> dict[str, Any]:
    origin, given = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if origin is Literal:
        return {"enum": list(given)} | _type_of(given)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = [member.value for member in kind]
        return {"enum": values} | _type_of(values)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one, seen) for one in given]}
    if origin is list:
        return {"type": "array", "items": schema_of(given[0], seen)}
    if origin is dict and given[0] is str:
        return {"type": "object", "additionalProperties": schema_of(given[1], seen)}
    if is_typeddict(kind) or (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        if kind in seen:
            raise TypeError(f"{kind.__name__} holds itself; its schema has no end. Use Any at that place.")
        return object_of(members(kind), (*seen, kind)) | _doc(kind)
    raise TypeError(f"{kind!r} is no type that a schema can be made of; use a dataclass, or a type of JSON")


def _type_of(values: Any) -> dict[str, Any]:
    kinds = {_PLAIN.get(type(value)) for value in values}
    return {"type": kinds.pop()} if len(kinds) == 1 and None not in kinds else {}


def _doc(kind: Any) -> dict[str, Any]:
    # A dataclass without a docstring gets its signature as one; that says nothing to a reader.
    text = " ".join((kind.__doc__ or "").split())
    return {"description": text} if text and not text.startswith(f"{kind.__name__}(") and not is_bare(kind) else {}


def is_bare(kind: Any) -> bool:
    """Whether a TypedDict has no words of its own."""
    return bool(is_typeddict(kind) and (kind.__doc__ or "").startswith("dict("))


def object_of(found: Mapping[str, tuple[Any, Any]], seen: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The schema of an object with these members (name -> (type, default or MISSING)), and no others."""
    properties: dict[str, Any] = {}
    for name, (kind, default) in found.items():
        properties[name] = schema_of(kind, seen)
        if default is not dataclasses.MISSING and default is not None:
            properties[name]["default"] = dump(default)
    required = [name for name, (_, default) in found.items() if default is dataclasses.MISSING]
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def convert(kind: Any, value: Any, pointer: str = "") -> Any:
    """A JSON value as the type. Raises Wrong with the place of what does not fit."""
    kind, said = _parts(kind)
    found = _convert(kind, value, pointer)
    for field in said:
        field.check(value, pointer)
    return found


def _convert(kind: Any, value: Any, pointer: str) -> Any:
    origin, given = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if kind in _PLAIN:
        return _plain(kind, value, pointer)
    if origin is Literal:
        return _one_of(given, value, pointer)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(_one_of([member.value for member in kind], value, pointer))
    if origin in (Union, types.UnionType):
        problems = []
        # Whose own type the value has comes first: a whole number stays one, whatever `float | int` names first.
        for one in sorted(given, key=lambda one: _parts(one)[0] is not type(value)):
            try:
                return convert(one, value, pointer)
            except Wrong as wrong:
                problems.append(wrong.problem)
        raise Wrong(pointer, " or ".join(dict.fromkeys(problems)))
    if origin is list:
        if not isinstance(value, list):
            raise Wrong(pointer, "must be a list")
        return [convert(given[0], item, f"{pointer}/{index}") for index, item in enumerate(value)]
    if not isinstance(value, dict):
        raise Wrong(pointer, "must be an object")
    if origin is dict:
        return {str(key): convert(given[1], item, f"{pointer}/{_step(key)}") for key, item in value.items()}
    return kind(**arguments(members(kind), value, pointer))


def arguments(found: Mapping[str, tuple[Any, Any]], value: Mapping[str, Any], pointer: str = "") -> dict[str, Any]:
    """The members that are given, converted; those with a default may be absent. Raises Wrong."""
    for name in value:
        if name not in found:
            raise Wrong(f"{pointer}/{_step(name)}", f"is not known; known: {', '.join(found) or 'none'}")
    for name, (_, default) in found.items():
        if name not in value and default is dataclasses.MISSING:
            raise Wrong(f"{pointer}/{_step(name)}", "is required")
    return {name: convert(found[name][0], item, f"{pointer}/{_step(name)}") for name, item in value.items()}


def _plain(kind: Any, value: Any, pointer: str) -> Any:
    boolean = isinstance(value, bool)
    # JSON knows one kind of number: 2.0 is an integer there, 2 is a number.
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is float and isinstance(value, int) and not boolean:
        try:
            return float(value)
        except OverflowError as error:
            raise Wrong(pointer, "must be a number that a double holds") from error
    if not isinstance(value, kind) or (boolean and kind is not bool):
        raise Wrong(pointer, f"must be of type {_PLAIN[kind]}")
    return value


def _one_of(known: Any, value: Any, pointer: str) -> Any:
    # True == 1 in Python, and not in JSON.
    if not any(value == one and type(value) is type(one) for one in known):
        raise Wrong(pointer, f"must be one of {', '.join(json.dumps(one) for one in known)}")
    return value


def _step(name: Any) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


def dump(value: Any) -> Any:
    """A typed value as JSON holds it. Half of a surrogate pair (the name of a file that is not UTF-8 has them) is no
    character, and becomes a `?`. Raises TypeError for what JSON cannot hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: dump(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {_text(str(key)): dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} is no number of JSON")
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
