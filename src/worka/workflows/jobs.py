"""What runs on another domain's event, inside its transaction: the decision of an approval and the resumption of the
task that waits for it are one commit."""

from __future__ import annotations

from typing import Any

from worka.kernel.context import Context
from worka.kernel.events import Event, Subscribers
from worka.workflows import events, service, store
from worka.workflows.model import STEP

_ENDS = {
    "rejected": "approval_rejected",
    "expired": "approval_expired",
    "withdrawn": "approval_withdrawn",
}


def subscribe(subscribers: Subscribers) -> None:
    """Plugs the handlers in; every process role that decides approvals does this (serve, and the worker for expiry)."""
    subscribers.on("approval.locking", lock_task)
    subscribers.on("approval.decided", on_approval_decided)
    subscribers.on("connection.activated", on_connection_activated)


async def lock_task(ctx: Context, payload: dict[str, Any]) -> None:
    """The task before the approval that it waits for, as in cancelling it and in its own segments."""
    if payload["subject_type"] != "step":
        return
    wait = await store.open_wait_of(ctx.conn, payload["approval_id"])
    if wait is not None:
        await store.task_for_update(ctx.conn, wait["task_id"])


async def on_approval_decided(ctx: Context, payload: dict[str, Any]) -> None:
    """`payload`: {approval_id, subject_type, subject_id, state}. An approval nobody waits for changes nothing here."""
    if payload["subject_type"] != "step":
        return
    wait = await store.open_wait_of(ctx.conn, payload["approval_id"])
    if wait is None:
        return
    task = await store.task_for_update(ctx.conn, wait["task_id"])
    if task is None or task["state"] != "waiting":
        return
    step = await store.step(ctx.conn, wait["step_id"])
    assert step is not None
    cause = {"kind": "approval", "id": payload["approval_id"]}
    await store.clear_waits(ctx.conn, task["id"], ctx.principal.id)
    before = {"state": "waiting", "reason": task["reason"]}
    if payload["state"] not in _ENDS:
        # Approved; or superseded since policy asks something else: the segment decides again, and asks by the new rules.
        STEP.check(step["state"], "queued")
        await store.set_step(ctx.conn, step["id"], "queued", "queued_waiting_for_worker")
        segment = await service.resume(ctx, task["id"])
        event, after = events.RESUMED, {"state": "queued", "segment": segment}
        ctx.failpoint("task.resumed.before_commit")
    else:
        reason = _ENDS[payload["state"]]
        error = {"code": reason, "layer": "approval", "message": "", "approval_id": payload["approval_id"]}
        await store.set_step(ctx.conn, step["id"], "failed", reason, error=error)
        await store.end_open_steps(ctx.conn, task["id"], "task_ended")
        await store.set_task(ctx.conn, task["id"], "failed", reason, error={**error, "step": step["name"]})
        event, after = events.FINISHED, {"state": "failed", "reason": reason}
        ctx.failpoint("task.finished.before_commit")
    ctx.record(
        Event(
            event,
            task["id"],
            task["title"],
            before=before,
            after=after,
            cause=cause,
            workspace_id=task["workspace_id"],
        )
    )


async def on_connection_activated(ctx: Context, payload: dict[str, Any]) -> None:
    """`payload`: {connection_id, workspace_id}. What waits for a connection there looks again: the segment decides anew, and
    waits anew if it is another one that it lacks."""
    await store.lock_connections(ctx.conn, payload["workspace_id"])
    for wait in await store.waiting_for_connections(ctx.conn, payload["workspace_id"]):
        task = await store.task_for_update(ctx.conn, wait["task_id"])
        step = await store.step(ctx.conn, wait["step_id"])
        if task is None or step is None or (task["state"], step["state"]) != ("waiting", "waiting"):
            continue
        await store.clear_waits(ctx.conn, task["id"], ctx.principal.id)
        STEP.check(step["state"], "queued")
        await store.set_step(ctx.conn, step["id"], "queued", "queued_waiting_for_worker")
        segment = await service.resume(ctx, task["id"])
        ctx.record(
            Event(
                events.RESUMED,
                task["id"],
                task["title"],
                before={"state": "waiting", "reason": task["reason"]},
                after={"state": "queued", "segment": segment},
                cause={"kind": "connection", "id": payload["connection_id"]},
                workspace_id=task["workspace_id"],
            )
        )
        ctx.failpoint("task.resumed.before_commit")
