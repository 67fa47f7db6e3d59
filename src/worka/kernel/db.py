"""The pool and the transaction: the tenant is set per transaction, and without it the application sees no row."""

from __future__ import annotations

import asyncio
import re
import select
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from worka.kernel.disk import DiskFull
from worka.kernel.errors import Unavailable

Connection = psycopg.AsyncConnection[DictRow]
DatabaseError = psycopg.Error
Rollback = psycopg.Rollback

# A process that is stopped, swapped out or cut off inside a transaction keeps its row locks: a task's, or the head of a
# tenant's ledger, which then stands still for everybody. The server ends such a session; our transactions never wait
# for anything but the database. Shorter than a worker's lease.
IDLE_IN_TRANSACTION_SECONDS = 4


# Word of what was committed is sent at once, and while more is committed no more often than this: a person sees no difference.
ANNOUNCE_SECONDS = 0.02


# Row-level security does not bind a superuser, a role with BYPASSRLS, or whoever is the owner of a table or may become it.
ROLE_CHECK = """
    select current_user::text as name, rolsuper or rolbypassrls as bypasses,
           exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                   where n.nspname = 'worka' and c.relkind = 'r' and pg_has_role(c.relowner, 'member')) as owns
    from pg_roles where rolname = current_user
"""

# What needs no escaping between quotes: every id of ours.
_PLAIN = re.compile(r"[A-Za-z0-9_-]*")


async def _check(conn: Connection) -> None:
    """A server that went away has closed its end, and that is seen without asking it: only a socket that has something
    to say while it should be silent is asked. A round trip for every transaction is what the plain check costs."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(conn)


def _quoted(conn: Connection, value: str) -> str:
    return f"'{value}'" if _PLAIN.fullmatch(value) else psycopg.sql.Literal(value).as_string(conn)


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database_unavailable"
    title = "The database does not answer"


class DatabaseRoleUnsafe(Unavailable):
    """The role of the configured address is not bound by the isolation of tenants."""

    code = "database_role_unsafe"
    title = "This database role is not bound by the isolation of tenants"
    default_remedy = (
        "Use the three roles that `worka database setup` makes: WORKA_DATABASE__URL names the application's."
    )


def refuse_unsafe(row: dict[str, Any] | None) -> None:
    """Raises DatabaseRoleUnsafe for a role that could look past the policies. `row` is what ROLE_CHECK found."""
    if row is None or row["bypasses"] or row["owns"]:
        name = row["name"] if row else "unknown"
        why = "owns the tables, or may become their owner" if row and row["owns"] else "can bypass row-level security"
        raise DatabaseRoleUnsafe(f"The role {name} {why}.")


async def _configure(conn: Connection) -> None:
    # Before anything else is asked of it; a connection of an unsafe role is never handed out.
    refuse_unsafe(await (await conn.execute(ROLE_CHECK)).fetchone())
    # Not by the start-up parameter `options`: connection poolers refuse it.
    await conn.execute(f"set idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s'")


class NotReached(Exception):
    """No connection came about. `where`: the server's address; `refused`: it answered, and did not let this role in."""

    def __init__(self, message: str, where: str, *, refused: bool) -> None:
        super().__init__(message)
        self.where, self.refused = where, refused


@asynccontextmanager
async def one_connection(dsn: str, seconds: int = 5) -> AsyncIterator[Connection]:
    """A connection outside of any pool, in autocommit, for a look from outside. Raises NotReached."""
    try:
        conn = await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, row_factory=dict_row, connect_timeout=seconds, application_name="worka-doctor"
        )
    except psycopg.OperationalError as error:
        known = psycopg.conninfo.conninfo_to_dict(dsn)
        # libpq ends with a question, of which the operator knows the answer better.
        said = [line for line in str(error).splitlines() if line.strip() and "Is the server running" not in line]
        told = said[-1].strip().rpartition("failed: ")[2]
        refused = any(word in told for word in ("authentication", "pg_hba", "role", "permission denied", 'database "'))
        host, port = str(known.get("host")), known.get("port", 5432)
        where = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else f"{host}:{port}"
        raise NotReached(told, where, refused=refused) from error
    try:
        yield conn
    finally:
        await conn.close()


class _LastBackFirst(deque[Connection]):
    """The idle connections of a pool, which takes from the left. The one that came back last has its server process's caches and
    plans warm: taking turns among eight of them costs a caller a quarter more for each statement."""

    append = deque.appendleft


class Database:
    """A pool of connections of one role. `dsn` is a libpq URL.

    `reserve` is a second, small pool for what must be written while the caller's transaction holds a connection of the
    first (a denial is recorded on its own): whoever uses it waits for nothing else, so it cannot deadlock."""

    def __init__(self, dsn: str, app_name: str, *, size: int = 8, reserve: int = 2) -> None:
        self.dsn = dsn
        self.reserve = Database(dsn, app_name, size=reserve, reserve=0) if reserve else None
        self._refused: DatabaseRoleUnsafe | None = None
        self._words: set[tuple[str, str]] = set()
        self._announcing: asyncio.Task[None] | None = None
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            min_size=min(1, reserve),
            max_size=size,
            open=False,
            timeout=10,
            max_idle=120,
            check=_check,
            configure=self._prepare,
            # The transactions below are begun and ended by name, in as few exchanges as that takes.
            kwargs={"row_factory": dict_row, "application_name": app_name, "connect_timeout": 5, "autocommit": True},
        )
        # It has no setting for that; tests/kernel/test_transactions.py tells when a newer version does otherwise.
        self._pool._pool = _LastBackFirst()

    async def _prepare(self, conn: Connection) -> None:
        try:
            await _configure(conn)
        except DatabaseRoleUnsafe as refused:
            self._refused = refused
            raise
        self._refused = None

    async def open(self) -> None:
        """Opens the pool; does not wait for the database (readyz tells)."""
        await self._pool.open(wait=False)
        if self.reserve is not None:
            await self.reserve.open()

    async def close(self) -> None:
        """Closes the pool, once everybody was told what was committed; a database that is away is not waited for."""
        if self._announcing is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._announcing, 1)
        if self.reserve is not None:
            await self.reserve.close()
        await self._pool.close(timeout=5)

    @asynccontextmanager
    async def transaction(self, tenant_id: str | None, person_id: str | None = None) -> AsyncIterator[Connection]:
        """One transaction under one tenant (None: rows of no tenant are visible). Raises DatabaseUnavailable.
        `psycopg.Rollback` ends it without a commit and without an error."""
        async with self._connection() as conn:
            tenant, person = _quoted(conn, tenant_id or ""), _quoted(conn, person_id or "")
            # One exchange; on any exception the pool rolls back. No pipeline: while one is open the server waits without
            # the limit above, and a process that is stopped then would keep its locks.
            begin = (
                f"begin; select set_config('worka.tenant', {tenant}, true), set_config('worka.person', {person}, true)"
            )
            await conn.execute(begin, prepare=False)
            try:
                yield conn
            except psycopg.Rollback:
                await conn.rollback()
                return
            ended = await conn.execute("commit", prepare=False)
            if ended.statusmessage != "COMMIT":
                # The server answers COMMIT of a failed transaction with a rollback, and no error.
                raise psycopg.errors.InFailedSqlTransaction("the transaction had failed, and was rolled back")

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Connection]:
        """For one statement that is a transaction of its own, under no tenant: look-ups that the database answers with
        its owner's rights. One exchange. Raises DatabaseUnavailable."""
        async with self._connection() as conn:
            yield conn

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        try:
            async with self._pool.connection() as conn:
                # Before Python 3.12 `asyncio.wait_for`, with which the pool waits, loses a cancellation that comes in the
                # moment a connection is free: the task would go on, and whoever ended it would wait for ever.
                if task is not None and task.cancelling() > asked:
                    raise asyncio.CancelledError
                yield conn
        except psycopg.errors.DiskFull as error:
            said = error.diag.message_primary or "no space left on its disk"
            raise DiskFull(f"The database has no room: {said}.", retry_after=5) from error
        except (PoolTimeout, psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
            if self._refused is not None:
                raise self._refused from error
            raise DatabaseUnavailable("The database did not answer.") from error

    def announce(self, channel: str, word: str) -> None:
        """Tells whoever listens, soon after the commit and not by it: PostgreSQL lets only one transaction with a NOTIFY commit
        at a time, flush to disk included. A word that is lost with this process is made up for by a look (realtime/stream.py)."""
        self._words.add((channel, word))
        if self._announcing is None or self._announcing.done():
            self._announcing = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        pool = self.reserve or self
        while self._words:
            words, self._words = list(self._words), set()
            with suppress(Unavailable, psycopg.Error):
                async with pool.single() as conn:
                    await conn.execute(
                        # What it tells of is on the disk already, so its own commit waits for no disk.
                        "select set_config('synchronous_commit', 'off', true), pg_notify(w.channel, w.word)"
                        " from unnest(%s::text[], %s::text[]) w(channel, word)",
                        ([channel for channel, _ in words], [word for _, word in words]),
                    )
            await asyncio.sleep(ANNOUNCE_SECONDS)

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[Connection]:
        """A connection of its own, in autocommit, that listens on a channel."""
        conn: Any = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, row_factory=dict_row)
        try:
            await conn.execute(psycopg.sql.SQL("listen {}").format(psycopg.sql.Identifier(channel)))
            yield conn
        finally:
            await conn.close()
