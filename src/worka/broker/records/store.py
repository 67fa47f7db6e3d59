"""Every query of the ledger's readers. The tenant is the transaction's (row-level security)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from worka.broker.records.model import UPSTREAM, WITHHELD, Filter
from worka.kernel.db import Connection

Row = dict[str, Any]
_OUTCOME = (
    "case when e.verdict = 'denied' then 'refused' when e.reason = any(%(withheld)s) then 'withheld'"
    " when e.status >= 400 then 'upstream_error' when e.reason = any(%(upstream)s) then 'upstream_failed'"
    " when e.reason <> 'allowed' then 'cut'"
    " when e.status is null and not (e.opaque and e.bytes_in > 0) then 'under_way' else 'answered' end"
)
_FROM = (
    " from worka.egress e"
    " left join worka.attachment a on a.tenant_id = e.tenant_id and a.id = e.attachment_id"
    " left join worka.invocation i on i.tenant_id = e.tenant_id and i.id = e.invocation_id"
    " left join worka.release r on r.tenant_id = e.tenant_id and r.id = coalesce(i.release_id, a.release_id)"
    " left join worka.connection c on c.tenant_id = e.tenant_id and c.id = e.connection_id"
    " left join worka.lease l on l.tenant_id = e.tenant_id and l.id = e.lease_id"
    " left join worka.secret s on s.tenant_id = e.tenant_id and s.id = coalesce(e.secret_id, l.secret_id)"
)
_NAMES = (
    " left join worka.person p on p.id = i.originating_person"
    " left join worka.person q on q.id = i.initiator_id"
    " left join worka.team_member m on m.tenant_id = e.tenant_id and m.id = i.initiator_id"
    " left join worka.service_account sa on sa.tenant_id = e.tenant_id and sa.id = i.initiator_id"
    " left join worka.workspace w on w.tenant_id = e.tenant_id and w.id = e.workspace_id"
)
_ROW = (
    "e.*, e.xid::text as xid, w.name as workspace,"
    f" {_OUTCOME} as outcome, coalesce(a.pack, i.pack) as pack, a.state as attachment_state, r.id as release_id, r.version,"
    " i.tool, i.side_effect, i.initiator_kind, i.initiator_id, coalesce(q.display_name, m.name, sa.name) as initiator_name,"
    " i.originating_person, p.display_name as originating_name, c.provider, c.name as connection_name, s.id as secret_id,"
    " s.name as secret_name"
)
_WHERE = (
    " where e.workspace_id = any(%(workspaces)s)"
    " and (%(pack)s::text is null or coalesce(a.pack, i.pack) = %(pack)s)"
    " and (%(attachment)s::text is null or e.attachment_id = %(attachment)s)"
    " and (%(invocation)s::text is null or e.invocation_id = %(invocation)s)"
    " and (%(host)s::text is null or e.host = %(host)s"
    "  or (starts_with(%(host)s, '*.') and right(e.host, length(%(host)s) - 1) = substr(%(host)s, 2)))"
    " and (%(port)s::integer is null or e.port = %(port)s)"
    " and (%(verdict)s::text is null or e.verdict = %(verdict)s)"
    " and (%(reason)s::text is null or e.reason = %(reason)s)"
    " and (%(rule)s::text is null or e.rule = %(rule)s)"
    " and (%(credential)s::text is null or e.connection_id = %(credential)s or s.id = %(credential)s)"
    " and (%(actor)s::text is null or %(actor)s in (i.initiator_id, i.originating_person))"
    " and (%(since)s::timestamptz is null or e.last_at >= %(since)s)"
    " and (%(until)s::timestamptz is null or e.at < %(until)s)"
    f" and (%(outcome)s::text is null or {_OUTCOME} = %(outcome)s)"
)
_KEYS = {
    "host": ("e.host || ':' || e.port", "e.host || ':' || e.port"),
    "pack": ("coalesce(a.pack, i.pack, e.attachment_id)", "coalesce(a.pack, i.pack, 'the platform itself')"),
    "rule": ("coalesce(e.rule, '')", "coalesce(nullif(e.rule, ''), 'no rule')"),
    "reason": ("e.reason", "e.reason"),
    "outcome": (_OUTCOME, _OUTCOME),
    "credential": ("coalesce(s.id, e.connection_id, '')", "coalesce(s.name, c.name, 'none')"),
    "actor": ("coalesce(i.initiator_id, '')", "coalesce(q.display_name, m.name, sa.name, i.initiator_id, 'nobody')"),
    "workspace": ("e.workspace_id", "coalesce(w.name, e.workspace_id)"),
}


def _asked(workspaces: Sequence[str], what: Filter, **more: Any) -> Row:
    return {
        "workspaces": list(workspaces), "pack": what.pack, "attachment": what.attachment_id,
        "invocation": what.invocation_id, "host": what.host, "port": what.port, "verdict": what.verdict,
        "reason": what.reason, "rule": what.rule, "credential": what.credential, "actor": what.actor,
        "since": what.since, "until": what.until, "outcome": what.outcome, "upstream": UPSTREAM, "withheld": WITHHELD,
        **more,
    }  # fmt: skip


# rows -----------------------------------------------------------------------------------------------------------------
async def page(conn: Connection, workspaces: Sequence[str], what: Filter, after: str | None, limit: int) -> list[Row]:
    """Rows of these workspaces, newest first, with the names of what stands behind them."""
    cursor = await conn.execute(
        f"select {_ROW}{_FROM}{_NAMES}{_WHERE} and (%(after)s::text is null or e.id < %(after)s) order by e.id desc"
        " limit %(limit)s",
        _asked(workspaces, what, after=after, limit=limit),
    )
    return await cursor.fetchall()


async def one(conn: Connection, egress_id: str) -> Row | None:
    """One row, the same way."""
    cursor = await conn.execute(
        f"select {_ROW}{_FROM}{_NAMES} where e.id = %(id)s",
        {"id": egress_id, "upstream": UPSTREAM, "withheld": WITHHELD},
    )
    return await cursor.fetchone()


async def counts(conn: Connection, workspaces: Sequence[str], what: Filter, by: str, limit: int) -> list[Row]:
    """The same rows counted by one thing, most requests first: {key, name, rows, requests, refused, upstream, bytes_out,
    bytes_in, first_at, last_at}. A refusal and an error of the outside are two numbers."""
    key, name = _KEYS[by]
    cursor = await conn.execute(
        f"select {key} as key, max({name}) as name, count(*) as rows, sum(e.count) as requests,"
        " coalesce(sum(e.count) filter (where e.verdict = 'denied'), 0) as refused,"
        f" coalesce(sum(e.count) filter (where {_OUTCOME} in ('upstream_error', 'upstream_failed')), 0) as upstream,"
        " sum(e.bytes_out)::bigint as bytes_out, sum(e.bytes_in)::bigint as bytes_in, min(e.at) as first_at, max(e.last_at) as last_at"
        f"{_FROM}{_NAMES}{_WHERE} group by 1 order by 4 desc, 1 limit %(limit)s",
        _asked(workspaces, what, limit=limit),
    )
    return await cursor.fetchall()


# followed -------------------------------------------------------------------------------------------------------------
async def followed(conn: Connection, workspace_id: str, what: Filter, xid: str, limit: int) -> list[Row]:
    """Rows written or changed by transactions after this one, in the order of commits, below the oldest one that runs."""
    cursor = await conn.execute(
        f"select {_ROW}{_FROM}{_NAMES}{_WHERE} and e.xid > %(after)s::xid8"
        " and e.xid < pg_snapshot_xmin(pg_current_snapshot()) order by e.xid, e.id limit %(limit)s",
        _asked([workspace_id], what, after=xid, limit=limit),
    )
    return await cursor.fetchall()


async def held_back(conn: Connection, workspace_id: str, xid: str) -> bool:
    """Whether rows wait for an older transaction to end."""
    cursor = await conn.execute(
        "select exists (select 1 from worka.egress where workspace_id = %s and xid > %s::xid8) as waiting",
        (workspace_id, xid),
    )
    row = await cursor.fetchone()
    return bool(row and row["waiting"])


# replayed -------------------------------------------------------------------------------------------------------------
async def recorded(
    conn: Connection, workspaces: Sequence[str], what: Filter, after: str | None, limit: int
) -> list[Row]:
    """Rows for a replay, oldest first: what was asked, and of which release the attachment is now."""
    cursor = await conn.execute(
        "select e.id, e.at, e.workspace_id, e.attachment_id, e.invocation_id, e.host, e.port, e.kind, e.method, e.path,"
        " e.verdict, e.reason, e.rule, e.count, e.opaque, coalesce(a.pack, i.pack) as pack, a.state as attachment_state,"
        f" a.release_id as now_release, i.side_effect, i.tool{_FROM}{_WHERE}"
        " and (%(after)s::text is null or e.id > %(after)s) order by e.id limit %(limit)s",
        _asked(workspaces, what, after=after, limit=limit),
    )
    return await cursor.fetchall()


async def manifests(conn: Connection, releases: Sequence[str]) -> dict[str, Row]:
    """The manifests of these releases by id."""
    cursor = await conn.execute("select id, manifest from worka.release where id = any(%s)", (list(releases),))
    return {row["id"]: row["manifest"] for row in await cursor.fetchall()}


# what may be reached --------------------------------------------------------------------------------------------------
async def serving(conn: Connection, workspaces: Sequence[str]) -> list[Row]:
    """The attachments of these workspaces that are not detached, each with its release's manifest and who attached it."""
    cursor = await conn.execute(
        "select a.id, a.workspace_id, w.name as workspace, a.pack, a.state, a.mode, a.created_by, a.created_at, a.since,"
        " p.display_name as created_by_name, r.id as release_id, r.version, r.state as release_state, r.manifest, r.tools"
        " from worka.attachment a join worka.release r on r.tenant_id = a.tenant_id and r.id = a.release_id"
        " left join worka.person p on p.id = a.created_by"
        " left join worka.workspace w on w.tenant_id = a.tenant_id and w.id = a.workspace_id"
        " where a.workspace_id = any(%s) and a.state <> 'detached' order by a.id",
        (list(workspaces),),
    )
    return await cursor.fetchall()


async def attachment(conn: Connection, attachment_id: str) -> Row | None:
    """One of them, detached or not."""
    cursor = await conn.execute(
        "select a.id, a.tenant_id, a.workspace_id, a.pack, a.state, a.mode, a.created_by, a.created_at, a.since, r.id as release_id,"
        " r.version, r.state as release_state, r.manifest, r.tools from worka.attachment a"
        " join worka.release r on r.tenant_id = a.tenant_id and r.id = a.release_id where a.id = %s",
        (attachment_id,),
    )
    return await cursor.fetchone()


async def connections(conn: Connection, workspaces: Sequence[str]) -> list[Row]:
    """The connections of these workspaces, newest first, with whose they are and the secret behind each."""
    cursor = await conn.execute(
        "select c.id, c.workspace_id, c.provider, c.name, c.host, c.port, c.secret_id, c.metadata, c.created_by, c.person_id,"
        " case when c.state = 'active' and c.expires_at <= clock_timestamp() then 'expired' else c.state end as state,"
        " p.display_name as created_by_name, s.name as secret_name, s.state as secret_state from worka.connection c"
        " left join worka.secret s on s.tenant_id = c.tenant_id and s.id = c.secret_id"
        " left join worka.person p on p.id = c.created_by where c.workspace_id = any(%s) order by c.id desc",
        (list(workspaces),),
    )
    return await cursor.fetchall()


async def grants(conn: Connection, attachments: Sequence[str]) -> list[Row]:
    """The live grants of these attachments: which secret for which endpoint."""
    cursor = await conn.execute(
        "select id, secret_id, attachment_id, endpoint, granted_by, granted_at from worka.secret_grant"
        " where attachment_id = any(%s) and revoked_at is null order by id",
        (list(attachments),),
    )
    return await cursor.fetchall()


async def used(conn: Connection, workspaces: Sequence[str], since: datetime) -> list[Row]:
    """What left from these workspaces since then, by attachment, destination, rule and credential: {attachment_id, pack, host,
    port, rule, connection_id, connection_name, secret_id, secret_name, requests, refused, first_at, last_at, methods}."""
    cursor = await conn.execute(
        "select e.attachment_id, e.workspace_id, coalesce(a.pack, i.pack) as pack, e.host, e.port, e.rule, e.connection_id,"
        " c.name as connection_name, s.id as secret_id, s.name as secret_name,"
        " coalesce(sum(e.count) filter (where e.verdict = 'allowed'), 0) as requests,"
        " coalesce(sum(e.count) filter (where e.verdict = 'denied'), 0) as refused,"
        " min(e.at) as first_at, max(e.last_at) as last_at, array_remove(array_agg(distinct e.method), null) as methods"
        f"{_FROM} where e.workspace_id = any(%s) and e.last_at >= %s and e.kind not in ('dns', 'raw')"
        " group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 order by max(e.last_at) desc",
        (list(workspaces), since),
    )
    return await cursor.fetchall()


async def people_of(conn: Connection, workspaces: Sequence[str], host: str, port: int, since: datetime) -> list[Row]:
    """On whose behalf a destination was reached since then: {id, kind, name, requests, last_at}."""
    cursor = await conn.execute(
        "select coalesce(i.originating_person, i.initiator_id) as id, max(i.initiator_kind) as kind,"
        " max(coalesce(p.display_name, q.display_name, m.name, sa.name)) as name, sum(e.count) as requests,"
        f" max(e.last_at) as last_at{_FROM}{_NAMES} where e.workspace_id = any(%s) and e.host = %s and e.port = %s"
        " and e.verdict = 'allowed' and e.last_at >= %s and i.id is not null group by 1 order by 4 desc limit 100",
        (list(workspaces), host, port, since),
    )
    return await cursor.fetchall()
