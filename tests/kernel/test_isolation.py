"""Row-level security: the catalogue is walked, and the application role can neither own nor bypass anything."""

from __future__ import annotations

import contextlib

import psycopg
import pytest

from tests.support.database import Cluster
from worka.kernel.db import Database
from worka.kernel.postgres import ROLES

# Rows of these belong to the deployment, not to a tenant; the application reaches them through definer functions only, but
# for the deployment's policy, its limits and its trust roots, which hold for everybody.
WITHOUT_TENANT = {
    "person",
    "session",
    "process",
    "sign_in_try",
    "sign_in_place",
    "deployment_policy",
    "second_factor",
    "recovery_code",
    "deployment_quota",
    "trust_root",
    "treasury_seal",
}


@pytest.mark.capability("DEP-10")
def test_every_table_of_a_tenant_forces_its_isolation_policy(cluster: Cluster) -> None:
    with psycopg.connect(cluster.urls.migrator) as conn:
        tables = conn.execute(
            "select c.relname, c.relrowsecurity, c.relforcerowsecurity,"
            " exists (select 1 from pg_policy p where p.polrelid = c.oid and p.polname = 'tenant_isolation'),"
            " exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'worka' and c.relkind in ('r', 'p')"
        ).fetchall()
    assert len(tables) > 25
    for name, enabled, forced, policy, tenant in tables:
        if name in WITHOUT_TENANT | {"one_time_token"}:
            assert not policy, name
            continue
        assert tenant, f"{name} has no tenant_id"
        assert (enabled, forced, policy) == (True, True, True), f"{name} does not force tenant_isolation"


@pytest.mark.capability("DEP-10")
def test_the_tenant_is_part_of_every_primary_key(cluster: Cluster) -> None:
    with psycopg.connect(cluster.urls.migrator) as conn:
        keys = conn.execute(
            "select c.relname, array_agg(a.attname) from pg_index i join pg_class c on c.oid = i.indrelid"
            " join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)"
            " where n.nspname = 'worka' and i.indisprimary and c.relname <> 'worka_version' group by 1"
        ).fetchall()
    missing = [name for name, columns in keys if "tenant_id" not in columns]
    assert set(missing) <= WITHOUT_TENANT | {"one_time_token"}, missing


@pytest.mark.capability("DEP-10")
def test_the_application_role_owns_nothing_and_cannot_bypass(cluster: Cluster) -> None:
    with psycopg.connect(cluster.urls.app) as conn:
        row = conn.execute(
            "select rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname = current_user"
        ).fetchone()
        owned = conn.execute(
            "select count(*) from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = current_user"
        ).fetchone()
    assert row == (False, False, False)
    assert owned == (0,)


@pytest.mark.capability("DEP-10")
async def test_without_a_tenant_no_row_is_seen_and_with_another_none_of_the_first(db: Database) -> None:
    async def seen(tenant: str | None) -> int:
        async with db.transaction(tenant) as conn:
            cursor = await conn.execute("select count(*) as n from worka.tenant")
            row = await cursor.fetchone()
        assert row is not None
        return int(row["n"])

    async with db.transaction("ten_iso_a") as conn:
        await conn.execute(
            "insert into worka.tenant (tenant_id, slug, name, created_by) values ('ten_iso_a', 'iso-a', 'A', 'test')"
        )
    assert await seen("ten_iso_a") == 1
    assert await seen("ten_iso_b") == 0
    assert await seen(None) == 0


@pytest.mark.capability("DEP-10")
async def test_a_row_cannot_be_written_under_another_tenant(db: Database) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with db.transaction("ten_iso_c") as conn:
            await conn.execute(
                "insert into worka.tenant (tenant_id, slug, name, created_by) values ('ten_iso_d', 'iso-d', 'D', 'test')"
            )
    async with db.transaction("ten_iso_d") as conn:
        await conn.execute(
            "insert into worka.tenant (tenant_id, slug, name, created_by) values ('ten_iso_d', 'iso-d', 'D', 'test')"
        )


@pytest.mark.capability("DEP-10")
async def test_the_tenant_of_one_transaction_is_not_the_next_ones(cluster: Cluster) -> None:
    """On one and the same connection of the pool, also after an error."""
    one = Database(cluster.urls.app, "test", size=1, reserve=0)
    await one.open()
    try:
        for ending in (None, ValueError):
            with contextlib.suppress(ValueError):
                async with one.transaction("ten_iso_f", "per_iso_f") as conn:
                    before = conn.info.backend_pid
                    cursor = await conn.execute("select current_setting('worka.tenant', true) as tenant")
                    assert await cursor.fetchone() == {"tenant": "ten_iso_f"}, "the control: it was set"
                    if ending is not None:
                        raise ending
            async with one.transaction(None) as conn:
                assert conn.info.backend_pid == before, "another connection would prove nothing"
                cursor = await conn.execute(
                    "select current_setting('worka.tenant', true) as tenant, current_setting('worka.person', true) as person"
                )
                assert await cursor.fetchone() == {"tenant": "", "person": ""}
    finally:
        await one.close()


@pytest.mark.capability("AUD-6", part="the application cannot rewrite what it recorded")
async def test_the_application_can_append_to_the_ledger_but_not_change_it(db: Database) -> None:
    for statement in (
        "update worka.audit_entry set body = ''",
        "delete from worka.audit_entry",
        "delete from worka.event",
        "update worka.decision set verdict = 'allow'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with db.transaction("ten_iso_e") as conn:
                await conn.execute(statement)


def test_the_engine_role_sees_no_row_of_ours(cluster: Cluster) -> None:
    with psycopg.connect(cluster.urls.engine) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select * from worka.task")
    assert ROLES["engine"] in cluster.urls.engine
