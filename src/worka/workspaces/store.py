"""Every query of workspaces."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.kernel.db import Connection

Row = dict[str, Any]


async def enter_tenant(conn: Connection, tenant_id: str) -> None:
    """Goes on with this transaction inside a tenant that it has just made, or been invited to."""
    await conn.execute("select set_config('worka.tenant', %s, true)", (tenant_id,))


async def memberships_of(conn: Connection, principal_kind: str, principal_id: str) -> list[Row]:
    """Where a principal is a member, over all tenants: tenant_id, workspace_id, role. Ids only."""
    cursor = await conn.execute(
        "select * from worka.memberships_of(%s, %s) order by tenant_id, workspace_id", (principal_kind, principal_id)
    )
    return await cursor.fetchall()


async def roles_of(conn: Connection, workspace_id: str, principal_kind: str, principal_id: str) -> list[str]:
    """The roles of a principal in a workspace of the tenant: its role, and `approver` if it is a named one."""
    row = await membership(conn, workspace_id, principal_kind, principal_id)
    if row is None:
        return []
    return [row["role"], "approver"] if row["approver"] else [row["role"]]


async def roles_everywhere(conn: Connection, principal_kind: str, principal_id: str) -> list[str]:
    """The roles that a principal holds in every workspace of the tenant: what counts for a tenant-wide change."""
    cursor = await conn.execute(
        "select m.role from worka.membership m where m.principal_kind = %s and m.principal_id = %s group by m.role"
        " having count(*) = (select count(*) from worka.workspace)",
        (principal_kind, principal_id),
    )
    return [row["role"] for row in await cursor.fetchall()]


async def membership(conn: Connection, workspace_id: str, principal_kind: str, principal_id: str) -> Row | None:
    """One membership."""
    cursor = await conn.execute(
        "select * from worka.membership where workspace_id = %s and principal_kind = %s and principal_id = %s",
        (workspace_id, principal_kind, principal_id),
    )
    return await cursor.fetchone()


async def members(conn: Connection, workspace_id: str) -> list[Row]:
    """Every membership of a workspace with a name to show; complete, since who can do what depends on it (AUT-12)."""
    cursor = await conn.execute(
        "select m.*, coalesce(p.display_name, t.name, m.principal_id) as name, p.email,"
        " coalesce(p.enabled, t.enabled, true) as enabled, t.owner_person_id from worka.membership m"
        " left join worka.person p on m.principal_kind = 'person' and p.id = m.principal_id"
        " left join worka.team_member t on m.principal_kind = 'team_member' and t.tenant_id = m.tenant_id"
        " and t.id = m.principal_id where m.workspace_id = %s order by m.created_at, m.principal_id",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def add_member(conn: Connection, row: Row) -> Row | None:
    """Inserts a membership; None if there is one."""
    cursor = await conn.execute(
        "insert into worka.membership (tenant_id, workspace_id, principal_kind, principal_id, role, approver,"
        " created_by) values (%(tenant_id)s, %(workspace_id)s, %(principal_kind)s, %(principal_id)s, %(role)s,"
        " %(approver)s, %(created_by)s) on conflict do nothing returning *",
        row,
    )
    return await cursor.fetchone()


async def change_member(
    conn: Connection, workspace_id: str, kind: str, principal_id: str, role: str, approver: bool
) -> Row:
    """Writes role and approver mark."""
    cursor = await conn.execute(
        "update worka.membership set role = %s, approver = %s where workspace_id = %s and principal_kind = %s"
        " and principal_id = %s returning *",
        (role, approver, workspace_id, kind, principal_id),
    )
    row = await cursor.fetchone()
    assert row is not None
    return row


async def remove_member(conn: Connection, workspace_id: str, kind: str, principal_id: str) -> None:
    """Deletes a membership."""
    await conn.execute(
        "delete from worka.membership where workspace_id = %s and principal_kind = %s and principal_id = %s",
        (workspace_id, kind, principal_id),
    )


async def lock_members(conn: Connection, workspace_id: str, kind: str, principal_id: str) -> list[Row]:
    """A membership, if there is one, and every owner's, as they are now. Locks them, in one order, so that who changes
    what it has read changes what is, and two owners cannot leave at once."""
    cursor = await conn.execute(
        "select * from worka.membership where workspace_id = %s"
        " and (role = 'owner' or (principal_kind = %s and principal_id = %s)) order by principal_kind, principal_id"
        " for update",
        (workspace_id, kind, principal_id),
    )
    return await cursor.fetchall()


async def create_tenant(conn: Connection, row: Row) -> bool:
    """Inserts a tenant (tenant_id, slug, name, created_by); entered before. False: the slug is taken."""
    cursor = await conn.execute(
        "insert into worka.tenant (tenant_id, slug, name, created_by)"
        " values (%(tenant_id)s, %(slug)s, %(name)s, %(created_by)s) on conflict (slug) do nothing",
        row,
    )
    return cursor.rowcount == 1


async def create_workspace(conn: Connection, row: Row) -> None:
    """Inserts a workspace (tenant_id, id, slug, name, created_by)."""
    await conn.execute(
        "insert into worka.workspace (tenant_id, id, slug, name, created_by)"
        " values (%(tenant_id)s, %(id)s, %(slug)s, %(name)s, %(created_by)s)",
        row,
    )


async def workspace(conn: Connection, workspace_id: str) -> Row | None:
    """A workspace of the tenant, with the tenant's name."""
    cursor = await conn.execute(
        "select w.*, t.slug as tenant_slug, t.name as tenant_name from worka.workspace w"
        " join worka.tenant t on t.tenant_id = w.tenant_id where w.id = %s",
        (workspace_id,),
    )
    return await cursor.fetchone()


_ONLY_USE = r"^(broker\.|treasury\.lease\.|treasury\.secret\.leased|approval\.(requested|used|vote|decision)|identity\.s|audit\.)"


async def changes_before(
    conn: Connection, workspace_id: str, onset: datetime, apart_from: list[str], most: int
) -> list[Row]:
    """The newest changes of capability, access, secrets, policy, sharing, services or settings in the workspace, or of
    its whole tenant, in the day before a moment: of each thing its newest change. What was done to `apart_from` itself is
    not among them, nor what only used something and changed nothing: a lease, a request that left, a sign-in, a vote."""
    cursor = await conn.execute(
        "select * from (select distinct on (subject) id, at, type, subject, subject_name, actor_name, actor_id,"
        " after ->> 'state' as state from worka.event"
        " where (workspace_id = %s or workspace_id is null) and at < %s and at > %s - interval '1 day'"
        " and subject <> all(%s) and (lane <> 'work' or type like 'workflow.definition.%%') and type !~ %s"
        " order by subject, at desc, id desc) as newest order by at desc, id desc limit %s",
        (workspace_id, onset, onset, apart_from, _ONLY_USE, most),
    )
    return await cursor.fetchall()
