"""Calls between our own processes, when there are more at once than the other side takes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from worka.kernel import ipc


async def test_calls_wait_while_the_other_sides_queue_is_full(tmp_path: Path) -> None:
    path = tmp_path / "busy.sock"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen(1)
    listening.setblocking(False)
    calls = [asyncio.create_task(ipc.call_unix(path, "echo", {"n": n}, timeout=20)) for n in range(20)]
    await asyncio.sleep(0.3)
    assert not any(call.done() for call in calls), "a call gave up on a queue that was only full"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await ipc.read_frame(reader)
        writer.write(ipc.frame({"ok": True, "value": request["args"]["n"]}))
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=listening)
    try:
        assert await asyncio.gather(*calls) == list(range(20))
    finally:
        server.close()


async def test_four_hundred_calls_at_once_are_all_answered(tmp_path: Path) -> None:
    async def handler(op: str, args: dict[str, int], _trace: str | None) -> int:
        await asyncio.sleep(0.01)
        return args["n"]

    server = await ipc.serve_unix(tmp_path / "host.sock", handler)
    try:
        found = await asyncio.gather(*(ipc.call_unix(tmp_path / "host.sock", "echo", {"n": n}) for n in range(400)))
    finally:
        server.close()
    assert found == list(range(400))
    assert len(os.listdir("/proc/self/fd")) < 400, "connections were left open"


async def test_a_connection_serves_the_next_call_and_is_closed_when_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "host.sock"

    async def handler(op: str, args: dict[str, int], _trace: str | None) -> int:
        return args["n"]

    def sockets() -> list[str]:
        found = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                found += [fd] if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:") else []
            except OSError:
                continue
        return found

    server = await ipc.serve_unix(path, handler)
    try:
        before = len(sockets())
        assert [await ipc.call_unix(path, "echo", {"n": n}) for n in range(20)] == list(range(20))
        assert len(sockets()) == before + 2, "both ends of one connection"
        async with asyncio.timeout(5):
            while len(sockets()) > before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        server.close()


async def test_a_process_that_was_started_anew_is_reached_at_once(tmp_path: Path) -> None:
    """What was kept leads to the one that is gone: its end is seen before a request is sent there."""
    serve = (
        "import asyncio, os, sys; from pathlib import Path; from worka.kernel import ipc\n"
        "async def answer(op, args, trace): return os.getpid()\n"
        "async def main():\n    await ipc.serve_unix(Path(sys.argv[1]), answer); print('up', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    path = tmp_path / "host.sock"
    answers = []
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", serve, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            answers.append((await ipc.call_unix(path, "pid", {}), process.pid))
            process.kill()
    assert answers == [(pid, pid) for _, pid in answers]
    with pytest.raises(ipc.PeerUnavailable):
        await ipc.call_unix(path, "pid", {})
