"""Listings, and what other tenants listed: read through the one function that knows for whom (`worka.market`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]


async def listing_of(conn: Connection, release_id: str) -> Row | None:
    """How a release is listed, locked."""
    cursor = await conn.execute("select * from worka.listing where release_id = %s for update", (release_id,))
    return await cursor.fetchone()


async def put_listing(conn: Connection, row: Mapping[str, Any]) -> Row:
    """Lists a release, or changes how it is listed."""
    cursor = await conn.execute(
        "insert into worka.listing as l (tenant_id, id, workspace_id, release_id, publication_id, digest, visibility,"
        " shared_with, state, why, created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(release_id)s,"
        " %(publication_id)s, %(digest)s, %(visibility)s, %(shared_with)s, %(state)s, %(why)s, %(created_by)s)"
        " on conflict (tenant_id, release_id) do update set publication_id = excluded.publication_id,"
        " digest = excluded.digest, visibility = excluded.visibility, shared_with = excluded.shared_with,"
        " state = excluded.state, why = excluded.why, since = clock_timestamp() returning *",
        {**row, "shared_with": Jsonb(row["shared_with"])},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def market(conn: Connection, tenant_id: str, release_ids: Sequence[str]) -> list[Row]:
    """What this tenant may see of these releases: its own that can be attached, and what others listed for it. Of manifest and
    tools what a page shows, of envelopes the newest few, what a known key signed before what merely came."""
    cursor = await conn.execute("select * from worka.market(%s, %s)", (tenant_id, list(release_ids)))
    return await cursor.fetchall()


async def market_search(conn: Connection, tenant_id: str, words: Sequence[str], most: int = 1000) -> list[Row]:
    """What this tenant may see that has any of these words (none: everything), with the columns that are searched alone: of
    each pack the newest version, its own first."""
    cursor = await conn.execute("select * from worka.market_search(%s, %s::text[], %s)", (tenant_id, list(words), most))
    return await cursor.fetchall()


async def newest_like(conn: Connection, release_id: str) -> Row | None:
    """{release_id, version} of the newest release of the same pack that can be attached."""
    cursor = await conn.execute(
        "select r.id as release_id, r.version from worka.release o join worka.release r on r.tenant_id = o.tenant_id"
        " and r.publisher = o.publisher and r.name = o.name where o.id = %s and r.state = 'released'"
        " order by r.id desc limit 1",
        (release_id,),
    )
    return await cursor.fetchone()
