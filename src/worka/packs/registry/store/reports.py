"""What the reports list."""

from __future__ import annotations

from typing import Any

from worka.kernel.db import Connection
from worka.packs.registry.store.publications import FROM, PUBLICATION

Row = dict[str, Any]


async def publication_failures(
    conn: Connection, workspace_id: str, after: str | None, limit: int, days: int
) -> list[Row]:
    """Publications that stand failed, and failed in the last days."""
    cursor = await conn.execute(
        f"select {PUBLICATION}{FROM} where p.workspace_id = %s and p.state = 'failed'"
        " and p.since > now() - make_interval(days => %s) and (%s::text is null or p.id < %s) order by p.id desc limit %s",
        (workspace_id, days, after, after, limit),
    )
    return await cursor.fetchall()


_ARTIFACT = (
    "a.id, a.release_id, a.digest, a.size, a.created_at, r.publisher || '.' || r.name as pack, r.version,"
    " r.state as release_state, coalesce(l.visibility, 'private') as visibility"
    " from worka.artifact a join worka.release r on r.tenant_id = a.tenant_id and r.id = a.release_id"
    " left join worka.listing l on l.tenant_id = a.tenant_id and l.release_id = a.release_id and l.state = 'listed'"
)


async def public_artifacts(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Artifacts that every tenant of the deployment sees."""
    cursor = await conn.execute(
        f"select {_ARTIFACT} where a.workspace_id = %s and l.visibility = 'public' and l.digest = a.digest"
        " and (%s::text is null or a.id < %s) order by a.id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def stale_private(conn: Connection, workspace_id: str, after: str | None, limit: int, days: int) -> list[Row]:
    """Private artifacts that are older than these days and attached nowhere."""
    cursor = await conn.execute(
        f"select {_ARTIFACT} where a.workspace_id = %s and coalesce(l.visibility, 'private') = 'private'"  # noqa: S608 - constants
        " and a.created_at <= now() - make_interval(days => %s)"
        " and not exists (select 1 from worka.attachment t where t.tenant_id = a.tenant_id and t.release_id = a.release_id"
        " and t.state <> 'detached') and (%s::text is null or a.id < %s) order by a.id desc limit %s",
        (workspace_id, days, after, after, limit),
    )
    return await cursor.fetchall()


async def sources_and_images(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Each artifact with its release's contents and what its manifest says of the source, and what was attested of it: for
    comparing."""
    cursor = await conn.execute(
        "select a.contents, r.source->>'contents' as release_contents,"  # noqa: S608 - constants
        " jsonb_build_object('source', r.manifest->'source') as manifest, (select coalesce(jsonb_agg(t.envelope"
        " order by t.id), '[]') from worka.attestation t where t.tenant_id = a.tenant_id and t.release_id = a.release_id"
        f" and t.digest = a.digest) as envelopes, {_ARTIFACT} where a.workspace_id = %s"
        " and (%s::text is null or a.id < %s) order by a.id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def unreviewed(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Artifacts of releases that can be attached and that nobody has reviewed."""
    cursor = await conn.execute(
        f"select {_ARTIFACT} where a.workspace_id = %s and r.state = 'released'"  # noqa: S608 - constants
        " and not exists (select 1 from worka.release_review v where v.tenant_id = a.tenant_id"
        " and v.release_id = a.release_id and v.digest = a.digest) and (%s::text is null or a.id < %s)"
        " order by a.id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()
