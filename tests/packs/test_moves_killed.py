"""A process killed at each commit and effect of a move: the attachment is of one release or of the other, and the next
process goes on from there."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.moving import attached, moves, release, say, the, work
from tests.support import processes
from worka.packs.moving import service as moving
from worka.packs.service import attachments, hosting

pytestmark = [pytest.mark.timeout(300), pytest.mark.faults]
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import World
from worka import packs
from worka.kernel.db import Database
from worka.kernel.settings import Settings
from worka.packs.moving import service as moving

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    packs.subscribe(world.subscribers)
    if given["do"] == "run":
        nobody = world.nobody()
        nobody.tenant_id = world.tenant_id
        await moving.run_move(nobody, given["move"])
    elif given["do"] == "update":
        await moving.update(world.ctx("owner"), given["attachment"])
    elif given["do"] == "accept":
        await moving.accept(world.ctx("owner"), given["attachment"], "say", given["pin"], "looked at it")
    else:
        await moving.set_mode(world.ctx("owner"), given["attachment"], "tracking")
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


@pytest.mark.capability("LIF-4", part="a move whose process is killed at each commit and effect")
async def test_a_process_killed_at_any_point_of_a_move_leaves_one_release_or_the_other(
    place: Packs, cluster: Any
) -> None:
    row, world = await attached(place), place.world
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id,
        "workspace": world.workspace_id, "ids": world.ids, "attachment": row["id"],
    }  # fmt: skip

    async def killed(do: str, failpoint: str, **more: Any) -> None:
        code = await processes.ran(PROGRAM, {**given, "do": do, **more}, failpoint)
        assert code == -signal.SIGKILL, f"{failpoint} was not reached: {code}"

    before = row["release_id"]
    new = await release(place, "1.0.1")
    await killed("update", "attachment.move.before_commit")
    assert await moves(place, row["id"]) == [], "nothing of it was committed"
    assert (await the(place, row["id"]))["state"] == "attached"

    await killed("update", "attachment.move.after_commit")
    (move,) = await moves(place, row["id"])
    assert (move["state"], move["to_release"]) == ("trying", new["id"])
    for failpoint in ("attachment.move.tried", "attachment.move.before_commit"):
        await killed("run", failpoint, move=move["id"])
        now = await the(place, row["id"])
        assert (now["state"], now["release_id"]) == ("updating", before), failpoint
        assert (await say(place, "still"))["status"] == "succeeded", "what is attached serves"
    await killed("run", "attachment.moved.after_commit", move=move["id"])
    now = await the(place, row["id"])
    assert (now["state"], now["release_id"]) == ("attached", new["id"])

    async def warm() -> list[str]:
        found = await hosting.client(place.ctx()).status()
        return [s["release_id"] for s in found["sessions"] if s["attachment_id"] == row["id"]]

    assert await warm() == [before], "its death left the old session warm"
    await moving.run_move(place.platform(), move["id"])
    assert await warm() == [], "which the job ends when it is run again"
    ends = [event["after"]["state"] for event in await world.events("pack.move.changed")]
    assert ends == ["trying", "moved"], "once"

    newer = await release(place, "1.0.2")
    await killed("follow", "attachment.mode.before_commit")
    assert (await the(place, row["id"]))["mode"] == "pinned"
    await killed("follow", "attachment.mode.after_commit")
    assert (await the(place, row["id"]))["mode"] == "tracking"
    await work(place)
    assert (await the(place, row["id"]))["release_id"] == newer["id"], "the control"

    listed = {"pin": "a" * 64, "definition": {"name": "say", "input_schema": {"type": "object"}}}
    ctx = place.ctx()
    async with ctx.transaction():
        await attachments.hold(ctx, row["id"], "say", "it differs", listed)
    await killed("accept", "attachment.definition.before_commit", pin="a" * 64)
    now = await the(place, row["id"])
    assert (now["state"], now["definitions"]["say"]["decision"]) == ("held", None)
    assert await world.events("pack.definition.accepted") == []
    await killed("accept", "attachment.definition.after_commit", pin="a" * 64)
    now = await the(place, row["id"])
    assert (now["state"], now["definitions"]["say"]["decision"]) == ("attached", "accepted"), "the control"
