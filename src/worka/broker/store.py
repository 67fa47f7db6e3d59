"""Every query of the broker. The tenant is the transaction's (row-level security)."""

# ruff: noqa: S608 - what is put together below is a constant list of columns
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from worka.kernel.db import Connection

Row = dict[str, Any]
_EGRESS = (
    "id, workspace_id, attachment_id, invocation_id, session_id, host, port, kind, method, path, verdict, reason, rule,"
    " count, address, status, bytes_out, bytes_in, duration_ms, opaque, exception_id, connection_id, lease_id,"
    " trace_id, decision_id, protocol, upstream_protocol, resolve_ms, connect_ms, answer_ms, secret_id, trust_id, at, last_at"
)
_WIRE = dict.fromkeys(
    ("protocol", "upstream_protocol", "resolve_ms", "connect_ms", "answer_ms", "secret_id", "trust_id")
)
"""What of a row not everybody knows; None: not told."""
_COUNTED = (
    "count = count + %(times)s, path = coalesce(%(path)s, path), address = coalesce(%(address)s, address),"
    " last_at = clock_timestamp(), xid = pg_current_xact_id()"
)
_OUTCOME = (
    "status = %(status)s, reason = %(reason)s, bytes_out = bytes_out + %(bytes_out)s, bytes_in = bytes_in + %(bytes_in)s,"
    " duration_ms = %(duration_ms)s, protocol = coalesce(%(protocol)s, protocol), upstream_protocol ="
    " %(upstream_protocol)s, resolve_ms = coalesce(%(resolve_ms)s, resolve_ms), connect_ms = %(connect_ms)s,"
    " answer_ms = %(answer_ms)s"
)
_USE = (
    "insert into worka.egress_use as u (tenant_id, attachment_id, day, requests, bytes_out, bytes_in)"
    " values (%(tenant_id)s, %(attachment_id)s, %(day)s, %(requests)s, %(bytes_out)s, %(bytes_in)s)"
    " on conflict (tenant_id, attachment_id, day) do update set requests = u.requests + excluded.requests,"
    " bytes_out = u.bytes_out + excluded.bytes_out, bytes_in = u.bytes_in + excluded.bytes_in"
)
_AGAIN = (
    "times", "path", "address", "requests", "status", "reason", "bytes_out", "bytes_in", "duration_ms", "protocol",
    "upstream_protocol", "resolve_ms", "connect_ms", "answer_ms",
)  # fmt: skip
"""What `again` says of them, as worka.egress_again takes it."""
_EXCEPTION = "id, workspace_id, name, port, address, real_port, ca_pem, reason, created_by, created_at, removed_at"

_TRUST = (
    "id, workspace_id, name, port, attachment_id, ca_pem, client_cert_pem, client_key_secret_id, reason, created_by,"
    " created_at, removed_at"
)


async def attachment(conn: Connection, attachment_id: str) -> Row | None:
    """The attachment with its release's manifest."""
    cursor = await conn.execute(
        "select a.id, a.workspace_id, a.release_id, a.pack, a.state, r.manifest, r.state as release_state"
        " from worka.attachment a join worka.release r on r.tenant_id = a.tenant_id and r.id = a.release_id"
        " where a.id = %s",
        (attachment_id,),
    )
    return await cursor.fetchone()


async def invocation(conn: Connection, invocation_id: str) -> Row | None:
    """The invocation as far as rules and attribution need it, with the manifest of the release that it runs."""
    cursor = await conn.execute(
        "select i.id, i.workspace_id, i.attachment_id, i.side_effect, i.idempotency_key, i.originating_person, i.state,"
        " i.trace_id, i.tool, i.release_id, i.initiator_id, r.manifest from worka.invocation i"
        " join worka.release r on r.tenant_id = i.tenant_id and r.id = i.release_id where i.id = %s",
        (invocation_id,),
    )
    return await cursor.fetchone()


async def connections(conn: Connection, workspace_id: str) -> list[Row]:
    """The workspace's connections, newest first."""
    cursor = await conn.execute(
        "select id, provider, host, port, case when state = 'active' and expires_at <= clock_timestamp() then 'expired' else"
        " state end as state, secret_id, metadata, person_id, reason, refreshed_at from worka.connection"
        " where workspace_id = %s order by id desc",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def live_exceptions(conn: Connection, workspace_id: str) -> list[Row]:
    """The network exceptions that hold now."""
    cursor = await conn.execute(
        f"select {_EXCEPTION} from worka.network_exception where workspace_id = %s and removed_at is null order by id",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def _page(
    conn: Connection, columns: str, table: str, workspace_id: str, after: str | None, limit: int
) -> list[Row]:
    cursor = await conn.execute(
        f"select {columns} from worka.{table} where workspace_id = %s and (%s::text is null or id < %s)"
        " order by id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def _end(conn: Connection, columns: str, table: str, thing: str) -> Row | None:
    cursor = await conn.execute(
        f"update worka.{table} set removed_at = now() where id = %s and removed_at is null returning {columns}",
        (thing,),
    )
    return await cursor.fetchone()


async def exceptions_page(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Exceptions, newest first, removed ones too."""
    return await _page(conn, _EXCEPTION, "network_exception", workspace_id, after, limit)


async def exception(conn: Connection, exception_id: str) -> Row | None:
    """One exception."""
    cursor = await conn.execute(f"select {_EXCEPTION} from worka.network_exception where id = %s", (exception_id,))
    return await cursor.fetchone()


async def insert_exception(conn: Connection, tenant_id: str, row: Mapping[str, Any]) -> Row:
    """Writes an exception."""
    cursor = await conn.execute(
        "insert into worka.network_exception"
        " (tenant_id, id, workspace_id, name, port, address, real_port, ca_pem, reason, created_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(port)s, %(address)s, %(real_port)s, %(ca_pem)s,"
        f" %(reason)s, %(created_by)s) returning {_EXCEPTION}",
        {**row, "tenant_id": tenant_id},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def remove_exception(conn: Connection, exception_id: str) -> Row | None:
    """Ends an exception; None when it had ended already."""
    return await _end(conn, _EXCEPTION, "network_exception", exception_id)


async def trusts_page(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Records of upstream trust, newest first, removed ones too."""
    return await _page(conn, _TRUST, "upstream_trust", workspace_id, after, limit)


async def trust(conn: Connection, trust_id: str) -> Row | None:
    """One record of upstream trust."""
    cursor = await conn.execute(f"select {_TRUST} from worka.upstream_trust where id = %s", (trust_id,))
    return await cursor.fetchone()


async def insert_trust(conn: Connection, tenant_id: str, row: Mapping[str, Any]) -> Row:
    """Writes one."""
    cursor = await conn.execute(
        "insert into worka.upstream_trust (tenant_id, id, workspace_id, name, port, attachment_id, ca_pem, client_cert_pem,"
        " client_key_secret_id, reason, created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(port)s,"
        " %(attachment_id)s, %(ca_pem)s, %(client_cert_pem)s, %(client_key_secret_id)s, %(reason)s, %(created_by)s)"
        f" returning {_TRUST}",
        {**row, "tenant_id": tenant_id},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def remove_trust(conn: Connection, trust_id: str) -> Row | None:
    """Ends one; None when it had ended already."""
    return await _end(conn, _TRUST, "upstream_trust", trust_id)


async def live_trusts(conn: Connection, workspace_id: str, attachment_id: str) -> list[Row]:
    """How certificates are checked for an attachment: the workspace's records, then the attachment's own."""
    cursor = await conn.execute(
        "select id, name, port, attachment_id, ca_pem, client_cert_pem, client_key_secret_id from worka.upstream_trust"
        " where workspace_id = %s and attachment_id in ('', %s) and removed_at is null order by attachment_id, id",
        (workspace_id, attachment_id),
    )
    return await cursor.fetchall()


async def insert_egress(conn: Connection, tenant_id: str, row: Mapping[str, Any]) -> None:
    """Writes the first row of a destination and cause."""
    await conn.execute(
        "insert into worka.egress (tenant_id, id, workspace_id, attachment_id, invocation_id, session_id, host, port,"
        " kind, method, path, verdict, reason, rule, count, address, opaque, exception_id, connection_id, lease_id,"
        " trace_id, decision_id, protocol, resolve_ms, secret_id, trust_id)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(attachment_id)s, %(invocation_id)s, %(session_id)s,"
        " %(host)s, %(port)s, %(kind)s, %(method)s, %(path)s, %(verdict)s, %(reason)s, %(rule)s, 1, %(address)s,"
        " %(opaque)s, %(exception_id)s, %(connection_id)s, %(lease_id)s, %(trace_id)s, %(decision_id)s, %(protocol)s,"
        " %(resolve_ms)s, %(secret_id)s, %(trust_id)s)",
        {**_WIRE, **row, "tenant_id": tenant_id},
    )


async def repeat_egress(conn: Connection, egress_id: str, times: int, path: str | None, address: str | None) -> None:
    """Counts a row up; the path and the address are those of the last request."""
    await conn.execute(
        f"update worka.egress set {_COUNTED} where id = %(id)s",
        {"times": times, "path": path, "address": address, "id": egress_id},
    )


async def finish_egress(conn: Connection, egress_id: str, outcome: Mapping[str, Any]) -> None:
    """Writes the outcome of the last request; bytes add up."""
    await conn.execute(
        f"update worka.egress set {_OUTCOME}, last_at = clock_timestamp(), xid = pg_current_xact_id() where id = %(id)s",
        {**_WIRE, **outcome, "id": egress_id},
    )


async def take_back_egress(conn: Connection, egress_id: str, reason: str, *, alone: bool) -> None:
    """Takes back one request that a row counts and that did not leave; where nothing else of the row left (`alone`), it is a
    refusal."""
    await conn.execute(
        "update worka.egress set count = greatest(count - 1, 1),"
        " verdict = case when %(alone)s and count = 1 then 'denied' else verdict end,"
        " reason = case when %(alone)s and count = 1 then %(reason)s else reason end,"
        " last_at = clock_timestamp(), xid = pg_current_xact_id() where id = %(id)s",
        {"id": egress_id, "reason": reason, "alone": alone},
    )


async def add_use(
    conn: Connection, tenant_id: str, attachment_id: str, day: date, requests: int, bytes_out: int, bytes_in: int
) -> None:
    """Adds to what left for an attachment on a day."""
    await conn.execute(
        _USE,
        {"tenant_id": tenant_id, "attachment_id": attachment_id, "day": day, "requests": requests,
         "bytes_out": bytes_out, "bytes_in": bytes_in},
    )  # fmt: skip


async def carry_on(
    conn: Connection, tenant_id: str, attachment_id: str, day: date, egress_id: str, row: Mapping[str, Any]
) -> None:
    """Counts a row up, writes the outcome of what it counted before, and adds that to the day's use, in one exchange.
    `row`: {times, path, address, requests} and the outcome."""
    await conn.execute(
        f"with row as (update worka.egress set {_COUNTED}, {_OUTCOME} where id = %(id)s) {_USE}",
        {**_WIRE, **row, "id": egress_id, "tenant_id": tenant_id, "attachment_id": attachment_id, "day": day},
    )


async def again(
    conn: Connection, tenant_id: str, attachment_id: str, day: date, egress_id: str, row: Mapping[str, Any]
) -> bool:
    """`carry_on` as a transaction of its own, in one exchange; `requests` may be 0, and there is no outcome then. False: it
    was not done, for the row is not there, or a kill switch is on and `times` is not 0."""
    values = (tenant_id, egress_id, attachment_id, day, *(row.get(name) for name in _AGAIN))
    # As text, whatever they are: one statement is prepared, not one for each width of a number.
    told = [None if value is None else str(value) for value in values]
    cursor = await conn.execute(
        f"select worka.egress_again({', '.join(['%s'] * len(told))}) as done", told, prepare=True
    )
    found = await cursor.fetchone()
    return found is not None and bool(found["done"])


async def use(conn: Connection, attachment_id: str, day: date) -> Row | None:
    """What left for an attachment on a day: {requests, bytes_out, bytes_in}; None: nothing did."""
    cursor = await conn.execute(
        "select requests, bytes_out, bytes_in from worka.egress_use where attachment_id = %s and day = %s",
        (attachment_id, day),
    )
    return await cursor.fetchone()


async def egress_of(conn: Connection, invocation_id: str) -> list[Row]:
    """The rows of one invocation, in order."""
    cursor = await conn.execute(
        f"select {_EGRESS} from worka.egress where invocation_id = %s order by id", (invocation_id,)
    )
    return await cursor.fetchall()


async def egress(conn: Connection, egress_id: str) -> Row | None:
    """One row."""
    cursor = await conn.execute(f"select {_EGRESS} from worka.egress where id = %s", (egress_id,))
    return await cursor.fetchone()


async def leases_over(conn: Connection, leases: Sequence[str]) -> dict[str, str]:
    """Which of these are over although their call goes on: `ended` with their grant or secret, `sealed` with the treasury,
    `renewed` where the secret has another value since."""
    if not leases:
        return {}
    cursor = await conn.execute(
        "select * from (select l.id, case when exists (select 1 from worka.treasury_seal t where t.sealed) then 'sealed'"
        "  when g.revoked_at is not null or s.state not in ('active', 'rotating') then 'ended'"
        "  when v.ended_at is not null then 'renewed' end as how"
        " from worka.lease l join worka.secret_grant g on g.tenant_id = l.tenant_id and g.id = l.grant_id"
        " join worka.secret s on s.tenant_id = l.tenant_id and s.id = l.secret_id"
        " join worka.secret_version v on v.tenant_id = l.tenant_id and v.secret_id = l.secret_id"
        "  and v.version = l.secret_version where l.id = any(%s)) found where how is not null",
        (list(leases),),
    )
    return {row["id"]: row["how"] for row in await cursor.fetchall()}


# the platform's own ---------------------------------------------------------------------------------------------------
async def platform_rules(conn: Connection, purpose: str, subject_id: str) -> list[Row]:
    """What the platform may reach for this subject, now."""
    cursor = await conn.execute(
        "select * from worka.platform_rule where purpose = %s and subject_id = %s and ended_at is null order by id",
        (purpose, subject_id),
    )
    return await cursor.fetchall()


async def add_platform_rule(conn: Connection, row: Mapping[str, Any]) -> Row:
    """Writes a rule, in the transaction of what needs it."""
    cursor = await conn.execute(
        "insert into worka.platform_rule (tenant_id, id, workspace_id, purpose, subject_id, host, port, method, path,"
        " created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(purpose)s, %(subject_id)s, %(host)s, %(port)s,"
        " %(method)s, %(path)s, %(created_by)s) returning *",
        dict(row),
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def end_platform_rules(conn: Connection, purpose: str, subject_id: str) -> int:
    """Ends the rules of a subject; how many."""
    cursor = await conn.execute(
        "update worka.platform_rule set ended_at = now() where purpose = %s and subject_id = %s and ended_at is null",
        (purpose, subject_id),
    )
    return cursor.rowcount


# raw lines -----------------------------------------------------------------------------------------------------------
async def add_lines(conn: Connection, tenant_id: str, workspace_id: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes the failure lines of a call. A line of a row that was never written goes nowhere."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "insert into worka.egress_line (tenant_id, workspace_id, egress_id, at, reason, text)"
            " select %(tenant_id)s, %(workspace_id)s, e.id, %(at)s, %(reason)s, %(text)s from worka.egress e"
            " where e.id = %(egress_id)s and e.workspace_id = %(workspace_id)s",
            [{**line, "tenant_id": tenant_id, "workspace_id": workspace_id} for line in lines],
        )


async def lines_of(conn: Connection, egress_id: str) -> list[Row]:
    """The failure lines of one row, in order."""
    cursor = await conn.execute(
        "select egress_id, at, reason, text from worka.egress_line where egress_id = %s order by id", (egress_id,)
    )
    return await cursor.fetchall()


async def lines_of_call(conn: Connection, invocation_id: str) -> list[Row]:
    """The failure lines of one call, in order, each with its row's place."""
    cursor = await conn.execute(
        "select l.egress_id, l.at, l.reason, l.text, e.host, e.port from worka.egress e"
        " join worka.egress_line l on l.tenant_id = e.tenant_id and l.egress_id = e.id"
        " where e.invocation_id = %s order by l.id",
        (invocation_id,),
    )
    return await cursor.fetchall()
