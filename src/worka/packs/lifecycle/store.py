"""Every query of the lifecycle of packs. Each takes the open connection first; row-level security keeps the tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.kernel.events import WORK_CHANNEL

Row = dict[str, Any]

# lineage ------------------------------------------------------------------------------------------------------------
_WHO = "coalesce((select p.display_name from worka.person p where p.id = {0}), (select t.name from worka.team_member t where t.id = {0}), {0})"
_LINEAGE = f"""
with start as (
  select a.tenant_id, a.id as attachment_id, null::text as invocation_id, a.release_id, null::text as tool
  from worka.attachment a where a.id = %(subject)s
  union all
  select i.tenant_id, i.attachment_id, i.id, i.release_id, i.tool from worka.invocation i where i.id = %(subject)s
  union all
  (select a.tenant_id, a.id, null, a.release_id, %(subject)s from worka.attachment a
   join worka.release r on r.tenant_id = a.tenant_id and r.id = a.release_id
   where a.workspace_id = %(workspace)s and a.state <> 'detached' and starts_with(%(subject)s, a.pack || '.')
   and exists (select 1 from jsonb_array_elements(r.tools) t where a.pack || '.' || (t ->> 'name') = %(subject)s)
   order by a.id desc limit 1)
)
select s.tool,
  jsonb_build_object('publisher', r.publisher, 'declared', r.manifest -> 'source', 'package', r.manifest #> '{{runtime,package}}',
    'ecosystem', r.source ->> 'ecosystem', 'contents', r.source ->> 'contents', 'homepage', r.manifest ->> 'homepage') as source,
  jsonb_build_object('tree_digest', r.tree_digest, 'packages', r.packages, 'entry', r.entry,
    'lock_sha256', encode(sha256(convert_to(r.lock_text, 'UTF8')), 'hex'), 'attempt', r.source -> 'attempt') as build,
  jsonb_build_object('id', r.id, 'pack', r.publisher || '.' || r.name, 'version', r.version, 'digest', r.digest,
    'state', r.state, 'reason', r.reason, 'since', r.since, 'registered_by', r.created_by,
    'registered_by_name', {_WHO.format("r.created_by")}, 'registered_at', r.created_at,
    'workspace_id', r.workspace_id) as release,
  jsonb_build_object('id', a.id, 'workspace_id', a.workspace_id, 'workspace', w.name, 'mode', a.mode, 'state', a.state,
    'reason', a.reason, 'since', a.since, 'digest', a.digest, 'attached_by', a.created_by,
    'attached_by_name', {_WHO.format("a.created_by")}, 'attached_at', a.created_at,
    'mounts', (select coalesce(jsonb_agg(m - 'clone' order by m ->> 'name'), '[]') from jsonb_array_elements(a.mounts) m)
    ) as attachment,
  case when ap.id is null then null else jsonb_build_object('id', ap.id, 'state', ap.state, 'rules', ap.rules,
    'digest', ap.digest, 'asked_at', ap.created_at, 'decided_at', ap.decided_at, 'bypass_id', ap.bypass_id,
    'votes', (select coalesce(jsonb_agg(jsonb_build_object('person_id', v.person_id, 'name', {_WHO.format("v.person_id")},
      'decision', v.decision, 'at', v.at) order by v.at), '[]') from worka.approval_vote v
      where v.tenant_id = ap.tenant_id and v.approval_id = ap.id)) end as approval,
  case when i.id is null then null else jsonb_build_object('id', i.id, 'tool', i.tool, 'state', i.state, 'reason', i.reason,
    'initiator_kind', i.initiator_kind, 'initiator_id', i.initiator_id, 'originating_person', i.originating_person,
    'decision_id', i.decision_id, 'approval_id', i.approval_id, 'task_id', i.task_id,
    'release_digest', i.release_digest, 'started_at', i.started_at, 'trace_id', i.trace_id) end as invocation
from start s
join worka.attachment a on a.tenant_id = s.tenant_id and a.id = s.attachment_id
join worka.release r on r.tenant_id = s.tenant_id and r.id = s.release_id
left join worka.workspace w on w.tenant_id = a.tenant_id and w.id = a.workspace_id
left join worka.approval ap on ap.tenant_id = a.tenant_id and ap.id = coalesce(
  (select m.approval_id from worka.attachment_move m where m.tenant_id = a.tenant_id and m.attachment_id = a.id
   and m.to_release = s.release_id and m.state = 'moved' and m.approval_id is not null order by m.id desc limit 1), a.approval_id)
left join worka.invocation i on i.tenant_id = s.tenant_id and i.id = s.invocation_id
limit 1
"""  # noqa: S608 - our own constants


async def lineage(conn: Connection, workspace_id: str, subject: str) -> Row | None:
    """Everything behind a running tool (`publisher.pack.tool` in this workspace), an attachment or an invocation, back to
    its source, in this one statement: {tool, source, build, release, attachment, approval, invocation}."""
    return await (await conn.execute(_LINEAGE, {"subject": subject, "workspace": workspace_id})).fetchone()


async def places_of(conn: Connection, pack: str) -> list[str]:
    """The workspaces of the tenant in which a pack is attached, or about to be."""
    cursor = await conn.execute(
        "select distinct workspace_id from worka.attachment where pack = %s and state <> 'detached'", (pack,)
    )
    return [row["workspace_id"] for row in await cursor.fetchall()]


async def users_of(conn: Connection, pack: str, places: Sequence[str], after: str | None, limit: int) -> list[Row]:
    """The attachments of a pack in these workspaces that are not detached, by id, with workspace and version."""
    cursor = await conn.execute(
        "select a.id, a.workspace_id, w.name as workspace, a.state, a.reason, a.mode, a.since, a.release_id, r.version,"
        " r.state as release_state, a.created_by, a.created_at from worka.attachment a"
        " join worka.release r on r.tenant_id = a.tenant_id and r.id = a.release_id"
        " left join worka.workspace w on w.tenant_id = a.tenant_id and w.id = a.workspace_id"
        " where a.pack = %s and a.workspace_id = any(%s) and a.state <> 'detached' and (%s::text is null or a.id > %s)"
        " order by a.id limit %s",
        (pack, list(places), after, after, limit),
    )
    return await cursor.fetchall()


async def releases_of_pack(conn: Connection, pack: str, *, lock: bool = False) -> list[Row]:
    """Every release of a pack, oldest first; locked until the end of the transaction with `lock`."""
    cursor = await conn.execute(
        "select * from worka.release where publisher = split_part(%s, '.', 1) and name = split_part(%s, '.', 2)"  # noqa: S608 - our own constants
        " order by id" + (" for update" if lock else ""),
        (pack, pack),
    )
    return await cursor.fetchall()


# what hangs on it ---------------------------------------------------------------------------------------------------
async def attachments_in_use(conn: Connection, kind: str, subject: str) -> list[Row]:
    """The attachments, not detached, of a release or a pack, or the one of this id."""
    of = {"release": "a.release_id = %(subject)s", "pack": "a.pack = %(subject)s", "attachment": "a.id = %(subject)s"}
    cursor = await conn.execute(
        "select a.id, a.pack, a.workspace_id, w.name as workspace, a.state, a.reason, a.release_id, r.version"  # noqa: S608 - our own constants
        " from worka.attachment a join worka.release r on r.tenant_id = a.tenant_id and r.id = a.release_id"
        " left join worka.workspace w on w.tenant_id = a.tenant_id and w.id = a.workspace_id"
        f" where a.state <> 'detached' and {of[kind]} order by a.id",
        {"subject": subject},
    )
    return await cursor.fetchall()


async def attachments_of(conn: Connection, ids: Sequence[str]) -> list[Row]:
    """These attachments, where they are not detached, as `attachments_in_use` has them."""
    cursor = await conn.execute(
        "select a.id, a.pack, a.workspace_id, w.name as workspace, a.state, a.reason, a.release_id, r.version"
        " from worka.attachment a join worka.release r on r.tenant_id = a.tenant_id and r.id = a.release_id"
        " left join worka.workspace w on w.tenant_id = a.tenant_id and w.id = a.workspace_id"
        " where a.state <> 'detached' and a.id = any(%s) order by a.id",
        (list(ids),),
    )
    return await cursor.fetchall()


async def secrets_of(conn: Connection, attachments: Sequence[str]) -> list[Row]:
    """The secrets that these attachments may use: {id, name, workspace_id, state}."""
    cursor = await conn.execute(
        "select distinct s.id, s.name, s.workspace_id, s.state from worka.secret_grant g join worka.secret s"
        " on s.tenant_id = g.tenant_id and s.id = g.secret_id where g.revoked_at is null and g.attachment_id = any(%s)"
        " order by s.id",
        (list(attachments),),
    )
    return await cursor.fetchall()


async def secrets_at(conn: Connection, endpoint: str, attachments: Sequence[str]) -> list[Row]:
    """The secrets that these attachments may use at one endpoint."""
    cursor = await conn.execute(
        "select distinct s.id, s.name, s.workspace_id, s.state from worka.secret_grant g join worka.secret s"
        " on s.tenant_id = g.tenant_id and s.id = g.secret_id where g.revoked_at is null and g.endpoint = %s"
        " and g.attachment_id = any(%s) order by s.id",
        (endpoint, list(attachments)),
    )
    return await cursor.fetchall()


async def grants_of_secret(conn: Connection, secret_id: str, since: datetime) -> list[Row]:
    """The live grants of a secret: {attachment_id, workspace_id, endpoint, leases, last_at} since then."""
    cursor = await conn.execute(
        "select g.attachment_id, g.workspace_id, g.endpoint, count(l.id) as leases, max(l.issued_at) as last_at"
        " from worka.secret_grant g left join worka.lease l on l.tenant_id = g.tenant_id and l.grant_id = g.id"
        " and l.issued_at >= %s where g.secret_id = %s and g.revoked_at is null group by 1, 2, 3 order by 3, 1",
        (since, secret_id),
    )
    return await cursor.fetchall()


async def connections_at(conn: Connection, host: str, port: int) -> list[Row]:
    """The connections for an endpoint that are not over."""
    cursor = await conn.execute(
        "select id from worka.connection where host = %s and port = %s and state not in ('revoked', 'rejected')",
        (host, port),
    )
    return await cursor.fetchall()


async def connections_of_secret(conn: Connection, secret_id: str) -> list[Row]:
    """The connections that stand on a secret and are not over: {id, name, workspace_id, state}."""
    cursor = await conn.execute(
        "select id, name, workspace_id, state from worka.connection where secret_id = %s"
        " and state not in ('revoked', 'rejected') order by id",
        (secret_id,),
    )
    return await cursor.fetchall()


async def hanging_on(conn: Connection, attachments: Sequence[Row]) -> Row:
    """What breaks without these attachments ({id, pack, workspace_id}): {workflows, tasks, calls, views, connections,
    dependents}, complete, each with its workspace."""
    given = Jsonb([{key: row[key] for key in ("id", "pack", "workspace_id")} for row in attachments])
    cursor = await conn.execute(
        "with a as (select * from jsonb_to_recordset(%s) as a(id text, pack text, workspace_id text)),"
        # The newest version of each definition: what can be started tomorrow.
        " d as (select distinct on (workspace_id, name) id, name, version, workspace_id, definition"
        " from worka.workflow_definition where workspace_id in (select workspace_id from a)"
        " order by workspace_id, name, version desc)"
        " select 'workflows' as what, d.id, d.name || ' v' || d.version as name, d.workspace_id, '' as state from d where exists"
        " (select 1 from a where a.workspace_id = d.workspace_id and position('\"' || a.pack || '.' in d.definition::text) > 0)"
        " union all select 'tasks', t.id, t.title, t.workspace_id, t.state from worka.task t join worka.workflow_definition v"
        " on v.tenant_id = t.tenant_id and v.id = t.definition_id where t.ended_at is null"
        " and t.state not in ('succeeded', 'failed', 'cancelled') and exists (select 1 from a where"
        " a.workspace_id = t.workspace_id and position('\"' || a.pack || '.' in v.definition::text) > 0)"
        " union all select 'calls', i.id, i.tool, i.workspace_id, i.state from worka.invocation i where i.state = 'running'"
        " and i.attachment_id in (select id from a)"
        " union all select 'views', v.id, v.title, v.workspace_id, 'revision ' || v.revision from worka.view v"
        " join worka.view_revision r on r.tenant_id = v.tenant_id and r.view_id = v.id and r.revision = v.revision"
        " where exists (select 1 from worka.invocation i where i.tenant_id = v.tenant_id and i.attachment_id in (select id from a)"
        " and (i.id = r.invocation_id or i.task_id = r.task_id))"
        " union all select 'connections', c.id, c.name, c.workspace_id, c.state from worka.connection c where exists"
        " (select 1 from worka.secret_grant g where g.tenant_id = c.tenant_id and g.secret_id = c.secret_id"
        " and g.revoked_at is null and g.attachment_id in (select id from a)) and c.state not in ('revoked', 'rejected')"
        " union all select 'dependents', o.id, o.pack, o.workspace_id, o.state from worka.attachment o join worka.release r"
        " on r.tenant_id = o.tenant_id and r.id = o.release_id where o.state <> 'detached' and exists (select 1 from a,"
        " jsonb_array_elements(case when jsonb_typeof(r.manifest -> 'dependencies') = 'array' then"
        " r.manifest -> 'dependencies' else '[]' end) n where a.workspace_id = o.workspace_id and a.pack = n ->> 'pack')"
        " order by what, id",
        (given,),
    )
    found: Row = {name: [] for name in ("workflows", "tasks", "calls", "views", "connections", "dependents")}
    for row in await cursor.fetchall():
        found[row["what"]].append({key: row[key] for key in ("id", "name", "workspace_id", "state")})
    return found


async def reached_by(conn: Connection, attachment_ids: Sequence[str], since: datetime) -> list[Row]:
    """Where these attachments went since then: {workspace_id, host, port, count, last_at}, of the 200 places that were used most."""
    cursor = await conn.execute(
        "with used as (select workspace_id, host, port, sum(count)::bigint as count, max(last_at) as last_at from worka.egress"
        " where attachment_id = any(%s) and verdict = 'allowed' and kind <> 'dns' and at >= %s group by workspace_id, host, port),"
        " most as (select host, port, sum(count) as total from used group by host, port order by total desc, host, port"
        " limit 200) select used.* from most join used using (host, port) order by total desc, host, port, workspace_id",
        (list(attachment_ids), since),
    )
    return await cursor.fetchall()


# withdrawals --------------------------------------------------------------------------------------------------------
async def add_withdrawal(conn: Connection, row: Row) -> Row:
    """A receipt."""
    cursor = await conn.execute(
        "insert into worka.withdrawal (tenant_id, id, workspace_id, kind, subject, name, act, why, receipt, by_kind, by_id,"
        " by_name, approval_id) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(kind)s, %(subject)s, %(name)s, %(act)s,"
        " %(why)s, %(receipt)s, %(by_kind)s, %(by_id)s, %(by_name)s, %(approval_id)s) returning *",
        {**row, "receipt": Jsonb(row["receipt"])},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def enqueue_ending(conn: Connection, tenant_id: str, withdrawal_id: str) -> None:
    """Hands the ending of calls to the engine in this transaction."""
    await conn.execute(
        "select worka.enqueue_job('pack.end_calls', %s, %s, %s), pg_notify(%s, 'endings')",
        (tenant_id, withdrawal_id, f"pack.end_calls:{withdrawal_id}", WORK_CHANNEL),
    )


async def enqueue_killing(conn: Connection, tenant_id: str, kill_id: str) -> None:
    """The same for what a kill switch stops."""
    await conn.execute(
        "select worka.enqueue_job('pack.end_killed', %s, %s, %s), pg_notify(%s, 'endings')",
        (tenant_id, kill_id, f"pack.end_killed:{kill_id}", WORK_CHANNEL),
    )


async def withdrawals(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """What was taken away, or given back, of packs registered or attached here, newest first."""
    cursor = await conn.execute(
        "select * from worka.withdrawal w where (w.workspace_id = %(place)s or exists (select 1 from worka.attachment a"
        " where a.workspace_id = %(place)s and (a.release_id = w.subject or a.pack = w.subject)))"
        " and (%(after)s::text is null or w.id < %(after)s) order by w.id desc limit %(limit)s",
        {"place": workspace_id, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def withdrawal(conn: Connection, withdrawal_id: str) -> Row | None:
    """One of them."""
    return await (await conn.execute("select * from worka.withdrawal where id = %s", (withdrawal_id,))).fetchone()


async def last_withdrawal(conn: Connection, subjects: Sequence[str], *acts: str) -> Row | None:
    """The newest withdrawal (of these acts, where any are named) whose subject is one of these."""
    cursor = await conn.execute(
        "select * from worka.withdrawal where subject = any(%s) and (%s or act = any(%s)) order by id desc limit 1",
        (list(subjects), not acts, list(acts)),
    )
    return await cursor.fetchone()


async def withdrawal_of_release(conn: Connection, release_id: str, act: str) -> Row | None:
    """The newest withdrawal of this act that did something to a release, by itself or with its pack."""
    cursor = await conn.execute(
        "select * from worka.withdrawal where act = %s and receipt -> 'releases' @> jsonb_build_array(jsonb_build_object('id',"
        " %s::text)) order by id desc limit 1",
        (act, release_id),
    )
    return await cursor.fetchone()


async def lock_standing(conn: Connection, tenant_id: str, pack: str) -> None:
    """Withdrawals of a pack, and its new attachments, are decided one after another: holds until the transaction ends."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 19))", (f"{tenant_id}/{pack}",))


async def standing(conn: Connection, pack: str) -> Row | None:
    """How a whole pack stands: {pack, workspace_id, state, withdrawal_id, since}; None where it was never taken away."""
    return await (await conn.execute("select * from worka.pack_standing where pack = %s", (pack,))).fetchone()


async def standings(conn: Connection, packs: Sequence[str]) -> dict[str, str]:
    """How those of these packs stand that were ever taken away as a whole: `revoked`, `quarantined`, or `free` again."""
    cursor = await conn.execute("select pack, state from worka.pack_standing where pack = any(%s)", (list(packs),))
    return {row["pack"]: row["state"] for row in await cursor.fetchall()}


async def set_standing(conn: Connection, tenant_id: str, pack: str, workspace_id: str, state: str, by: str) -> None:
    """How it stands from now on."""
    await conn.execute(
        "insert into worka.pack_standing (tenant_id, pack, workspace_id, state, withdrawal_id) values (%s, %s, %s, %s, %s)"
        " on conflict (tenant_id, pack) do update set state = excluded.state, withdrawal_id = excluded.withdrawal_id,"
        " since = clock_timestamp()",
        (tenant_id, pack, workspace_id, state, by),
    )


async def running_of(conn: Connection, attachment_ids: Sequence[str]) -> list[Row]:
    """The calls of these attachments that are under way: {id, attachment_id}."""
    cursor = await conn.execute(
        "select id, attachment_id from worka.invocation where state = 'running' and attachment_id = any(%s) order by id",
        (list(attachment_ids),),
    )
    return await cursor.fetchall()


async def packs_of_tenant(conn: Connection) -> list[Row]:
    """Every identity of the tenant: {publisher, name, workspace_id}, the workspace being the publisher's."""
    cursor = await conn.execute(
        "select distinct publisher, name, first_value(workspace_id) over (partition by publisher order by id) as workspace_id"
        " from worka.release order by publisher, name"
    )
    return await cursor.fetchall()


async def attached_tools(conn: Connection, workspace_id: str) -> list[Row]:
    """The tools of a workspace's attachments that are not detached: {pack, publisher, tool}."""
    cursor = await conn.execute(
        "select a.pack, r.publisher, t ->> 'name' as tool from worka.attachment a join worka.release r"
        " on r.tenant_id = a.tenant_id and r.id = a.release_id, jsonb_array_elements(r.tools) t"
        " where a.workspace_id = %s and a.state <> 'detached' order by 1, 3",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def awaiting_of_release(conn: Connection, release_id: str) -> list[Row]:
    """The attachments of a release, and the moves to it, that wait: {id, pack, workspace_id, state, since, approval_id}, oldest first."""
    cursor = await conn.execute(
        "select id, pack, workspace_id, state, since, approval_id from worka.attachment where release_id = %s"
        " and state in ('awaiting_approval', 'awaiting_connection', 'awaiting_dependency')"
        " union all select id, pack, workspace_id, state, since, approval_id from worka.attachment_move"
        " where to_release = %s and state in ('awaiting_approval', 'awaiting_connection', 'awaiting_dependency') order by id",
        (release_id, release_id),
    )
    return await cursor.fetchall()


async def decided_of_release(conn: Connection, release_id: str) -> list[Row]:
    """How attaching a release was agreed to, where it serves: {attachment_id, workspace_id, approval_id, state}."""
    cursor = await conn.execute(
        "select a.id as attachment_id, a.workspace_id, a.approval_id, a.state from worka.attachment a where a.release_id = %s"
        " and a.state not in ('detached', 'awaiting_approval', 'requested') order by a.id",
        (release_id,),
    )
    return await cursor.fetchall()


# failures -----------------------------------------------------------------------------------------------------------
async def failures(conn: Connection, workspace_id: str, since: datetime, pack: str | None) -> list[Row]:
    """The failed calls and registrations of a workspace since then, by what failed and its reason, most often first."""
    cursor = await conn.execute(
        "select 'invocation' as what, reason, coalesce(layer, 'pack') as layer, count(*)::int as count, max(ended_at) as last_at,"
        " min(ended_at) as first_at, max(id) as newest, array_agg(distinct tool order by tool) as names from worka.invocation"
        " where workspace_id = %(place)s and state in ('failed', 'unknown') and started_at >= %(since)s"
        " and (%(pack)s::text is null or pack = %(pack)s) group by reason, coalesce(layer, 'pack')"
        " union all select 'release', reason, coalesce(failed_stage, ''), count(*)::int, max(since), min(since), max(id),"
        " array_agg(distinct publisher || '.' || name || ' ' || version) from worka.release where workspace_id = %(place)s"
        " and state = 'failed' and since >= %(since)s and (%(pack)s::text is null or publisher || '.' || name = %(pack)s)"
        " group by reason, coalesce(failed_stage, '') order by count desc, reason",
        {"place": workspace_id, "since": since, "pack": pack},
    )
    return await cursor.fetchall()


# advisories ---------------------------------------------------------------------------------------------------------
async def put_advisories(conn: Connection, rows: Sequence[Row]) -> list[str]:
    """Writes those that are new, or newer than what is there; the ids of these."""
    if not rows:
        return []
    cursor = await conn.execute(
        "insert into worka.advisory as a (tenant_id, id, summary, severity, modified, withdrawn, affects, imported_by)"
        " select * from jsonb_to_recordset(%s) as r(tenant_id text, id text, summary text, severity text,"
        " modified timestamptz, withdrawn boolean, affects jsonb, imported_by text)"
        " on conflict (tenant_id, id) do update set summary = excluded.summary, severity = excluded.severity,"
        " modified = excluded.modified, withdrawn = excluded.withdrawn, affects = excluded.affects,"
        " imported_by = excluded.imported_by, imported_at = clock_timestamp() where a.modified < excluded.modified returning id",
        (Jsonb(list(rows)),),
    )
    changed = [row["id"] for row in await cursor.fetchall()]
    await conn.execute("delete from worka.advisory_package where advisory_id = any(%s)", (changed,))
    await conn.execute(
        "insert into worka.advisory_package (tenant_id, advisory_id, ecosystem, package) select distinct a.tenant_id, a.id,"
        " e ->> 'ecosystem', e ->> 'package' from worka.advisory a, jsonb_array_elements(a.affects) e where a.id = any(%s)",
        (changed,),
    )
    return changed


async def advisories(conn: Connection, after: str | None, limit: int) -> list[Row]:
    """By id: {cursor, id, summary, severity, modified, withdrawn, imported_at, packages}."""
    cursor = await conn.execute(
        "select 'after.' || a.id as cursor, a.id, a.summary, a.severity, a.modified, a.withdrawn, a.imported_at,"
        " (select coalesce(array_agg(p.ecosystem || ':' || p.package order by 1), '{}') from worka.advisory_package p"
        " where p.tenant_id = a.tenant_id and p.advisory_id = a.id) as packages from worka.advisory a"
        " where (%s::text is null or a.id > %s) order by a.id limit %s",
        (after, after, limit),
    )
    return await cursor.fetchall()


async def advisory(conn: Connection, advisory_id: str) -> Row | None:
    """One of them."""
    return await (await conn.execute("select * from worka.advisory where id = %s", (advisory_id,))).fetchone()


async def advisories_for(conn: Connection, packages: Sequence[Row]) -> list[Row]:
    """The advisories, not withdrawn, that speak of these packages ({ecosystem, package}): {id, summary, severity, affects}."""
    cursor = await conn.execute(
        "select distinct on (a.id) a.id, a.summary, a.severity, a.affects from worka.advisory a join worka.advisory_package p on"
        " p.tenant_id = a.tenant_id and p.advisory_id = a.id join jsonb_to_recordset(%s) as w(ecosystem text, package text)"
        " on w.ecosystem = p.ecosystem and w.package = p.package where not a.withdrawn order by a.id",
        (Jsonb(list(packages)),),
    )
    return await cursor.fetchall()


async def releases_with_packages(conn: Connection, after: str | None, limit: int) -> list[Row]:
    """Releases whose environment was built and that may still run, oldest first."""
    cursor = await conn.execute(
        "select id, workspace_id, publisher, name, version, state, digest, packages, source ->> 'ecosystem' as ecosystem"
        " from worka.release where state in ('released', 'revoked', 'quarantined') and (%s::text is null or id > %s)"
        " order by id limit %s",
        (after, after, limit),
    )
    return await cursor.fetchall()


async def findings_of_release(conn: Connection, release_id: str) -> list[Row]:
    """Its findings, with the advisory's words."""
    cursor = await conn.execute(
        "select f.*, a.summary, a.severity from worka.finding f join worka.advisory a on a.tenant_id = f.tenant_id and"
        " a.id = f.advisory_id where f.release_id = %s order by f.id",
        (release_id,),
    )
    return await cursor.fetchall()


async def findings(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """A workspace's findings, newest first, with the advisory's words and the release's name."""
    cursor = await conn.execute(
        "select f.id, f.workspace_id, f.release_id, f.advisory_id, f.package, f.version, f.state, f.approval_id, f.since,"
        " f.created_at, a.summary, a.severity, r.publisher || '.' || r.name || ' ' || r.version as name from worka.finding f"
        " join worka.advisory a on a.tenant_id = f.tenant_id and a.id = f.advisory_id"
        " join worka.release r on r.tenant_id = f.tenant_id and r.id = f.release_id"
        " where f.workspace_id = %s and (%s::text is null or f.id < %s) order by f.id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def add_finding(conn: Connection, row: Row) -> Row | None:
    """A hit, once; None where it is known."""
    cursor = await conn.execute(
        "insert into worka.finding (tenant_id, id, workspace_id, release_id, advisory_id, package, version, state)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(release_id)s, %(advisory_id)s, %(package)s, %(version)s, 'open')"
        " on conflict (tenant_id, release_id, advisory_id, package) do nothing returning *",
        row,
    )
    return await cursor.fetchone()


async def move_findings(
    conn: Connection, finding_ids: Sequence[str], state: str, approval_id: str | None = None
) -> list[str]:
    """Another state of these; the ids of those that moved."""
    cursor = await conn.execute(
        "update worka.finding set state = %s, approval_id = coalesce(%s, approval_id), since = clock_timestamp()"
        " where id = any(%s) and (state <> %s or approval_id is distinct from coalesce(%s, approval_id)) returning id",
        (state, approval_id, list(finding_ids), state, approval_id),
    )
    return [row["id"] for row in await cursor.fetchall()]


async def findings_of_approval(conn: Connection, approval_id: str) -> list[Row]:
    """What an approval proposes to act on, locked."""
    cursor = await conn.execute(
        "select * from worka.finding where approval_id = %s order by id for update", (approval_id,)
    )
    return await cursor.fetchall()
