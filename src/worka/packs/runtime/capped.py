"""Bounded pipes to a pack: its stdout line by line, its stderr as a tail, its stdin without waiting for ever.

The MCP SDK's own reader takes a line of any length into memory: one line without an end would eat the host. Here each
line, the sum of an exchange and the count of its lines are bounded, and what is over the bound ends that session and
nothing else. The host has one loop for all packs: no pack keeps it by always having more to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import time
from collections.abc import Awaitable, Callable

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from worka.kernel.redact import text as redact_text

_CHUNK = 64 * 1024
_STRAY_QUOTED = 500
# Written again as JSON for a frame of kernel.ipc, which holds 64 MiB, a line grows by no more than its numbers do: 1e15 is
# `1000000000000000.0` then. And each value is an object in the host's memory, however few bytes it was on the way.
MOST_LINE = 32 * 1024 * 1024
MOST_VALUES = 2_000_000
_STRAY_KEPT = 5
_MOST_STRAY = 10_000  # blank ones are counted, too
_MOST_MESSAGES = 100_000
_STDERR_RATE = 64 * 1024 * 1024  # bytes a second; a pack that writes faster waits for its pipe
_STDERR_BURST = 4 * _CHUNK


_HUGE = re.compile(rb"[0-9][eE]\+?[0-9]{3}|Infinity|NaN")
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number of JSON")
    return number


def _values(line: bytes) -> int:
    """No fewer than the values in a line of JSON; commas and brackets inside texts count, too."""
    return line.count(b",") + line.count(b"[") + line.count(b"{") + 1


class Oversize(Exception):
    """More output than the limit; the text says which."""


class Malformed(Exception):
    """Something that looks like a message and is none; the text quotes it."""


class Pipe:
    """Non-blocking reads and writes on one descriptor of a pipe; owns it."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        """Up to 64 KiB; empty at the end or after `close`. The loop gets a turn each time, be there as much as there may."""
        await asyncio.sleep(0)
        while self.fd >= 0:
            try:
                return os.read(self.fd, _CHUNK)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
            except OSError:
                return b""
        return b""

    async def write(self, data: bytes) -> None:
        """All of it. Raises BrokenPipeError when nobody reads any more."""
        view = memoryview(data)
        while view:
            if self.fd < 0:
                raise BrokenPipeError
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)

    async def _ready(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        fd = self.fd
        ready: asyncio.Future[None] = self._loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        add(fd, wake)
        self._waiter = ready
        try:
            await ready
        finally:
            if self.fd == fd:
                remove(fd)

    def close(self) -> None:
        """Gives the descriptor back; a waiting read ends."""
        if self.fd < 0:
            return
        fd, self.fd = self.fd, -1
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        os.close(fd)
        waiter: asyncio.Future[None] | None = getattr(self, "_waiter", None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Stdout:
    """Cuts stdout into messages. `exchange()` starts a new sum; stray lines are kept to be quoted."""

    def __init__(self, pipe: Pipe, line_bytes: int) -> None:
        self.pipe = pipe
        self.line_bytes = line_bytes = min(line_bytes, MOST_LINE)
        self.total_bytes = max(4 * line_bytes, 4 * 1024 * 1024)
        self._read = 0
        self._messages = self._blank = 0
        self.stray: list[str] = []
        self.stray_count = 0

    def exchange(self) -> None:
        """A new call begins: its own sums, its own stray lines."""
        self._read = self._messages = self._blank = 0
        self.stray = []
        self.stray_count = 0

    @property
    def quoted(self) -> str | None:
        """The stray lines of this exchange, redacted; None without any."""
        if not self.stray:
            return None
        more = f"\n… and {self.stray_count - len(self.stray)} more" if self.stray_count > len(self.stray) else ""
        return redact_text("\n".join(self.stray)) + more

    async def pump(self, deliver: Callable[[SessionMessage], Awaitable[None]]) -> None:
        """Reads to the end. Raises Oversize or Malformed."""
        buffer = bytearray()
        while chunk := await self.pipe.read():
            self._read += len(chunk)
            if self._read > self.total_bytes:
                raise Oversize(f"The pack wrote more than {self.total_bytes} bytes during one call.")
            searched = len(buffer)
            buffer += chunk
            start = 0
            while (end := buffer.find(b"\n", max(start, searched))) >= 0:
                if end - start > self.line_bytes:
                    raise Oversize(f"A line of the pack is longer than {self.line_bytes} bytes.")
                await self._line(bytes(buffer[start:end]), deliver)
                start = end + 1
            del buffer[:start]
            if len(buffer) > self.line_bytes:
                raise Oversize(f"A line of the pack is longer than {self.line_bytes} bytes.")

    async def _line(self, line: bytes, deliver: Callable[[SessionMessage], Awaitable[None]]) -> None:
        start = line.strip()[:1]
        if start != b"{":
            # No message begins otherwise, so nothing is parsed to find that out.
            self._astray(line, blank=not start)
            return
        if _values(line) > MOST_VALUES and _values(_TEXT.sub(b"", line)) > MOST_VALUES:
            raise Oversize(f"A message of the pack holds more than {MOST_VALUES} values.")
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
            if _HUGE.search(line):
                # What no number holds is read as infinity, which nothing after this could write as JSON again.
                json.loads(line, parse_float=_finite, parse_constant=_finite)
        except ValueError as error:
            raise Malformed(
                f"The pack wrote a line that is no JSON-RPC message: {redact_text(self._astray(line))}"
            ) from error
        self._messages += 1
        if self._messages > _MOST_MESSAGES:
            raise Oversize(f"The pack wrote more than {_MOST_MESSAGES} messages during one call.")
        await deliver(SessionMessage(message))

    def _astray(self, line: bytes, *, blank: bool = False) -> str:
        """Counts a line that is no message, keeps the first of those that say something, and quotes it."""
        if blank:
            self._blank += 1
        else:
            self.stray_count += 1
        if self.stray_count + self._blank > _MOST_STRAY:
            raise Oversize(f"The pack wrote more than {_MOST_STRAY} lines that are no messages during one call.")
        quoted = line[:_STRAY_QUOTED].decode(errors="replace") + ("…" if len(line) > _STRAY_QUOTED else "")
        if not blank and len(self.stray) < _STRAY_KEPT:
            self.stray.append(quoted)
        return quoted


class Stderr:
    """Keeps the last `keep` bytes of stderr."""

    def __init__(self, pipe: Pipe, keep: int = 64 * 1024) -> None:
        self.pipe = pipe
        self.keep = keep
        self._tail = bytearray()
        self._cut = False

    async def pump(self) -> None:
        """Reads to the end: a pack whose stderr nobody reads would hang. No faster than a bound: reading a flood is work, too."""
        began, burst = time.monotonic(), 0
        while chunk := await self.pipe.read():
            self._tail += chunk
            if len(self._tail) > self.keep:
                del self._tail[: len(self._tail) - self.keep]
                self._cut = True
            burst += len(chunk)
            if burst >= _STDERR_BURST:
                await asyncio.sleep(max(0.0, began + burst / _STDERR_RATE - time.monotonic()))
                began, burst = time.monotonic(), 0

    def exchange(self) -> None:
        """A new call begins."""
        self._tail.clear()
        self._cut = False

    @property
    def tail(self) -> str:
        """Redacted. A first line that was cut is left out: half a secret would not be recognised."""
        data = bytes(self._tail)
        if self._cut:
            head, found, rest = data.partition(b"\n")
            data = rest if found else head[len(head) // 2 :]
        return redact_text(data.decode(errors="replace"))


async def feed(pipe: Pipe, outgoing: anyio.abc.ObjectReceiveStream[SessionMessage]) -> None:
    """Writes what the client sends, one message a line, until either side ends."""
    with contextlib.suppress(OSError, anyio.ClosedResourceError):
        async for item in outgoing:
            body = item.message.model_dump_json(by_alias=True, exclude_unset=True)
            await pipe.write(body.encode() + b"\n")
