"""A broker with its sockets, a world of rows around it, an outside, and boxes with a network of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.broker.world import Outside, World, make_world
from tests.support.database import cluster as cluster
from tests.support.database import db as db
from worka.kernel.db import Database


@pytest.fixture
def outside() -> Iterator[Outside]:
    """An HTTPS server and a canary on loopback, which record what reaches them."""
    with Outside() as found:
        yield found


@pytest_asyncio.fixture
async def world(db: Database, outside: Outside, tmp_path: Path) -> AsyncIterator[World]:
    """A tenant with one attachment, and a running broker."""
    async with make_world(db, outside, tmp_path) as found:
        yield found
