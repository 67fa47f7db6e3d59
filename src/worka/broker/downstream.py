"""The pack's side of an exchange, in both versions of HTTP: its request, piece by piece, and the way back to it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from worka.broker import stops
from worka.broker.link import CHUNK, Link, Stream, cut, flush
from worka.broker.stops import PackLeft, Stop
from worka.broker.wire import h1, h2
from worka.broker.wire.events import Broken, Mark, Received
from worka.broker.wire.heads import Answer, Request

Headers = tuple[tuple[bytes, bytes], ...]


class Incoming(Protocol):
    """One request of a pack. What reads raises PackLeft when the pack is gone, what writes raises OSError."""

    request: Request
    protocol: str

    async def body(self) -> bytes | None:
        """The next piece of the request's body, None after the last."""
        ...

    async def proceed(self) -> None:
        """Asks for the body, of a pack that waits for that."""
        ...

    async def answer(self, answer: Answer) -> None:
        """The head of the answer; it may wait for the first piece (`flush`)."""
        ...

    async def flush(self) -> None:
        """What waited goes out."""
        ...

    async def pass_on(self, data: bytes) -> None:
        """A piece of the answer."""
        ...

    async def end(self, trailers: Headers = ()) -> None:
        """The answer is whole."""
        ...

    async def refuse(self, stop: Stop, destination: str) -> None:
        """Says a refusal; when an answer has begun, the exchange is cut instead."""
        ...


class H1Down:
    """A connection of HTTP/1.1; it is its own current request."""

    protocol = "http/1.1"

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, head_seconds: float, idle_seconds: float
    ) -> None:
        self.reader, self.writer = reader, writer
        self.wire = h1.Server()
        self.request: Request
        self._head_seconds, self._idle = head_seconds, idle_seconds
        self._out = b""

    async def next(self) -> Request | None:
        """The next request, None at the end of the connection. Raises TimeoutError, OSError, Broken."""
        # One deadline for the whole head: a head that drips is none.
        async with asyncio.timeout(self._head_seconds):
            event = await self._event(None)
        if not isinstance(event, Request):
            return None
        if not event.body:
            self.wire.next()  # its end, which stands with its head
        self.request = event
        return event

    async def _event(self, seconds: float | None) -> Request | bytes | Mark:
        while (event := self.wire.next()) is Mark.NEED:
            async with asyncio.timeout(seconds):
                self.wire.receive(await self.reader.read(CHUNK))
        return event

    async def body(self) -> bytes | None:
        """As the protocol says."""
        try:
            event = await self._event(self._idle)
        except (OSError, Broken) as error:
            raise PackLeft("the pack left in the middle of its request") from error
        if isinstance(event, bytes):
            return event
        if event is Mark.END:
            return None
        raise PackLeft("the pack left in the middle of its request")

    async def proceed(self) -> None:
        """As the protocol says."""
        if self.wire.waiting:
            self._out += self.wire.proceed()
            await self.flush()

    async def answer(self, answer: Answer) -> None:
        """As the protocol says."""
        self._out += self.wire.answer(answer)

    async def flush(self) -> None:
        """As the protocol says."""
        data, self._out = self._out, b""
        if data:
            self.writer.write(data)
        await flush(self.writer, self._idle)

    async def pass_on(self, data: bytes) -> None:
        """As the protocol says."""
        self._out += self.wire.data(data)
        await self.flush()

    async def end(self, trailers: Headers = ()) -> None:
        """As the protocol says; trailers of the outside end here."""
        self._out += self.wire.end()
        await self.flush()

    async def switch(self, answer: Answer) -> bytes:
        """Says that the connection is another protocol's now; what the pack sent already of it."""
        self._out += self.wire.switch(answer)
        await self.flush()
        return self.wire.trailing

    async def refuse(self, stop: Stop, destination: str) -> None:
        """As the protocol says; the connection ends with it."""
        if not self.wire.unanswered or self._out:
            cut(self.writer)
            return
        answer, raw = stops.told(stop, destination)
        self._out += self.wire.answer(answer, last=True) + self.wire.data(raw) + self.wire.end()
        await self.flush()
        await self.linger()

    async def linger(self) -> None:
        """Takes in what is left of a body that nobody wants: closing over unread bytes would reset the answer away."""
        left = 1 << 20
        with contextlib.suppress(OSError, Broken):
            while self.wire.sending and self.wire.next() is not Mark.NEED:
                pass
            if not self.wire.sending:
                return
            async with asyncio.timeout(1):
                while left > 0 and (data := await self.reader.read(CHUNK)):
                    left -= len(data)


class H2Down:
    """One stream of a connection of HTTP/2."""

    protocol = "h2"

    def __init__(self, link: Link, stream: Stream, request: Request, *, idle_seconds: float) -> None:
        assert isinstance(link.wire, h2.Server)
        self.request = request
        self._link, self._stream, self._wire, self._idle = link, stream, link.wire, idle_seconds
        self.number = stream.number
        self._credit = 0
        self._answered = False

    async def body(self) -> bytes | None:
        """As the protocol says."""
        if self._credit:
            # What was read before has been passed on by now.
            self._wire.credit(self._stream.number, self._credit)
            self._credit = 0
            self._link.write()
        try:
            event = await self._stream.next(self._idle)
        except (OSError, Broken) as error:
            raise PackLeft("the pack left in the middle of its request") from error
        if isinstance(event, Received):
            self._credit = event.credit
            return event.data
        return None

    async def proceed(self) -> None:
        """As the protocol says."""
        self._wire.proceed(self._stream.number)
        await self._link.flush(self._idle)

    async def answer(self, answer: Answer) -> None:
        """As the protocol says."""
        self._check()
        self._answered = True
        self._wire.answer(self._stream.number, answer)

    async def flush(self) -> None:
        """As the protocol says."""
        await self._link.flush(self._idle)

    async def pass_on(self, data: bytes) -> None:
        """As the protocol says."""
        await self._stream.send(data, self._idle)

    async def end(self, trailers: Headers = ()) -> None:
        """As the protocol says."""
        self._check()
        self._wire.end(self._stream.number, trailers)
        await self._link.flush(self._idle)

    async def refuse(self, stop: Stop, destination: str) -> None:
        """As the protocol says; the connection's other streams go on."""
        if self._answered:
            self._wire.reset(self._stream.number)
            self._link.write()
            return
        answer, raw = stops.told(stop, destination)
        await self.answer(answer)
        await self.pass_on(raw)
        await self.end()

    def over(self) -> None:
        """The exchange is done; what was left unread of the request is given up."""
        self._wire.reset(self._stream.number, 0)
        self._link.forget(self._stream)

    def _check(self) -> None:
        if self._stream.failed is not None:
            raise PackLeft("the pack gave the request up") from self._stream.failed


__all__ = ["H1Down", "H2Down", "Incoming"]
