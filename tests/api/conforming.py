"""Whether a real answer is what the OpenAPI document says: its status, its kind, its body."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker

from tests.api.world import Doors


def fault_of_answer(doors: Doors, method: str, path: str, answer: httpx.Response) -> str:
    """What the answer has that the document does not, or the other way round; empty if they agree."""
    operation = doors.document["paths"][path][method.lower()]
    described = operation["responses"].get(str(answer.status_code))
    if described is None:
        return f"{answer.status_code} is not documented"
    if "$ref" in described:
        described = doors.document["components"]["responses"][described["$ref"].rsplit("/", 1)[-1]]
    kind = answer.headers.get("content-type", "").split(";")[0]
    content = described.get("content", {})
    if not content:
        return f"a body of kind {kind}, documented is none" if answer.content else ""
    if kind not in content:
        return f"{kind} is not one of {sorted(content)}"
    if not kind.endswith("json"):
        return ""
    validator = _validator(id(doors), _frozen(content[kind]["schema"]), doors)
    errors = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(answer.json())]
    return "; ".join(errors[:3])


def _frozen(schema: dict[str, Any]) -> str:
    return schema["$ref"] if "$ref" in schema else repr(schema)


@cache
def _validator(_doors: int, reference: str, doors: Doors) -> Draft202012Validator:
    schema = {"$ref": reference, "components": doors.document["components"]}
    return Draft202012Validator(schema, format_checker=FormatChecker())
