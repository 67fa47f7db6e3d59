"""Calls between our own processes, when there are more at once than the other side takes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

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

    before = len(os.listdir("/proc/self/fd"))
    server = await ipc.serve_unix(tmp_path / "host.sock", handler)
    try:
        found = await asyncio.gather(*(ipc.call_unix(tmp_path / "host.sock", "echo", {"n": n}) for n in range(400)))
        assert found == list(range(400))
        # The server's ends are closed as its loop comes to read that the callers' are.
        async with asyncio.timeout(10):
            while len(os.listdir("/proc/self/fd")) > before + 10:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        server.close()


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


async def test_a_name_that_is_there_is_served(tmp_path: Path) -> None:
    """Found by the suite: between bind and listen the name was there already, and who called then was refused."""
    path, refused, seen = tmp_path / "early.sock", 0, threading.Event()

    async def echo(_op: str, args: dict[str, Any], _traceparent: str | None) -> Any:
        return args

    def watch() -> None:
        nonlocal refused
        while not seen.is_set():
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except FileNotFoundError:
                    continue
                except ConnectionRefusedError:
                    refused += 1
            while path.exists() and not seen.is_set():
                time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(50):
            server = await ipc.serve_unix(path, echo)
            assert await ipc.call_unix(path, "echo", {"n": 1}) == {"n": 1}, "the control"
            path.unlink()  # nobody finds it any more; then it may end
            await asyncio.sleep(0.01)
            server.close()
    finally:
        seen.set()
        await asyncio.to_thread(watcher.join)
    assert refused == 0


@pytest.mark.parametrize("answer", [b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x02{]", b"\xff\xff\xff\xff", b"\x00\x00"])
async def test_an_answer_that_is_none_is_a_process_that_does_not_answer(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "host.sock"

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ipc.read_frame(reader)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(babble, path=str(path))
    try:
        with pytest.raises(ipc.PeerUnavailable, match="The host process did not answer echo"):
            await ipc.call_unix(path, "echo", {})
        with pytest.raises(UnicodeEncodeError):  # what cannot be asked is the caller's fault, and is not sent
            await ipc.call_unix(path, "echo", {"text": "\ud800"})
    finally:
        server.close()

    async def handler(op: str, args: dict[str, int], _trace: str | None) -> str:
        return op

    server = await ipc.serve_unix(path, handler)
    try:
        assert await ipc.call_unix(path, "echo", {}) == "echo", "the control"
    finally:
        server.close()
