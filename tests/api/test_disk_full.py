"""The door when the disk of the home is short: changes are refused with the cause, reading and signing in go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.test_idempotency import SECRET
from tests.identity.test_http import PASSWORD, token_of
from tests.workspaces.world import World
from worka.api.app import create
from worka.identity import passwords, store
from worka.kernel.settings import DiskSettings, Settings
from worka.workers.wiring import Runtime

MORE_THAN_ANY_DISK = 10**9


@pytest.fixture
async def runtime(world: World, cluster: Any) -> AsyncIterator[Runtime]:
    """A serve role that wants more room than there is."""
    settings = Settings(
        home=world.settings.home,
        database={"url": cluster.urls.app},  # type: ignore[arg-type]
        disk=DiskSettings(floor_mb=MORE_THAN_ANY_DISK),
    )
    made = Runtime(settings, "serve")
    await made.db.open()
    yield made
    await made.db.close()


async def test_changes_are_refused_with_the_cause_while_reading_and_signing_in_go_on(
    runtime: Runtime, world: World
) -> None:
    transport = httpx.ASGITransport(app=create(runtime), raise_app_exceptions=False)
    headers = await token_of(world, "owner")
    workspace = f"/v1/workspaces/{world.workspace_id}"
    await world.person("boss", password_hash=await passwords.hash_password(PASSWORD))
    async with world.db.transaction(None) as conn:
        boss = await store.person(conn, world.ids["boss"])
    assert boss is not None
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as door:
        refused = await door.post(f"{workspace}/secrets", json=SECRET)
        assert (refused.status_code, refused.json()["code"]) == (503, "disk_full")
        assert str(world.settings.home) in refused.json()["detail"]
        assert refused.json()["remedy"].startswith("Free space")
        assert refused.headers["Retry-After"] == "5"
        assert (await door.get(f"{workspace}/secrets")).json()["items"] == []
        signed = await door.post("/v1/sessions", json={"email": boss["email"], "password": PASSWORD})
        assert signed.status_code == 201, signed.text
        # Taking a right away must hold, whatever the disk says.
        gone = await door.delete("/v1/sessions/current")
        assert gone.status_code == 204, gone.text
        # The control: with room, the same request is done.
        runtime.disk.floor = 0
        headers = await token_of(world, "owner")
        made = await door.post(f"{workspace}/secrets", json=SECRET, headers=headers)
        assert made.status_code == 201, made.text
