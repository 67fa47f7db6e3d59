"""Transcripts: one strict reading of requests, one clean writing."""

from __future__ import annotations

import json

import pytest

from worka.broker.wire.events import Broken
from worka.broker.wire.h1 import Client, Server
from worka.broker.wire.heads import (
    Answer,
    Head,
    Injection,
    Outgoing,
    Refused,
    Request,
    answer,
    outgoing,
    problem,
    read_head,
)


def parsed(raw: bytes) -> Request:
    connection = Server()
    connection.receive(raw)
    event = connection.next()
    assert isinstance(event, Request)
    return event


def head(raw: bytes, *, intended: str = "api.example", port: int = 443, sni: str | None = "api.example") -> Head:
    return read_head(parsed(raw), intended=intended, port=port, sni=sni)


def refusal(raw: bytes, **where: object) -> str:
    try:
        head(raw, **where)  # type: ignore[arg-type]
    except Refused as refused:
        return refused.reason
    except Broken:
        return "malformed_request"
    return "passed"


def wire(request: Outgoing) -> str:
    return Client().ask(request, keep=False).decode()


GET = b"GET /v1/x?q=1 HTTP/1.1\r\nHost: api.example\r\n"


def test_a_plain_request_passes() -> None:
    found = head(GET + b"\r\n")
    assert (found.method, found.target, found.path, found.has_body) == ("GET", "/v1/x?q=1", "/v1/x", False)
    assert refusal(b"GET / HTTP/1.1\r\nHost: API.example.:443\r\n\r\n") == "passed"


@pytest.mark.capability("BRK-15", part="SNI, Host and target")
@pytest.mark.parametrize(
    ("raw", "sni", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "api.example", "host_mismatch"),
        (b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n", "evil.example", "host_mismatch"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "evil.example", "host_mismatch"),
        (b"GET / HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", "api.example", "host_mismatch"),
        (b"GET / HTTP/1.1\r\nHost: user@api.example\r\n\r\n", "api.example", "host_mismatch"),
        (b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", "api.example", "raw_address"),
        (b"GET / HTTP/1.0\r\n\r\n", "api.example", "host_mismatch"),
        (b"GET / HTTP/1.1\r\nHost: api.example\r\nHost: evil.example\r\n\r\n", "api.example", "malformed_request"),
        (b"GET / HTTP/1.1\r\n\r\n", "api.example", "malformed_request"),
    ],
)
def test_name_sni_and_host_must_agree(raw: bytes, sni: str, expected: str) -> None:
    assert refusal(raw, sni=sni) == expected


@pytest.mark.capability("BRK-15", part="nested CONNECT")
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: api.example\r\n\r\n", "nested_connect"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n", "nested_connect"),
        (b"GET https://api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n", "nested_connect"),
        (b"OPTIONS * HTTP/1.1\r\nHost: api.example\r\n\r\n", "malformed_request"),
        (b"GET //evil.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n", "malformed_request"),
        (b"GET /a\\b HTTP/1.1\r\nHost: api.example\r\n\r\n", "malformed_request"),
        (b"GET /a#b HTTP/1.1\r\nHost: api.example\r\n\r\n", "malformed_request"),
        (GET + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", "upgrade_refused"),
    ],
)
def test_proxying_and_other_protocols_are_refused(raw: bytes, expected: str) -> None:
    assert refusal(raw) == expected


@pytest.mark.capability("BRK-15", part="request smuggling")
@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 4, 5\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content_Length: 0\r\nContent-Length: 5\r\n",
        b"X: a\0b\r\n",
    ],
)
def test_a_body_whose_end_two_servers_see_differently_is_refused(headers: bytes) -> None:
    assert refusal(b"POST / HTTP/1.1\r\nHost: api.example\r\n" + headers + b"\r\n") == "malformed_request"


@pytest.mark.capability("BRK-13", part="a request is what its line says")
@pytest.mark.parametrize(
    "name", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X_HTTP_Method_Override", "X-Original-URL", "X-Rewrite-URL"]
)  # fmt: skip
def test_a_header_by_which_servers_do_something_else_is_refused(name: str) -> None:
    assert refusal(GET + f"{name}: x\r\n\r\n".encode()) == "malformed_request"
    assert refusal(GET + f"{name}-Id: x\r\n\r\n".encode()) == "passed", "the control"


def test_a_folded_or_bare_line_never_makes_a_second_header_outside() -> None:
    found = head(b"GET / HTTP/1.1\nHost: api.example\nX-A: one\n two\n\n")
    assert wire(outgoing(found, host="api.example", port=443)).count("\r\n") == 5


@pytest.mark.capability("BRK-3")
def test_the_injected_header_replaces_everything_the_pack_tried() -> None:
    found = head(
        GET + b"Authorization: Bearer mine\r\nX-Api-Key: mine\r\nx_api_key: mine\r\nCookie: a=b\r\nRange: bytes=0-1\r\n"
        b"Accept-Encoding: gzip\r\nAccept: text/plain\r\n\r\n"
    )
    sent = wire(outgoing(found, host="api.example", port=443, injection=Injection("X-API-Key", None, "t0ken")))
    assert "mine" not in sent
    assert "cookie" not in sent
    assert "range" not in sent
    assert sent.count("t0ken") == 1
    assert "x-api-key: t0ken" in sent
    assert "accept-encoding: identity" in sent
    assert "accept: text/plain" in sent


@pytest.mark.capability("BRK-3")
@pytest.mark.capability("BRK-3", part="what cannot stand in a header")
def test_a_value_with_blanks_at_an_end_is_refused_before_anything_is_dialled() -> None:
    for value in ("tok_1 ", "\ttok_1", "tok\r\nX: 1"):
        with pytest.raises(ValueError, match="cannot stand"):
            outgoing(head(GET + b"\r\n"), host="api.example", port=443, injection=Injection("X-Key", None, value))
    found = outgoing(head(GET + b"\r\n"), host="api.example", port=443, injection=Injection("X-Key", None, "tok 1"))
    assert "x-key: tok 1" in wire(found), "the control"


def test_a_query_parameter_is_injected_once_and_escaped() -> None:
    found = head(b"GET /x?key=mine&a=1&k%65y=mine HTTP/1.1\r\nHost: api.example\r\n\r\n")
    sent = outgoing(found, host="api.example", port=443, injection=Injection(None, "key", "a b&c"))
    assert sent.target == b"/x?a=1&key=a%20b%26c"


def test_without_an_injection_the_packs_own_headers_pass() -> None:
    found = head(GET + b"Authorization: Bearer mine\r\nAccept-Encoding: gzip\r\n\r\n")
    sent = wire(outgoing(found, host="api.example", port=443))
    assert "authorization: Bearer mine" in sent
    assert "accept-encoding: gzip" in sent


@pytest.mark.capability("TSK-13", part="the key on the wire is the broker's")
def test_the_idempotency_header_is_the_brokers_alone() -> None:
    found = head(GET + b"Idempotency-Key: forged\r\nidempotency_key: forged\r\n\r\n")
    sent = wire(outgoing(found, host="api.example", port=443, added={"Idempotency-Key": "real"}))
    assert "forged" not in sent
    assert "idempotency-key: real" in sent
    bare = wire(outgoing(found, host="api.example", port=443, owned=["Idempotency-Key"]))
    assert "idempotency" not in bare.lower()


def test_hop_by_hop_headers_and_those_that_connection_lists_go_no_further() -> None:
    found = head(
        GET + b"Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nProxy-Authorization: x\r\nTE: trailers\r\n\r\n"
    )
    sent = wire(outgoing(found, host="api.example", port=443)).lower()
    assert "x-secret" not in sent
    assert "proxy-" not in sent
    assert "\r\nte:" not in sent
    assert sent.count("connection:") == 1


def test_an_answer_keeps_its_message_and_loses_its_hop() -> None:
    response = Answer(
        200,
        (
            (b"content-length", b"3"), (b"transfer-encoding", b"chunked"), (b"alt-svc", b'h3=":443"'), (b"x", b"1"),
            (b"connection", b"close"), (b"body", b"{{connection.access_token}}"),
        ),
    )  # fmt: skip
    kept = dict(answer(response).headers)
    assert kept == {b"x": b"1", b"body": b"{{connection.access_token}}"}


def test_a_problem_is_plain_json() -> None:
    response, raw = problem(403, {"code": "undeclared_destination"})
    assert response.status == 403
    assert json.loads(raw) == {"code": "undeclared_destination"}


def test_an_injection_does_not_show_its_value() -> None:
    assert "t0ken" not in repr(Injection("authorization", None, "t0ken"))
