"""TLS that the broker does not read: the name in its first message is held against the rule, the rest is carried.

Nothing is taken from the connection until everything was decided, so that a refusal can still be said inside TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.exchange import Outside, Target
from worka.broker.ledger import Entry
from worka.broker.link import CHUNK, cut, flush
from worka.broker.ports import Limits
from worka.broker.session import Active, Open
from worka.broker.stops import PackLeft, Stop
from worka.broker.wire import hello

_LOOK_AGAIN_SECONDS = 0.02


async def named(sock: socket.socket, intended: str, seconds: float, rule: str) -> bool:
    """Whether the connection begins with TLS for this name and no other. False: it is no TLS, or none came. Raises Stop."""
    try:
        found = await _hello(sock, seconds)
    except (hello.NotTls, OSError):
        return False
    if found is None:
        return False
    if found.hidden:
        raise Stop("hidden_server_name", rule=rule)
    if found.name is None:
        raise Stop("host_mismatch", "TLS without a server name, where nothing but the name is checked", rule=rule)
    try:
        name = normalise_host(found.name)
    except HostProblem as problem:
        raise Stop("host_mismatch", problem.detail, rule=rule) from problem
    if name != intended:
        raise Stop("host_mismatch", f"the connection is to {intended}, TLS names another host", rule=rule)
    return True


async def _hello(sock: socket.socket, seconds: float) -> hello.Hello | None:
    """The ClientHello, looked at where it lies. Raises hello.NotTls, OSError (TimeoutError too)."""
    async with asyncio.timeout(seconds):
        seen = -1
        while True:
            await _readable(sock)
            data = sock.recv(hello.MOST + 1, socket.MSG_PEEK)
            if not data:
                return None
            if (found := hello.read(data)) is not None:
                return found
            # What lies there keeps the socket readable: without a pause this would turn as fast as it can.
            await asyncio.sleep(_LOOK_AGAIN_SECONDS if len(data) == seen else 0.001)
            seen = len(data)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


class Tunnel(Open):
    """One connection carried unread; bytes are counted, and its limits and deadline are those of an exchange."""

    def __init__(self, outside: Outside, limits: Limits, active: Active, entry: Entry) -> None:
        super().__init__(active, entry)
        self.outside, self.limits = outside, limits
        self.reason = ""
        self._counted = [0, 0]
        self._connect_ms: float | None = None

    @property
    def answered(self) -> bool:
        """Whether the outside said something."""
        return self._counted[1] > 0

    async def run(self, sock: socket.socket, target: Target) -> None:
        """Dials, carries until one side ends, records the outcome. Raises Stop for what the pack should be told."""
        started = time.perf_counter()
        reason = "invocation_ended"
        try:
            async with self._deadline:
                await self._carry(sock, target, started)
            reason = "allowed"
        except Stop as stop:
            reason = stop.reason
            self.active.ledger.lines.add(self.entry.row, reason, stop.detail, stop)
            if self._connect_ms is None:
                raise
        except PackLeft as left:
            reason = "answer_not_taken"
            self.active.ledger.lines.add(self.entry.row, reason, "", left)
        except OSError as error:
            ended = self._ended(error) or Stop("upstream_unreachable")
            reason = ended.reason
            self.active.ledger.lines.add(self.entry.row, reason, ended.detail, error)
        finally:
            self.reason = reason
            await self.active.ledger.finish(
                self.entry, status=None, reason=reason, bytes_out=self._counted[0], bytes_in=self._counted[1],
                duration_ms=round((time.perf_counter() - started) * 1000, 3), protocol="tls", upstream_protocol="tls",
                connect_ms=self._connect_ms,
            )  # fmt: skip

    async def _carry(self, sock: socket.socket, target: Target, started: float) -> None:
        far_reader, far_writer = await self.outside.dial(target, None, self.limits.connect_seconds, h2=False)
        self._connect_ms = round((time.perf_counter() - started) * 1000, 3)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=256 * 1024)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        ways = [
            asyncio.create_task(self._way(reader, far_writer, 0)),
            asyncio.create_task(self._way(far_reader, writer, 1)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
            # The one side has ended; what is still under way to it gets there.
            with contextlib.suppress(OSError, TimeoutError):
                await flush(writer, 1)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            cut(far_writer)
            writer.close()

    async def _way(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, place: int) -> None:
        while True:
            try:
                data = await source.read(CHUNK)
            except OSError as error:
                if place:
                    raise
                raise PackLeft from error
            if not data:
                return
            self._counted[place] += len(data)
            if self._counted[place] > self.limits.body_bytes:
                raise Stop("limit_exceeded", f"more than {self.limits.body_bytes} bytes")
            self.active.count(len(data))
            sink.write(data)
            try:
                await flush(sink, self.limits.idle_seconds)
            except OSError as error:
                if place:
                    raise PackLeft from error
                raise
