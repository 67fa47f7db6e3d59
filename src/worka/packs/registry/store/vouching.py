"""Who vouches: keys, envelopes, trust roots, people who looked; and the registry's policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel import canonical
from worka.kernel.db import Connection

Row = dict[str, Any]


async def add_key(conn: Connection, row: Mapping[str, Any]) -> None:
    """A publisher's key."""
    await conn.execute(
        "insert into worka.publisher_key (tenant_id, id, workspace_id, publisher, key_id, public_key, secret_id, created_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(publisher)s, %(key_id)s, %(public_key)s, %(secret_id)s,"
        " %(created_by)s)",
        dict(row),
    )


async def keys(conn: Connection, workspace_id: str, publisher: str | None, after: str | None, limit: int) -> list[Row]:
    """The keys of publishers in a workspace, newest first, with the state of the secret each lies in."""
    cursor = await conn.execute(
        "select k.*, s.state from worka.publisher_key k join worka.secret s on s.tenant_id = k.tenant_id and s.id = k.secret_id"
        " where k.workspace_id = %s and (%s::text is null or k.publisher = %s) and (%s::text is null or k.id < %s)"
        " order by k.id desc limit %s",
        (workspace_id, publisher, publisher, after, after, limit),
    )
    return await cursor.fetchall()


async def lock_attestations(conn: Connection, release_id: str) -> None:
    """Envelopes of a release are counted and added one after another: holds until the end of the transaction."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 29))", (release_id,))


async def add_attestation(conn: Connection, row: Mapping[str, Any]) -> Row | None:
    """An envelope about an artifact; None when it is there."""
    cursor = await conn.execute(
        "insert into worka.attestation (tenant_id, id, workspace_id, release_id, digest, key_id, verified, envelope,"
        " envelope_hash, created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(release_id)s, %(digest)s, %(key_id)s,"
        " %(verified)s, %(envelope)s, %(envelope_hash)s, %(created_by)s)"
        " on conflict (tenant_id, release_id, digest, envelope_hash) do nothing returning *",
        {**row, "envelope": Jsonb(row["envelope"]), "envelope_hash": canonical.sha256_hex(row["envelope"])},
    )
    return await cursor.fetchone()


async def attestations(conn: Connection, release_id: str) -> list[Row]:
    """What was said of a release's artifacts: what a known key signed before what merely came, each oldest first."""
    cursor = await conn.execute(
        "select * from worka.attestation where release_id = %s order by verified desc, id", (release_id,)
    )
    return await cursor.fetchall()


async def trust_root(conn: Connection) -> Row | None:
    """The root in force: the deployment's newest."""
    cursor = await conn.execute("select * from worka.trust_root order by version desc limit 1")
    return await cursor.fetchone()


async def trust_roots(conn: Connection, before: int | None, limit: int) -> list[Row]:
    """The deployment's roots, newest first."""
    cursor = await conn.execute(
        "select * from worka.trust_root where %s::integer is null or version < %s order by version desc limit %s",
        (before, before, limit),
    )
    return await cursor.fetchall()


async def add_trust_root(conn: Connection, version: int, document: Row, by: str) -> bool:
    """The next root; False when it is not the next any more."""
    cursor = await conn.execute("select worka.trust_root_add(%s, %s, %s) as done", (version, Jsonb(document), by))
    row = await cursor.fetchone()
    return bool(row and row["done"])


async def add_review(conn: Connection, row: Mapping[str, Any]) -> None:
    """A person looked at it."""
    await conn.execute(
        "insert into worka.release_review (tenant_id, id, workspace_id, release_id, digest, note, created_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(release_id)s, %(digest)s, %(note)s, %(created_by)s)",
        dict(row),
    )


async def reviews(conn: Connection, release_id: str) -> list[Row]:
    """Who looked at a release, newest first."""
    cursor = await conn.execute(
        "select * from worka.release_review where release_id = %s order by id desc limit 50", (release_id,)
    )
    return await cursor.fetchall()


async def lock_policy(conn: Connection, tenant_id: str) -> None:
    """Policies of a tenant's registry are set one after another: holds until the end of the transaction."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 17))", (tenant_id,))


async def policies(conn: Connection, workspace_id: str) -> list[Row]:
    """The policies in force for a workspace: the tenant's, then its own, where there are any."""
    cursor = await conn.execute(
        "select distinct on (workspace_id) * from worka.registry_policy where workspace_id in ('', %s)"
        " order by workspace_id, version desc",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def add_policy(conn: Connection, row: Mapping[str, Any]) -> None:
    """The next version of a place's policy."""
    await conn.execute(
        "insert into worka.registry_policy (tenant_id, workspace_id, version, settings, note, created_by)"
        " values (%(tenant_id)s, %(workspace_id)s, %(version)s, %(settings)s, %(note)s, %(created_by)s)",
        {**row, "settings": Jsonb(row["settings"])},
    )
