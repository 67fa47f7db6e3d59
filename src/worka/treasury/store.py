"""Every query of the treasury."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.kernel.db import Connection

Row = dict[str, Any]
_SECRET = "id, workspace_id, name, purpose, kind, state, reason, version, created_by, created_at, rotated_at"


async def tenant_key(conn: Connection, tenant: str, purpose: str) -> Row | None:
    """The newest wrapped key of a tenant for a purpose."""
    cursor = await conn.execute(
        "select version, wrapped, master_key_id from worka.tenant_key where tenant_id = %s and purpose = %s order by version desc limit 1",
        (tenant, purpose),
    )
    return await cursor.fetchone()


async def add_tenant_key(conn: Connection, tenant: str, purpose: str, wrapped: bytes, master_key_id: str) -> None:
    """Stores the first key; when another transaction was quicker, nothing."""
    await conn.execute(
        "insert into worka.tenant_key (tenant_id, purpose, version, wrapped, master_key_id) values (%s,%s,1,%s,%s) on conflict do nothing",
        (tenant, purpose, wrapped, master_key_id),
    )


async def insert_secret(conn: Connection, row: Row) -> bool:
    """False when the workspace has a secret of this name."""
    cursor = await conn.execute(
        "insert into worka.secret (tenant_id, id, workspace_id, name, purpose, kind, reason, created_by)"
        " values (%(tenant_id)s,%(id)s,%(workspace_id)s,%(name)s,%(purpose)s,%(kind)s,'secret_active',%(created_by)s)"
        " on conflict (tenant_id, workspace_id, name) do nothing returning id",
        row,
    )
    return await cursor.fetchone() is not None


async def insert_version(conn: Connection, tenant: str, secret: str, version: int, nonce: bytes, ciphertext: bytes) -> None:
    """One sealed value."""
    await conn.execute(
        "insert into worka.secret_version (tenant_id, secret_id, version, key_version, nonce, ciphertext) values (%s,%s,%s,1,%s,%s)",
        (tenant, secret, version, nonce, ciphertext),
    )


async def version(conn: Connection, secret: str, number: int) -> Row | None:
    """One sealed value."""
    cursor = await conn.execute("select nonce, ciphertext from worka.secret_version where secret_id = %s and version = %s", (secret, number))
    return await cursor.fetchone()


async def secret(conn: Connection, secret_id: str, *, lock: bool = False) -> Row | None:
    """What a secret is for; never its value."""
    cursor = await conn.execute(f"select {_SECRET} from worka.secret where id = %s" + (" for update" if lock else ""), (secret_id,))
    return await cursor.fetchone()


async def secrets(conn: Connection, workspace: str, after: str | None, limit: int) -> list[Row]:
    """A page of a workspace's secrets, newest first."""
    cursor = await conn.execute(
        f"select {_SECRET} from worka.secret where workspace_id = %s and (%s::text is null or id < %s) order by id desc limit %s",
        (workspace, after, after, limit),
    )
    return await cursor.fetchall()


async def set_secret(conn: Connection, secret_id: str, state: str, reason: str, number: int) -> None:
    """Moves a secret."""
    await conn.execute(
        "update worka.secret set state = %s, reason = %s, version = %s, rotated_at = case when version <> %s then now() else rotated_at end"
        " where id = %s",
        (state, reason, number, number, secret_id),
    )


async def grants(conn: Connection, secret_id: str) -> list[Row]:
    """The live grants of a secret, with the pack that each is for."""
    cursor = await conn.execute(
        "select g.id, g.secret_id, g.attachment_id, g.endpoint, g.granted_by, g.granted_at, a.pack from worka.secret_grant g"
        " left join worka.attachment a on a.tenant_id = g.tenant_id and a.id = g.attachment_id"
        " where g.secret_id = %s and g.revoked_at is null order by g.id",
        (secret_id,),
    )
    return await cursor.fetchall()


async def attachment_workspace(conn: Connection, attachment_id: str) -> str | None:
    """The workspace of an attachment."""
    cursor = await conn.execute("select workspace_id from worka.attachment where id = %s", (attachment_id,))
    row = await cursor.fetchone()
    return row["workspace_id"] if row else None


async def insert_grant(conn: Connection, row: Row) -> None:
    """One grant."""
    await conn.execute(
        "insert into worka.secret_grant (tenant_id, id, workspace_id, secret_id, attachment_id, endpoint, granted_by)"
        " values (%(tenant_id)s,%(id)s,%(workspace_id)s,%(secret_id)s,%(attachment_id)s,%(endpoint)s,%(granted_by)s)",
        row,
    )


async def grant(conn: Connection, grant_id: str) -> Row | None:
    """One grant with its secret's name."""
    cursor = await conn.execute(
        "select g.id, g.workspace_id, g.secret_id, g.attachment_id, g.endpoint, g.revoked_at, s.name from worka.secret_grant g"
        " join worka.secret s on s.tenant_id = g.tenant_id and s.id = g.secret_id where g.id = %s",
        (grant_id,),
    )
    return await cursor.fetchone()


async def live_grants(conn: Connection, secret_id: str, attachment_id: str) -> list[Row]:
    """The grants of this secret to this attachment that hold now, locked against a revocation that runs at the same time."""
    cursor = await conn.execute(
        "select id, endpoint from worka.secret_grant where secret_id = %s and attachment_id = %s and revoked_at is null for share",
        (secret_id, attachment_id),
    )
    return await cursor.fetchall()


async def revoke_grants(conn: Connection, by: str, *, grant_id: str | None = None, secret_id: str | None = None, attachment_id: str | None = None) -> list[Row]:
    """Ends the live grants that match all that is given; returns them."""
    cursor = await conn.execute(
        "update worka.secret_grant g set revoked_at = now(), revoked_by = %(by)s from worka.secret s"
        " where s.tenant_id = g.tenant_id and s.id = g.secret_id and g.revoked_at is null"
        " and (%(grant)s::text is null or g.id = %(grant)s) and (%(secret)s::text is null or g.secret_id = %(secret)s)"
        " and (%(attachment)s::text is null or g.attachment_id = %(attachment)s)"
        " and coalesce(%(grant)s, %(secret)s, %(attachment)s) is not null"
        " returning g.id, g.workspace_id, g.secret_id, g.attachment_id, g.endpoint, s.name",
        {"by": by, "grant": grant_id, "secret": secret_id, "attachment": attachment_id},
    )
    return await cursor.fetchall()


async def running_invocation(conn: Connection, invocation_id: str) -> Row | None:
    """The invocation while it runs."""
    cursor = await conn.execute(
        "select id, workspace_id, attachment_id from worka.invocation where id = %s and state = 'running'", (invocation_id,)
    )
    return await cursor.fetchone()


async def insert_lease(conn: Connection, row: Row) -> None:
    """One lease, used at once."""
    await conn.execute(
        "insert into worka.lease (tenant_id, id, workspace_id, secret_id, secret_version, grant_id, attachment_id, invocation_id, endpoint,"
        " trace_id, expires_at, used_count, last_used_at) values (%(tenant_id)s,%(id)s,%(workspace_id)s,%(secret_id)s,%(secret_version)s,"
        "%(grant_id)s,%(attachment_id)s,%(invocation_id)s,%(endpoint)s,%(trace_id)s,%(expires_at)s,1,now())",
        row,
    )


async def close_leases(conn: Connection, invocation_id: str, at: datetime) -> None:
    """Ends the leases of an invocation."""
    await conn.execute("update worka.lease set closed_at = %s where invocation_id = %s and closed_at is null", (at, invocation_id))


async def leases(conn: Connection, secret_id: str, limit: int) -> list[Row]:
    """The newest uses of a secret."""
    cursor = await conn.execute(
        "select id, secret_version, grant_id, attachment_id, invocation_id, endpoint, issued_at, expires_at, closed_at from worka.lease"
        " where secret_id = %s order by id desc limit %s",
        (secret_id, limit),
    )
    return await cursor.fetchall()
