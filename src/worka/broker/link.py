"""One connection of HTTP/2 with its streams: the sockets' side of wire/h2.py, the same for the pack and for the outside."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Awaitable, Callable

from worka.broker.wire import h2
from worka.broker.wire.events import Answered, Broken, Cut, Ended, Event, Grown, Leaving, Opened, Received

CHUNK = 64 * 1024
HIGH = 256 * 1024
"""Bytes that may wait to be written before whoever writes waits."""


Why = Callable[[], Awaitable[Exception | None]]
"""Asks a new connection that was cut before the other side said anything for the reason; None where there is none to be had."""


async def flush(writer: asyncio.StreamWriter, seconds: float) -> None:
    """Waits while too much is unwritten. Raises TimeoutError, ConnectionError."""
    transport = writer.transport
    if transport.is_closing():
        raise ConnectionResetError("the other side is gone")
    # No timer for what the socket took at once, which is nearly everything.
    if transport.get_write_buffer_size() > CHUNK:
        async with asyncio.timeout(seconds):
            await writer.drain()


def cut(writer: asyncio.StreamWriter) -> None:
    """Ends a connection without a goodbye."""
    # Python 3.11's TLS transport has no protocol any more when the other side closed it.
    with contextlib.suppress(AttributeError):
        writer.transport.abort()


class Stream:
    """One request and its answer on a Link."""

    def __init__(self, link: Link, number: int) -> None:
        self.link, self.number = link, number
        self.failed: Exception | None = None
        self._events: deque[Answered | Received | Ended] = deque()
        self._wake = asyncio.Event()

    @property
    def pending(self) -> bool:
        """Whether something can be had without waiting."""
        return bool(self._events)

    def put(self, event: Answered | Received | Ended) -> None:
        """What was read for it."""
        self._events.append(event)
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """Nothing more comes."""
        self.failed = self.failed or error
        self._wake.set()

    def wake(self) -> None:
        """Something changed: a window grew."""
        self._wake.set()

    async def next(self, seconds: float) -> Answered | Received | Ended:
        """The next event. Raises TimeoutError, and what the stream failed with."""
        while not self._events:
            if self.failed is not None:
                raise self.failed
            await self._changed(seconds)
        return self._events.popleft()

    async def send(self, data: bytes, seconds: float) -> None:
        """Writes a piece of a body as fast as the other side takes it. Raises TimeoutError, and what the stream failed with."""
        at = 0
        while at < len(data):
            if self.failed is not None:
                raise self.failed
            room = self.link.wire.room(self.number)
            if room <= 0:
                await self._changed(seconds)
                continue
            self.link.wire.data(self.number, data[at : at + room])
            at += room
            await self.link.flush(seconds)

    async def _changed(self, seconds: float) -> None:
        self._wake.clear()
        async with asyncio.timeout(seconds):
            await self._wake.wait()


class Link:
    """Reads for all streams of one connection; each is written to by its own exchange."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: h2.Server | h2.Client,
        opened: Callable[[Stream, Opened], None] | None = None, why: Why | None = None,
    ) -> None:  # fmt: skip
        self.reader, self.writer, self.wire = reader, writer, wire
        self.streams: dict[int, Stream] = {}
        self.leaving = False
        self.broken: Broken | None = None
        self.error: Exception = ConnectionResetError("the connection ended")
        """Why it is over, once it is."""
        self._opened, self._why = opened, why

    def write(self) -> None:
        """Hands what the wire has to say to the socket."""
        data = self.wire.take()
        if data and not self.writer.transport.is_closing():
            self.writer.write(data)

    async def flush(self, seconds: float) -> None:
        """The same, and waits while too much is unwritten."""
        self.write()
        await flush(self.writer, seconds)

    def stream(self, number: int) -> Stream:
        """A stream that was just opened."""
        self.streams[number] = found = Stream(self, number)
        return found

    def forget(self, stream: Stream) -> None:
        """Its exchange is over: what comes late is given back at once."""
        self.streams.pop(stream.number, None)
        while stream.pending:
            event = stream._events.popleft()
            if isinstance(event, Received):
                self.wire.credit(stream.number, event.credit)
        self.write()

    async def run(self, idle_seconds: float) -> None:
        """Reads until the connection ends, or nothing is open for `idle_seconds`; then every stream has failed."""
        heard = False
        try:
            self.wire.begin()
            self.write()
            while not (self.leaving and not self.streams):
                data = await self._read(idle_seconds)
                if not data:
                    break
                heard = True
                for event in self.wire.receive(data):
                    self._dispatch(event)
                self.write()
                if self.writer.transport.get_write_buffer_size() > HIGH:
                    # A side that asks without end and reads no answer (pings, settings) is not read either.
                    async with asyncio.timeout(idle_seconds):
                        await self.writer.drain()
        except Broken as broken:
            self.broken = self.error = broken
            self.write()
        except OSError as error:
            self.error = error
            if self._why is not None and not heard and not isinstance(error, ssl.SSLError):
                self.error = await self._why() or error
        finally:
            self.leaving = True
            for stream in list(self.streams.values()):
                stream.fail(self.error)

    async def _read(self, idle_seconds: float) -> bytes:
        while True:
            try:
                async with asyncio.timeout(idle_seconds):
                    return await self.reader.read(CHUNK)
            except TimeoutError:
                # The streams have their own deadlines.
                if not self.streams:
                    return b""

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Opened):
            stream = self.stream(event.stream)
            if self._opened is not None:
                self._opened(stream, event)
            return
        if isinstance(event, Leaving):
            self.leaving = True
            for number, stream in self.streams.items():
                if number > event.last:
                    stream.fail(ConnectionResetError(f"the other side left with code {event.code}"))
            return
        if isinstance(event, Grown) and event.stream == 0:
            for stream in self.streams.values():
                stream.wake()
            return
        found = self.streams.get(event.stream)
        if found is None:
            if isinstance(event, Received):
                self.wire.credit(event.stream, event.credit)
        elif isinstance(event, Grown):
            found.wake()
        elif isinstance(event, Cut):
            found.fail(ConnectionResetError(f"the stream was given up with code {event.code}"))
        else:
            found.put(event)
