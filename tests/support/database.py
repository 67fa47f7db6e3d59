"""A real, migrated PostgreSQL for a test session: the embedded one, or the server whose binaries WORKA_TEST_PG names."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from worka.audit import recorder
from worka.kernel.db import Database
from worka.kernel.migrate import migrate
from worka.kernel.postgres import ROLES, EmbeddedPostgres, Urls

LEDGER_PATIENCE = recorder.PATIENCE_SECONDS
"""How long the product waits for the ledger; a test in memory waits for longer, but where that is what it is about: a machine
that is busy with the other stream lets a statement wait for a second."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster and its home."""

    home: Path
    urls: Urls
    server: EmbeddedPostgres


def reachable_directory(prefix: str) -> Path:
    """A temporary directory that system users may enter (pytest's own lies under a 0700 folder)."""
    base = Path("/var/lib/worka") if os.geteuid() == 0 else Path(tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    path.chmod(0o755)
    return path


def migrated(prefix: str, binaries: Path | None = None) -> Iterator[Cluster]:
    """A cluster on an empty home, migrated as `worka up` does it; gone when the generator is closed."""
    from worka.workflows.adapters.dbos_engine import migrate_engine

    home = reachable_directory(prefix)
    server = EmbeddedPostgres(home, binaries)
    urls = server.start()
    try:
        migrate_engine(urls.migrator, ROLES["engine"])
        migrate(urls.migrator, app_role=ROLES["app"], engine_role=ROLES["engine"])
        yield Cluster(home, urls, server)
    finally:
        server.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One migrated cluster for the whole session; tests keep apart by tenant."""
    recorder.PATIENCE_SECONDS = 10 * LEDGER_PATIENCE
    named = os.environ.get("WORKA_TEST_PG")
    yield from migrated("test-db-", Path(named) if named else None)


@pytest_asyncio.fixture
async def db(cluster: Cluster) -> AsyncIterator[Database]:
    """The application role's pool."""
    database = Database(cluster.urls.app, "test", size=8)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
