"""Somebody else's receiver of webhooks: HTTPS with a certificate of its own CA, and the verification of Standard Webhooks
as a receiver writes it, from the specification and from nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from worka.broker.ca import Authority

TOLERANCE = 5 * 60


class Unverified(Exception):
    """The message is not to be trusted; why."""


class Verifier:
    """Receiver's side of https://www.standardwebhooks.com: signature, tolerance, and each id once."""

    def __init__(self, secret: str) -> None:
        assert secret.startswith("whsec_")
        self.key = base64.b64decode(secret[6:])
        self.seen: set[str] = set()

    def verify(self, body: bytes, headers: dict[str, str], at: float | None = None) -> dict[str, Any]:
        """The message; raises Unverified for a forged, changed, old or repeated one."""
        try:
            message_id, stamp = headers["webhook-id"], int(headers["webhook-timestamp"])
            given = headers["webhook-signature"]
        except (KeyError, ValueError) as error:
            raise Unverified("missing header") from error
        if abs((at or time.time()) - stamp) > TOLERANCE:
            raise Unverified("timestamp out of tolerance")
        to_sign = message_id.encode() + b"." + str(stamp).encode() + b"." + body
        expected = base64.b64encode(hmac.new(self.key, to_sign, hashlib.sha256).digest())
        for one in given.split(" "):
            version, _, value = one.partition(",")
            if version == "v1" and hmac.compare_digest(expected, value.encode()):
                break
        else:
            raise Unverified("no matching signature")
        if message_id in self.seen:
            raise Unverified("seen already")
        self.seen.add(message_id)
        return dict(json.loads(body))


@dataclass
class Got:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def message(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


Behaviour = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answers with this."""

    def say(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return say


@dataclass
class Receiver:
    """Keeps what arrives; `behave` is how it answers."""

    authority: Authority
    port: int = 0
    got: list[Got] = field(default_factory=list)
    connections: int = 0
    behave: Behaviour = field(default_factory=lambda: answer(204))


@contextmanager
def receiver(name: str = "hooks") -> Iterator[Receiver]:
    """One on 127.0.0.1, at a free port."""
    found = Receiver(Authority(name, ["http/1.1"]))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {key.lower(): value for key, value in self.headers.items()}
            with lock:
                found.got.append(Got(self.path, headers, body, time.time()))
            try:
                found.behave(self)
            except OSError:
                self.close_connection = True

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Counting(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def get_request(self) -> Any:
            found.connections += 1
            return super().get_request()

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the other side may leave whenever it likes

    server = Counting(("127.0.0.1", 0), Handler)
    context: ssl.SSLContext = found.authority.server_context("127.0.0.1")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found.port = int(server.server_address[1])
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
