"""Calls between our own processes on one machine: a unix socket, 4-byte big-endian length + JSON, one call a connection.

Request `{"op", "args", "traceparent"}`; answer `{"ok": true, "value"}` or `{"ok": false, "problem": problem+json}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from worka.kernel.errors import Problem, Unavailable, from_body

MAX_FRAME = 64 * 1024 * 1024
Handler = Callable[[str, dict[str, Any], str | None], Awaitable[Any]]
log = logging.getLogger("worka.ipc")


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
    body = json.dumps(value, ensure_ascii=False).encode()
    return struct.pack(">I", len(body)) + body


def peer_uid(sock: socket.socket) -> int:
    """The uid of the process at the other end of a unix socket, as the kernel knows it."""
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


async def serve_unix(path: Path, handler: Handler, *, mode: int = 0o600) -> asyncio.Server:
    """Serves calls from processes of our own uid (and root); others are cut off."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if peer_uid(writer.get_extra_info("socket")) not in (os.geteuid(), 0):
                return
            request = await read_frame(reader)
            try:
                value = await handler(
                    str(request.get("op")), dict(request.get("args") or {}), request.get("traceparent")
                )
                answer: dict[str, Any] = {"ok": True, "value": value}
            except Problem as problem:
                answer = {"ok": False, "problem": problem.body()}
            except Exception:
                log.exception("call %s failed", request.get("op"))
                answer = {"ok": False, "problem": Problem("The call failed inside; see the process's log.").body()}
            writer.write(frame(answer))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    # The kernel cuts it to what it allows; asyncio's own 100 is less than a busy moment.
    server = await asyncio.start_unix_server(serve, path=str(path), backlog=4096)
    os.chmod(path, mode)
    return server


async def connect_unix(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connects, waiting while the other side's queue is full: asyncio takes that answer (EAGAIN) for a connection under
    way, and the call then fails on a socket that never was connected."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(str(path))
                break
            except BlockingIOError:
                await asyncio.sleep(0.005)
        return await asyncio.open_unix_connection(sock=sock)
    except BaseException:
        sock.close()
        raise


async def call_unix(
    path: Path, op: str, args: dict[str, Any], *, timeout: float = 60.0, traceparent: str | None = None
) -> Any:
    """Calls another process. Raises the Problem it answered, or PeerUnavailable."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await connect_unix(path)
            try:
                writer.write(frame({"op": op, "args": args, "traceparent": traceparent}))
                await writer.drain()
                answer = await read_frame(reader)
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        name = path.name.removesuffix(".sock")
        raise PeerUnavailable(
            f"The {name} process did not answer {op}: {type(error).__name__}.", process=name
        ) from error
    if not answer.get("ok"):
        raise from_body(dict(answer.get("problem") or {}))
    return answer.get("value")
