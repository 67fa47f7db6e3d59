"""Every query of the treasury. The tenant is the transaction's (row-level security)."""

# ruff: noqa: S608 - what is put together below are our own column names and lock clauses
from __future__ import annotations

from typing import Any

from worka.kernel.db import Connection
from worka.treasury.rules import SECRET

Row = dict[str, Any]
_GRANT = (
    "g.id, g.workspace_id, g.secret_id, g.attachment_id, g.endpoint, g.granted_by, g.granted_at, g.revoked_at,"
    " g.revoked_by"
)


# keys ---------------------------------------------------------------------------------------------------------------
async def tenant_key(conn: Connection, tenant_id: str, purpose: str, version: int | None) -> Row | None:
    """A wrapped key, the newest by default. `fresh`: it was made in this very transaction."""
    cursor = await conn.execute(
        "select version, wrapped, master_key_id, created_at = now() as fresh from worka.tenant_key"
        " where tenant_id = %s and purpose = %s and (%s::int is null or version = %s) order by version desc limit 1",
        (tenant_id, purpose, version, version),
    )
    return await cursor.fetchone()


async def add_tenant_key(
    conn: Connection, tenant_id: str, purpose: str, version: int, wrapped: bytes, master_key_id: str
) -> None:
    """A new wrapped key; another transaction may have been first, then its key is the one."""
    await conn.execute(
        "insert into worka.tenant_key (tenant_id, version, purpose, wrapped, master_key_id) values (%s, %s, %s, %s, %s)"
        " on conflict do nothing",
        (tenant_id, version, purpose, wrapped, master_key_id),
    )


# secrets ------------------------------------------------------------------------------------------------------------
async def add_secret(conn: Connection, row: Row) -> Row | None:
    """A new active secret; None when the workspace has one of this name."""
    cursor = await conn.execute(
        "insert into worka.secret (tenant_id, id, workspace_id, name, purpose, kind, reason, created_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(purpose)s, %(kind)s, 'secret_ready',"
        " %(created_by)s)"
        " on conflict (tenant_id, workspace_id, name) do nothing returning *",
        row,
    )
    return await cursor.fetchone()


async def add_version(
    conn: Connection, tenant_id: str, secret_id: str, version: int, key_version: int, nonce: bytes, ciphertext: bytes
) -> None:
    """The sealed value of a version."""
    await conn.execute(
        "insert into worka.secret_version (tenant_id, secret_id, version, key_version, nonce, ciphertext)"
        " values (%s, %s, %s, %s, %s, %s)",
        (tenant_id, secret_id, version, key_version, nonce, ciphertext),
    )


async def version(conn: Connection, secret_id: str, number: int) -> Row | None:
    """The sealed value of a version."""
    cursor = await conn.execute(
        "select version, key_version, nonce, ciphertext from worka.secret_version where secret_id = %s and version ="
        " %s",
        (secret_id, number),
    )
    return await cursor.fetchone()


async def secret(conn: Connection, secret_id: str, *, lock: str = "") -> Row | None:
    """A secret without its value. `lock` is "share" (nobody revokes it until this transaction ends) or "update"."""
    tail = {"": "", "share": " for share", "update": " for update"}[lock]
    cursor = await conn.execute("select * from worka.secret where id = %s" + tail, (secret_id,))
    return await cursor.fetchone()


async def secrets(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """A workspace's secrets, newest first, without values."""
    cursor = await conn.execute(
        "select * from worka.secret where workspace_id = %s and (%s::text is null or id < %s) order by id desc limit"
        " %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def set_version(conn: Connection, secret_id: str, number: int) -> None:
    """From now on leases have this version."""
    await conn.execute(
        "update worka.secret set version = %s, rotated_at = clock_timestamp() where id = %s", (number, secret_id)
    )


async def set_state(conn: Connection, secret_id: str, state: str, reason: str) -> None:
    """Moves a secret."""
    SECRET.holds(state, reason)
    await conn.execute(
        "update worka.secret set state = %s, reason = %s, since = clock_timestamp() where id = %s",
        (state, reason, secret_id),
    )


# grants -------------------------------------------------------------------------------------------------------------
async def attachment(conn: Connection, attachment_id: str) -> Row | None:
    """An attachment as far as grants need it."""
    cursor = await conn.execute(
        "select id, workspace_id, pack, state from worka.attachment where id = %s", (attachment_id,)
    )
    return await cursor.fetchone()


async def add_grant(conn: Connection, row: Row) -> Row:
    """A new grant."""
    cursor = await conn.execute(
        "insert into worka.secret_grant (tenant_id, id, workspace_id, secret_id, attachment_id, endpoint, granted_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(secret_id)s, %(attachment_id)s, %(endpoint)s,"
        " %(granted_by)s)"
        " returning *",
        row,
    )
    made = await cursor.fetchone()
    assert made is not None
    return made


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
) -> list[Row]:
    """Revokes the live grants that fit every given word, and says which, with the secret's name. At least one is
    given."""
    assert grant_id or secret_id or attachment_id
    cursor = await conn.execute(
        "update worka.secret_grant g set revoked_at = clock_timestamp(), revoked_by = %(by)s from worka.secret s"
        " where s.tenant_id = g.tenant_id and s.id = g.secret_id and g.revoked_at is null"
        " and (%(grant)s::text is null or g.id = %(grant)s) and (%(secret)s::text is null or g.secret_id = %(secret)s)"
        " and (%(attachment)s::text is null or g.attachment_id = %(attachment)s)"
        " and (%(endpoint)s::text is null or g.endpoint = %(endpoint)s) returning g.*, s.name",
        {"by": by, "grant": grant_id, "secret": secret_id, "attachment": attachment_id, "endpoint": endpoint},
    )
    return await cursor.fetchall()


# leases -------------------------------------------------------------------------------------------------------------
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
    cursor = await conn.execute(
        "insert into worka.lease (tenant_id, id, workspace_id, secret_id, secret_version, grant_id, attachment_id,"
        " invocation_id, endpoint, trace_id, expires_at) values (%(tenant_id)s, %(id)s, %(workspace_id)s,"
        " %(secret_id)s,"
        " %(secret_version)s, %(grant_id)s, %(attachment_id)s, %(invocation_id)s, %(endpoint)s, %(trace_id)s,"
        " clock_timestamp() + make_interval(secs => %(seconds)s)) returning *",
        {**row, "seconds": seconds},
    )
    made = await cursor.fetchone()
    assert made is not None
    return made


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


async def connections_of(conn: Connection, secret_id: str) -> list[Row]:
    """The connections that name the secret and are not ended."""
    cursor = await conn.execute(
        "select id, name, provider, host, port, state from worka.connection where secret_id = %s"
        " and state not in ('revoked', 'rejected') order by id",
        (secret_id,),
    )
    return await cursor.fetchall()
