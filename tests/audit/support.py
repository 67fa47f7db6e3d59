"""A ledger with rows, its sealer, and the superuser who tampers with it."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.database import Cluster
from tests.workspaces.world import World
from worka.audit.checkpoints import Checkpoint
from worka.audit.sealer import AuditSealer
from worka.kernel.events import Event
from worka.kernel.paths import Paths


async def write(world: World, rows: int, per_transaction: int = 1, who: str = "owner") -> None:
    """Records events, all of them on lane 3."""
    ctx = world.ctx(who)
    world.recorder.lane = lambda conn: 3  # type: ignore[method-assign]
    for number in range(0, rows, per_transaction):
        async with ctx.transaction():
            for part in range(min(per_transaction, rows - number)):
                ctx.record(Event("test.thing.changed", f"thing_{number + part}", after={"number": number + part}))


def sealer(world: World) -> AuditSealer:
    """The sealer of the world's home."""
    return AuditSealer(world.db, Paths(world.settings.home))


async def seal(world: World) -> Checkpoint:
    """Seals now; there must have been something to seal."""
    made = await sealer(world).seal()
    assert made is not None
    return made


def superuser(cluster: Cluster, sql: str, *parameters: object) -> list[dict[str, Any]]:
    """What somebody with the database's own administrator can do; no row-level security stops it."""
    known = json.loads(cluster.server.secrets.read_text())
    with psycopg.connect(
        host=known["host"],
        port=known["port"],
        user="postgres",
        password=known["admin"],
        dbname="worka",
        row_factory=dict_row,
        autocommit=True,
    ) as conn:
        cursor = conn.execute(sql, parameters)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []
