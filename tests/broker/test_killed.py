"""Processes killed before each commit of the policy on destinations, and of where a name leads: what held goes on holding, and
nothing waits half asked for."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.broker.test_asked import connected, lead
from tests.broker.test_policy import people as people
from tests.broker.test_policy import place as place
from tests.broker.test_policy import save
from tests.support import processes
from tests.workspaces.world import World
from worka import connections
from worka.approvals import service as approvals
from worka.broker.policy import service

Row = dict[str, Any]
pytestmark = [pytest.mark.timeout(120), pytest.mark.faults]
TABLES = ("egress_policy", "egress_policy_change", "way_change", "network_exception", "approval", "outbox", "event")


async def _decide(world: World, approval_id: str, who: str = "second") -> Row:
    card = await approvals.show(world.ctx(who), approval_id)
    return await approvals.decide(world.ctx(who), approval_id, "approve", card["digest"])


ACTS: dict[str, Callable[[World, Any], Awaitable[Any]]] = {
    "tighten": lambda world, it: save(world, refuse=["a.example.com", "b.example.com"]),
    "loosen": lambda world, it: save(world),
    "approve": lambda world, it: _decide(world, it),
    "lead": lambda world, it: lead(world),
    "agree": lambda world, it: _decide(world, it, "approver"),
}
"""What is killed in a process of its own, and is then done again in this one."""
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.broker.test_killed import ACTS
from tests.workspaces.world import World
from worka import broker
from worka.kernel.db import Database
from worka.kernel.settings import Settings

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    broker.subscribe(world.subscribers)
    await ACTS[given["do"]](world, given["it"])
    await db.close()

asyncio.run(main(json.load(sys.stdin)))
"""


async def killed(world: World, cluster: Any, do: str, it: str = "", at: str = "egress.policy.before_commit") -> None:
    """One of the acts in a process of its own that dies before its commit."""
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "ids": world.ids, "tenant": world.tenant_id,
        "workspace": world.workspace_id, "do": do, "it": it,
    }  # fmt: skip
    assert await processes.ran(PROGRAM, given, at) == -signal.SIGKILL, "it was not reached"


async def lies(world: World) -> dict[str, list[str]]:
    """All that this tenant's tables hold of the policy, row by row."""
    found = {}
    async with world.db.transaction(world.tenant_id) as conn:
        for table in TABLES:
            cursor = await conn.execute(f"select to_jsonb(t)::text as row from worka.{table} t order by 1")  # type: ignore[arg-type]
            found[table] = [row["row"] for row in await cursor.fetchall()]
    return found


@pytest.mark.capability("BRK-13", "BRK-14", part="a process killed before a policy's commit leaves nothing half done")
async def test_a_policy_killed_before_its_commit_is_as_it_was_and_comes_once_when_it_is_done_again(
    place: World, cluster: Any
) -> None:
    await place.person("second")
    await place.join("second", "owner")
    owner, here = place.ctx("owner"), place.workspace_id
    await save(place, refuse=["a.example.com"])

    async def nothing_of(do: str, it: str = "") -> None:
        stood = await lies(place)
        await killed(place, cluster, do, it)
        assert await lies(place) == stood, f"{do}: something of it was committed"

    async def holds() -> tuple[int, list[str], int]:
        shown = await service.show(owner, here)
        (layer,) = shown["layers"]
        return layer["version"], layer["words"], len(shown["changes"])

    await nothing_of("tighten")
    assert await holds() == (1, ["refused: a.example.com"], 0)
    assert (await ACTS["tighten"](place, ""))["version"] == 2

    await nothing_of("loosen")
    assert (await holds())[2] == 0, "nobody is asked for what was never asked"
    waits = await ACTS["loosen"](place, "")
    assert (waits["state"], (await holds())[2]) == ("open", 1)

    await nothing_of("approve", waits["approval_id"])
    assert await holds() == (2, ["refused: a.example.com", "refused: b.example.com"], 1), "nothing more is let through"
    await ACTS["approve"](place, waits["approval_id"])
    assert await holds() == (3, [], 0)
    assert len(await place.events("egress.policy.saved")) == 3
    assert len(await place.events("egress.policy.proposed")) == 1
    used = [(row["state"], row["consumed_by"]) for row in await place.rows("approval")]
    assert used == [("approved", waits["id"])], "one approval, used once"


@pytest.mark.capability(
    "BRK-13", part="a process killed before where a name leads is recorded leaves nothing half done"
)
async def test_where_a_name_leads_is_asked_once_and_recorded_once_over_deaths(place: World, cluster: Any) -> None:
    connections.subscribe(place.subscribers)
    await connected(place)

    async def nothing_of(do: str, it: str = "") -> None:
        stood = await lies(place)
        await killed(place, cluster, do, it, "way.change.before_commit")
        assert await lies(place) == stood, f"{do}: something of it was committed"

    await nothing_of("lead")
    waits = await ACTS["lead"](place, "")
    assert waits["state"] == "open"
    await nothing_of("agree", waits["approval_id"])
    assert await place.rows("network_exception") == [], "nothing holds that was not agreed to"
    await ACTS["agree"](place, waits["approval_id"])
    assert [row["name"] for row in await place.rows("network_exception")] == [waits["name"]]
    used = [(row["state"], row["consumed_by"]) for row in await place.rows("approval", "subject_type = 'way_change'")]
    assert used == [("approved", waits["id"])], "one approval, used once"
