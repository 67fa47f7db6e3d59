"""A worker killed at each commit of a delivery: what was asked for is told all the same, under one id."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from tests.approvals.asking import asked
from tests.notifications.receiver import Receiver, Verifier
from tests.notifications.world import Town
from tests.support import processes
from tests.support.database import Cluster

pytestmark = [pytest.mark.timeout(90), pytest.mark.faults]

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import World
from worka.kernel import ipc
from worka.kernel.db import Database
from worka.kernel.settings import Settings
from worka.notifications import service, told
from worka.notifications.fan_out import fan_out
from worka.notifications.jobs import Sender

async def main(given):
    db = Database(given["dsn"], "killed"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])

    async def post(args, traceparent):
        return await ipc.call_unix(Path(given["broker"]), "platform_http", args, timeout=30, traceparent=traceparent)

    if given["do"] == "add":
        await service.create(world.ctx("admin"), world.workspace_id, url="https://h.test/", types=["*"], description="")
    if given["do"] == "choose":
        await told.choose(world.ctx("owner"), False)
    await fan_out(world.nobody())
    sender = Sender(world.nobody(), post, None)
    while await sender.sweep():
        await sender.settle()
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


async def worker(town: Town, cluster: Cluster, failpoint: str | None, do: str = "") -> int:
    """A worker process that runs both jobs once; how it ended."""
    world = town.world
    given: dict[str, Any] = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id,
        "workspace": world.workspace_id, "ids": world.ids, "broker": str(town.paths.broker_socket), "do": do,
    }  # fmt: skip
    return await processes.ran(PROGRAM, given, failpoint)


@pytest.mark.capability("DOR-6", part="at least once, over a kill")
@pytest.mark.parametrize(
    ("failpoint", "arrived"),
    [
        ("delivery.queued.before_commit", 0),
        ("delivery.claimed.after_commit", 0),
        ("delivery.settled.before_commit", 1),
    ],
)
async def test_a_worker_killed_around_a_delivery_loses_nothing_and_tells_it_under_one_id(
    town: Town, receiver: Receiver, cluster: Cluster, failpoint: str, arrived: int
) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    await asked(town.world)
    assert await worker(town, cluster, failpoint) == -signal.SIGKILL
    assert len(receiver.got) == arrived
    if failpoint != "delivery.queued.before_commit":
        assert await worker(town, cluster, None) == 0
        assert len(receiver.got) == arrived, "the claim of the one that died still holds"
        async with town.world.db.transaction(town.world.tenant_id) as conn:
            await conn.execute("update worka.delivery set claimed_until = now()")
    assert await worker(town, cluster, None) == 0
    assert await worker(town, cluster, None) == 0
    assert len(receiver.got) == arrived + 1
    assert len({got.id for got in receiver.got}) == 1
    Verifier(hook["secret"]).verify(receiver.got[-1].body, receiver.got[-1].headers)
    (delivery,) = await town.deliveries()
    assert delivery["state"] == "sent"
    assert len(await town.world.events("notification.delivery.ended")) == 1


@pytest.mark.capability("DOR-6", part="two workers tell it once")
async def test_two_workers_side_by_side_tell_it_once(town: Town, receiver: Receiver, cluster: Cluster) -> None:
    await town.exempt(receiver)
    await town.webhook()
    for number in range(3):
        await asked(town.world, number=number)
    assert await asyncio.gather(*(worker(town, cluster, None) for _ in range(3))) == [0, 0, 0]
    await town.due_now()
    await worker(town, cluster, None)
    assert len(receiver.got) == 3
    assert len({got.id for got in receiver.got}) == 3


@pytest.mark.capability("DOR-6", part="a change of a webhook or a choice is whole, or not there")
@pytest.mark.parametrize(
    ("do", "failpoint", "table", "event"),
    [
        ("add", "webhook.changed.before_commit", "webhook", "webhook.created"),
        ("choose", "notification.chosen.before_commit", "notification_choice", None),
    ],
)
async def test_a_kill_before_a_change_is_committed_leaves_nothing_and_the_next_try_all_of_it(
    town: Town, cluster: Cluster, do: str, failpoint: str, table: str, event: str | None
) -> None:
    assert await worker(town, cluster, failpoint, do) == -signal.SIGKILL
    parts = (table, "webhook_secret", "platform_rule")
    assert [await town.world.rows(part) for part in parts] == [[], [], []]
    assert await worker(town, cluster, None, do) == 0
    assert len(await town.world.rows(table)) == 1
    if event is not None:
        assert [len(await town.world.rows(part)) for part in parts] == [1, 1, 1]
        assert len(await town.world.events(event)) == 1
