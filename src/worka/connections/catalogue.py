"""The catalogue of outside systems, as data: what is shipped (`providers/*.json`), and what the operator adds or replaces in
a folder of their own (`WORKA_CONNECTIONS__CATALOGUE`).

A file says where a provider's consent, tokens and interface are, which scopes there are in words a person reads, and which
hosts a credential may be put on. Nothing of it comes from the provider at run time: a provider cannot name another place
to send a token to. Pure but for reading the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from worka.connections.errors import CatalogueInvalid, MetadataInvalid
from worka.kernel import strict_json
from worka.kernel.errors import Problem
from worka.treasury.rules import HOST

FORMAT = "worka.provider.v1"
SHIPPED = Path(__file__).parent / "providers"
NAME = r"^[a-z0-9][a-z0-9._-]{0,59}$"
# RFC 6749, 3.3: what a scope may be written with.
SCOPE = r"^[\x21\x23-\x5b\x5d-\x7e]{1,200}$"
_FIELD = re.compile(r"\{([a-z][a-z0-9_]{0,39})\}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
MOST_BYTES = 64 * 1024

Kind = Literal["token", "oauth_code", "oauth_device", "oauth_client"]
WORDS: Mapping[str, str] = {
    "token": "an API key or token that a person brings",
    "oauth_code": "consent of a person at the provider (OAuth 2.1, authorization code with PKCE)",
    "oauth_device": "consent of a person on another device (OAuth device code)",
    "oauth_client": "the platform's own credential at the provider (OAuth client credentials)",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Use(_Part):
    """What a scope lets somebody do, as requests: a request that fits says that the scope is used."""

    methods: list[str] = Field(default_factory=lambda: ["*"], max_length=8)
    path: str = Field(pattern=r"^/[^\s]*$", max_length=300)

    def fits(self, method: str | None, path: str | None) -> bool:
        """Whether a request is of this kind. A `*` at the end of the path stands for the rest."""
        if not ({"*", (method or "").upper()} & set(self.methods)):
            return False
        found = path or ""
        return found.startswith(self.path[:-1]) if self.path.endswith("*") else found == self.path


class ScopeWords(_Part):
    """A scope in words."""

    words: str = Field(min_length=1, max_length=300)
    uses: list[Use] = Field(default_factory=list, max_length=40)


class MetadataField(_Part):
    """Something of the account that is no secret: an id, a subdomain, a workspace's name there."""

    words: str = Field(min_length=1, max_length=200)
    pattern: str = Field(r"^[^\x00-\x1f]{1,200}$", max_length=200)
    required: bool = True


class UserInfo(_Part):
    """Where whose account it is can be asked, and under which names the answer has it."""

    url: str
    id: str = Field("sub", max_length=80)
    name: str = Field("name", max_length=80)


class Provider(_Part):
    """One outside system. Addresses are https, and may hold `{field}` of the metadata in a label of the host."""

    format: Literal["worka.provider.v1"]
    name: Annotated[str, Field(pattern=NAME)]
    words: str = Field(min_length=1, max_length=120)
    kinds: list[Kind] = Field(min_length=1, max_length=4)
    hosts: list[str] = Field(min_length=1, max_length=20)
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    device_endpoint: str = ""
    revocation_endpoint: str = ""
    userinfo: UserInfo | None = None
    issuer: str = ""
    iss_parameter: bool = False
    client_auth: Literal["basic", "post", "none"] = "basic"
    scopes: dict[Annotated[str, Field(pattern=SCOPE)], ScopeWords] = Field(default_factory=dict, max_length=200)
    always: list[Annotated[str, Field(pattern=SCOPE)]] = Field(default_factory=list, max_length=10)
    scope_separator: Literal[" ", ","] = " "
    metadata: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")], MetadataField] = Field(
        default_factory=dict, max_length=10
    )
    parameters: dict[str, str] = Field(default_factory=dict, max_length=10)
    docs: str = Field("", max_length=300)
    rotates: bool = False

    @field_validator("authorization_endpoint", "token_endpoint", "device_endpoint", "revocation_endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if value:
            _address(value)
        return value

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: list[str]) -> list[str]:
        for item in value:
            if not re.match(HOST, _FIELD.sub("x", item)):
                raise ValueError(f"{item[:80]!r} is no host by its name")
        return value

    @field_validator("parameters")
    @classmethod
    def _parameters(cls, value: dict[str, str]) -> dict[str, str]:
        taken = {"response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge",
                 "code_challenge_method", "client_secret", "code", "grant_type"}  # fmt: skip
        if clash := taken & set(value):
            raise ValueError(f"{', '.join(sorted(clash))}: set by the platform")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Provider:
        needs = {
            "oauth_code": ("authorization_endpoint", "token_endpoint"),
            "oauth_device": ("device_endpoint", "token_endpoint"),
            "oauth_client": ("token_endpoint",),
        }
        for kind in self.kinds:
            for field in needs.get(kind, ()):
                if not getattr(self, field):
                    raise ValueError(f"{field}: {kind} needs it")
        if self.userinfo is not None:
            _address(self.userinfo.url)
        if self.iss_parameter and not self.issuer:
            raise ValueError("issuer: iss_parameter needs it")
        named = {name for text in self._addresses() for name in _FIELD.findall(text)}
        if unknown := named - set(self.metadata):
            raise ValueError(f"metadata: {', '.join(sorted(unknown))} stands in an address and is no field")
        return self

    def _addresses(self) -> list[str]:
        own = [self.authorization_endpoint, self.token_endpoint, self.device_endpoint, self.revocation_endpoint]
        return [*own, *self.hosts, self.issuer, *([self.userinfo.url] if self.userinfo else [])]

    def at(self, metadata: Mapping[str, Any]) -> Place:
        """Its addresses for an account with these metadata. Raises MetadataInvalid."""
        values = {}
        for name, field in self.metadata.items():
            given = str(metadata.get(name, ""))
            if not given and not field.required:
                continue
            if not re.fullmatch(field.pattern, given):
                raise MetadataInvalid(f"{self.words} needs {name}: {field.words}.", field=f"metadata/{name}")
            values[name] = given

        def fill(text: str) -> str:
            for name in _FIELD.findall(text):
                if not _LABEL.fullmatch(values.get(name, "")):
                    raise MetadataInvalid(f"{name} has to be one label of a host name.", field=f"metadata/{name}")
            return _FIELD.sub(lambda match: values[match.group(1)], text)

        info = self.userinfo
        return Place(
            authorization=fill(self.authorization_endpoint), token=fill(self.token_endpoint),
            device=fill(self.device_endpoint), revocation=fill(self.revocation_endpoint),
            userinfo=fill(info.url) if info else "", issuer=fill(self.issuer),
            hosts=tuple(fill(item) for item in self.hosts),
        )  # fmt: skip

    def said(self, scope: str) -> str:
        """What a scope allows, in words; the scope itself where the catalogue has none."""
        known = self.scopes.get(scope)
        return known.words if known else scope


class Place(_Part):
    """A provider's addresses for one account, without any field left open."""

    authorization: str
    token: str
    device: str
    revocation: str
    userinfo: str
    issuer: str
    hosts: tuple[str, ...]

    def reached(self) -> list[tuple[str, int, str, str]]:
        """(host, port, method, path) of everything that the platform itself calls there."""
        calls = [("POST", self.token), ("POST", self.device), ("POST", self.revocation), ("GET", self.userinfo)]
        found = {(*split(url)[:2], method, split(url)[2]) for method, url in calls if url}
        return sorted(found)


def split(url: str) -> tuple[str, int, str]:
    """(host, port, path) of one of our own https addresses."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 443, parts.path or "/"


def _address(url: str) -> None:
    filled = _FIELD.sub("x", url)
    parts = urlsplit(filled)
    plain = parts.scheme == "https" and "@" not in parts.netloc and not parts.fragment and not parts.query
    if not plain or not re.match(HOST, parts.hostname or "") or not filled.isascii() or len(url) > 400:
        raise ValueError(f"{url[:80]!r} is no plain https address")
    if _FIELD.search(parts.path) or (_FIELD.search(url) and _FIELD.search(url.split("//", 1)[-1].partition("/")[2])):
        raise ValueError("a field may stand in the host only")


def read(data: bytes, where: str) -> Provider:
    """One file. Raises CatalogueInvalid."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"above {MOST_BYTES} bytes")
        return Provider.model_validate(strict_json.loads(data))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = "/".join(str(part) for part in first["loc"])
        raise CatalogueInvalid(f"{where}: {place}: {first['msg']}") from error
    except (ValueError, Problem) as error:
        raise CatalogueInvalid(f"{where}: {str(error)[:200]}") from error


@lru_cache(maxsize=8)
def _folder(folder: str, _stamp: tuple[tuple[str, int, int], ...]) -> dict[str, Provider]:
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        provider = read(path.read_bytes(), path.name)
        if provider.name != path.stem:
            raise CatalogueInvalid(f"{path.name}: it is called {provider.name}; call the file {provider.name}.json")
        found[provider.name] = provider
    return found


def _of(folder: Path) -> dict[str, Provider]:
    try:
        stamp = tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.glob("*.json")))
        return _folder(str(folder), stamp)
    except OSError as error:
        raise CatalogueInvalid(f"{folder}: {error.strerror}") from error


def providers(settings: Any) -> dict[str, Provider]:
    """All of them by name: the operator's own before those that are shipped. Raises CatalogueInvalid."""
    own = settings.connections.catalogue if settings is not None else ""
    return {**_of(SHIPPED), **(_of(Path(own)) if own else {})}


def origin(settings: Any, name: str) -> str:
    """`operator` or `shipped`."""
    own = settings.connections.catalogue if settings is not None else ""
    return "operator" if own and name in _of(Path(own)) else "shipped"


def schema() -> str:
    """The JSON Schema of a file."""
    return json.dumps(Provider.model_json_schema(), indent=1, sort_keys=True)
