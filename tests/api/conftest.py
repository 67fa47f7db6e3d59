"""The two tenants, once for all tests of the doors; and the world of workspaces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.world import Doors, full
from tests.identity.test_http import token_of
from tests.support.instance import Instance
from tests.workspaces.world import World, world
from worka.api.app import create
from worka.kernel.settings import Settings
from worka.workers.wiring import Runtime

__all__ = ["doors", "world"]


@pytest.fixture(scope="session")
def doors(instance: Instance, repository: Path) -> Iterator[Doors]:
    """A tenant in which everything happened once, and a stranger."""
    yield from full(instance, repository)


@pytest.fixture
async def door(world: World, cluster: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The real application, the owner at the door."""
    settings = Settings(home=world.settings.home, database={"url": cluster.urls.app})  # type: ignore[arg-type]
    runtime = Runtime(settings, "serve")
    await runtime.db.open()
    transport = httpx.ASGITransport(app=create(runtime), raise_app_exceptions=False)
    headers = await token_of(world, "owner")
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield client
    await runtime.db.close()
