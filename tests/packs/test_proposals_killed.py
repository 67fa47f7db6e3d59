"""Processes killed before each commit by which a proposal for what a pack reaches is made or decided."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.packs import moving
from tests.packs.conftest import Packs
from tests.packs.test_proposals import HOST, denied, reaching
from tests.support import processes
from tests.workspaces.world import World
from worka import broker
from worka.broker.policy import service as policies
from worka.packs import service as packs
from worka.packs.proposals import service

Row = dict[str, Any]
pytestmark = [pytest.mark.timeout(300), pytest.mark.faults]
TABLES = (
    "egress_proposal", "egress_policy", "egress_policy_change", "release", "attachment", "attachment_move", "approval",
    "outbox", "event",
)  # fmt: skip
ACTS: dict[str, Callable[[World, Any], Awaitable[Any]]] = {
    "propose": lambda world, it: service.propose(world.ctx("member"), it, why="it writes notes"),
    "accept": lambda world, it: service.accept(world.ctx("owner"), it, "it may"),
    "reject": lambda world, it: service.reject(world.ctx("owner"), it, "never"),
}
"""What is killed in a process of its own, and is then done again in this one."""
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.packs.test_proposals_killed import ACTS
from tests.workspaces.world import World
from worka import broker, packs
from worka.kernel.db import Database
from worka.kernel.settings import Settings

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    for domain in (broker, packs):
        domain.subscribe(world.subscribers)
    await ACTS[given["do"]](world, given["it"])
    await db.close()

asyncio.run(main(json.load(sys.stdin)))
"""


async def lies(world: World) -> dict[str, list[str]]:
    """All that this tenant's tables hold of proposals and of what comes of them, row by row."""
    found = {}
    async with world.db.transaction(world.tenant_id) as conn:
        for table in TABLES:
            cursor = await conn.execute(f"select to_jsonb(t)::text as row from worka.{table} t order by 1")  # type: ignore[arg-type]
            found[table] = [row["row"] for row in await cursor.fetchall()]
    return found


@pytest.mark.capability("BRK-14", part="a process killed before a proposal's commit leaves nothing half done")
async def test_a_proposal_killed_before_its_commit_made_nothing_and_makes_one_thing_when_it_is_done_again(
    place: Packs, cluster: Any
) -> None:
    world = place.world
    broker.subscribe(world.subscribers)
    attached = await reaching(place)

    async def done_after_a_kill(do: str, it: str) -> Row:
        stood = await lies(world)
        given = {
            "dsn": cluster.urls.app, "home": str(world.settings.home), "ids": world.ids, "tenant": world.tenant_id,
            "workspace": world.workspace_id, "do": do, "it": it,
        }  # fmt: skip
        ended = await processes.ran(PROGRAM, given, "egress.proposal.before_commit")
        assert ended == -signal.SIGKILL, f"{do}: the failpoint was not reached"
        assert await lies(world) == stood, f"{do}: something of it was committed"
        return dict(await ACTS[do](world, it))

    # Into a release: one, whose version nobody else has, and which registers as any other.
    made = await done_after_a_kill("propose", await denied(place, attached))
    assert (made["state"], made["times"]) == ("open", 1)
    accepted = await done_after_a_kill("accept", made["id"])
    assert (accepted["state"], accepted["reason"]) == ("accepted", "made_into_release")
    release = await packs.run_registration(place.platform(), accepted["made_release"])
    assert (release["state"], release["version"]) == ("released", "1.0.1-outside.1")
    assert len(await moving.moves(place, attached["id"])) == 1

    # Rejected: that is remembered once it is committed, and not before.
    other = await done_after_a_kill("propose", await denied(place, attached, path="/other"))
    assert (await done_after_a_kill("reject", other["id"]))["state"] == "rejected"

    # Into a policy: its version and the proposal's end are one commit.
    refusing = {"refuse": [{"host": HOST, "methods": ["POST"]}]}
    await policies.save(place.ctx(), world.workspace_id, scope="workspace", settings=refusing, note="")
    refused = await denied(place, attached, reason="policy_refuses", rule="egress_policy/workspace.1/refuse[0]")
    third = await done_after_a_kill("propose", refused)
    assert (await done_after_a_kill("accept", third["id"]))["reason"] == "made_into_policy"
    (layer,) = (await policies.show(place.ctx(), world.workspace_id))["layers"]
    assert (layer["version"], layer["settings"]["except"]) == (2, third["difference"]["add"])

    rows = await world.rows("egress_proposal", "true order by id")
    assert [row["state"] for row in rows] == ["accepted", "rejected", "accepted"]
