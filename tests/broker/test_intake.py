"""While the database takes no egress row: one of a tenant tries, the others are refused at once, and nothing that left is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tests.broker.world import HOST, Box, World, code
from tests.support.database import nobody_writes
from worka.broker.intake import OF_TENANT, SHUT_SECONDS, Intakes

pytestmark = pytest.mark.asyncio


async def waiting(world: World) -> int:
    """How many statements wait for the rows of the way out, each on a connection of the broker."""
    found = await world.rows("select pid from pg_locks where not granted and relation = 'worka.egress'::regclass")
    return len(found)


async def come(found: Callable[[], Awaitable[int]], wanted: int) -> None:
    """Waits until so many are found."""
    until = time.monotonic() + 10
    while await found() != wanted:
        assert time.monotonic() < until, f"not {wanted}"
        await asyncio.sleep(0.01)


async def declared(world: World) -> None:
    await world.declare({"host": HOST, "methods": ["GET", "POST"], "paths": ["/*"]})
    await world.exempt(HOST, 443, world.outside.tracker)


async def asks(box: Box, status: int) -> None:
    """A call with one writing request, and how that is answered."""
    async with box.invoking("write"):
        found = await box.fetch(f"https://{HOST}/a", method="POST", body="x")
    assert found["status"] == status, found


@pytest.mark.capability("BRK-5")
async def test_while_rows_are_not_taken_one_request_tries_and_the_others_are_refused_and_hold_no_connection(
    world: World,
) -> None:
    await declared(world)
    boxes = [await world.box() for _ in range(4)]
    most: list[int] = []

    async def counts() -> None:
        while True:
            most.append(await waiting(world))
            await asyncio.sleep(0.02)

    async with nobody_writes(world.db, world.tenant_id, "egress"):
        async with boxes[0].invoking("write"):
            refused = await boxes[0].fetch(f"https://{HOST}/a", method="POST", body="x")
        assert code(refused) == "egress_not_recorded"
        await come(lambda: waiting(world), 0)
        counting = asyncio.create_task(counts())
        until = time.monotonic() + 3
        while time.monotonic() < until:
            # Each begins and ends a call beside the others, for which it needs a connection too.
            async with asyncio.TaskGroup() as group:
                for box in boxes:
                    group.create_task(asks(box, 503))
        counting.cancel()
        assert max(most) == 1, "one tried"
    assert world.outside.requests == []
    # The control: once rows are taken again, it comes back by itself.
    until = time.monotonic() + 10
    while not world.outside.requests:
        assert time.monotonic() < until, "requests are refused although rows are taken"
        async with boxes[1].invoking("write"):
            await boxes[1].fetch(f"https://{HOST}/a", method="POST", body="x")
        await asyncio.sleep(0.05)
    async with asyncio.TaskGroup() as group:
        for box in boxes:
            group.create_task(asks(box, 401))


@pytest.mark.capability("BRK-5")
async def test_what_became_of_a_request_that_left_waits_until_rows_are_taken_again(world: World) -> None:
    await declared(world)
    slow, other = await world.box(), await world.box()
    stop = asyncio.Event()

    async def hammers() -> None:
        async with other.invoking("write"):
            while not stop.is_set():
                await other.fetch(f"https://{HOST}/a", method="POST", body="x")

    async with slow.invoking("write") as call:
        asking = asyncio.create_task(slow.fetch(f"https://{HOST}/slow", method="POST", body="x"))
        assert await asyncio.to_thread(world.outside.reached.wait, 10)
        async with nobody_writes(world.db, world.tenant_id, "egress"):
            hammering = asyncio.create_task(hammers())
            assert (await asking)["status"] == 401
            # Now its outcome is to be written, which nobody waits for, and others are refused.
            await asyncio.sleep(0.1)
        stop.set()
    await hammering
    (row,) = await world.egress(call.id)
    assert (row["verdict"], row["status"]) == ("allowed", 401), "the attempt stands without its outcome"


@pytest.mark.capability("BRK-5")
async def test_calls_begin_and_end_while_many_requests_wait_for_their_rows(world: World) -> None:
    await declared(world)
    boxes = [await world.box() for _ in range(8)]
    idle = boxes.pop()
    invocation = await world.invocation()
    async with AsyncExitStack() as stack:
        for box in boxes:
            await stack.enter_async_context(box.invoking("write"))
        async with nobody_writes(world.db, world.tenant_id, "egress"):
            asking = [asyncio.create_task(box.fetch(f"https://{HOST}/a", method="POST", body="x")) for box in boxes]
            await come(lambda: waiting(world), OF_TENANT)
            await world.call("begin", session_id=idle.session_id, tenant_id=world.tenant_id, invocation_id=invocation)
            await world.call("end", session_id=idle.session_id, invocation_id=invocation)
            assert await waiting(world) == OF_TENANT
            assert not any(task.done() for task in asking), "it waited until they were refused"
        # The control: each of those that waited leaves once rows are taken.
        assert [(await task)["status"] for task in asking] == [401] * len(boxes)


@pytest.mark.capability("BRK-5")
async def test_one_tenants_rows_that_are_not_taken_shut_nobody_else_out() -> None:
    intakes = Intakes()
    with pytest.raises(TimeoutError):
        async with intakes.of("ada").turn(0.01):
            await asyncio.sleep(1)
    assert [intakes.of(name).shut for name in ("ada", "bob")] == [True, False]
    async with AsyncExitStack() as stack:
        for _ in range(OF_TENANT):
            await stack.enter_async_context(intakes.of("cyd").turn(10))
        with pytest.raises(TimeoutError):
            async with intakes.of("cyd").turn(0.01):
                pass
        async with intakes.of("bob").turn(0.01):
            pass
    await asyncio.sleep(SHUT_SECONDS)
    assert not intakes.of("ada").shut
    async with intakes.of("ada").turn(1):
        assert intakes.of("ada").shut, "one tries"
    assert not intakes.of("ada").shut
