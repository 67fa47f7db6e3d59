"""What `worka doctor` reads of the database by itself, without a server and over one connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worka.kernel.clock import now
from worka.kernel.db import NotReached, one_connection
from worka.observability import store
from worka.packs import store as packs
from worka.treasury import store as treasury

Row = dict[str, Any]
Unreachable = NotReached
SINCE = "0027"
"""The migration from which on the application role may read what is read here."""


@dataclass(frozen=True)
class Vitals:
    """`trouble`: the role is not the application's; then nothing else was read. Ages are by the database's clock."""

    server: str
    role: str
    milliseconds: float
    at: datetime
    skew_seconds: float
    trouble: str = ""
    schema_version: str = ""
    read_only: str = ""
    key_ids: tuple[str, ...] = ()
    ledger_moved_at: datetime | None = None
    authorities: tuple[Row, ...] = ()
    seal: Row | None = None
    secrets_ending: tuple[Row, ...] = ()
    processes: tuple[Row, ...] = ()
    objects_named: frozenset[str] = frozenset()


async def read(url: str) -> Vitals:
    """Raises NotReached."""
    async with one_connection(url) as conn:
        began = now()
        told = await store.identity(conn)
        ended = now()
        # The database answered between the two; the middle is the best guess of when.
        skew = (told["at"] - (began + (ended - began) / 2)).total_seconds()
        seen = {
            "server": told["server"],
            "role": told["role"],
            "milliseconds": (ended - began).total_seconds() * 1000,
            "at": told["at"],
            "skew_seconds": skew,
        }
        if told["superuser"] or told["bypasses"]:
            return Vitals(
                **seen, trouble=f"{told['role']} passes by row-level security: it is no role for the application"
            )
        if told["owner"] == told["role"]:
            return Vitals(**seen, trouble=f"{told['role']} owns the tables: it is the migrator's role")
        if told["owner"] is None:
            return Vitals(**seen)
        if not told["may"]:
            return Vitals(**seen, trouble=f"{told['role']} may not read and write the tables of schema worka")
        version = await store.schema_version(conn)
        if version < SINCE:
            return Vitals(**seen, schema_version=version)
        return Vitals(
            **seen,
            schema_version=version,
            read_only=await store.try_to_write(conn),
            key_ids=tuple(await store.master_key_ids(conn)),
            ledger_moved_at=await store.ledger_moved_at(conn),
            authorities=tuple(await store.authorities(conn)),
            processes=tuple(await store.processes(conn)),
            objects_named=frozenset(await packs.objects_named(conn)),
            seal=await treasury.sealed(conn),
            secrets_ending=tuple(await store.secrets_ending(conn)),
        )
