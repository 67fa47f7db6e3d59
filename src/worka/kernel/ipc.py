"""Calls between our own processes on one machine: a unix socket, 4-byte big-endian length + JSON, one call at a time on a
connection, which stays open for the next for a second.

Request `{"op", "args", "traceparent"}`; answer `{"ok": true, "value"}` or `{"ok": false, "problem": problem+json}`, with
`"stays": true` from a server that reads on. It is the caller who closes: a server that did could meet a request on its
way, and nobody could say whether it was done.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from worka.kernel.errors import Problem, Unavailable, from_body

MAX_FRAME = 64 * 1024 * 1024
Handler = Callable[[str, dict[str, Any], str | None], Awaitable[Any]]
log = logging.getLogger("worka.ipc")
_IDLE_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_MOST_IDLE = 32
_CHUNK = 256 * 1024


class PeerUnavailable(Unavailable):
    """Another of our processes does not answer."""

    code = "process_unavailable"
    title = "A process of Worka does not answer"


async def read_frame(reader: asyncio.StreamReader) -> dict[str, Any]:
    """One frame. Raises IncompleteReadError at the end, ValueError for one too long or not an object."""
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > MAX_FRAME:
        raise ValueError("frame too long")
    value = json.loads(await reader.readexactly(length))
    if not isinstance(value, dict):
        raise ValueError("frame is not an object")
    return value


def frame(value: Any) -> bytes:
    """The bytes of one frame."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return struct.pack(">I", len(body)) + body


def peer_uid(sock: socket.socket) -> int:
    """The uid of the process at the other end of a unix socket, as the kernel knows it."""
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


async def _answer(handler: Handler, request: dict[str, Any]) -> dict[str, Any]:
    try:
        value = await handler(str(request.get("op")), dict(request.get("args") or {}), request.get("traceparent"))
        return {"ok": True, "value": value, "stays": True}
    except Problem as problem:
        return {"ok": False, "problem": problem.body(), "stays": True}
    except Exception:
        log.exception("call %s failed", request.get("op"))
        failed = Problem("The call failed inside; see the process's log.")
        return {"ok": False, "problem": failed.body(), "stays": True}


def _framed(answer: dict[str, Any], op: Any) -> bytes:
    """The answer, or that it is none that can be sent: cut off instead, the caller would think that we are not there."""
    try:
        if len(sent := frame(answer)) <= 4 + MAX_FRAME:
            return sent
        log.error("the answer to %s is larger than a frame", op)
        problem = Problem("The answer is larger than a message between processes may be.")
    except ValueError:
        log.exception("the answer to %s cannot be written", op)
        problem = Problem("The answer cannot be written as JSON; see the process's log.")
    return frame({"ok": False, "problem": problem.body(), "stays": True})


Stream = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _attended(reader: asyncio.StreamReader, answering: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
    """The answer, while somebody waits for it; what nobody waits for any more is cancelled. Raises ConnectionError then."""
    try:
        while not answering.done():
            await asyncio.wait({answering}, timeout=_LOOK_SECONDS)
            if not answering.done() and reader.at_eof():
                raise ConnectionError("the caller went away")
        return answering.result()
    finally:
        if not answering.done():
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


async def serve_unix(
    path: Path, handler: Handler, *, mode: int = 0o600, given_up: frozenset[str] = frozenset()
) -> asyncio.Server:
    """Serves calls from processes of our own uid (and root); others are cut off. The operations of `given_up` are cancelled
    when their caller goes away; the others go on to their end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await read_frame(reader)
                work = _answer(handler, request)
                if request.get("op") in given_up:
                    work = _attended(reader, asyncio.create_task(work))
                writer.write(_framed(await work, request.get("op")))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass

    return await serve_streams(path, serve, mode=mode)


async def serve_streams(path: Path, handler: Stream, *, mode: int = 0o600) -> asyncio.Server:
    """Serves connections from processes of our own uid (and root), which the handler reads as it likes."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if peer_uid(writer.get_extra_info("socket")) in (os.geteuid(), 0):
                await handler(reader, writer)
        finally:
            writer.close()

    # The name appears once it is served: whoever saw it between bind and listen was refused.
    beside = path.with_name(f"{path.name}~")
    # The kernel cuts it to what it allows; asyncio's own 100 is less than a busy moment.
    server = await asyncio.start_unix_server(serve, path=str(beside), backlog=4096)
    os.chmod(beside, mode)
    beside.rename(path)
    return server


async def _connect(path: Path) -> socket.socket:
    """Connects, waiting while the other side's queue is full: asyncio takes that answer (EAGAIN) for a connection under
    way, and the call then fails on a socket that never was connected."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(str(path))
                return sock
            except BlockingIOError:
                await asyncio.sleep(0.005)
    except BaseException:
        sock.close()
        raise


class _Kept:
    """Connections between two calls. Plain sockets, which belong to no event loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.idle: dict[str, list[tuple[socket.socket, float]]] = {}
        atexit.register(self.close, float("inf"))

    def take(self, path: Path) -> socket.socket | None:
        """The one used last, if it is not too old and the other side has not gone away."""
        self.close(time.monotonic() - _IDLE_SECONDS)
        idle = self.idle.get(str(path), [])
        while idle:
            sock, _ = idle.pop()
            try:
                sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return sock  # nothing to read, and no end: as it should be
            except OSError:
                pass
            sock.close()
        return None

    def give(self, path: Path, sock: socket.socket) -> None:
        """Kept for a second; of very many only some."""
        idle = self.idle.setdefault(str(path), [])
        if len(idle) >= _MOST_IDLE:
            idle.pop(0)[0].close()
        idle.append((sock, time.monotonic()))
        # A process that calls no more keeps none either.
        asyncio.get_running_loop().call_later(1.1 * _IDLE_SECONDS, lambda: self.close(time.monotonic() - _IDLE_SECONDS))

    def close(self, before: float) -> None:
        """Closes what was used last before then. A forked child lets its parent's be."""
        if self.pid != os.getpid():
            self.pid, self.idle = os.getpid(), {}
        for path, idle in list(self.idle.items()):
            # In order of their last use.
            while idle and idle[0][1] < before:
                idle.pop(0)[0].close()
            if not idle:
                del self.idle[path]


_kept = _Kept()


async def _exchange(sock: socket.socket, request: bytes) -> dict[str, Any]:
    """Raises EOFError when the other side closes, ValueError for what is no frame."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request)
    found, wanted = bytearray(), 4
    while len(found) < wanted:
        chunk = await loop.sock_recv(sock, _CHUNK)
        if not chunk:
            raise EOFError
        found += chunk
        if wanted == 4 and len(found) >= 4:
            (length,) = struct.unpack_from(">I", found)
            if length > MAX_FRAME:
                raise ValueError("frame too long")
            wanted = 4 + length
    value = json.loads(found[4:wanted])
    if not isinstance(value, dict):
        raise ValueError("frame is not an object")
    return value


async def call_unix(
    path: Path, op: str, args: dict[str, Any], *, timeout: float = 60.0, traceparent: str | None = None
) -> Any:
    """Calls another process. Raises the Problem it answered, or PeerUnavailable."""
    request = frame({"op": op, "args": args, "traceparent": traceparent})
    try:
        async with asyncio.timeout(timeout):
            sock = _kept.take(path) or await _connect(path)
            stays = False
            try:
                answer = await _exchange(sock, request)
                stays = answer.get("stays") is True
            finally:
                if stays:
                    _kept.give(path, sock)
                else:
                    sock.close()
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        name = path.name.removesuffix(".sock")
        raise PeerUnavailable(
            f"The {name} process did not answer {op}: {type(error).__name__}.", process=name
        ) from error
    if not answer.get("ok"):
        raise from_body(dict(answer.get("problem") or {}))
    return answer.get("value")
