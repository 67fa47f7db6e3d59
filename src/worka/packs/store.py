"""Every query of packs. Each takes the open connection first; row-level security keeps the tenant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.kernel.events import WORK_CHANNEL
from worka.packs import model

Row = dict[str, Any]

CALL_LIMIT = "pack_calls_per_minute"
EXPOSURE = "pack_exposure"
"""The limit whose settings are read with the attachment that a call goes to."""
_RELEASE_SHORT = (
    "id, workspace_id, publisher, name, version, state, reason, since, failed_stage, error, digest, server_pin, "
    "packages,"
    " created_by, created_at, source->'warnings' as warnings, manifest->>'display_name' as display_name,"
    " manifest->>'description' as description"
)
_INVOCATION_SHORT = (
    "id, workspace_id, attachment_id, release_id, pack, tool, side_effect, initiator_kind, initiator_id, "
    "originating_person,"
    " decision_id, approval_id, task_id, step_id, attempt, args_digest, state, reason, since, layer, message, session,"
    " handshake_ms, call_ms, validated, effect_id, trace_id, started_at, ended_at"
)


_kept: OrderedDict[tuple[str, str], tuple[str, Row]] = OrderedDict()
_KEPT = 256
# Which version of a release's row this is: PostgreSQL gives every change of a row another one.
_VERSION = "r.xmin::text || r.ctid::text"


# releases -----------------------------------------------------------------------------------------------------------
async def lock_identity(conn: Connection, tenant_id: str, publisher: str) -> None:
    """Registrations under one publisher are decided one after another: holds until the end of the transaction."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 11))", (f"{tenant_id}/{publisher}",))


async def publisher_workspace(conn: Connection, publisher: str) -> str | None:
    """The workspace that registered under this publisher first; before any did, the first that is about to. What failed before
    it was registered holds no name."""
    cursor = await conn.execute(
        "select workspace_id from worka.release where publisher = %s"
        " and not (state = 'failed' and failed_stage in ('draft', 'built', 'published'))"
        " order by state in ('draft', 'built', 'published'), id limit 1",
        (publisher,),
    )
    row = await cursor.fetchone()
    return None if row is None else str(row["workspace_id"])


async def insert_release(conn: Connection, row: Row) -> None:
    """A draft."""
    await conn.execute(
        "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, lock_text, "
        "source, state,"
        " reason, created_by, asked_kind, asked_by, asked_for) values (%(tenant_id)s, %(id)s, %(workspace_id)s,"
        " %(publisher)s, %(name)s, %(version)s, %(manifest)s, %(lock_text)s, %(source)s, 'draft', 'waiting_for_build',"
        " %(created_by)s, %(asked_kind)s, %(asked_by)s, %(asked_for)s)",
        {**_NOBODY, **row, "manifest": Jsonb(row["manifest"]), "source": Jsonb(row["source"])},
    )


_NOBODY: Row = {"asked_kind": None, "asked_by": None, "asked_for": None}


async def redraft_release(
    conn: Connection, release_id: str, manifest: Row, lock_text: str, source: Row, asked: Row = _NOBODY
) -> None:
    """A failed release begins again, with what was handed in now. `asked`: {asked_kind, asked_by, asked_for}, who did."""
    await conn.execute(
        "update worka.release set manifest = %s, lock_text = %s, source = %s, state = 'draft', reason = "
        "'waiting_for_build',"
        " since = clock_timestamp(), failed_stage = null, error = null, digest = null, tree_digest = null, env_path "
        "= null,"
        " entry = null, tools = '[]', server_pin = null, probe = null, packages = '[]', tries = 0, next_try = null,"
        " asked_kind = %s, asked_by = %s, asked_for = %s where id = %s",
        (
            Jsonb(manifest), lock_text, Jsonb(source), asked["asked_kind"], asked["asked_by"], asked["asked_for"],
            release_id,
        ),
    )  # fmt: skip


async def release(conn: Connection, release_id: str) -> Row | None:
    """A release."""
    cursor = await conn.execute("select * from worka.release where id = %s", (release_id,))
    return await cursor.fetchone()


async def release_for_update(conn: Connection, release_id: str) -> Row | None:
    """A release, locked until the end of the transaction."""
    cursor = await conn.execute("select * from worka.release where id = %s for update", (release_id,))
    return await cursor.fetchone()


async def release_of(conn: Connection, publisher: str, name: str, version: str) -> Row | None:
    """The release of an identity and version, locked."""
    cursor = await conn.execute(
        "select * from worka.release where publisher = %s and name = %s and version = %s for update",
        (publisher, name, version),
    )
    return await cursor.fetchone()


async def releases(conn: Connection, after: str | None, limit: int) -> list[Row]:
    """The tenant's releases, newest first."""
    cursor = await conn.execute(
        f"select {_RELEASE_SHORT} from worka.release"  # noqa: S608 - a constant of this module
        " where (%s::text is null or id < %s) order by id desc limit %s",
        (after, after, limit),
    )
    return await cursor.fetchall()


async def newest_release(conn: Connection, pack: str) -> Row | None:
    """The newest release of a pack (publisher.name), whatever its state."""
    publisher, _, name = pack.partition(".")
    cursor = await conn.execute(
        "select * from worka.release where publisher = %s and name = %s order by id desc limit 1", (publisher, name)
    )
    return await cursor.fetchone()


async def pack_names(conn: Connection, after: str | None, limit: int) -> list[str]:
    """The packs (publisher.name) of which the tenant has a release, by name."""
    cursor = await conn.execute(
        "select distinct publisher || '.' || name as pack from worka.release"
        " where %s::text is null or publisher || '.' || name > %s order by 1 limit %s",
        (after, after, limit),
    )
    return [row["pack"] for row in await cursor.fetchall()]


async def move_release(conn: Connection, release_id: str, state: str, reason: str, **columns: Any) -> None:
    """A new state, and what was learned on the way. `columns` are names of this module, never of a caller's input."""
    model.RELEASE.holds(state, reason)
    names = [name for name in columns if name in _RELEASE_COLUMNS]
    assert len(names) == len(columns), columns
    sets = "".join(f", {name} = %({name})s" for name in names)
    values = {
        name: Jsonb(columns[name]) if name in _RELEASE_JSON and columns[name] is not None else columns[name]
        for name in names
    }
    await conn.execute(
        "update worka.release set state = %(state)s, reason = %(reason)s,"  # noqa: S608 - names checked just above
        f" since = clock_timestamp(){sets} where id = %(id)s",
        {**values, "state": state, "reason": reason, "id": release_id},
    )


_RELEASE_JSON = frozenset({"error", "entry", "tools", "probe", "packages", "source"})
_RELEASE_COLUMNS = _RELEASE_JSON | {
    "failed_stage", "digest", "tree_digest", "env_path", "server_pin", "tries", "next_try", "asked_kind", "asked_by",
    "asked_for",
}  # fmt: skip


async def releases_due(conn: Connection, most: int) -> list[Row]:
    """[{tenant_id, id}] of releases whose failed stage is tried again now, of every tenant."""
    cursor = await conn.execute("select * from worka.releases_due(%s)", (most,))
    return await cursor.fetchall()


async def releases_stuck(conn: Connection, age: timedelta, most: int) -> list[Row]:
    """[{tenant_id, id}] of registrations that have stood at one stage for so long, of every tenant."""
    cursor = await conn.execute("select * from worka.releases_stuck(%s, %s)", (age, most))
    return await cursor.fetchall()


async def rest(conn: Connection, release_id: str, error: Row) -> None:
    """A failed release is not tried again by itself any more; `error` says why, beside what failed."""
    await conn.execute(
        "update worka.release set next_try = null, error = %s where id = %s and state = 'failed'",
        (Jsonb(error), release_id),
    )


async def objects_named(conn: Connection) -> set[str]:
    """Digests of artifacts (`sha256:…`) and of trees that a row of any tenant names."""
    return {row["name"] for row in await (await conn.execute("select worka.objects_named() as name")).fetchall()}


async def attachments_held(conn: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Of these attachments those that there are, of any tenant: id -> tenant."""
    cursor = await conn.execute("select * from worka.attachments_held(%s)", (list(ids),))
    return {row["id"]: row["tenant_id"] for row in await cursor.fetchall()}


async def pause_over(conn: Connection, release_id: str) -> bool:
    """Whether a failed release is to be taken up now."""
    cursor = await conn.execute(
        "select id from worka.release where id = %s and state = 'failed' and next_try <= clock_timestamp()",
        (release_id,),
    )
    return await cursor.fetchone() is not None


async def enqueue_registration(conn: Connection, tenant_id: str, release_id: str, attempt: int) -> None:
    """Hands the registration to the engine in this transaction."""
    await conn.execute(
        "select worka.enqueue_job('pack.register', %s, %s, %s), pg_notify(%s, 'tenant_jobs')",
        (tenant_id, release_id, f"pack.register:{release_id}:{attempt}", WORK_CHANNEL),
    )


# attachments --------------------------------------------------------------------------------------------------------
async def next_uid(conn: Connection) -> int:
    """The next number of the attachments' uid range, from 0."""
    cursor = await conn.execute("select nextval('worka.attachment_uid') as n")
    row = await cursor.fetchone()
    assert row is not None
    return int(row["n"])


async def lock_pack(conn: Connection, workspace_id: str, pack: str) -> None:
    """One attachment of a pack per workspace is made at a time: the check and the insert belong together."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 13))", (f"{workspace_id}/{pack}",))


async def lock_tools(conn: Connection, workspace_id: str) -> None:
    """The tools of a workspace change one attachment at a time: comparing them and adding to them belong together."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 23))", (workspace_id,))


async def insert_attachment(conn: Connection, row: Row) -> None:
    """A new attachment, requested."""
    await conn.execute(
        "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid, "
        "mounts, digest,"
        " created_by, followed_by, followed_for)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(release_id)s, %(pack)s, %(mode)s, 'requested',"
        " 'attachment_being_prepared', %(uid)s, %(mounts)s, %(digest)s, %(created_by)s, %(followed_by)s, %(followed_for)s)",
        {"followed_by": None, "followed_for": None, **row, "mounts": Jsonb(row["mounts"])},
    )


async def attachment(conn: Connection, attachment_id: str) -> Row | None:
    """An attachment."""
    cursor = await conn.execute("select * from worka.attachment where id = %s", (attachment_id,))
    return await cursor.fetchone()


async def calls_begun(conn: Connection, seconds: int) -> list[Row]:
    """How many calls began in the last `seconds`: {workspace_id, initiator_id, calls}. What a clock that was set back left
    in the future counts for as long again at most."""
    cursor = await conn.execute(
        "select workspace_id, initiator_id, count(*) as calls from worka.invocation"
        " where started_at > now() - make_interval(secs => %(seconds)s)"
        " and started_at < now() + make_interval(secs => %(seconds)s) group by workspace_id, initiator_id",
        {"seconds": seconds},
    )
    return await cursor.fetchall()


async def exposures(conn: Connection, hours: int) -> list[Row]:
    """The tiers that the calls of the last `hours` ran under, by workspace: {workspace_id, tier}; None for what did not start."""
    cursor = await conn.execute(
        "select distinct workspace_id, isolation ->> 'tier' as tier from worka.invocation"
        " where started_at > now() - make_interval(hours => %s)",
        (hours,),
    )
    return await cursor.fetchall()


async def oldest_call(conn: Connection, seconds: int, workspace_id: str | None, initiator_id: str | None) -> float:
    """In how many seconds the first call of the last `seconds` leaves the window: of the tenant, a workspace, a member."""
    cursor = await conn.execute(
        "select extract(epoch from min(started_at) + make_interval(secs => %(seconds)s) - now()) as wait"
        " from worka.invocation where started_at > now() - make_interval(secs => %(seconds)s)"
        " and started_at < now() + make_interval(secs => %(seconds)s)"
        " and (%(place)s::text is null or workspace_id = %(place)s) and (%(who)s::text is null or initiator_id = %(who)s)",
        {"seconds": seconds, "place": workspace_id, "who": initiator_id},
    )
    row = await cursor.fetchone()
    return float(row["wait"]) if row and row["wait"] is not None else float(seconds)


async def attached_counted(conn: Connection) -> list[Row]:
    """How many packs each workspace of the tenant has attached, or about to be: {workspace_id, packs}."""
    cursor = await conn.execute(
        "select workspace_id, count(*) as packs from worka.attachment where state <> 'detached' group by workspace_id"
    )
    return await cursor.fetchall()


async def attachment_for_update(conn: Connection, attachment_id: str) -> Row | None:
    """An attachment, locked until the end of the transaction."""
    cursor = await conn.execute("select * from worka.attachment where id = %s for update", (attachment_id,))
    return await cursor.fetchone()


async def attachment_of(conn: Connection, workspace_id: str, pack: str) -> Row | None:
    """The attachment of a pack in a workspace that is not detached."""
    cursor = await conn.execute(
        "select * from worka.attachment where workspace_id = %s and pack = %s and state <> 'detached' order by id "
        "desc limit 1",
        (workspace_id, pack),
    )
    return await cursor.fetchone()


async def attachment_with_release(conn: Connection, workspace_id: str, pack: str) -> tuple[Row, Row] | None:
    """The attachment of a pack in a workspace that is not detached, and its release."""
    cursor = await conn.execute(
        f"select a.*, {_VERSION} as release_version, (select coalesce(jsonb_agg(to_jsonb(l)), '[]')"  # noqa: S608
        " from worka.limit_in_force l where l.name = any(%s) and l.workspace_id in ('', a.workspace_id)) as call_limits"
        " from worka.attachment a join worka.release r on r.id = a.release_id"
        " where a.workspace_id = %s and a.pack = %s and a.state <> 'detached' order by a.id desc limit 1",
        ([CALL_LIMIT, EXPOSURE], workspace_id, pack),
    )
    found = await cursor.fetchone()
    if found is None:
        return None
    version = found.pop("release_version")
    return found, await _release_at(conn, found["tenant_id"], found["release_id"], version)


async def _release_at(conn: Connection, tenant_id: str, release_id: str, version: str) -> Row:
    """The release as it is in this version of its row, which a statement of this transaction has just read. It is large
    and hardly ever changes, so rows are kept; PostgreSQL gives a changed row another version, so none is ever stale."""
    kept = _kept.get((tenant_id, release_id))
    if kept is not None and kept[0] == version:
        _kept.move_to_end((tenant_id, release_id))
        return kept[1]
    cursor = await conn.execute(
        f"select r.*, {_VERSION} as release_version from worka.release r where r.id = %s",  # noqa: S608 - a constant
        (release_id,),
    )
    row = await cursor.fetchone()
    assert row is not None
    _kept[tenant_id, release_id] = (row.pop("release_version"), row)
    while len(_kept) > _KEPT:
        _kept.popitem(last=False)
    return row


async def attachments(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """A workspace's attachments, newest first, with the release's version, state and name for people."""
    cursor = await conn.execute(
        "select a.id, a.workspace_id, a.release_id, a.pack, a.mode, a.state, a.reason, a.since, a.mounts, a.held,"
        " a.approval_id, a.digest, a.created_by, a.created_at, r.version, r.state as release_state,"
        " r.manifest ->> 'display_name' as display_name from worka.attachment a join worka.release r on r.id = a.release_id"
        " where a.workspace_id = %s and (%s::text is null or a.id < %s) order by a.id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def serving(conn: Connection, workspace_id: str) -> list[Row]:
    """The attachments of a workspace that serve calls, with their release."""
    cursor = await conn.execute(
        "select a.id as attachment_id, a.pack, a.state, a.held, a.definitions, r.id as release_id, r.version, r.state as "
        "release_state,"
        " r.tools, r.manifest->>'display_name' as display_name"
        " from worka.attachment a join worka.release r on r.id = a.release_id"
        " where a.workspace_id = %s and a.state in ('attached', 'held', 'updating') order by a.pack",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def serving_in(conn: Connection, workspace_id: str) -> list[Row]:
    """{id, workspace_id, pack, manifest}: the attachments of a workspace that serve and that declare connections."""
    cursor = await conn.execute(
        "select a.id, a.workspace_id, a.pack, r.manifest from worka.attachment a join worka.release r on r.tenant_id ="
        " a.tenant_id and r.id = a.release_id where a.workspace_id = %s and a.state in ('attached', 'held', 'updating')"
        " and jsonb_array_length(coalesce(r.manifest->'connections', '[]')) > 0 order by a.id",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def awaiting_connection(conn: Connection, workspace_id: str) -> list[Row]:
    """The attachments of a workspace that wait for a connection, oldest first. Whoever moves one locks its release before
    it."""
    cursor = await conn.execute(
        "select * from worka.attachment where workspace_id = %s and state = 'awaiting_connection' order by id",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def attachments_of_release(conn: Connection, release_id: str, states: Sequence[str]) -> list[Row]:
    """The attachments of a release in some states, locked."""
    cursor = await conn.execute(
        "select * from worka.attachment where release_id = %s and state = any(%s) order by id for update",
        (release_id, list(states)),
    )
    return await cursor.fetchall()


async def move_attachment(conn: Connection, attachment_id: str, state: str, reason: str) -> None:
    """A new state."""
    model.ATTACHMENT.holds(state, reason)
    await conn.execute(
        "update worka.attachment set state = %s, reason = %s, since = clock_timestamp() where id = %s",
        (state, reason, attachment_id),
    )


async def set_attachment_approval(conn: Connection, attachment_id: str, approval_id: str) -> None:
    """The approval that it waits for."""
    await conn.execute("update worka.attachment set approval_id = %s where id = %s", (approval_id, attachment_id))


# connections, read where an attachment needs to know ------------------------------------------------------
async def connections_at(conn: Connection, workspace_id: str, provider: str, host: str | None, port: int) -> list[Row]:
    """Those of a provider that are not ended, for the endpoint where one is named, newest first; one whose secret is not
    usable is `broken`."""
    cursor = await conn.execute(
        "select c.id, c.kind, c.provider, c.name, c.host, c.port, c.secret_id, c.person_id, c.account, c.since, c.approval_id,"
        " case when c.state = 'active' and s.state not in ('active', 'rotating') then 'broken'"
        "  when c.state = 'active' and c.expires_at <= clock_timestamp() then 'expired' else c.state end as state"
        " from worka.connection c left join worka.secret s on s.tenant_id = c.tenant_id and s.id = c.secret_id"
        " where c.workspace_id = %s and c.provider = %s and (%s::text is null or (c.host = %s and c.port = %s))"
        " and c.state not in ('revoked', 'rejected') order by c.id desc",
        (workspace_id, provider, host, host, port),
    )
    return await cursor.fetchall()


# invocations --------------------------------------------------------------------------------------------------------
async def lock_key(conn: Connection, tenant_id: str, key: str) -> None:
    """Calls under one idempotency key are opened one after another: holds until the end of the transaction."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 17))", (f"{tenant_id}/{key}",))


async def insert_invocation(conn: Connection, row: Row) -> Row | None:
    """The intent: a running invocation; None where its attachment serves this release no more. `attempt` counts the invocations of its
    idempotency key.

    The release and the attachment are looked at in this very statement, and stay as they are until the intent is committed:
    whoever takes one of them away, or moves the attachment, waits for that, and then sees the call."""
    cursor = await conn.execute(
        "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest, pack, "
        "tool,"
        " side_effect, initiator_kind, initiator_id, originating_person, decision_id, approval_id, task_id, step_id,"
        " idempotency_key, attempt, args_digest, state, reason, trace_id)"
        " select %(tenant_id)s, %(id)s, %(workspace_id)s, %(attachment_id)s, %(release_id)s, %(release_digest)s, "
        "%(pack)s,"
        " %(tool)s, %(side_effect)s, %(initiator_kind)s, %(initiator_id)s, %(originating_person)s, %(decision_id)s,"
        " %(approval_id)s, %(task_id)s, %(step_id)s, %(idempotency_key)s,"
        " 1 + (select count(*) from worka.invocation where idempotency_key = %(idempotency_key)s), %(args_digest)s,"
        " 'running', 'call_under_way', %(trace_id)s from worka.attachment a join worka.release r"
        " on r.tenant_id = a.tenant_id and r.id = a.release_id where a.id = %(attachment_id)s"
        " and a.release_id = %(release_id)s and r.state in ('released', 'revoked')"
        " and a.state in ('attached', 'held', 'updating') for share of r, a returning *",
        row,
    )
    return await cursor.fetchone()


async def lose_invocations(conn: Connection, key: str) -> list[Row]:
    """Ends the running invocations of a key as unknown: whoever waited for them is gone. Returns them."""
    cursor = await conn.execute(
        "update worka.invocation set state = 'unknown', reason = 'outcome_lost', layer = 'platform',"
        " message = 'the process that waited for the answer is gone', since = clock_timestamp(), ended_at = "
        "clock_timestamp()"
        " where idempotency_key = %s and state = 'running' returning *",
        (key,),
    )
    return await cursor.fetchall()


async def invocation(conn: Connection, invocation_id: str) -> Row | None:
    """An invocation."""
    cursor = await conn.execute("select * from worka.invocation where id = %s", (invocation_id,))
    return await cursor.fetchone()


async def carriers(conn: Connection, invocation_ids: list[str]) -> dict[str, Row]:
    """Of running calls, by id: {task_state, holder, lease_until, seen_at, patience}: who carries the task that each is a
    step of, and how long the release lets a call take (None where it does not say)."""
    cursor = await conn.execute(
        "select i.id, t.state as task_state, t.claimed_by as holder, t.lease_until, p.beat_at as seen_at,"
        " (r.manifest #>> '{runtime,limits,timeout}')::double precision as patience"
        " from worka.invocation i left join worka.task t on t.id = i.task_id"
        " left join worka.process p on p.id = t.claimed_by left join worka.release r on r.id = i.release_id"
        " where i.id = any(%s) and i.state = 'running'",
        (invocation_ids,),
    )
    return {row["id"]: row for row in await cursor.fetchall()}


async def living_workers(conn: Connection, seconds: float, apart_from: str) -> int:
    """How many other workers gave a sign of life in the last `seconds`."""
    cursor = await conn.execute(
        "select count(*) as living from worka.process where role = 'worker'"
        " and beat_at > clock_timestamp() - make_interval(secs => %s) and id <> %s",
        (seconds, apart_from),
    )
    row = await cursor.fetchone()
    return int(row["living"]) if row else 0


async def invocation_for_update(conn: Connection, invocation_id: str) -> Row | None:
    """An invocation, locked until the end of the transaction."""
    cursor = await conn.execute("select * from worka.invocation where id = %s for update", (invocation_id,))
    return await cursor.fetchone()


async def newest_of_key(conn: Connection, key: str) -> Row | None:
    """The last invocation under an idempotency key."""
    cursor = await conn.execute(
        "select * from worka.invocation where idempotency_key = %s order by id desc limit 1", (key,)
    )
    return await cursor.fetchone()


async def invocations(
    conn: Connection, workspace_id: str, after: str | None, limit: int, state: str | None, task_id: str | None
) -> list[Row]:
    """A workspace's invocations, newest first, without results."""
    cursor = await conn.execute(
        f"select {_INVOCATION_SHORT} from worka.invocation"  # noqa: S608 - a constant of this module
        " where workspace_id = %s and (%s::text is null or id < %s)"
        " and (%s::text is null or state = %s) and (%s::text is null or task_id = %s) order by id desc limit %s",
        (workspace_id, after, after, state, state, task_id, task_id, limit),
    )
    return await cursor.fetchall()


async def finish_invocation(conn: Connection, invocation_id: str, row: Row) -> Row | None:
    """The outcome of a running invocation: returns it as it is then; None when it does not run any more."""
    cursor = await conn.execute(
        "update worka.invocation set state = %(state)s, reason = %(reason)s, layer = %(layer)s, message = %(message)s,"
        " stderr_tail = %(stderr_tail)s, stray_stdout = %(stray_stdout)s, isolation = %(isolation)s, session = "
        "%(session)s,"
        " handshake_ms = %(handshake_ms)s, call_ms = %(call_ms)s, result_sealed = %(result_sealed)s,"
        " result_digest = %(result_digest)s, validated = %(validated)s, effect_id = %(effect_id)s,"
        " since = clock_timestamp(), ended_at = clock_timestamp() where id = %(id)s and state = 'running'"
        " returning *",
        {**row, "isolation": Jsonb(row["isolation"]), "id": invocation_id},
    )
    return await cursor.fetchone()


async def egress_of(conn: Connection, invocation_id: str) -> list[Row]:
    """What left during an invocation, or tried to, in order."""
    cursor = await conn.execute(
        "select id, host, port, kind, method, path, verdict, reason, rule, count, status, bytes_out, bytes_in, "
        "duration_ms,"
        " exception_id, connection_id, lease_id, at, last_at from worka.egress where invocation_id = %s order by id",
        (invocation_id,),
    )
    return await cursor.fetchall()


async def accounts_of(conn: Connection, connection_ids: list[str]) -> list[Row]:
    """{id, name, provider, account, person_id, person}: whose accounts these connections are."""
    cursor = await conn.execute(
        "select c.id, c.name, c.provider, c.account, c.person_id, p.display_name as person from worka.connection c"
        " left join worka.person p on p.id = c.person_id where c.id = any(%s) order by c.id",
        (connection_ids,),
    )
    return await cursor.fetchall()


async def decision(conn: Connection, decision_id: str) -> Row | None:
    """The decision that a call stands on, as far as its explanation shows it."""
    cursor = await conn.execute(
        "select id, verdict, layer, rules, reasons, approval_rules, access_version, governance_version, remedy, at"
        " from worka.decision where id = %s",
        (decision_id,),
    )
    return await cursor.fetchone()


async def same_failures(
    conn: Connection, workspace_id: str, tool: str, reason: str, apart_from: str
) -> tuple[int, int]:
    """How often this tool failed for the same reason within the last day: (in this workspace, in others of the
    tenant)."""
    cursor = await conn.execute(
        "select count(*) filter (where workspace_id = %s) as here, count(*) filter (where workspace_id <> %s) as"
        " elsewhere from worka.invocation where tool = %s and reason = %s and id <> %s and state in ('failed',"
        " 'unknown') and started_at > clock_timestamp() - interval '1 day'",
        (workspace_id, workspace_id, tool, reason, apart_from),
    )
    row = await cursor.fetchone()
    return (int(row["here"]), int(row["elsewhere"])) if row else (0, 0)
