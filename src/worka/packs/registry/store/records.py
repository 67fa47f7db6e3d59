"""Sources, artifacts and destinations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]


async def add_source(conn: Connection, row: Mapping[str, Any]) -> None:
    """Where a release comes from; the same source twice is one."""
    await conn.execute(
        "insert into worka.pack_source (tenant_id, id, workspace_id, release_id, origin, repository, revision, contents,"
        " artifact_digest, taken_from, similar_found, created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s,"
        " %(release_id)s, %(origin)s, %(repository)s, %(revision)s, %(contents)s, %(artifact_digest)s, %(taken_from)s,"
        " %(similar_found)s, %(created_by)s) on conflict (tenant_id, release_id, contents) do nothing",
        {**row, "similar_found": Jsonb(row["similar_found"])},
    )


async def source(conn: Connection, release_id: str, contents: str) -> Row | None:
    """The source of a release with these contents."""
    cursor = await conn.execute(
        "select * from worka.pack_source where release_id = %s and contents = %s", (release_id, contents)
    )
    return await cursor.fetchone()


async def add_artifact(conn: Connection, row: Mapping[str, Any]) -> Row | None:
    """An artifact; None when it is there."""
    cursor = await conn.execute(
        "insert into worka.artifact (tenant_id, id, workspace_id, release_id, source_id, digest, size, layers, contents)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(release_id)s, %(source_id)s, %(digest)s, %(size)s, %(layers)s,"
        " %(contents)s) on conflict (tenant_id, release_id, digest) do nothing returning *",
        {**row, "layers": Jsonb(row["layers"])},
    )
    return await cursor.fetchone()


async def artifact_of(conn: Connection, release_id: str) -> Row | None:
    """The newest artifact of a release."""
    cursor = await conn.execute(
        "select * from worka.artifact where release_id = %s order by id desc limit 1", (release_id,)
    )
    return await cursor.fetchone()


async def add_destination(conn: Connection, row: Mapping[str, Any]) -> Row | None:
    """A destination; None when there is one of this name."""
    cursor = await conn.execute(
        "insert into worka.destination (tenant_id, id, workspace_id, name, host, port, repository, credential,"
        " token_service, blob_hosts, created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(host)s,"
        " %(port)s, %(repository)s, %(credential)s, %(token_service)s, %(blob_hosts)s, %(created_by)s)"
        " on conflict (tenant_id, workspace_id, name) where state = 'active' do nothing returning *",
        {**row, "blob_hosts": Jsonb(row["blob_hosts"])},
    )
    return await cursor.fetchone()


async def destination(conn: Connection, destination_id: str, *, lock: bool = False) -> Row | None:
    """A destination, removed ones too."""
    cursor = await conn.execute(
        f"select * from worka.destination where id = %s{' for update' if lock else ''}",  # noqa: S608 - one of two constants
        (destination_id,),
    )
    return await cursor.fetchone()


async def destinations(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The destinations of a workspace, newest first."""
    cursor = await conn.execute(
        "select * from worka.destination where workspace_id = %s and state = 'active' and (%s::text is null or id < %s)"
        " order by id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def remove_destination(conn: Connection, destination_id: str) -> None:
    """Takes it away, with its credential."""
    await conn.execute(
        "update worka.destination set state = 'removed', credential = null where id = %s", (destination_id,)
    )
