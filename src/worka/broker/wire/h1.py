"""HTTP/1.1 over h11: the pack's side (Server) and the outside's (Client), one message at a time. No sockets."""

from __future__ import annotations

import h11

from worka.broker.wire.events import Broken, Mark
from worka.broker.wire.heads import MAX_HEAD, Answer, Outgoing, Request


class _Side:
    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self._http = h11.Connection(role, max_incomplete_event_size=MAX_HEAD)

    def receive(self, data: bytes) -> None:
        """Takes what was read; empty at the end of the connection. Raises Broken."""
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
        self._http.start_next_cycle()

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

    def __init__(self) -> None:
        super().__init__(h11.SERVER)

    def next(self) -> Request | bytes | Mark:
        """The request's head, a piece of its body, or a mark. Raises Broken."""
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
        return self._http.they_are_waiting_for_100_continue

    @property
    def unanswered(self) -> bool:
        """Whether an answer can still begin."""
        return self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    @property
    def sending(self) -> bool:
        """Whether the pack's body is still under way."""
        return self._http.their_state is h11.SEND_BODY

    def proceed(self) -> bytes:
        """The 100 that asks for the body."""
        return self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def answer(self, answer: Answer, *, last: bool = False) -> bytes:
        """The head of an answer; `last`: the connection ends with it."""
        headers = [*answer.headers, (b"connection", b"close")] if last else list(answer.headers)
        event = h11.Response(status_code=answer.status, headers=headers, reason=answer.reason)
        return self._http.send(event) or b""

    def switch(self, answer: Answer) -> bytes:
        """The 101 with which the connection becomes another protocol's."""
        headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), *answer.headers]
        event = h11.InformationalResponse(status_code=101, headers=headers, reason=b"Switching Protocols")
        return self._http.send(event) or b""


class Client(_Side):
    """The outside's side."""

    protocol = "http/1.1"

    def __init__(self) -> None:
        super().__init__(h11.CLIENT)

    def ask(self, request: Outgoing, *, keep: bool) -> bytes:
        """The head of a request; `keep`: the connection may carry further ones."""
        headers: list[tuple[bytes, bytes]] = [(b"host", request.authority), *request.headers]
        if request.length is not None:
            headers.append((b"content-length", request.length))
        elif request.has_body:
            headers.append((b"transfer-encoding", b"chunked"))
        if request.websocket:
            headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        elif not keep:
            headers.append((b"connection", b"close"))
        return self._http.send(h11.Request(method=request.method, target=request.target, headers=headers)) or b""

    def next(self) -> Answer | bytes | Mark:
        """The head of an answer (of 1xx too), a piece of its body, or a mark. Raises Broken."""
        event = self._event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.Response | h11.InformationalResponse):
            headers = tuple((bytes(name), bytes(value)) for name, value in event.headers)
            return Answer(event.status_code, headers, bytes(event.reason))
        if event is h11.NEED_DATA:
            return Mark.NEED
        return Mark.END if isinstance(event, h11.EndOfMessage) else Mark.CLOSED

    @property
    def untouched(self) -> bool:
        """Whether nothing was read of the answer yet."""
        return self._http.their_state is h11.SEND_RESPONSE and not self.trailing


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
