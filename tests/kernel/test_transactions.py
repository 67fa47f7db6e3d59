"""The transaction as few exchanges: what may be saved of them, and what may not be lost with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from tests.support.database import Cluster
from worka.kernel.db import Database
from worka.kernel.ids import new_id

INSERT = "insert into worka.tenant (tenant_id, slug, name, created_by) values (%s, %s, 'T', 'test')"


@pytest_asyncio.fixture
async def one(cluster: Cluster) -> AsyncIterator[Database]:
    """A pool of one connection."""
    database = Database(cluster.urls.app, "one", size=1, reserve=0)
    await database.open()
    yield database
    await database.close()


def administrator(cluster: Cluster, query: str) -> list[Any]:
    known = json.loads(cluster.server.secrets.read_text())
    address = f"host={known['host']} port={known['port']} user=postgres password={known['admin']} dbname=worka"
    with psycopg.connect(address, autocommit=True) as conn:
        return conn.execute(query).fetchall()  # type: ignore[arg-type]


async def tenants(database: Database, tenant: str) -> int:
    async with database.transaction(tenant) as conn:
        return len(await (await conn.execute("select 1 from worka.tenant")).fetchall())


async def test_a_connection_that_the_server_ended_is_not_handed_out(one: Database, cluster: Cluster) -> None:
    async with one.transaction(None) as conn:
        before = conn.info.backend_pid
    administrator(cluster, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'one'")
    # Asked to end is not ended: until its process is gone it may still take a query.
    for _ in range(500):
        if not Path(f"/proc/{before}").exists():
            break
        await asyncio.sleep(0.01)
    async with one.transaction(None) as conn:
        assert conn.info.backend_pid != before


async def test_the_connection_that_came_back_last_is_the_next_one_to_be_used(cluster: Cluster) -> None:
    """Its server process has everything at hand. Whoever comes while it is in use has another."""
    database = Database(cluster.urls.app, "several", size=3, reserve=0)
    await database.open()
    try:
        async with (
            database.transaction(None) as last,
            database.transaction(None) as second,
            database.transaction(None) as third,
        ):
            assert len({conn.info.backend_pid for conn in (last, second, third)}) == 3
        for _ in range(4):
            async with database.transaction(None) as again:
                assert again is last
        async with database.transaction(None) as again, database.transaction(None) as beside:
            assert again is last
            assert beside in (second, third)
    finally:
        await database.close()


@pytest.mark.capability("DEP-3", part="a process that is told to end does")
async def test_whoever_waits_for_a_connection_can_be_ended_at_any_moment(one: Database) -> None:
    async def waits() -> None:
        async with one.transaction(None):
            pass

    lost = 0
    for turns in range(12):
        async with one.transaction(None):
            waiting = asyncio.create_task(waits())
            await asyncio.sleep(0.02)
        # The connection is free, and the one that waited is told of it within the next few turns of the loop.
        for _ in range(turns):
            await asyncio.sleep(0)
        asked = waiting.cancel()  # False: it was through before
        await asyncio.wait({waiting})
        lost += asked and not waiting.cancelled()
    assert lost == 0
    await waits()


async def test_the_tenant_of_a_transaction_ends_with_it(one: Database) -> None:
    query = "select current_setting('worka.tenant', true) as tenant, current_setting('worka.person', true) as person"
    for tenant, person in (("ten_a", "per_a"), ("it's; \\", None), ("ten_b", None)):
        async with one.transaction(tenant, person) as conn:
            found = await (await conn.execute(query)).fetchone()
            assert found == {"tenant": tenant, "person": person or ""}
    async with one.single() as conn:
        found = await (await conn.execute(query)).fetchone()
        assert found == {"tenant": "", "person": ""}


async def test_what_the_database_refused_leaves_nothing_of_its_transaction(db: Database) -> None:
    tenant = new_id("ten")

    async def both() -> None:
        async with db.transaction(tenant) as conn:
            await conn.execute(INSERT, (tenant, tenant))
            # Of another tenant: refused by its policy.
            await conn.execute(INSERT, (new_id("ten"), new_id("ten")))

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await both()
    assert await tenants(db, tenant) == 0
    async with db.transaction(tenant) as conn:
        await conn.execute(INSERT, (tenant, tenant))
    assert await tenants(db, tenant) == 1


async def test_a_failure_that_was_swallowed_is_no_commit(db: Database) -> None:
    tenant = new_id("ten")

    async def swallowing() -> None:
        async with db.transaction(tenant) as conn:
            await conn.execute(INSERT, (tenant, tenant))
            with pytest.raises(psycopg.errors.DivisionByZero):
                await conn.execute("select 1 / 0")

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await swallowing()
    assert await tenants(db, tenant) == 0


async def test_the_connection_serves_on_after_an_exception_in_its_transaction(one: Database) -> None:
    tenant = new_id("ten")

    async def broken() -> None:
        async with one.transaction(tenant) as conn:
            await conn.execute(INSERT, (tenant, tenant))
            raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        await broken()
    assert await tenants(one, tenant) == 0
