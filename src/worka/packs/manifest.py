"""The manifest `worka/aip.json`: read and checked before any code of a pack runs (contracts.md 1).

The models below are the format: the JSON Schema in `schemas/aip.v1.json` is generated from them, and a test compares.
`read` answers a manifest and what should be told about it, or raises ManifestInvalid with one entry per wrong field:
its JSON pointer, what is wrong, and the fix. Unknown fields are reported with the nearest known name, never guessed.
"""

from __future__ import annotations

import copy
import difflib
import json
import posixpath
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

import jsonschema
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from worka.broker.rules import RuleProblem, declared, parse_rules
from worka.broker.templates import TemplateError, roots
from worka.packs.errors import ManifestInvalid

SCHEMA_VERSION: Literal["worka.aip.v1"] = "worka.aip.v1"
PLACE = "worka/aip.json"
OLDER_PLACE = "aip.json"

SideEffect = Literal["read_only", "write", "external_side_effect", "destructive"]
HostService = Literal["worka.runtime", "worka.ui", "worka.db"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,128}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]
SemVer = Annotated[
    str,
    Field(
        max_length=128,
        pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
        r"(-(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
        r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$",
    ),
]
# Set by the host, the proxy and CA variables among them; a manifest that could set these would leave its box by name.
_OWN_ENV = re.compile(
    r"^(WORKA_.*|LD_.*|PATH|HOME|TMPDIR|PYTHON(PATH|HOME|STARTUP|INSPECT)|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|"
    r"REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO|GIT_CONFIG.*|(?i:(http|https|all|no)_proxy))$"
)
_OWN_PLACES = (
    "bin", "boot", "dev", "env", "etc", "home", "lib", "lib32", "lib64", "libx32", "opt", "pack", "proc", "root", "run",
    "sbin", "sys", "tmp", "usr", "var",
)  # fmt: skip
# Hop-by-hop and framing headers: a credential in one of these would change what the request is.
_NOT_FOR_INJECTION = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive", "expect"}
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Package(_Part):
    """What registration installs: from the hashed lock, wheels only, npm with scripts off. `path` is the tree sent along."""

    ecosystem: Literal["pypi", "npm", "path"]
    name: str = Field(pattern=r"^(@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=214)
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$", max_length=100)
    lock: str = Field(
        default="requirements.lock",
        max_length=200,
        description="file beside the manifest's folder that holds the hashed lock",
    )


class Mount(_Part):
    """A place for files that a person chooses at attachment, never the manifest. Read-only."""

    name: Name
    target: str = Field(max_length=200, description="absolute path inside the sandbox")
    mode: Literal["ro"] = "ro"

    @field_validator("target")
    @classmethod
    def _free_place(cls, value: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", value) or posixpath.normpath(value) != value:
            raise ValueError("an absolute path without dot segments, such as /repo")
        if value.split("/")[1] in _OWN_PLACES:
            raise ValueError(f"/{value.split('/')[1]} belongs to the sandbox; choose a place of its own, such as /repo")
        return value


class Limits(_Part):
    """Bounds of one session and of one call. What is absent takes the platform's default."""

    memory: int | None = Field(default=None, ge=32, le=8192, description="MiB")
    cpu: int | None = Field(default=None, ge=1, le=3600, description="seconds of processor time of a session")
    processes: int | None = Field(default=None, ge=1, le=512)
    files: int | None = Field(default=None, ge=16, le=4096, description="open files of one process")
    disk: int | None = Field(default=None, ge=1, le=4096, description="MiB of the private /tmp")
    timeout: int | None = Field(default=None, ge=1, le=3600, description="seconds of one call")
    output: int | None = Field(default=None, ge=1, le=64, description="MiB of one answer")


class Runtime(_Part):
    """How to install and start the MCP server: a package (its own entry point; of the ecosystem `path`, with `command`), a
    command, or an image."""

    transport: Literal["stdio"] = "stdio"
    package: Package | None = None
    command: list[str] | None = Field(default=None, min_length=1, max_length=50)
    image: str | None = Field(default=None, min_length=1, max_length=500)
    args: list[str] = Field(default_factory=list, max_length=50)
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default_factory=dict)
    mounts: list[Mount] = Field(default_factory=list, max_length=8)
    limits: Limits = Field(default_factory=Limits)

    @field_validator("env")
    @classmethod
    def _not_ours(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if _OWN_ENV.match(key):
                raise ValueError(f"{key} is set by the host; remove it")
        return value

    @model_validator(mode="after")
    def _one(self) -> Runtime:
        tree = self.package is not None and self.package.ecosystem == "path"
        if tree and (self.command is None or self.image is not None):
            raise ValueError("a package of the ecosystem path needs command, and no image")
        if not tree and sum(way is not None for way in (self.package, self.command, self.image)) != 1:
            raise ValueError("give exactly one of package, command and image")
        for what, values in (("name", [m.name for m in self.mounts]), ("target", [m.target for m in self.mounts])):
            if len(set(values)) != len(values):
                raise ValueError(f"two mounts have the same {what}")
        return self


class Tool(_Part):
    """A tool as the server lists it. Without `side_effect` it counts as destructive; a server's own hints are never input."""

    name: ToolName
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    side_effect: SideEffect = "destructive"
    idempotent: bool = False

    @field_validator("input_schema", "output_schema")
    @classmethod
    def _schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                jsonschema.Draft202012Validator.check_schema(value)
            except jsonschema.SchemaError as error:
                raise ValueError(f"not a JSON Schema: {error.message}") from error
        return value


class Outbound(_Part):
    """A destination the broker lets through: `host` or `*.host`; ports 443 and 80 unless one is named."""

    host: str = Field(min_length=1, max_length=255)
    port: Literal[80, 443] | None = None
    methods: list[str] | None = Field(default=None, min_length=1)
    paths: list[str] | None = Field(default=None, min_length=1)


class Inject(_Part):
    """Where the broker puts the credential: a header or a query parameter of requests to `host`."""

    host: str
    header: HeaderName | None = None
    query: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    template: str = Field(min_length=1, max_length=500, description="for example `Bearer {{connection.access_token}}`")

    @field_validator("header")
    @classmethod
    def _header(cls, value: str | None) -> str | None:
        if value is not None and value.lower() in _NOT_FOR_INJECTION:
            raise ValueError(f"{value} frames the request; a credential goes into a header of its own")
        return value

    @field_validator("template")
    @classmethod
    def _template(cls, value: str) -> str:
        try:
            if not roots(value):
                raise ValueError("names no {{connection.…}} value")
        except TemplateError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _one(self) -> Inject:
        if (self.header is None) == (self.query is None):
            raise ValueError("give exactly one of header and query")
        return self


class ConnectionNeed(_Part):
    """Which workspace connection backs the calls."""

    provider: Name
    access: str = Field(default="", max_length=500, description="what it is needed for, in words a person reads")
    required: bool = True
    inject: Inject | None = None
    idempotency_header: HeaderName | None = None


class Webhook(_Part):
    """An inbound event."""

    name: Name
    verification: str = Field(min_length=1)
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class Dependency(_Part):
    """A pack that this one may call, narrowed to tools."""

    pack: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\.[a-z0-9][a-z0-9_-]{0,62}$")
    tools: list[ToolName] = Field(default_factory=list)


class View(_Part):
    """A static A2UI view."""

    title: str
    path: str


class Templates(_Part):
    """Defaults offered at attachment, marked with their origin."""

    members: list[dict[str, Any]] = Field(default_factory=list)
    workflows: list[dict[str, Any]] = Field(default_factory=list)
    hooks: list[dict[str, Any]] = Field(default_factory=list)


class Manifest(_Part):
    """Everything the platform knows about a pack before it runs."""

    schema_version: Literal["worka.aip.v1"]
    publisher: Name
    name: Name
    version: SemVer
    display_name: str = Field(min_length=1, max_length=200)
    description: str = Field(min_length=1, max_length=4000)
    author: str | None = None
    license: str | None = None
    icon: str | None = None
    homepage: str | None = None
    source: dict[str, str] | str | None = None
    runtime: Runtime
    tools: Annotated[list[Tool], Field(min_length=1, max_length=500)] | Literal["discover"]
    outbound_domains: list[str | Outbound] = Field(default_factory=list, max_length=100)
    connections: list[ConnectionNeed] = Field(default_factory=list, max_length=10)
    webhooks: list[Webhook] = Field(default_factory=list)
    host_services: list[HostService] = Field(default_factory=list)
    dependencies: list[Dependency] = Field(default_factory=list)
    views: dict[str, View] = Field(default_factory=dict)
    migrations: str | None = None
    templates: Templates | None = None

    @property
    def pack(self) -> str:
        """`publisher.name`, the pack's identity."""
        return f"{self.publisher}.{self.name}"

    @property
    def declared_tools(self) -> dict[str, Tool]:
        """The tools by name; empty for `discover`."""
        return {} if self.tools == "discover" else {tool.name: tool for tool in self.tools}


@dataclass(frozen=True)
class Notice:
    """Something that should be told: `pointer` of the field, what is the matter, and the fix."""

    pointer: str
    message: str
    fix: str

    def body(self) -> dict[str, str]:
        """As JSON."""
        return {"pointer": self.pointer, "message": self.message, "fix": self.fix}


def schema() -> dict[str, Any]:
    """The JSON Schema of the format, generated from the models."""
    found = Manifest.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:worka:schema:aip.v1",
        **found,
        "title": "worka/aip.json, format worka.aip.v1",
    }


@cache
def published_schema() -> dict[str, Any]:
    """The JSON Schema that is shipped with the product."""
    text = resources.files("worka.packs").joinpath("schemas/aip.v1.json").read_text()
    return dict(json.loads(text))


def read(raw: Any, *, place: str = PLACE) -> tuple[Manifest, list[Notice]]:
    """The manifest and its warnings. `place` is where it stood: at the root, the older names are mapped.

    Raises ManifestInvalid with `errors` (pointer, message, fix), all of them at once.
    """
    if not isinstance(raw, dict):
        raise ManifestInvalid(errors=[Notice("", "the manifest is not a JSON object", "write one JSON object").body()])
    data: dict[str, Any] = copy.deepcopy(raw)
    notices = _map_older(data) if place == OLDER_PLACE else []
    errors: list[Notice] = []
    manifest: Manifest | None = None
    # Unknown fields are taken out and told; the second round then sees only what is known.
    for _round in range(2):
        try:
            manifest = Manifest.model_validate(data)
            errors = []
            break
        except ValidationError as problem:
            unknown = [
                e for e in problem.errors(include_input=False, include_url=False) if e["type"] == "extra_forbidden"
            ]
            errors = _errors(problem, data)
            for error in unknown:
                notices.append(_unknown(_loc(error["loc"], data)))
                _remove(data, _loc(error["loc"], data))
            if not unknown:
                break
    if manifest is not None:
        errors = _across(manifest)
    if errors or manifest is None:
        raise ManifestInvalid(errors=[error.body() for error in errors], warnings=[notice.body() for notice in notices])
    for name, tool in manifest.declared_tools.items():
        if "side_effect" not in tool.model_fields_set:
            index = list(manifest.declared_tools).index(name)
            notices.append(
                Notice(
                    f"/tools/{index}", f"tool {name} has no side_effect and counts as destructive", "add side_effect"
                )
            )
    return manifest, notices


def _map_older(data: dict[str, Any]) -> list[Notice]:
    notices = [Notice("", f"the manifest stands at the root ({OLDER_PLACE})", f"move it to {PLACE}")]
    if "schema_version" not in data:
        data["schema_version"] = SCHEMA_VERSION
        notices.append(
            Notice(
                "/schema_version",
                "there is no schema_version; read as worka.aip.v1",
                f'add "schema_version": "{SCHEMA_VERSION}"',
            )
        )
    if "tenant" in data and "publisher" not in data:
        data["publisher"] = data.pop("tenant")
        notices.append(Notice("/tenant", "`tenant` is the older name of `publisher`", "rename it to publisher"))
    dependencies = data.get("dependencies")
    if not isinstance(dependencies, list):
        return notices
    for index, item in enumerate(dependencies):
        if isinstance(item, str) and item.count("/") == 1:
            dependencies[index] = {"pack": item.replace("/", "."), "tools": []}
            notices.append(
                Notice(
                    f"/dependencies/{index}",
                    f"{item!r} is the older form; it names no tool, so none may be called",
                    'write {"pack": "publisher.name", "tools": […]}',
                )
            )
    return notices


def _across(manifest: Manifest) -> list[Notice]:
    """What one field says about another."""
    found: list[Notice] = []
    items = [
        item if isinstance(item, str) else item.model_dump(exclude_none=True) for item in manifest.outbound_domains
    ]
    for index, item in enumerate(items):
        try:
            parse_rules([item])
        except RuleProblem as problem:
            found.append(
                Notice(
                    f"/outbound_domains/{index}",
                    str(problem).replace("outbound_domains[0]", "this item"),
                    "write a host name, *.host, or {host, port, methods, paths}",
                )
            )
    if not found:
        rules = parse_rules(items)
        for index, need in enumerate(manifest.connections):
            host = need.inject.host.lower() if need.inject is not None else ""
            if need.inject is not None and not (declared(rules, host) or host in {rule.host for rule in rules}):
                found.append(
                    Notice(
                        f"/connections/{index}/inject/host",
                        f"{need.inject.host} is not among outbound_domains",
                        "declare the host there, or correct it here",
                    )
                )
    names = [] if manifest.tools == "discover" else [tool.name for tool in manifest.tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            found.append(Notice(f"/tools/{index}/name", f"tool {name} is declared twice", "remove one of the two"))
    providers = [need.provider for need in manifest.connections]
    for index, provider in enumerate(providers):
        if provider in providers[:index]:
            found.append(Notice(f"/connections/{index}/provider", f"{provider} is named twice", "join the two entries"))
    return found


_ABSENT = object()


def _down(value: Any, step: int | str) -> Any:
    """What stands at one step below a JSON value, or _ABSENT."""
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return _ABSENT


def _loc(loc: tuple[int | str, ...], data: Any, missing: bool = False) -> list[int | str]:
    """The place in the document: pydantic's path without the names of union members. `missing`: the last is absent."""
    path: list[int | str] = []
    here = data
    for step in loc:
        below = _down(here, step)
        if below is _ABSENT and not (missing and step == loc[-1]):
            continue
        here = below
        path.append(step)
    return path


def _at(data: Any, path: list[int | str]) -> Any:
    for step in path:
        data = _down(data, step)
    return data


def _other_member(kind: str, loc: tuple[int | str, ...], value: Any) -> bool:
    """Whether the error is about the member of a union that the author did not mean."""
    return (kind == "literal_error" and loc == ("tools", "literal['discover']") and isinstance(value, list)) or (
        kind == "string_type" and loc[-1] == "str" and isinstance(value, dict)
    )


def _pointer(path: list[int | str]) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def _remove(data: Any, path: list[int | str]) -> None:
    for step in path[:-1]:
        data = data[step]
    data.pop(path[-1], None)


def _unknown(path: list[int | str]) -> Notice:
    near = difflib.get_close_matches(str(path[-1]), _known_names(), n=1)
    return Notice(
        _pointer(path),
        f"{path[-1]} is not a field of {SCHEMA_VERSION}; it was not read",
        f"did you mean {near[0]}? Otherwise remove it" if near else "remove it",
    )


@cache
def _known_names() -> tuple[str, ...]:
    found: set[str] = set(Manifest.model_fields)
    for part in (
        Runtime,
        Package,
        Mount,
        Limits,
        Tool,
        Outbound,
        Inject,
        ConnectionNeed,
        Webhook,
        Dependency,
        View,
        Templates,
    ):
        found |= set(part.model_fields)
    return tuple(sorted(found))


_FIXES = {
    "missing": "add it",
    "string_type": "write a text in quotes",
    "int_type": "write a whole number",
    "bool_type": "write true or false",
    "list_type": "write a list",
    "dict_type": "write an object",
    "model_type": "write an object",
    "model_attributes_type": "write an object",
}
_PATTERN_FIXES = {
    "version": "write a SemVer version such as 1.2.0",
    "publisher": "use lower-case letters, digits, - and _, starting with a letter or digit",
    "name": "use lower-case letters, digits, - and _, starting with a letter or digit",
    "provider": "use lower-case letters, digits, - and _",
}


def _errors(problem: ValidationError, data: dict[str, Any]) -> list[Notice]:
    found: dict[str, Notice] = {}
    for error in problem.errors(include_input=False, include_url=False):
        if error["type"] == "extra_forbidden":
            continue
        kind, context = error["type"], error.get("ctx", {})
        path = _loc(error["loc"], data, missing=kind == "missing")
        if _other_member(kind, error["loc"], _at(data, path)):
            continue
        message = str(context["error"]) if "error" in context else error["msg"][:1].lower() + error["msg"][1:]
        if kind == "missing":
            message = "this field is required"
        if kind == "literal_error":
            fix = f"write one of {context.get('expected')}"
        elif kind == "string_pattern_mismatch":
            message = "it has not the form that is needed"
            fix = _PATTERN_FIXES.get(str(path[-1]) if path else "", f"match {context.get('pattern')}")
        else:
            fix = _FIXES.get(kind, message)
        # A union tells one error per member; the first about a place is the most useful.
        found.setdefault(_pointer(path), Notice(_pointer(path), message, fix))
    return list(found.values())
