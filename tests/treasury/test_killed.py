"""Processes killed at each commit of the treasury: all of a change or nothing of it, and what was under way goes on."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.support import processes
from tests.treasury.support import HERE, VALUE, attachment, secret
from tests.treasury.test_keys import agree, had, second_owner
from tests.workspaces.world import World
from worka.treasury import datakeys, operating, reading, rotation, service

pytestmark = [pytest.mark.faults, pytest.mark.capability("TRE-13")]
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import World
from worka.approvals import service as approvals
from worka.kernel.db import Database
from worka.kernel.settings import Settings
from worka.treasury import datakeys, operating, reading, rotation, service, subscribe

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    subscribe(world.subscribers)
    owner, operator, secret = world.ctx("owner"), world.ctx("operator"), given["secret"]
    do = given["do"]
    if do == "rotate":
        await rotation.rotate(owner, secret, "rotated-value-1", grants="keep", overlap_minutes=60)
    elif do == "finish":
        await rotation.finish(owner, secret)
    elif do == "dates":
        await rotation.set_dates(owner, secret, None, 30)
    elif do == "sweep":
        await rotation.sweep(world.nobody())
    elif do == "seal":
        await operating.seal(operator, True, "w")
    elif do == "master":
        while not (await operating.rotate_master(operator, most=1))["finished"]:
            pass
    elif do == "data":
        await datakeys.rotate(owner, world.workspace_id, most=1)
    elif do == "read":
        await reading.read(owner, given["ref"])
    elif do == "decide":
        card = await approvals.show(world.ctx("partner"), given["ref"])
        await approvals.decide(world.ctx("partner"), given["ref"], "approve", card["digest"])
    await db.close()

asyncio.run(main(json.load(sys.stdin)))
"""


async def made(world: World, name: str = "tracker-token") -> tuple[str, str]:
    one, att = await secret(world, name), await attachment(world)
    await service.grant(world.ctx("owner"), one["id"], att, HERE)
    return one["id"], att


async def killed(world: World, cluster: Any, do: str, secret_id: str, failpoint: str, ref: str = "") -> None:
    """A use case in a process of its own that dies there."""
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id, "ids": world.ids,
        "workspace": world.workspace_id, "secret": secret_id, "do": do, "ref": ref,
    }  # fmt: skip
    assert await processes.ran(PROGRAM, given, failpoint) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("do", "point"),
    [("rotate", "rotated"), ("finish", "overlap"), ("dates", "changed"), ("sweep", "warned"), ("seal", "sealed")],
)
async def test_a_kill_before_the_commit_leaves_the_secret_as_it_was(
    world: World, cluster: Any, do: str, point: str
) -> None:
    secret_id, att = await made(world)
    owner = world.ctx("owner")
    if do == "finish":
        await rotation.rotate(owner, secret_id, "rotated-value-1", grants="keep", overlap_minutes=60)
    if do == "sweep":
        async with world.db.transaction(world.tenant_id) as conn:
            await conn.execute(
                "update worka.secret set expires_at = now() + interval '1 day' where id = %s", (secret_id,)
            )
    before, events = await service.get(owner, secret_id), len(await world.rows("event"))
    await killed(world, cluster, do, secret_id, f"treasury.{point}.before_commit")
    assert await service.get(owner, secret_id) == before
    assert len(await world.rows("event")) == events
    assert not (await operating.status(world.ctx("operator")))["sealed"]
    assert await had(world, secret_id, att) == ("rotated-value-1" if do == "finish" else VALUE)
    assert [row for row in await world.rows("outbox") if row["topic"] == rotation.EXPIRING] == []


@pytest.mark.parametrize("point", ["treasury.rewrapped.before_commit", "treasury.master_rotated.after_commit"])
async def test_a_rotation_of_the_master_key_that_was_killed_goes_on(world: World, cluster: Any, point: str) -> None:
    secret_id, att = await made(world)
    first = world.sealer.master.id
    await killed(world, cluster, "master", secret_id, point)
    fresh = World(world.db, world.settings, world.tenant_id, world.workspace_id, world.ids)
    assert await had(fresh, secret_id, att) == VALUE, "in the middle of it"
    step = await operating.rotate_master(world.ctx("operator"))
    while not step["finished"]:
        step = await operating.rotate_master(world.ctx("operator"))
    assert (step["master_key_id"] != first, step["left"]) == (True, 0)
    fresh = World(world.db, world.settings, world.tenant_id, world.workspace_id, world.ids)
    assert await had(fresh, secret_id, att) == VALUE
    assert fresh.sealer.master.id == step["master_key_id"]


async def test_a_rotation_of_a_data_key_that_was_killed_goes_on(world: World, cluster: Any) -> None:
    one, two = await made(world, "one"), await made(world, "two")
    await killed(world, cluster, "data", one[0], "treasury.resealed.before_commit")
    assert [await had(world, *each) for each in (one, two)] == [VALUE, VALUE]
    left = 1
    while left:
        left = (await datakeys.rotate(world.ctx("owner"), world.workspace_id, most=1))["left"]
    assert {row["key_version"] for row in await world.rows("secret_version")} == {2}
    assert [await had(world, *each) for each in (one, two)] == [VALUE, VALUE]


async def test_a_reading_that_was_killed_was_not_done_and_can_be(world: World, cluster: Any) -> None:
    secret_id, _ = await made(world)
    await second_owner(world)
    owner = world.ctx("owner")
    asked = await reading.ask(owner, secret_id, "w", 30)
    await killed(world, cluster, "decide", secret_id, "treasury.reading.before_commit", asked["approval_id"])
    (row,) = await reading.listing(owner, secret_id, None, 5)
    assert row["state"] == "awaiting_approval"
    await agree(world, asked["approval_id"], "partner")
    await killed(world, cluster, "read", secret_id, "treasury.read.before_commit", asked["id"])
    assert (await reading.read(owner, asked["id"]))["value"] == VALUE


async def test_a_destruction_that_was_killed_destroyed_nothing(world: World, cluster: Any) -> None:
    secret_id, att = await made(world)
    await second_owner(world)
    owner = world.ctx("owner")
    asked = await datakeys.ask(owner, world.workspace_id, "w", (await datakeys.reach(owner))["digest"])
    await killed(world, cluster, "decide", secret_id, "treasury.keys_destroyed.before_commit", asked["approval_id"])
    assert await had(world, secret_id, att) == VALUE
    await agree(world, asked["approval_id"], "partner")
    assert (await service.get(owner, secret_id))["state"] == "destroyed"
