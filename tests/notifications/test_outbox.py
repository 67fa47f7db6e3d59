"""Messages of the outbox become deliveries in turn between tenants, and one that nobody takes comes to an end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.notifications.world import Town
from tests.workspaces.world import World
from worka.kernel.ids import new_id
from worka.notifications import store
from worka.notifications.fan_out import fan_out

TOPIC = "a.topic.of.tomorrow"


async def put(world: World, tenant_id: str, count: int, age: timedelta) -> list[str]:
    """So many messages that have been due for so long."""
    made = [new_id("out") for _ in range(count)]
    async with world.db.transaction(tenant_id) as conn:
        await conn.execute(
            "insert into worka.outbox (tenant_id, id, topic, payload, created_at, next_at)"
            " select %s, unnest(%s::text[]), %s, '{}', now() - %s, now() - %s",
            (tenant_id, made, TOPIC, age, age),
        )
    return made


async def message(world: World, tenant_id: str, outbox_id: str) -> dict[str, Any]:
    async with world.db.transaction(tenant_id) as conn:
        row = await (await conn.execute("select * from worka.outbox where id = %s", (outbox_id,))).fetchone()
    assert row is not None
    return row


@pytest.mark.capability("DOR-6", part="webhooks")
async def test_a_tenants_single_message_is_not_behind_five_hundred_of_another(town: Town) -> None:
    world, loud, quiet = town.world, new_id("ten"), new_id("ten")
    many = await put(world, loud, 500, timedelta(hours=20))
    (one,) = await put(world, quiet, 1, timedelta(minutes=1))
    async with world.db.single() as conn:
        due = [row["outbox_id"] for row in await store.outbox_due(conn, 100)]
    assert len(due) == 100
    assert one in due, "it waits until the other tenant's are told"
    assert len(set(due) & set(many)) > 50, "the control: the others are told, too"
    while await fan_out(world.nobody(), 1000):
        pass
    async with world.db.transaction(loud) as conn:
        await conn.execute("update worka.outbox set done_at = now() where id = any(%s)", (many,))
    async with world.db.transaction(quiet) as conn:
        await conn.execute("update worka.outbox set done_at = now() where id = %s", (one,))


@pytest.mark.capability("DOR-6", part="webhooks")
async def test_a_message_that_nobody_takes_for_a_day_is_given_up(town: Town) -> None:
    world, tenant_id = town.world, new_id("ten")
    (old,) = await put(world, tenant_id, 1, timedelta(hours=25))
    (fresh,) = await put(world, tenant_id, 1, timedelta(hours=23))
    await fan_out(world.nobody(), 1000)
    given_up, kept = await message(world, tenant_id, old), await message(world, tenant_id, fresh)
    assert given_up["done_at"] is not None
    assert given_up["last_error"] == "nobody took this topic"
    assert kept["done_at"] is None, "the control: a newer version may still take it"
    assert kept["next_at"] > kept["created_at"] + timedelta(hours=23, minutes=50), "and it is not asked all the time"
    async with world.db.transaction(tenant_id) as conn:
        await conn.execute("update worka.outbox set done_at = now() where id = %s", (fresh,))
