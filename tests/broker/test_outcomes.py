"""How a request that was let out can end: each cause on a real socket, in the egress row and in the pack's answer."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.broker.world import HOST, INJECT, TOKEN, Box, Outside, World, code, make_world
from worka.kernel.context import Context
from worka.kernel.db import Database
from worka.kernel.errors import Unavailable

pytestmark = pytest.mark.asyncio
Handle = Callable[[Any], None]


@asynccontextmanager
async def answering(
    db: Database, outside: Outside, home: Path, handle: Handle, *, inject: Any = None, **limits: Any
) -> AsyncIterator[tuple[World, Box]]:
    """A box whose pack declares one plain-HTTP host; whoever listens there does what `handle(connection)` says."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65_536)
                handle(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            async with make_world(db, outside, home, **limits) as world:
                await world.declare({"host": HOST, "port": 80}, connections=inject or [])
                await world.exempt(HOST, 80, server.server_address[1])
                if inject:
                    await world.connect(port=80)
                yield world, await world.box()
        finally:
            server.shutdown()


def silent(_connection: Any) -> None:
    time.sleep(4)


def nonsense(connection: Any) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def large(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"x" * 4000)


def coded(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: x-own\r\nContent-Length: 4\r\n\r\nabcd")


def fine(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def dripping(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n")
    for _ in range(20):
        connection.sendall(b"y" * 20_000)
        time.sleep(0.1)


PLAIN: list[Any] = [{**INJECT[0], "inject": {**INJECT[0]["inject"], "host": HOST}}]  # type: ignore[dict-item]


@pytest.mark.capability("BRK-6")
@pytest.mark.parametrize(
    ("handle", "reason", "credential", "limits"),
    [
        (silent, "upstream_timeout", False, {"idle_seconds": 1}),
        (nonsense, "upstream_malformed", False, {}),
        (large, "limit_exceeded", False, {"body_bytes": 1000}),
        (coded, "answer_unscannable", True, {}),
    ],
    ids=["silent", "no-http", "too-large", "unknown-coding"],
)
async def test_an_answer_that_does_not_come_in_is_told_apart_by_its_cause(
    db: Database,
    outside: Outside,
    tmp_path: Path,
    handle: Handle,
    reason: str,
    credential: bool,
    limits: dict[str, Any],
) -> None:
    async with answering(db, outside, tmp_path / "a", handle, inject=PLAIN if credential else None, **limits) as (
        world, box,
    ):  # fmt: skip
        async with box.invoking() as call:
            found = await box.fetch(f"http://{HOST}/issues")
        (row,) = await world.egress(call.id)
        assert (row["verdict"], row["reason"]) == ("allowed", reason)
        assert code(found) == reason or found.get("error")
        assert TOKEN not in str(found)
    # The positive control: the same road, and an outside that answers.
    async with (
        answering(db, outside, tmp_path / "b", fine, inject=PLAIN if credential else None, **limits) as (world, box),
        box.invoking(),
    ):
        assert (await box.fetch(f"http://{HOST}/issues"))["text"] == "ok"


async def test_a_pack_that_leaves_before_the_answer_is_complete_is_named(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    async with answering(db, outside, tmp_path, dripping) as (world, box):
        async with box.invoking() as call:
            await box.do("run", argv=["timeout", "0.5", "curl", "-s", "--max-time", "0.5", f"http://{HOST}/issues"])
            await asyncio.sleep(2.5)
        (row,) = await world.egress(call.id)
        assert row["reason"] == "answer_not_taken"


async def test_a_template_without_a_value_sends_nothing(db: Database, outside: Outside, tmp_path: Path) -> None:
    asked = {
        **INJECT[0],
        "inject": {"host": HOST, "header": "X-Account", "template": "{{connection.metadata.account}}"},
    }
    async with answering(db, outside, tmp_path, fine, inject=[asked]) as (world, box):
        async with box.invoking() as call:
            found = await box.fetch(f"http://{HOST}/issues")
        assert code(found) == "template_error"
        (row,) = await world.egress(call.id)
        assert (row["verdict"], row["reason"]) == ("denied", "template_error")
        await world.execute('update worka.connection set metadata = \'{"account": "acme"}\'')
        async with box.invoking():
            assert (await box.fetch(f"http://{HOST}/issues"))["text"] == "ok"


async def test_a_secret_that_cannot_be_opened_sends_nothing(
    db: Database, outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(db, outside, tmp_path, fine, inject=PLAIN) as (world, box):
        with monkeypatch.context() as patched:

            async def closed(_ctx: Context, **_asked: Any) -> Any:
                raise Unavailable("The treasury does not open it.")

            patched.setattr(world.treasury, "lease", closed)
            async with box.invoking() as call:
                found = await box.fetch(f"http://{HOST}/issues")
            assert code(found) == "secret_unavailable"
            (row,) = await world.egress(call.id)
            assert (row["verdict"], row["reason"]) == ("denied", "secret_unavailable")
        async with box.invoking():
            assert (await box.fetch(f"http://{HOST}/issues"))["text"] == "ok"
