"""Everybody of tests/workspaces/world.py, a broker, and a receiver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.notifications.receiver import Receiver
from tests.notifications.receiver import receiver as receiving
from tests.notifications.world import Town
from tests.notifications.world import town as make_town
from tests.workspaces.world import World, world
from worka.broker.platform import PlatformLimits

__all__ = ["receiver", "town", "world"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody else's."""
    with receiving() as found:
        yield found


@pytest_asyncio.fixture
async def town(world: World) -> AsyncIterator[Town]:
    """With a short deadline, so that what hangs is seen to hang within a test."""
    found = await make_town(world, PlatformLimits(seconds=2.0))
    try:
        yield found
    finally:
        await found.leave()
