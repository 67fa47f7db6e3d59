"""HTTP/1.1: the pack's side (Server) and the outside's (Client), one message at a time. No sockets.

What is of the plainest kind (plain.py) is read and written here; h11 takes over a message, from its beginning, as soon as
something about it is not.
"""

from __future__ import annotations

import h11

from worka.broker.wire import plain
from worka.broker.wire.events import Broken, Mark
from worka.broker.wire.heads import MAX_HEAD, Answer, Outgoing, Request


class _Side:
    role: type[h11.CLIENT] | type[h11.SERVER]

    def __init__(self) -> None:
        self._h11: h11.Connection | None = None
        """Of this message; None: nothing of it was other than plain so far."""
        self._buffer = b""
        self._closed = False
        self._left: int | None = None
        """Bytes of the answer's body that are still to come; None: its head did not."""

    @property
    def _http(self) -> h11.Connection:
        """h11's view of this message, which is its business from now on."""
        if self._h11 is None:
            self._h11 = h11.Connection(self.role, max_incomplete_event_size=MAX_HEAD)
            self._replay(self._h11)
            data, self._buffer = self._buffer, b""
            if data:
                self._read(data)
            if self._closed:
                self._read(b"")
        return self._h11

    def _replay(self, http: h11.Connection) -> None:
        """What this message was so far."""
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Takes what was read; empty at the end of the connection. Raises Broken."""
        if self._h11 is not None:
            self._read(data)
        elif data:
            self._buffer += data
        else:
            self._closed = True

    def _read(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
        except (h11.RemoteProtocolError, RuntimeError) as error:
            raise Broken(str(error)) from error

    def data(self, data: bytes) -> bytes:
        """A piece of our body, as it is written."""
        return self._http.send(h11.Data(data=data)) or b""

    def end(self) -> bytes:
        """The end of our message, as it is written. Raises Broken when less was sent than was said."""
        try:
            return self._http.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError as error:
            raise Broken(str(error)) from error

    @property
    def again(self) -> bool:
        """Whether both messages are whole, and the connection may carry further ones."""
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def renew(self) -> None:
        """On to the next message; only after `again`."""
        if self._h11 is not None:
            self._buffer, self._closed = self._h11.trailing_data
        self._h11 = self._left = None

    @property
    def trailing(self) -> bytes:
        """What was read beyond the message that changed the protocol."""
        return self._http.trailing_data[0]

    def _event(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise Broken(str(error)) from error


class Server(_Side):
    """The pack's side."""

    protocol = "http/1.1"
    role = h11.SERVER

    def __init__(self) -> None:
        super().__init__()
        self._head: bytes | None = None
        """Of the plain request that is being answered."""
        self._ended = self._done = False

    def _replay(self, http: h11.Connection) -> None:
        if self._head is not None:
            http.receive_data(self._head)
            http.next_event()
            if self._ended:
                http.next_event()

    def next(self) -> Request | bytes | Mark:
        """The request's head, a piece of its body, or a mark. Raises Broken."""
        if self._h11 is None:
            if self._head is not None:
                found, self._ended = Mark.NEED if self._ended else Mark.END, True
                return found
            if not self._buffer and not self._closed:
                return Mark.NEED
            read = plain.request(self._buffer)
            if read is not None:
                request, size = read
                self._head, self._buffer = self._buffer[:size], self._buffer[size:]
                return request
        event = self._event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.Request):
            return _request(event)
        if event is h11.NEED_DATA:
            return Mark.NEED
        # Trailers are dropped: they would arrive after every check.
        return Mark.END if isinstance(event, h11.EndOfMessage) else Mark.CLOSED

    @property
    def waiting(self) -> bool:
        """Whether the pack waits for a 100 before it sends its body."""
        return self._h11 is not None and self._h11.they_are_waiting_for_100_continue

    @property
    def unanswered(self) -> bool:
        """Whether an answer can still begin."""
        if self._h11 is None:
            return self._left is None
        return self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    @property
    def sending(self) -> bool:
        """Whether the pack's body is still under way."""
        return self._h11 is not None and self._h11.their_state is h11.SEND_BODY

    def proceed(self) -> bytes:
        """The 100 that asks for the body."""
        return self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def answer(self, answer: Answer, *, last: bool = False) -> bytes:
        """The head of an answer; `last`: the connection ends with it."""
        if self._h11 is None and self._head is not None and not last:
            written = plain.answered(answer)
            if written is not None:
                head, self._left = written
                return head
        headers = [*answer.headers, (b"connection", b"close")] if last else list(answer.headers)
        event = h11.Response(status_code=answer.status, headers=headers, reason=answer.reason)
        return self._http.send(event) or b""

    def data(self, data: bytes) -> bytes:
        """As the side says. Raises Broken when more is sent than was said."""
        if self._left is None:
            return super().data(data)
        if len(data) > self._left:
            raise Broken("more of the answer than was said of it")
        self._left -= len(data)
        return data

    def end(self) -> bytes:
        """As the side says."""
        if self._left is None:
            return super().end()
        if self._left:
            raise Broken("less of the answer than was said of it")
        self._done = True
        return b""

    @property
    def again(self) -> bool:
        """As the side says."""
        return self._ended and self._done if self._h11 is None else super().again

    def renew(self) -> None:
        """As the side says."""
        super().renew()
        self._head, self._ended, self._done = None, False, False

    def switch(self, answer: Answer) -> bytes:
        """The 101 with which the connection becomes another protocol's."""
        headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), *answer.headers]
        event = h11.InformationalResponse(status_code=101, headers=headers, reason=b"Switching Protocols")
        return self._http.send(event) or b""


class Client(_Side):
    """The outside's side."""

    protocol = "http/1.1"
    role = h11.CLIENT

    def __init__(self) -> None:
        super().__init__()
        self._asked: Outgoing | None = None
        """The plain request that is being answered."""
        self._over = False

    def _replay(self, http: h11.Connection) -> None:
        if self._asked is not None:
            http.send(_event_of(self._asked, keep=True))
            http.send(h11.EndOfMessage())

    def ask(self, request: Outgoing, *, keep: bool) -> bytes:
        """The head of a request; `keep`: the connection may carry further ones."""
        if keep and (written := plain.asked(request)) is not None:
            self._asked = request
            return written
        return self._http.send(_event_of(request, keep=keep)) or b""

    def end(self) -> bytes:
        """As the side says."""
        return b"" if self._h11 is None else super().end()

    def next(self) -> Answer | bytes | Mark:
        """The head of an answer (of 1xx too), a piece of its body, or a mark. Raises Broken."""
        if self._left is not None:
            return self._body(self._left)
        if self._h11 is None:
            if not self._buffer and not self._closed:
                return Mark.NEED
            read = plain.answer(self._buffer)
            if read is not None:
                found, size, self._left = read
                self._buffer = self._buffer[size:]
                return found
        event = self._event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.Response | h11.InformationalResponse):
            headers = tuple((bytes(name), bytes(value)) for name, value in event.headers)
            return Answer(event.status_code, headers, bytes(event.reason))
        if event is h11.NEED_DATA:
            return Mark.NEED
        return Mark.END if isinstance(event, h11.EndOfMessage) else Mark.CLOSED

    def _body(self, left: int) -> bytes | Mark:
        if not left:
            found, self._over = Mark.CLOSED if self._over else Mark.END, True
            return found
        if not self._buffer:
            if self._closed:
                raise Broken("the connection ended in the middle of an answer")
            return Mark.NEED
        piece, self._buffer = self._buffer[:left], self._buffer[left:]
        self._left = left - len(piece)
        return piece

    @property
    def again(self) -> bool:
        """As the side says. What was read beyond the answer would be taken for the next one's."""
        if self._h11 is None:
            return self._over and not self._buffer and not self._closed
        return super().again and not self.trailing

    def renew(self) -> None:
        """As the side says."""
        super().renew()
        self._asked, self._over = None, False

    @property
    def untouched(self) -> bool:
        """Whether nothing was read of the answer yet."""
        if self._h11 is None:
            return self._left is None and not self._buffer
        return self._h11.their_state is h11.SEND_RESPONSE and not self.trailing


def _event_of(request: Outgoing, *, keep: bool) -> h11.Request:
    headers: list[tuple[bytes, bytes]] = [(b"host", request.authority), *request.headers]
    if request.length is not None:
        headers.append((b"content-length", request.length))
    elif request.has_body:
        headers.append((b"transfer-encoding", b"chunked"))
    if request.websocket:
        headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    elif not keep:
        headers.append((b"connection", b"close"))
    return h11.Request(method=request.method, target=request.target, headers=headers)


def _request(event: h11.Request) -> Request:
    headers = tuple((bytes(name), bytes(value)) for name, value in event.headers)
    lengths = [value for name, value in headers if name == b"content-length"]
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    return Request(
        method=bytes(event.method).decode("ascii"),
        target=bytes(event.target),
        headers=headers,
        version=bytes(event.http_version).decode("ascii"),
        body=chunked or (bool(lengths) and lengths[0].strip(b"0") != b""),
    )
