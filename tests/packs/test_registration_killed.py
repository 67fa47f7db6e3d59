"""A process killed on either side of each commit of a registration: the next one goes on from what was committed, and each
stage is passed once."""

from __future__ import annotations

import base64
import contextlib
import signal
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.test_registration import lock, small, tree
from tests.support import processes
from worka.kernel.db import DatabaseUnavailable
from worka.packs import service
from worka.packs.model import RELEASE_ROAD
from worka.packs.registry.errors import ArtifactInvalid
from worka.packs.registry.service import artifacts

Row = dict[str, Any]
pytestmark = [pytest.mark.timeout(180), pytest.mark.faults]
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import World
from worka import packs
from worka.kernel.db import Database
from worka.kernel.settings import Settings
from worka.kernel.db import DatabaseUnavailable
from worka.packs import service

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    packs.subscribe(world.subscribers)
    if given["do"] == "register":
        await service.register(world.ctx("owner"), given["manifest"], lock_text=given["lock"], files=given["files"])
    else:
        nobody = world.nobody()
        nobody.tenant_id = world.tenant_id
        await service.run_registration(nobody, given["release"])
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


@pytest.mark.capability("LIF-1", part="a registration whose process is killed on either side of each of its commits")
async def test_a_registration_goes_on_after_its_process_was_killed_on_either_side_of_any_commit(
    place: Packs, cluster: Any
) -> None:
    world = place.world
    sent = {"manifest": small(), "lock": lock(), "files": {n: base64.b64encode(t).decode() for n, t in tree().items()}}
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id,
        "workspace": world.workspace_id, "ids": world.ids, **sent,
    }  # fmt: skip

    async def killed(do: str, side: str, **more: Any) -> None:
        code = await processes.ran(PROGRAM, {**given, "do": do, **more}, f"release.stage.{side}_commit")
        assert code == -signal.SIGKILL, f"{do}: release.stage.{side}_commit was not reached"

    await killed("register", "before")
    assert await world.rows("release") == [], "nothing of it was committed"
    await killed("register", "after")
    (row,) = await world.rows("release")
    assert row["state"] == "draft"
    again = await service.register(place.ctx(), sent["manifest"], lock_text=sent["lock"], files=sent["files"])
    assert again["id"] == row["id"], "sent again it is the same registration"

    await killed("run", "before", release=row["id"])
    (row,) = await world.rows("release")
    assert row["state"] == "draft", "what was built is not committed, and is built again"
    for state in RELEASE_ROAD[1:]:
        await killed("run", "after", release=row["id"])
        (row,) = await world.rows("release")
        assert row["state"] == state
    moved = [event["after"]["state"] for event in await world.events("pack.release.moved")]
    assert moved == list(RELEASE_ROAD[1:]), "each stage once"
    assert len(await world.rows("artifact")) == 1
    attachment = await service.attach(place.ctx(), row["id"])
    assert attachment["state"] == "attached", "the control: it can be used"


@pytest.mark.capability("LIF-1", part="a database that went away says nothing about a release")
@pytest.mark.parametrize("away", [True, False])
async def test_a_stage_that_met_the_database_away_is_taken_again_and_does_not_fail_the_release(
    place: Packs, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    files = {name: base64.b64encode(text).decode() for name, text in tree().items()}
    row = await service.register(place.ctx(), small(), lock_text=lock(), files=files)

    async def broken(*_arguments: object) -> Row:
        raise DatabaseUnavailable("it is being restarted") if away else ArtifactInvalid("It is damaged.")

    with monkeypatch.context() as patch, contextlib.suppress(DatabaseUnavailable):
        patch.setattr(artifacts, "keep", broken)
        await service.run_registration(place.platform(), row["id"])
    (row,) = await place.world.rows("release")
    assert (row["state"], row["failed_stage"]) == (("built", None) if away else ("failed", "built"))
    if away:
        assert (await service.run_registration(place.platform(), row["id"]))["state"] == "released"
