"""Every query of workflows. Each takes the open connection first; row-level security keeps the tenant."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.kernel.events import WORK_CHANNEL
from worka.workflows.model import STEP, TASK

Row = dict[str, Any]


def _json(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value)


# definitions --------------------------------------------------------------------------------------------------------
async def lock_workflow(conn: Connection, tenant_id: str, workspace_id: str, name: str) -> None:
    """Versions of one name are given one after another: holds until the end of the transaction."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 7))", (f"{tenant_id}/{workspace_id}/{name}",))


async def insert_definition(conn: Connection, row: Row) -> None:
    """A new version; `row` holds every column but created_at."""
    await conn.execute(
        "insert into worka.workflow_definition"
        " (tenant_id, id, workspace_id, name, version, definition, digest, created_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(version)s, %(definition)s, %(digest)s,"
        " %(created_by)s)",
        {**row, "definition": Jsonb(row["definition"])},
    )


async def newest_definition(conn: Connection, workspace_id: str, name: str, version: int | None = None) -> Row | None:
    """The version, or the newest one."""
    cursor = await conn.execute(
        "select * from worka.workflow_definition where workspace_id = %s and name = %s"
        " and (%s::integer is null or version = %s) order by version desc limit 1",
        (workspace_id, name, version, version),
    )
    return await cursor.fetchone()


async def definition(conn: Connection, definition_id: str) -> Row | None:
    """A definition by id."""
    cursor = await conn.execute("select * from worka.workflow_definition where id = %s", (definition_id,))
    return await cursor.fetchone()


async def definitions(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Newest first, without the documents' steps; up to `limit` rows older than id `after`."""
    cursor = await conn.execute(
        "select id, name, version, digest, definition->>'description' as description,"
        " jsonb_array_length(definition->'steps') as steps, created_by, created_at from worka.workflow_definition"
        " where workspace_id = %s and (%s::text is null or id < %s) order by id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


# tasks --------------------------------------------------------------------------------------------------------------
async def definition_names(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[str]:
    """The names of a workspace's workflow definitions, by name."""
    cursor = await conn.execute(
        "select distinct name from worka.workflow_definition where workspace_id = %s and (%s::text is null or name > %s)"
        " order by name limit %s",
        (workspace_id, after, after, limit),
    )
    return [row["name"] for row in await cursor.fetchall()]


async def insert_task(conn: Connection, row: Row) -> None:
    """A new task, queued."""
    await conn.execute(
        "insert into worka.task (tenant_id, id, workspace_id, definition_id, title, inputs, member_id,"
        " originating_person, state, reason, expected_seconds, trace_id, created_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(definition_id)s, %(title)s, %(inputs)s, %(member_id)s,"
        " %(originating_person)s, 'queued', 'queued_waiting_for_worker', %(expected_seconds)s, %(trace_id)s,"
        " %(created_by)s)",
        {**row, "inputs": Jsonb(row["inputs"])},
    )


async def insert_steps(conn: Connection, tenant_id: str, task_id: str, steps: list[Row]) -> None:
    """The steps of a task, in order, none reached yet."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "insert into worka.step (tenant_id, id, task_id, position, name, kind, state, reason, idempotency_key)"
            " values (%s, %s, %s, %s, %s, %s, 'queued', 'not_reached', %s)",
            [
                (tenant_id, step["id"], task_id, step["position"], step["name"], step["kind"], step["idempotency_key"])
                for step in steps
            ],
        )


async def enqueue(conn: Connection, tenant_id: str, task_id: str, segment: int, workflow_id: str) -> None:
    """Hands the segment to the engine in this transaction. The same workflow id twice is one run."""
    await conn.execute(
        "select worka.enqueue_segment(%s, %s, %s, %s), pg_notify(%s, 'tasks')",
        (tenant_id, task_id, segment, workflow_id, WORK_CHANNEL),
    )


async def task(conn: Connection, task_id: str) -> Row | None:
    """A task."""
    cursor = await conn.execute("select * from worka.task where id = %s", (task_id,))
    return await cursor.fetchone()


async def task_for_update(conn: Connection, task_id: str) -> Row | None:
    """A task, locked until the end of the transaction."""
    cursor = await conn.execute("select * from worka.task where id = %s for update", (task_id,))
    return await cursor.fetchone()


async def fenced(conn: Connection, task_id: str, claim: str) -> Row | None:
    """The task, locked, if this claim still holds it; else None."""
    cursor = await conn.execute(
        "select * from worka.task where id = %s and claim = %s and state = 'running' for update", (task_id, claim)
    )
    return await cursor.fetchone()


async def set_task(conn: Connection, task_id: str, state: str, reason: str, *, error: Any = None) -> None:
    """A new state without a holder. `since` moves with the state; a terminal one ends the task."""
    TASK.holds(state, reason)
    await conn.execute(
        "update worka.task set state = %s, reason = %s, since = clock_timestamp(), claim = null, claimed_by = null,"
        " lease_until = null, next_try = null, held_since = null, last_progress = clock_timestamp(), error = %s,"
        " ended_at = case when %s in ('succeeded', 'failed', 'cancelled') then clock_timestamp() end where id = %s",
        (state, reason, _json(error), state, task_id),
    )


async def next_segment(
    conn: Connection, task_id: str, state: str, reason: str, *, error: Any = None, pause: float = 0.0
) -> int:
    """Readies the next segment; returns its number. With a pause (seconds) it is not to be taken before that."""
    TASK.holds(state, reason)
    cursor = await conn.execute(
        "update worka.task set state = %s, reason = %s, since = clock_timestamp(), claim = null, claimed_by = null,"
        " lease_until = null, segment = segment + 1, last_progress = clock_timestamp(), error = %s,"
        " next_try = case when %s > 0 then clock_timestamp() + make_interval(secs => %s) end where id = %s"
        " returning segment",
        (state, reason, _json(error), pause, pause, task_id),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row["segment"])


async def claimable(conn: Connection, task_id: str, limit: str) -> list[Row] | None:
    """None while somebody alive holds it or it has ended; else (queued, offered again, or held by somebody who has been
    silent for too long) the settings of `limit` that concern it: most often none."""
    cursor = await conn.execute(
        "select (select coalesce(jsonb_agg(to_jsonb(l)), '[]') from worka.limit_in_force l where l.name = %s"
        " and l.workspace_id in ('', t.workspace_id) and l.member_id in ('', t.created_by)) as limits"
        " from worka.task t where t.id = %s and (t.state in ('queued', 'retrying')"
        " or (t.state = 'running' and t.lease_until < clock_timestamp()))",
        (limit, task_id),
    )
    row = await cursor.fetchone()
    return None if row is None else list(row["limits"])


async def places_taken(conn: Connection, apart_from: str) -> list[Row]:
    """Who holds a place, or is in line for one, in the whole tenant: {workspace_id, created_by, running, released, held}.
    `released`: let on, and not claimed yet."""
    cursor = await conn.execute(
        "select workspace_id, created_by, count(*) filter (where state = 'running') as running,"
        " count(*) filter (where state <> 'running' and reason <> 'queued_over_quota') as released,"
        " count(*) filter (where reason = 'queued_over_quota') as held from worka.task"
        " where (state = 'running' or (held_since is not null and state in ('queued', 'retrying'))) and id <> %s"
        " group by workspace_id, created_by",
        (apart_from,),
    )
    return await cursor.fetchall()


async def tasks_begun(conn: Connection, seconds: int) -> list[Row]:
    """How many tasks were started in the last `seconds`: {workspace_id, created_by, tasks}. What a clock that was set back
    left in the future counts for as long again at most."""
    cursor = await conn.execute(
        "select workspace_id, created_by, count(*) as tasks from worka.task"
        " where created_at > now() - make_interval(secs => %(seconds)s)"
        " and created_at < now() + make_interval(secs => %(seconds)s) group by workspace_id, created_by",
        {"seconds": seconds},
    )
    return await cursor.fetchall()


async def oldest_begun(conn: Connection, seconds: int, workspace_id: str | None, created_by: str | None) -> float:
    """In how many seconds the first task of the last `seconds` leaves the window: of the tenant, a workspace, a member."""
    cursor = await conn.execute(
        "select extract(epoch from min(created_at) + make_interval(secs => %(seconds)s) - now()) as wait from worka.task"
        " where created_at > now() - make_interval(secs => %(seconds)s)"
        " and created_at < now() + make_interval(secs => %(seconds)s)"
        " and (%(place)s::text is null or workspace_id = %(place)s) and (%(who)s::text is null or created_by = %(who)s)",
        {"seconds": seconds, "place": workspace_id, "who": created_by},
    )
    row = await cursor.fetchone()
    return float(row["wait"]) if row and row["wait"] is not None else float(seconds)


async def hold_task(conn: Connection, task_id: str) -> None:
    """It waits in line for a place; where it stands there does not change when it is held again."""
    TASK.holds("queued", "queued_over_quota")
    await conn.execute(
        "update worka.task set state = 'queued', reason = 'queued_over_quota', claim = null, claimed_by = null,"
        " since = case when reason = 'queued_over_quota' then since else clock_timestamp() end, lease_until = null,"
        " next_try = null, held_since = coalesce(held_since, clock_timestamp()) where id = %s",
        (task_id,),
    )


async def release_task(conn: Connection, task_id: str) -> Row | None:
    """A place is free for it: it waits for a worker. None if it is not held any more; else with its `segment`, and `turn`,
    which no earlier release of it had."""
    TASK.holds("queued", "queued_waiting_for_worker")
    cursor = await conn.execute(
        "update worka.task set reason = 'queued_waiting_for_worker', since = clock_timestamp() where id = %s"
        " and state = 'queued' and reason = 'queued_over_quota'"
        " returning segment, (extract(epoch from since) * 1000000)::bigint as turn",
        (task_id,),
    )
    return await cursor.fetchone()


async def tasks_held(conn: Connection, most: int) -> list[Row]:
    """(tenant_id, task_id) of held tasks over all tenants, in the order in which they are let on; ids only."""
    cursor = await conn.execute("select * from worka.tasks_held(%s)", (most,))
    return await cursor.fetchall()


async def limits_of(conn: Connection, task_id: str, limit: str) -> list[Row]:
    """The settings of a limit that concern a task."""
    cursor = await conn.execute(
        "select l.* from worka.task t join worka.limit_in_force l on l.name = %s"
        " and l.workspace_id in ('', t.workspace_id) and l.member_id in ('', t.created_by) where t.id = %s",
        (limit, task_id),
    )
    return await cursor.fetchall()


async def claim(conn: Connection, task_id: str, token: str, worker: str, lease: float, expected: int) -> Row:
    """Takes the task under a new claim and a new attempt. `lease` in seconds."""
    cursor = await conn.execute(
        "update worka.task set state = 'running', reason = 'running_step', since = clock_timestamp(), claim = %s,"
        " claimed_by = %s, attempt = attempt + 1, lease_until = clock_timestamp() + make_interval(secs => %s),"
        " last_progress = clock_timestamp(), next_try = null, expected_seconds = %s, held_since = null,"
        " begun_at = coalesce(begun_at, clock_timestamp()) where id = %s returning *",
        (token, worker, lease, expected, task_id),
    )
    row = await cursor.fetchone()
    assert row is not None
    return row


async def progress(conn: Connection, task_id: str, claim: str, lease: float, expected: int) -> None:
    """A step moved: the lease and the expected window begin anew, and earlier losses are forgotten."""
    await conn.execute(
        "update worka.task set lease_until = clock_timestamp() + make_interval(secs => %s),"
        " last_progress = clock_timestamp(), expected_seconds = %s, error = null where id = %s and claim = %s",
        (lease, expected, task_id, claim),
    )


async def renew(conn: Connection, task_id: str, claim: str, lease: float, ran: float = 0.0) -> bool:
    """A sign of life of the holder, inside the window of its step: silence ends it, not run time. `ran`: seconds it has
    worked since the last one. False: claim moved."""
    cursor = await conn.execute(
        "update worka.task set lease_until = least(clock_timestamp() + make_interval(secs => %s),"
        " last_progress + make_interval(secs => expected_seconds)), ran_seconds = ran_seconds + %s"
        " where id = %s and claim = %s and state = 'running'",
        (lease, ran, task_id, claim),
    )
    return cursor.rowcount == 1


async def count_run_time(conn: Connection, task_id: str, ran: float) -> None:
    """Adds `ran` seconds of work to the task, whoever holds it by now: they were worked."""
    await conn.execute("update worka.task set ran_seconds = ran_seconds + %s where id = %s", (ran, task_id))


async def note_fault(conn: Connection, task_id: str, claim: str, note: Row) -> None:
    """Adds what the holder met to the task's error; how often it was lost stays counted."""
    await conn.execute(
        "update worka.task set error = coalesce(error, '{}') || %s where id = %s and claim = %s and state = 'running'",
        (Jsonb(note), task_id, claim),
    )


async def let_go(conn: Connection, task_id: str, claim: str) -> None:
    """The holder ends: its lease passes now."""
    await conn.execute(
        "update worka.task set lease_until = clock_timestamp() where id = %s and claim = %s and state = 'running'",
        (task_id, claim),
    )


async def reoffer(conn: Connection, task_id: str, error: Any, silence: float) -> Row | None:
    """Takes a silent task from its holder, if it is still silent; returns it as it is now."""
    cursor = await conn.execute(
        "update worka.task set state = 'retrying', reason = 'worker_lost', since = clock_timestamp(), claim = null,"
        " claimed_by = null, lease_until = null, error = %s where id = %s and ((state = 'running' and"
        " lease_until < now())"
        " or (state in ('queued', 'retrying') and next_try is null and since < now() - make_interval(secs => %s)))"
        " returning *, (extract(epoch from since) * 1000)::bigint as offer",
        (_json(error), task_id, silence),
    )
    return await cursor.fetchone()


async def set_right(conn: Connection, task_id: str, silence: float) -> bool:
    """Brings times that a clock which was set back has left in the future to what they would be now. A holder that
    lives renews the lease; without one it passes."""
    cursor = await conn.execute(
        "update worka.task set lease_until = case when state = 'running' then now() + make_interval(secs => %(silence)s)"
        " end, since = least(since, now()) where id = %(id)s and ((state = 'running' and lease_until > now() + 2 *"
        " make_interval(secs => %(silence)s)) or (state in ('queued', 'retrying')"
        " and next_try is null and since > now() + 2 * make_interval(secs => %(silence)s)))",
        {"id": task_id, "silence": silence},
    )
    return cursor.rowcount == 1


async def try_now(conn: Connection, task_id: str) -> int | None:
    """Ends the pause of a task whose next try is due, or lies in a future that the clock took back; its segment."""
    cursor = await conn.execute(
        "update worka.task set next_try = null, since = clock_timestamp() where id = %s and state = 'retrying'"
        " and (next_try <= now() or next_try > now() + interval '1 minute') returning segment",
        (task_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else int(row["segment"])


async def overdue(conn: Connection, silence: float, most: int) -> list[Row]:
    """(tenant_id, task_id) of silent tasks, of those whose next try is due, and of those whose times lie in the future, over
    all tenants; ids only."""
    cursor = await conn.execute("select * from worka.tasks_overdue(make_interval(secs => %s), %s)", (silence, most))
    return await cursor.fetchall()


async def tasks(
    conn: Connection, workspace_id: str, after: str | None, limit: int, states: list[str] | None
) -> list[Row]:
    """Newest first, with the definition's name and what is waited for."""
    cursor = await conn.execute(
        "select t.id, t.title, t.state, t.reason, t.since, t.member_id, t.originating_person, t.segment, t.attempt,"
        " t.last_progress, t.expected_seconds, t.lease_until, t.error, t.trace_id, t.created_by, t.created_at, t.ended_at,"
        " d.name as workflow, d.version, (select jsonb_agg(jsonb_build_object('kind', w.kind, 'ref', w.ref,"
        " 'name', w.name, 'since', w.since, 'deadline', w.deadline) order by w.id) from worka.wait w"
        " where w.task_id = t.id and w.cleared_at is null) as waiting_on"
        " from worka.task t join worka.workflow_definition d on d.id = t.definition_id"
        " where t.workspace_id = %s and (%s::text is null or t.id < %s) and (%s::text[] is null or t.state = any(%s))"
        " order by t.id desc limit %s",
        (workspace_id, after, after, states, states, limit),
    )
    return await cursor.fetchall()


# steps --------------------------------------------------------------------------------------------------------------
async def steps(conn: Connection, task_id: str) -> list[Row]:
    """The steps of a task in order."""
    cursor = await conn.execute("select * from worka.step where task_id = %s order by position", (task_id,))
    return await cursor.fetchall()


async def step(conn: Connection, step_id: str) -> Row | None:
    """A step."""
    cursor = await conn.execute("select * from worka.step where id = %s", (step_id,))
    return await cursor.fetchone()


async def insert_receipt(
    conn: Connection, tenant_id: str, step_id: str, phase: str, attempt_id: str, effect_id: str | None = None
) -> bool:
    """The first statement of a phase. False: this phase is already recorded (a second execution came too late)."""
    cursor = await conn.execute(
        "insert into worka.step_receipt (tenant_id, step_id, phase, attempt_id, effect_id)"
        " values (%s, %s, %s, %s, %s) on conflict do nothing",
        (tenant_id, step_id, phase, attempt_id, effect_id),
    )
    return cursor.rowcount == 1


async def settle_receipt(conn: Connection, step_id: str, phase: str, effect_id: str | None) -> None:
    """Names the outcome's receipt for what it became: only a final one stays `outcome`, once for ever."""
    await conn.execute(
        "update worka.step_receipt set phase = %s, effect_id = %s where step_id = %s and phase = 'outcome'",
        (phase, effect_id, step_id),
    )


async def receipts(conn: Connection, task_id: str) -> list[Row]:
    """The receipts of a task's steps."""
    cursor = await conn.execute(
        "select r.step_id, r.phase, r.attempt_id, r.effect_id, r.at from worka.step_receipt r"
        " join worka.step s on s.id = r.step_id where s.task_id = %s order by r.at",
        (task_id,),
    )
    return await cursor.fetchall()


async def start_step(
    conn: Connection, step_id: str, invocation_id: str | None, approval_id: str | None, decision_id: str | None
) -> int:
    """The intent is in: the step runs. Returns its try, counted from 1."""
    cursor = await conn.execute(
        "update worka.step set state = 'running', reason = 'running_step', since = clock_timestamp(),"
        " attempt = attempt + 1, invocation_id = coalesce(%s, invocation_id), approval_id = coalesce(%s, approval_id),"
        " decision_id = coalesce(%s, decision_id), started_at = coalesce(started_at, clock_timestamp()), error = null"
        " where id = %s returning attempt",
        (invocation_id, approval_id, decision_id, step_id),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row["attempt"])


async def set_step(
    conn: Connection,
    step_id: str,
    state: str,
    reason: str,
    *,
    error: Any = None,
    result_sealed: bytes | None = None,
    effect_id: str | None = None,
    approval_id: str | None = None,
    decision_id: str | None = None,
) -> None:
    """A new state. What is None keeps its value, but the error, which belongs to the state."""
    STEP.holds(state, reason)
    await conn.execute(
        "update worka.step set state = %s, reason = %s, since = clock_timestamp(), error = %s,"
        " result_sealed = coalesce(%s, result_sealed), effect_id = coalesce(%s, effect_id),"
        " approval_id = coalesce(%s, approval_id), decision_id = coalesce(%s, decision_id),"
        " ended_at = case when %s in ('succeeded', 'failed', 'cancelled') then clock_timestamp() end where id = %s",
        (state, reason, _json(error), result_sealed, effect_id, approval_id, decision_id, state, step_id),
    )


async def end_open_steps(conn: Connection, task_id: str, reason: str) -> None:
    """Every step that is not finished is cancelled, because its task ended."""
    STEP.holds("cancelled", reason)
    await conn.execute(
        "update worka.step set state = 'cancelled', reason = %s, since = clock_timestamp(), ended_at ="
        " clock_timestamp()"
        " where task_id = %s and state not in ('succeeded', 'failed', 'cancelled')",
        (reason, task_id),
    )


# waits --------------------------------------------------------------------------------------------------------------
async def insert_wait(conn: Connection, row: Row) -> None:
    """A typed wait."""
    await conn.execute(
        "insert into worka.wait (tenant_id, id, workspace_id, task_id, step_id, kind, ref, name, deadline)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(task_id)s, %(step_id)s, %(kind)s, %(ref)s, %(name)s,"
        " %(deadline)s)",
        row,
    )


async def open_wait_of(conn: Connection, ref: str) -> Row | None:
    """The open wait for a thing (an approval)."""
    cursor = await conn.execute("select * from worka.wait where ref = %s and cleared_at is null", (ref,))
    return await cursor.fetchone()


async def lock_connections(conn: Connection, workspace_id: str) -> None:
    """Whoever is about to wait for a connection and whoever made one active, one after the other."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 29))", (workspace_id,))


async def waiting_for_connections(conn: Connection, workspace_id: str) -> list[Row]:
    """{task_id, step_id}: what waits for a connection in a workspace, in one order for everybody."""
    cursor = await conn.execute(
        "select task_id, step_id from worka.wait where workspace_id = %s and kind = 'connection' and cleared_at is null order by task_id",
        (workspace_id,),
    )
    return await cursor.fetchall()


async def waits(conn: Connection, task_id: str) -> list[Row]:
    """All waits of a task, oldest first."""
    cursor = await conn.execute("select * from worka.wait where task_id = %s order by id", (task_id,))
    return await cursor.fetchall()


async def clear_waits(conn: Connection, task_id: str, by: str) -> None:
    """Nothing is waited for any more."""
    await conn.execute(
        "update worka.wait set cleared_at = clock_timestamp(), cleared_by = %s where task_id = %s and cleared_at is null",
        (by, task_id),
    )


# explanations -------------------------------------------------------------------------------------------------------
async def egress_of(conn: Connection, invocation_id: str) -> list[Row]:
    """What one invocation asked of the outside (evidence links only)."""
    cursor = await conn.execute(
        "select id, host, port, verdict, reason, status, count from worka.egress where invocation_id = %s order by id"
        " limit 20",
        (invocation_id,),
    )
    return await cursor.fetchall()


async def invocation_of(conn: Connection, invocation_id: str) -> Row | None:
    """State and layer of a step's invocation (evidence links only)."""
    cursor = await conn.execute(
        "select id, state, reason, layer, message, pack, tool, attempt from worka.invocation where id = %s",
        (invocation_id,),
    )
    return await cursor.fetchone()


async def usual_seconds(conn: Connection, definition_id: str, step_name: str) -> float | None:
    """p95 of how long this step took in earlier tasks of the same definition; None without history."""
    cursor = await conn.execute(
        "select percentile_cont(0.95) within group (order by extract(epoch from s.ended_at - s.started_at)) as p95,"
        " count(*) as runs from worka.step s join worka.task t on t.id = s.task_id"
        " where t.definition_id = %s and s.name = %s and s.state = 'succeeded' and s.started_at is not null",
        (definition_id, step_name),
    )
    row = await cursor.fetchone()
    return float(row["p95"]) if row and row["runs"] and row["p95"] is not None else None


async def living_workers(conn: Connection, seconds: float) -> list[Row]:
    """Workers that gave a sign of life in the last `seconds`: {id, beat_at, detail}."""
    cursor = await conn.execute(
        "select id, beat_at, detail from worka.process where role = 'worker'"
        " and beat_at > clock_timestamp() - make_interval(secs => %s) order by id",
        (seconds,),
    )
    return await cursor.fetchall()


async def newest_worker(conn: Connection) -> str | None:
    """The worker that gave the last sign of life, however long ago."""
    cursor = await conn.execute("select id from worka.process where role = 'worker' order by beat_at desc limit 1")
    row = await cursor.fetchone()
    return row["id"] if row else None


async def last_sign(conn: Connection, process_id: str) -> datetime | None:
    """When this process gave its last sign of life; None once that is forgotten."""
    cursor = await conn.execute("select beat_at from worka.process where id = %s", (process_id,))
    row = await cursor.fetchone()
    return row["beat_at"] if row else None


async def place_in_line(conn: Connection, task_id: str) -> tuple[int, int]:
    """(how many tasks of all tenants are before this one, how many of all tenants run)."""
    cursor = await conn.execute("select ahead, running from worka.place_in_line(%s)", (task_id,))
    row = await cursor.fetchone()
    return (int(row["ahead"]), int(row["running"])) if row else (0, 0)


async def running_tasks(conn: Connection, workspace_id: str, most: int) -> list[Row]:
    """The workspace's tasks that hold a worker's place, the oldest claim first."""
    cursor = await conn.execute(
        "select id, title, since from worka.task where workspace_id = %s and state = 'running' order by since limit %s",
        (workspace_id, most),
    )
    return await cursor.fetchall()


async def titles(conn: Connection, workspace_id: str, task_ids: list[str]) -> dict[str, str]:
    """Titles of the workspace's tasks by id."""
    cursor = await conn.execute(
        "select id, title from worka.task where workspace_id = %s and id = any(%s)", (workspace_id, task_ids)
    )
    return {row["id"]: row["title"] for row in await cursor.fetchall()}


async def engine_runs(conn: Connection, task_ids: list[str]) -> list[Row]:
    """What the engine holds of the current segments of these tasks: {task_id, run, status, moved_at}, oldest first."""
    cursor = await conn.execute("select * from worka.engine_runs(%s)", (task_ids,))
    return await cursor.fetchall()


async def names(conn: Connection, ids: list[str]) -> dict[str, str]:
    """Names of people and team members by id, as far as this tenant may see them."""
    cursor = await conn.execute(
        "select id, display_name as name from worka.person where id = any(%s)"
        " union all select id, name from worka.team_member where id = any(%s)"
        " union all select id, name from worka.service_account where id = any(%s)",
        (ids, ids, ids),
    )
    return {row["id"]: row["name"] for row in await cursor.fetchall()}
