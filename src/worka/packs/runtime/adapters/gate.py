"""The one door of an installer in an air-gapped deployment: a proxy that dials the operator's list and nothing else.

The installer runs in a network of its own (gated.py) that holds no interface but its loopback, so that it has no other way; it made
the door's socket there and handed it out. What it asks for is checked by name before that name is asked of anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import worka
from worka.kernel.airgap import AirGap
from worka.packs.runtime import gated

CHUNK = 64 * 1024
_HEAD_SECONDS, _DIAL_SECONDS = 30.0, 30.0
_MOST_HEAD = 32 * 1024
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Gate:
    """`prefix` stands before the installer's command, `descriptor` is passed to it; `refused` is what it asked for in vain."""

    def __init__(self, gap: AirGap) -> None:
        self.gap = gap
        self.refused: list[str] = []
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def descriptor(self) -> int:
        """The installer's end."""
        return self._theirs.fileno()

    @property
    def prefix(self) -> list[str]:
        """Starts what follows it in a network of its own."""
        return [sys.executable, "-m", gated.__name__, str(self.descriptor)]

    @staticmethod
    def environment(given: Mapping[str, str]) -> dict[str, str]:
        """The installer's: every proxy is this door. The first line of it, our own path, is gone when the installer starts."""
        kept = {name: value for name, value in given.items() if name.lower() not in _PROXIES}
        door = f"http://{gated.ADDRESS}:{gated.PORT}"
        path = str(Path(worka.__file__ or ".").resolve().parents[1])
        return (
            kept | dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), door) | {gated.PATH: path}
        )

    async def serve(self) -> None:
        """Takes the door's socket and serves it until it is cancelled."""
        loop = asyncio.get_running_loop()
        self._theirs.close()
        door = await self._handed(loop)
        server = await asyncio.start_server(self._accepted, sock=door, limit=_MOST_HEAD)
        await loop.sock_sendall(self._ours, b"k")
        async with server:
            await server.serve_forever()

    async def _handed(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(self._ours, wake)
        try:
            await ready
        finally:
            loop.remove_reader(self._ours)
        _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        if not descriptors:
            await asyncio.Event().wait()  # it ended before it had a door: its own end says why
        return socket.socket(fileno=descriptors[0])

    def close(self) -> None:
        """Both ends, whoever still had one."""
        for sock in (self._ours, self._theirs):
            sock.close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            await self._answered(head, reader, writer)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # what it asked is no request, or one side left
        finally:
            writer.close()

    async def _answered(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request: a tunnel, or a plain one to an absolute address, after which the connection ends."""
        method, target, version = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        tunnel = method == "CONNECT"
        parts = urlsplit(f"//{target}" if tunnel else target)
        host, port = parts.hostname or "", parts.port or (443 if tunnel else 80)
        if not host or not self.gap.place(host, port) or (not tunnel and parts.scheme != "http"):
            self.refused.append(f"{host}:{port}")
            writer.write(b"HTTP/1.1 403 Air gapped\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        async with asyncio.timeout(_DIAL_SECONDS):
            far_reader, far = await asyncio.open_connection(host, port)
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                far.write(_once(head, f"{method} {path} {version}"))
            await _both(reader, far, far_reader, writer)
        finally:
            far.close()


def _once(head: bytes, first: str) -> bytes:
    """The head with this first line, for a connection that ends with its answer."""
    lines = head.split(b"\r\n")[1:-2]
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"proxy-"))]
    return b"\r\n".join([first.encode("ascii"), *kept, b"Connection: close", b"", b""])


async def _both(
    near: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
    far: asyncio.StreamReader,
    near_writer: asyncio.StreamWriter,
) -> None:
    """Carries bytes until the outside ends."""
    out = asyncio.create_task(_carry(near, far_writer))
    try:
        await _carry(far, near_writer)
    finally:
        out.cancel()
        await asyncio.gather(out, return_exceptions=True)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()


@contextlib.asynccontextmanager
async def opened(gap: AirGap) -> AsyncIterator[Gate | None]:
    """The gate for one installer; none where there is no air gap."""
    if not gap.on:
        yield None
        return
    gate = Gate(gap)
    try:
        yield gate
    finally:
        gate.close()


def inherited(gate: Gate | None) -> tuple[int, ...]:
    """What the installer's process gets beyond its three."""
    if gate is None:
        return ()
    os.set_inheritable(gate.descriptor, True)
    return (gate.descriptor,)
