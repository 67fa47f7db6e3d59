"""Everybody of tests/workspaces/world.py, and an OAuth provider outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.connections.outside import Outside
from tests.connections.outside import outside as far
from tests.connections.town import Town
from tests.connections.town import town as make_town
from tests.workspaces.world import World, world

__all__ = ["outside", "town", "world"]


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    """A provider that gives another refresh token each time."""
    with far() as found:
        yield found


@pytest_asyncio.fixture
async def town(world: World, outside: Outside) -> AsyncIterator[Town]:
    """The world, a broker, and the provider."""
    found = await make_town(world, outside)
    try:
        yield found
    finally:
        await found.leave()
