"""What one attachment may use of the outside, what a failing outside costs, and that others do not notice."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.broker import others
from tests.broker.others import Ca
from tests.broker.world import HOST, Outside, World, code, make_world
from worka.kernel.db import Database

pytestmark = pytest.mark.asyncio
URL = f"https://{HOST}/issues"


@pytest.mark.capability("BRK-13")
async def test_requests_of_a_minute_are_held_to_the_manifest_and_said_with_a_time(world: World) -> None:
    await world.declare(HOST, limits={"requests_per_minute": 3})
    await world.exempt(HOST, 443, world.outside.tracker)
    box = await world.box()
    async with box.invoking() as call:
        first = [(await box.fetch(URL))["status"] for _ in range(3)]
        refused = await box.fetch(URL)
    assert first == [401] * 3
    assert (refused["status"], code(refused)) == (429, "rate_exceeded")
    assert 0 < int(refused["headers"]["retry-after"]) <= 20
    async with box.invoking():
        again = await box.fetch(URL)
    assert code(again) == "rate_exceeded", "another call of the attachment gets no minute of its own"
    assert len(world.outside.requests) == 3
    rows = {row["reason"]: row["count"] for row in await world.egress(call.id)}
    assert rows == {"allowed": 3, "rate_exceeded": 1}


async def test_requests_at_once_and_bytes_of_a_call_are_held(world: World) -> None:
    await world.declare(HOST, limits={"at_once": 1, "call_mb": 1})
    await world.exempt(HOST, 443, world.outside.tracker)
    one, two = await world.box(), await world.box()
    async with one.invoking("write") as call, two.invoking() as beside:
        slow = asyncio.create_task(one.fetch(f"https://{HOST}/slow"))
        await asyncio.to_thread(world.outside.reached.wait, 5)
        refused = await two.fetch(URL)
        assert (await slow)["status"] == 401
        after = await two.fetch(URL)
        up = await one.fetch(URL, method="POST", body_size=4 << 20)
        down = await two.fetch(f"https://{HOST}/big")
    assert (code(refused), after["status"]) == ("limit_exceeded", 401)
    assert "error" in up or code(up) == "limit_exceeded"
    assert down["error"] == "IncompleteRead"
    for one_call in (call, beside):
        assert "limit_exceeded" in {row["reason"] for row in await world.egress(one_call.id)}


async def test_bytes_of_a_day_are_what_the_rows_say_after_a_restart(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    async with make_world(db, outside, tmp_path) as world:
        await world.declare(HOST, limits={"day_mb": 21})
        await world.exempt(HOST, 443, outside.tracker)
        box = await world.box()
        async with box.invoking():
            assert (await box.fetch(f"https://{HOST}/big"))["size"] == 20 << 20
        await box.stop()
        await world.broker.close()
        # As after a restart: nothing of today is in memory.
        world.broker._meters._by_id.clear()
        await world.broker.start()
        box = await world.box()
        async with box.invoking():
            assert (await box.fetch(URL))["status"] == 401, "a mebibyte is left"
            cut = await box.fetch(f"https://{HOST}/big")
        async with box.invoking():
            refused = await box.fetch(URL)
        assert cut["error"] == "IncompleteRead"
        assert (refused["status"], code(refused)) == (429, "daily_limit_exceeded")


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a byte at a time, without end."""
    await others.head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.1)


async def test_drips_both_ways_end_at_the_deadline(world: World, tmp_path: Path) -> None:
    ca = Ca("outside")
    async with others.outside(tmp_path, drip, ca.pair(HOST)) as port:
        await world.declare(HOST, "tracker2.worka.test", limits={"exchange_seconds": 1})
        await world.exempt(HOST, 443, port, ca_pem=ca.pem)
        await world.exempt("tracker2.worka.test", 443, world.outside.tracker)
        box = await world.box()
        slowly = (
            "import http.client,ssl,time,sys\n"
            "c=http.client.HTTPSConnection('tracker2.worka.test',context=ssl.create_default_context())\n"
            "def body():\n"
            "  for n in range(100):\n"
            "    yield b'x'\n"
            "    time.sleep(0.1)\n"
            "try:\n"
            "  c.request('POST','/issues',body(),encode_chunked=True)\n"
            "  print(c.getresponse().status)\n"
            "except OSError as error: print(type(error).__name__)\n"
        )
        async with box.invoking("write") as call:
            began = time.monotonic()
            down = await box.fetch(f"https://{HOST}/")
            middle = time.monotonic()
            await box.do("run", argv=["python3", "-c", slowly])
            ended = time.monotonic()
    assert down["error"]
    assert middle - began < 4
    assert ended - middle < 8
    rows = {row["host"]: row for row in await world.egress(call.id)}
    assert {row["reason"] for row in rows.values()} == {"exchange_too_long"}
    assert all(900 < row["duration_ms"] < 3000 for row in rows.values())


async def test_a_head_that_drips_is_cut_and_holds_up_nobody(world: World) -> None:
    await world.declare(HOST)
    await world.exempt(HOST, 80, world.outside.plain)
    box, other = await world.box(), await world.box()
    drips = (
        f"import socket,time\ns=socket.create_connection(('{HOST}',80))\ns.sendall(b'GET / HTTP/1.1\\r\\n')\n"
        "began=time.time()\n"
        "try:\n"
        "  while time.time()-began<20:\n"
        "    s.sendall(b'X: y\\r\\n')\n"
        "    time.sleep(0.2)\n"
        "    s.setblocking(False)\n"
        "    try:\n"
        "      if not s.recv(100): break\n"
        "    except BlockingIOError: pass\n"
        "    s.setblocking(True)\n"
        "except OSError: pass\n"
        "print(time.time()-began)\n"
    )
    async with box.invoking(), other.invoking():
        dripping = asyncio.create_task(box.do("run", argv=["python3", "-c", drips]))
        assert (await other.fetch(f"http://{HOST}/issues"))["status"] == 401
        lasted = float((await dripping)["out"])
    assert 4 < lasted < 9, "head_seconds is 5 in this world"


async def failing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a request and hangs up."""
    await others.head(reader)


@pytest.mark.capability("BRK-6", "BRK-12")
async def test_an_outside_that_fails_again_and_again_is_not_asked_for_a_while(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    working = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await others.head(reader)
        if working:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with (
        others.outside(tmp_path, serve, None) as port,
        make_world(db, outside, tmp_path, circuit_failures=3, circuit_seconds=1.0) as world,
    ):
        await world.declare(HOST)
        await world.exempt(HOST, 80, port)
        box = await world.box()
        url = f"http://{HOST}/"
        async with box.invoking() as call:
            failed = [code(await box.fetch(url)) for _ in range(3)]
            refused = await box.fetch(url)
            await asyncio.sleep(1.1)
            tried = code(await box.fetch(url))
            longer = await box.fetch(url)
            working = True
            await asyncio.sleep(2.1)
            again = [(await box.fetch(url)).get("text") for _ in range(2)]
        assert [*failed, tried] == ["upstream_malformed"] * 4
        assert (refused["status"], code(refused)) == (503, "circuit_open")
        assert "3 requests failed (upstream_malformed)" in json.loads(refused["text"])["detail"]
        assert (refused["headers"]["retry-after"], longer["headers"]["retry-after"]) == ("1", "2")
        assert again == ["ok", "ok"]
        kinds = [entry.type for entry in world.notebook.entries if entry.type.startswith("broker.circuit")]
        assert kinds == ["broker.circuit.opened", "broker.circuit.opened", "broker.circuit.closed"]
        rows = {row["reason"]: row for row in await world.egress(call.id)}
        assert (rows["circuit_open"]["verdict"], rows["circuit_open"]["count"]) == ("denied", 2)


@pytest.mark.capability("BRK-6", part="an outside that answers later than a pack waits")
async def test_an_outside_that_is_always_slower_than_the_pack_waits_is_not_asked_for_a_while(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    heard = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        await others.head(reader)
        heard += 1
        await reader.read()

    async with (
        others.outside(tmp_path, silent, None) as port,
        make_world(db, outside, tmp_path, circuit_failures=2, unanswered_seconds=0.6) as world,
    ):
        await world.declare(HOST)
        await world.exempt(HOST, 80, port)
        box = await world.box()

        async def waits(seconds: float) -> tuple[dict[str, Any], str]:
            async with box.invoking() as call:
                return await box.fetch(f"http://{HOST}/", timeout=seconds), call.id

        for _ in range(3):
            hasty, _ = await waits(0.1)
            assert "error" in hasty, "the control: whoever leaves at once says nothing of the outside"
        heard = 0
        first, _ = await waits(1.0)
        second, given_up = await waits(1.0)
        refused, _ = await waits(1.0)
        assert ("error" in first, "error" in second, heard) == (True, True, 2)
        assert (refused["status"], code(refused)) == (503, "circuit_open")
        assert "2 requests failed (upstream_timeout)" in json.loads(refused["text"])["detail"]
        (row,) = await world.egress(given_up)
        assert row["reason"] in ("invocation_ended", "answer_not_taken"), "the row says who ended it"
        kinds = [entry.type for entry in world.notebook.entries if entry.type.startswith("broker.circuit")]
        assert kinds == ["broker.circuit.opened"]


async def test_the_circuit_of_one_tenant_is_no_other_tenants(db: Database, outside: Outside, tmp_path: Path) -> None:
    async with (
        others.outside(tmp_path, failing, None) as port,
        make_world(db, outside, tmp_path / "a", circuit_failures=1) as world,
    ):
        await world.declare(HOST)
        await world.exempt(HOST, 80, port)
        box = await world.box()
        async with box.invoking():
            codes = [code(await box.fetch(f"http://{HOST}/")) for _ in range(2)]
        assert codes == ["upstream_malformed", "circuit_open"]
        circuits = world.broker._circuits
        now = time.monotonic()
        assert circuits.of(world.tenant_id, HOST, 80).state(now) == "open"
        assert circuits.of("ten_other", HOST, 80).state(now) == "closed"


FLOOD = """
import socket, sys, time
held, refused = [], 0
for n in range(%d):
    s = socket.socket()
    s.settimeout(2)
    try:
        s.connect(("%s", 80))
        held.append(s)
    except OSError:
        refused += 1
print(len(held), flush=True)
time.sleep(%d)
"""


async def test_ten_thousand_open_connections_of_one_pack_do_not_stop_another(world: World) -> None:
    """The sandbox may open as many as it likes; what the broker keeps of them is bounded."""
    await world.declare(HOST)
    await world.exempt(HOST, 80, world.outside.plain)
    flooding, other = await world.box(), await world.box()
    took: list[float] = []

    async def asked() -> dict[str, Any]:
        began = time.monotonic()
        found = await other.fetch(f"http://{HOST}/issues")
        took.append(time.monotonic() - began)
        return found

    async with flooding.invoking(), other.invoking():
        before = [(await asked())["status"] for _ in range(5)]
        flood = asyncio.create_task(
            flooding.do("run", argv=["sh", "-c", f"ulimit -n 20000; exec python3 -c '{FLOOD % (10_000, HOST, 2)}'"])
        )
        during = []
        while not flood.done():
            during.append((await asked())["status"])
        opened = int((await flood)["out"] or 0)
        status = await world.call("status")
    assert opened >= 9_000
    assert set(before) | set(during) == {401}
    assert len(during) >= 5
    assert max(took) < 3
    assert all(session["connections"] <= 2 * world.broker.limits.connections for session in status["sessions"])
