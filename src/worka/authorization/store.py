"""Every query of authorization: who holds what where, now; and the versions of policy in force."""

from __future__ import annotations

from typing import Any

from worka.authorization import layers
from worka.authorization.layers import InForce
from worka.kernel.db import Connection

Row = dict[str, Any]


# Ids and versions only, so that one index answers; a place whose glass is broken has no version of its own meanwhile.
_IN_FORCE = (
    " (select jsonb_object_agg(v.kind || ' ' || v.scope, v.version) from (select kind, scope, max(version) as version"
    " from worka.policy_version where scope in ('', %(workspace)s) group by kind, scope union all"
    " select kind, '*', max(version) from worka.deployment_policy group by kind) v where not exists (select 1 from"
    " worka.policy_break_glass b where b.scope = v.scope and b.ended_at is null and b.until > now())) as versions,"
    " (select jsonb_agg(to_jsonb(k)) from (select id, kind, subject, workspace_id, reason, state, exempt, set_by,"
    " set_by_name, by_operator, by_owner, at from worka.kill where state <> 'lifted' order by id) k) as kills"
)


async def in_force(conn: Connection, workspace_id: str | None) -> InForce:
    """The layers of both kinds as they hold in a workspace (None: in the tenant), and the kill switches that are on."""
    cursor = await conn.execute(f"select {_IN_FORCE}", {"workspace": workspace_id})
    found = await cursor.fetchone()
    assert found is not None
    return layers.in_force(found["versions"], found["kills"], workspace_id)


async def standing(conn: Connection, workspace_id: str | None, kind: str, principal_id: str) -> Row:
    """All that a decision needs to know of a principal in a place, in one statement: `role` and `approver` of its
    membership there, `person` {display_name, enabled, operator}, `member` {name, enabled, tools, owner_person_id} or
    `account` {name, enabled, owner_person_id} as it is now, and `in_force`: versions of policy and kill switches."""
    cursor = await conn.execute(
        "select m.role, m.approver,"  # noqa: S608 - our own constant
        " (select jsonb_build_object('display_name', p.display_name, 'enabled', p.enabled, 'operator', p.operator)"
        " from worka.person_lookup(%(id)s) p where %(kind)s = 'person') as person,"
        " (select jsonb_build_object('name', t.name, 'enabled', t.enabled, 'tools', t.tools, 'owner_person_id',"
        " t.owner_person_id) from worka.team_member t where t.id = %(id)s and %(kind)s = 'team_member') as member,"
        " (select jsonb_build_object('name', a.name, 'enabled', a.ended_at is null, 'owner_person_id', a.owner_person_id)"
        " from worka.service_account a where a.id = %(id)s and %(kind)s = 'service_account') as account,"
        f"{_IN_FORCE}"
        " from (values (1)) one left join worka.membership m on m.workspace_id = %(workspace)s"
        " and m.principal_kind = %(kind)s and m.principal_id = %(id)s",
        {"workspace": workspace_id, "kind": kind, "id": principal_id},
    )
    found = await cursor.fetchone()
    assert found is not None
    return {**found, "in_force": layers.in_force(found["versions"], found["kills"], workspace_id)}


async def policy(conn: Connection, kind: str, version: int, scope: str = "") -> dict[str, Any] | None:
    """One version of a place (`*`: the deployment's, empty: the tenant's), with its text, note, author and time. `fresh`:
    it was saved in this very transaction."""
    if scope == layers.DEPLOYMENT:
        cursor = await conn.execute(
            "select *, '*' as scope, created_by as owner_person_id, '' as approved_by, created_at = now() as fresh"
            " from worka.deployment_policy"
            " where kind = %s and version = %s",
            (kind, version),
        )
    else:
        cursor = await conn.execute(
            "select *, created_at = now() as fresh from worka.policy_version where kind = %s and scope = %s"
            " and version = %s",
            (kind, scope, version),
        )
    return await cursor.fetchone()


async def declared(conn: Connection, attachment_id: str, workspace_id: str | None) -> Row | None:
    """A pack as it stands in its workspace: {pack, serves, tools, services}: what its manifest declares that it uses, and
    whether it runs at all. None anywhere else."""
    cursor = await conn.execute(
        "select a.pack, a.state in ('attached', 'held', 'updating') and r.state in ('released', 'revoked') as serves,"
        " (select coalesce(jsonb_agg(d.value ->> 'pack' || '.' || t.name), '[]') from"
        " jsonb_array_elements(coalesce(r.manifest -> 'dependencies', '[]')) d,"
        " jsonb_array_elements_text(coalesce(d.value -> 'tools', '[]')) t(name)) as tools,"
        " coalesce(r.manifest -> 'host_services', '[]') as services"
        " from worka.attachment a join worka.release r on r.id = a.release_id where a.id = %s and a.workspace_id = %s",
        (attachment_id, workspace_id),
    )
    return await cursor.fetchone()


async def principals(conn: Connection, workspace_id: str, after: str | None, limit: int, one: str | None) -> list[Row]:
    """Who may act in a workspace, by id: its members and the packs that serve in it, {kind, id, name, owner_person_id,
    operator}. `one`: only the principal of this id. Complete, page by page (AUT-12)."""
    cursor = await conn.execute(
        "select * from (select m.principal_kind as kind, m.principal_id as id,"
        " coalesce(p.display_name, t.name, a.name, m.principal_id) as name,"
        " coalesce(t.owner_person_id, a.owner_person_id) as owner_person_id, coalesce(p.operator, false) as"
        " operator from worka.membership m"
        " left join worka.person p on m.principal_kind = 'person' and p.id = m.principal_id"
        " left join worka.team_member t on m.principal_kind = 'team_member' and t.id = m.principal_id"
        " left join worka.service_account a on m.principal_kind = 'service_account' and a.id = m.principal_id"
        " where m.workspace_id = %(workspace)s and (%(one)s::text is null or m.principal_id = %(one)s)"
        " union all select 'attachment', a.id, a.pack, null, false from worka.attachment a"
        " where a.workspace_id = %(workspace)s and a.state in ('attached', 'held', 'updating')"
        " and (%(one)s::text is null or a.id = %(one)s)) who"
        " where %(after)s::text is null or id > %(after)s order by id limit %(limit)s",
        {"workspace": workspace_id, "after": after, "limit": limit, "one": one},
    )
    return await cursor.fetchall()
