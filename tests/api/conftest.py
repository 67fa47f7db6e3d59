"""The two tenants, once for all tests of the doors; and the world of workspaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Doors, full
from tests.support.instance import Instance
from tests.workspaces.world import world

__all__ = ["doors", "world"]


@pytest.fixture(scope="session")
def doors(instance: Instance, repository: Path) -> Iterator[Doors]:
    """A tenant in which everything happened once, and a stranger."""
    yield from full(instance, repository)
