"""Every query of what waits before it is recorded, and of which credentials go to a name. The tenant is the transaction's
(row-level security)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]
REASONS = {
    "open": ("waiting_for_approver",),
    "recorded": ("way_recorded",),
    "closed": ("way_rejected", "way_not_decided", "way_superseded"),
}
"""The states of a change, each with the reasons that it may have."""


async def carried(conn: Connection, workspace_id: str, name: str, port: int) -> list[Row]:
    """{kind, id, name, provider, person_id} of every credential of the workspace that goes to this place: of connections that
    have not ended, of clients at providers (their token endpoints too), of registries that are written to with one. The name is
    compared as the broker compares it, however it was written."""
    cursor = await conn.execute(
        "select 'connection' as kind, c.id, c.name, c.provider, c.person_id from worka.connection c"
        " where c.workspace_id = %(workspace)s and c.port = %(port)s and rtrim(lower(c.host), '.') = %(name)s"
        " and c.state not in ('revoked', 'rejected')"
        " union all select distinct 'provider_client', p.id, p.provider, p.provider, null from worka.platform_rule r"
        " join worka.provider_client p on p.tenant_id = r.tenant_id and p.id = r.subject_id and p.ended_at is null"
        " where r.purpose = 'connection' and r.workspace_id = %(workspace)s and r.ended_at is null and r.port = %(port)s"
        " and rtrim(lower(r.host), '.') = %(name)s"
        " union all select distinct 'destination', d.id, d.name, '', null from worka.platform_rule r"
        " join worka.destination d on d.tenant_id = r.tenant_id and d.id = r.subject_id and d.credential is not null"
        " where r.purpose = 'registry' and r.workspace_id = %(workspace)s and r.ended_at is null and r.port = %(port)s"
        " and rtrim(lower(r.host), '.') = %(name)s order by 1, 2",
        {"workspace": workspace_id, "name": name, "port": port},
    )
    return await cursor.fetchall()


async def add(conn: Connection, row: Mapping[str, Any]) -> Row:
    """A change that waits for its second person."""
    cursor = await conn.execute(
        "insert into worka.way_change (tenant_id, id, workspace_id, kind, name, port, settings, replaces, carries, digest,"
        " reason, proposed_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(kind)s, %(name)s, %(port)s, %(settings)s,"
        " %(replaces)s, %(carries)s, %(digest)s, 'waiting_for_approver', %(proposed_by)s) returning *",
        {**row, "settings": Jsonb(row["settings"]), "carries": Jsonb(row["carries"])},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def set_approval(conn: Connection, change_id: str, approval_id: str) -> Row:
    """Which approval it waits for."""
    cursor = await conn.execute(
        "update worka.way_change set approval_id = %s where id = %s returning *", (approval_id, change_id)
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def get(conn: Connection, change_id: str, *, lock: bool = False) -> Row | None:
    """One change."""
    plain, locking = (
        "select * from worka.way_change where id = %s",
        "select * from worka.way_change where id = %s for update",
    )
    return await (await conn.execute(locking if lock else plain, (change_id,))).fetchone()


async def page(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The changes of a workspace, newest first, those too that ended."""
    cursor = await conn.execute(
        "select * from worka.way_change where workspace_id = %s and (%s::text is null or id < %s)"
        " order by id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def open_for(conn: Connection, workspace_id: str, name: str, port: int) -> list[Row]:
    """The changes of one place that wait, locked."""
    cursor = await conn.execute(
        "select * from worka.way_change where workspace_id = %s and name = %s and port = %s and state = 'open'"
        " order by id for update",
        (workspace_id, name, port),
    )
    return await cursor.fetchall()


async def end(conn: Connection, change_id: str, reason: str, made_id: str | None = None) -> Row | None:
    """Ends a change that waits: recorded, as what; or closed, and why. None when it had ended."""
    state = "closed" if made_id is None else "recorded"
    if reason not in REASONS[state]:
        raise ValueError(f"a change is never {state} for the reason {reason!r}")
    cursor = await conn.execute(
        "update worka.way_change set state = %s, reason = %s, made_id = %s, since = clock_timestamp()"
        " where id = %s and state = 'open' returning *",
        (state, reason, made_id, change_id),
    )
    return await cursor.fetchone()
