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


async def roles_everywhere(
    conn: Connection, principal_kind: str, principal_id: str, within: str | None = None
) -> list[str]:
    """The roles that a principal holds in every workspace of the tenant: what counts for a tenant-wide change. `within`: only
    this workspace counts for it, so that it holds a role everywhere only where there is no other workspace."""
    cursor = await conn.execute(
        "select m.role from worka.membership m where m.principal_kind = %s and m.principal_id = %s"
        " and (%s::text is null or m.workspace_id = %s) group by m.role"
        " having count(*) = (select count(*) from worka.workspace)",
        (principal_kind, principal_id, within, within),
    )
    return [row["role"] for row in await cursor.fetchall()]


async def owners_everywhere(conn: Connection) -> list[str]:
    """The enabled people who are owners of every workspace of the tenant."""
    cursor = await conn.execute(
        "select m.principal_id from worka.membership m join worka.person p on p.id = m.principal_id and p.enabled"
        " where m.principal_kind = 'person' and m.role = 'owner' group by m.principal_id"
        " having count(*) = (select count(*) from worka.workspace) order by 1"
    )
    return [row["principal_id"] for row in await cursor.fetchall()]


async def tenant_ids(conn: Connection) -> list[str]:
    """The tenants of the deployment: ids only."""
    cursor = await conn.execute("select t as tenant_id from worka.tenants_all() as t order by 1")
    return [row["tenant_id"] for row in await cursor.fetchall()]


async def workspace_ids(conn: Connection) -> list[str]:
    """The workspaces of the tenant, by age."""
    cursor = await conn.execute("select id from worka.workspace order by created_at, id")
    return [row["id"] for row in await cursor.fetchall()]


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
        "select m.*, coalesce(p.display_name, t.name, a.name, m.principal_id) as name, p.email,"
        " coalesce(p.enabled, t.enabled, true) as enabled, coalesce(p.operator, false) as operator, coalesce(t.owner_person_id, a.owner_person_id) as"
        " owner_person_id from worka.membership m"
        " left join worka.person p on m.principal_kind = 'person' and p.id = m.principal_id"
        " left join worka.team_member t on m.principal_kind = 'team_member' and t.tenant_id = m.tenant_id"
        " and t.id = m.principal_id left join worka.service_account a on m.principal_kind = 'service_account'"
        " and a.tenant_id = m.tenant_id and a.id = m.principal_id where m.workspace_id = %s order by m.created_at, m.principal_id",
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


# limits -------------------------------------------------------------------------------------------------------------
async def limits_in_force(conn: Connection) -> list[Row]:
    """Every setting that holds somewhere in the tenant, the deployment's among them."""
    cursor = await conn.execute(
        "select * from worka.limit_in_force order by name, scope, layer, workspace_id, member_id"
    )
    return await cursor.fetchall()


async def bounds_of(conn: Connection, name: str, workspace_id: str, member_id: str) -> list[Row]:
    """The settings of one limit that concern a member in a workspace."""
    cursor = await conn.execute(
        "select * from worka.limit_in_force where name = %s and workspace_id in ('', %s) and member_id in ('', %s)",
        (name, workspace_id, member_id),
    )
    return await cursor.fetchall()


async def lock_invitations(conn: Connection, workspace_id: str) -> None:
    """Whoever invites into this workspace at the same time waits: each sees the other's invitation, or none is there."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 13))", (workspace_id,))


async def lock_limit(conn: Connection, tenant_id: str, name: str) -> None:
    """Who counts against a limit of the tenant does so alone until its transaction ends, so that two who race for the last
    place do not both find it free."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 12))", (f"{tenant_id}/{name}",))


async def limit_setting(conn: Connection, row: Row) -> Row | None:
    """A setting by its key, also one that was taken away (`value` is null)."""
    cursor = await conn.execute(
        "select * from worka.quota where layer = %(layer)s and scope = %(scope)s and workspace_id = %(workspace_id)s"
        " and member_id = %(member_id)s and name = %(name)s",
        row,
    )
    return await cursor.fetchone()


async def set_limit(conn: Connection, row: Row) -> Row | None:
    """Writes a setting with its next revision; None if it is not at `known` any more (None: whatever it is at)."""
    cursor = await conn.execute(
        "insert into worka.quota as q (tenant_id, layer, scope, workspace_id, member_id, name, value, reason, set_by,"
        " set_by_name) select %(tenant_id)s, %(layer)s, %(scope)s, %(workspace_id)s, %(member_id)s, %(name)s,"
        " %(value)s::bigint, %(reason)s, %(set_by)s, %(set_by_name)s where coalesce(%(known)s::integer, 0) = 0 or exists"
        " (select 1 from worka.quota o where o.layer = %(layer)s and o.scope = %(scope)s and o.name = %(name)s"
        " and o.workspace_id = %(workspace_id)s and o.member_id = %(member_id)s)"
        " on conflict (tenant_id, layer, scope, workspace_id, member_id, name) do update set value = excluded.value,"
        " revision = q.revision + 1, reason = excluded.reason, set_by = excluded.set_by,"
        " set_by_name = excluded.set_by_name, set_at = clock_timestamp()"
        " where %(known)s::integer is null or q.revision = %(known)s::integer returning q.*",
        row,
    )
    return await cursor.fetchone()


async def deployment_limits(conn: Connection) -> list[Row]:
    """What the deployment gives each tenant, workspace and member; also what was taken away again (`value` is null)."""
    cursor = await conn.execute("select * from worka.deployment_quota order by name, scope")
    return await cursor.fetchall()


async def set_deployment_limit(conn: Connection, row: Row) -> Row | None:
    """Like `set_limit`, for all tenants."""
    cursor = await conn.execute(
        "select * from worka.deployment_quota_set(%(scope)s, %(name)s, %(value)s::bigint, %(known)s::integer, %(reason)s,"
        " %(set_by)s, %(set_by_name)s)",
        row,
    )
    return await cursor.fetchone()


async def rate_lease(
    conn: Connection, tenant_id: str, key: str, capacity: int, seconds: int, want: int, unspent: int
) -> Row:
    """Takes up to `want` out of a bucket that fills by `capacity` in `seconds`, after `unspent` was given back to it:
    {granted, tokens: what is left}. A bucket that was made larger is fuller by that at once. A clock that was set back
    fills nothing, and takes nothing away."""
    cursor = await conn.execute(
        "with wish as (select %(capacity)s::bigint as capacity, %(seconds)s::integer as seconds, %(want)s::bigint as want,"
        " %(unspent)s::bigint as unspent)"
        " insert into worka.rate_bucket as b (tenant_id, key, capacity, seconds, tokens, granted)"
        " select %(tenant_id)s, %(key)s, capacity, seconds, capacity - least(want, capacity), least(want, capacity) from wish"
        " on conflict (tenant_id, key) do update set (capacity, seconds, at, tokens, granted) = (select w.capacity,"
        " w.seconds, clock_timestamp(), f.full - least(w.want, floor(f.full)), least(w.want, floor(f.full)) from wish w,"
        " lateral (select least(w.capacity, b.tokens + w.unspent + greatest(0, w.capacity - b.capacity)"
        " + w.capacity::double precision / w.seconds"
        " * greatest(0, extract(epoch from clock_timestamp() - b.at))) as full) f) returning granted, tokens",
        {
            "tenant_id": tenant_id,
            "key": key,
            "capacity": capacity,
            "seconds": seconds,
            "want": want,
            "unspent": unspent,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return row


async def rates_used(conn: Connection, prefix: str) -> list[Row]:
    """What is used up of the tenant's buckets of one limit by now: {key, used}."""
    cursor = await conn.execute(
        "select key, greatest(0, ceil(capacity - least(capacity, tokens + capacity::double precision / seconds"
        " * greatest(0, extract(epoch from clock_timestamp() - at)))))::bigint as used from worka.rate_bucket"
        " where starts_with(key, %s)",
        (prefix,),
    )
    return await cursor.fetchall()


async def members_counted(conn: Connection) -> list[Row]:
    """How many members each workspace of the tenant has, people and AI team members: {workspace_id, members}."""
    cursor = await conn.execute("select workspace_id, count(*) as members from worka.membership group by workspace_id")
    return await cursor.fetchall()


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
