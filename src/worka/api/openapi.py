"""The OpenAPI document: what every route shares (problems, credentials, idempotency keys) is written here, once."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from worka import __version__
from worka.api import conditional, door
from worka.kernel.strict_json import SAFE_INTEGER

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457), and what to do about it.",
    "required": ["type", "title", "status", "code", "detail", "remedy", "docs", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "`urn:worka:problem:` and the code"},
        "title": {"type": "string", "description": "the kind of problem, in words"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {
            "type": "string",
            "pattern": "^[a-z0-9_]+$",
            "description": "stable; docs/reference/errors.md lists them",
        },
        "detail": {"type": "string", "minLength": 1, "description": "this case, in words"},
        "remedy": {"type": "string", "minLength": 1, "description": "what to do"},
        "docs": {"type": "string", "description": "where it is described"},
        "request_id": {"type": "string", "description": "the trace id, also in X-Request-Id"},
        "field": {"type": "string", "description": "a JSON Pointer to what is wrong, where there is one"},
    },
    "additionalProperties": True,
    "examples": [
        {
            "type": "urn:worka:problem:approval_not_found",
            "title": "There is no such approval here",
            "status": 404,
            "code": "approval_not_found",
            "detail": "apr_01m8h48x6ge02a9v4gsdyt20ek is not in a workspace of yours.",
            "remedy": "Check the id, and that you are a member of its workspace.",
            "docs": "docs/reference/errors.md#approval_not_found",
            "request_id": "0af7651916cd43dd8448eb211c80319c",
        }
    ],
}
MEANING = {
    400: "The request cannot be read: its characters, its JSON, its cursor.",
    401: "No credential, or one that opens nothing.",
    403: "Policy does not allow it; the problem names the decision.",
    404: "There is no such thing for the caller. What belongs to another tenant does not exist.",
    405: "The path does not have this method.",
    409: "It is in another state than this needs, or changed meanwhile.",
    412: "It is not what the If-Match says; nothing was changed.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    421: "The Host header names another machine.",
    422: "A value is not acceptable; the problem names the field.",
    429: "Too many tries; Retry-After says how long to wait.",
    500: "A fault of ours; the request id finds it in the log.",
    503: "A part that this needs is not available.",
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request gets the same answer (`Idempotency-Replayed: true`); with another"
    " request 422; while the first is being answered 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
}


ETAG = {
    "description": "A strong validator of what is shown.",
    "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
}
CONDITIONS = {
    name: {
        "name": name,
        "in": "header",
        "required": False,
        "description": words,
        "schema": {"type": "string", "pattern": conditional.TAGS, "examples": [conditional.etag(b"")]},
    }
    for name, words in {
        "If-None-Match": "ETags that the caller has: 304 and no body if one of them is it.",
        "If-Match": "The ETag of what the caller read: 412 and no change if it is another by now.",
    }.items()
}
TEXT = "^[^\\x00]*$"
"""A text that says nothing more of itself: what the door reads holds no NUL (kernel/strict_json.py, reading.check_text)."""
INTEGER = {"minimum": -SAFE_INTEGER, "maximum": SAFE_INTEGER}
FREE: dict[str, Any] = {
    "description": "Any JSON that every reader reads alike (RFC 7493): no NUL in a text, no integer beyond 2^53 - 1.",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "integer", **INTEGER},
        {"type": "number"},
        {"type": "string", "pattern": TEXT},
        {"type": "array", "items": {"$ref": "#/components/schemas/Free"}},
        {
            "type": "object",
            "propertyNames": {"pattern": TEXT},
            "additionalProperties": {"$ref": "#/components/schemas/Free"},
        },
    ],
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of what the API offers."""
    made = get_openapi(
        title="Worka",
        version=__version__,
        summary="Operating governed AI work",
        description="A list takes `limit` and `cursor` and answers `{items, next}`; `next` is the cursor of the page after"
        " it. A change takes an `Idempotency-Key`. Every answer carries `X-Request-Id`. Errors are problems with a remedy.",
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/"}],
    )
    parts = made.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    schemas["Free"] = FREE
    parts["responses"] = {
        f"Problem{status}": {
            "description": words,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, words in MEANING.items()
    }
    parts["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A session token (`POST /v1/sessions`) or an API token.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "worka_session",
            "description": "The console's session; a change with it must come from the console's own origin.",
        },
    }
    tagged = {path for path, item in made["paths"].items() if "get" in item and conditional.tagged(path, "GET")}
    for path, item in made["paths"].items():
        for method, operation in item.items():
            _complete(path, method, operation)
            _conditions(path, method.upper(), operation, tagged)
            _as_read(schemas, operation)
    return made


def _conditions(path: str, method: str, operation: dict[str, Any], tagged: set[str]) -> None:
    given = operation["responses"]
    if conditional.tagged(path, method):
        operation.setdefault("parameters", []).append(CONDITIONS["If-None-Match"])
        given["200"]["headers"] = {"ETag": ETAG}
        given["304"] = {"description": "It is what the caller has.", "headers": {"ETag": ETAG}}
    elif conditional.changes(path, method, tagged):
        operation.setdefault("parameters", []).append(CONDITIONS["If-Match"])


def _as_read(schemas: dict[str, Any], operation: dict[str, Any]) -> None:
    """What every text and number of a request is held to, whatever its route makes of it."""
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
        if len(options) == 1:  # optional is not null: a query has no null
            schema = {**options[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
        schema.pop("description", None)
        parameter["schema"] = _held(schemas, schema)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        body["schema"] = _held(schemas, body["schema"])


_SAYS = {"type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"}


def _held(schemas: dict[str, Any], schema: Any) -> Any:
    if schema is True or (isinstance(schema, dict) and not _SAYS & set(schema)):
        return {**(schema if isinstance(schema, dict) else {}), "$ref": "#/components/schemas/Free"}
    if not isinstance(schema, dict):
        return schema
    name = schema.get("$ref", "").rpartition("/")[2]
    if name and name != "Free":
        schemas[name] = _held(schemas, schemas[name])
        return schema
    held = dict(schema)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in held and "type" not in held:
            held[key] = [_held(schemas, option) for option in held[key]]
    if held.get("type") == "string" and not {"pattern", "enum", "const", "format", "anyOf"} & set(held):
        held["pattern"] = TEXT
    if held.get("type") == "integer" and "enum" not in held:
        held = {**INTEGER, **held}
    if "items" in held:
        held["items"] = _held(schemas, held["items"])
    if "properties" in held:
        held["properties"] = {key: _held(schemas, value) for key, value in held["properties"].items()}
    if "properties" in held:  # members that nothing is said of: the specification of these bodies wants them ignored
        held.setdefault("additionalProperties", True)
    if held.get("additionalProperties", False) is not False:
        held["additionalProperties"] = _held(schemas, held["additionalProperties"])
        held.setdefault("propertyNames", {"pattern": TEXT})
    return held


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    given = operation["responses"]
    given.pop("422", None) if "HTTPValidationError" in str(given.get("422")) else None
    stranger = bool(door.OPEN.match(path)) or (path == "/v1/sessions" and method == "post")
    # An open route still says 401 to somebody who sends a credential that opens nothing.
    operation["security"] = [{}] if stranger else [{"token": []}, {"session": []}]
    unsafe = method not in ("get", "head")
    statuses = {400, 401, 404, 405, 421, 422, 500, 503}
    if path in door.PROBES:
        statuses -= {421}
    if not stranger:
        statuses |= {403}
    if unsafe:
        statuses |= {409, 413, 415}
        if path.startswith("/v1/") and not stranger:
            operation.setdefault("parameters", [])
            statuses |= {412}
            operation["parameters"] = [p for p in operation["parameters"] if p["name"].lower() != "idempotency-key"] + [
                KEY
            ]
    if path in ("/v1/sessions", "/v1/invitations/accept", "/v1/setup"):
        statuses |= {429}
    if path.endswith("/call"):
        statuses |= {429}
    for status in sorted(statuses):
        given.setdefault(str(status), {"$ref": f"#/components/responses/Problem{status}"})
