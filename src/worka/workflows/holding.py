"""The line before the places that a limit on tasks at once leaves.

One guard: a task is claimed only while its limits leave a place, counted under a lock in the transaction of the claim, so
that no two workers both take the last one. What finds none is held: out of the engine, in a line of its own, until the
sweep of a worker lets it on. Newcomers do not pass those who stand in line.
"""

from __future__ import annotations

from typing import Any

from worka.authorization.explain import offer, reader_may
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.events import Event
from worka.kernel.explanation import NextAction, WaitingOn
from worka.workflows import events, store
from worka.workflows.model import TASK
from worka.workspaces import actions as limit_actions
from worka.workspaces import store as workspaces
from worka.workspaces.limits import rules
from worka.workspaces.limits.rules import Bound, Use

Row = dict[str, Any]
NAME = "tasks_at_once"


async def _running(conn: Connection) -> Use:
    return _counted(await store.places_taken(conn, ""), "running")


def _counted(rows: list[Row], *what: str) -> Use:
    return rules.counted((row["workspace_id"], row["created_by"], sum(row[key] for key in what)) for row in rows)


rules.add(
    rules.Limit(
        NAME,
        "tasks that run at once",
        rules.SCOPES,
        0,
        "The task waits in line, says for which limit, and begins by itself.",
        _running,
    )
)


async def hold(ctx: Context, task: Row, limits: list[Row]) -> bool:
    """Whether the task has to wait in line, and does from now on. In the transaction of its claim, the task locked."""
    bounds = rules.holding(limits, NAME, task["workspace_id"], task["created_by"])
    # Whose holder fell silent has its place already.
    if not bounds or task["state"] == "running":
        return False
    released = task["held_since"] is not None and task["reason"] != "queued_over_quota"
    over = await _over(ctx, task, bounds, ("running",) if released else ("running", "released", "held"))
    if over is None:
        return False
    TASK.check(task["state"], "queued")
    await store.hold_task(ctx.conn, task["id"])
    if task["held_since"] is None:
        ctx.record(
            Event(
                events.HELD,
                task["id"],
                task["title"],
                before={"state": task["state"], "reason": task["reason"]},
                after={"state": "queued", "reason": "queued_over_quota"},
                data={"limit": NAME, "scope": over.scope, "value": over.value, "layer": over.source},
                workspace_id=task["workspace_id"],
            )
        )
    return True


async def release(ctx: Context, task_id: str) -> bool:
    """Lets a held task on, if its limits leave it a place by now."""
    task = await store.task_for_update(ctx.conn, task_id)
    if task is None or (task["state"], task["reason"]) != ("queued", "queued_over_quota"):
        return False
    limits = await store.limits_of(ctx.conn, task_id, NAME)
    bounds = rules.holding(limits, NAME, task["workspace_id"], task["created_by"])
    if bounds and await _over(ctx, task, bounds, ("running", "released")) is not None:
        return False
    row = await store.release_task(ctx.conn, task_id)
    assert row is not None
    await store.enqueue(
        ctx.conn, task["tenant_id"], task_id, row["segment"], f"{task_id}:{row['segment']}:q{row['turn']}"
    )
    ctx.failpoint("task.resumed.before_commit")
    return True


async def _over(ctx: Context, task: Row, bounds: dict[rules.Scope, Bound], what: tuple[str, ...]) -> Bound | None:
    await workspaces.lock_limit(ctx.conn, task["tenant_id"], NAME)
    use = _counted(await store.places_taken(ctx.conn, task["id"]), *what)
    return rules.full(bounds, {scope: use.of(scope, task["workspace_id"], task["created_by"]) for scope in bounds})


# why ----------------------------------------------------------------------------------------------------------------
async def told(ctx: Context, task: Row, holders: list[Row]) -> tuple[list[WaitingOn], list[NextAction]]:
    """What a held task waits for: each limit without a place for it, who holds the places, and who can raise it."""
    limits = await store.limits_of(ctx.conn, task["id"], NAME)
    bounds = rules.holding(limits, NAME, task["workspace_id"], task["created_by"])
    places = await store.places_taken(ctx.conn, task["id"])
    use = _counted(places, "running")
    full = [
        bound
        for bound in bounds.values()
        if use.of(bound.scope, task["workspace_id"], task["created_by"]) >= bound.value
    ]
    waiting, following = [], []
    for bound in full or list(bounds.values())[:1]:
        taken = use.of(bound.scope, task["workspace_id"], task["created_by"])
        action, resource = _raising(ctx, task, bound)
        can, because = await reader_may(ctx, action, resource)
        named = [f"“{holder['title']}” ({holder['id']})" for holder in holders]
        waiting.append(
            WaitingOn(
                kind="quota",
                ref=NAME,
                name=f"a free place: {taken} of {bound.value} tasks at once run {rules.within(bound.scope)}"
                f" ({rules.said(bound)})",
                since=task["held_since"] or task["since"],
                who=[*(f"held by {holder}" for holder in named), f"{rules.who_raises(bound.source)} can raise it"],
                you_can=can,
                because=because,
            )
        )
        following.append(await offer(ctx, "Raise the limit", _command(bound), action, resource))
    return waiting, following


def _raising(ctx: Context, task: Row, bound: Bound) -> tuple[str, Resource]:
    if bound.source == "workspace":
        return limit_actions.LIMIT_SET, Resource("workspace", task["workspace_id"], task["workspace_id"])
    if bound.source == "tenant":
        return limit_actions.LIMIT_SET_WIDE, Resource("tenant", ctx.tenant_id or "", None)
    return limit_actions.LIMIT_DEPLOY, Resource("tenant", ctx.tenant_id or "", None)


def _command(bound: Bound) -> str:
    member = f" --member {bound.row['member_id']}" if bound.row["member_id"] else ""
    layer = {"workspace": "", "tenant": " --layer tenant", "deployment": " --deployment"}.get(
        bound.source, " --deployment --tenant TENANT"
    )
    return f"worka limits set {NAME} {bound.value + 1} --scope {bound.scope}{layer}{member} --reason WHY"
