"""The host's side of the launcher's socket: one connection is one sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BUFFER = 256 * 1024
_START_SECONDS = 20.0


class Refused(Exception):
    """The launcher did not start it: `reason`, and the `remedy` to show."""

    def __init__(self, reason: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.reason, self.message, self.remedy = reason, message, remedy


@dataclass
class Sandbox:
    """A started pack: its pipes (ours to close), what isolates it, and a future of how it ended."""

    conn: socket.socket
    pid: int
    isolation: dict[str, Any]
    stdin: int
    stdout: int
    stderr: int
    exit: asyncio.Future[dict[str, Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def watch(self) -> None:
        """Begins to listen for the end."""
        asyncio.get_running_loop().add_reader(self.conn.fileno(), self._heard)

    def _heard(self) -> None:
        try:
            message = self.conn.recv(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not self.exit.done():
            report = _parse(message)
            # An end without a report: the launcher itself died, and took the sandbox with it.
            self.exit.set_result(report or {"exited": None, "signal": 9, "oom": False, "set_up": True, "lost": True})
        if not message:
            self._deaf()

    def _deaf(self) -> None:
        if self.conn.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.conn.fileno())

    def kill(self) -> None:
        """Ends the sandbox and everything in it: the launcher kills the group when the connection closes."""
        if self.conn.fileno() >= 0:
            self._deaf()
            self.conn.close()
        if not self.exit.done():
            self.exit.set_result({"exited": None, "signal": 9, "oom": False, "set_up": True, "by_us": True})


def _parse(message: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        value = json.loads(message)
        if isinstance(value, dict):
            return value
    return {}


def _connect(path: Path) -> socket.socket:
    conn = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        conn.settimeout(2)
        conn.connect(str(path))
        conn.setblocking(False)
    except OSError as error:
        conn.close()
        raise Refused("sandbox_unavailable", f"The launcher does not answer: {error}.", "worka doctor") from error
    return conn


async def _receive(conn: socket.socket) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_START_SECONDS):
            return _parse(await loop.sock_recv(conn, _BUFFER))
    except (TimeoutError, OSError) as error:
        raise Refused("sandbox_unavailable", "The launcher did not answer in time.", "worka doctor") from error


async def start(path: Path, spec: dict[str, Any]) -> Sandbox:
    """Asks the launcher for a sandbox. Raises Refused."""
    conn = _connect(path)
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    (their_in, stdin), (stdout, their_out), (stderr, their_err) = pipes
    try:
        try:
            socket.send_fds(conn, [json.dumps(spec).encode()], [their_in, their_out, their_err])
        except OSError as error:
            raise Refused("sandbox_unavailable", f"The launcher was not reached: {error}.", "worka doctor") from error
        finally:
            for fd in (their_in, their_out, their_err):
                os.close(fd)
        answer = await _receive(conn)
        if "started" not in answer:
            if "refused" in answer:
                raise Refused(str(answer["refused"]), str(answer.get("message")), str(answer.get("remedy") or ""))
            said = _last_words(stderr)
            raise Refused(
                "sandbox_unavailable",
                f"The sandbox could not be made: {said or 'the launcher went away'}.",
                "worka doctor",
            )
        sandbox = Sandbox(conn, int(answer["started"]), dict(answer.get("isolation") or {}), stdin, stdout, stderr)
        sandbox.watch()
        return sandbox
    except BaseException:
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        conn.close()
        raise


def _last_words(stderr: int) -> str:
    os.set_blocking(stderr, False)
    with contextlib.suppress(OSError):
        return os.read(stderr, 4096).decode(errors="replace").strip()[-500:]
    return ""


async def check(path: Path) -> dict[str, Any]:
    """What isolation the launcher has in force; `{"driver": "none", "message", "remedy"}` when it does not answer."""
    try:
        conn = _connect(path)
    except Refused as refused:
        return {"driver": "none", "message": refused.message, "remedy": refused.remedy}
    try:
        conn.send(b'{"op": "check"}')
        return await _receive(conn)
    except (Refused, OSError) as error:
        return {"driver": "none", "message": str(error), "remedy": "worka doctor"}
    finally:
        conn.close()
