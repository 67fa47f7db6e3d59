"""What a pack may reach: destination rules out of a manifest, and the one decision over a request. Pure.

A rule is one item of `outbound_domains`: a host (`api.example.com` or `*.example.com`) or {host, port, methods, paths,
websocket, opaque}. A host without a port means the two ports of a sandbox, 443 and 80. `paths` are exact, or a prefix
when they end in `*`. `websocket` lets a GET become a WebSocket. `opaque` is TLS to port 443 that the broker does not
read: it holds the pack to the host's name alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from worka.broker import causes as causes  # registers the reason codes of this domain
from worka.broker.addresses import HostProblem, normalise_host

SideEffect = Literal["read_only", "write", "external_side_effect", "destructive"]
PORTS = frozenset({80, 443})
READING = frozenset({"GET", "HEAD"})
# CONNECT and TRACE are in no class: the one opens a tunnel, the other sends a credential back.
ALL_METHODS = READING | {"POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_UNRESERVED = re.compile(r"%([0-9a-fA-F]{2})")
_KEYS = frozenset({"host", "port", "methods", "paths", "websocket", "opaque"})
_TOKEN_METHOD = re.compile(r"[A-Z]{1,20}\Z")


class RuleProblem(ValueError):
    """An `outbound_domains` item that cannot be read; the message names the field."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One destination rule. `id` is its place in the manifest (`outbound_domains[0]`); `suffix` is set for `*.host`."""

    id: str
    host: str
    suffix: str | None
    ports: frozenset[int]
    methods: frozenset[str] | None = None
    paths: tuple[str, ...] | None = None
    websocket: bool = False
    opaque: bool = False

    def covers(self, host: str) -> bool:
        """True if the (normalised) host is this rule's; `*.host` covers every name below host, not host itself."""
        return host.endswith(self.suffix) if self.suffix is not None else host == self.host


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict over one request: allowed or the reason code, the rule that decided, what would have to change."""

    allowed: bool
    reason: str
    rule_id: str | None
    remedy: str
    proposal: Mapping[str, Any] = field(default_factory=dict)


def host_pattern(raw: str) -> tuple[str, str | None]:
    """(`host`, suffix or None) of `host` or `*.host`, normalised. Raises RuleProblem."""
    wildcard = raw.startswith("*.")
    try:
        host = normalise_host(raw[2:] if wildcard else raw)
    except HostProblem as problem:
        raise RuleProblem(f"host {raw!r}: {problem.detail}") from problem
    if wildcard and "." not in host:
        raise RuleProblem(f"host {raw!r}: a wildcard needs a name of two labels or more")
    return (f"*.{host}", f".{host}") if wildcard else (host, None)


def parse_rules(items: Sequence[object]) -> tuple[Rule, ...]:
    """The rules of a manifest's `outbound_domains`. Raises RuleProblem naming the item; one bad item refuses all,
    for a rule read by halves could be a wider one."""
    found: list[Rule] = []
    for index, item in enumerate(items):
        where = f"outbound_domains[{index}]"
        spec: Mapping[str, Any] = {"host": item} if isinstance(item, str) else item if isinstance(item, Mapping) else {}
        unknown = set(spec) - _KEYS
        if not isinstance(spec.get("host"), str) or unknown:
            raise RuleProblem(f"{where}: a host string or {{{', '.join(sorted(_KEYS))}}}")
        try:
            host, suffix = host_pattern(spec["host"])
        except RuleProblem as problem:
            raise RuleProblem(f"{where}: {problem}") from problem
        port, methods, paths = spec.get("port"), spec.get("methods"), spec.get("paths")
        if port is not None and (isinstance(port, bool) or port not in PORTS):
            raise RuleProblem(f"{where}.port: a sandbox reaches ports 80 and 443 only")
        if methods is not None and not _strings(methods, lambda m: m.upper() in ALL_METHODS):
            raise RuleProblem(f"{where}.methods: a list out of {', '.join(sorted(ALL_METHODS))}")
        if paths is not None and not _strings(
            paths, lambda p: p.startswith("/") and "*" not in p[:-1] and "?" not in p
        ):
            raise RuleProblem(f"{where}.paths: a list of paths that start with / and may end in *")
        websocket, opaque = _flags(where, spec)
        ports = PORTS if port is None else frozenset({port})
        found.append(
            Rule(
                id=where,
                host=host,
                suffix=suffix,
                ports=frozenset({443}) if opaque else ports,
                methods=None if methods is None else frozenset(m.upper() for m in methods),
                paths=None if paths is None else tuple(canonical_path(p) or p for p in paths),
                websocket=websocket,
                opaque=opaque,
            )
        )
    return tuple(found)


def _flags(where: str, spec: Mapping[str, Any]) -> tuple[bool, bool]:
    """(websocket, opaque). Raises RuleProblem."""
    for name in ("websocket", "opaque"):
        if not isinstance(spec.get(name, False), bool):
            raise RuleProblem(f"{where}.{name}: true or false")
    websocket, opaque = bool(spec.get("websocket")), bool(spec.get("opaque"))
    if opaque and (websocket or spec.get("port") == 80 or spec.get("methods") or spec.get("paths")):
        raise RuleProblem(f"{where}.opaque: what is not read has no method, path or WebSocket, and no port but 443")
    methods = spec.get("methods")
    if websocket and methods is not None and "GET" not in {str(method).upper() for method in methods}:
        raise RuleProblem(f"{where}.websocket: a WebSocket begins with GET")
    return websocket, opaque


def _strings(value: object, good: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, str) and good(x) for x in value)


def declared(rules: Sequence[Rule], host: str, port: int | None = None) -> bool:
    """True if some rule names the host (and port, if given): what the resolver answers for."""
    return any(rule.covers(host) and (port is None or port in rule.ports) for rule in rules)


def canonical_path(path: str) -> str | None:
    """The path (no query) with needless percent-escapes undone, or None when two servers could read it differently.

    Refused: dot segments in any depth of escaping, escaped or real backslashes, escaped slashes, control characters.
    """
    if not path.startswith("/") or not path.isascii():
        return None
    decoded = path
    for _ in range(4):
        if re.search(r"[\x00-\x20\x7f\\]|%2f|%5c", decoded, re.IGNORECASE):
            return None
        # `..;x` is a parent directory to servers that cut path parameters away.
        if any(segment.split(";")[0] in {".", ".."} for segment in decoded.split("/")):
            return None
        further = unquote(decoded, errors="strict") if _readable(decoded) else None
        if further is None:
            return None
        if further == decoded:
            break
        decoded = further
    else:
        return None
    return _UNRESERVED.sub(_unescape, path)


def _readable(text: str) -> bool:
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _unescape(match: re.Match[str]) -> str:
    char = chr(int(match.group(1), 16))
    return char if char.isascii() and (char.isalnum() or char in "-._~") else match.group(0).upper()


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def leniently(patterns: Iterable[str], path: str) -> bool:
    """Whether some server could take a path for one of these: without escapes, parameters of segments, doubled slashes, case and
    a slash at the end, of which many make nothing."""
    read = _lenient(path)
    return any(
        read.startswith(_lenient(pattern[:-1]))
        if pattern.endswith("*")
        else read.rstrip("/") == _lenient(pattern).rstrip("/")
        for pattern in patterns
    )


def _lenient(path: str) -> str:
    plain = path
    while (further := unquote(plain)) != plain:
        plain = further
    plain = "/".join(segment.partition(";")[0] for segment in plain.split("/"))
    return re.sub("//+", "/", plain).casefold()


def opaque_rule(rules: Sequence[Rule], host: str, port: int) -> Rule | None:
    """The rule by which TLS to host:port may pass unread; a rule for the same place that is read comes first."""
    here = [rule for rule in rules if rule.covers(host) and port in rule.ports]
    return here[0] if here and all(rule.opaque for rule in here) else None


def decide(
    rules: Sequence[Rule],
    host: str,
    port: int,
    method: str,
    path: str,
    side_effect: str,
    *,
    websocket: bool = False,
) -> Decision:
    """May a tool of class `side_effect` send `method path` to host:port, and with `websocket` speak one there? `host` is
    normalised, `path` has no query.

    The nearest miss gives the reason: a wrong path is said before a wrong method, that before an undeclared host.
    An unknown class counts as destructive only in the manifest; here an unknown word gets no more than reading.
    """
    here = [rule for rule in rules if rule.covers(host) and port in rule.ports and not rule.opaque]
    clean = canonical_path(path)
    item: dict[str, Any] = {"host": host, "port": port, "methods": [method], "paths": [clean]}
    proposal: dict[str, Any] = {"outbound_domains": [{**item, "websocket": True} if websocket else item]}
    if clean is None or "*" in clean:
        proposal = {}  # no rule names exactly this path, and one that ends in a star names all below it
    if not here:
        return Decision(
            False,
            "undeclared_destination",
            None,
            f"declare {host} (port {port}) in outbound_domains and release the pack again",
            proposal,
        )
    nearest: Decision | None = None
    for rule in here:
        missing = _missing(rule, method, path, side_effect, websocket=websocket)
        if missing is None:
            return Decision(True, "allowed", rule.id, "")
        reason, why = missing
        if nearest is None or reason != "method_not_allowed":
            nearest = Decision(False, reason, rule.id, why, proposal)
    assert nearest is not None
    return nearest


def _missing(rule: Rule, method: str, path: str, side_effect: str, *, websocket: bool) -> tuple[str, str] | None:
    """(reason code, remedy) of what a rule for this place does not allow; None when it does."""
    classed = ALL_METHODS if side_effect in {"write", "external_side_effect", "destructive"} else READING
    allowed = classed if rule.methods is None else rule.methods
    if not _TOKEN_METHOD.match(method) or method not in allowed:
        if rule.methods is None:
            sends = ", ".join(sorted(allowed))
            return "method_not_allowed", f"a {side_effect} tool sends {sends} only: declare {method} for {rule.host}"
        return "method_not_allowed", f"add {method} to the methods of {rule.id}"
    if rule.paths is not None:
        clean = canonical_path(path)
        if clean is None:
            return "path_not_allowed", "write the path without dot segments and escaped slashes"
        if not any(_path_matches(pattern, clean) for pattern in rule.paths):
            return "path_not_allowed", f"add the path to the paths of {rule.id}"
    if websocket and not rule.websocket:
        return "upgrade_refused", f"say websocket: true in {rule.id}, if a WebSocket is meant"
    return None


def redirect_target(location: str, host: str, port: int) -> tuple[str, int] | None:
    """(host, port) that a Location header points at when it leaves host:port; None for a relative or same-origin one.

    An unreadable target comes back as ("", 0): out of scope by definition.
    """
    try:
        parts = urlsplit(location)
        if not parts.scheme and not parts.netloc:
            return None
        scheme = parts.scheme.lower() or ("https" if port == 443 else "http")
        if scheme not in {"http", "https"} or parts.hostname is None:
            return "", 0
        target = normalise_host(parts.hostname), parts.port or (443 if scheme == "https" else 80)
    except ValueError:
        return "", 0
    return None if target == (host, port) else target
