"""The second tested target: Debian's PostgreSQL 15 takes the same migrations, policies and ledger statement."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.database import Cluster, migrated

BINARIES = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
def fifteen() -> Iterator[Cluster]:
    """A migrated cluster on PostgreSQL 15."""
    assert (BINARIES / "initdb").exists(), "PostgreSQL 15 is missing: apt-get install postgresql-15"
    yield from migrated("test-pg15-", BINARIES)


def test_it_is_fifteen_and_every_tenant_table_forces_its_policy(fifteen: Cluster) -> None:
    with psycopg.connect(fifteen.urls.migrator) as conn:
        version = conn.execute("show server_version_num").fetchone()
        tables = conn.execute(
            "select c.relname, c.relrowsecurity and c.relforcerowsecurity from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'worka' and c.relkind = 'r'"
            " and exists (select 1 from pg_policy p where p.polrelid = c.oid and p.polname = 'tenant_isolation')"
        ).fetchall()
    assert version is not None
    assert str(version[0]).startswith("15")
    assert len(tables) > 25
    assert all(forced for _, forced in tables)


@pytest.mark.capability("DEP-10")
def test_a_tenant_sees_its_rows_and_nobody_elses(fifteen: Cluster) -> None:
    with psycopg.connect(fifteen.urls.app) as conn:
        conn.execute("select set_config('worka.tenant', 'ten_a', true)")
        conn.execute("insert into worka.tenant (tenant_id, slug, name, created_by) values ('ten_a', 'a', 'A', 'test')")
        mine = conn.execute("select count(*) from worka.tenant").fetchone()
        conn.execute("select set_config('worka.tenant', 'ten_b', true)")
        theirs = conn.execute("select count(*) from worka.tenant").fetchone()
    assert (mine, theirs) == ((1,), (0,))


def test_the_ledger_links_its_rows_in_sql(fifteen: Cluster) -> None:
    with psycopg.connect(fifteen.urls.app) as conn:
        conn.execute("select set_config('worka.tenant', 'ten_c', true)")
        conn.execute(
            "select worka.audit_append('ten_c', 3, %s::bytea[], %s::bytea[])", ([b"one", b"two"], [b"m1", b"m2"])
        )
        rows = conn.execute("select seq, prev, hash from worka.audit_entry order by seq").fetchall()
    first = hashlib.sha256(b"" + b"m1" + b"one").digest()
    assert [row[0] for row in rows] == [1, 2]
    assert rows[0][2] == first
    assert rows[1][1:] == (first, hashlib.sha256(first + b"m2" + b"two").digest())


def test_a_segment_is_enqueued_through_our_function_in_our_transaction(fifteen: Cluster) -> None:
    with psycopg.connect(fifteen.urls.app) as conn:
        conn.execute("select set_config('worka.tenant', 'ten_c', true)")
        conn.execute("select worka.enqueue_segment('ten_c', 'task_x', 1, 'task_x:1')")
    with psycopg.connect(fifteen.urls.engine) as conn:
        row = conn.execute("select status from dbos.workflow_status where workflow_uuid = 'task_x:1'").fetchone()
    assert row == ("ENQUEUED",)
