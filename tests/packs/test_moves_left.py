"""A move that nobody carries any more is handed to the engine again, and comes to its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.packs.conftest import Packs
from tests.packs.moving import attached, moves, release, the, work
from worka.kernel.context import Context
from worka.packs.moving import explain
from worka.packs.moving import service as moving


async def older(place: Packs, move_id: str, minutes: int) -> None:
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.attachment_move set since = since - %s where id = %s", (timedelta(minutes=minutes), move_id)
        )


async def queued(place: Packs, move_id: str) -> int:
    """How often the engine was handed it."""
    (row,) = await place.world.rows("attachment_move", "id = %s", move_id)
    return int(row["runs"])


@pytest.mark.capability("LIF-4", part="a move that nobody carries is taken up again")
async def test_a_move_that_was_left_lying_is_handed_on_and_made(place: Packs) -> None:
    def contexts(tenant_id: str | None = None) -> Context:
        return replace(place.world.nobody(), tenant_id=tenant_id)

    row = await attached(place)
    new = await release(place, "1.0.1")
    asked = await moving.update(place.ctx(), row["id"], release_id=new["id"])
    assert (asked["state"], (await the(place, row["id"]))["state"]) == ("trying", "updating")
    before = await queued(place, asked["id"])
    await moving.hand_on(contexts)
    assert await queued(place, asked["id"]) == before, "the control: one that is young is somebody's"

    await older(place, asked["id"], 6)
    assert await moving.hand_on(contexts) >= 1
    assert await queued(place, asked["id"]) == before + 1
    await moving.hand_on(contexts)
    assert await queued(place, asked["id"]) == before + 1, "not every minute: its job may only be late"
    await older(place, asked["id"], 5)
    told = await explain.explain(place.ctx(), asked["id"])
    assert "the platform takes it up again" in told.headline
    await moving.hand_on(contexts)
    assert await queued(place, asked["id"]) == before + 2

    await work(place)
    (move,) = await moves(place, row["id"])
    assert (move["state"], (await the(place, row["id"]))["release_id"]) == ("moved", new["id"])
    await older(place, asked["id"], 600)
    await moving.hand_on(contexts)
    assert await queued(place, asked["id"]) == before + 2, "what has ended is left alone"


@pytest.mark.capability("LIF-4", part="a move that nobody carries is taken up again")
async def test_a_planned_move_that_was_left_lying_is_handed_on_too(place: Packs) -> None:
    def contexts(tenant_id: str | None = None) -> Context:
        return replace(place.world.nobody(), tenant_id=tenant_id)

    row = await attached(place, mode="tracking")
    await release(place, "1.0.1")
    (move,) = await moves(place, row["id"])
    assert (move["kind"], move["state"]) == ("followed", "planned")
    await older(place, move["id"], 11)
    told = await explain.explain(place.ctx(), move["id"])
    assert "the platform takes it up again" in told.headline
    await moving.hand_on(contexts)
    assert await queued(place, move["id"]) == move["runs"] + 1
    await work(place)
    (move,) = await moves(place, row["id"])
    assert move["state"] == "moved"
