"""Transcripts of both versions of HTTP: bytes in, events out, and what is written of them."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import hpack
import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame

from worka.broker.wire import h1
from worka.broker.wire import h2 as wire2
from worka.broker.wire.events import Answered, Broken, Cut, Ended, Event, Leaving, Mark, Opened, Received
from worka.broker.wire.heads import Answer, Outgoing, Refused, Request, outgoing, read_head
from worka.broker.wire.websocket import accept_of, answer_problem

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GOOD = [(":method", "GET"), (":scheme", "https"), (":authority", "api.example"), (":path", "/v1?q=1")]


def frames(*found: Frame) -> bytes:
    return b"".join(frame.serialize() for frame in found)


def block(headers: list[tuple[str, str]], *, stream: int = 1, ended: bool = True) -> bytes:
    """A HEADERS frame as it stands: nothing is checked or put in order on this side."""
    frame = HeadersFrame(stream, hpack.Encoder().encode(headers))
    frame.flags |= {"END_HEADERS", "END_STREAM"} if ended else {"END_HEADERS"}
    return frames(frame)


def server(*, streams: int = 8) -> wire2.Server:
    found = wire2.Server(streams=streams)
    found.begin()
    found.receive(PREFACE + frames(SettingsFrame(0)))
    found.take()
    return found


def opened(headers: list[tuple[str, str]], *, ended: bool = True) -> Request:
    event = server().receive(block(headers, ended=ended))[0]
    assert isinstance(event, Opened)
    return event.request


def refusal(headers: list[tuple[str, str]], *, ended: bool = True) -> str:
    try:
        read_head(opened(headers, ended=ended), intended="api.example", port=443, sni="api.example")
    except Refused as refused:
        return refused.reason
    except Broken:
        return "malformed_request"
    return "passed"


def test_a_request_of_http_2_reads_as_one_of_http_1() -> None:
    first = opened([*GOOD, ("cookie", "a=1"), ("cookie", "b=2"), ("x-a", "1")])
    assert (first.method, first.target, first.version, first.body) == ("GET", b"/v1?q=1", "2", False)
    assert first.headers == ((b"host", b"api.example"), (b"x-a", b"1"), (b"cookie", b"a=1; b=2"))
    found = read_head(first, intended="api.example", port=443, sni="api.example")
    sent = h1.Client().ask(outgoing(found, host="api.example", port=443), keep=True)
    assert sent == b"GET /v1?q=1 HTTP/1.1\r\nhost: api.example\r\nx-a: 1\r\ncookie: a=1; b=2\r\n\r\n"


@pytest.mark.capability("BRK-15", part="request smuggling")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (GOOD, "passed"),
        ([*GOOD, ("x-a", "b\r\nx-injected: 1")], "malformed_request"),
        ([*GOOD, ("x-a\r\nx-injected", "1")], "malformed_request"),
        ([*GOOD, ("x-a: b", "1")], "malformed_request"),
        ([*GOOD, ("x-a", "b\0c")], "malformed_request"),
        ([*GOOD, ("transfer-encoding", "chunked")], "malformed_request"),
        ([*GOOD, ("connection", "x-a")], "malformed_request"),
        ([*GOOD, ("content-length", "4"), ("content-length", "5")], "malformed_request"),
        ([*GOOD, ("content_length", "4")], "malformed_request"),
        ([*GOOD, ("content-length", "4")], "malformed_request"),
        ([*GOOD, ("X-A", "1")], "malformed_request"),
        ([*GOOD, ("host", "evil.example")], "malformed_request"),
        ([*GOOD, (":path", "/other")], "malformed_request"),
        ([GOOD[0], GOOD[1], GOOD[2], ("x-a", "1"), GOOD[3]], "malformed_request"),
        ([*GOOD, (":unknown", "1")], "malformed_request"),
        (GOOD[:3], "malformed_request"),
        ([GOOD[0], GOOD[1], GOOD[3]], "malformed_request"),
        ([GOOD[0], ("scheme", "https"), GOOD[2], GOOD[3]], "malformed_request"),
        ([GOOD[0], (":scheme", "http"), GOOD[2], GOOD[3]], "malformed_request"),
        ([GOOD[0], GOOD[1], GOOD[2], (":path", "/v1 HTTP/1.1\r\nx: 1")], "malformed_request"),
        ([GOOD[0], GOOD[1], GOOD[2], (":path", "/v1 x")], "malformed_request"),
        ([GOOD[0], GOOD[1], GOOD[2], (":path", "https://evil.example/")], "nested_connect"),
        ([("x", "1"), *GOOD], "malformed_request"),
        ([(":method", "GET / HTTP/1.1\r\nx: 1"), *GOOD[1:]], "malformed_request"),
        ([GOOD[0], GOOD[1], (":authority", "evil.example"), GOOD[3]], "host_mismatch"),
        ([GOOD[0], GOOD[1], (":authority", "user@api.example"), GOOD[3]], "host_mismatch"),
        ([GOOD[0], GOOD[1], (":authority", "127.0.0.1"), GOOD[3]], "raw_address"),
        ([(":method", "CONNECT"), (":authority", "evil.example:443")], "nested_connect"),
        ([(":method", "CONNECT"), (":protocol", "websocket"), *GOOD[1:]], "upgrade_refused"),
    ],
)  # fmt: skip
def test_a_request_of_http_2_that_two_servers_read_differently_is_refused(
    headers: list[tuple[str, str]], expected: str
) -> None:
    assert refusal(headers) == expected


@pytest.mark.capability("BRK-15", part="request smuggling")
def test_a_body_of_http_2_is_as_long_as_it_was_said_to_be() -> None:
    def body(said: str, *pieces: bytes) -> list[Event]:
        found = server()
        told = found.receive(block([(":method", "POST"), *GOOD[1:], ("content-length", said)], ended=False))
        for index, piece in enumerate(pieces):
            frame = DataFrame(1, piece)
            if index == len(pieces) - 1:
                frame.flags.add("END_STREAM")
            told += found.receive(frames(frame))
        return told

    assert [type(event) for event in body("4", b"ab", b"cd")] == [Opened, Received, Received, Ended]
    for said, pieces in (("4", (b"abcde",)), ("4", (b"ab",)), ("0", (b"GET / HTTP/1.1\r\n\r\n",))):
        with pytest.raises(Broken):
            body(said, *pieces)


def test_floods_that_are_legal_frame_by_frame_end_the_connection() -> None:
    found = server(streams=8)

    def rounds(times: int, first: int) -> None:
        encoder = hpack.Encoder()
        for number in range(times):
            stream = first + 2 * number
            frame = HeadersFrame(stream, encoder.encode(GOOD))
            frame.flags |= {"END_HEADERS", "END_STREAM"}
            found.receive(frames(frame, RstStreamFrame(stream, error_code=8)))

    rounds(100, 1)
    with pytest.raises(Broken, match="given up"):
        rounds(1, 201)
    with pytest.raises(Broken):
        server().receive(block([*GOOD, *((f"x-{n}", "v" * 900) for n in range(80))]))
    continued = HeadersFrame(1, hpack.Encoder().encode(GOOD)).serialize() + b"\0\0\x01\x09\0\0\0\0\x01\0" * 200
    with pytest.raises(Broken):
        server().receive(continued)


def test_more_streams_than_were_offered_are_not_taken() -> None:
    found = server(streams=2)
    encoder = hpack.Encoder()

    def ask(stream: int) -> list[Event]:
        frame = HeadersFrame(stream, encoder.encode(GOOD))
        frame.flags |= {"END_HEADERS", "END_STREAM"}
        return found.receive(frames(frame))

    assert [type(event) for event in (*ask(1), *ask(3))] == [Opened, Ended, Opened, Ended]
    with pytest.raises(Broken):
        ask(5)


class Peer:
    """An outside of HTTP/2: h2 itself, in the other role."""

    def __init__(self) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.http.initiate_connection()
        self.client = wire2.Client(streams=4)
        self.client.begin()
        self.seen: list[h2.events.Event] = []

    def exchange(self) -> list[Event]:
        self.seen += self.http.receive_data(self.client.take())
        return self.client.receive(self.http.data_to_send())


def ask(method: str = "GET", **further: object) -> Outgoing:
    return Outgoing(method, b"/v1", b"api.example", ((b"x-a", b"1"),), has_body=False, **further)  # type: ignore[arg-type]


def test_a_request_leaves_as_http_2_and_its_answer_comes_back() -> None:
    peer = Peer()
    stream = peer.client.ask(ask(), scheme=b"https", ended=True)
    peer.exchange()
    asked = next(event for event in peer.seen if isinstance(event, h2.events.RequestReceived))
    assert [tuple(item) for item in asked.headers or ()] == [
        (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"api.example"), (b":path", b"/v1"), (b"x-a", b"1"),
    ]  # fmt: skip
    peer.http.send_headers(stream, [(":status", "103")])
    peer.http.send_headers(stream, [(":status", "200"), ("content-length", "2")])
    peer.http.send_data(stream, b"ok")
    peer.http.send_headers(stream, [("x-digest", "1")], end_stream=True)
    assert peer.exchange() == [
        Answered(stream, Answer(200, ((b"content-length", b"2"),))),
        Received(stream, b"ok", 2),
        Ended(stream, ((b"x-digest", b"1"),)),
    ]


def test_windows_hold_a_sender_until_what_it_sent_was_passed_on() -> None:
    peer = Peer()
    stream = peer.client.ask(ask(), scheme=b"https", ended=True)
    peer.exchange()
    peer.http.send_headers(stream, [(":status", "200")])
    peer.exchange()
    sent = 0
    while room := min(peer.http.local_flow_control_window(stream), 16384):
        peer.http.send_data(stream, b"x" * room)
        sent += room
    assert sent == wire2.WINDOW
    pieces = [event for event in peer.exchange() if isinstance(event, Received)]
    assert sum(piece.credit for piece in pieces) == sent
    peer.exchange()
    assert peer.http.local_flow_control_window(stream) == 0, "nothing was passed on yet"
    for piece in pieces:
        peer.client.credit(stream, piece.credit)
    peer.exchange()
    assert peer.http.local_flow_control_window(stream) > wire2.WINDOW // 2


@pytest.mark.parametrize(
    "headers",
    [
        [(":status", "200"), ("x-a", "b\r\nset-cookie: c")],
        [(":status", "101")],
        [("x-a", "1")],
        [(":status", "2000")],
        [(":status", "200"), ("content-length", "1"), ("content-length", "2")],
    ],
)
def test_a_broken_answer_of_http_2_is_said_to_be_one(headers: list[tuple[str, str]]) -> None:
    peer = Peer()
    peer.client.ask(ask(), scheme=b"https", ended=True)
    peer.exchange()
    with pytest.raises(Broken):
        peer.client.receive(block(headers))
    other = Peer()
    other.client.ask(ask(), scheme=b"https", ended=True)
    other.exchange()
    assert other.client.receive(block([(":status", "200")])), "the control"


def test_a_stream_that_the_outside_gives_up_and_a_goodbye_are_told() -> None:
    peer = Peer()
    stream = peer.client.ask(ask(), scheme=b"https", ended=True)
    peer.exchange()
    peer.http.reset_stream(stream, 7)
    assert peer.exchange() == [Cut(stream, 7)]
    peer.http.close_connection()
    assert peer.exchange() == [Leaving(stream, 0)]


def test_http_1_goes_on_with_the_next_message() -> None:
    found = h1.Server()
    found.receive(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nabGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    first = found.next()
    assert isinstance(first, Request)
    assert (first.method, first.body, found.next(), found.next()) == ("POST", True, b"ab", Mark.END)
    found.answer(Answer(204, ()))
    found.end()
    assert found.again
    found.renew()
    second = found.next()
    assert isinstance(second, Request)
    assert second.target == b"/b"


def test_a_request_that_ends_early_is_broken() -> None:
    found = h1.Server()
    found.receive(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    found.next(), found.next()
    found.receive(b"")
    with pytest.raises(Broken):
        found.next()


KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a, b\r\n\r\n"
)


def websocket(raw: bytes) -> str:
    found = h1.Server()
    found.receive(raw)
    request = found.next()
    assert isinstance(request, Request)
    try:
        head = read_head(request, intended="api.example", port=443, sni="api.example")
    except Refused as refused:
        return refused.reason
    return h1.Client().ask(outgoing(head, host="api.example", port=443), keep=True).decode()


@pytest.mark.capability("BRK-15", part="upgrades")
def test_a_websockets_handshake_leaves_without_the_extensions_that_hide_what_is_said() -> None:
    sent = websocket(HANDSHAKE)
    assert "upgrade: websocket\r\n" in sent
    assert "connection: Upgrade\r\n" in sent
    assert KEY.decode() in sent
    assert "extensions" not in sent
    assert "sec-websocket-protocol: a, b" in sent


@pytest.mark.capability("BRK-15", part="upgrades")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Upgrade: websocket", b"Upgrade: websocket, h2c"),
        (b"GET ", b"POST "),
        (b"HTTP/1.1\r\n", b"HTTP/1.0\r\n"),
        (b"keep-alive, Upgrade", b"keep-alive"),
        (b"Version: 13", b"Version: 12"),
        (KEY, b"c2hvcnQ="),
        (b"Host: api.example\r\n", b"Host: api.example\r\nContent-Length: 3\r\n"),
    ],
)
def test_what_is_no_handshake_of_a_websocket_is_refused(old: bytes, new: bytes) -> None:
    assert websocket(HANDSHAKE) != "upgrade_refused"
    assert websocket(HANDSHAKE.replace(old, new)) == "upgrade_refused"


@pytest.mark.capability("BRK-15", part="upgrades")
def test_only_an_answer_to_this_handshake_makes_a_websocket() -> None:
    asked = ((b"sec-websocket-key", KEY), (b"sec-websocket-protocol", b"a, b"))
    good = {b"upgrade": b"WebSocket", b"connection": b"Upgrade", b"sec-websocket-accept": accept_of(KEY)}
    assert accept_of(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer_problem(asked, tuple(good.items())) is None
    assert answer_problem(asked, tuple({**good, b"sec-websocket-protocol": b"b"}.items())) is None
    for name, value in (
        (b"upgrade", b"h2c"), (b"connection", b"close"), (b"sec-websocket-accept", accept_of(b"other")),
        (b"sec-websocket-extensions", b"permessage-deflate"), (b"sec-websocket-protocol", b"c"),
    ):  # fmt: skip
        assert answer_problem(asked, tuple({**good, name: value}.items()))


def test_a_switch_hands_over_what_came_after_it() -> None:
    found = h1.Server()
    found.receive(HANDSHAKE + b"\x81\x05hello")
    assert isinstance(found.next(), Request)
    assert found.next() is Mark.END
    assert found.switch(Answer(101, ((b"sec-websocket-accept", b"x"),))).startswith(b"HTTP/1.1 101 ")
    assert found.trailing == b"\x81\x05hello"
