"""A real, migrated PostgreSQL for a test session: the embedded one, or the server whose binaries WORKA_TEST_PG names."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import psycopg.conninfo
import psycopg.sql
import pytest
import pytest_asyncio

from worka.audit import recorder
from worka.kernel.db import Connection, Database
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


class Line:
    """The way to a real database, which can fall silent (what is sent is held back, as by a server that hangs) or be gone
    (cut and refused, as by one that was stopped), and comes back. `dsn` goes by it."""

    def __init__(self, dsn: str) -> None:
        known = psycopg.conninfo.conninfo_to_dict(dsn)
        self._real, self._host, self._port = dsn, str(known["host"]), int(known["port"] or 5432)
        self._flows = asyncio.Event()
        self._flows.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def dsn(self) -> str:
        """As a pool takes it."""
        return psycopg.conninfo.make_conninfo(self._real, host="127.0.0.1", port=self.port)

    async def __aenter__(self) -> Line:
        await self.back()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flows.set()
        await self.away("gone")

    async def away(self, how: str) -> None:
        """`silent` or `gone`."""
        if how == "silent":
            self._flows.clear()
            return
        assert how == "gone"
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def back(self) -> None:
        """As it was."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
            self.port = int(self._server.sockets[0].getsockname()[1])

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._host.startswith("/"):
            far_reader, far = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            far_reader, far = await asyncio.open_connection(self._host, self._port)
        self._open |= {writer, far}
        ways = [asyncio.create_task(self._way(reader, far)), asyncio.create_task(self._way(far_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._open -= {writer, far}
            writer.transport.abort()
            far.transport.abort()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()


async def may_idle(conn: Connection) -> None:
    """This transaction of a test waits for others for as long as a busy machine makes it; the product's stand idle for four seconds."""
    await conn.execute("set local idle_in_transaction_session_timeout = 0")


@asynccontextmanager
async def nobody_writes(db: Database, tenant_id: str, table: str) -> AsyncIterator[None]:
    """The time in which the database lets nobody write to this table; what waited goes on at its end."""
    async with db.transaction(tenant_id) as conn:
        await may_idle(conn)
        await conn.execute(psycopg.sql.SQL("lock table worka.{} in share mode").format(psycopg.sql.Identifier(table)))
        yield


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
