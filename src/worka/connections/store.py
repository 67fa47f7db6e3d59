"""Every query of connections. The tenant is the transaction's (row-level security)."""

# ruff: noqa: S608 - what is put together below is a lock clause or a list of columns of ours
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from worka.connections.rules import CONNECTION
from worka.kernel.db import Connection

Row = dict[str, Any]
_WHOLE = (
    "select c.*, s.name as secret_name, s.state as secret_state from worka.connection c"
    " left join worka.secret s on s.tenant_id = c.tenant_id and s.id = c.secret_id"
)


async def _one(conn: Connection, query: str, values: Any) -> Row:
    row = await (await conn.execute(query, values)).fetchone()
    assert row is not None
    return row


# connections --------------------------------------------------------------------------------------------------------
async def add(conn: Connection, row: Row) -> Row:
    """A new connection."""
    return await _one(
        conn,
        "insert into worka.connection (tenant_id, id, workspace_id, provider, name, host, port, access, why, secret_id,"
        " metadata, state, reason, created_by, kind, person_id, client_id, scopes, asked_by) values (%(tenant_id)s,"
        " %(id)s, %(workspace_id)s, %(provider)s, %(name)s, %(host)s, %(port)s, %(access)s, %(why)s, %(secret_id)s,"
        " %(metadata)s, %(state)s, %(reason)s, %(created_by)s, %(kind)s, %(person_id)s, %(client_id)s, %(scopes)s,"
        " %(asked_by)s) returning *",
        {
            "kind": "token", "person_id": None, "client_id": None, "scopes": [], **row,
            "metadata": Jsonb(row["metadata"]), "asked_by": Jsonb(row.get("asked_by", [])),
        },
    )  # fmt: skip


async def set_approval(conn: Connection, connection_id: str, approval_id: str) -> None:
    """Which approval it waits for."""
    await conn.execute("update worka.connection set approval_id = %s where id = %s", (approval_id, connection_id))


async def move(conn: Connection, connection_id: str, state: str, reason: str) -> Row:
    """Moves a connection; what is told apart by its reason alone keeps its since."""
    CONNECTION.holds(state, reason)
    return await _one(
        conn,
        "update worka.connection set since = case when state = %(state)s and reason = %(reason)s then since else"
        " clock_timestamp() end, state = %(state)s, reason = %(reason)s where id = %(id)s returning *",
        {"id": connection_id, "state": state, "reason": reason},
    )


async def get(conn: Connection, connection_id: str, *, lock: bool = False) -> Row | None:
    """A connection with its secret's name and state."""
    tail = " for update of c" if lock else ""
    cursor = await conn.execute(f"{_WHOLE} where c.id = %s{tail}", (connection_id,))
    return await cursor.fetchone()


async def listed(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """A workspace's connections, newest first."""
    cursor = await conn.execute(
        f"{_WHOLE} where c.workspace_id = %s and (%s::text is null or c.id < %s) order by c.id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def living(conn: Connection, workspace_id: str) -> list[Row]:
    """The workspace's connections that are not ended, newest first."""
    cursor = await conn.execute(
        f"{_WHOLE} where c.workspace_id = %s and c.state not in ('revoked', 'rejected') order by c.id desc",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def of_secret(conn: Connection, secret_id: str) -> list[Row]:
    """The connections that a secret backs and that are not ended, locked."""
    cursor = await conn.execute(
        "select * from worka.connection where secret_id = %s and state not in ('revoked', 'rejected', 'broken')"
        " order by id for update",
        (secret_id,),
    )
    return await cursor.fetchall()


async def of_person(conn: Connection, workspace_id: str, person_id: str) -> list[Row]:
    """Somebody's own connections that are not ended."""
    cursor = await conn.execute(
        "select * from worka.connection where workspace_id = %s and person_id = %s and state not in ('revoked', 'rejected')"
        " order by id",
        (workspace_id, person_id),
    )
    return await cursor.fetchall()


async def of_client(conn: Connection, client_id: str) -> list[Row]:
    """The connections that a client at a provider stands behind and that are not ended."""
    cursor = await conn.execute(
        "select id, name, state from worka.connection where client_id = %s and state not in ('revoked', 'rejected')"
        " order by id",
        (client_id,),
    )
    return await cursor.fetchall()


async def same_way(conn: Connection, row: Row) -> bool:
    """Whether another active connection uses the same secret on the same endpoint."""
    cursor = await conn.execute(
        "select 1 from worka.connection where secret_id = %(secret_id)s and host = %(host)s and port = %(port)s"
        " and workspace_id = %(workspace_id)s and state = 'active' and id <> %(id)s limit 1",
        row,
    )
    return await cursor.fetchone() is not None


async def waiting_attachments(conn: Connection, workspace_id: str) -> list[Row]:
    """The attachments of a workspace that wait for a connection."""
    cursor = await conn.execute(
        "select id, pack from worka.attachment where workspace_id = %s and state = 'awaiting_connection' order by id",
        (workspace_id,),
    )
    return await cursor.fetchall()


# tokens -------------------------------------------------------------------------------------------------------------
async def keep(conn: Connection, connection_id: str, found: Row) -> Row:
    """What the provider gave: secrets, scopes, account, end, when it is renewed, and what of a problem is still to be known.
    Whoever held the renewal holds it no more."""
    return await _one(
        conn,
        "update worka.connection set secret_id = %(secret_id)s, refresh_secret_id = %(refresh_secret_id)s, granted ="
        " %(granted)s, account = %(account)s, expires_at = %(expires_at)s, refresh_at = %(refresh_at)s, refresh_claim ="
        " null, refresh_until = null, refresh_open = false, refresh_tries = 0, refreshed_at = clock_timestamp(), problem ="
        " %(problem)s, warned = '' where id = %(id)s returning *",
        {
            **found,
            "id": connection_id,
            "account": Jsonb(found["account"]),
            "problem": Jsonb(found["problem"]) if found.get("problem") else None,
        },
    )


async def claim(conn: Connection, connection_id: str, token: str, seconds: float) -> None:
    """This holder renews it now: only what comes under this token counts. It is open until its end is recorded."""
    await conn.execute(
        "update worka.connection set refresh_claim = %s, refresh_until = clock_timestamp() + make_interval(secs => %s),"
        " refresh_open = true where id = %s",
        (token, seconds, connection_id),
    )


async def again(conn: Connection, connection_id: str, pause: timedelta, problem: Row, *, open_: bool) -> None:
    """A renewal that came to nothing; it is tried again. `open_`: whether the provider did it nobody knows."""
    await conn.execute(
        "update worka.connection set refresh_claim = null, refresh_until = null, refresh_open = %s, refresh_tries ="
        " refresh_tries + 1, refresh_at = clock_timestamp() + %s, problem = %s where id = %s",
        (open_, pause, Jsonb(problem), connection_id),
    )


async def refused(conn: Connection, connection_id: str, problem: Row, *, renew: bool) -> None:
    """The provider did not take its credential; `renew`: it is renewed now."""
    await conn.execute(
        "update worka.connection set problem = %s, refresh_at = case when %s then clock_timestamp() else refresh_at end"
        " where id = %s",
        (Jsonb(problem), renew, connection_id),
    )


async def set_problem(conn: Connection, connection_id: str, problem: Row | None) -> None:
    """What was met last, where nothing else of it changes."""
    await conn.execute(
        "update worka.connection set problem = %s where id = %s", (Jsonb(problem) if problem else None, connection_id)
    )


async def no_more(conn: Connection, connection_id: str, problem: Row | None) -> None:
    """It is renewed no more, and why."""
    await conn.execute(
        "update worka.connection set refresh_claim = null, refresh_until = null, refresh_open = false, refresh_at = null,"
        " problem = %s where id = %s",
        (Jsonb(problem) if problem else None, connection_id),
    )


async def renew_at(conn: Connection, connection_id: str, at: datetime | None) -> None:
    """When it is renewed."""
    await conn.execute("update worka.connection set refresh_at = %s where id = %s", (at, connection_id))


async def set_warned(conn: Connection, connection_id: str, level: str) -> None:
    """How far its end was told of."""
    await conn.execute("update worka.connection set warned = %s where id = %s", (level, connection_id))


async def set_receipt(conn: Connection, connection_id: str, receipt: Row, pause: timedelta | None, tries: int) -> Row:
    """What its end did; `pause` before the provider is told (again), None: not any more."""
    return await _one(
        conn,
        "update worka.connection set receipt = %s, tell_at = clock_timestamp() + %s::interval, tell_tries = %s where id = %s"
        " returning *",
        (Jsonb(receipt), pause, tries, connection_id),
    )


async def due(conn: Connection, most: int) -> list[Row]:
    """{tenant_id, what, id} over all tenants: what has to be done now."""
    return await (await conn.execute("select tenant_id, what, id from worka.connections_due(%s)", (most,))).fetchall()


# clients at providers -----------------------------------------------------------------------------------------------
async def add_client(conn: Connection, row: Row) -> Row | None:
    """What the workspace is registered as; None when it is registered there already."""
    cursor = await conn.execute(
        "insert into worka.provider_client (tenant_id, id, workspace_id, provider, client_id, secret_id, metadata,"
        " created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(provider)s, %(client_id)s, %(secret_id)s,"
        " %(metadata)s, %(created_by)s) on conflict (tenant_id, workspace_id, provider) where ended_at is null do nothing"
        " returning *",
        {**row, "metadata": Jsonb(row["metadata"])},
    )
    return await cursor.fetchone()


async def client(conn: Connection, client_id: str, *, lock: bool = False) -> Row | None:
    """One client."""
    tail = " for update" if lock else ""
    cursor = await conn.execute(f"select * from worka.provider_client where id = %s{tail}", (client_id,))
    return await cursor.fetchone()


async def client_of(conn: Connection, workspace_id: str, provider: str) -> Row | None:
    """What the workspace is registered as at a provider; held, so that it does not end meanwhile."""
    cursor = await conn.execute(
        "select * from worka.provider_client where workspace_id = %s and provider = %s and ended_at is null for share",
        (workspace_id, provider),
    )
    return await cursor.fetchone()


async def clients(conn: Connection, workspace_id: str) -> list[Row]:
    """The workspace's clients, newest first."""
    cursor = await conn.execute(
        "select * from worka.provider_client where workspace_id = %s and ended_at is null order by id desc",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def end_client(conn: Connection, client_id: str) -> None:
    """The workspace is registered there no more."""
    await conn.execute("update worka.provider_client set ended_at = clock_timestamp() where id = %s", (client_id,))


# where names lead ----------------------------------------------------------------------------------------------------
async def lock_places(conn: Connection, workspace_id: str) -> None:
    """What is recorded of a workspace's outside names, and which credentials go to them, changes one after another: holds until
    the end of the transaction. Two that do not see each other could each pass for the first."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 7))", (workspace_id,))


async def exceptions_to(conn: Connection, workspace_id: str, places: Sequence[tuple[str, int]]) -> list[Row]:
    """The network exceptions that hold for any of these places (name, port)."""
    cursor = await conn.execute(
        "select 'network_exception' as kind, id, name, port, address, real_port, ca_pem, '' as attachment_id, created_by"
        " from worka.network_exception where workspace_id = %s and removed_at is null and (name, port) in"
        " (select * from unnest(%s::text[], %s::integer[])) order by name, port, id",
        (workspace_id, [name for name, _ in places], [port for _, port in places]),
    )
    return await cursor.fetchall()


async def trusts_in(conn: Connection, workspace_id: str, places: Sequence[tuple[str, int]]) -> list[Row]:
    """The records of upstream trust that name a certificate authority for any of these places, those too that hold for one
    attachment alone."""
    cursor = await conn.execute(
        "select 'upstream_trust' as kind, t.id, t.name, t.port, '' as address, 0 as real_port, t.ca_pem, t.attachment_id,"
        " t.created_by, coalesce(a.pack, '') as pack from worka.upstream_trust t left join worka.attachment a"
        " on a.tenant_id = t.tenant_id and a.id = t.attachment_id where t.workspace_id = %s and t.removed_at is null"
        " and t.ca_pem <> '' and (t.name, t.port) in (select * from unnest(%s::text[], %s::integer[]))"
        " order by t.name, t.port, t.attachment_id, t.id",
        (workspace_id, [name for name, _ in places], [port for _, port in places]),
    )
    return await cursor.fetchall()


# consents under way -------------------------------------------------------------------------------------------------
async def add_flow(conn: Connection, row: Row) -> Row:
    """A consent that begins; the one before it, of the same connection, is over."""
    await end_flows(conn, row["connection_id"], "begun_again")
    return await _one(
        conn,
        "insert into worka.connection_flow (tenant_id, id, workspace_id, connection_id, kind, person_id, credential_id,"
        " state_hash, sealed, redirect_uri, user_code, verification_uri, interval_seconds, next_at, expires_at) values"
        " (%(tenant_id)s, %(id)s, %(workspace_id)s, %(connection_id)s, %(kind)s, %(person_id)s, %(credential_id)s,"
        " %(state_hash)s, %(sealed)s, %(redirect_uri)s, %(user_code)s, %(verification_uri)s, %(interval_seconds)s,"
        " case when %(kind)s = 'device' then clock_timestamp() + make_interval(secs => %(interval_seconds)s) end,"
        " clock_timestamp() + make_interval(secs => %(seconds)s)) returning *",
        {"state_hash": "", "redirect_uri": "", "user_code": "", "verification_uri": "", "interval_seconds": 5, **row},
    )


async def flow(conn: Connection, flow_id: str, *, lock: bool = False) -> Row | None:
    """One consent; `late`: its time is over."""
    tail = " for update" if lock else ""
    cursor = await conn.execute(
        f"select *, expires_at <= clock_timestamp() as late from worka.connection_flow where id = %s{tail}", (flow_id,)
    )
    return await cursor.fetchone()


async def open_flow(conn: Connection, connection_id: str) -> Row | None:
    """The consent of a connection that is under way."""
    cursor = await conn.execute(
        "select * from worka.connection_flow where connection_id = %s and ended_at is null"
        " and (used_at is null or kind = 'device')"
        " and expires_at > clock_timestamp() order by id desc limit 1",
        (connection_id,),
    )
    return await cursor.fetchone()


async def use_flow(conn: Connection, flow_id: str) -> None:
    """Its answer came: no second one counts."""
    await conn.execute("update worka.connection_flow set used_at = clock_timestamp() where id = %s", (flow_id,))


async def asking(conn: Connection, flow_id: str, seconds: float) -> None:
    """A device's consent is asked for now, by one for so long; until what came of it is recorded, its end is open."""
    await conn.execute(
        "update worka.connection_flow set used_at = clock_timestamp(), next_at = clock_timestamp() +"
        " make_interval(secs => %s) where id = %s",
        (seconds, flow_id),
    )


async def not_yet(conn: Connection, flow_id: str, interval: int) -> None:
    """A device's consent is not given yet, as the provider says; when it is asked for again."""
    await conn.execute("update worka.connection_flow set used_at = null where id = %s", (flow_id,))
    await poll_later(conn, flow_id, interval)


async def poll_later(conn: Connection, flow_id: str, interval: int) -> None:
    """When a device's consent is asked for again."""
    await conn.execute(
        "update worka.connection_flow set interval_seconds = %s, next_at = clock_timestamp() + make_interval(secs => %s)"
        " where id = %s",
        (interval, interval, flow_id),
    )


async def end_flow(conn: Connection, flow_id: str, outcome: str) -> bool:
    """It is over: whether it was not before. What it held is wiped."""
    cursor = await conn.execute(
        "update worka.connection_flow set ended_at = clock_timestamp(), next_at = null, outcome = %s, sealed = ''"
        " where id = %s and ended_at is null",
        (outcome, flow_id),
    )
    return bool(cursor.rowcount)


async def end_flows(conn: Connection, connection_id: str, outcome: str) -> None:
    """Every consent of a connection that is under way is over."""
    await conn.execute(
        "update worka.connection_flow set ended_at = clock_timestamp(), next_at = null, outcome = %s, sealed = ''"
        " where connection_id = %s and ended_at is null",
        (outcome, connection_id),
    )


# what needs a connection, and what used one -------------------------------------------------------------------------
async def wanting(conn: Connection, workspace_id: str) -> list[Row]:
    """{id, pack, state, connections, outbound}: the attachments of a workspace that serve or wait, with what they declare."""
    cursor = await conn.execute(
        "select a.id, a.pack, a.state, coalesce(r.manifest->'connections', '[]') as connections,"
        " coalesce(r.manifest->'outbound_domains', '[]') as outbound from worka.attachment a join worka.release r"
        " on r.tenant_id = a.tenant_id and r.id = a.release_id where a.workspace_id = %s"
        " and a.state not in ('detached', 'suspended') and jsonb_array_length(coalesce(r.manifest->'connections', '[]')) > 0"
        " order by a.id",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def waiting_tasks(conn: Connection, workspace_id: str) -> list[Row]:
    """{task_id, title, step, ref, name, since}: the tasks that wait for a connection."""
    cursor = await conn.execute(
        "select w.task_id, t.title, s.name as step, w.ref, w.name, w.since from worka.wait w join worka.task t on"
        " t.tenant_id = w.tenant_id and t.id = w.task_id join worka.step s on s.tenant_id = w.tenant_id and s.id ="
        " w.step_id where w.workspace_id = %s and w.kind = 'connection' and w.cleared_at is null order by w.since, w.id"
        " limit 500",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def requests_of(conn: Connection, connection_id: str, days: int) -> list[Row]:
    """{method, path, count, last}: what was asked of the outside with a connection in the last days."""
    cursor = await conn.execute(
        "select method, path, sum(count)::int as count, max(last_at) as last from worka.egress where connection_id = %s"
        " and verdict = 'allowed' and at > clock_timestamp() - make_interval(days => %s) group by method, path"
        " order by max(last_at) desc limit 500",
        (connection_id, days),
    )
    return await cursor.fetchall()


async def calls_of(conn: Connection, connection_id: str, limit: int) -> list[Row]:
    """{invocation_id, pack, tool, person, state, at, requests}: the last calls that used a connection."""
    cursor = await conn.execute(
        "select i.id as invocation_id, i.pack, i.tool, coalesce(i.originating_person, i.initiator_id) as person, i.state,"
        " max(e.last_at) as at, sum(e.count)::int as requests from worka.egress e join worka.invocation i on i.tenant_id ="
        " e.tenant_id and i.id = e.invocation_id where e.connection_id = %s and e.verdict = 'allowed' group by i.tenant_id,"
        " i.id order by max(e.last_at) desc limit %s",
        (connection_id, limit),
    )
    return await cursor.fetchall()


async def standing(conn: Connection, row: Row) -> list[Row]:
    """{what, id, name, state}: what stands on a connection: attachments that hold a grant of its secret at its endpoint, calls
    that hold it now, tasks in flight that used it."""
    cursor = await conn.execute(
        "select 'attachment' as what, a.id, a.pack as name, a.state from worka.secret_grant g join worka.attachment a on"
        " a.tenant_id = g.tenant_id and a.id = g.attachment_id where g.secret_id = %(secret_id)s and g.endpoint ="
        " %(endpoint)s and g.revoked_at is null"
        " union all select distinct 'call', i.id, i.tool, i.state from worka.lease l join worka.invocation i on i.tenant_id ="
        " l.tenant_id and i.id = l.invocation_id where l.secret_id = %(secret_id)s and l.closed_at is null and i.state ="
        " 'running'"
        " union all select distinct 'task', t.id, t.title, t.state from worka.lease l join worka.invocation i on i.tenant_id"
        " = l.tenant_id and i.id = l.invocation_id join worka.task t on t.tenant_id = i.tenant_id and t.id = i.task_id"
        " where l.secret_id = %(secret_id)s and t.state not in ('succeeded', 'failed', 'cancelled') order by 1, 2 limit 500",
        {"secret_id": row["secret_id"], "endpoint": f"{row['host']}:{row['port']}"},
    )
    return await cursor.fetchall()


# the operator's word ------------------------------------------------------------------------------------------------
async def restriction(conn: Connection) -> Row | None:
    """Which outside systems the tenant may connect; None: the operator has said nothing."""
    cursor = await conn.execute("select * from worka.provider_restriction")
    return await cursor.fetchone()


async def restrict(conn: Connection, row: Row) -> Row:
    """Sets it."""
    return await _one(
        conn,
        "insert into worka.provider_restriction (tenant_id, providers, reason, set_by, set_by_name) values (%(tenant_id)s,"
        " %(providers)s, %(reason)s, %(set_by)s, %(set_by_name)s) on conflict (tenant_id) do update set providers ="
        " excluded.providers, reason = excluded.reason, set_by = excluded.set_by, set_by_name = excluded.set_by_name,"
        " set_at = clock_timestamp() returning *",
        row,
    )


async def active_of(conn: Connection) -> list[Row]:
    """{provider, count} of the tenant's connections that are not ended."""
    cursor = await conn.execute(
        "select provider, count(*)::int as count from worka.connection where state not in ('revoked', 'rejected')"
        " group by provider order by provider"
    )
    return await cursor.fetchall()


async def names(conn: Connection, ids: list[str]) -> dict[str, str]:
    """Names of people by id, as far as this tenant may see them."""
    cursor = await conn.execute("select id, display_name as name from worka.person where id = any(%s)", (ids,))
    return {row["id"]: row["name"] for row in await cursor.fetchall()}
