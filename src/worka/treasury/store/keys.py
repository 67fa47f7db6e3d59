"""Keys of tenants, and the seal of the deployment's treasury."""

from __future__ import annotations

from typing import Any

from worka.kernel.db import Connection

Row = dict[str, Any]


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


async def sealed(conn: Connection) -> Row | None:
    """The seal of the treasury: {sealed, why, by_whom, by_name, at}; None: it was never sealed."""
    return await (await conn.execute("select sealed, why, by_whom, by_name, at from worka.treasury_seal")).fetchone()
