"""The stream of committed events: live, with replay, complete, and only for those who may."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from tests.support.database import Cluster
from tests.workflows.world import World, make_world
from worka.governance import service as governance
from worka.kernel.errors import Denied
from worka.realtime import stream
from worka.realtime.hub import hub_of
from worka.realtime.stream import CHECK_SECONDS, BadEventId, begin, cursor
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


@pytest.mark.capability("OBS-6")
async def test_whoever_listens_is_told_of_a_commit_and_of_nothing_that_was_undone(world: World) -> None:
    """Told, not found by looking: a stream's own look comes after CHECK_SECONDS."""
    hub = hub_of(world.runtime.db)
    told = hub.join(world.tenant_id)
    try:
        async with asyncio.timeout(5):
            await told.wait()  # it listens
        told.clear()
        dry = replace(world.ctx(world.owner), undone=True)
        await views.publish(dry, name="undone", title="undone", text="x")
        assert not await soon(told), "of what was undone"
        for name in ("one", "two", "three"):
            told.clear()
            await publish(world, name)
            assert await soon(told), name
    finally:
        hub.leave(world.tenant_id, told)


async def soon(told: asyncio.Event) -> bool:
    """Whether it is set before a stream would look by itself."""
    try:
        async with asyncio.timeout(CHECK_SECONDS / 2):
            return await told.wait()
    except TimeoutError:
        return False


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


SHUT = 'forbid(principal, action == Worka::Action::"workspace.observe", resource) unless { principal.roles.contains("owner") };'


@pytest.mark.capability("IDN-9", part="an open stream ends within a second when policy takes the reading away")
async def test_a_stream_ends_within_a_second_of_a_policy_or_a_downgrade_that_takes_it_away(world: World) -> None:
    reader, owner = await Reader(world, world.viewer).open(), await Reader(world, world.owner).open()
    await publish(world, "one")
    await reader.next()
    await owner.next()
    await asyncio.sleep(CHECK_SECONDS * 1.2)
    await governance.save_policy(world.ctx(world.owner), world.workspace_id, "access", SHUT, "")
    began = asyncio.get_running_loop().time()
    assert await ended(reader), "who may not read any more reads on"
    assert asyncio.get_running_loop().time() - began < 1.5
    with pytest.raises(Denied):
        await Reader(world, world.viewer).open()
    # The control: who may still read goes on reading; a downgrade under that policy then ends it too.
    await publish(world, "two")
    while (await owner.next(4))[1] != "view.document.created":
        pass
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'admin' where principal_id = %s", (world.owner,))
    assert await ended(owner), "who was an owner reads on"


async def ended(reader: Reader) -> bool:
    """Whether it comes to its end before it is silent for four seconds."""
    try:
        while (await reader.next(4))[1] != "bye":
            pass
    except TimeoutError:
        return False
    return True


CREDENTIAL_ENDS = {
    "signed out": "update worka.session set revoked_at = now() where id = %(credential)s",
    "session expired": "update worka.session set expires_at = now() where id = %(credential)s",
    "person disabled": "update worka.person set enabled = false where id = %(person)s",
    "token revoked": "update worka.api_token set revoked_at = now() where id = %(credential)s",
    "token expired": "update worka.api_token set expires_at = now() where id = %(credential)s",
    "token's person disabled": "update worka.person set enabled = false where id = %(person)s",
    "token's team member disabled": "update worka.team_member set enabled = false where id = %(member)s",
}


@pytest.mark.parametrize("how", CREDENTIAL_ENDS)
async def test_a_stream_ends_with_its_credential(world: World, cluster: Cluster, how: str) -> None:
    token, of_member = how.startswith("token"), "team member" in how
    names = {
        "credential": ("tok_" if token else "ses_") + secrets.token_hex(8),
        "person": world.viewer,
        "member": "mem_" + secrets.token_hex(8),
        "kind": "team_member" if of_member else "person",
        "tenant": world.tenant_id,
        "workspace": world.workspace_id,
        "hmac": secrets.token_bytes(32),
    }
    names["principal"] = names["member"] if of_member else names["person"]

    async def change(*statements: str) -> None:
        async with await psycopg.AsyncConnection.connect(cluster.urls.migrator) as conn:
            await conn.execute("select set_config('worka.tenant', %s, true)", (world.tenant_id,))
            for statement in statements:
                assert (await conn.execute(statement, names)).rowcount == 1

    if of_member:
        await change(
            "insert into worka.team_member (tenant_id, id, workspace_id, name, responsibility, owner_person_id,"
            " created_by) values (%(tenant)s, %(member)s, %(workspace)s, 'm', 'r', %(person)s, %(person)s)",
        )
    if token:
        await change(
            "insert into worka.api_token (tenant_id, id, principal_kind, principal_id, name, prefix, token_hmac,"
            " created_by) values (%(tenant)s, %(credential)s, %(kind)s, %(principal)s, 't', 'p', %(hmac)s, %(person)s)"
        )
    else:
        await change(
            "insert into worka.session (id, person_id, token_hmac, expires_at)"
            " values (%(credential)s, %(person)s, %(hmac)s, now() + interval '1 hour')"
        )
    reader = Reader(world, world.viewer)
    reader.ctx = replace(reader.ctx, credential_id=str(names["credential"]))
    await reader.open()
    await publish(world, "one")
    assert (await reader.next())[2]["subject"]["name"] == "one"  # type: ignore[index]
    # A live credential: checked several times, and the stream goes on.
    await asyncio.sleep(1.2)
    await publish(world, "two")
    assert (await reader.next())[2]["subject"]["name"] == "two"  # type: ignore[index]
    waiting = asyncio.create_task(reader.next(3))
    await asyncio.sleep(1.2)
    assert not waiting.done()
    await change(CREDENTIAL_ENDS[how])
    async with asyncio.timeout(1.5):
        _, kind, data = await waiting
    assert (kind, data) == ("bye", {"reason": "no_longer_allowed"})


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
