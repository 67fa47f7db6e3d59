"""A process killed around the commit of a limit: all of it, or nothing."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.support import processes
from tests.workspaces.world import World

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
import worka.workflows.holding
from tests.workspaces.world import World
from worka.kernel.db import Database
from worka.kernel.settings import Settings
from worka.workspaces.limits import service

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    wish = {"layer": "workspace", "scope": "workspace", "name": "tasks_at_once", "value": 3, "reason": "r"}
    await service.set_limit(world.ctx("owner"), world.workspace_id, wish)
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


async def run(world: World, cluster: Any, failpoint: str | None) -> int:
    """Sets a limit in a process of its own; returns how that ended."""
    told = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id,
        "workspace": world.workspace_id, "ids": world.ids,
    }  # fmt: skip
    return await processes.ran(PROGRAM, told, failpoint)


@pytest.mark.faults
async def test_a_kill_before_the_commit_of_a_limit_leaves_nothing_and_the_repeat_all_of_it(
    world: World, cluster: Any
) -> None:
    assert await run(world, cluster, "limit.set.before_commit") == -signal.SIGKILL
    assert await world.rows("quota") == await world.rows("event") == []
    assert await run(world, cluster, None) == 0
    (row,) = await world.rows("quota")
    assert (row["value"], row["revision"]) == (3, 1)
    assert [event["type"] for event in await world.rows("event")] == ["limit.set"]
