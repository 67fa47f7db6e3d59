"""HTTP/2 over h2 (RFC 9113): the pack's side (Server) and the outside's (Client), many messages at a time. No sockets.

h2 refuses what a strict peer must (order and doubles of pseudo-headers, headers of a connection, lengths that do not
hold); here its events become the broker's, and the floods that are legal frame by frame are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from worka.broker.wire.events import Answered, Broken, Cut, Ended, Event, Grown, Leaving, Opened, Received
from worka.broker.wire.heads import MAX_HEAD, Answer, Outgoing, Request

Headers = tuple[tuple[bytes, bytes], ...]
WINDOW = 64 * 1024
"""Bytes of one stream that may be under way to us before they were passed on."""
_FRAME = 16 * 1024
_MOST_CUT = 100
"""Streams that the pack may give up before their answer; each was work (CVE-2023-44487)."""
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
REFUSED, CANCEL = int(h2.errors.ErrorCodes.REFUSED_STREAM), int(h2.errors.ErrorCodes.CANCEL)


class _Side:
    protocol = "h2"

    def __init__(self, *, client: bool, streams: int) -> None:
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding=None))
        self._streams = streams
        self._cut = 0
        settings = {
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
            h2.settings.SettingCodes.MAX_FRAME_SIZE: _FRAME,
        }
        if client:
            settings[h2.settings.SettingCodes.ENABLE_PUSH] = 0
        else:
            settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = streams
        self._http.local_settings = h2.settings.Settings(client=client, initial_values=settings)
        self._http.max_inbound_frame_size = _FRAME

    def begin(self) -> None:
        """What this side says first."""
        self._http.initiate_connection()
        # One stream that is not read must not hold up the others: each has its own window, the connection all of them.
        self._http.increment_flow_control_window(WINDOW * self._streams)

    def take(self) -> bytes:
        """What is to be written now."""
        return self._http.data_to_send()

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes say, in order. Raises Broken; then `take` has the goodbye."""
        try:
            events = self._http.receive_data(data)
        except (h2.exceptions.ProtocolError, ValueError, IndexError) as error:
            raise Broken(str(error) or type(error).__name__) from error
        found = []
        for event in events:
            told = self._told(event)
            if isinstance(told, Cut):
                self._cut += 1
                if self._cut > _MOST_CUT:
                    raise Broken("too many streams were opened and given up")
            if told is not None:
                found.append(told)
        return found

    def _told(self, event: h2.events.Event) -> Event | None:
        if isinstance(event, h2.events.DataReceived):
            return Received(_of(event), bytes(event.data or b""), event.flow_controlled_length or 0)
        if isinstance(event, h2.events.StreamReset):
            return Cut(_of(event), int(event.error_code or 0))
        if isinstance(event, h2.events.WindowUpdated):
            return Grown(_of(event))
        if isinstance(event, h2.events.RemoteSettingsChanged):
            return Grown(0)
        if isinstance(event, h2.events.ConnectionTerminated):
            return Leaving(event.last_stream_id or 0, int(event.error_code or 0))
        return None

    def room(self, stream: int) -> int:
        """How many bytes of a body the other side takes now; 0 for a stream that is over."""
        try:
            return min(self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size)
        except h2.exceptions.ProtocolError:
            return 0

    def data(self, stream: int, data: bytes) -> None:
        """A piece of our body, no longer than `room`."""
        self._guarded(lambda: self._http.send_data(stream, data))

    def end(self, stream: int, trailers: Headers = ()) -> None:
        """The end of our message."""
        if trailers:
            self._guarded(lambda: self._http.send_headers(stream, list(trailers), end_stream=True))
        else:
            self._guarded(lambda: self._http.end_stream(stream))

    def credit(self, stream: int, count: int) -> None:
        """The other side may send this many bytes more."""
        if count:
            self._guarded(lambda: self._http.acknowledge_received_data(count, stream))

    def reset(self, stream: int, code: int = CANCEL) -> None:
        """Gives a stream up."""
        try:
            self._http.reset_stream(stream, code)
        except h2.exceptions.ProtocolError:
            return  # it was over already

    @staticmethod
    def _guarded(write: object) -> None:
        try:
            write()  # type: ignore[operator]
        except h2.exceptions.StreamClosedError:
            return  # its end was read, or is about to be
        except h2.exceptions.ProtocolError as error:
            raise Broken(str(error)) from error


class Server(_Side):
    """The pack's side. `streams` is how many requests it may have open at once."""

    def __init__(self, *, streams: int) -> None:
        super().__init__(client=False, streams=streams)
        self._ended: dict[int, Headers] = {}

    def _told(self, event: h2.events.Event) -> Event | None:
        if isinstance(event, h2.events.RequestReceived):
            return Opened(_of(event), _request(event.headers or (), body=event.stream_ended is None))
        if isinstance(event, h2.events.TrailersReceived):
            return None  # they would arrive after every check
        if isinstance(event, h2.events.StreamEnded):
            return Ended(_of(event))
        return super()._told(event)

    def answer(self, stream: int, answer: Answer, *, ended: bool = False) -> None:
        """The head of an answer, and with `ended` all of it."""
        headers = [(b":status", str(answer.status).encode()), *answer.headers]
        self._guarded(lambda: self._http.send_headers(stream, headers, end_stream=ended))

    def proceed(self, stream: int) -> None:
        """The 100 that asks for the body."""
        self._guarded(lambda: self._http.send_headers(stream, [(b":status", b"100")]))

    def goodbye(self) -> None:
        """Takes no further requests."""
        try:
            self._http.close_connection()
        except h2.exceptions.ProtocolError:
            return


class Client(_Side):
    """The outside's side."""

    def __init__(self, *, streams: int) -> None:
        super().__init__(client=True, streams=streams)
        self._trailers: dict[int, Headers] = {}

    @property
    def most(self) -> int:
        """How many requests the other side takes at once."""
        return min(self._streams, self._http.remote_settings.max_concurrent_streams)

    def ask(self, request: Outgoing, *, scheme: bytes, ended: bool) -> int:
        """Sends the head of a request; the stream of its answer. Raises Broken."""
        stream = self._http.get_next_available_stream_id()
        headers = [
            (b":method", request.method.encode("ascii")), (b":scheme", scheme), (b":authority", request.authority),
            (b":path", request.target), *request.headers,
        ]  # fmt: skip
        if request.length is not None:
            headers.append((b"content-length", request.length))
        self._guarded(lambda: self._http.send_headers(stream, headers, end_stream=ended))
        return stream

    def _told(self, event: h2.events.Event) -> Event | None:
        if isinstance(event, h2.events.ResponseReceived):
            return Answered(_of(event), _answer(event.headers or ()))
        if isinstance(event, h2.events.TrailersReceived):
            self._trailers[_of(event)] = _clean(event.headers or ())
            return None
        if isinstance(event, h2.events.StreamEnded):
            return Ended(_of(event), self._trailers.pop(_of(event), ()))
        return super()._told(event)


def _of(event: h2.events.Event) -> int:
    return int(getattr(event, "stream_id", 0) or 0)


def _request(headers: Iterable[tuple[bytes, bytes]], *, body: bool) -> Request:
    """What h2 checked already, as the broker's own. An `:authority` stands as the Host, as in HTTP/1.1."""
    pseudo: dict[bytes, bytes] = {}
    plain: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        name, value = bytes(name), bytes(value)
        if name.startswith(b":"):
            pseudo[name] = value
        else:
            plain.append((name, value))
    if b":authority" in pseudo:
        plain = [(b"host", pseudo[b":authority"]), *(item for item in plain if item[0] != b"host")]
    if b":protocol" in pseudo:
        plain.append((b"upgrade", pseudo[b":protocol"]))
    return Request(
        method=pseudo.get(b":method", b"").decode("latin-1"),
        target=pseudo.get(b":path", b""),
        headers=tuple(plain),
        version="2" if pseudo.get(b":scheme", b"https") == b"https" else "2 of another scheme",
        body=body,
    )


def _clean(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    found = tuple((bytes(name), bytes(value)) for name, value in headers if not bytes(name).startswith(b":"))
    # HTTP/2 can carry in one value what HTTP/1.1 would read as two headers.
    if any(_BAD_VALUE.search(value) or not _NAME.match(name) for name, value in found):
        raise Broken("a header of the answer holds characters that do not belong into one")
    return found


def _answer(headers: Iterable[tuple[bytes, bytes]]) -> Answer:
    pairs = [(bytes(name), bytes(value)) for name, value in headers]
    status = next((value for name, value in pairs if name == b":status"), b"")
    if not re.fullmatch(rb"[2-5][0-9][0-9]", status):
        raise Broken("an answer without a status")
    if len([name for name, _ in pairs if name == b"content-length"]) > 1:
        raise Broken("the length of the answer is said twice")
    return Answer(int(status), _clean(pairs))
