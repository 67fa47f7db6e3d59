"""Every query of authorization: who holds what where, now; and the versions of policy in force."""

from __future__ import annotations

from typing import Any

from worka.kernel.db import Connection

Row = dict[str, Any]


async def policy_versions(conn: Connection) -> dict[str, int]:
    """The newest version of each kind (`access`, `governance`) of the tenant; 0 where it has none."""
    cursor = await conn.execute("select kind, max(version) as version from worka.policy_version group by kind")
    return {"access": 0, "governance": 0, **{row["kind"]: row["version"] for row in await cursor.fetchall()}}


async def standing(conn: Connection, workspace_id: str | None, kind: str, principal_id: str) -> Row:
    """All that a decision needs to know of a principal in a place, in one statement: `role` and `approver` of its
    membership there, `person` {display_name, enabled, operator} or `member` {name, enabled, tools, owner_person_id} as it
    is now, and `versions` of policy {kind: newest}."""
    cursor = await conn.execute(
        "select m.role, m.approver,"
        " (select jsonb_build_object('display_name', p.display_name, 'enabled', p.enabled, 'operator', p.operator)"
        " from worka.person_lookup(%(id)s) p where %(kind)s = 'person') as person,"
        " (select jsonb_build_object('name', t.name, 'enabled', t.enabled, 'tools', t.tools, 'owner_person_id',"
        " t.owner_person_id) from worka.team_member t where t.id = %(id)s and %(kind)s = 'team_member') as member,"
        " (select jsonb_object_agg(v.kind, v.version) from (select kind, max(version) as version"
        " from worka.policy_version group by kind) v) as versions"
        " from (values (1)) one left join worka.membership m on m.workspace_id = %(workspace)s"
        " and m.principal_kind = %(kind)s and m.principal_id = %(id)s",
        {"workspace": workspace_id, "kind": kind, "id": principal_id},
    )
    found = await cursor.fetchone()
    assert found is not None
    return {**found, "versions": {"access": 0, "governance": 0, **(found["versions"] or {})}}


async def policy(conn: Connection, kind: str, version: int) -> dict[str, Any] | None:
    """One version, with its text, note, owner and time."""
    cursor = await conn.execute("select * from worka.policy_version where kind = %s and version = %s", (kind, version))
    return await cursor.fetchone()
