"""Every query of realtime."""

from __future__ import annotations

from typing import Any

from worka.kernel.db import Connection

Row = dict[str, Any]


async def newest(conn: Connection) -> tuple[str, int]:
    """The cursor of now: everything committed so far lies before it."""
    cursor = await conn.execute("select pg_snapshot_xmin(pg_current_snapshot())::text as xid")
    row = await cursor.fetchone()
    assert row is not None
    return str(row["xid"]), 0


async def after(conn: Connection, workspace_id: str, xid: str, event_id: int, limit: int) -> list[Row]:
    """Committed events after the cursor, in the order of commits, below the oldest running transaction."""
    cursor = await conn.execute(
        "select e.id, e.xid::text as xid, e.type, e.lane, e.subject, e.subject_name, e.actor_kind, e.actor_id,"
        " e.actor_name,"
        " e.on_behalf_of, p.display_name as on_behalf_name, e.before, e.after, e.cause, e.data, e.trace_id, e.at,"
        " o.id as seat, o.display_name as seat_name"
        " from worka.event e left join worka.person p on p.id = e.on_behalf_of"
        " left join worka.person o on o.id = e.data->>'on_behalf_of'"
        " where e.workspace_id = %s and (e.xid, e.id) > (%s::xid8, %s) and e.xid <"
        " pg_snapshot_xmin(pg_current_snapshot())"
        " order by e.xid, e.id limit %s",
        (workspace_id, xid, event_id, limit),
    )
    return await cursor.fetchall()


async def held_back(conn: Connection, workspace_id: str, xid: str, event_id: int) -> bool:
    """Whether committed events wait for an older transaction to end."""
    cursor = await conn.execute(
        "select exists (select 1 from worka.event where workspace_id = %s and (xid, id) > (%s::xid8, %s)) as waiting",
        (workspace_id, xid, event_id),
    )
    row = await cursor.fetchone()
    return bool(row and row["waiting"])


async def may_still_read(
    conn: Connection, workspace_id: str, kind: str, principal_id: str, credential_id: str | None
) -> str | None:
    """The reader's role in the workspace (`viewer`, `viewer+approver`) while it is enabled and its credential, if it has one,
    still lives; else None."""
    cursor = await conn.execute(
        "select role || case when approver then '+approver' else '' end as role from worka.membership"
        " where workspace_id = %s and principal_kind = %s and principal_id = %s"
        " and (%s <> 'person' or exists (select 1 from worka.person_lookup(%s) where enabled))"
        " and (%s <> 'team_member' or exists (select 1 from worka.team_member where id = %s and enabled))"
        " and (%s <> 'service_account' or exists (select 1 from worka.service_account where id = %s and ended_at is null))"
        " and (%s::text is null or worka.credential_live(%s))",
        (workspace_id, kind, principal_id, *(kind, principal_id) * 3, credential_id, credential_id),
    )
    row = await cursor.fetchone()
    return str(row["role"]) if row else None
