"""Grants, and the leases that are given under them."""

# ruff: noqa: S608 - what is put together below are our own column names and lock clauses
from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.treasury.store.rows import one

Row = dict[str, Any]
_GRANT = (
    "g.id, g.workspace_id, g.secret_id, g.attachment_id, g.endpoint, g.granted_by, g.granted_at, g.revoked_at,"
    " g.revoked_by"
)


async def attachment(conn: Connection, attachment_id: str) -> Row | None:
    """An attachment as far as grants need it."""
    cursor = await conn.execute(
        "select id, workspace_id, pack, state from worka.attachment where id = %s", (attachment_id,)
    )
    return await cursor.fetchone()


async def add_grant(conn: Connection, row: Row) -> Row:
    """A new grant."""
    return await one(
        conn,
        "insert into worka.secret_grant (tenant_id, id, workspace_id, secret_id, attachment_id, endpoint, granted_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(secret_id)s, %(attachment_id)s, %(endpoint)s,"
        " %(granted_by)s)"
        " returning *",
        row,
    )


async def live_grants(conn: Connection, secret_id: str, attachment_id: str, *, lock: bool = False) -> list[Row]:
    """The live grants of a secret for an attachment. `lock`: nobody revokes one of them until this transaction ends."""
    tail = " for share" if lock else ""
    cursor = await conn.execute(
        "select * from worka.secret_grant where secret_id = %s and attachment_id = %s and revoked_at is null order"
        " by id" + tail,
        (secret_id, attachment_id),
    )
    return await cursor.fetchall()


async def grants(conn: Connection, secret_id: str) -> list[Row]:
    """All grants of a secret, newest first, with the pack's name."""
    cursor = await conn.execute(
        f"select {_GRANT}, a.pack, a.state as attachment_state from worka.secret_grant g"
        " left join worka.attachment a on a.tenant_id = g.tenant_id and a.id = g.attachment_id"
        " where g.secret_id = %s order by g.id desc limit 500",
        (secret_id,),
    )
    return await cursor.fetchall()


async def grant(conn: Connection, grant_id: str) -> Row | None:
    """A grant with its secret's name, locked."""
    cursor = await conn.execute(
        "select g.*, s.name from worka.secret_grant g join worka.secret s on s.tenant_id = g.tenant_id and s.id ="
        " g.secret_id"
        " where g.id = %s for update of g",
        (grant_id,),
    )
    return await cursor.fetchone()


async def taken_back(conn: Connection, attachment_id: str, endpoint: str) -> bool:
    """Whether the newest grant of the attachment for the endpoint was ended by a person's hand: then none comes by itself."""
    cursor = await conn.execute(
        "select revoked_at is not null and ended_by = '' as back from worka.secret_grant where attachment_id = %s"
        " and endpoint = %s order by id desc limit 1",
        (attachment_id, endpoint),
    )
    row = await cursor.fetchone()
    return bool(row and row["back"])


async def grants_of_attachment(conn: Connection, attachment_id: str) -> list[Row]:
    """The live grants of an attachment: {id, secret_id, endpoint}."""
    cursor = await conn.execute(
        "select id, secret_id, endpoint from worka.secret_grant where attachment_id = %s and revoked_at is null order by id",
        (attachment_id,),
    )
    return await cursor.fetchall()


async def revoke_grants(
    conn: Connection,
    by: str,
    *,
    grant_id: str | None = None,
    secret_id: str | None = None,
    attachment_id: str | None = None,
    endpoint: str | None = None,
    cause: str = "",
) -> list[Row]:
    """Revokes the live grants that fit every given word, and says which, with the secret's name. At least one is
    given. `cause`: the kind of what ended them; empty: a person, by hand."""
    assert grant_id or secret_id or attachment_id
    cursor = await conn.execute(
        "update worka.secret_grant g set revoked_at = clock_timestamp(), revoked_by = %(by)s,"
        " ended_by = %(cause)s from worka.secret s"
        " where s.tenant_id = g.tenant_id and s.id = g.secret_id and g.revoked_at is null"
        " and (%(grant)s::text is null or g.id = %(grant)s) and (%(secret)s::text is null or g.secret_id = %(secret)s)"
        " and (%(attachment)s::text is null or g.attachment_id = %(attachment)s)"
        " and (%(endpoint)s::text is null or g.endpoint = %(endpoint)s) returning g.*, s.name",
        {
            "by": by,
            "grant": grant_id,
            "secret": secret_id,
            "attachment": attachment_id,
            "endpoint": endpoint,
            "cause": cause,
        },
    )
    return await cursor.fetchall()


async def invocation(conn: Connection, invocation_id: str) -> Row | None:
    """An invocation as far as leases need it; it cannot end until this transaction does."""
    cursor = await conn.execute(
        "select id, workspace_id, attachment_id, state, release_id, pack, tool, initiator_id, originating_person"
        " from worka.invocation where id = %s for share",
        (invocation_id,),
    )
    return await cursor.fetchone()


async def add_lease(conn: Connection, row: Row, seconds: int) -> Row:
    """A new lease."""
    return await one(
        conn,
        "insert into worka.lease (tenant_id, id, workspace_id, secret_id, secret_version, grant_id, attachment_id,"
        " invocation_id, endpoint, trace_id, expires_at) values (%(tenant_id)s, %(id)s, %(workspace_id)s,"
        " %(secret_id)s,"
        " %(secret_version)s, %(grant_id)s, %(attachment_id)s, %(invocation_id)s, %(endpoint)s, %(trace_id)s,"
        " clock_timestamp() + make_interval(secs => %(seconds)s)) returning *",
        {**row, "seconds": seconds},
    )


async def leased_before(conn: Connection, secret_id: str, invocation_id: str) -> int | None:
    """Which version this call got last."""
    cursor = await conn.execute(
        "select secret_version from worka.lease where secret_id = %s and invocation_id = %s order by id desc limit 1",
        (secret_id, invocation_id),
    )
    row = await cursor.fetchone()
    return int(row["secret_version"]) if row else None


async def leases(conn: Connection, secret_id: str, after: str | None, limit: int) -> list[Row]:
    """Who had it when, for which call and endpoint, the newest first."""
    cursor = await conn.execute(
        "select l.id, l.workspace_id, l.secret_id, l.secret_version, l.grant_id, l.attachment_id, l.invocation_id,"
        " l.endpoint, l.issued_at, l.expires_at, l.used_count, l.last_used_at, l.closed_at, l.trace_id, i.pack, i.tool,"
        " i.task_id, i.initiator_kind, i.initiator_id, i.originating_person from worka.lease l left join"
        " worka.invocation i on i.tenant_id = l.tenant_id and i.id = l.invocation_id where l.secret_id = %s"
        " and (%s::text is null or l.id < %s) order by l.id desc limit %s",
        (secret_id, after, after, limit),
    )
    return await cursor.fetchall()


async def close_leases(conn: Connection, invocation_id: str) -> list[Row]:
    """Ends the open leases of an invocation. How often one was used is what the egress rows that name it say."""
    cursor = await conn.execute(
        "update worka.lease l set closed_at = clock_timestamp(), used_count = used.n, last_used_at = used.last from"
        " (select i.id, coalesce(sum(e.count), 0)::int as n, max(e.last_at) as last from worka.lease i left join"
        " worka.egress e"
        "  on e.tenant_id = i.tenant_id and e.lease_id = i.id and e.verdict = 'allowed'"
        "  where i.invocation_id = %s and i.closed_at is null group by i.id) used"
        " where l.id = used.id and l.closed_at is null returning l.*",
        (invocation_id,),
    )
    return await cursor.fetchall()


async def last_lease(conn: Connection, secret_id: str) -> Row | None:
    """The newest lease of a secret."""
    cursor = await conn.execute(
        "select id, attachment_id, invocation_id, endpoint, issued_at, expires_at, closed_at from worka.lease"
        " where secret_id = %s order by id desc limit 1",
        (secret_id,),
    )
    return await cursor.fetchone()


async def lease_again(
    conn: Connection,
    told: Row,
    lane: int,
    body: bytes,
    mac: bytes,
    /,
    *,
    lease: Row,
    sealed: Row,
    said: str,
    seconds: int,
) -> bool:
    """A lease with its event and ledger row, if every fact that it was decided on is what it was: a transaction of its own.
    False: one of them is not, and nothing was written. `said`: those facts, as JSON."""
    cursor = await conn.execute(
        "select worka.lease_again(%s, %s, %s, %s, %s, %s, %s, %b, %b, %s, %s, %s, %s, %s, %b, %b) as given",
        (
            lease["tenant_id"], lease["secret_id"], lease["grant_id"], lease["attachment_id"], lease["invocation_id"],
            lease["endpoint"], said, bytes(sealed["nonce"]), bytes(sealed["ciphertext"]), lease["id"],
            lease["trace_id"], seconds, Jsonb(told), lane, body, mac,
        ),
    )  # fmt: skip
    row = await cursor.fetchone()
    return bool(row and row["given"])
