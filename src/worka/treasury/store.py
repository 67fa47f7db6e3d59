"""Every query of the treasury. The tenant is the transaction's (row-level security)."""

# ruff: noqa: S608 - what is put together below are our own column names and lock clauses
from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.treasury.rules import DESTRUCTION, READING, SECRET

Row = dict[str, Any]
_GRANT = (
    "g.id, g.workspace_id, g.secret_id, g.attachment_id, g.endpoint, g.granted_by, g.granted_at, g.revoked_at,"
    " g.revoked_by"
)


# keys ---------------------------------------------------------------------------------------------------------------
async def tenant_key(conn: Connection, tenant_id: str, purpose: str, version: int | None) -> Row | None:
    """A wrapped key, the newest by default. `fresh`: it was made in this very transaction."""
    cursor = await conn.execute(
        "select version, wrapped, master_key_id, created_at = now() as fresh, destroyed_at from worka.tenant_key"
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


async def tenant_keys(conn: Connection, tenant_id: str) -> list[Row]:
    """All wrapped keys of a tenant, locked."""
    cursor = await conn.execute(
        "select purpose, version, wrapped, master_key_id, destroyed_at from worka.tenant_key where tenant_id = %s"
        " order by purpose, version for update",
        (tenant_id,),
    )
    return await cursor.fetchall()


async def rewrap(
    conn: Connection, tenant_id: str, purpose: str, version: int, wrapped: bytes, master_key_id: str
) -> None:
    """The same key under another master key."""
    await conn.execute(
        "update worka.tenant_key set wrapped = %s, master_key_id = %s where tenant_id = %s and purpose = %s and version ="
        " %s",
        (wrapped, master_key_id, tenant_id, purpose, version),
    )


async def keys_by_master(conn: Connection) -> list[Row]:
    """{master, keys, tenants}: how many keys of how many tenants are wrapped under which master key, over all tenants."""
    return await (await conn.execute("select master, keys, tenants from worka.keys_by_master()")).fetchall()


async def tenants_under(conn: Connection, master_key_ids: list[str], most: int) -> list[str]:
    """Ids of tenants with a key under one of these master keys."""
    cursor = await conn.execute("select worka.tenants_under(%s, %s) as id", (master_key_ids, most))
    return [row["id"] for row in await cursor.fetchall()]


async def destroy_keys(conn: Connection, tenant_id: str) -> None:
    """Forgets every data key of the tenant, for good."""
    await conn.execute(
        "update worka.tenant_key set wrapped = '', destroyed_at = clock_timestamp() where tenant_id = %s and purpose ="
        " 'data' and destroyed_at is null",
        (tenant_id,),
    )


async def under_older(conn: Connection, version: int, most: int) -> list[Row]:
    """Values that are sealed under an older data key, locked; what another has locked is left to it."""
    cursor = await conn.execute(
        "select secret_id, version, key_version, nonce, ciphertext from worka.secret_version where key_version < %s and"
        " ended_at is null order by secret_id, version limit %s for update skip locked",
        (version, most),
    )
    return await cursor.fetchall()


async def count_under_older(conn: Connection, version: int) -> int:
    """How many there are."""
    cursor = await conn.execute(
        "select count(*) as number from worka.secret_version where key_version < %s and ended_at is null", (version,)
    )
    row = await cursor.fetchone()
    return int(row["number"]) if row else 0


async def reseal(
    conn: Connection, secret_id: str, version: int, key_version: int, nonce: bytes, ciphertext: bytes
) -> None:
    """The same value under another data key."""
    await conn.execute(
        "update worka.secret_version set key_version = %s, nonce = %s, ciphertext = %s where secret_id = %s and version ="
        " %s",
        (key_version, nonce, ciphertext, secret_id, version),
    )


async def set_seal(conn: Connection, sealed: bool, why: str, by: str, name: str) -> None:
    """Seals or unseals the treasury of the deployment."""
    await conn.execute("select from worka.treasury_seal_set(%s, %s, %s, %s)", (sealed, why, by, name))


# readings and destructions ------------------------------------------------------------------------------------------
async def add_reading(conn: Connection, row: Row) -> Row:
    """A reading that waits for consent."""
    return await _one(
        conn,
        "insert into worka.secret_reading (tenant_id, id, workspace_id, secret_id, why, reason, minutes, approval_id,"
        " opened_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(secret_id)s, %(why)s, 'waiting_for_approver',"
        " %(minutes)s, %(approval_id)s, %(opened_by)s) returning *",
        row,
    )


async def reading(conn: Connection, reading_id: str, *, lock: bool = False) -> Row | None:
    """A reading."""
    tail = " for update" if lock else ""
    cursor = await conn.execute("select * from worka.secret_reading where id = %s" + tail, (reading_id,))
    return await cursor.fetchone()


async def readings(conn: Connection, secret_id: str, after: str | None, limit: int) -> list[Row]:
    """The readings of a secret, newest first."""
    cursor = await conn.execute(
        "select * from worka.secret_reading where secret_id = %s and (%s::text is null or id < %s) order by id desc limit"
        " %s",
        (secret_id, after, after, limit),
    )
    return await cursor.fetchall()


async def move_reading(
    conn: Connection, reading_id: str, state: str, reason: str, *, until: datetime | None = None, read: bool = False
) -> Row:
    """Opens or closes a reading; raises AssertionError when it is not there."""
    READING.holds(state, reason)
    return await _one(
        conn,
        "update worka.secret_reading set state = %(state)s, reason = %(reason)s, since = clock_timestamp(), until ="
        " coalesce(%(until)s, until), read_at = case when %(read)s then clock_timestamp() end where id = %(id)s"
        " returning *",
        {"id": reading_id, "state": state, "reason": reason, "until": until, "read": read},
    )


async def add_destruction(conn: Connection, row: Row) -> Row:
    """A destruction that waits for consent."""
    return await _one(
        conn,
        "insert into worka.key_destruction (tenant_id, id, workspace_id, why, reach, reason, approval_id, asked_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(why)s, %(reach)s, 'waiting_for_approver', %(approval_id)s,"
        " %(asked_by)s) returning *",
        {**row, "reach": Jsonb(row["reach"])},
    )


async def destruction(conn: Connection, destruction_id: str, *, lock: bool = False) -> Row | None:
    """A destruction of keys."""
    tail = " for update" if lock else ""
    cursor = await conn.execute("select * from worka.key_destruction where id = %s" + tail, (destruction_id,))
    return await cursor.fetchone()


async def close_destruction(conn: Connection, destruction_id: str, reason: str) -> Row:
    """It was done, or refused; raises AssertionError when it is not there."""
    DESTRUCTION.holds("closed", reason)
    return await _one(
        conn,
        "update worka.key_destruction set state = 'closed', reason = %(reason)s, since = clock_timestamp() where id ="
        " %(id)s returning *",
        {"id": destruction_id, "reason": reason},
    )


async def living_secrets(conn: Connection) -> list[Row]:
    """Every secret of the tenant that is not destroyed, locked."""
    cursor = await conn.execute("select * from worka.secret where state <> 'destroyed' order by id for update")
    return await cursor.fetchall()


async def sealed_things(conn: Connection) -> Row:
    """How much of the tenant lies sealed under its data keys, by what it is."""
    return await _one(
        conn,
        "select (select count(*) from worka.secret where state <> 'destroyed') as secrets,"
        " (select count(*) from worka.secret_grant where revoked_at is null) as grants,"
        " (select count(*) from worka.connection where secret_id is not null and state not in ('revoked', 'rejected'))"
        "  as connections,"
        " (select count(*) from worka.webhook_secret) as webhook_secrets,"
        " (select count(*) from worka.destination where credential is not null and state = 'active') as"
        "  registry_credentials,"
        " (select count(*) from worka.approval where arguments_sealed is not null) as arguments_of_approvals,"
        " (select count(*) from worka.step where result_sealed is not null) as results_of_steps",
        {},
    )


async def _one(conn: Connection, query: str, values: Row) -> Row:
    row = await (await conn.execute(query, values)).fetchone()
    assert row is not None
    return row


# secrets ------------------------------------------------------------------------------------------------------------
async def add_secret(conn: Connection, row: Row) -> Row | None:
    """A new active secret; None when the workspace has one of this name."""
    cursor = await conn.execute(
        "insert into worka.secret (tenant_id, id, workspace_id, name, purpose, kind, reason, created_by, expires_at,"
        " rotate_days) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(purpose)s, %(kind)s,"
        " 'secret_ready', %(created_by)s, %(expires_at)s, %(rotate_days)s)"
        " on conflict (tenant_id, workspace_id, name) do nothing returning *",
        {"expires_at": None, "rotate_days": None, **row},
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
    cursor = await conn.execute(
        "select * from worka.secret where workspace_id = %s and (%s::text is null or id < %s) order by id desc limit"
        " %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


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


async def sealed(conn: Connection) -> Row | None:
    """The seal of the treasury: {sealed, why, by_whom, by_name, at}; None: it was never sealed."""
    return await (await conn.execute("select sealed, why, by_whom, by_name, at from worka.treasury_seal")).fetchone()


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
