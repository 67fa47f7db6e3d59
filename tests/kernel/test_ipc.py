"""Calls between our own processes, when there are more at once than the other side takes."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

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
