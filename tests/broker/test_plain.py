"""What is read and written without h11 is what h11 reads and writes; whatever is not of the plainest kind is left to it."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worka.broker.wire import h1, plain
from worka.broker.wire.events import Broken, Mark
from worka.broker.wire.heads import Answer, Outgoing, Request

ASK = Outgoing("GET", b"/v1?q=1", b"api.example", ((b"accept", b"*/*"),), has_body=False)
pytestmark = pytest.mark.capability("BRK-15", part="request smuggling")

# Pieces of heads, of which most joined ones are nearly right.
_LINES = [
    b"Host: api.example", b"host:api.example", b"Accept: */*", b"X-A:  a \t b ", b"X-Empty:", b"Connection: keep-alive",
    b"Connection: close", b"Connection: Keep-Alive, X-A", b"Content-Length: 3", b"Content-Length: 3, 3", b"Content-Length: +3",
    b"Content-Length: 0x3", b"Content-Length:", b"Content-Length: 10", b"Transfer-Encoding: chunked", b"Expect: 100-continue",
    b"Upgrade: websocket", b" folded", b"X-Bad : 1", b"X\tBad: 1", b": none", b"no colon", b"X-Obs: \xe9", b"X-Ctl: a\x01b",
    b"X-Nul: a\0b", b"X-Cr: a\rb", b"X-Lf: a\nX-B: c", b"",
]  # fmt: skip
_FIRST = [
    b"GET / HTTP/1.1", b"GET /v1?a=%20 HTTP/1.1", b"GET  / HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/2.0", b"get / HTTP/1.1",
    b"GET http://x/ HTTP/1.1", b"GET /a b HTTP/1.1", b"GET /\xe9 HTTP/1.1", b"POST / HTTP/1.1", b"CONNECT / HTTP/1.1",
    b"HEAD / HTTP/1.1", b" GET / HTTP/1.1", b"", b"GET /#a HTTP/1.1",
]  # fmt: skip
_STATUS = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 304 No",
    b"HTTP/1.1 404 Not\tFound ", b"HTTP/1.1 100 Go on", b"HTTP/1.1 101 S", b"HTTP/1.1 600 X", b"HTTP/1.1 2000 X",
    b"HTTP/1.1 200 \xe9", b"ICY 200 OK", b"",
]  # fmt: skip
_REST = st.sampled_from([b"", b"abc", b"abcdef", b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"])


def _heads(first: list[bytes]) -> st.SearchStrategy[bytes]:
    text = st.lists(st.sampled_from(_LINES) | st.binary(max_size=6), max_size=5)
    end = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
    return st.builds(lambda one, more, by: by.join([one, *more, b"", b""]), st.sampled_from(first), text, end)


def _told(http: h11.Connection, data: bytes) -> list[Any]:
    """Its events, and what it refuses."""
    http.receive_data(data)
    events: list[Any] = []
    try:
        while (event := http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            events.append(event)
    except h11.RemoteProtocolError as error:
        events.append(error)
    return events


@settings(max_examples=600, deadline=None, report_multiple_bugs=False)
@given(_heads(_FIRST), _REST)
@example(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: \t \r\n\r\n", b"")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", b"abc")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"")
@example(b"GET / HTTP/1.1\r\nHost: x\r\n X-A: folded\r\n\r\n", b"")
def test_a_request_that_is_read_without_h11_is_what_h11_reads(head: bytes, rest: bytes) -> None:
    found = plain.request(head + rest)
    if found is None:
        return
    request, size = found
    http = h11.Connection(h11.SERVER)
    first, *others = _told(http, head + rest)
    assert isinstance(first, h11.Request)
    assert [type(event) for event in others[:1]] == [h11.EndOfMessage], "it has no body"
    assert (bytes(first.method), bytes(first.target), bytes(first.http_version)) == (b"GET", request.target, b"1.1")
    assert tuple(first.headers) == request.headers
    assert http.trailing_data[0] == (head + rest)[size:]
    assert http.their_state is h11.DONE, "the connection goes on"
    assert not http.they_are_waiting_for_100_continue


@settings(max_examples=600, deadline=None, report_multiple_bugs=False)
@given(_heads(_STATUS), _REST)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abcdef")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", b"abc")
@example(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", b"abc")
def test_an_answer_that_is_read_without_h11_is_what_h11_reads(head: bytes, rest: bytes) -> None:
    found = plain.answer(head + rest)
    if found is None:
        return
    answer, size, length = found
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    http.send(h11.EndOfMessage())
    first, *others = _told(http, head + rest)
    assert isinstance(first, h11.Response)
    told = (first.status_code, tuple(first.headers), bytes(first.reason))
    assert told == (answer.status, answer.headers, answer.reason)
    body = b"".join(bytes(event.data) for event in others if isinstance(event, h11.Data))
    assert body == (head + rest)[size : size + length]
    whole = len(head + rest) - size >= length
    assert any(isinstance(event, h11.EndOfMessage) for event in others) is whole
    assert http.their_state is (h11.DONE if whole else h11.SEND_BODY), "the connection goes on"


def test_the_plainest_messages_are_read_and_written_without_h11() -> None:
    server = h1.Server()
    server.receive(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    client = h1.Client()
    for target in (b"/a", b"/b"):
        request = server.next()
        assert isinstance(request, Request)
        assert (request.target, server.next(), server.next()) == (target, Mark.END, Mark.NEED)
        assert client.ask(ASK, keep=True) == b"GET /v1?q=1 HTTP/1.1\r\nhost: api.example\r\naccept: */*\r\n\r\n"
        assert client.end() == b""
        assert client.untouched
        client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        answer = client.next()
        assert answer == Answer(200, ((b"content-length", b"5"),), b"OK")
        assert (client.next(), client.next()) == (b"ab", Mark.NEED)
        client.receive(b"cde")
        assert (client.next(), client.next(), client.untouched) == (b"cde", Mark.END, False)
        assert server.unanswered
        assert server.answer(answer) == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
        assert not server.unanswered
        assert (server.data(b"abcde"), server.end()) == (b"abcde", b"")
        assert (server._h11, client._h11) == (None, None), "the control: h11 saw nothing of it"
        assert server.again
        assert client.again
        server.renew(), client.renew()
    server.receive(b"")
    assert server.next() is Mark.CLOSED


@pytest.mark.parametrize(
    "answer",
    [
        Answer(204, ((b"x", b"1"),), b"No Content"),
        Answer(200, (), b"OK"),
        Answer(200, ((b"content-length", b"2"), (b"x", b" a")), b""),
        Answer(200, ((b"content-length", b"2"), (b"connection", b"close")), b""),
        Answer(200, ((b"content-length", b"2"), (b"x", b"a\r\nx-injected: 1")), b""),
        Answer(200, ((b"content-length", b"2"), (b"x", b"\xe9")), b""),
        Answer(200, ((b"content-length", b"2"),), b"a\r\nx-injected: 1"),
    ],
)
def test_what_is_not_written_plainly_is_written_or_refused_by_h11(answer: Answer) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    server, http = h1.Server(), h11.Connection(h11.SERVER)
    server.receive(raw)
    server.next(), server.next()
    _told(http, raw)
    try:
        written = http.send(h11.Response(status_code=answer.status, headers=list(answer.headers), reason=answer.reason))
    except h11.LocalProtocolError:
        with pytest.raises(h11.LocalProtocolError):
            server.answer(answer)
        return
    assert server.answer(answer) == written


def test_an_answer_is_as_long_as_was_said_of_it() -> None:
    def answering() -> h1.Server:
        server = h1.Server()
        server.receive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.next(), server.next()
        server.answer(Answer(200, ((b"content-length", b"3"),)))
        return server

    more = answering()
    with pytest.raises(Broken):
        more.data(b"abcd")
    less = answering()
    less.data(b"ab")
    with pytest.raises(Broken):
        less.end()
    assert not less.again
    right = answering()
    right.data(b"abc")
    right.end()
    assert right.again, "the control"


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"x"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]
)
def test_an_outside_that_says_more_than_its_answer_does_not_answer_the_next_request(
    framing: bytes, more: bytes
) -> None:
    def answered(data: bytes) -> h1.Client:
        client = h1.Client()
        client.ask(ASK, keep=True), client.end()
        client.receive(data)
        assert isinstance(client.next(), Answer)
        assert (client.next(), client.next()) == (b"ok", Mark.END)
        return client

    assert answered(b"HTTP/1.1 200 OK\r\n" + framing).again, "the control"
    assert not answered(b"HTTP/1.1 200 OK\r\n" + framing + more).again


def test_an_answer_that_is_not_plain_goes_on_with_h11_from_its_beginning() -> None:
    client = h1.Client()
    client.ask(ASK, keep=True), client.end()
    client.receive(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-")
    assert isinstance(found := client.next(), Answer)
    assert (found.status, client.next()) == (103, Mark.NEED)
    client.receive(b"Length: 2\r\n\r\nok")
    assert isinstance(found := client.next(), Answer)
    assert (found.status, client.next(), client.next(), client.again) == (200, b"ok", Mark.END, True)
    client.renew()
    client.ask(ASK, keep=True), client.end()
    client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    client.receive(b"")
    assert isinstance(client.next(), Answer)
    assert client.next() == b"o"
    with pytest.raises(Broken):
        client.next()
