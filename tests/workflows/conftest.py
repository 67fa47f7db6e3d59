"""A world per test; the database cluster is the session's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.database import Cluster
from tests.workflows.world import World, make_world


@pytest_asyncio.fixture
async def world(cluster: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    """A tenant with people, a team member, an attached pack and its host. Workers are started by the test."""
    async with make_world(cluster, tmp_path / "home") as found:
        yield found
