"""The pack of the suite: it does on the network whatever it is told. It runs alone in a sandbox: standard library only.

An MCP server over stdio with one tool, `attempt` {tries: [{do, …}]}: each try is one of the functions in DOES, and its
value says what came back: {status, text}, {data}, {addresses}, {said} or {error}. It never judges; the canaries do.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

Row = dict[str, Any]
SECONDS = 6.0
MOST = 16 * 1024


def tls(blind: bool) -> ssl.SSLContext:
    """A client's context; `blind` takes every certificate, as malware does."""
    if blind:
        return ssl._create_unverified_context()  # noqa: S323
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))


def fetch(ask: Row) -> Row:
    """An ordinary client's request, straight to its host."""
    parts = urlsplit(ask["url"])
    host, blind = str(parts.hostname), bool(ask.get("blind"))
    client: http.client.HTTPConnection
    if parts.scheme == "https":
        client = http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=tls(blind))
    else:
        client = http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        client.request(ask.get("method", "GET"), target)
        answer = client.getresponse()
        return {"status": answer.status, "text": answer.read(MOST).decode("latin-1")}
    finally:
        client.close()


def proxied(ask: Row) -> Row:
    """A client that is told by its proxy variables to go through `proxy` (with none: they are taken away)."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    if ask.get("proxy"):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
            os.environ[name] = ask["proxy"]
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(), urllib.request.HTTPSHandler(context=tls(bool(ask.get("blind"))))
    )
    try:
        with opener.open(ask["url"], timeout=SECONDS) as answer:
            return {"status": answer.status, "text": answer.read(MOST).decode("latin-1")}
    except urllib.error.HTTPError as refused:
        return {"status": refused.code, "text": refused.read(MOST).decode("latin-1")}


def raw(ask: Row) -> Row:
    """Bytes as they are to host:port; with `sni` inside TLS for that name."""
    sock: socket.socket = socket.create_connection((ask["host"], ask["port"]), timeout=SECONDS)
    try:
        if "sni" in ask:
            sock = tls(True).wrap_socket(sock, server_hostname=ask["sni"])
        sock.sendall(base64.b64decode(ask["data"]))
        sock.settimeout(float(ask.get("seconds", 0.7)))
        got = b""
        try:
            while len(got) < MOST and (more := sock.recv(65536)):
                got += more
        except (TimeoutError, ConnectionResetError):
            pass
        return {"data": got.decode("latin-1")}
    finally:
        sock.close()


def lookup(ask: Row) -> Row:
    """A name, asked of the sandbox's resolver."""
    found = socket.getaddrinfo(ask["name"], 443, type=socket.SOCK_STREAM)
    return {"addresses": [item[4][0] for item in found]}


def datagram(ask: Row) -> Row:
    """One datagram, and what comes back: QUIC's long header unless something else is given."""
    family = socket.AF_INET6 if ":" in ask["host"] else socket.AF_INET
    data = base64.b64decode(ask["data"]) if "data" in ask else b"\xc3\x00\x00\x00\x01" + os.urandom(1200)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.sendto(data, (ask["host"], ask["port"]))
        return {"said": "answered", "bytes": base64.b64encode(sock.recv(512)).decode()}


def question(ask: Row) -> Row:
    """A DNS question sent by hand to a server of one's own choice."""
    name = b"".join(bytes([len(part)]) + part for part in ask["name"].encode().split(b".")) + b"\0"
    data = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
    answer = base64.b64decode(datagram({**ask, "data": base64.b64encode(data).decode(), "port": 53})["bytes"])
    # No such name (3), or refused (5), without an address: somebody answered, and told nothing.
    told = answer[3] & 0x0F not in (3, 5) or answer[6:8] != b"\0\0"
    return {"said": "answered" if told else "no such name"}


def below(ask: Row) -> Row:
    """A socket below or beside TCP and UDP: raw, packet, ICMP, vsock."""
    kinds: dict[str, tuple[int, int, int]] = {
        "raw": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
        "raw6": (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
        "icmp": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "ping": (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
        "packet": (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
        "sctp": (socket.AF_INET, socket.SOCK_STREAM, 132),
        "vsock": (socket.AF_VSOCK, socket.SOCK_STREAM, 0),
    }
    family, kind, protocol = kinds[ask["kind"]]
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(0.3)
        if ask["kind"] == "vsock":
            sock.connect((2, 80))
        elif ask["kind"] == "sctp":
            sock.connect((ask["host"], 80))
        elif ask["kind"] == "packet":
            sock.bind(("lo", 0))
            sock.send(b"\0" * 60)
        else:
            sock.sendto(b"\x08\0\xf7\xff\0\0\0\0" + b"\0" * 56, (ask["host"], 0))
            sock.recv(512)
    return {"said": "sent"}


def unix(ask: Row) -> Row:
    """A socket by name on this machine: abstract (`@name`) or of a file."""
    name = "\0" + ask["name"][1:] if ask["name"].startswith("@") else ask["name"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1)
        sock.connect(name)
        sock.sendall(b"hello")
    return {"said": "connected"}


def linger(ask: Row) -> Row:
    """Goes on after the call has ended: a thread, and a process of its own."""

    def later() -> None:
        time.sleep(0.4)
        for _ in range(10):
            try:
                fetch(ask)
            except Exception:
                time.sleep(0.05)

    threading.Thread(target=later, daemon=True).start()
    if os.fork() == 0:
        later()
        os._exit(0)
    return {"said": "left"}


def say(ask: Row) -> Row:
    """Words on standard error."""
    print(ask["text"], file=sys.stderr, flush=True)
    return {"said": "wrote"}


DOES: dict[str, Callable[[Row], Row]] = {
    "fetch": fetch, "proxied": proxied, "raw": raw, "lookup": lookup, "datagram": datagram, "question": question,
    "below": below, "unix": unix, "linger": linger, "say": say,
}  # fmt: skip


def attempt(ask: Row) -> Row:
    """One try; whatever goes wrong in it is its outcome."""
    try:
        return DOES[ask["do"]](ask)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)[:200]}


def answer(message: Row) -> Row | None:
    """The result of a request; None for what this server does not know."""
    method = message.get("method")
    if method == "initialize":
        info = {"name": "egress-suite", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        schema = {"type": "object"}
        return {"tools": [{"name": "attempt", "description": "Tries ways out.", "inputSchema": schema}]}
    if method == "tools/call":
        found = {"outcomes": [attempt(ask) for ask in message["params"]["arguments"]["tries"]]}
        return {"content": [{"type": "text", "text": json.dumps(found)}], "structuredContent": found, "isError": False}
    return None


def serve() -> None:
    """Answers until stdin ends."""
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("id") is None:
            continue
        result = answer(message)
        said = {"result": result} if result is not None else {"error": {"code": -32601, "message": "no such method"}}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
