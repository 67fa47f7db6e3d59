"""A process killed just before a commit by which packs are governed leaves nothing of the change; killed just after it, the
change is whole, once."""

from __future__ import annotations

import base64
import signal
from datetime import timedelta
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.registry_support import operator_key, released
from tests.packs.test_registration import lock, small, tree
from tests.packs.test_registry_rules import NOW, root
from tests.packs.test_vouching import operator
from tests.packs.test_vulnerabilities import osv
from tests.support import processes
from worka.kernel.clock import now
from worka.packs import service
from worka.packs.registry import store

Row = dict[str, Any]
pytestmark = [pytest.mark.timeout(300), pytest.mark.faults]
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import World
from worka import packs
from worka.kernel.db import Database
from worka.kernel.settings import Settings
from worka.packs import service
from worka.packs.registry.service import policies, vouching
from worka.packs.service import vulnerabilities, withdrawing

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    packs.subscribe(world.subscribers)
    ctx, do = world.ctx(given.get("who", "owner")), given["do"]
    if do == "withdraw":
        await withdrawing.quarantine(ctx, given["release"], "a flaw")
    elif do == "advisories":
        await vulnerabilities.take_in(ctx, given["workspace"], [given["advisory"]])
    elif do == "policy":
        await policies.set_policy(ctx, given["workspace"], scope="tenant", settings={"most": "private"}, note="n")
    elif do == "artifact":
        nobody = world.nobody()
        nobody.tenant_id = world.tenant_id
        await service.run_registration(nobody, given["draft"])
    else:
        ctx.tenant_id = ctx.workspace_id = None
        await vouching.set_root(ctx, given["root"])
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


@pytest.mark.capability(
    "LIF-1", "LIF-5", "GOV-16", "REG-5", part="a process killed on either side of the commit leaves nothing half done"
)
async def test_a_process_killed_before_a_commit_of_governing_leaves_nothing_and_after_it_all_once(
    place: Packs, cluster: Any
) -> None:
    world = place.world
    release = await released(place)
    await operator(place)
    files = {name: base64.b64encode(text).decode() for name, text in tree().items()}
    draft = await service.register(place.ctx(), small(name="second"), lock_text=lock(), files=files)
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id,
        "workspace": world.workspace_id, "ids": world.ids, "release": release["id"], "advisory": osv(), "draft": draft["id"],
    }  # fmt: skip

    async def count(table: str) -> int:
        return len(await world.rows(table))

    async def roots() -> int:
        async with world.db.transaction(None) as conn:
            held = await store.trust_root(conn)
        return int(held["version"]) if held else 0

    async def killed(do: str, point: str, seen: Any, **more: Any) -> None:
        before = await seen()
        told = {**given, "do": do, **more}
        for side in ("before", "after"):
            name = f"{point}.{side}_commit"
            assert await processes.ran(PROGRAM, told, name) == -signal.SIGKILL, f"{name} was not reached"
            changed = await seen() != before
            assert changed == (side == "after"), f"{name}: {'all' if changed else 'nothing'} of it was committed"

    signer = operator_key()
    document = root(signer, keys=[signer], version=await roots() + 1, days=(now() + timedelta(days=30) - NOW).days)
    await killed("artifact", "registry.artifact", lambda: count("artifact"))
    await killed("advisories", "pack.advisories", lambda: count("advisory"))
    await killed("policy", "registry.changed", lambda: count("registry_policy"))
    await killed("root", "registry.trust_root", roots, who="operator", root=document)
    await killed("withdraw", "pack.withdrawn", lambda: count("withdrawal"))
    (row,) = await world.rows("release", "id = %s", release["id"])
    assert row["state"] == "quarantined"
    moved = [event for event in await world.events("pack.release.moved") if event["after"]["state"] == "quarantined"]
    assert len(moved) == 1, "once"
