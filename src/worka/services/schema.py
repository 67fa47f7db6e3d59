"""The network policy of a service, as data: `worka.service-policy.v1`. Unknown fields are refused, and so are a pack's."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from worka.broker.addresses import HostProblem, normalise_host

VERSION = "worka.service-policy.v1"
EXPOSURES = ("private", "workspace", "tenant", "public")
"""From the narrowest; `private`: nothing comes in but the platform's own probes."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PUBLIC = "*"
"""In an outbound rule: every public name. Inside addresses stay refused: those need a network exception each."""
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@/-]*\*?\Z")

Exposure = Literal["private", "workspace", "tenant", "public"]
Port = Annotated[int, Field(ge=1, le=65535)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _path(value: str) -> str:
    if not _PATH.match(value) or any(part in (".", "..") for part in value.split("/")) or "//" in value:
        raise ValueError(f"{value[:60]!r}: an absolute path without dot segments, which may end in *")
    return value


class Route(_Part):
    """What may come in: a path (exact, or a prefix when it ends in `*`), its methods, and who may ask."""

    path: str = Field(max_length=400)
    methods: frozenset[str] = Field(default=frozenset({"GET", "HEAD"}), min_length=1)
    exposure: Exposure = "private"
    authentication: Literal["session", "none"] = "session"

    _readable = field_validator("path")(_path)

    @field_validator("methods")
    @classmethod
    def _known(cls, value: frozenset[str]) -> frozenset[str]:
        if beyond := sorted(value - METHODS):
            raise ValueError(f"{beyond[0][:20]!r} is none of {', '.join(sorted(METHODS))}")
        return value

    @model_validator(mode="after")
    def _asked_who(self) -> Route:
        if self.authentication == "none" and self.exposure != "public":
            raise ValueError("authentication: only a public route may be without")
        return self


class Inbound(_Part):
    """The port that the service listens on in its sandbox, its routes, and their bounds. What no route names is refused."""

    port: int = Field(ge=1024, le=65535)
    routes: tuple[Route, ...] = Field(default=(), max_length=100)
    body_bytes: int = Field(1 << 20, ge=0, le=1 << 30)
    requests_per_minute: int = Field(600, ge=1, le=1_000_000)


class Domain(_Part):
    """A name under which the service is reached; the certificate is the platform's, and nobody else's name is taken."""

    name: str = Field(max_length=253)
    certificate: Literal["platform", "given"] = "platform"

    @field_validator("name")
    @classmethod
    def _whole(cls, value: str) -> str:
        try:
            name = normalise_host(value)
        except HostProblem as problem:
            raise ValueError(problem.detail) from problem
        if "." not in name:
            raise ValueError("a name of two labels or more")
        return name


class Health(_Part):
    """How it is asked whether it is well: by the platform, from inside, on its own port."""

    path: str = Field("/healthz", max_length=400)
    interval_seconds: int = Field(15, ge=5, le=3600)
    timeout_seconds: int = Field(3, ge=1, le=60)
    unhealthy_after: int = Field(3, ge=1, le=20)
    healthy_after: int = Field(2, ge=1, le=20)
    grace_seconds: int = Field(30, ge=0, le=3600)

    @field_validator("path")
    @classmethod
    def _exact(cls, value: str) -> str:
        if value.endswith("*"):
            raise ValueError("a probe asks one path")
        return _path(value)

    @model_validator(mode="after")
    def _in_time(self) -> Health:
        if self.timeout_seconds >= self.interval_seconds:
            raise ValueError("timeout_seconds: less than interval_seconds")
        return self


class Out(_Part):
    """What may go out: wider than a pack's. `host` may be `*` (every public name) or `*.name`; any port; WebSockets where said."""

    host: str = Field(max_length=255)
    ports: frozenset[Port] = Field(default=frozenset({443}), min_length=1)
    methods: frozenset[str] | None = None
    websocket: bool = False

    @field_validator("host")
    @classmethod
    def _named(cls, value: str) -> str:
        if value == PUBLIC:
            return value
        wildcard = value.startswith("*.")
        try:
            name = normalise_host(value[2:] if wildcard else value)
        except HostProblem as problem:
            raise ValueError(problem.detail) from problem
        if wildcard and "." not in name:
            raise ValueError("a wildcard needs a name of two labels or more")
        return f"*.{name}" if wildcard else name


class ServicePolicy(_Part):
    """One version of a service's network policy. `kind` is what keeps it apart: no pack holds one."""

    schema_version: Literal["worka.service-policy.v1"] = "worka.service-policy.v1"
    kind: Literal["service"] = "service"
    inbound: Inbound
    domains: tuple[Domain, ...] = Field(default=(), max_length=20)
    health: Health = Field(default_factory=lambda: Health())
    outbound: tuple[Out, ...] = Field(default=(), max_length=200)

    @model_validator(mode="after")
    def _fits(self) -> ServicePolicy:
        seen: set[tuple[str, str]] = set()
        for route in self.inbound.routes:
            for method in route.methods:
                if (route.path, method) in seen:
                    raise ValueError(f"inbound.routes: {method} {route.path} is there twice")
                seen.add((route.path, method))
        names = [domain.name for domain in self.domains]
        if len(set(names)) != len(names):
            raise ValueError("domains: a name is there twice")
        if any(route.exposure == "public" for route in self.inbound.routes) and not self.domains:
            raise ValueError("domains: a public route needs a name under which it is reached")
        return self
