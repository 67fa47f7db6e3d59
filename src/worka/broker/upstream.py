"""The outside's side of an exchange, in both versions of HTTP, and the connections that one call keeps open to it.

A connection belongs to one call and to one checked address, name and way of checking its certificate: nothing is
shared between calls, attachments or tenants, and all of it ends with the call.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from worka.broker.adapters.outside import tls_reason
from worka.broker.link import CHUNK, Link, Stream, Why, cut, flush
from worka.broker.ports import Limits
from worka.broker.stops import Stop
from worka.broker.wire import h1, h2
from worka.broker.wire.events import Answered, Broken, Mark, Received
from worka.broker.wire.heads import Answer, Outgoing

Headers = tuple[tuple[bytes, bytes], ...]
Dial = Callable[[bool], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Dials; `True` offers HTTP/2 as well. Raises Stop."""
_KEPT_SECONDS = 15.0
_STREAMS = 32
_MOST_1XX = 20
_REFUSAL_SECONDS = 1.0


class Stale(Exception):
    """A kept connection was closed by the outside before it took anything: ask again over a new one."""


async def _refusal(dial: Dial, offer_h2: bool) -> Stop | None:
    """How the outside refuses a connection on which nothing is asked, if it says so.

    With TLS 1.3 it looks at our certificate when we write already. Then it closes, what we write is answered with a reset, and
    whether its words are read before that is chance. Where nothing is written they always are.
    """
    try:
        reader, writer = await dial(offer_h2)
    except Stop:
        return None
    try:
        async with asyncio.timeout(_REFUSAL_SECONDS):
            await reader.read(1)
    except ssl.SSLError as error:
        return Stop(*tls_reason(error))
    except OSError:
        return None
    finally:
        cut(writer)
    return None


class Far(Protocol):
    """One request to the outside. What reads and writes raises Stop for what the outside did."""

    protocol: str
    trailers: Headers
    connect_ms: float | None

    @property
    def pending(self) -> bool:
        """Whether something can be had without waiting."""
        ...

    async def ask(self, request: Outgoing) -> None:
        """The head; without a body all of it."""
        ...

    async def give(self, data: bytes) -> None:
        """A piece of the body. Raises OSError when the outside takes no more."""
        ...

    async def finish(self) -> None:
        """The body is whole."""
        ...

    async def answer(self) -> Answer:
        """The head of the final answer, or of a 101. Raises Stop, Stale."""
        ...

    async def body(self, seconds: float | None = None) -> bytes | None:
        """The next piece, None after the last. Raises Stop; with `seconds` TimeoutError after those."""
        ...

    def done(self, *, whole: bool) -> None:
        """The exchange is over; after a whole answer the connection may be used again."""
        ...


class H1Far:
    """A connection of HTTP/1.1, for one request at a time."""

    protocol = "http/1.1"
    trailers: Headers = ()

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, idle_seconds: float, keep: bool,
        connect_ms: float | None, back: Callable[[H1Far], None] | None = None, why: Why | None = None,
    ) -> None:  # fmt: skip
        self.reader, self.writer, self.connect_ms = reader, writer, connect_ms
        self.wire = h1.Client()
        self.since = 0.0
        self._idle, self._keep, self._back, self._why = idle_seconds, keep, back, why
        self._kept = False
        self._next: bytes | Mark | None = None

    @property
    def pending(self) -> bool:
        """As the protocol says."""
        if self._next is None:
            event = self._read_on()
            self._next = event if isinstance(event, bytes) or event is Mark.END else None
        return self._next is not None

    def usable(self, clock: float) -> bool:
        """Whether it may carry a further request."""
        fresh = clock - self.since < _KEPT_SECONDS
        return fresh and not self.reader.at_eof() and not self.writer.transport.is_closing()

    def again(self) -> None:
        """Out of the pool, for the next request."""
        self.wire.renew()
        self._kept, self.connect_ms, self._next = True, None, None

    async def ask(self, request: Outgoing) -> None:
        """As the protocol says."""
        data = self.wire.ask(request, keep=self._keep)
        self.writer.write(data if request.has_body else data + self.wire.end())
        if self._kept:
            return  # whether the outside is still there shows in its answer
        await flush(self.writer, self._idle)

    async def give(self, data: bytes) -> None:
        """As the protocol says."""
        self.writer.write(self.wire.data(data))
        await flush(self.writer, self._idle)

    async def finish(self) -> None:
        """As the protocol says."""
        data = self.wire.end()
        if data:
            self.writer.write(data)
            await flush(self.writer, self._idle)

    def _read_on(self) -> Answer | bytes | Mark:
        try:
            return self.wire.next()
        except Broken as error:
            raise Stop("upstream_malformed", str(error)) from error

    async def _event(self, seconds: float | None = None) -> Answer | bytes | Mark:
        while (event := self._read_on()) is Mark.NEED:
            try:
                async with asyncio.timeout(seconds or self._idle):
                    data = await self.reader.read(CHUNK)
            except TimeoutError:
                if seconds is not None:
                    raise
                raise Stop("upstream_timeout", "the outside fell silent") from None
            except ssl.SSLError as error:
                # With TLS 1.3 a refusal of our certificate comes when the connection stands already.
                raise Stop(*tls_reason(error)) from error
            except OSError as error:
                if self._kept and self.wire.untouched:
                    raise Stale from error
                if self._why is not None and self.wire.untouched and (refusal := await self._why()) is not None:
                    raise refusal from error
                raise Stop("upstream_unreachable", f"the outside cut the connection: {type(error).__name__}") from error
            if not data and self._kept and self.wire.untouched:
                raise Stale
            try:
                self.wire.receive(data)
            except Broken as error:
                raise Stop("upstream_malformed", str(error)) from error
        return event

    async def answer(self) -> Answer:
        """As the protocol says."""
        for _ in range(_MOST_1XX):
            event = await self._event()
            if not isinstance(event, Answer):
                raise Stop("upstream_malformed", "the outside closed the connection without an answer")
            if event.status >= 200 or event.status == 101:
                return event
        raise Stop("upstream_malformed", "the outside says again and again that it will answer")

    async def body(self, seconds: float | None = None) -> bytes | None:
        """As the protocol says."""
        event: Answer | bytes | Mark | None = self._next
        self._next = None
        if event is None:
            event = await self._event(seconds)
        if isinstance(event, bytes):
            return event
        if event is Mark.END:
            return None
        raise Stop("upstream_malformed", "the answer ended in the middle")

    def done(self, *, whole: bool) -> None:
        """As the protocol says."""
        if whole and self._back is not None and self._keep and self.wire.again:
            self.since = time.monotonic()
            self._back(self)
        else:
            cut(self.writer)


class H2Far:
    """One stream of a connection of HTTP/2 to the outside."""

    protocol = "h2"

    def __init__(self, link: Link, scheme: bytes, *, idle_seconds: float, connect_ms: float | None) -> None:
        assert isinstance(link.wire, h2.Client)
        self.trailers: Headers = ()
        self.connect_ms = connect_ms
        self._link, self._wire, self._scheme, self._idle = link, link.wire, scheme, idle_seconds
        self._stream: Stream | None = None
        self._credit = 0

    @property
    def pending(self) -> bool:
        """As the protocol says."""
        return self._stream is not None and self._stream.pending

    @property
    def _open(self) -> Stream:
        assert self._stream is not None, "it was asked first"
        return self._stream

    async def ask(self, request: Outgoing) -> None:
        """As the protocol says."""
        if self._link.leaving:
            self._refused_by_tls(self._link.error)
            raise Stale
        try:
            number = self._wire.ask(request, scheme=self._scheme, ended=not request.has_body)
        except Broken as error:
            raise Stop("upstream_unreachable", str(error)) from error
        self._stream = self._link.stream(number)
        await self._link.flush(self._idle)

    async def give(self, data: bytes) -> None:
        """As the protocol says."""
        await self._open.send(data, self._idle)

    async def finish(self) -> None:
        """As the protocol says."""
        self._wire.end(self._open.number)
        await self._link.flush(self._idle)

    async def _event(self, seconds: float | None = None) -> Answered | Received | None:
        if self._credit:
            self._wire.credit(self._open.number, self._credit)
            self._credit = 0
            self._link.write()
        try:
            event = await self._open.next(seconds or self._idle)
        except TimeoutError:
            if seconds is not None:
                raise
            raise Stop("upstream_timeout", "the outside fell silent") from None
        except Broken as error:
            raise Stop("upstream_malformed", str(error)) from error
        except OSError as error:
            self._refused_by_tls(error)
            raise Stop("upstream_unreachable", f"the outside cut the exchange: {error}") from error
        if isinstance(event, Answered):
            return event
        if isinstance(event, Received):
            self._credit = event.credit
            return event
        self.trailers = event.trailers
        return None

    @staticmethod
    def _refused_by_tls(error: Exception) -> None:
        # With TLS 1.3 a refusal of our certificate comes when the connection stands already.
        if isinstance(error, ssl.SSLError):
            raise Stop(*tls_reason(error)) from error
        if isinstance(error, Stop):
            raise error

    async def answer(self) -> Answer:
        """As the protocol says."""
        event = await self._event()
        if not isinstance(event, Answered):
            raise Stop("upstream_malformed", "the outside ended the exchange without an answer")
        return event.answer

    async def body(self, seconds: float | None = None) -> bytes | None:
        """As the protocol says."""
        event = await self._event(seconds)
        if isinstance(event, Answered):
            raise Stop("upstream_malformed", "the outside answered twice")
        return event.data if event is not None else None

    def done(self, *, whole: bool) -> None:
        """As the protocol says."""
        if self._stream is not None:
            self._wire.reset(self._stream.number)
            self._link.forget(self._stream)


@dataclass(frozen=True, slots=True)
class Key:
    """What two requests must have in common to share a connection."""

    address: str
    port: int
    name: str | None
    trust_id: str | None
    ca_pem: str | None


class Pool:
    """The connections of one call."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: dict[Key, list[H1Far]] = defaultdict(list)
        self._links: dict[Key, Link] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._dialling: dict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._only_h1: set[Key] = set()

    async def get(self, key: Key, dial: Dial, *, kept: bool, websocket: bool = False) -> Far:
        """A way to ask the outside: `kept` lets it be a connection that stood already, which the outside may be about to
        close. Raises Stop."""
        if websocket:
            return await self._new(key, dial, offer_h2=False, keep=False)
        if kept and (far := self._standing(key)) is not None:
            return far
        if key.name is None or key in self._only_h1:
            return await self._new(key, dial, offer_h2=False)
        # One dials, the others wait to see what it speaks: with HTTP/2 they all fit on it.
        async with self._dialling[key]:
            if (found := self._link(key)) is not None:
                return found
            if key not in self._only_h1:
                return await self._new(key, dial, offer_h2=True)
        return await self._new(key, dial, offer_h2=False)

    def _standing(self, key: Key) -> Far | None:
        if (found := self._link(key)) is not None:
            return found
        clock = time.monotonic()
        while self._idle[key]:
            far = self._idle[key].pop()
            if far.usable(clock):
                far.again()
                return far
            cut(far.writer)
        return None

    def _link(self, key: Key) -> H2Far | None:
        link = self._links.get(key)
        if link is None or link.leaving or not isinstance(link.wire, h2.Client):
            return None
        if len(link.streams) >= link.wire.most or link.writer.transport.is_closing():
            return None
        return H2Far(link, b"https", idle_seconds=self._limits.idle_seconds, connect_ms=None)

    async def _new(self, key: Key, dial: Dial, *, offer_h2: bool, keep: bool = True) -> Far:
        started = time.perf_counter()
        reader, writer = await dial(offer_h2)
        connect_ms = round((time.perf_counter() - started) * 1000, 3)
        tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        # Before TLS 1.3 our certificate is refused while the connection is made.
        why = partial(_refusal, dial, offer_h2) if tls is not None and tls.version() == "TLSv1.3" else None
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            link = Link(reader, writer, h2.Client(streams=_STREAMS), why=why)
            self._links[key] = link
            task = asyncio.create_task(self._run(key, link))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            # Its settings go out with the first request, in one write.
            await asyncio.sleep(0)
            return H2Far(link, b"https", idle_seconds=self._limits.idle_seconds, connect_ms=connect_ms)
        if offer_h2:
            self._only_h1.add(key)
        return H1Far(
            reader, writer, idle_seconds=self._limits.idle_seconds, keep=keep, connect_ms=connect_ms,
            back=lambda far: self._back(key, far), why=why,
        )  # fmt: skip

    async def _run(self, key: Key, link: Link) -> None:
        try:
            await link.run(_KEPT_SECONDS)
        finally:
            if self._links.get(key) is link:
                del self._links[key]
            cut(link.writer)

    def _back(self, key: Key, far: H1Far) -> None:
        kept = self._idle[key]
        # The last one back is the first to go again, so those that are needed no more stand at the beginning.
        while kept and (len(kept) >= self._limits.connections or not kept[0].usable(far.since)):
            cut(kept.pop(0).writer)
        kept.append(far)

    async def close(self) -> None:
        """Cuts them all."""
        for kept in self._idle.values():
            for far in kept:
                cut(far.writer)
        self._idle.clear()
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
