"""A master key behind the wire of a transit engine: a small real server that speaks it, with a real cipher."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from worka.kernel.settings import Settings, TreasurySettings
from worka.treasury import errors
from worka.treasury.ring import Ring

TOKEN = "s.transit-token-for-tests"


class Handler(BaseHTTPRequestHandler):
    """encrypt and decrypt under the key `worka`; what else it is asked it refuses as the real one does."""

    key = AESGCM(os.urandom(32))
    asked: list[str] = []  # noqa: RUF012 - emptied by the fixture
    answer = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.asked.append(self.path)
        verb, name = self.path.removeprefix("/v1/transit/").split("/")
        if self.answer or self.headers["X-Vault-Token"] != TOKEN:
            return self._say(self.answer or 403, {"errors": ["permission denied"]})
        if name != "worka":
            return self._say(400, {"errors": ["encryption key not found"]})
        if verb == "encrypt":
            nonce = os.urandom(12)
            sealed = base64.b64encode(nonce + self.key.encrypt(nonce, body["plaintext"].encode(), None)).decode()
            return self._say(200, {"data": {"ciphertext": f"vault:v1:{sealed}", "key_version": 1}})
        raw = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"))
        return self._say(200, {"data": {"plaintext": self.key.decrypt(raw[:12], raw[12:], None).decode()}})

    def _say(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.asked, Handler.answer = [], 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ring(home: Path, url: str, **fields: Any) -> Ring:
    given: dict[str, Any] = {"transit_url": url, "transit_token": SecretStr(TOKEN), **fields}
    return Ring(Settings(home=home, treasury=TreasurySettings(**given)))


@pytest.mark.capability("TRE-2")
def test_the_master_key_lies_sealed_and_is_rotated_there(tmp_path: Path, service: str) -> None:
    first = ring(tmp_path, service).current
    stored = (tmp_path / "keys" / "master.sealed").read_text()
    assert stored.startswith("vault:v1:")
    assert first.written() not in stored
    assert not (tmp_path / "keys" / "master.key").exists(), "it is nowhere in the clear"
    assert (tmp_path / "keys" / "master.sealed").stat().st_mode & 0o777 == 0o600
    again = ring(tmp_path, service)
    assert again.current.id == first.id
    following = again.begin()
    again.finish()
    after = ring(tmp_path, service)
    assert (after.current.id, after.current.same_root(first)) == (following.id, True)
    assert after.by_id(first.id).id == first.id
    assert set(Handler.asked) == {"/v1/transit/encrypt/worka", "/v1/transit/decrypt/worka"}


def test_a_key_that_lay_in_a_file_is_taken_over(tmp_path: Path, service: str) -> None:
    plain = Ring(Settings(home=tmp_path)).current
    assert ring(tmp_path, service).current.id == plain.id
    assert (tmp_path / "keys" / "master.sealed").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"transit_token": SecretStr("wrong-token")}, "answered 403"),
        ({"transit_key": "other"}, "answered 400"),
        ({"transit_token": None}, "transit_token is not set"),
        ({"transit_key": "../sys/seal"}, "plain names"),
        ({"transit_url": "http://vault.example.com"}, "has to be https"),
        ({"transit_url": "http://127.0.0.1:9"}, "does not answer"),
    ],
)
def test_what_is_wrong_with_it_is_named_and_no_key_is_made(
    tmp_path: Path, service: str, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.MasterKeyUnreadable, match=words) as refused:
        _ = ring(tmp_path, service, **fields).current
    assert TOKEN not in str(refused.value)
    assert not (tmp_path / "keys" / "master.sealed").exists()
    assert ring(tmp_path, service).current.id, "the control"


def test_a_key_service_that_is_down_opens_nothing_and_harms_nothing(tmp_path: Path, service: str) -> None:
    first = ring(tmp_path, service).current.id
    Handler.answer = 503
    with pytest.raises(errors.MasterKeyUnreadable, match="answered 503"):
        _ = ring(tmp_path, service).current
    Handler.answer = 0
    assert ring(tmp_path, service).current.id == first
