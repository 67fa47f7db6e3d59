"""Every query of observability: it reads all domains' tables and writes only heartbeats."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel import ids
from worka.kernel.db import Connection, DatabaseError

Row = dict[str, Any]

_EVENT = (
    "e.id, e.xid::text as xid, e.type, e.lane, e.subject, e.subject_name, e.actor_kind, e.actor_id, e.actor_name,"
    " e.on_behalf_of, p.display_name as on_behalf_name, e.before, e.after, e.cause, e.data, e.trace_id, e.at,"
    " o.id as seat, o.display_name as seat_name,"
    " t.title as task_title"
)
_FROM_EVENT = (
    " from worka.event e left join worka.person p on p.id = e.on_behalf_of"
    " left join worka.person o on o.id = e.data->>'on_behalf_of'"  # whose seat a delegate's vote took
    " left join worka.step s on s.tenant_id = e.tenant_id and s.id = e.subject"
    " left join worka.task t on t.tenant_id = s.tenant_id and t.id = s.task_id"
)


# heartbeats ---------------------------------------------------------------------------------------------------------
async def beat(conn: Connection, process_id: str, role: str, pid: int, build: str, detail: Row) -> None:
    """A sign of life."""
    await conn.execute(
        "insert into worka.process (id, role, pid, build, detail) values (%s, %s, %s, %s, %s)"
        " on conflict (id) do update set beat_at = clock_timestamp(), detail = excluded.detail",
        (process_id, role, pid, build, Jsonb(detail)),
    )


async def end(conn: Connection, process_id: str) -> None:
    """The process ended in good order."""
    await conn.execute("delete from worka.process where id = %s", (process_id,))


async def forget(conn: Connection, seconds: float) -> None:
    """Rows of processes that have been silent for long are of no use."""
    await conn.execute("delete from worka.process where beat_at < now() - make_interval(secs => %s)", (seconds,))


async def processes(conn: Connection) -> list[Row]:
    """Every known process with the age of its last sign of life in seconds."""
    cursor = await conn.execute(
        "select id, role, pid, build, started_at, beat_at, detail,"
        " extract(epoch from clock_timestamp() - beat_at)::double precision as silent from worka.process order"
        " by role, id"
    )
    return await cursor.fetchall()


# changes ------------------------------------------------------------------------------------------------------------
async def changes(
    conn: Connection,
    workspace_id: str,
    *,
    before: tuple[str, int] | None,
    since: datetime | None,
    until: datetime | None,
    lanes: list[str] | None,
    actor: str | None,
    subject: str | None,
    limit: int,
) -> list[Row]:
    """Newest first, in the order of commits (transaction, then id), and only below the oldest transaction that still
    runs: what is shown is final, nothing can appear before it later. A message of the platform's own for which no name
    was found (a webhook, mail: no invocation is its cause) changed nothing, was denied by nobody, and is tried again and
    again: its tries stand with the delivery, and in the ledger."""
    cursor = await conn.execute(
        f"select {_EVENT}{_FROM_EVENT} where e.workspace_id = %(workspace)s"
        " and not (e.type = 'broker.egress.denied' and e.cause is null and e.data->>'reason' = 'name_not_resolved')"
        " and e.xid < pg_snapshot_xmin(pg_current_snapshot())"
        " and (%(xid)s::xid8 is null or (e.xid, e.id) < (%(xid)s::xid8, %(id)s))"
        " and (%(since)s::timestamptz is null or e.at >= %(since)s) and (%(until)s::timestamptz is null or e.at"
        " < %(until)s)"
        " and (%(lanes)s::text[] is null or e.lane = any(%(lanes)s)) and (%(actor)s::text is null or e.actor_id"
        " = %(actor)s or e.on_behalf_of = %(actor)s or e.actor_name ilike %(actor_like)s or p.display_name ilike"
        " %(actor_like)s)"
        " and (%(subject)s::text is null or e.subject = %(subject)s or e.subject_name ilike %(subject_like)s or t.title"
        " ilike %(subject_like)s)"
        " order by e.xid desc, e.id desc limit %(limit)s",
        {
            "workspace": workspace_id,
            "xid": before[0] if before else None,
            "id": before[1] if before else None,
            "since": since,
            "until": until,
            "lanes": lanes,
            "actor": actor,
            "actor_like": _part_of(actor),
            "subject": subject,
            "subject_like": _part_of(subject),
            "limit": limit,
        },
    )
    return await cursor.fetchall()


def _part_of(text: str | None) -> str | None:
    """A pattern that finds the text anywhere in a name, whatever its case; none for an id, which is meant exactly."""
    if not text or ids.check(text):
        return None
    return "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


# attention ----------------------------------------------------------------------------------------------------------
async def unfinished_tasks(conn: Connection, workspace_id: str, limit: int) -> list[Row]:
    """Tasks that wait, are unknown, retry or stall, and those that failed in the last 24 hours; the oldest state
    first."""
    cursor = await conn.execute(
        "select id, title, state, reason, since, last_progress, expected_seconds, lease_until, error from worka.task"
        " where workspace_id = %s and (state in ('waiting', 'unknown', 'retrying')"
        " or (state = 'running' and last_progress + make_interval(secs => expected_seconds) < clock_timestamp())"
        " or (state = 'running' and lease_until + interval '2 seconds' < clock_timestamp())"
        " or (state = 'queued' and since < clock_timestamp() - interval '30 seconds')"
        " or (state = 'failed' and since > clock_timestamp() - interval '24 hours'))"
        " order by since limit %s",
        (workspace_id, limit),
    )
    return await cursor.fetchall()


async def tasks_for_a_worker(conn: Connection, workspace_id: str, most: int) -> list[Row]:
    """Tasks that a worker would take on at once: queued, to be tried again, or held by one that is silent; the longest
    first."""
    cursor = await conn.execute(
        "select id, title, state, reason, since, last_progress, expected_seconds, lease_until, error from worka.task"
        " where workspace_id = %s and (state in ('queued', 'retrying')"
        " or (state = 'running' and lease_until + interval '2 seconds' < clock_timestamp())) order by since limit %s",
        (workspace_id, most),
    )
    return await cursor.fetchall()


async def rejected_by(conn: Connection, approval_ids: list[str]) -> dict[str, Row]:
    """Who rejected each of these approvals: {person_id, name} by approval."""
    cursor = await conn.execute(
        "select distinct on (v.approval_id) v.approval_id, v.person_id, p.display_name as name from worka.approval_vote v"
        " left join worka.person p on p.id = v.person_id where v.approval_id = any(%s) and v.decision = 'reject'"
        " order by v.approval_id, v.at",
        (approval_ids,),
    )
    return {row["approval_id"]: row for row in await cursor.fetchall()}


async def tasks_in_the_engine(conn: Connection, workspace_id: str, most: int) -> list[Row]:
    """Tasks that the engine should hold a run of, or should not any more: unfinished, or ended within a day."""
    cursor = await conn.execute(
        "select id, title, state, reason, since, last_progress, expected_seconds, next_try from worka.task"
        " where workspace_id = %s"
        " and (ended_at is null or ended_at > clock_timestamp() - interval '24 hours') order by since desc limit %s",
        (workspace_id, most),
    )
    return await cursor.fetchall()


async def failing_packs(conn: Connection, workspace_id: str) -> list[Row]:
    """Invocations that failed or are unknown in the last 24 hours, by pack and reason."""
    cursor = await conn.execute(
        "select pack, reason, max(layer) as layer, count(*) as times, min(started_at) as first_at,"
        " max(started_at) as last_at, array_agg(distinct tool order by tool) as tools,"
        " max(id) as newest from worka.invocation where workspace_id = %s and state in ('failed', 'unknown')"
        " and started_at > clock_timestamp() - interval '24 hours' group by pack, reason order by count(*) desc"
        " limit 50",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def held_or_broken(conn: Connection, workspace_id: str) -> list[Row]:
    """Attachments, connections, releases and publications that do not serve or failed, and why."""
    cursor = await conn.execute(
        "select 'attachment' as kind, id, pack as title, state, reason, since from worka.attachment"
        " where workspace_id = %s and state in ('held', 'suspended', 'awaiting_connection', 'awaiting_dependency')"
        " union all select 'connection', id, name, state, reason, since from worka.connection"
        " where workspace_id = %s and (state in ('expired', 'broken') or reason in ('consent_failed', 'refresh_failing',"
        " 'credential_refused') or warned <> '' and state = 'active')"
        " union all select 'move', id, pack, state, reason, since from worka.attachment_move where workspace_id = %s"
        " and (state in ('awaiting_connection', 'awaiting_dependency') or (state in ('failed', 'refused')"
        " and since > clock_timestamp() - interval '24 hours'))"
        " union all select 'release', id, publisher || '.' || name || ' ' || version, state, reason, since from"
        " worka.release"
        " where workspace_id = %s and state in ('failed', 'quarantined') and since > clock_timestamp() -"
        " interval '24 hours'"
        " union all select 'publication', p.id, r.publisher || '.' || r.name || ' ' || r.version || ' to ' || p.destination,"
        " p.state, p.reason, p.since from worka.publication p join worka.release r on r.tenant_id = p.tenant_id"
        " and r.id = p.release_id where p.workspace_id = %s and p.state = 'failed'"
        " and p.since > clock_timestamp() - interval '24 hours'"
        " order by since",
        (workspace_id, workspace_id, workspace_id, workspace_id, workspace_id),
    )
    return await cursor.fetchall()


# chain --------------------------------------------------------------------------------------------------------------
_HOME = {
    "task": "select id as task_id, null as invocation_id, trace_id from worka.task where id = %s",
    "step": "select task_id, invocation_id, null as trace_id from worka.step where id = %s",
    "wait": "select task_id, null as invocation_id, null as trace_id from worka.wait where id = %s",
    "inv": "select task_id, id as invocation_id, trace_id from worka.invocation where id = %s",
    "egr": "select i.task_id, e.invocation_id, e.trace_id from worka.egress e left join worka.invocation i"
    " on i.id = e.invocation_id where e.id = %s",
    "lease": "select i.task_id, l.invocation_id, l.trace_id from worka.lease l left join worka.invocation i"
    " on i.id = l.invocation_id where l.id = %s",
    "view": "select r.task_id, r.invocation_id, null as trace_id from worka.view_revision r where r.view_id = %s"
    " order by r.revision desc limit 1",
    "rel": "select task_id, id as invocation_id, trace_id from worka.invocation where release_id = %s order by"
    " id desc limit 1",
    "att": "select task_id, id as invocation_id, trace_id from worka.invocation where attachment_id = %s order"
    " by id desc limit 1",
    "sec": "select i.task_id, l.invocation_id, l.trace_id from worka.lease l left join worka.invocation i"
    " on i.id = l.invocation_id where l.secret_id = %s order by l.id desc limit 1",
    "conn": "select i.task_id, e.invocation_id, e.trace_id from worka.egress e left join worka.invocation i"
    " on i.id = e.invocation_id where e.connection_id = %s order by e.id desc limit 1",
    "apr": "select coalesce(s.task_id, i.task_id) as task_id, i.id as invocation_id, a.trace_id from worka.approval a"
    " left join worka.step s on s.id = a.subject_id left join worka.invocation i on i.approval_id = a.id where"
    " a.id = %s"
    " order by i.id desc limit 1",
    "dec": "select coalesce(i.task_id, s.task_id) as task_id, i.id as invocation_id, d.trace_id, d.resource_id"
    " from worka.decision d"
    " left join worka.invocation i on i.decision_id = d.id left join worka.step s on s.decision_id = d.id where"
    " d.id = %s"
    " order by i.id desc limit 1",
}


async def home_of(conn: Connection, prefix: str, some_id: str) -> Row | None:
    """{task_id, invocation_id, trace_id} behind a link of the chain; None when it is unknown or not part of one."""
    query = _HOME.get(prefix)
    if query is None:
        return None
    cursor = await conn.execute(query, (some_id,))
    return await cursor.fetchone()


async def trace_home(conn: Connection, trace_id: str) -> Row | None:
    """The newest task, else invocation, of a request."""
    cursor = await conn.execute(
        "select id as task_id, null as invocation_id, trace_id from worka.task where trace_id = %s"
        " union all (select task_id, id, trace_id from worka.invocation where trace_id = %s order by id desc"
        " limit 1) limit 1",
        (trace_id, trace_id),
    )
    return await cursor.fetchone()


async def task_links(conn: Connection, task_id: str) -> Row | None:
    """The task with the name and version of its definition, and who is behind it."""
    cursor = await conn.execute(
        "select t.id, t.workspace_id, t.title, t.state, t.trace_id, t.created_at, t.created_by,"
        " t.originating_person, t.member_id,"
        " d.id as definition_id, d.name as workflow, d.version, d.digest, m.name as member, p.display_name as person"
        " from worka.task t join worka.workflow_definition d on d.id = t.definition_id"
        " left join worka.team_member m on m.id = t.member_id left join worka.person p on p.id = t.originating_person"
        " where t.id = %s",
        (task_id,),
    )
    return await cursor.fetchone()


async def steps(conn: Connection, task_id: str) -> list[Row]:
    """The steps of a task, ids and states."""
    cursor = await conn.execute(
        "select id, position, name, kind, state, reason, invocation_id, approval_id, decision_id, effect_id,"
        " idempotency_key,"
        " started_at, ended_at from worka.step where task_id = %s order by position",
        (task_id,),
    )
    return await cursor.fetchall()


async def invocations(conn: Connection, task_id: str | None, invocation_id: str | None) -> list[Row]:
    """Of a task, or the one alone, with release and attachment."""
    cursor = await conn.execute(
        "select i.id, i.workspace_id, i.step_id, i.tool, i.pack, i.side_effect, i.state, i.reason, i.layer,"
        " i.attempt, i.decision_id,"
        " i.approval_id, i.attachment_id, i.release_id, i.release_digest, i.idempotency_key, i.args_digest,"
        " i.effect_id,"
        " i.initiator_kind, i.initiator_id, i.originating_person, i.trace_id, i.started_at, i.ended_at, r.version,"
        " r.source, r.created_by as registered_by, a.created_by as attached_by, a.approval_id as attach_approval_id,"
        " a.created_at as attached_at, r.created_at as registered_at"
        " from worka.invocation i join worka.release r on r.id = i.release_id join worka.attachment a on a.id ="
        " i.attachment_id"
        " where (%s::text is not null and i.task_id = %s) or (%s::text is null and i.id = %s) order by i.id",
        (task_id, task_id, task_id, invocation_id),
    )
    return await cursor.fetchall()


async def decisions(conn: Connection, ids: list[str], approvals: list[str], trace_id: str) -> list[Row]:
    """The named decisions, that of the request that began it, and those about the approvals (who might decide them)."""
    cursor = await conn.execute(
        "select id, principal_kind, principal_id, action, resource_type, resource_id, verdict, layer, rules,"
        " approval_rules,"
        " access_version, governance_version, trace_id, at from worka.decision where id = any(%s) or (trace_id = %s"
        " and action = 'task.create') or (resource_type = 'approval' and resource_id = any(%s)) order by id",
        (ids, trace_id, approvals),
    )
    return await cursor.fetchall()


async def approvals(conn: Connection, ids: list[str], subjects: list[str]) -> list[Row]:
    """The named approvals and those of the named subjects, with who decided."""
    cursor = await conn.execute(
        "select a.id, a.title, a.boundary, a.subject_id, a.state, a.digest, a.policy_version, a.decision_id,"
        " a.created_at,"
        " a.decided_at, a.consumed_at, a.consumed_by, (select jsonb_agg(jsonb_build_object('person_id', v.person_id,"
        " 'name', p.display_name, 'decision', v.decision, 'at', v.at) order by v.at) from worka.approval_vote v"
        " left join worka.person p on p.id = v.person_id where v.approval_id = a.id) as votes from worka.approval a"
        " where a.id = any(%s) or a.subject_id = any(%s) order by a.id",
        (ids, subjects),
    )
    return await cursor.fetchall()


async def egress(conn: Connection, invocation_ids: list[str]) -> list[Row]:
    """What the invocations asked of the outside."""
    cursor = await conn.execute(
        "select id, invocation_id, host, port, method, verdict, reason, rule, count, status, exception_id,"
        " connection_id, lease_id,"
        " at from worka.egress where invocation_id = any(%s) order by id",
        (invocation_ids,),
    )
    return await cursor.fetchall()


async def leases(conn: Connection, invocation_ids: list[str]) -> list[Row]:
    """The secrets that were leased for the invocations: names and times, never values."""
    cursor = await conn.execute(
        "select l.id, l.invocation_id, l.secret_id, s.name, l.endpoint, l.secret_version, l.used_count,"
        " l.issued_at from worka.lease l"
        " join worka.secret s on s.id = l.secret_id where l.invocation_id = any(%s) order by l.id",
        (invocation_ids,),
    )
    return await cursor.fetchall()


async def revisions(conn: Connection, task_id: str) -> list[Row]:
    """The view revisions that a task wrote."""
    cursor = await conn.execute(
        "select v.id, v.name, v.title, r.revision, r.created_at from worka.view_revision r join worka.view v on"
        " v.id = r.view_id"
        " where r.task_id = %s order by r.created_at",
        (task_id,),
    )
    return await cursor.fetchall()


async def audit_of(conn: Connection, subjects: list[str], limit: int) -> list[Row]:
    """The recorded changes about these things: each is one event row and, committed with it, one audit entry."""
    cursor = await conn.execute(
        f"select {_EVENT}{_FROM_EVENT} where e.subject = any(%s) order by e.xid, e.id limit %s", (subjects, limit)
    )
    return await cursor.fetchall()


# vitals: what `worka doctor` reads over a connection of its own ----------------------------------------------------------
async def identity(conn: Connection) -> Row:
    """Who we are to the server, by its clock: {at, server, role, superuser, bypasses, owner, may}."""
    cursor = await conn.execute(
        "select clock_timestamp() as at, current_setting('server_version') as server, current_user::text as role,"
        " r.rolsuper as superuser, r.rolbypassrls as bypasses, (select pg_get_userbyid(c.relowner)::text from pg_class c"
        " where c.oid = to_regclass('worka.task')) as owner, coalesce(has_table_privilege(current_user,"
        " to_regclass('worka.task'), 'select, insert, update'), false) as may"
        " from pg_roles r where r.rolname = current_user"
    )
    row = await cursor.fetchone()
    assert row is not None
    return row


async def schema_version(conn: Connection) -> str:
    """The newest migration that was run; empty where this role may not read it (before 0007)."""
    cursor = await conn.execute(
        "select coalesce(has_table_privilege(current_user, to_regclass('worka_version'), 'select'), false) as may"
    )
    row = await cursor.fetchone()
    if row is None or not row["may"]:
        return ""
    found = await (await conn.execute("select version_num from worka_version")).fetchone()
    return str(found["version_num"]) if found else ""


async def try_to_write(conn: Connection) -> str:
    """Commits a row and takes it away again; the server's words when it cannot, else nothing."""
    try:
        async with conn.transaction():
            await beat(conn, "proc_doctor", "doctor", 0, "", {})
        async with conn.transaction():
            await end(conn, "proc_doctor")
    except DatabaseError as error:
        return str(error).strip().splitlines()[0][:200]
    return ""


async def master_key_ids(conn: Connection) -> list[str]:
    """The ids of the master keys under which tenants' keys are wrapped, over all tenants."""
    cursor = await conn.execute("select id from worka.master_keys_in_use() as id order by 1")
    return [row["id"] for row in await cursor.fetchall()]


async def ledger_moved_at(conn: Connection) -> datetime | None:
    """When an audit row was last written, over all tenants."""
    row = await (await conn.execute("select worka.ledger_moved_at() as at")).fetchone()
    return row["at"] if row else None


async def secrets_ending(conn: Connection) -> list[Row]:
    """{tenant_id, name, ends_at} of secrets that have to have a new value within 14 days, over all tenants, the first first."""
    return await (
        await conn.execute("select tenant_id, name, ends_at from worka.secrets_ending(interval '14 days')")
    ).fetchall()


async def authorities(conn: Connection) -> list[Row]:
    """The authorities of live network exceptions, over all tenants: {name, port, ca_pem}, which are public."""
    return await (await conn.execute("select name, port, ca_pem from worka.authorities_in_use()")).fetchall()


async def destinations_since(conn: Connection, since: datetime, most: int) -> list[Row]:
    """Where requests went since then, over all tenants and the most used first: {host, port, address (of a network exception),
    platform, tenants (how many), requests, last_at}; nothing of whose they are."""
    cursor = await conn.execute(
        "select host, port, address, platform, tenants, requests, last_at from worka.destinations_since(%s, %s)",
        (since, most),
    )
    return await cursor.fetchall()
