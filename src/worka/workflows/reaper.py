"""The reaper: takes tasks from holders that fell silent and offers them again, under a new attempt.

The engine recovers only its own process's runs. Whose lease has passed (killed, stopped, cut off from the database)
loses the task here; its late outcome is refused by the claim. The offer is one commit: state, event, and the engine's
queue entry. A task that pauses before its next try gets it here too, and one that waits in line for a place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.events import Event
from worka.workflows import events, holding, rules, store
from worka.workflows.model import TASK
from worka.workflows.segment import Contexts

log = logging.getLogger("worka.reaper")
Row = dict[str, Any]
MOST = 200


class Reaper:
    """`knows(task_id, segment)` says whether the engine still has a run of this segment in its queue."""

    def __init__(self, contexts: Contexts, *, lease: float, knows: Callable[[str, int], bool]) -> None:
        self.contexts = contexts
        self.silence = lease
        self.knows = knows

    async def sweep(self) -> int:
        """Offers every silent task again; returns how many. None while the disk is full: nobody would take them."""
        if self.contexts.disk.low:
            return 0
        async with self.contexts.platform_context().transaction() as conn:
            overdue = await store.overdue(conn, self.silence, MOST)
        offered = 0
        for row in overdue:
            try:
                offered += await self._offer(row["tenant_id"], row["task_id"])
            except Problem as problem:
                log.warning(
                    "a task could not be offered again: %s", problem.problem_code, extra={"task_id": row["task_id"]}
                )
        await self._let_on()
        return offered

    async def _let_on(self) -> None:
        """Held tasks go on, in their order, as far as their limits leave places."""
        async with self.contexts.platform_context().transaction() as conn:
            held = await store.tasks_held(conn, MOST)
        for row in held:
            ctx = self.contexts.platform_context(row["tenant_id"])
            try:
                async with ctx.transaction():
                    await holding.release(ctx, row["task_id"])
            except Problem as problem:
                log.warning("a held task could not go on: %s", problem.problem_code, extra={"task_id": row["task_id"]})

    async def _offer(self, tenant_id: str, task_id: str) -> bool:
        ctx = self.contexts.platform_context(tenant_id)
        async with ctx.transaction() as conn:
            task = await store.task_for_update(conn, task_id)
            if task is None or task["state"] not in ("running", "queued", "retrying"):
                return False
            if task["reason"] == "queued_over_quota":
                return False
            if task["next_try"] is not None:
                return await self._try_now(ctx, task)
            if await store.set_right(conn, task_id, self.silence):
                log.warning("a task's times were in the future: the clock was set back", extra={"task_id": task_id})
                return False
            if task["state"] != "running" and await asyncio.to_thread(self.knows, task_id, task["segment"]):
                return False
            ctx.trace_id, ctx.workspace_id = task["trace_id"], task["workspace_id"]
            ctx.originating_person = task["originating_person"]
            lost = int((task["error"] or {}).get("lost", 0)) + 1
            silent = {
                "code": "worker_lost",
                "layer": "platform",
                "message": f"{task['claimed_by'] or 'The engine'} fell silent.",
            }
            met = task["error"] or {}
            # A fault that the holder could still note says more than its silence.
            error = (
                {**silent, **met, "lost": lost}
                if met.get("code") == "worker_fault"
                else {**met, **silent, "lost": lost}
            )
            before = {"state": task["state"], "reason": task["reason"], "attempt": task["attempt"]}
            if lost > rules.MAX_REOFFERS:
                TASK.check(task["state"], "failed")
                await store.end_open_steps(conn, task_id, "task_ended")
                await store.set_task(conn, task_id, "failed", "given_up", error=error)
                kind, after = events.FINISHED, {"state": "failed", "reason": "given_up"}
                ctx.failpoint("task.finished.before_commit")
            else:
                TASK.check(task["state"], "retrying")
                row = await store.reoffer(conn, task_id, error, self.silence)
                if row is None:
                    return False
                await store.enqueue(
                    conn, tenant_id, task_id, row["segment"], f"{task_id}:{row['segment']}:r{row['offer']}"
                )
                kind, after = events.REOFFERED, {"state": "retrying", "reason": "worker_lost"}
                ctx.failpoint("task.resumed.before_commit")
            ctx.record(
                Event(
                    kind,
                    task_id,
                    task["title"],
                    before=before,
                    after=after,
                    data={"holder": task["claimed_by"], "lost": lost},
                    workspace_id=task["workspace_id"],
                )
            )
        log.warning("a silent task was offered again", extra={"task_id": task_id, "tenant_id": tenant_id})
        return True

    async def _try_now(self, ctx: Context, task: Row) -> bool:
        """The pause before the next try is over: the engine gets the segment that was readied for it."""
        segment = await store.try_now(ctx.conn, task["id"])
        if segment is not None:
            await store.enqueue(ctx.conn, task["tenant_id"], task["id"], segment, f"{task['id']}:{segment}")
            ctx.failpoint("task.resumed.before_commit")
        return False
