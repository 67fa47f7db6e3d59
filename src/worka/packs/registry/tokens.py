"""Bearer tokens of a registry that has them given out by another server (the distribution specification's token
authentication): what a challenge says, what is asked for, and what comes back. Pure.

A registry is believed in nothing here either: which service gives out its tokens, and under which name of the registry, the
destination says; what may be done with one is asked by what we do, never as the registry would have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.rules import canonical_path
from worka.kernel import strict_json
from worka.kernel.errors import Problem

MOST_ANSWER = 64 * 1024
_BEARER = re.compile(r"(?:^|,)\s*bearer\s+(.*)", re.IGNORECASE | re.DOTALL)
_PAIR = re.compile(r'([a-z_]+)="([^"\\]{0,500})"', re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}\Z")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,200}\Z")
"""Narrow: a refusal writes the command that names it, with what a registry said."""
_SERVICE = re.compile(r"[A-Za-z0-9._:/ -]{1,200}\Z")


class TokenProblem(ValueError):
    """A token service that cannot be named so, or an answer that holds no token; the text says what is wrong."""


@dataclass(frozen=True)
class Service:
    """A token service as a destination names it: one address, and the name that it knows the registry by."""

    host: str
    port: int
    path: str
    service: str

    @property
    def address(self) -> str:
        """Where tokens are asked for."""
        return f"https://{self.host}{'' if self.port == 443 else f':{self.port}'}{self.path}"

    @property
    def written(self) -> str:
        """As it is kept and shown."""
        return self.address + (f"?service={quote(self.service, safe=':/.')}" if self.service else "")


@dataclass(frozen=True)
class Challenge:
    """What a registry asks for with its 401."""

    realm: str
    service: str


def read(text: str) -> Service:
    """`https://host[:port]/path[?service=name]`, as an operator writes it. Raises TokenProblem."""
    try:
        parts = urlsplit(text)
        port = parts.port or 443
        host = normalise_host(parts.hostname or "")
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except (ValueError, HostProblem) as error:
        raise TokenProblem("an address such as https://auth.example.com/token?service=registry.example.com") from error
    path = canonical_path(parts.path or "/")
    if parts.scheme != "https" or parts.fragment or "@" in parts.netloc or path is None or not _PATH.match(path):
        raise TokenProblem("a plain https address, such as https://auth.example.com/token")
    if set(query) - {"service"} or not _SERVICE.match(query.get("service", "x")):
        raise TokenProblem("nothing behind the ? but service=NAME, the name that it knows the registry by")
    return Service(host, port, path, query.get("service", ""))


def challenge(header: str) -> Challenge | None:
    """The bearer challenge of a `WWW-Authenticate` header; None where there is none."""
    found = _BEARER.search(header)
    said = {name.lower(): value for name, value in _PAIR.findall(found.group(1))} if found else {}
    return Challenge(said["realm"], said.get("service", "")) if "realm" in said else None


def refusal(asked: Challenge, named: Service | None, registry: str) -> str:
    """Why no token is asked for at a challenge's realm, with what the destination would have to name; empty when it is. The
    service must be the named one: else a registry could have a token for another given out, and be sent it."""
    try:
        realm = read(asked.realm)
    except TokenProblem:
        return f"it wants a token from {asked.realm[:100]!r}, which is no plain https address"
    wanted = Service(realm.host, realm.port, realm.path, asked.service)
    setting = f"name it with the destination: --token-service '{wanted.written}'"
    if named is None:
        return f"it wants a token from {realm.address}, and the destination names no token service; if you trust it, {setting}"
    if (realm.host, realm.port, realm.path) != (named.host, named.port, named.path):
        return (
            f"it wants a token from {realm.address}, the destination names {named.address}; if you trust it, {setting}"
        )
    known = {named.service} if named.service else {registry, registry.removesuffix(":443")}
    if asked.service not in known:
        return (
            f"it wants a token for {asked.service[:100]!r}, the destination is {min(known)}; if you trust it, {setting}"
        )
    return ""


def request(named: Service, asked: Challenge, repository: str, *, push: bool) -> str:
    """The address that gives out a token for exactly this repository."""
    scope = f"repository:{repository}:{'pull,push' if push else 'pull'}"
    return f"{named.address}?service={quote(asked.service, safe='')}&scope={quote(scope, safe='')}"


def token_of(body: bytes) -> str:
    """The token of an answer. Raises TokenProblem."""
    try:
        found: Any = strict_json.loads(body) if len(body) <= MOST_ANSWER else None
    except Problem as error:
        raise TokenProblem("its answer is not JSON") from error
    token = (found.get("token") or found.get("access_token")) if isinstance(found, Mapping) else None
    if not isinstance(token, str) or not _TOKEN.match(token):
        raise TokenProblem("its answer holds no token")
    return token
