"""Why a task is as it is: the answer behind console, CLI and API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from worka.approvals.explain import decided
from worka.approvals.explain import waiting_on as approval_wait
from worka.authorization.explain import offer, reader_may
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Problem
from worka.kernel.explanation import Evidence, Explanation, LastError, NextAction, Scope, WaitingOn
from worka.kernel.reasons import INCIDENT_CLASS
from worka.kernel.reasons import get as reason_of
from worka.packs import store as pack_store
from worka.packs.explain import connection_waits
from worka.workflows import actions, engine, holding, places, rules, service, store, words
from worka.workflows.model import ENDED
from worka.workspaces.explain import changed_just_before

Row = dict[str, Any]
ALIVE_SECONDS = 10.0


async def explain(ctx: Context, task_id: str) -> Explanation:
    """The Explanation of a task for this reader. Raises TaskNotFound."""
    at = now()
    async with ctx.transaction() as conn:
        task = await service.visible_task(ctx, task_id)
        if ctx.workspace_id is None:
            ctx.workspace_id = task["workspace_id"]
        steps = await store.steps(conn, task_id)
        waits = [row for row in await store.waits(conn, task_id) if row["cleared_at"] is None]
        step = current(steps, task)
        state, reason = rules.shown_state(task, at)
        line = await _line(ctx, task) if state in ("queued", "retrying", "stalled") else places.Line()
        waiting_on, following = await _waits(ctx, task, step, waits)
        held = reason == "queued_over_quota"
        if held:
            also, more = await holding.told(ctx, task, line.holders)
            waiting_on, following = waiting_on + also, following + more
        pausing = state == "retrying" and task["next_try"] is not None and task["next_try"] > at
        if pausing:
            waiting_on.append(places.pause(task))
        # A pause ends by itself; that there is nobody who would go on then does not.
        if state in ("queued", "retrying") and not ((pausing or held) and line.workers):
            waiting_on.append(places.wait(line, task["since"], ctx.principal.operator))
        holder = None
        if state == "stalled":
            seen_at = await store.last_sign(conn, task["claimed_by"]) if task["claimed_by"] else None
            if reason == "holder_silent":
                # Its last sign may be younger than what counts as alive: it is the one that fell silent all the same.
                others = [worker for worker in line.workers if worker["id"] != task["claimed_by"]]
                line = replace(line, workers=others)
            holder = words.Holder(seen_at or task["last_progress"], len(line.workers))
            waiting_on.append(places.stall(task, reason, holder, ctx.principal.operator, at))
        usual = await store.usual_seconds(conn, task["definition_id"], step["name"]) if step else None
        names = await store.names(conn, [task["member_id"]])
        invocation = await store.invocation_of(conn, step["invocation_id"]) if step and step["invocation_id"] else None
        egress = await store.egress_of(conn, invocation["id"]) if invocation else []
        runs = await store.engine_runs(conn, [task_id])
        # The first sign of a stall was the last progress, not the moment at which somebody looked.
        onset = task["last_progress"] if state == "stalled" else task["since"]
        own = [task_id, *(row["id"] for row in steps), *(row["approval_id"] or "" for row in steps)]
        changes = await changed_just_before(conn, task["workspace_id"], onset, *own)
        following += places.raise_limit(line, ctx.principal.operator) if state != "stalled" and not held else []
        following += await _next(ctx, task, state, line)
        task = await _with_decision(ctx, task)
    known = reason_of(reason)
    layer = known.layer if known else "platform"
    if task["error"] and state in ("failed", "retrying", "unknown"):
        layer = _layer(task["error"].get("layer"), layer)
    if state in ("queued", "retrying") and not line.workers:
        layer = "platform"
    said = words.headline(
        task,
        state,
        reason,
        step,
        steps,
        waiting_on,
        names.get(task["member_id"]) or str(task["member_id"]),
        usual,
        at,
        holder,
    )
    differs = engine.disagreement(task, runs, at)
    return Explanation(
        subject=task_id,
        headline=f"{said} {differs}" if differs else said,
        state=state,
        reason=reason,
        since=onset,
        layer=layer,
        timing="after_completion"
        if state == "succeeded"
        else "during"
        if any(row["started_at"] for row in steps)
        else "before_start",
        scope=_scope(task, state, layer, line),
        waiting_on=waiting_on,
        last_error=_last_error(task, step),
        changed_just_before=changes,
        evidence=_evidence(task, step, waits, invocation, egress, runs if differs else []),
        next=following,
        certainty="unknown" if state == "unknown" else "inferred" if state == "stalled" or differs else "observed",
        observed_at=max([task["last_progress"], task["since"], *(worker["beat_at"] for worker in line.workers)]),
    )


async def _with_decision(ctx: Context, task: Row) -> Row:
    """A task that failed because of an approval says who decided and with which words, where this reader may know it."""
    ref = (task["error"] or {}).get("approval_id")
    if task["state"] != "failed" or not ref:
        return task
    try:
        told = await decided(ctx, ref)
    except Problem:
        return task
    return {**task, "error": {**task["error"], "message": told}}


async def _line(ctx: Context, task: Row) -> places.Line:
    workers = await store.living_workers(ctx.conn, ALIVE_SECONDS)
    ahead, running = await store.place_in_line(ctx.conn, task["id"])
    holders = await store.running_tasks(ctx.conn, task["workspace_id"], 5)
    silent = None if workers else await store.newest_worker(ctx.conn)
    return places.Line(workers, ahead, running, holders, silent or "worker")


def _scope(task: Row, state: str, layer: str, line: places.Line) -> Scope:
    if state in ("queued", "retrying") and (not line.workers or line.full):
        return "platform"
    if state == "stalled" or (state == "failed" and layer == "platform"):
        return "platform"
    if state == "failed" and layer == "authorization":
        return "user"
    return "workspace"


def current(steps: list[Row], task: Row) -> Row | None:
    """The step that the task's state is about: the failed, unknown, waiting or running one, else the next, else the
    last."""
    for wanted in ("failed", "unknown", "waiting", "running", "queued"):
        for step in steps:
            if step["state"] == wanted:
                return step
    return steps[-1] if steps else None


async def _waits(
    ctx: Context, task: Row, step: Row | None, waits: list[Row]
) -> tuple[list[WaitingOn], list[NextAction]]:
    """Everything that is waited for: the typed waits, and the connections without which the waiting step would fail
    once it may run."""
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    for wait in waits:
        if wait["kind"] == "connection":
            continue  # told below, with who can clear it: by the release, as the step will look for it again
        told = await _waiting_on(ctx, task, wait)
        waiting.append(told)
        if told.kind == "approval":
            following.append(
                NextAction(
                    label=f"Decide “{told.name}”",
                    command=f"worka approvals approve {told.ref}",
                    permission="approve",
                    allowed=told.you_can,
                    because="" if told.you_can else told.because,
                )
            )
    if task["state"] == "waiting" and step is not None and step["kind"] == "tool":
        definition = await store.definition(ctx.conn, task["definition_id"])
        tool = str(definition["definition"]["steps"][step["position"] - 1]["tool"]) if definition else ""
        attachment = await pack_store.attachment_of(ctx.conn, task["workspace_id"], tool.rpartition(".")[0])
        release = await pack_store.release(ctx.conn, attachment["release_id"]) if attachment else None
        if release is not None:
            person = task["originating_person"]
            more, also = await connection_waits(
                ctx, task["workspace_id"], release["manifest"], task["since"], person=person
            )
            waiting += more
            following += also
    return waiting, following


async def _waiting_on(ctx: Context, task: Row, wait: Row) -> WaitingOn:
    if wait["kind"] == "approval":
        told = await approval_wait(ctx, wait["ref"])
        return told or WaitingOn(
            kind="approval", ref=wait["ref"], name=wait["name"], since=wait["since"], deadline=wait["deadline"]
        )
    can, because = await reader_may(ctx, actions.RESOLVE.name, Resource("task", task["id"], task["workspace_id"]))
    return WaitingOn(
        kind=wait["kind"],
        ref=wait["ref"],
        name=wait["name"],
        since=wait["since"],
        deadline=wait["deadline"],
        who=["anyone who may change this workspace"],
        you_can=can,
        because=because,
    )


def _last_error(task: Row, step: Row | None) -> LastError | None:
    error = task["error"] or (step or {}).get("error")
    if not error:
        return None
    return LastError(
        code=str(error.get("code", "unknown")),
        message=str(error.get("message", "")),
        attempt=max(1, int(error.get("attempt") or (step or {}).get("attempt") or 1)),
        # Without a pause it is offered at once: what it waits for is a worker.
        next_try=(task["next_try"] or task["since"]) if task["state"] == "retrying" else None,
        output_ref=error.get("invocation_id") or (step or {}).get("invocation_id"),
    )


def _layer(found: Any, otherwise: str) -> str:
    return str(found) if found in INCIDENT_CLASS else otherwise


def _evidence(
    task: Row, step: Row | None, waits: list[Row], invocation: Row | None, egress: list[Row], runs: list[Row]
) -> list[Evidence]:
    found = [Evidence(kind="trace", ref=task["trace_id"], label="the request that started it")]
    if step and step["decision_id"]:
        found.append(
            Evidence(kind="decision", ref=step["decision_id"], label=f"whether the step “{step['name']}” may run")
        )
    if step and step["approval_id"] and not any(wait["ref"] == step["approval_id"] for wait in waits):
        found.append(Evidence(kind="approval", ref=step["approval_id"], label=f"approval of the step “{step['name']}”"))
    found += [
        Evidence(kind="approval", ref=wait["ref"], label=wait["name"]) for wait in waits if wait["kind"] == "approval"
    ]
    if invocation:
        label = f"{invocation['tool']}: {invocation['state']}, {invocation['reason'].replace('_', ' ')}"
        found.append(Evidence(kind="invocation", ref=invocation["id"], label=label))
    for row in egress[:5]:
        answer = f", answered {row['status']}" if row["status"] else ""
        found.append(
            Evidence(kind="egress", ref=row["id"], label=f"{row['host']}:{row['port']} {row['verdict']}{answer}")
        )
    if task["claimed_by"]:
        found.append(Evidence(kind="process", ref=task["claimed_by"], label="the worker that holds it"))
    found += [Evidence(kind="engine_run", ref=run["run"], label=f"the engine says {run['status']}") for run in runs]
    return found


async def _next(ctx: Context, task: Row, state: str, line: places.Line) -> list[NextAction]:
    own = Resource("task", task["id"], task["workspace_id"])
    found: list[NextAction] = []
    if state == "unknown":
        for outcome, label in (("retry", "Run the step again with the same key"), ("failed", "End the task as failed")):
            command = f"worka task resolve {task['id']} {outcome}"
            found.append(await offer(ctx, label, command, actions.RESOLVE.name, own))
    if state not in ENDED:
        found.append(await offer(ctx, "Cancel the task", f"worka task cancel {task['id']}", actions.CANCEL.name, own))
    elif state == "failed":
        error = task["error"] or {}
        if error.get("invocation_id"):
            command = f"worka invocation why {error['invocation_id']}"
            found.append(NextAction(label="See where the call failed", command=command, permission="view"))
        elif error.get("decision_id"):
            command = f"worka decision show {error['decision_id']}"
            found.append(NextAction(label="See the rule that refused it", command=command, permission="audit"))
        elif error.get("approval_id"):
            command = f"worka approvals show {error['approval_id']}"
            found.append(NextAction(label="See who decided, and what was asked", command=command, permission="view"))
        elif error.get("attachment_id"):
            command = f"worka why {error['attachment_id']}"
            found.append(NextAction(label="See why the pack does not serve", command=command, permission="view"))
    if state in ("queued", "retrying", "stalled"):
        found += places.start_a_worker(line, ctx.principal.operator)
    return found
