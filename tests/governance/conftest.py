"""Everybody of tests/workspaces/world.py, and what only tests of policy need."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.database import Cluster
from tests.workspaces.world import World, world

__all__ = ["deployment", "two_owners", "world"]


@pytest.fixture
async def two_owners(world: World) -> World:
    """A world with a second owner, `second`: here a change of policy needs both."""
    await world.person("second")
    await world.join("second", "owner")
    return world


@pytest.fixture
def deployment(cluster: Cluster) -> Iterator[None]:
    """For tests that save the deployment's policy, which binds every test's tenant: none is there before (a test of the store
    may have left one), and what they save is taken away again."""
    _no_policy(cluster)
    yield
    _no_policy(cluster)


def _no_policy(cluster: Cluster) -> None:
    known = json.loads((cluster.home / "admin" / "database.json").read_text())
    with psycopg.connect(
        host=known["host"], port=known["port"], user="postgres", password=known["admin"], dbname="worka"
    ) as conn:
        conn.execute("delete from worka.deployment_policy")
