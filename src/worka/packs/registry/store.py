"""Every query of the registry. Each takes the open connection first; row-level security keeps the tenant. What other tenants
listed is read through the one function that knows for whom (`worka.market`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel import canonical
from worka.kernel.db import Connection
from worka.kernel.events import WORK_CHANNEL
from worka.packs.registry import model

Row = dict[str, Any]
_PUBLICATION = (
    "p.id, p.workspace_id, p.release_id, p.artifact_id, p.destination_id, p.destination, p.visibility, p.shared_with, p.state,"
    " p.reason, p.since, p.attempt, p.error, p.approval_id, p.location, p.created_by, p.created_kind, p.originating_person, p.created_at,"
    " p.signatures_there, p.signatures_tries, p.signatures_next, p.signatures_error, a.digest, r.publisher || '.' || r.name as pack, r.version"
)
_FROM = (
    " from worka.publication p join worka.artifact a on a.tenant_id = p.tenant_id and a.id = p.artifact_id"
    " join worka.release r on r.tenant_id = p.tenant_id and r.id = p.release_id"
)


# sources and artifacts ----------------------------------------------------------------------------------------------
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


# destinations -------------------------------------------------------------------------------------------------------
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


# publications -------------------------------------------------------------------------------------------------------
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
        f"select {_PUBLICATION}{_FROM} where p.id = %s{' for update of p' if lock else ''}",
        (publication_id,),
    )
    return await cursor.fetchone()


async def publications(
    conn: Connection, workspace_id: str, after: str | None, limit: int, state: str | None, release_id: str | None
) -> list[Row]:
    """The publications of a workspace, newest first."""
    cursor = await conn.execute(
        f"select {_PUBLICATION}{_FROM} where p.workspace_id = %s and (%s::text is null or p.id < %s)"
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


# signatures that are brought after what they are about -----------------------------------------------------------
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


# listings and the market --------------------------------------------------------------------------------------------
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


# who vouches --------------------------------------------------------------------------------------------------------
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


# policy -------------------------------------------------------------------------------------------------------------
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


# reports ------------------------------------------------------------------------------------------------------------
async def publication_failures(
    conn: Connection, workspace_id: str, after: str | None, limit: int, days: int
) -> list[Row]:
    """Publications that stand failed, and failed in the last days."""
    cursor = await conn.execute(
        f"select {_PUBLICATION}{_FROM} where p.workspace_id = %s and p.state = 'failed'"
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
