"""A world per test, on a database cluster of this folder's own: its workers take up whatever waits in the queues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.database import Cluster, migrated
from tests.workflows.world import World, make_world


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """What tests of other folders have put into a queue and never wanted done would keep these workers busy."""
    yield from migrated("test-workflows-")


@pytest_asyncio.fixture
async def world(cluster: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    """A tenant with people, a team member, an attached pack and its host. Workers are started by the test."""
    async with make_world(cluster, tmp_path / "home") as found:
        yield found
