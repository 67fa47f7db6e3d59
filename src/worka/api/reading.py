"""What a request may look like before anybody asks what it means: whose name it calls, its characters, its body, and that
it holds nothing that its route does not take."""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from worka.api.errors import Misdirected, TooLarge, UnknownField, UnknownParameter, UnsupportedBody
from worka.kernel import strict_json
from worka.kernel.errors import BadRequest, NotFound
from worka.kernel.settings import HttpSettings

_HOST = re.compile(r"^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$")
_SHORT = 64 * 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def own_hosts(http: HttpSettings) -> frozenset[str]:
    """The names under which this instance may be asked: loopback, the address it listens on, that of http.public_url, and
    http.allowed_hosts."""
    named = {host.lower() for host in http.allowed_hosts} | LOOPBACK
    if http.public_url:
        named.add(urlsplit(http.public_url).netloc.lower().rsplit("@", 1)[-1])
    try:
        address = ipaddress.ip_address(http.host)
        if not address.is_unspecified:
            named.add(f"[{address}]" if address.version == 6 else str(address))
    except ValueError:
        named.add(http.host.lower())
    return frozenset(_bare(name) or name for name in named)


def _bare(host: str) -> str | None:
    """The name without its port; None when it is no host."""
    match = _HOST.match(host)
    return match.group(1) if match else None


def check_host(hosts: list[str], own: frozenset[str]) -> None:
    """Raises Misdirected. A page that rebinds its name to this machine still says its own name here."""
    asked = _bare(hosts[0].lower()) if len(hosts) == 1 else None
    if asked is None or asked not in own:
        named = hosts[0][:100] if len(hosts) == 1 else f"{len(hosts)} hosts"
        raise Misdirected(f"The request asks for {named!r}; this instance answers to {', '.join(sorted(own))}.")


def check_text(path: str, raw_path: bytes, query: bytes) -> None:
    """Raises NotFound or BadRequest for characters that are none."""
    try:
        unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("The path is not UTF-8.", code="bad_path", field="/path") from error
    if "\x00" in path:
        raise NotFound("The path holds a NUL byte.")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict")
    except ValueError as error:  # not ASCII, not UTF-8 behind the percent signs, or too many parts
        raise BadRequest("The query is not percent-encoded UTF-8.", code="bad_query", field="/query") from error
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            raise BadRequest(
                f"The query holds a NUL byte in {name[:60]!r}.", code="bad_query", field=f"/query/{name[:60]}"
            )


async def json_body(request: Request, receive: Receive, limit: int) -> tuple[Receive, Any]:
    """Reads the body of a change once, strictly, and gives it on as it was, with what it says (None: no body).

    Raises UnsupportedBody, TooLarge, Unreadable."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise TooLarge(f"The body may hold {limit} bytes at most.")
        if not message.get("more_body", False):
            break
    body = b"".join(chunks)
    value = None
    if body:
        kind, _, parameters = request.headers.get("content-type", "").partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
            raise UnsupportedBody(f"The body is {request.headers.get('content-type', 'of no named type')[:80]!r}.")
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise UnsupportedBody("The body is encoded (Content-Encoding).")
        # A long one is read beside the others who are served meanwhile, not before them.
        short = len(body) <= _SHORT
        value = strict_json.loads(body) if short else await asyncio.to_thread(strict_json.loads, body)
    told = False

    async def again() -> Message:
        nonlocal told
        if not told:
            told = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again, value


async def exact(request: Request) -> None:
    """Dependency of every route: a parameter or a body that the route does not take is refused, not ignored. Raises
    UnknownParameter, UnknownField."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known, lists = _parameters(route)
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UnknownParameter(
                f"{name[:60]!r} is not a parameter of this route." + (f" Did you mean {near[0]!r}?" if near else ""),
                field=f"/query/{name[:60]}",
                known=sorted(known),
            )
        if times > 1 and name not in lists:
            raise UnknownParameter(f"{name!r} stands twice in the query.", field=f"/query/{name}", known=sorted(known))
    body = getattr(request.state, "json", None)
    if route.body_field is None and body not in (None, {}):
        names = sorted(body)[:5] if isinstance(body, dict) else ["/body"]
        raise UnknownField(f"This route takes no body; it got {', '.join(map(str, names))}.", field="/body")


def _parameters(route: APIRoute) -> tuple[frozenset[str], frozenset[str]]:
    """The names of a route's query parameters, and which of them may repeat."""
    cached: tuple[frozenset[str], frozenset[str]] | None = getattr(route, "worka_parameters", None)
    if cached is None:
        fields = [field for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query)]
        many = frozenset(field.alias for field in fields if "list" in str(field.field_info.annotation))
        cached = frozenset(field.alias for field in fields), many
        route.worka_parameters = cached  # type: ignore[attr-defined]
    return cached


def methods_of(document: dict[str, Any], path: str) -> list[str]:
    """The methods that the OpenAPI document has for a path; empty if it has none."""
    found = {
        method.upper()
        for template, item in document["paths"].items()
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path)
        for method in item
    }
    return sorted(found)
