"""Readiness answers at once, also when the database says nothing at all."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from tests.workspaces.world import World
from worka.api.app import create
from worka.kernel.settings import Settings
from worka.workers.wiring import Runtime


async def ask(world: World, url: str) -> tuple[int, dict[str, Any], float]:
    """(status, body, seconds) of /readyz with this database."""
    runtime = Runtime(Settings(home=world.settings.home, database={"url": url}), "serve")  # type: ignore[arg-type]
    await runtime.db.open()
    try:
        transport = httpx.ASGITransport(app=create(runtime))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as door:
            assert (await door.get("/livez")).status_code == 200  # the first request builds what it passes through
            began = time.monotonic()
            answer = await door.get("/readyz?verbose=true")
            return answer.status_code, answer.json(), time.monotonic() - began
    finally:
        await runtime.db.close()


async def test_a_database_that_accepts_and_says_nothing_makes_the_door_unready_at_once(
    world: World, cluster: Any
) -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        status, body, took = await ask(world, f"postgresql://worka_app:x@127.0.0.1:{port}/worka")
    finally:
        server.close()
    assert status == 503
    assert took < 5.0, "as long as a connection itself may take"
    assert body["checks"]["database"]["state"] == "down"
    assert body["checks"]["database"]["remedy"]
    status, body, _ = await ask(world, cluster.urls.app)
    assert (status, body["checks"]["database"]["state"]) == (200, "healthy")
