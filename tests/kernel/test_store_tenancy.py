"""Every store function, called by another tenant on real rows: it sees nothing of them and changes nothing."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg
import pytest

import worka
from tests.kernel.filled import blank, fill
from tests.kernel.store_calls import CALLS, Entry
from tests.support.database import Cluster
from worka.kernel.db import Connection, Database
from worka.kernel.ids import new_id

ROOT = Path(worka.__file__).parent
DOMAINS = sorted(
    ".".join(path.relative_to(ROOT).parts)
    for path in [
        *(file.parent for file in ROOT.rglob("store.py")),
        *(file.parent.parent for file in ROOT.rglob("store/__init__.py")),
    ]
)


Judge = psycopg.Connection[tuple[Any, ...]]


def store_of(name: str) -> ModuleType:
    """The store module of a domain."""
    return importlib.import_module(f"worka.{name}.store")


def files_of(domain: str) -> list[ModuleType]:
    """The store of a domain: one module, or the files of a package. What these share (`rows`) asks nothing by itself."""
    store = store_of(domain)
    parts = [part.name for part in pkgutil.iter_modules(getattr(store, "__path__", [])) if part.name != "rows"]
    return [store, *(importlib.import_module(f"{store.__name__}.{part}") for part in parts)]


def functions() -> dict[str, Any]:
    """Every public function of every store, by `domain.function`."""
    return {
        f"{domain}.{name}": function
        for domain in DOMAINS
        for file in files_of(domain)
        for name, function in vars(file).items()
        if inspect.isfunction(function) and function.__module__ == file.__name__ and not name.startswith("_")
    }


@pytest.fixture(scope="module")
def world(cluster: Cluster, admin: Judge) -> SimpleNamespace:
    """A tenant with a row in every table, and another one that is real too."""
    filled = blank()

    async def make() -> None:
        db = Database(cluster.urls.app, "filled", size=2)
        await db.open()
        try:
            await fill(db, filled)
            filled.elsewhere, filled.unborn = new_id("ten"), new_id("ten")
            async with db.transaction(filled.elsewhere) as conn:
                await conn.execute(
                    "insert into worka.tenant (tenant_id, slug, name, created_by) values (%s, %s, 'Other', 'test')",
                    (filled.elsewhere, filled.elsewhere[4:]),
                )
        finally:
            await db.close()

    asyncio.run(make())
    head = admin.execute("select hash from worka.audit_head where tenant_id = %s", (filled.tenant,)).fetchone()
    assert head is not None
    filled.hash = bytes(head[0]).hex()
    return filled


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Iterator[Judge]:
    """The cluster's administrator, who sees every row."""
    known = json.loads((cluster.home / "admin" / "database.json").read_text())
    with psycopg.connect(
        host=known["host"],
        port=known["port"],
        user="postgres",
        password=known["admin"],
        dbname="worka",
        autocommit=True,
    ) as conn:
        yield conn


def tables(admin: Judge) -> list[tuple[str, bool]]:
    """(table, whether its rows have a tenant), the engine's too; signs of life and the migrations' own are nobody's."""
    return admin.execute(
        "select n.nspname || '.' || c.relname, exists (select 1 from pg_attribute a where a.attrelid = c.oid"
        " and a.attname = 'tenant_id' and not a.attisdropped) from pg_class c join pg_namespace n on n.oid ="
        " c.relnamespace where n.nspname in ('worka', 'dbos') and c.relkind in ('r', 'p') and c.relname not in"
        " ('process', 'worka_version') order by 1"
    ).fetchall()


def picture(admin: Judge, tenant: str) -> dict[str, str]:
    """A digest per table: of the tenant's rows, and of whole tables where rows have no tenant."""
    parts, values = [], []
    for name, has_tenant in tables(admin):
        where = "where t.tenant_id = %s" if has_tenant else ""
        values += [name] + ([tenant] if has_tenant else [])
        parts.append(f"select %s, md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {name} t {where}")
    return dict(admin.execute(" union all ".join(parts), values).fetchall())  # type: ignore[arg-type]


async def own_picture(conn: Connection) -> str:
    """The same of what the tenant itself sees inside its transaction."""
    cursor = await conn.execute(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_policy p on p.polrelid"
        " = c.oid and p.polname = 'tenant_isolation' where n.nspname = 'worka' and c.relkind in ('r', 'p') order by 1"
    )
    names = [row["relname"] for row in await cursor.fetchall()]
    parts = [f"select string_agg(t::text, '|' order by t::text) as rows from worka.{name} t" for name in names]
    cursor = await conn.execute(" union all ".join(parts))  # type: ignore[arg-type]
    return repr([row["rows"] for row in await cursor.fetchall()])


async def answer_of(entry: Entry, name: str, conn: Connection, world: SimpleNamespace) -> Any:
    """What the function gives, whole."""
    found = entry.call(store_of(name.rpartition(".")[0]), conn, world)
    if inspect.isasyncgen(found):
        return [item async for item in found]
    return await found


def nothing(answer: Any) -> bool:
    """Whether an answer shows no row: empty, zero, false, or made of such parts only."""
    if isinstance(answer, dict):
        return all(nothing(value) for value in answer.values())
    if isinstance(answer, tuple):
        return all(nothing(part) for part in answer)
    return not answer


def test_every_store_function_is_called_here() -> None:
    known = set(functions())
    assert len(known) > 200
    missing = sorted(known - set(CALLS))
    assert not missing, (
        f'no test calls {", ".join(missing)} as the wrong tenant: add an entry `"domain.function": reads(…)`, writes(…),'
        " refused(…) or deployment(…) to CALLS in tests/kernel/store_calls.py (its docstring says which)"
    )
    assert sorted(set(CALLS) - known) == [], "these entries of CALLS have no function any more"


def test_every_table_of_a_tenant_has_a_row_to_be_found(admin: Judge, world: SimpleNamespace) -> None:
    digests = picture(admin, world.tenant)
    nobody = picture(admin, "nobody")
    empty = [name for name, has_tenant in tables(admin) if has_tenant and digests[name] == nobody[name]]
    assert empty == [], f"write a row of {empty} in tests/kernel/filled.py: an empty table proves nothing"


@pytest.mark.capability("DEP-10")
@pytest.mark.parametrize("domain", DOMAINS)
async def test_no_store_function_reaches_a_row_of_another_tenant(
    db: Database, admin: Judge, world: SimpleNamespace, domain: str
) -> None:
    found = [await fault_of(db, admin, world, name) for name in sorted(CALLS) if name.rpartition(".")[0] == domain]
    assert [fault for fault in found if fault] == []


async def fault_of(db: Database, admin: Judge, world: SimpleNamespace, name: str) -> str:
    """What another tenant saw or changed by calling a store function; empty if nothing."""
    entry = CALLS[name]
    before = picture(admin, world.tenant)
    error: Exception | None = None
    answer: Any = None
    try:
        async with db.transaction(world.elsewhere) as conn:
            answer = await answer_of(entry, name, conn, world)
    except (psycopg.errors.InsufficientPrivilege, AssertionError) as raised:
        error = raised
    after = picture(admin, world.tenant)
    mine = {table for table, has_tenant in tables(admin) if has_tenant and table != "worka.one_time_token"}
    changed = sorted(table for table in after if after[table] != before[table])
    if entry.kind == "deployment":
        # What belongs to the deployment may change; no row of a tenant does.
        changed = [table for table in changed if table in mine]
        shown = answer if isinstance(answer, list) else [answer]
        columns = {key for row in shown if isinstance(row, dict) and entry.columns for key in row} - entry.columns
        if error is not None or columns:
            return f"{name} shows more than it may: {columns or error!r}"
    if changed:
        return f"{name} changed another tenant's rows in {changed}"
    if entry.kind == "refused" and not isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{name} was not refused: {answer!r} {error!r}"
    if entry.kind in ("reads", "writes") and not nothing(answer):
        return f"{name} shows another tenant {answer!r}"
    # A function that changes a row may insist that there is one: not to see it is the same as that there is none.
    if (entry.kind == "reads" and error is not None) or (
        entry.kind == "writes" and error and type(error) is not AssertionError
    ):
        return f"{name} fails for another tenant: {error!r}"
    return ""


@pytest.mark.capability("DEP-10")
@pytest.mark.parametrize("domain", DOMAINS)
async def test_the_same_calls_reach_the_rows_of_their_own_tenant(
    db: Database, world: SimpleNamespace, domain: str
) -> None:
    idle = []
    for name, entry in sorted(CALLS.items()):
        if name.rpartition(".")[0] != domain or entry.kind == "deployment":
            continue
        async with db.transaction(getattr(world, entry.under)) as conn:
            before = await own_picture(conn) if entry.kind == "writes" else ""
            answer = await answer_of(entry, name, conn, world)
            if entry.kind == "reads" and nothing(answer):
                idle.append(f"{name} shows its own tenant nothing")
            if entry.kind == "writes" and await own_picture(conn) == before:
                idle.append(f"{name} changes nothing of its own tenant")
            raise psycopg.Rollback
    assert idle == [], "the other test proves nothing for these"
