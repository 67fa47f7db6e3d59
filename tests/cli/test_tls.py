"""Over TLS the command line gives its credential only to who is vouched for."""

from __future__ import annotations

import ssl
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from tests.packs.registry_support import say, served
from worka.cli.client import Client, Failed


@pytest.mark.capability("DOR-2", part="a credential goes over TLS to nobody whom no authority vouches for")
def test_a_server_with_a_certificate_of_its_own_is_not_told_the_credential(tmp_path: Path) -> None:
    told: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        told.append(handler.headers["Authorization"])
        say(handler, 200, b"{}")

    with served(tmp_path, "127.0.0.1", answer) as stranger:
        address = f"https://127.0.0.1:{stranger.port}"
        with pytest.raises(Failed) as failed:
            Client(address, "secret").get("/v1/me")
        assert failed.value.body["code"] == "no_server"
        assert told == []
        # The control: whoever trusts its authority is answered.
        trusting = ssl.create_default_context(cadata=Path(stranger.facts["ca_pem"]).read_text())
        assert httpx.get(address, verify=trusting, trust_env=False).status_code == 200
    assert told == [None]
