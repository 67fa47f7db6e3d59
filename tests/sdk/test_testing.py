"""The outside, recorded and replayed: a real server once, then never again; and never a destination that is not declared."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from worka_sdk import ToolError, outside
from worka_sdk.testing import NotDeclared, NotRecorded, allowed, recorded

from worka.broker.rules import decide, parse_rules


class Desk(http.server.BaseHTTPRequestHandler):
    """Says what it was asked, and counts."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
        else:
            self.send_response(200 if self.path != "/no" else 404)
        self.send_header("Set-Cookie", "session=secret")
        body = b"\x00\xff" if self.path == "/raw" else json.dumps({"number": len(self.asked)}).encode()
        if self.path.startswith("/echo"):
            # A careless server: it sends back what it was sent, and a session in a header.
            told = {"asked": self.path.partition("?")[0], "token": "hunter2", "bearer": self.headers["Authorization"]}
            body = json.dumps(told).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Session", "hunter2")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def desk() -> Iterator[str]:
    Desk.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def all_of(desk: str) -> list[object]:
    """Some requests, and what came back."""
    found: list[object] = [outside.request("GET", f"{desk}/n").json() for _ in range(2)]
    found.append(
        outside.request("POST", f"{desk}/n", body={"a": 1}, headers={"Authorization": "Bearer hunter2"}).json()
    )
    found += [outside.request("GET", f"{desk}/raw").body, outside.request("GET", f"{desk}/no").status]
    found.append(outside.request("GET", f"{desk}/away").headers["location"])
    return found


def test_a_record_is_made_once_holds_no_credential_and_answers_the_same_without_a_server(
    desk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "records" / "desk.json"
    monkeypatch.setenv("WORKA_RECORD", "1")
    with recorded(record):
        first = all_of(desk)
    assert first == [{"number": 1}, {"number": 2}, {"number": 3}, b"\x00\xff", 404, "/elsewhere"]
    assert not any(word in record.read_text() for word in ("hunter2", "secret", "uthorization"))
    monkeypatch.delenv("WORKA_RECORD")
    before = len(Desk.asked)
    with pytest.raises(NotRecorded, match="make it once"), recorded(tmp_path / "nothing.json"):
        pass
    with recorded(record):
        assert all_of(desk) == first
        with pytest.raises(NotRecorded, match="it holds nothing more"):
            outside.request("GET", f"{desk}/n")
    with recorded(record), pytest.raises(NotRecorded, match="does not hold POST"):
        outside.request("POST", f"{desk}/n", body={"a": 2})
    assert len(Desk.asked) == before, "nothing went outside"


def test_a_record_holds_no_credential_of_an_address_or_a_body_and_is_found_without_it(
    desk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "aip.json"
    host, port = urlsplit(desk).netloc.split(":")
    manifest.write_text(
        json.dumps({
            "outbound_domains": [{"host": host, "port": int(port)}],
            "connections": [{"provider": "desk", "inject": {"host": host, "query": "appid", "template": "{{x}}"}}],
        })
    )  # fmt: skip

    def asks(credential: str) -> list[object]:
        address = f"{desk}/echo?city=Bern&appid={credential}&api_key={credential}"
        form = f"grant=code&client_secret={credential}".encode()
        key = {"Authorization": f"Bearer {credential}"}
        return [
            outside.request("GET", address).status,
            outside.request("POST", f"{desk}/echo", body={"user": "ann", "password": credential}).json()["asked"],
            outside.request("POST", f"{desk}/echo", body=form, headers=key).headers.get("content-type"),
        ]

    record = tmp_path / "desk.json"
    monkeypatch.setenv("WORKA_RECORD", "1")
    with recorded(record, manifest=manifest):
        first = asks("hunter2-hunter2")
    kept = record.read_text()
    assert "hunter2" not in kept
    assert all(word in kept for word in ("city=Bern", "ann", "grant=code", "application/json")), (
        "the control: the rest is kept"
    )
    assert "X-Session" not in kept.title()
    monkeypatch.delenv("WORKA_RECORD")
    with recorded(record, manifest=manifest):
        assert asks("another") == first, "found with another credential"
    with recorded(record, manifest=manifest), pytest.raises(NotRecorded) as missing:
        outside.request("GET", f"{desk}/echo?city=Thun&appid=hunter2-hunter2")
    assert "hunter2" not in str(missing.value)


RULES = ["api.acme.test", {"host": "*.cdn.test", "port": 443, "methods": ["get"], "paths": ["/a", "/b/*"]}]


URLS = (
    "https://api.acme.test/", "http://api.acme.test/x?y=1", "https://API.acme.test", "https://acme.test/", "https://x.cdn.test/a",
    "https://x.cdn.test/b/c", "https://x.cdn.test/c", "http://x.cdn.test/a", "https://cdn.test/a", "https://api.acme.test:8443/",
    "https://api.acme.test.evil.test/",
)  # fmt: skip


def test_the_harness_lets_through_what_the_broker_lets_through() -> None:
    verdicts = []
    for url in URLS:
        for method in ("GET", "POST"):
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            verdict = decide(parse_rules(RULES), str(parts.hostname), port, method, parts.path or "/", "write")
            assert allowed(RULES, outside.Request(method, url)) == verdict.allowed, (method, url)
            verdicts.append(verdict.allowed)
    assert 0 < sum(verdicts) < len(verdicts), "some of each"


def test_a_destination_that_the_manifest_does_not_declare_is_refused_before_it_is_asked(
    desk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "aip.json"
    manifest.write_text(json.dumps({"outbound_domains": ["api.acme.test"]}))
    monkeypatch.setenv("WORKA_RECORD", "1")
    with (
        recorded(tmp_path / "r.json", manifest=manifest),
        pytest.raises(NotDeclared, match="would be refused by the broker"),
    ):
        outside.request("GET", f"{desk}/canary")
    assert Desk.asked == []
    with recorded(tmp_path / "r.json"):
        outside.request("GET", f"{desk}/canary")
    assert Desk.asked == ["/canary"], "the control: with the rule off it is reached"


def test_what_does_not_answer_and_what_is_cut_is_said(desk: str) -> None:
    with pytest.raises(ToolError, match="could not be reached"):
        outside.request("GET", "http://127.0.0.1:9/")
    with pytest.raises(ValueError, match="starts with https"):
        outside.request("GET", "file:///etc/passwd")
    cut = outside.request("GET", f"{desk}/n", most=3)
    assert (len(cut.body), cut.cut) == (3, True)
    with pytest.raises(ToolError, match="it was cut"):
        cut.json()
