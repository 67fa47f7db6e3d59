"""A token server as registries have them: it looks at the password, and signs a token for what was asked, in Docker's form."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.packs.registry_support import Outside, say, served

AUTH = "auth.worka.test"
SERVICE = "packs of the team"
PASSWORD = "carry-it-to-the-token-server"
BASIC = "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()


@dataclass
class TokenServer:
    """One that runs: `asked` holds (query, Authorization) of each request; `answer` may answer in its place."""

    certificate: Path
    outside: Outside | None = None
    asked: list[tuple[dict[str, str], str]] = field(default_factory=list)
    answer: Callable[[BaseHTTPRequestHandler], bool] = lambda _handler: False

    @property
    def configured(self) -> str:
        """What the registry's configuration says of it."""
        return (
            f"auth: {{token: {{realm: 'https://{AUTH}/token', service: '{SERVICE}', issuer: tests,"
            f" rootcertbundle: {self.certificate}}}}}\n"
        )


@contextlib.contextmanager
def token_server(folder: Path) -> Iterator[TokenServer]:
    """One on a real socket, over TLS, with a key whose certificate a registry can be given."""
    key_file, certificate = folder / "token-key.pem", folder / "token.pem"
    words = [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key_file),
        "-out", str(certificate), "-days", "2", "-subj", "/CN=tokens",
    ]  # fmt: skip
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    chain = ["".join(certificate.read_text().strip().splitlines()[1:-1])]
    found = TokenServer(certificate)

    def answer(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}
        found.asked.append((query, handler.headers.get("Authorization", "")))
        if found.answer(handler):
            return
        if handler.headers.get("Authorization") != BASIC:
            say(handler, 401, b"who are you?")
            return
        _, name, actions = query["scope"].split(":")
        access = [{"type": "repository", "name": name, "actions": actions.split(",")}]
        token = _signed(key, chain, {"aud": query["service"], "sub": "ada", "access": access})
        say(handler, 200, json.dumps({"token": token, "expires_in": 60}).encode())

    with served(folder, AUTH, answer) as found.outside:
        yield found


def _signed(key: ec.EllipticCurvePrivateKey, chain: list[str], claims: dict[str, object]) -> str:
    now = int(time.time())
    times = {"iss": "tests", "iat": now, "nbf": now - 10, "exp": now + 60, "jti": str(time.monotonic_ns())}
    parts = [{"typ": "JWT", "alg": "ES256", "x5c": chain}, {**claims, **times}]
    text = ".".join(_coded(json.dumps(part).encode()) for part in parts)
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{_coded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
