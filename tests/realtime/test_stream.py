"""The stream of committed events: live, with replay, complete, and only for those who may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from tests.support.database import Cluster
from tests.workflows.world import World, make_world
from worka.kernel.errors import Denied
from worka.realtime import stream
from worka.realtime.hub import hub_of
from worka.realtime.stream import BadEventId, begin, cursor
from worka.views import service as views


@pytest_asyncio.fixture
async def world(cluster: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(cluster, tmp_path / "home") as found:
        yield found
        await hub_of(found.runtime.db).close()


async def publish(world: World, name: str) -> None:
    await views.publish(world.ctx(world.owner), name=name, title=name, text="x")


class Reader:
    """Reads frames of one stream."""

    def __init__(self, world: World, person: str) -> None:
        self.world = world
        self.ctx = world.ctx(person)
        self.frames: AsyncIterator[bytes] | None = None

    async def open(self, last: str | None = None) -> Reader:
        self.frames = stream(self.world.runtime.db, self.ctx, await begin(self.ctx, last))
        return self

    async def next(self, seconds: float = 5) -> tuple[str, str, dict[str, object]]:
        """(id, event, data) of the next event."""
        assert self.frames is not None
        async with asyncio.timeout(seconds):
            async for frame in self.frames:
                lines = dict(
                    line.split(": ", 1) for line in frame.decode().strip().split("\n") if not line.startswith(":")
                )
                if "event" in lines:
                    return lines.get("id", ""), lines["event"], json.loads(lines["data"])
        raise AssertionError("the stream ended")

    async def close(self) -> None:
        assert self.frames is not None
        await self.frames.aclose()  # type: ignore[attr-defined]


@pytest.mark.capability("OBS-6")
async def test_a_committed_event_arrives_and_a_reader_that_returns_misses_and_repeats_nothing(world: World) -> None:
    reader = await Reader(world, world.viewer).open()
    await publish(world, "one")
    first, kind, data = await reader.next()
    assert kind == "view.document.created"
    assert data["subject"]["name"] == "one"  # type: ignore[index]
    await reader.close()
    for name in ("two", "three"):
        await publish(world, name)
    again = await Reader(world, world.viewer).open(first)
    names = [(await again.next())[2]["subject"]["name"] for _ in range(2)]  # type: ignore[index]
    assert names == ["two", "three"]
    await publish(world, "four")
    assert (await again.next())[2]["subject"]["name"] == "four"  # type: ignore[index]
    await again.close()


async def test_an_event_waits_for_older_transactions_and_is_not_lost(world: World, cluster: Cluster) -> None:
    reader = await Reader(world, world.owner).open()
    with psycopg.connect(cluster.urls.migrator) as older:
        older.execute("select pg_current_xact_id()")
        await publish(world, "held")
        task = asyncio.create_task(reader.next())
        await asyncio.sleep(0.4)
        assert not task.done()
    assert (await task)[2]["subject"]["name"] == "held"  # type: ignore[index]
    await reader.close()


async def test_a_reader_that_leaves_the_workspace_is_cut_off(world: World) -> None:
    reader = await Reader(world, world.viewer).open()
    await publish(world, "one")
    await reader.next()
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("delete from worka.membership where principal_id = %s", (world.viewer,))
    assert (await reader.next(4))[1] == "bye"
    with pytest.raises(Denied):
        await Reader(world, world.viewer).open()


async def test_another_workspaces_events_are_not_in_the_stream(world: World, cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "other") as other:
        reader = await Reader(world, world.owner).open()
        await publish(other, "theirs")
        await publish(world, "ours")
        assert (await reader.next())[2]["subject"]["name"] == "ours"  # type: ignore[index]
        await reader.close()


@pytest.mark.parametrize("bad", ["x", "1-", "-1", "1-2-3", "99999999999999999999-1", "1;drop"])
def test_an_id_that_is_not_ours_is_refused(bad: str) -> None:
    with pytest.raises(BadEventId):
        cursor(bad)
    assert cursor(None) is None
    assert cursor("12-34") == ("12", 34)
