"""Secrets and their sealed versions."""

# ruff: noqa: S608 - what is put together below are our own column names and lock clauses
from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worka.kernel.db import Connection
from worka.treasury.rules import SECRET
from worka.treasury.store.rows import page

Row = dict[str, Any]


async def add_secret(conn: Connection, row: Row) -> Row | None:
    """A new active secret; None when the workspace has one of this name."""
    cursor = await conn.execute(
        "insert into worka.secret (tenant_id, id, workspace_id, name, purpose, kind, reason, created_by, expires_at,"
        " rotate_days, person_id) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(purpose)s, %(kind)s,"
        " 'secret_ready', %(created_by)s, %(expires_at)s, %(rotate_days)s,"
        " %(person_id)s) on conflict (tenant_id, workspace_id, name) do nothing returning *",
        {"expires_at": None, "rotate_days": None, "person_id": None, **row},
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
    """The sealed value of a version, with `newest`, the greatest number that a version of it ever had."""
    cursor = await conn.execute(
        "select version, key_version, nonce, ciphertext, ended_at, (select max(n.version) from worka.secret_version n"
        " where n.secret_id = v.secret_id) as newest from worka.secret_version v where secret_id = %s and version = %s",
        (secret_id, number),
    )
    return await cursor.fetchone()


async def end_versions(conn: Connection, secret_id: str, keep: list[int]) -> list[Row]:
    """Wipes the values of all versions but these: {version} of each. The rows stay, as numbers that were used."""
    cursor = await conn.execute(
        "update worka.secret_version set nonce = '', ciphertext = '', ended_at = clock_timestamp()"
        " where secret_id = %s and ended_at is null and not (version = any(%s)) returning version",
        (secret_id, keep),
    )
    return await cursor.fetchall()


async def secret(conn: Connection, secret_id: str, *, lock: str = "") -> Row | None:
    """A secret without its value. `lock` is "share" (nobody revokes it until this transaction ends) or "update"."""
    tail = {"": "", "share": " for share", "update": " for update"}[lock]
    cursor = await conn.execute("select * from worka.secret where id = %s" + tail, (secret_id,))
    return await cursor.fetchone()


async def secrets(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """A workspace's secrets, newest first, without values."""
    return await page(conn, "secret", "workspace_id", workspace_id, after, limit)


async def set_version(conn: Connection, secret_id: str, number: int) -> None:
    """From now on leases have this version; an end that was of the old value is over with it."""
    await conn.execute(
        "update worka.secret set version = %s, rotated_at = clock_timestamp(), warned = '',"
        " expires_at = case when expires_at > clock_timestamp() + interval '14 days' then expires_at end where id = %s",
        (number, secret_id),
    )


async def set_overlap(conn: Connection, secret_id: str, previous: int | None, minutes: int | None) -> None:
    """The version that stays valid beside the new one for so many minutes; None: none."""
    await conn.execute(
        "update worka.secret set previous_version = %s, overlap_until = clock_timestamp() + make_interval(mins => %s)"
        " where id = %s",
        (previous, minutes, secret_id),
    )


async def set_dates(conn: Connection, secret_id: str, expires_at: datetime | None, rotate_days: int | None) -> None:
    """When it ends, and how often it is to be rotated."""
    await conn.execute(
        "update worka.secret set expires_at = %s, rotate_days = %s, warned = '' where id = %s",
        (expires_at, rotate_days, secret_id),
    )


async def set_warned(conn: Connection, secret_id: str, level: str) -> None:
    """How far its end was told of."""
    await conn.execute("update worka.secret set warned = %s where id = %s", (level, secret_id))


async def due(conn: Connection, most: int, soon: timedelta) -> list[Row]:
    """{tenant_id, secret_id} over all tenants: overlaps that are over, and ends to be told of."""
    cursor = await conn.execute("select tenant_id, secret_id from worka.secrets_due(%s, %s)", (most, soon))
    return await cursor.fetchall()


async def ending(conn: Connection, workspace_id: str, soon: timedelta) -> list[Row]:
    """The workspace's usable secrets whose end or turn is near or past, the nearest first."""
    cursor = await conn.execute(
        "select * from worka.secret where workspace_id = %s and state in ('active', 'rotating') and"
        " least(expires_at, coalesce(rotated_at, created_at) + make_interval(days => rotate_days))"
        " <= clock_timestamp() + %s order by"
        " least(expires_at, coalesce(rotated_at, created_at) + make_interval(days => rotate_days)), id limit 100",
        (workspace_id, soon),
    )
    return await cursor.fetchall()


async def set_state(conn: Connection, secret_id: str, state: str, reason: str) -> None:
    """Moves a secret."""
    SECRET.holds(state, reason)
    await conn.execute(
        "update worka.secret set state = %s, reason = %s, since = clock_timestamp() where id = %s",
        (state, reason, secret_id),
    )


async def dependants(conn: Connection, secret_id: str, days: int) -> list[Row]:
    """{what, id, name, state, uses}: what stands on a secret. Connections, attachments that hold a grant (`uses`: leases of
    the last days), publishers' keys, calls that hold it now."""
    cursor = await conn.execute(
        "select 'connection' as what, c.id, c.name, c.state, c.host || ':' || c.port as place, 0 as uses"
        " from worka.connection c where c.secret_id = %(id)s and c.state not in ('revoked', 'rejected')"
        " union all select 'attachment', g.attachment_id, coalesce(a.pack, g.attachment_id), coalesce(a.state, ''),"
        " g.endpoint, (select count(*) from worka.lease l where l.grant_id = g.id"
        "  and l.issued_at > clock_timestamp() - make_interval(days => %(days)s))"
        " from worka.secret_grant g left join worka.attachment a on a.tenant_id = g.tenant_id and a.id ="
        " g.attachment_id where g.secret_id = %(id)s and g.revoked_at is null"
        " union all select 'publisher_key', k.id, k.publisher, 'signs', k.key_id, 0 from worka.publisher_key k"
        " where k.secret_id = %(id)s"
        " union all select 'call', l.invocation_id, coalesce(i.pack || '.' || i.tool, l.invocation_id),"
        " coalesce(i.state, ''), l.endpoint, l.used_count from worka.lease l left join worka.invocation i on i.tenant_id ="
        " l.tenant_id and i.id = l.invocation_id where l.secret_id = %(id)s and l.closed_at is null"
        " and l.expires_at > clock_timestamp()"
        " union all select distinct 'task', t.id, t.title, t.state, '', 0 from worka.lease l join worka.invocation i on"
        " i.tenant_id = l.tenant_id and i.id = l.invocation_id join worka.task t on t.tenant_id = i.tenant_id and t.id ="
        " i.task_id where l.secret_id = %(id)s and t.state not in ('succeeded', 'failed', 'cancelled')"
        " order by 1, 2, 5 limit 1000",
        {"id": secret_id, "days": days},
    )
    return await cursor.fetchall()


async def connections_of(conn: Connection, secret_id: str) -> list[Row]:
    """The connections that name the secret and are not ended."""
    cursor = await conn.execute(
        "select id, name, provider, host, port, state from worka.connection where secret_id = %s"
        " and state not in ('revoked', 'rejected') order by id",
        (secret_id,),
    )
    return await cursor.fetchall()
