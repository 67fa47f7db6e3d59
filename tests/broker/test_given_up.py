"""A request that gave up waiting for its row, and a commit that comes all the same: the row says what is true, that nothing left."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager

import pytest

from tests.broker.world import HOST, Box, World, code
from tests.support.database import nobody_writes
from worka.governance import kills

pytestmark = pytest.mark.asyncio


def locked(world: World) -> AbstractAsyncContextManager[None]:
    """Nobody writes an egress row."""
    return nobody_writes(world.db, world.tenant_id, "egress")


async def waits(world: World) -> None:
    """Until a statement waits for that lock."""
    until = time.monotonic() + 10
    while not await world.rows("select pid from pg_locks where not granted and relation = 'worka.egress'::regclass"):
        assert time.monotonic() < until, "nothing waits for the rows of the way out"
        await asyncio.sleep(0.01)


async def told_of(world: World, requests: int) -> None:
    """Until the outcomes of so many requests are written, so that nothing is before the next one."""
    until = time.monotonic() + 10
    while await world.rows("select from worka.egress_use where requests = %s", requests) == []:
        assert time.monotonic() < until, "the outcomes were not written"
        await asyncio.sleep(0.01)


async def box_of(world: World) -> Box:
    await world.declare({"host": HOST, "methods": ["GET", "POST"], "paths": ["/*"]})
    await world.exempt(HOST, 443, world.outside.tracker)
    return await world.box()


def told(world: World) -> list[str]:
    """What the audit ledger was told of the way out, in order."""
    return [event.type for event in world.notebook.entries if event.type.startswith("broker.egress.")]


@pytest.mark.capability("BRK-5")
async def test_a_request_whose_row_came_after_it_was_given_up_is_a_refusal_in_its_row_and_in_the_ledger(
    world: World,
) -> None:
    box = await box_of(world)
    async with box.invoking("write") as call, locked(world):
        refused = await box.fetch(f"https://{HOST}/a", method="POST", body="x")
    assert (refused["status"], code(refused)) == (503, "egress_not_recorded")
    assert world.outside.requests == []
    (row,) = await world.egress(call.id)
    assert (row["verdict"], row["reason"], row["count"]) == ("denied", "egress_not_recorded", 1)
    assert told(world) == ["broker.egress.allowed", "broker.egress.denied"]
    assert (call.ended["egress"], call.ended["broken"]) == ([], "egress_not_recorded")
    assert await world.rows("select requests from worka.egress_use") == []
    # The control: where nothing is in its way, the same request leaves and its row says so.
    async with box.invoking("write") as other:
        assert (await box.fetch(f"https://{HOST}/a", method="POST", body="x"))["status"] == 401
    (row,) = await world.egress(other.id)
    assert (row["verdict"], row["reason"], row["count"]) == ("allowed", "allowed", 1)
    assert [item["count"] for item in other.ended["egress"]] == [1]
    assert len(world.outside.requests) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.capability("BRK-5")
async def test_a_row_counts_the_requests_that_left_and_not_those_that_were_given_up(world: World, method: str) -> None:
    box = await box_of(world)

    async def asks() -> int:
        found = await box.fetch(f"https://{HOST}/a", method=method)
        return int(found["status"])

    async with box.invoking("write") as call:
        assert [await asks(), await asks()] == [401, 401]
        await told_of(world, 2)
        await asyncio.sleep(2 * kills.LOOK_SECONDS)  # before that, what only reads would leave (test_repeats.py)
        async with locked(world):
            assert await asks() == 503
        assert await asks() == 401
    (row,) = await world.egress(call.id)
    assert (row["verdict"], row["count"], row["status"]) == ("allowed", 3, 401)
    assert [item["count"] for item in call.ended["egress"]] == [3]
    assert len(world.outside.requests) == 3


@pytest.mark.capability("BRK-5")
async def test_after_a_request_that_was_given_up_the_next_one_to_the_same_place_has_a_row_of_its_own(
    world: World,
) -> None:
    box = await box_of(world)
    async with box.invoking() as call:
        async with locked(world):
            assert (await box.fetch(f"https://{HOST}/a"))["status"] == 503
        assert (await box.fetch(f"https://{HOST}/a"))["status"] == 401
    rows = await world.egress(call.id)
    assert [(row["verdict"], row["count"], row["status"]) for row in rows] == [("denied", 1, None), ("allowed", 1, 401)]
    assert [item["id"] for item in call.ended["egress"]] == [rows[1]["id"]]


@pytest.mark.capability("BRK-5")
async def test_a_call_that_ends_while_a_request_waits_for_its_row_let_nothing_out(world: World) -> None:
    box = await box_of(world)
    invocation = await world.invocation("write")
    await world.call("begin", session_id=box.session_id, tenant_id=world.tenant_id, invocation_id=invocation)
    async with locked(world):
        asking = asyncio.create_task(box.fetch(f"https://{HOST}/a", method="POST", body="x"))
        await waits(world)
        ending = asyncio.create_task(world.call("end", session_id=box.session_id, invocation_id=invocation))
        assert "status" not in await asking, "it was cut"
    assert (await ending)["egress"] == []
    (row,) = await world.egress(invocation)
    assert (row["verdict"], row["reason"]) == ("denied", "invocation_ended")
    assert world.outside.requests == []
