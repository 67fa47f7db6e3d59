"""A copy of somebody's repository does not outlive what it was made for, whoever dies between the copy and the commit, or
between the commit and the cleaning."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.moving import the
from tests.packs.test_registration import lock, small, tree
from tests.support import processes
from worka.kernel.db import Connection, DatabaseUnavailable
from worka.kernel.ids import new_id
from worka.packs import service
from worka.packs.service import hosting, leftovers, withdrawing

Row = dict[str, Any]
pytestmark = [pytest.mark.timeout(180)]
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import World
from worka import packs
from worka.kernel.db import Database
from worka.kernel.settings import PackSettings, Settings
from worka.packs import service

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    settings = Settings(home=Path(given["home"]), packs=PackSettings(mount_roots=(given["repository"],)))
    world = World(db, settings, given["tenant"], given["workspace"], given["ids"])
    packs.subscribe(world.subscribers)
    if given["do"] == "attach":
        await service.attach(world.ctx("owner"), given["release"], mounts={"repo": given["repository"]})
    else:
        await service.detach(world.ctx("owner"), given["attachment"], "done with it")
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


async def reading(place: Packs) -> Row:
    """A release of a pack that reads a repository."""
    runtime = {
        "package": {"ecosystem": "path", "name": "small", "version": "1.0.0"},
        "command": ["python", "server.py"],
        "mounts": [{"name": "repo", "target": "/repo", "mode": "ro"}],
    }
    row = await place.register(small(runtime=runtime), lock(), tree())
    assert row["state"] == "released", row["error"]
    return row


async def attached(place: Packs, release: Row) -> Row:
    row = await service.attach(place.ctx(), release["id"], mounts={"repo": str(place.repository)})
    if row["state"] == "awaiting_approval":
        await place.approve(row["approval_id"])
    return await the(place, row["id"])


def given(place: Packs, cluster: Any, **more: Any) -> Row:
    """What the program is told."""
    world = place.world
    return {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id,
        "workspace": world.workspace_id, "ids": world.ids, "repository": str(place.repository), **more,
    }  # fmt: skip


async def sweep(place: Packs, age: float = 0.0) -> int:
    """What a worker does, for the folders of this test's tenant."""
    return await leftovers.sweep(lambda _tenant: place.platform(), place.world.settings.home, age=age)


def mine(place: Packs) -> set[str]:
    """The attachments' folders of this tenant."""
    signs = (place.world.settings.home / "clones").glob(f"att_*/{leftovers.SIGN}")
    return {sign.parent.name for sign in signs if sign.read_text() == place.world.tenant_id}


@pytest.mark.faults
@pytest.mark.capability("LIF-5", part="a detachment whose process is killed right after its commit")
async def test_what_was_detached_keeps_no_clone_and_no_session_though_its_process_died(
    place: Packs, cluster: Any
) -> None:
    row = await attached(place, await reading(place))
    assert (await service.call(place.ctx(), "acme.small.say", {"text": "x"}, None))[1]["status"] == "succeeded"
    told = given(place, cluster, do="detach", attachment=row["id"])
    assert await processes.ran(PROGRAM, told, "attachment.created.before_commit") == -signal.SIGKILL
    assert (await the(place, row["id"]))["state"] == "attached", "nothing of it was committed"

    assert await processes.ran(PROGRAM, told, "attachment.created.after_commit") == -signal.SIGKILL
    assert (await the(place, row["id"]))["state"] == "detached"
    (receipt,) = await place.world.rows("withdrawal", "subject = %s", row["id"])

    async def left() -> tuple[bool, list[str]]:
        status = await hosting.client(place.ctx()).status()
        warm = [s["session_id"] for s in status["sessions"] if s["attachment_id"] == row["id"]]
        return row["id"] in mine(place), warm

    clone, warm = await left()
    assert clone
    assert warm, "its death left both"
    await withdrawing.run_ending(place.platform(), receipt["id"])
    assert await left() == (False, []), "which the job of the detachment takes away"


@pytest.mark.faults
@pytest.mark.capability("LIF-5", part="an attachment whose process is killed before its commit leaves no clone")
async def test_a_clone_that_no_attachment_came_of_is_cleared_away_and_one_that_serves_is_not(
    place: Packs, cluster: Any
) -> None:
    release = await reading(place)
    told = given(place, cluster, do="attach", release=release["id"])
    assert await processes.ran(PROGRAM, told, "attachment.created.before_commit") == -signal.SIGKILL
    assert await place.world.rows("attachment") == []
    (orphan,) = mine(place)
    row = await attached(place, release)
    beside = Path(row["mounts"][0]["clone"]).with_name("repo.mov_0000000000000000000000")
    beside.mkdir()
    assert await sweep(place, age=3600) == 0, "what may be under way stays"
    assert mine(place) == {orphan, row["id"]}
    await sweep(place)
    assert mine(place) == {row["id"]}
    assert Path(row["mounts"][0]["clone"]).exists(), "the control: it serves"
    assert not beside.exists(), "a move came to nothing"
    assert (await service.call(place.ctx(), "acme.small.say", {"text": "x"}, None))[1]["status"] == "succeeded"


@pytest.mark.capability("LIF-5", part="a clone that does not say whose it is")
async def test_a_folder_that_does_not_say_whose_it_is_is_kept_for_its_attachment_and_goes_without_one(
    place: Packs,
) -> None:
    row = await attached(place, await reading(place))
    clones = place.world.settings.home / "clones"
    serves, orphan, young = clones / row["id"], clones / new_id("att"), clones / new_id("att")
    (serves / leftovers.SIGN).unlink()
    long_ago = time.time() - 2 * leftovers.AGE_SECONDS
    for folder in (orphan, young):
        (folder / "repo").mkdir(parents=True)
    for folder in (serves, orphan):
        os.utime(folder, (long_ago, long_ago))
    await sweep(place, age=leftovers.AGE_SECONDS)
    assert (serves.exists(), orphan.exists(), young.exists()) == (True, False, True)
    assert row["id"] in mine(place), "its tenant is written down again"
    assert (await service.call(place.ctx(), "acme.small.say", {"text": "x"}, None))[1]["status"] == "succeeded"
    shutil.rmtree(young)


@pytest.mark.faults
@pytest.mark.capability("DEP-3", part="an attachment whose commit was not answered")
async def test_an_attachment_whose_commit_was_not_answered_serves_if_it_stands(
    place: Packs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away while it answers COMMIT: it stands, and whoever asked is told that nobody answered."""
    release = await reading(place)
    plain = place.world.db.transaction

    @asynccontextmanager
    async def cut(tenant_id: str | None, person_id: str | None = None) -> AsyncIterator[Connection]:
        async with plain(tenant_id, person_id) as conn:
            yield conn
        async with plain(place.world.tenant_id) as conn:
            there = await (await conn.execute("select 1 from worka.attachment")).fetchall()
        if there:
            raise DatabaseUnavailable("it went away")

    with monkeypatch.context() as patch:
        patch.setattr(place.world.db, "transaction", cut)
        with pytest.raises(DatabaseUnavailable):
            await service.attach(place.ctx(), release["id"], mounts={"repo": str(place.repository)})
    (row,) = await place.world.rows("attachment")
    if row["state"] == "awaiting_approval":
        await place.approve(row["approval_id"])
    assert Path(row["mounts"][0]["clone"]).exists()
    answer = (await service.call(place.ctx(), "acme.small.say", {"text": "x"}, None))[1]
    assert (answer["status"], answer["reason"]) == ("succeeded", "call_succeeded")
