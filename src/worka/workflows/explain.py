"""Why a task is as it is: the answer behind console, CLI and API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worka.approvals.explain import waiting_on as approval_wait
from worka.authorization import service as authorization
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Change, Evidence, Explanation, LastError, NextAction, WaitingOn
from worka.kernel.reasons import INCIDENT_CLASS
from worka.kernel.reasons import get as reason_of
from worka.workflows import actions, service, store
from worka.workflows.model import ENDED

Row = dict[str, Any]
ALIVE_SECONDS = 15.0


async def explain(ctx: Context, task_id: str) -> Explanation:
    """The Explanation of a task for this reader. Raises TaskNotFound."""
    async with ctx.transaction() as conn:
        task = await service.visible_task(ctx, task_id)
        if ctx.workspace_id is None:
            ctx.workspace_id = task["workspace_id"]
        steps = await store.steps(conn, task_id)
        waits = [row for row in await store.waits(conn, task_id) if row["cleared_at"] is None]
        step = current(steps, task)
        state, reason = shown_state(task, now())
        waiting_on = [await _waiting_on(ctx, task, wait) for wait in waits]
        workers = await store.living_workers(conn, ALIVE_SECONDS)
        ahead = await store.ahead(conn, task_id) if state in ("queued", "retrying") else 0
        if state in ("queued", "retrying"):
            waiting_on.append(_worker_wait(task, workers, ahead))
        if state == "stalled":
            waiting_on.append(_stall(task))
        usual = await store.usual_seconds(conn, task["definition_id"], step["name"]) if step else None
        names = await store.names(conn, [task["member_id"], task["originating_person"] or "", task["created_by"]])
        invocation = await store.invocation_of(conn, step["invocation_id"]) if step and step["invocation_id"] else None
        egress = await store.egress_of(conn, invocation["id"]) if invocation else []
        changes = await store.events_before(conn, task["workspace_id"], task["since"], task_id, 3)
        may = {
            action.name: await authorization.may(
                conn,
                ctx,
                ctx.principal.kind,
                ctx.principal.id,
                action.name,
                Resource("task", task_id, task["workspace_id"]),
            )
            for action in (actions.CANCEL, actions.RESOLVE)
        }
    known = reason_of(reason)
    layer = known.layer if known else "platform"
    if task["error"] and state in ("failed", "retrying", "unknown"):
        layer = _layer(task["error"].get("layer"), layer)
    return Explanation(
        subject=task_id,
        headline=_headline(task, state, step, steps, waiting_on, names, usual, workers, ahead),
        state=state,
        reason=reason,
        since=task["since"],
        layer=layer,
        timing="before_start"
        if not any(row["started_at"] for row in steps)
        else "after_completion"
        if state in ENDED
        else "during",
        scope="platform" if state in ("queued", "retrying") and not workers else "workspace",
        waiting_on=waiting_on,
        last_error=_last_error(task, step),
        changed_just_before=[
            Change(
                at=row["at"],
                who=row["actor_name"] or row["actor_id"],
                what=f"{row['type'].replace('.', ' ').replace('_', ' ')}: {row['subject_name'] or row['subject']}",
                ref=row["subject"],
            )
            for row in changes
        ],
        evidence=_evidence(task, step, waits, invocation, egress),
        next=_next(task, state, waiting_on, may),
        certainty="unknown" if state == "unknown" else "inferred" if state == "stalled" else "observed",
        observed_at=task["last_progress"],
    )


def shown_state(task: Row, at: datetime) -> tuple[str, str]:
    """(state, reason) as people are told it: running is legal only inside the step's window; past it the task is
    stalled."""
    if task["state"] == "running" and at > task["last_progress"] + timedelta(seconds=task["expected_seconds"]):
        return "stalled", "stalled"
    return task["state"], task["reason"]


def current(steps: list[Row], task: Row) -> Row | None:
    """The step that the task's state is about: the failed, unknown, waiting or running one, else the next, else the
    last."""
    for wanted in ("failed", "unknown", "waiting", "running", "queued"):
        for step in steps:
            if step["state"] == wanted:
                return step
    return steps[-1] if steps else None


def ago(seconds: float) -> str:
    """A duration as people say it: `5 s`, `12 min`, `3 h`, `2 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def _headline(
    task: Row,
    state: str,
    step: Row | None,
    steps: list[Row],
    waiting_on: list[WaitingOn],
    names: dict[str, str],
    usual: float | None,
    workers: int,
    ahead: int,
) -> str:
    silent = ago((now() - task["since"]).total_seconds())
    place = f"step {step['position']} of {len(steps)}, {step['name']}" if step else "no step"
    message = str((task["error"] or {}).get("message") or "").rstrip(".")
    failed_step = str((task["error"] or {}).get("step") or (step["name"] if step else ""))
    if state == "waiting" and waiting_on:
        first = waiting_on[0]
        who = " or ".join(first.who) or "nobody who is here now"
        return f"Waiting {silent} for approval “{first.name}” from {who} ({place})."
    if state == "running":
        window = f"; it usually takes up to {ago(usual)}" if usual else f"; it may take {ago(task['expected_seconds'])}"
        return f"Running {place} for {ago((now() - task['last_progress']).total_seconds())}{window}."
    if state == "stalled":
        silence = ago((now() - task["last_progress"]).total_seconds())
        return f"Stalled in {place}: no progress for {silence}, {ago(task['expected_seconds'])} were expected."
    if state == "queued":
        if not workers:
            return f"Queued for {silent}: no worker is alive to take it."
        return f"Queued for {silent}: waits for one of {workers} worker(s), {ahead} task(s) are before it."
    if state == "retrying":
        cause = f" after “{message}”" if message else ""
        return f"Retrying {place}{cause}; it goes on when a worker takes it ({workers} alive)."
    if state == "unknown":
        return f"Nobody knows whether {failed_step} had its effect: a person has to look and decide ({place})."
    if state == "succeeded":
        took = ago((task["ended_at"] - task["created_at"]).total_seconds())
        return (
            f"Done: all {len(steps)} steps succeeded in {took}, by {names.get(task['member_id'], task['member_id'])}."
        )
    if state == "cancelled":
        return f"Cancelled by a person before it was done ({place})."
    known = reason_of(task["reason"])
    why = message or (known.meaning.rstrip(".") if known else task["reason"])
    return f"Failed at {failed_step}: {why}."


async def _waiting_on(ctx: Context, task: Row, wait: Row) -> WaitingOn:
    if wait["kind"] == "approval":
        told = await approval_wait(ctx, wait["ref"])
        return told or WaitingOn(
            kind="approval", ref=wait["ref"], name=wait["name"], since=wait["since"], deadline=wait["deadline"]
        )
    can = await authorization.may(
        ctx.conn,
        ctx,
        ctx.principal.kind,
        ctx.principal.id,
        actions.RESOLVE.name,
        Resource("task", task["id"], task["workspace_id"]),
    )
    return WaitingOn(
        kind=wait["kind"],
        ref=wait["ref"],
        name=wait["name"],
        since=wait["since"],
        deadline=wait["deadline"],
        who=["anyone who may change this workspace"],
        you_can=can,
        because="You may change this workspace." if can else "You may look at this workspace, not change it.",
    )


def _worker_wait(task: Row, workers: int, ahead: int) -> WaitingOn:
    told = f"{workers} worker(s) alive; {ahead} task(s) before this one" if workers else "no worker is alive"
    return WaitingOn(
        kind="slot",
        ref="worker",
        name=f"a free worker ({told})",
        since=task["since"],
        who=["the operator" if not workers else "the next free worker"],
        because="Workers take tasks by themselves.",
    )


def _stall(task: Row) -> WaitingOn:
    return WaitingOn(
        kind="slot",
        ref=task["claimed_by"] or "worker",
        name="a sign of life of the worker that holds it",
        since=task["last_progress"],
        deadline=task["lease_until"],
        who=["the platform: it is offered to another worker when the lease has passed"],
        because="Workers take tasks by themselves.",
    )


def _last_error(task: Row, step: Row | None) -> LastError | None:
    error = task["error"] or (step or {}).get("error")
    if not error:
        return None
    return LastError(
        code=str(error.get("code", "unknown")),
        message=str(error.get("message", "")),
        attempt=max(1, int(error.get("attempt") or (step or {}).get("attempt") or 1)),
        output_ref=error.get("invocation_id") or (step or {}).get("invocation_id"),
    )


def _layer(found: Any, otherwise: str) -> str:
    return str(found) if found in INCIDENT_CLASS else otherwise


def _evidence(
    task: Row, step: Row | None, waits: list[Row], invocation: Row | None, egress: list[Row]
) -> list[Evidence]:
    found = [Evidence(kind="trace", ref=task["trace_id"], label="the request that started it")]
    if step and step["decision_id"]:
        found.append(Evidence(kind="decision", ref=step["decision_id"], label=f"may {step['name']} run"))
    if step and step["approval_id"] and not any(wait["ref"] == step["approval_id"] for wait in waits):
        found.append(Evidence(kind="approval", ref=step["approval_id"], label=f"approval of {step['name']}"))
    found += [
        Evidence(kind="approval", ref=wait["ref"], label=wait["name"]) for wait in waits if wait["kind"] == "approval"
    ]
    if invocation:
        label = f"{invocation['tool']}: {invocation['state']} ({invocation['reason']})"
        found.append(Evidence(kind="invocation", ref=invocation["id"], label=label))
    for row in egress[:5]:
        answer = f", answered {row['status']}" if row["status"] else ""
        found.append(
            Evidence(kind="egress", ref=row["id"], label=f"{row['host']}:{row['port']} {row['verdict']}{answer}")
        )
    if task["claimed_by"]:
        found.append(Evidence(kind="process", ref=task["claimed_by"], label="the worker that holds it"))
    return found


def _next(task: Row, state: str, waiting_on: list[WaitingOn], may: dict[str, bool]) -> list[NextAction]:
    found = []
    for wait in waiting_on:
        if wait.kind == "approval":
            found.append(
                NextAction(
                    label="Decide the approval",
                    command=f"worka approvals approve {wait.ref}",
                    permission="approve",
                    allowed=wait.you_can,
                    because=wait.because,
                )
            )
    no = "" if may[actions.CANCEL.name] else "You may look at this workspace, not change it."
    if state == "unknown":
        for outcome, label in (("retry", "Run the step again with the same key"), ("failed", "End the task as failed")):
            found.append(
                NextAction(
                    label=label,
                    command=f"worka task resolve {task['id']} {outcome}",
                    permission="change",
                    allowed=may[actions.RESOLVE.name],
                    because=no,
                )
            )
    if state not in ENDED:
        found.append(
            NextAction(
                label="Cancel the task",
                command=f"worka task cancel {task['id']}",
                permission="change",
                allowed=may[actions.CANCEL.name],
                because=no,
            )
        )
    elif state == "failed":
        error = task["error"] or {}
        if error.get("invocation_id"):
            command = f"worka invocation why {error['invocation_id']}"
            found.append(NextAction(label="See where the call failed", command=command, permission="view"))
        elif error.get("decision_id"):
            command = f"worka decision show {error['decision_id']}"
            found.append(NextAction(label="See the rule that refused it", command=command, permission="audit"))
    return found
