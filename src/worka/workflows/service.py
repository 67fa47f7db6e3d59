"""Use cases of workflows: definitions, and the beginning, end and reading of tasks. What runs in between:
`segment.py`."""

from __future__ import annotations

import asyncio
from typing import Any

from worka.approvals import service as approvals
from worka.identity import store as identity
from worka.kernel import ids
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.errors import Denied
from worka.kernel.events import Event
from worka.workflows import actions, events, rules, store
from worka.workflows.errors import InputsInvalid, NotUnknown, TaskNotFound, WorkflowNotFound
from worka.workflows.model import ENDED, STEP, TASK
from worka.workflows.schema import Definition
from worka.workspaces.limits import service as limits
from worka.workspaces.limits.rules import SCOPES, Limit, Use, counted
from worka.workspaces.limits.rules import add as add_limit

Row = dict[str, Any]
PER_HOUR = "tasks_per_hour"


async def _begun(conn: Connection) -> Use:
    rows = await store.tasks_begun(conn, 3600)
    return counted((row["workspace_id"], row["created_by"], row["tasks"]) for row in rows)


async def _room_in(conn: Connection, scope: str, workspace_id: str, member_id: str) -> float:
    place = None if scope == "tenant" else workspace_id
    return await store.oldest_begun(conn, 3600, place, member_id if scope == "member" else None)


add_limit(
    Limit(
        PER_HOUR,
        "tasks started in an hour",
        SCOPES,
        3600,
        "No further task is started (429, with Retry-After).",
        _begun,
        wait=_room_in,
    )
)


def _here(ctx: Context) -> tuple[str, str]:
    """(tenant, workspace) of the request; the door has set both and checked the membership."""
    assert ctx.tenant_id is not None
    assert ctx.workspace_id is not None
    return ctx.tenant_id, ctx.workspace_id


# definitions --------------------------------------------------------------------------------------------------------
async def save_definition(ctx: Context, document: dict[str, Any]) -> Row:
    """Saves the next version; the same document as the newest one is that version again. {definition_id, name, version,
    digest, created}. Raises DefinitionInvalid, Denied."""
    # Beside those who are served meanwhile: what was sent may be long.
    definition = await asyncio.to_thread(rules.read, document)
    tenant_id, workspace_id = _here(ctx)
    async with ctx.transaction() as conn:
        await ctx.require(actions.SAVE.name, Resource("workflow", definition.name, workspace_id))
        await store.lock_workflow(conn, tenant_id, workspace_id, definition.name)
        newest = await store.newest_definition(conn, workspace_id, definition.name)
        digest = rules.digest(definition)
        if newest is not None and newest["digest"] == digest:
            return _saved(newest, created=False)
        row: Row = {
            "tenant_id": tenant_id,
            "id": ids.new_id("wfd"),
            "workspace_id": workspace_id,
            "name": definition.name,
            "version": newest["version"] + 1 if newest else 1,
            "definition": definition.model_dump(mode="json"),
            "digest": digest,
            "created_by": ctx.principal.id,
        }
        await store.insert_definition(conn, row)
        ctx.record(
            Event(
                events.SAVED,
                row["id"],
                definition.name,
                before={"version": newest["version"], "digest": newest["digest"]} if newest else None,
                after={"version": row["version"], "digest": digest},
                lane="config",
                workspace_id=workspace_id,
            )
        )
        return _saved(row, created=True)


def _saved(row: Row, *, created: bool) -> Row:
    return {
        "definition_id": row["id"],
        "name": row["name"],
        "version": row["version"],
        "digest": row["digest"],
        "created": created,
    }


async def definitions(ctx: Context, after: str | None, limit: int) -> list[Row]:
    """Definitions of the workspace, newest first (up to limit + 1 rows)."""
    _, workspace_id = _here(ctx)
    async with ctx.transaction() as conn:
        await ctx.require(actions.WORKFLOW_VIEW.name, Resource("workflow", "*", workspace_id))
        return await store.definitions(conn, workspace_id, after, limit + 1)


async def definition(ctx: Context, name: str, version: int | None) -> Row:
    """One version (or the newest) with its whole document. Raises WorkflowNotFound."""
    _, workspace_id = _here(ctx)
    async with ctx.transaction() as conn:
        await ctx.require(actions.WORKFLOW_VIEW.name, Resource("workflow", name, workspace_id))
        row = await store.newest_definition(conn, workspace_id, name, version)
        if row is None:
            raise WorkflowNotFound(f"There is no workflow {name!r}{f' version {version}' if version else ''} here.")
        return {key: value for key, value in row.items() if key != "tenant_id"}


# tasks --------------------------------------------------------------------------------------------------------------
async def create(ctx: Context, *, workflow: str, version: int | None, inputs: dict[str, Any], member_id: str) -> Row:
    """Starts a task: task, steps, event, audit and the engine's queue entry in one commit. Raises WorkflowNotFound,
    InputsInvalid, Denied. Asking for the same task twice is the API's idempotency key."""
    tenant_id, workspace_id = _here(ctx)
    async with ctx.transaction() as conn:
        await ctx.require(actions.CREATE.name, Resource("workflow", workflow, workspace_id, {"workflow": workflow}))
        row = await store.newest_definition(conn, workspace_id, workflow, version)
        if row is None:
            raise WorkflowNotFound(f"There is no workflow {workflow!r}{f' version {version}' if version else ''} here.")
        definition = Definition.model_validate(row["definition"])
        member = await identity.team_member(conn, member_id)
        if member is None or member["workspace_id"] != workspace_id:
            raise InputsInvalid(
                f"There is no team member {member_id} in this workspace.",
                errors=[{"field": "member_id", "message": "not a team member of this workspace"}],
                remedy="List them with `GET /v1/workspaces/{workspace_id}/team-members`.",
            )
        if not member["enabled"] or not rules.may_take_part(definition, member["name"]):
            raise InputsInvalid(
                f"{member['name']} may not take part in {workflow}.",
                errors=[{"field": "member_id", "message": "disabled, or not among the definition's members"}],
                remedy="Choose a team member that the definition declares, or declare this one in a new version.",
            )
        filled = rules.check_inputs(definition, inputs)
        await limits.take_one(ctx, PER_HOUR, workspace_id, ctx.principal.id)
        task_id = ids.new_id("task")
        person = ctx.principal.id if ctx.principal.kind == "person" else ctx.originating_person
        title = rules.title(definition, filled)
        await store.insert_task(
            conn,
            {
                "tenant_id": tenant_id,
                "id": task_id,
                "workspace_id": workspace_id,
                "definition_id": row["id"],
                "title": title,
                "inputs": filled,
                "member_id": member_id,
                "originating_person": person,
                "expected_seconds": definition.steps[0].seconds,
                "trace_id": ctx.trace_id,
                "created_by": ctx.principal.id,
            },
        )
        steps = [
            {
                "id": ids.new_id("step"),
                "position": position,
                "name": step.name,
                "kind": step.kind,
                "idempotency_key": rules.idempotency_key(task_id, step.name),
            }
            for position, step in enumerate(definition.steps, 1)
        ]
        await store.insert_steps(conn, tenant_id, task_id, steps)
        await store.enqueue(conn, tenant_id, task_id, 1, f"{task_id}:1")
        ctx.record(
            Event(
                events.STARTED,
                task_id,
                title,
                after={"state": "queued", "workflow": workflow, "version": row["version"], "member_id": member_id},
                cause={"kind": "workflow", "id": row["id"]},
                workspace_id=workspace_id,
            )
        )
        ctx.failpoint("task.created.before_commit")
        ctx.failpoint("task.created.after_commit")
    return await get(ctx, task_id)


async def visible_task(ctx: Context, task_id: str) -> Row:
    """The task, if this reader may see it; else TaskNotFound (that it exists is not told)."""
    row = await store.task(ctx.conn, task_id)
    if row is None:
        raise TaskNotFound(f"There is no task {task_id} here.")
    try:
        await ctx.require(actions.TASK_VIEW.name, Resource("task", task_id, row["workspace_id"]))
    except Denied as denied:
        raise TaskNotFound(f"There is no task {task_id} here.") from denied
    return row


async def get(ctx: Context, task_id: str) -> Row:
    """A task with its steps, waits and links; inputs, never results. Raises TaskNotFound."""
    async with ctx.transaction() as conn:
        row = await visible_task(ctx, task_id)
        definition = await store.definition(conn, row["definition_id"])
        assert definition is not None
        steps = await store.steps(conn, task_id)
        waits = await store.waits(conn, task_id)
        receipts = await store.receipts(conn, task_id)
    hidden = {"tenant_id", "claim"}
    shown = _shown(row)
    said = {"state": shown["state"], "reason": shown["reason"]}
    # The step that the task's state is about says the same word as the task.
    steps = [{**step, **said} if step["state"] == "running" else step for step in steps]
    return {
        **{key: value for key, value in shown.items() if key not in hidden},
        "workflow": definition["name"],
        "version": definition["version"],
        "definition_digest": definition["digest"],
        "steps": [_step(step, receipts) for step in steps],
        "waits": [
            {key: value for key, value in wait.items() if key not in ("tenant_id", "workspace_id")} for wait in waits
        ],
        "links": {
            "self": f"/v1/tasks/{task_id}",
            "why": f"/v1/tasks/{task_id}/why",
            "chain": f"/v1/workspaces/{row['workspace_id']}/chain/{task_id}",
        },
    }


def _step(step: Row, receipts: list[Row]) -> Row:
    hidden = {"tenant_id", "task_id", "result_sealed"}
    mine = [
        {"phase": receipt["phase"], "attempt_id": receipt["attempt_id"], "at": receipt["at"]}
        for receipt in receipts
        if receipt["step_id"] == step["id"]
    ]
    return {
        **{key: value for key, value in step.items() if key not in hidden},
        "has_result": step["result_sealed"] is not None,
        "receipts": mine,
    }


async def listing(ctx: Context, after: str | None, limit: int, states: list[str] | None) -> list[Row]:
    """Tasks of the workspace, newest first, each with what it waits for (up to limit + 1 rows). `states`: as they are
    shown, `stalled` among them."""
    _, workspace_id = _here(ctx)
    # Whether a running task is stalled is not stored: it is a matter of now.
    stored = ["running" if state == "stalled" else state for state in states] if states is not None else None
    found: list[Row] = []
    async with ctx.transaction() as conn:
        await ctx.require(actions.TASK_VIEW.name, Resource("task", "*", workspace_id))
        while True:
            rows = [_shown(row) for row in await store.tasks(conn, workspace_id, after, limit + 1, stored)]
            found += [row for row in rows if states is None or row["state"] in states]
            if len(rows) <= limit or len(found) > limit:
                return found[: limit + 1]
            after = rows[-1]["id"]


async def titles(ctx: Context, task_ids: list[str]) -> dict[str, str]:
    """What tasks of the workspace are called, by id, for a reader who may see its tasks; else nothing."""
    _, workspace_id = _here(ctx)
    decision = await ctx.decide(actions.TASK_VIEW.name, Resource("task", "*", workspace_id))
    if decision.verdict == "deny" or not task_ids:
        return {}
    async with ctx.transaction() as conn:
        return await store.titles(conn, workspace_id, sorted(set(task_ids)))


def _shown(row: Row) -> Row:
    state, reason = rules.shown_state(row, now())
    return {**row, "state": state, "reason": reason}


async def cancel(ctx: Context, task_id: str, reason: str) -> Row:
    """Ends a task that is not finished: its holder is fenced off, its waits are cleared, its approvals withdrawn. An
    effect that is already on its way is not undone; its outcome is kept on the invocation. Raises TaskNotFound,
    Conflict."""
    async with ctx.transaction() as conn:
        await visible_task(ctx, task_id)
        task = await store.task_for_update(conn, task_id)
        assert task is not None
        await ctx.require(actions.CANCEL.name, Resource("task", task_id, task["workspace_id"]))
        TASK.check(task["state"], "cancelled")
        waits = [wait for wait in await store.waits(conn, task_id) if wait["cleared_at"] is None]
        await store.clear_waits(conn, task_id, ctx.principal.id)
        await store.end_open_steps(conn, task_id, "task_ended")
        await store.set_task(conn, task_id, "cancelled", "cancelled_by_person")
        for wait in waits:
            if wait["kind"] == "approval":
                await approvals.end_for(ctx, wait["step_id"], "withdrawn")
        ctx.record(
            Event(
                events.FINISHED,
                task_id,
                task["title"],
                before={"state": task["state"], "reason": task["reason"]},
                after={"state": "cancelled", "reason": "cancelled_by_person"},
                data={"note": reason} if reason else {},
                workspace_id=task["workspace_id"],
            )
        )
        ctx.failpoint("task.finished.before_commit")
    return await get(ctx, task_id)


async def resolve(ctx: Context, task_id: str, outcome: str, note: str) -> Row:
    """A person says what became of an effect whose outcome nobody recorded: `retry` runs the step again with the same
    key, `failed` ends the task. Raises TaskNotFound, NotUnknown."""
    tenant_id = ctx.tenant_id
    assert tenant_id is not None
    async with ctx.transaction() as conn:
        await visible_task(ctx, task_id)
        task = await store.task_for_update(conn, task_id)
        assert task is not None
        await ctx.require(actions.RESOLVE.name, Resource("task", task_id, task["workspace_id"]))
        if task["state"] != "unknown":
            raise NotUnknown(f"The task is {task['state']}.", state=task["state"])
        step = next(step for step in await store.steps(conn, task_id) if step["state"] == "unknown")
        await store.clear_waits(conn, task_id, ctx.principal.id)
        change: Row = {"note": note} if note else {}
        if outcome == "retry":
            STEP.check(step["state"], "queued")
            await store.set_step(conn, step["id"], "queued", "retrying", error=step["error"])
            segment = await store.next_segment(
                conn, task_id, "queued", "queued_waiting_for_worker", error=task["error"]
            )
            await store.enqueue(conn, tenant_id, task_id, segment, f"{task_id}:{segment}")
            after: Row = {"state": "queued", "segment": segment}
            kind = events.RESUMED
            ctx.failpoint("task.resumed.before_commit")
        else:
            await store.set_step(conn, step["id"], "failed", "resolved_as_failed", error=step["error"])
            await store.end_open_steps(conn, task_id, "task_ended")
            await store.set_task(conn, task_id, "failed", "resolved_as_failed", error=task["error"])
            after = {"state": "failed", "reason": "resolved_as_failed"}
            kind = events.FINISHED
            ctx.failpoint("task.finished.before_commit")
        ctx.record(
            Event(
                kind,
                task_id,
                task["title"],
                before={"state": "unknown"},
                after=after,
                data=change,
                cause={"kind": "step", "id": step["id"]},
                workspace_id=task["workspace_id"],
            )
        )
    return await get(ctx, task_id)


async def resume(ctx: Context, task_id: str) -> int:
    """Readies the next segment of a waiting task, in the transaction that cleared its wait; returns its number."""
    tenant_id = ctx.tenant_id
    assert tenant_id is not None
    task = await store.task_for_update(ctx.conn, task_id)
    if task is None:
        raise TaskNotFound(f"There is no task {task_id} here.")
    TASK.check(task["state"], "queued")
    segment = await store.next_segment(ctx.conn, task_id, "queued", "queued_waiting_for_worker")
    await store.enqueue(ctx.conn, tenant_id, task_id, segment, f"{task_id}:{segment}")
    return segment


def ended(state: str) -> bool:
    """Whether nothing follows this state."""
    return state in ENDED
