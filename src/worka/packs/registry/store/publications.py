"""Publications, and the signatures that are brought after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.kernel.events import WORK_CHANNEL
from worka.packs.registry import model

Row = dict[str, Any]
PUBLICATION = (
    "p.id, p.workspace_id, p.release_id, p.artifact_id, p.destination_id, p.destination, p.visibility, p.shared_with, p.state,"
    " p.reason, p.since, p.attempt, p.error, p.approval_id, p.location, p.created_by, p.created_kind, p.originating_person, p.created_at,"
    " p.signatures_there, p.signatures_tries, p.signatures_next, p.signatures_error, a.digest, r.publisher || '.' || r.name as pack, r.version"
)
FROM = (
    " from worka.publication p join worka.artifact a on a.tenant_id = p.tenant_id and a.id = p.artifact_id"
    " join worka.release r on r.tenant_id = p.tenant_id and r.id = p.release_id"
)


async def add_publication(conn: Connection, row: Mapping[str, Any]) -> None:
    """A publication that was asked for."""
    model.PUBLICATION.holds(row["state"], row["reason"])
    await conn.execute(
        "insert into worka.publication (tenant_id, id, workspace_id, release_id, artifact_id, destination_id, destination,"
        " visibility, shared_with, state, reason, created_by, created_kind, originating_person) values (%(tenant_id)s, %(id)s,"
        " %(workspace_id)s, %(release_id)s, %(artifact_id)s, %(destination_id)s, %(destination)s, %(visibility)s,"
        " %(shared_with)s, %(state)s, %(reason)s, %(created_by)s, %(created_kind)s, %(originating_person)s)",
        {**row, "shared_with": Jsonb(row["shared_with"])},
    )


async def publication(conn: Connection, publication_id: str, *, lock: bool = False) -> Row | None:
    """A publication with its artifact's digest and its release's name."""
    cursor = await conn.execute(
        f"select {PUBLICATION}{FROM} where p.id = %s{' for update of p' if lock else ''}",
        (publication_id,),
    )
    return await cursor.fetchone()


async def publications(
    conn: Connection, workspace_id: str, after: str | None, limit: int, state: str | None, release_id: str | None
) -> list[Row]:
    """The publications of a workspace, newest first."""
    cursor = await conn.execute(
        f"select {PUBLICATION}{FROM} where p.workspace_id = %s and (%s::text is null or p.id < %s)"
        " and (%s::text is null or p.state = %s) and (%s::text is null or p.release_id = %s) order by p.id desc limit %s",
        (workspace_id, after, after, state, state, release_id, release_id, limit),
    )
    return await cursor.fetchall()


async def move_publication(
    conn: Connection, publication_id: str, state: str, reason: str, *, error: Row | None = None,
    approval_id: str | None = None, location: str | None = None, again: bool = False,
) -> None:  # fmt: skip
    """A new state, and what was learned on the way."""
    model.PUBLICATION.holds(state, reason)
    await conn.execute(
        "update worka.publication set state = %s, reason = %s, since = clock_timestamp(), error = %s,"
        " approval_id = coalesce(%s, approval_id), location = coalesce(%s, location), attempt = attempt + %s where id = %s",
        (state, reason, None if error is None else Jsonb(error), approval_id, location, int(again), publication_id),
    )


async def enqueue_publication(conn: Connection, tenant_id: str, publication_id: str, attempt: int) -> None:
    """Hands the publication to the engine in this transaction."""
    await conn.execute(
        "select worka.enqueue_job('registry.publish', %s, %s, %s), pg_notify(%s, 'tenant_jobs')",
        (tenant_id, publication_id, f"registry.publish:{publication_id}:{attempt}", WORK_CHANNEL),
    )


async def want_signatures(conn: Connection, release_id: str, digest: str) -> None:
    """Has the signatures of an artifact brought to where it was published: to each registry outside once, from now on."""
    await conn.execute(
        "update worka.publication set signatures_next = clock_timestamp(), signatures_tries = 0, signatures_error = null"
        " where id in (select distinct on (p.destination_id) p.id from worka.publication p join worka.artifact a"
        " on a.tenant_id = p.tenant_id and a.id = p.artifact_id where p.release_id = %s and a.digest = %s"
        " and p.state = 'published' and p.destination_id is not null order by p.destination_id, p.id desc)",
        (release_id, digest),
    )


async def signatures_due(conn: Connection, most: int) -> list[Row]:
    """[{tenant_id, id}] of publications whose signatures are to be brought now, of every tenant."""
    cursor = await conn.execute("select * from worka.signatures_due(%s)", (most,))
    return await cursor.fetchall()


async def take_signatures(conn: Connection, publication_id: str, seconds: float) -> bool:
    """Takes this upon itself for so long; False when another did, or nothing is due any more."""
    cursor = await conn.execute(
        "update worka.publication set signatures_lease = clock_timestamp() + make_interval(secs => %s) where id = %s"
        " and signatures_next <= clock_timestamp() and (signatures_lease is null or signatures_lease <= clock_timestamp())"
        " returning id",
        (seconds, publication_id),
    )
    return await cursor.fetchone() is not None


async def settle_signatures(
    conn: Connection,
    row: Mapping[str, Any],
    *,
    there: Sequence[str],
    tries: int,
    error: Row | None,
    pause: float | None,
) -> None:
    """Gives it back: what lies there now, and after how many seconds it is tried again (None: not by itself). What was wanted
    since `row` was read is due still."""
    await conn.execute(
        "update worka.publication set signatures_lease = null, signatures_there = %(there)s, signatures_tries = case when"
        " signatures_next = %(was)s then %(tries)s else 0 end, signatures_error = %(error)s, signatures_next = case when"
        " signatures_next = %(was)s then clock_timestamp() + make_interval(secs => %(pause)s) else signatures_next end"
        " where id = %(id)s",
        {"id": row["id"], "was": row["signatures_next"], "there": Jsonb(list(there)), "tries": tries,
         "error": None if error is None else Jsonb(error), "pause": pause},
    )  # fmt: skip
