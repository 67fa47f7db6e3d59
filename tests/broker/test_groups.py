"""Requests of one call to one place, one after another and at once: one statement for what they write, and few connections."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.broker.test_kills import lift, stop
from tests.broker.world import HOST, World
from worka.broker import store
from worka.governance import kills
from worka.kernel.ids import new_id

pytestmark = pytest.mark.asyncio
# What a client sends over connections that it keeps: `callers` at once, `times` each.
CALLERS = """
import http.client, json, sys, threading, time
host, callers, times, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
found, ready = [], threading.Barrier(callers)
def one(number):
    connection = http.client.HTTPConnection(host, timeout=20)
    for turn in range(times):
        ready.wait()
        connection.request("GET", f"/{number}/{turn}")
        answer = connection.getresponse()
        found.append([answer.status, answer.read().decode()])
        time.sleep(pause)
threads = [threading.Thread(target=one, args=(number,)) for number in range(callers)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(json.dumps(found))
"""


class Counter:
    """An outside of HTTP/1.1 that keeps its connections, and counts them. It answers when `together` asked."""

    def __init__(self, together: int) -> None:
        self.connections, self.barrier = 0, threading.Barrier(together)


@contextmanager
def counting(together: int = 1) -> Iterator[tuple[Counter, int]]:
    counter = Counter(together)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            counter.connections += 1
            while line := self.rfile.readline():
                while self.rfile.readline().strip():
                    pass
                counter.barrier.wait(10)
                path = line.split()[1]
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address, request_queue_size = True, True, 64

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield counter, server.server_address[1]
        finally:
            server.shutdown()


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each statement that let requests go answered; an outcome alone is not asked about."""
    answers: list[bool] = []
    real = store.again

    async def watched(*args: Any) -> bool:
        done = await real(*args)
        if args[-1]["times"]:
            answers.append(done)
        return done

    monkeypatch.setattr(store, "again", watched)
    return answers


async def asked(box: Any, callers: int, times: int) -> list[Any]:
    """By one caller so slowly that each request waits for its own commit (test_repeats.py has the others)."""
    pause = 2 * kills.LOOK_SECONDS if callers == 1 else 0
    done = await box.do("run", argv=["python3", "-c", CALLERS, HOST, str(callers), str(times), str(pause)])
    assert done["code"] == 0, done
    found: list[Any] = json.loads(done["out"])
    return found


@pytest.mark.capability("BRK-5")
async def test_requests_one_after_another_are_one_statement_each_and_all_of_them_are_counted(
    world: World, again: list[bool]
) -> None:
    with counting() as (_, port):
        await world.declare({"host": HOST, "port": 80})
        await world.exempt(HOST, 80, port)
        box = await world.box()
        async with box.invoking() as call:
            found = await asked(box, 1, 6)
        assert found == [[200, f"/0/{turn}"] for turn in range(6)]
    assert all(again)
    assert len(again) == 5, "all but the first, whose row was new"
    (row,) = await world.egress(call.id)
    assert (row["count"], row["status"], row["path"], row["reason"]) == (6, 200, "/0/5", "allowed")
    assert (row["bytes_out"], row["bytes_in"]) == (0, 6 * len("/0/0"))
    assert row["duration_ms"] > 0
    assert row["answer_ms"] > 0
    assert (row["protocol"], row["upstream_protocol"]) == ("http/1.1", "http/1.1")
    (use,) = await world.rows("select requests, bytes_in from worka.egress_use")
    assert (use["requests"], use["bytes_in"]) == (6, row["bytes_in"])
    assert call.ended["egress"][0]["count"] == 6


@pytest.mark.capability("BRK-5")
async def test_requests_that_write_are_in_the_ledger_one_by_one_beside_those_in_one_statement(
    world: World, again: list[bool]
) -> None:
    await world.declare({"host": HOST, "methods": ["GET", "POST"], "paths": ["/*"]})
    await world.exempt(HOST, 443, world.outside.tracker)
    box = await world.box()
    async with box.invoking("write") as call:
        for path in ("/a", "/b", "/c"):
            await box.fetch(f"https://{HOST}{path}", method="POST", body="x")
    assert [row["count"] for row in await world.egress(call.id)] == [3]
    told = [event.data["path"] for event in world.notebook.entries if event.data.get("method") == "POST"]
    assert told == ["/a", "/b", "/c"]
    again.clear()
    async with box.invoking() as reading:
        for _ in range(3):
            await box.fetch(f"https://{HOST}/a")
            await asyncio.sleep(0.05)
    assert any(again), "the control: reading ones need none of it"
    assert [row["count"] for row in await world.egress(reading.id)] == [3]


@pytest.mark.capability("GOV-15", part="at the broker, for the very next request of a call that runs")
async def test_under_any_kill_switch_each_request_is_looked_at_alone(world: World, again: list[bool]) -> None:
    with counting() as (_, port):
        await world.declare({"host": HOST, "port": 80})
        await world.exempt(HOST, 80, port)
        box = await world.box()
        async with box.invoking():
            assert [status for status, _ in await asked(box, 1, 3)] == [200] * 3
            assert all(again), "the control"
            elsewhere = await stop(world, "destination", "other.example")
            again.clear()
            assert [status for status, _ in await asked(box, 1, 3)] == [200] * 3, "it stops another place"
            assert again == [False] * 3
            here = await stop(world, "destination", HOST)
            assert [status for status, _ in await asked(box, 1, 1)] == [403]
            await lift(world, here)
            await lift(world, elsewhere)
            again.clear()
            assert [status for status, _ in await asked(box, 1, 3)] == [200] * 3
            assert again == [True] * 3


@pytest.mark.capability("BRK-5")
async def test_as_many_connections_are_kept_as_requests_were_open_at_once(world: World) -> None:
    callers, times = 12, 4
    with counting(callers) as (counter, port):
        await world.declare({"host": HOST, "port": 80})
        await world.exempt(HOST, 80, port)
        box = await world.box()
        async with box.invoking() as call:
            found = await asked(box, callers, times)
        assert sorted(text for _, text in found) == sorted(f"/{n}/{m}" for n in range(callers) for m in range(times))
        assert counter.connections == callers
    (row,) = await world.egress(call.id)
    assert row["count"] == callers * times
    (use,) = await world.rows("select requests from worka.egress_use")
    assert use["requests"] == callers * times


@pytest.mark.capability("DEP-10")
async def test_the_statement_writes_for_no_tenant_but_the_one_it_is_asked_under(world: World) -> None:
    await world.declare(HOST)
    await world.exempt(HOST, 443, world.outside.tracker)
    box = await world.box()
    async with box.invoking() as call:
        await box.fetch(f"https://{HOST}/a")
    (row,) = await world.egress(call.id)
    day, more = row["at"].date(), {"times": 1, "requests": 0}

    async def written(tenant_id: str) -> bool:
        return await store.again(conn, tenant_id, world.attachment_id, day, row["id"], more)

    async with world.db.single() as conn:
        assert not await written(new_id("ten")), "the row is not there for another tenant"
        assert await written(world.tenant_id), "the control"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with world.db.transaction(new_id("ten")) as conn:
            await written(world.tenant_id)
    async with world.db.transaction(world.tenant_id) as conn:
        assert await written(world.tenant_id), "the control"
    assert [found["count"] for found in await world.egress(call.id)] == [3]
