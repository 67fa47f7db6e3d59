"""Requests and answers as the broker reads and writes them, whatever version of HTTP carried them. Sans-I/O.

Everything is parsed (h1.py, h2.py) and written anew, so nothing ambiguous survives; what two parsers could read
differently is refused before that. A pack's own credentials and idempotency key never pass where the broker sets them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_plus

from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.wire import websocket

Headers = list[tuple[bytes, bytes]]
MAX_HEAD = 64 * 1024
MAX_TARGET = 8 * 1024
_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
}  # fmt: skip
_FRAMING = {b"content-length", b"transfer-encoding"}
# Alt-Svc would invite the client to a road that the sandbox does not have.
_ANSWER_ONLY = {b"alt-svc", b"alt-used"}
_OTHERWISE = frozenset(
    {b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url"}
)
"""By these many servers do something else than the request's line says: the rules would have decided over another request."""
_BAD_TARGET = re.compile(rb"[\x00-\x20\x7f-\xff\\#\"<>^`{|}]")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Refused(Exception):
    """A request that is refused as it stands: reason code and a sentence. Raised before anything is dialled."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Request:
    """A request head as a wire read it, unchecked. Names of headers are in small letters; `body`: whether one follows."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    version: str
    body: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer. `reason` is empty where the wire has none."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    reason: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """A checked request head. `target` is the origin-form on the wire (path and query), `path` is without the query."""

    method: str
    target: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    expects_continue: bool
    has_body: bool
    websocket: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it leaves. `authority` is the Host; `length` what was said of the body's, None when nothing was."""

    method: str
    target: bytes = field(repr=False)  # these two may hold the credential
    authority: bytes
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    has_body: bool
    length: bytes | None = None
    websocket: bool = False


@dataclass(frozen=True, slots=True)
class Injection:
    """What the broker puts on the wire: either a header or a query parameter, with its expanded value."""

    header: str | None
    query: str | None
    value: str

    def __repr__(self) -> str:  # the value must not reach a log or a traceback
        return f"Injection(header={self.header!r}, query={self.query!r})"


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def read_head(request: Request, *, intended: str, port: int, sni: str | None) -> Head:
    """Check a request against where its connection was made to.

    `intended` is the declared name behind the socket's local address, `port` the listener's, `sni` the name in the TLS
    handshake (None on port 80 and when the client sent none). Raises Refused: `nested_connect`, `malformed_request`,
    `upgrade_refused`, `host_mismatch`, `raw_address`.
    """
    headers, target = request.headers, request.target
    if request.method == "CONNECT":
        if _values(headers, b"upgrade"):
            raise Refused("upgrade_refused", "a WebSocket over HTTP/2 (RFC 8441) is not carried; use HTTP/1.1 for it")
        raise Refused("nested_connect", "CONNECT inside a connection of the sandbox")
    if not target.startswith(b"/"):
        if re.match(rb"[A-Za-z][A-Za-z0-9+.-]*:", target):
            raise Refused("nested_connect", "a proxy request (absolute-form) inside a connection of the sandbox")
        raise Refused("malformed_request", "the request target is not a path")
    if request.version not in {"1.0", "1.1", "2"}:
        raise Refused("malformed_request", "a request of another scheme than its connection's")
    if target.startswith(b"//") or _BAD_TARGET.search(target) or len(target) > MAX_TARGET:
        raise Refused("malformed_request", "the request target holds characters that two servers read differently")
    _check_length(request)
    if any(_BAD_VALUE.search(value) or not _NAME.match(name) for name, value in headers):
        raise Refused("malformed_request", "a header holds characters that do not belong into one")
    turned = next((name for name, _ in headers if _same(name) in _OTHERWISE), None)
    if turned is not None:
        raise Refused(
            "malformed_request", f"{turned.decode('ascii')} would make another request of it than its line says"
        )
    handshake = _upgrade(request)
    _check_host(_values(headers, b"host"), intended, port, sni)
    return Head(
        method=request.method,
        target=target.decode("ascii"),
        path=target.split(b"?", 1)[0].decode("ascii"),
        headers=headers,
        expects_continue=any(v.lower() == b"100-continue" for v in _values(headers, b"expect")),
        has_body=request.body,
        websocket=handshake,
    )


def _check_length(request: Request) -> None:
    headers = request.headers
    lengths, codings = _values(headers, b"content-length"), _values(headers, b"transfer-encoding")
    if (lengths and codings) or len(lengths) > 1 or len(codings) > 1:
        raise Refused("malformed_request", "the length of the body is said twice")
    if codings and (codings[0].lower() != b"chunked" or request.version != "1.1"):
        raise Refused("malformed_request", "a transfer coding other than chunked")
    if lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        raise Refused("malformed_request", "the length of the body is no number")
    if lengths and not request.body and lengths[0].strip(b"0"):
        raise Refused("malformed_request", "a length is said of a body that does not follow")
    if any(b"_" in name and _same(name) in _FRAMING for name, _ in headers):
        raise Refused("malformed_request", "the length of the body is said in a spelling that some servers fold")


def _upgrade(request: Request) -> bool:
    """Whether it is a WebSocket's handshake, the one change of protocol that a rule can allow."""
    asked = _values(request.headers, b"upgrade")
    if not asked:
        return False
    if [value.lower() for value in asked] != [b"websocket"]:
        raise Refused("upgrade_refused", "a change of protocol would leave the reach of the rules")
    problem = websocket.handshake_problem(request.method, request.version, request.headers, body=request.body)
    if problem:
        raise Refused("upgrade_refused", problem)
    return True


def _check_host(hosts: Sequence[bytes], intended: str, port: int, sni: str | None) -> None:
    if len(hosts) != 1:
        raise Refused("host_mismatch", "a request needs exactly one Host header")
    raw = hosts[0].decode("latin-1")
    name, colon, number = raw.rpartition(":") if re.search(r":[0-9]{1,5}\Z", raw) else (raw, "", "")
    if raw == intended and sni in {None, intended}:
        return  # as nearly always
    if colon and int(number) != port:
        raise Refused("host_mismatch", f"the Host header names port {int(number)}, the connection is to {port}")
    try:
        seen = {normalise_host(name)} | ({normalise_host(sni)} if sni is not None else set())
    except HostProblem as problem:
        raise Refused(
            problem.reason if problem.reason == "raw_address" else "host_mismatch", problem.detail
        ) from problem
    if seen != {intended}:
        raise Refused("host_mismatch", f"the connection is to {intended}, but the request names another host")


def _same(name: bytes) -> bytes:
    # Servers of the CGI family fold `_` into `-`, so `Idempotency_Key` would arrive as the real header.
    return name.lower().replace(b"_", b"-")


def without_hop(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers that belong to the message, not to this connection; also those that `Connection` lists."""
    pairs = list(headers)
    listed = {
        token.strip().lower() for name, value in pairs if name.lower() == b"connection" for token in value.split(b",")
    }
    return [(name, value) for name, value in pairs if name.lower() not in _HOP | listed]


def outgoing(
    head: Head,
    *,
    host: str,
    port: int,
    injection: Injection | None = None,
    owned: Iterable[str] = (),
    added: Mapping[str, str] | None = None,
) -> Outgoing:
    """The request that really leaves: hop-by-hop headers gone, the broker's own put in.

    `owned` are header names of which a pack's own value is removed (the idempotency header, the injected one), whether
    or not the broker sets one; `added` is set after that. With an injection the answer must be readable for the scan,
    so only the identity coding is asked for, and a pack's Authorization and Cookie do not pass beside the credential.
    Raises ValueError when a value of ours cannot stand in a header.
    """
    added = dict(added or {})
    gone = {_same(name.encode("latin-1")) for name in (*owned, *added)} | _FRAMING | {b"host", b"expect"}
    if injection is not None:
        gone |= {b"authorization", b"cookie", b"accept-encoding", b"range"}
        if injection.header:
            gone.add(_same(injection.header.encode("latin-1")))
    if head.websocket:
        # What is not offered is not agreed on: a compressed message could not be looked through.
        gone |= {b"sec-websocket-extensions"}
    headers: Headers = [
        (name, value)
        for name, value in without_hop(head.headers)
        if _same(name) not in gone and not name.startswith(b"proxy-")
    ]
    headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in added.items()]
    target = head.target
    if injection is not None:
        headers.append((b"accept-encoding", b"identity"))
        if injection.header:
            headers.append((injection.header.lower().encode("latin-1"), injection.value.encode("utf-8")))
        elif injection.query:
            target = _with_query(target, injection.query, injection.value)
    if any(_BAD_VALUE.search(value) or value != value.strip() or not _NAME.match(name) for name, value in headers):
        raise ValueError("a value that cannot stand in a header")
    return Outgoing(
        method=head.method,
        target=target.encode("ascii"),
        authority=host.encode() if port in {80, 443} else f"{host}:{port}".encode(),
        headers=tuple(headers),
        has_body=head.has_body,
        length=next(iter(_values(head.headers, b"content-length")), None),
        websocket=head.websocket,
    )


def _with_query(target: str, name: str, value: str) -> str:
    path, _, query = target.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.split("=", 1)[0]) != name]
    kept.append(f"{quote(name, safe='')}={quote(value, safe='')}")
    return f"{path}?{'&'.join(kept)}"


def answer(response: Answer) -> Answer:
    """The outside's response head as the pack gets it: hop-by-hop gone, and a length beside a transfer coding."""
    chunked = bool(_values(response.headers, b"transfer-encoding"))
    kept = [
        (name, value)
        for name, value in without_hop(response.headers)
        if name not in _ANSWER_ONLY and not (chunked and name == b"content-length")
    ]
    return Answer(response.status, tuple(kept), response.reason)


def problem(status: int, body: Mapping[str, Any]) -> tuple[Answer, bytes]:
    """A problem+json answer of the broker itself."""
    raw = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
    headers = (
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(raw)).encode()),
        (b"cache-control", b"no-store"),
    )
    return Answer(status, headers), raw
