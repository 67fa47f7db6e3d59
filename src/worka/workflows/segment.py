"""One segment of a task: from its claim to its next wait, its end, or the loss of its holder.

The engine (an adapter) calls `claim`, then `run_step` for each step that is left, then `finish`. What keeps effects
apart when two executions meet (the engine's recovery, the reaper's offer, a worker that was stopped and goes on) is not
the engine but three things in our own transactions: the claim's token, checked under a row lock; the receipts, one for
each phase of a step; and the idempotency key, the same over every try.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any, Protocol

from worka.identity import store as identity
from worka.kernel import ids
from worka.kernel.context import Context, Principal
from worka.kernel.disk import Disk
from worka.kernel.errors import Problem
from worka.kernel.events import Event
from worka.workflows import events, holding, steps, store
from worka.workflows.errors import Fenced
from worka.workflows.model import TASK
from worka.workflows.schema import Definition
from worka.workflows.steps import Claim, ViewPublisher

log = logging.getLogger("worka.workflows")


class Contexts(Protocol):
    """What a process role gives us: Contexts for whoever acts (`workers.wiring.Runtime`), and a look at the disk."""

    @property
    def disk(self) -> Disk: ...

    def context(self, principal: Principal, **fields: Any) -> Context: ...

    def platform_context(self, tenant_id: str | None = None, **fields: Any) -> Context: ...


class Work:
    """The segments of one worker. `worker` is the id of its heartbeat row; `lease` is in seconds."""

    def __init__(self, contexts: Contexts, *, worker: str, lease: float, publish_view: ViewPublisher) -> None:
        self.contexts = contexts
        self.worker = worker
        self.lease = lease
        self.publish_view = publish_view
        self._held: dict[str, Claim] = {}
        # By claim: until when its work is counted. A steady clock: one that is set forth must not use up a task's time.
        self._counted: dict[str, float] = {}

    @property
    def held(self) -> int:
        """How many claims this worker holds."""
        return len(self._held)

    async def claim(self, tenant_id: str, task_id: str, segment: int) -> Claim | None:
        """Takes the task for this segment under a new claim and attempt; None when there is nothing (more) to do: the
        task moved on, ended, or a living holder has it. Each execution claims anew, also one that the engine
        replays."""
        if self.contexts.disk.low:
            return None  # it stays queued; the reaper offers it again once there is room
        ctx = self.contexts.platform_context(tenant_id)
        async with ctx.transaction() as conn:
            task = await store.task_for_update(conn, task_id)
            if task is None or task["segment"] != segment:
                return None
            limits = await store.claimable(conn, task_id, holding.NAME)
            if limits is None:
                return None
            TASK.check(task["state"], "running")
            ctx.trace_id = task["trace_id"]
            ctx.workspace_id = task["workspace_id"]
            ctx.originating_person = task["originating_person"]
            if limits and await holding.hold(ctx, task, limits):
                return None
            definition_row = await store.definition(conn, task["definition_id"])
            assert definition_row is not None
            definition = Definition.model_validate(definition_row["definition"])
            left = [step for step in await store.steps(conn, task_id) if step["state"] != "succeeded"]
            first = definition.steps[left[0]["position"] - 1] if left else definition.steps[-1]
            token = ids.new_id("claim")
            row = await store.claim(conn, task_id, token, self.worker, self.lease, first.seconds)
            claim = Claim(
                tenant_id=tenant_id,
                workspace_id=task["workspace_id"],
                task_id=task_id,
                token=token,
                attempt=row["attempt"],
                segment=segment,
                lease=self.lease,
                left=tuple(step["id"] for step in left),
            )
            ctx.record(
                Event(
                    events.CLAIMED,
                    task_id,
                    task["title"],
                    before={"state": task["state"]},
                    after={"state": "running", "attempt": row["attempt"], "segment": segment},
                    data={"worker": self.worker},
                    workspace_id=task["workspace_id"],
                )
            )
            ctx.failpoint("task.claimed.after_commit")
        self._held[token] = claim
        self._counted[token] = time.monotonic()
        return claim

    async def run_step(self, claim: Claim, step_id: str) -> str:
        """Runs one governed step to its recorded outcome; returns its state (`succeeded`, `waiting`, `failed`,
        `unknown`, `retrying`), or `refused` when the claim moved and nothing was recorded."""
        try:
            # Not begun at all: what a step needs it must find, its outcome too.
            self.contexts.disk.require()
            ctx = await self._as_member(claim)
            state = await steps.run(ctx, claim, step_id, self.publish_view, self._uncounted(claim.token))
            if state not in ("succeeded", "failed"):
                await self._count(claim)  # the segment ends here, the task goes on in another
            return state
        except Fenced:
            log.warning("a late outcome was refused: the claim moved", extra={"task_id": claim.task_id})
            return "refused"
        except Exception as error:
            await self._fault(claim, error)
            raise

    def _uncounted(self, token: str) -> float:
        """Seconds worked under this claim that no sign of life has added to the task's run time yet."""
        now = time.monotonic()
        return now - self._counted.get(token, now)

    async def _count(self, claim: Claim) -> None:
        ran = self._uncounted(claim.token)
        self._counted.pop(claim.token, None)
        async with self.contexts.platform_context(claim.tenant_id).transaction() as conn:
            await store.count_run_time(conn, claim.task_id, ran)

    async def _fault(self, claim: Claim, error: Exception) -> None:
        """Notes what this worker met, by its kind alone; the task is offered again once its lease has passed."""
        name = error.problem_code if isinstance(error, Problem) else type(error).__name__
        note = {"code": "worker_fault", "layer": "platform", "message": f"{self.worker} met {name}."}
        with contextlib.suppress(Problem):
            async with self.contexts.platform_context(claim.tenant_id).transaction() as conn:
                await store.note_fault(conn, claim.task_id, claim.token, note)

    async def finish(self, claim: Claim) -> str:
        """Ends the task whose steps have all succeeded; `refused` when the claim moved."""
        ctx = await self._as_member(claim)
        try:
            async with ctx.transaction() as conn:
                task = await store.fenced(conn, claim.task_id, claim.token)
                if task is None:
                    raise Fenced("The claim moved before the task was finished.")
                TASK.check(task["state"], "succeeded")
                await store.set_task(conn, claim.task_id, "succeeded", "all_steps_done")
                ctx.record(
                    Event(
                        events.FINISHED,
                        claim.task_id,
                        task["title"],
                        before={"state": "running"},
                        after={"state": "succeeded", "reason": "all_steps_done"},
                        workspace_id=claim.workspace_id,
                    )
                )
                ctx.failpoint("task.finished.before_commit")
        except Fenced:
            return "refused"
        return "succeeded"

    def released(self, claim: Claim) -> None:
        """The segment is over for this worker: its lease is not renewed any more."""
        self._drop(claim.token)

    def _drop(self, token: str) -> None:
        self._held.pop(token, None)
        self._counted.pop(token, None)

    async def renew(self) -> None:
        """Signs of life for every claim this worker holds. A claim that moved is dropped (its outcome will be
        refused)."""
        for token, claim in list(self._held.items()):
            until = time.monotonic()
            ran = until - self._counted.get(token, until)
            try:
                async with self.contexts.platform_context(claim.tenant_id).transaction() as conn:
                    held = await store.renew(conn, claim.task_id, token, self.lease, ran)
                if not held:
                    self._drop(token)
                elif token in self._counted:
                    self._counted[token] = until
            except Problem as problem:
                log.warning("a lease could not be renewed: %s", problem.problem_code)

    async def let_go(self) -> None:
        """Gives every claim back, when this worker ends: whoever sweeps next offers the tasks again at once."""
        for token, claim in list(self._held.items()):
            async with self.contexts.platform_context(claim.tenant_id).transaction() as conn:
                await store.let_go(conn, claim.task_id, token)
            self._drop(token)

    async def _as_member(self, claim: Claim) -> Context:
        """The Context in which steps act: the AI team member, on behalf of the person, under the task's trace."""
        async with self.contexts.platform_context(claim.tenant_id).transaction() as conn:
            task = await store.task(conn, claim.task_id)
            assert task is not None
            member = await identity.team_member(conn, task["member_id"])
        assert member is not None
        principal = Principal(
            kind="team_member",
            id=member["id"],
            name=member["name"],
            tenant_id=claim.tenant_id,
            owner_person_id=member["owner_person_id"],
            tools=tuple(member["tools"]),
        )
        return self.contexts.context(
            principal,
            tenant_id=claim.tenant_id,
            workspace_id=claim.workspace_id,
            originating_person=task["originating_person"],
            trace_id=task["trace_id"],
        )
