"""The format of `worka/aip.json` (contracts.md 1) as models; the published JSON Schema is generated from them."""

from __future__ import annotations

import json
import posixpath
import re
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from worka.broker.templates import TemplateError, roots
from worka.kernel import schemas

SCHEMA_VERSION: Literal["worka.aip.v1"] = "worka.aip.v1"

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
    "bin",
    "boot",
    "dev",
    "env",
    "etc",
    "home",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "opt",
    "pack",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "var",
)
# Hop-by-hop and framing headers: a credential in one of these would change what the request is.
_NOT_FOR_INJECTION = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive", "expect"}
)


def _checked_schema(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """The schema, if it is one that can be applied. Raises ValueError."""
    if value is not None and (faults := schemas.check(value)):
        raise ValueError("; ".join(faults[:3]))
    return value


def _inside(value: str) -> str:
    """The path, if it is a plain one below the pack's folder. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", value):
        raise ValueError("a plain path below the pack's folder, such as views/board.json")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Package(_Part):
    """What registration installs: from the hashed lock, wheels only, npm with scripts off. `path` is the tree sent
    along."""

    ecosystem: Literal["pypi", "npm", "path"] = Field(
        description="where it comes from; `path`: the files beside the manifest"
    )
    name: str = Field(
        pattern=r"^(@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=214,
        description="its name there; of the ecosystem `path`, the module's",
    )
    version: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$", max_length=100, description="exactly this one, as the lock pins it"
    )
    lock: str = Field(
        default="requirements.lock",
        max_length=200,
        description="file beside the manifest's folder that holds the hashed lock",
    )


class Mount(_Part):
    """A place for files that a person chooses at attachment, never the manifest. Read-only."""

    name: Name = Field(description="what it is called at attachment: `--mount NAME=PATH`")
    target: str = Field(max_length=200, description="absolute path inside the sandbox")
    mode: Literal["ro"] = Field(default="ro", description="there is no other")

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
    processes: int | None = Field(default=None, ge=1, le=512, description="processes and threads at a time")
    files: int | None = Field(default=None, ge=16, le=4096, description="open files of one process")
    disk: int | None = Field(default=None, ge=1, le=4096, description="MiB of the private /tmp")
    timeout: int | None = Field(default=None, ge=1, le=3600, description="seconds of one call")
    output: int | None = Field(default=None, ge=1, le=32, description="MiB of one answer")


class Runtime(_Part):
    """How to install and start the MCP server: a package (its own entry point; of the ecosystem `path`, with
    `command`), a command, or an image."""

    transport: Literal["stdio"] = Field(default="stdio", description="newline-delimited JSON-RPC")
    package: Package | None = Field(default=None, description="what is installed, from the hashed lock")
    command: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=50,
        description="the program and its arguments, one by one; no shell reads them. Needed by the ecosystem `path`; alone "
        "it is refused at registration",
    )
    image: str | None = Field(
        default=None, min_length=1, max_length=500, description="an OCI image; refused at registration: no engine yet"
    )
    args: list[str] = Field(default_factory=list, max_length=50, description="more arguments, handed over as they are")
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(
        default_factory=dict, description="environment, handed over as it is; what the host sets cannot be set here"
    )
    mounts: list[Mount] = Field(
        default_factory=list, max_length=8, description="places for files, chosen at attachment"
    )
    limits: Limits = Field(default_factory=Limits, description="bounds; absent: the platform's")

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
    """A tool as the server lists it. Without `side_effect` it counts as destructive; a server's own hints are never
    input."""

    name: ToolName = Field(description="as the server lists it")
    description: str | None = Field(default=None, description="as the server lists it; absent: not compared")
    input_schema: dict[str, Any] | None = Field(
        default=None, description="as the server lists it; absent: not compared"
    )
    output_schema: dict[str, Any] | None = Field(
        default=None, description="as the server lists it; a server without one answers text, marked unvalidated"
    )
    side_effect: SideEffect = Field(default="destructive", description="what governance goes by")
    idempotent: bool = Field(
        default=False, description="the same idempotency key has one effect, so it may be repeated after a crash"
    )

    @field_validator("input_schema", "output_schema")
    @classmethod
    def _schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return _checked_schema(value)


class Outbound(_Part):
    """A destination the broker lets through: `host` or `*.host`; ports 443 and 80 unless one is named."""

    host: str = Field(
        min_length=1, max_length=255, description="`api.example.com`, or `*.example.com` for names below it"
    )
    port: Literal[80, 443] | None = Field(default=None, description="absent: both")
    methods: list[str] | None = Field(
        default=None,
        min_length=1,
        description="absent: GET and HEAD of a tool that reads only, all of one that does not",
    )
    paths: list[str] | None = Field(default=None, min_length=1, description="exact, or a prefix that ends in `*`")
    websocket: bool | None = Field(default=None, description="a GET may become a WebSocket there")
    opaque: bool | None = Field(
        default=None,
        description="TLS to port 443 that the broker does not read: only the host's name is checked; without methods, paths"
        " and credentials",
    )


class OutboundLimits(_Part):
    """How much of the outside an attachment may use at most; the deployment's own limits hold besides."""

    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000, description="requests in a minute")
    at_once: int | None = Field(default=None, ge=1, le=1024, description="requests that are open at once")
    call_mb: int | None = Field(default=None, ge=1, le=1_048_576, description="MiB of one call, out and in together")
    day_mb: int | None = Field(default=None, ge=1, le=104_857_600, description="MiB of one day (UTC), out and in")
    exchange_seconds: float | None = Field(
        default=None, gt=0, le=86_400, description="a request and its answer, a WebSocket or a tunnel"
    )


class Inject(_Part):
    """Where the broker puts the credential: a header or a query parameter of requests to `host`."""

    host: str = Field(description="one of `outbound_domains`")
    header: HeaderName | None = Field(default=None, description="the header that holds it, or")
    query: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="the query parameter")
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


Scope = Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,200}$")]


class ConnectionNeed(_Part):
    """Which workspace connection backs the calls."""

    provider: Name = Field(description="the kind of outside system; the workspace's connection to it is used")
    access: str = Field(default="", max_length=500, description="what it is needed for, in words a person reads")
    required: bool = Field(default=True, description="an attachment waits for the connection")
    scopes: list[Scope] | None = Field(
        default=None,
        max_length=20,
        description="what of the provider's it needs, as the provider names it; no other is asked for",
    )
    inject: Inject | None = Field(default=None, description="lets unmodified servers be authenticated by the broker")
    idempotency_header: HeaderName | None = Field(
        default=None, description="where the broker puts the key of the call; a pack's own value is removed"
    )

    @field_validator("idempotency_header")
    @classmethod
    def _own_header(cls, value: str | None) -> str | None:
        if value is not None and value.lower() in _NOT_FOR_INJECTION | {"authorization", "cookie"}:
            raise ValueError(f"{value} says something else; name the header in which the outside looks for the key")
        return value


class Webhook(_Part):
    """An inbound event."""

    name: Name = Field(description="what hooks and workflows call it")
    verification: str = Field(
        min_length=1, max_length=200, description="how a sender proves itself, such as `standard-webhooks`"
    )
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema", description="JSON Schema of the event")

    @field_validator("schema_")
    @classmethod
    def _schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _checked_schema(value) or {}


class Dependency(_Part):
    """A pack that this one may call, narrowed to tools."""

    pack: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\.[a-z0-9][a-z0-9_-]{0,62}$", description="`publisher.name`")
    tools: list[ToolName] = Field(default_factory=list, description="the tools it may call; none: none")


class View(_Part):
    """A static A2UI view."""

    title: str = Field(min_length=1, max_length=200, description="what people read")
    path: str = Field(max_length=300, description="the document among the pack's files, such as `views/board.json`")

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str) -> str:
        return _inside(value)


class Templates(_Part):
    """Defaults offered at attachment, marked with their origin."""

    members: list[dict[str, Any]] = Field(default_factory=list, description="AI team members")
    workflows: list[dict[str, Any]] = Field(default_factory=list, description="workflow definitions")
    hooks: list[dict[str, Any]] = Field(default_factory=list, description="hooks")


class Manifest(_Part):
    """Everything the platform knows about a pack before it runs."""

    schema_version: Literal["worka.aip.v1"] = Field(description="version of this format")
    publisher: Name = Field(description="who makes it; with `name` the pack's identity, the same over all builds")
    name: Name = Field(description="machine name")
    version: SemVer = Field(description="SemVer; a version never changes its contents")
    display_name: str = Field(min_length=1, max_length=200, description="for people")
    description: str = Field(min_length=1, max_length=4000, description="for people: what it is for")
    author: str | None = Field(default=None, max_length=200, description="who wrote it")
    license: str | None = Field(default=None, max_length=100, description="SPDX expression, such as `Apache-2.0`")
    icon: str | None = Field(
        default=None, max_length=300, description="an image: a path among the pack's files, or an address"
    )
    homepage: str | None = Field(
        default=None, max_length=500, pattern=r"^https?://[^\s]+$", description="address of its page"
    )
    source: dict[str, str] | str | None = Field(
        default=None, description="where it was built from: {`repository`, `revision`}, for lineage"
    )
    runtime: Runtime = Field(description="how it is installed and started")
    tools: Annotated[list[Tool], Field(min_length=1, max_length=500)] | Literal["discover"] = Field(
        description="what the server must list; `discover`: what it lists at registration is frozen, as destructive"
    )
    outbound_domains: list[str | Outbound] = Field(
        default_factory=list, max_length=100, description="what the broker lets it reach; none: no network"
    )
    outbound_limits: OutboundLimits | None = Field(
        default=None, description="how much of the outside it may use at most"
    )
    connections: list[ConnectionNeed] = Field(
        default_factory=list, max_length=10, description="which connections of the workspace back its calls"
    )
    webhooks: list[Webhook] = Field(
        default_factory=list, max_length=50, description="inbound events; not delivered yet"
    )
    host_services: list[HostService] = Field(
        default_factory=list, max_length=3, description="host services that it calls; denied until they exist"
    )
    dependencies: list[Dependency] = Field(
        default_factory=list, max_length=50, description="packs that it may call, narrowed to tools; no calls yet"
    )
    views: dict[str, View] = Field(
        default_factory=dict, max_length=100, description="name -> static A2UI view; kept, not offered yet"
    )
    migrations: str | None = Field(
        default=None,
        max_length=300,
        description="folder of `*.sql`, run in name order; refused until pack tables exist",
    )
    templates: Templates | None = Field(
        default=None, description="defaults offered at attachment, marked with their origin; kept, not offered yet"
    )

    @field_validator("migrations")
    @classmethod
    def _below(cls, value: str | None) -> str | None:
        return value if value is None else _inside(value)

    @property
    def pack(self) -> str:
        """`publisher.name`, the pack's identity."""
        return f"{self.publisher}.{self.name}"

    @property
    def declared_tools(self) -> dict[str, Tool]:
        """The tools by name; empty for `discover`."""
        return {} if self.tools == "discover" else {tool.name: tool for tool in self.tools}


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
