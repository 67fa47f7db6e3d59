"""One governed step: intent commit, effect, outcome commit.

The intent consumes the approval and opens the invocation; between the two commits nothing of ours is locked. A crash in
between leaves an intent without an outcome: the next holder of the task sees a running step and repeats it, with the
same idempotency key, only if that is safe; otherwise the step is `unknown` and a person is asked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from worka.kernel import ids
from worka.kernel.context import Context
from worka.kernel.errors import Denied, Problem
from worka.kernel.events import Event
from worka.packs import service as packs
from worka.packs import store as pack_store
from worka.packs.service import Prepared
from worka.packs.service.invocation import lost_event
from worka.workflows import consent, events, rules, store
from worka.workflows.errors import Fenced, ToolNotDeclared
from worka.workflows.model import STEP, TASK
from worka.workflows.schema import Definition, PublishViewStep, ToolStep
from worka.workspaces.errors import RateReached

Row = dict[str, Any]


class ViewPublisher(Protocol):
    """`views.service.publish`: plugged in by the process role, because views stand above workflows."""

    async def __call__(
        self,
        ctx: Context,
        *,
        name: str,
        title: str,
        text: str,
        format: str,
        links: dict[str, Any],
        task_id: str | None,
        invocation_id: str | None,
    ) -> Row: ...


_LONGEST_PAUSE = 30.0
"""Seconds of a pause at most: a longer one would be taken for a time that a clock left in the future."""


@dataclass(frozen=True)
class Claim:
    """The fencing token of one holder of one segment. `left`: ids of the steps that are not done, in order."""

    tenant_id: str
    workspace_id: str
    task_id: str
    token: str
    attempt: int
    segment: int
    lease: float
    left: tuple[str, ...]


@dataclass(frozen=True)
class _Started:
    """An intent that is committed: the effect may be made."""

    prepared: Prepared
    invocation: Row
    attempt: int


@dataclass
class _Place:
    """What both phases of a step look at, read under the task's lock."""

    task: Row
    step: Row
    all_steps: list[Row]
    definition: Definition

    @property
    def shape(self) -> ToolStep | PublishViewStep:
        position: int = self.step["position"]
        return self.definition.steps[position - 1]


async def run(ctx: Context, claim: Claim, step_id: str, publish_view: ViewPublisher, uncounted: float = 0.0) -> str:
    """Runs the step; returns the state it is in afterwards. `uncounted`: seconds this holder has worked beyond the
    task's `ran_seconds`. Raises Fenced when the claim moved (nothing is recorded)."""
    begun = await _intent(ctx, claim, step_id, publish_view, uncounted)
    if isinstance(begun, str):
        return begun
    outcome = await packs.run(ctx, begun.prepared, begun.invocation)
    return await _outcome(ctx, claim, step_id, begun, outcome)


async def _intent(
    ctx: Context, claim: Claim, step_id: str, publish_view: ViewPublisher, uncounted: float
) -> _Started | str:
    async with ctx.transaction() as conn:
        if not await store.insert_receipt(conn, claim.tenant_id, step_id, f"intent:{claim.attempt}", claim.token):
            raise Fenced("This attempt of the step is recorded already.")
        place = await _place(ctx, claim, step_id)
        if place.step["state"] in ("succeeded", "failed", "cancelled"):
            return str(place.step["state"])
        refusal = _refusal(ctx, place, uncounted)
        if refusal is not None:
            return await _fail(ctx, place, *refusal)
        if isinstance(place.shape, PublishViewStep):
            return await _publish(ctx, claim, place, publish_view)
        return await _prepare(ctx, claim, place)


async def _place(ctx: Context, claim: Claim, step_id: str) -> _Place:
    task = await store.fenced(ctx.conn, claim.task_id, claim.token)
    if task is None:
        raise Fenced("Another worker holds this task now, or it was ended.")
    definition = await store.definition(ctx.conn, task["definition_id"])
    assert definition is not None
    all_steps = await store.steps(ctx.conn, claim.task_id)
    step = next(item for item in all_steps if item["id"] == step_id)
    return _Place(task, step, all_steps, Definition.model_validate(definition["definition"]))


def _refusal(ctx: Context, place: _Place, uncounted: float) -> tuple[str, Row] | None:
    """What the definition itself does not allow: limits, and tools it does not declare."""
    spent = place.task["ran_seconds"] + uncounted
    if spent > place.definition.limits.seconds:
        return "limit_reached", _error(
            "limit_reached",
            "capacity",
            f"{int(spent)} s are more than limits.seconds ({place.definition.limits.seconds}).",
        )
    shape = place.shape
    if isinstance(shape, ToolStep) and not rules.may_call(place.definition, ctx.principal.name, shape.tool):
        problem = ToolNotDeclared(f"{shape.tool} is not declared for {ctx.principal.name}.")
        return "definition_refused", _error(problem.code, "governance", problem.detail)
    return None


async def _prepare(ctx: Context, claim: Claim, place: _Place) -> _Started | str:
    shape, step = place.shape, place.step
    assert isinstance(shape, ToolStep)
    # An intent without an outcome: whoever held the task before died, or was stopped, in between.
    again = step["state"] == "running"
    if again:
        for lost in await pack_store.lose_invocations(ctx.conn, step["idempotency_key"]):
            ctx.record(lost_event(lost))
    try:
        arguments = rules.resolve(shape.arguments, **await _scope(ctx, place, shape.arguments))
        prepared = await packs.prepare(ctx, shape.tool, arguments)
    except Problem as problem:
        if problem.status >= 500:
            raise  # a part that is away: nothing was begun, and the task is offered again
        if again:
            return await _unknown(
                ctx, place, step, _error("worker_lost", "platform", "The outcome was never recorded.")
            )
        denied = isinstance(problem, Denied)
        layer = str(problem.extra.get("layer") or ("authorization" if denied else "pack"))
        reason = "step_refused" if denied else "step_failed"
        more = {key: problem.extra.get(key) for key in ("decision_id", "attachment_id")}
        error = _error(problem.problem_code, layer, problem.detail, **more)
        return await _fail(ctx, place, reason, error, decision_id=problem.extra.get("decision_id"))
    if again and not prepared.idempotent:
        return await _unknown(ctx, place, step, _error("worker_lost", "platform", "The outcome was never recorded."))
    # Before anybody is asked: what is approved names the account that it is done with.
    lack = await packs.lacking(ctx, prepared)
    if lack is not None:
        # One that became active meanwhile looked for waits before this one was there: look again, now that none does.
        await store.lock_connections(ctx.conn, claim.workspace_id)
        if await packs.lacking(ctx, prepared) is None:
            return await _again(ctx, claim, place, _error(lack.reason, "connection", "It was connected just now."), 0.0)
        return await _wait_for_connection(ctx, claim, place, prepared, lack)
    answer = await consent.seek(ctx, prepared, step)
    if isinstance(answer, consent.Wanted):
        return await _wait(ctx, claim, place, prepared)
    try:
        row = await packs.open_invocation(
            ctx,
            prepared,
            idempotency_key=step["idempotency_key"],
            task_id=place.task["id"],
            step_id=step["id"],
            approval_id=answer,
        )
    except RateReached as reached:
        # Nothing was begun: it is no failure of the step, and no try of it.
        error = _error(reached.problem_code, "capacity", reached.detail)
        return await _again(ctx, claim, place, error, min(float(reached.extra["retry_after"]), _LONGEST_PAUSE))
    STEP.check(step["state"], "running")
    attempt = await store.start_step(ctx.conn, step["id"], row["id"], answer, prepared.decision.id)
    await store.progress(ctx.conn, claim.task_id, claim.token, claim.lease, shape.seconds)
    ctx.record(
        Event(
            events.STEP_STARTED,
            step["id"],
            step["name"],
            before={"state": step["state"]},
            after={"state": "running", "attempt": attempt},
            cause={"kind": "task", "id": claim.task_id},
            data={"invocation_id": row["id"], "tool": shape.tool, "approval_id": answer},
            workspace_id=claim.workspace_id,
        )
    )
    ctx.failpoint("step.intent.before_commit")
    return _Started(prepared, row, attempt)


async def _wait(ctx: Context, claim: Claim, place: _Place, prepared: Prepared) -> str:
    """The typed wait, the approval, and the end of this segment, in one commit. From here on the task is rows."""
    task, step = place.task, place.step
    approval = await consent.request(ctx, prepared, task, step)
    await store.insert_wait(
        ctx.conn,
        {
            "tenant_id": claim.tenant_id,
            "id": ids.new_id("wait"),
            "workspace_id": claim.workspace_id,
            "task_id": claim.task_id,
            "step_id": step["id"],
            "kind": "approval",
            "ref": approval["id"],
            "name": approval["title"],
            "deadline": approval["expires_at"],
        },
    )
    STEP.check(step["state"], "waiting")
    TASK.check(task["state"], "waiting")
    await store.set_step(
        ctx.conn,
        step["id"],
        "waiting",
        "waiting_for_approval",
        approval_id=approval["id"],
        decision_id=prepared.decision.id,
    )
    await store.set_task(ctx.conn, claim.task_id, "waiting", "waiting_for_approval")
    _record_task(
        ctx,
        events.WAITING,
        task,
        {"state": "waiting", "reason": "waiting_for_approval"},
        {"kind": "approval", "id": approval["id"]},
    )
    ctx.failpoint("task.waiting.before_commit")
    return "waiting"


async def _wait_for_connection(
    ctx: Context, claim: Claim, place: _Place, prepared: Prepared, lack: packs.Lacking
) -> str:
    """The typed wait for a connection that is missing, expired or broken, and the end of this segment. It goes on by itself in
    the commit in which such a connection becomes active."""
    task, step = place.task, place.step
    await store.insert_wait(
        ctx.conn,
        {
            "tenant_id": claim.tenant_id,
            "id": ids.new_id("wait"),
            "workspace_id": claim.workspace_id,
            "task_id": claim.task_id,
            "step_id": step["id"],
            "kind": "connection",
            "ref": lack.ref,
            "name": lack.name,
            "deadline": None,
        },
    )
    STEP.check(step["state"], "waiting")
    TASK.check(task["state"], "waiting")
    await store.set_step(ctx.conn, step["id"], "waiting", lack.reason, decision_id=prepared.decision.id)
    await store.set_task(ctx.conn, claim.task_id, "waiting", lack.reason)
    cause = {"kind": "connection", "id": lack.ref}
    _record_task(ctx, events.WAITING, task, {"state": "waiting", "reason": lack.reason}, cause)
    ctx.failpoint("task.waiting.before_commit")
    return "waiting"


async def _publish(ctx: Context, claim: Claim, place: _Place, publish_view: ViewPublisher) -> str:
    """A view's next revision: no effect outside, so intent and outcome are one commit."""
    shape, step = place.shape, place.step
    assert isinstance(shape, PublishViewStep)
    template = [shape.title, shape.document, shape.links]
    try:
        title, document, links = rules.resolve(template, **await _scope(ctx, place, template))
        invocation = next((row["invocation_id"] for row in reversed(place.all_steps) if row["invocation_id"]), None)
        revision = await publish_view(
            ctx,
            name=shape.view,
            title=rules.words(title),
            text=rules.words(document),
            format=shape.format,
            links=links if isinstance(links, dict) else {},
            task_id=claim.task_id,
            invocation_id=invocation,
        )
    except Problem as problem:
        if problem.status >= 500:
            raise
        denied = isinstance(problem, Denied)
        decision = problem.extra.get("decision_id")
        error = _error(
            problem.problem_code, "authorization" if denied else "publication", problem.detail, decision_id=decision
        )
        return await _fail(ctx, place, "step_refused" if denied else "step_failed", error, decision_id=decision)
    if not await store.insert_receipt(
        ctx.conn, claim.tenant_id, step["id"], "outcome", claim.token, revision["view_id"]
    ):
        raise Fenced("The step's outcome is recorded already.")
    await store.start_step(ctx.conn, step["id"], None, None, None)
    result = {"view_id": revision["view_id"], "revision": revision["revision"]}
    await _succeed(ctx, claim, place, result, revision["view_id"])
    return "succeeded"


async def _outcome(ctx: Context, claim: Claim, step_id: str, begun: _Started, outcome: Row) -> str:
    try:
        async with ctx.transaction() as conn:
            if not await store.insert_receipt(conn, claim.tenant_id, step_id, "outcome", claim.token):
                raise Fenced("The step's outcome is recorded already.")
            place = await _place(ctx, claim, step_id)
            closed = await packs.close_invocation(ctx, begun.invocation, begun.prepared.release, outcome)
            ctx.failpoint("step.outcome.before_commit")
            verdict = judge(closed, begun.prepared.idempotent, begun.attempt)
            await store.settle_receipt(
                conn,
                step_id,
                "outcome" if verdict in ("succeeded", "failed") else f"{verdict}:{claim.attempt}",
                closed["effect_id"],
            )
            if verdict == "succeeded":
                result = {key: outcome.get(key) for key in ("text", "structured", "is_structured")}
                await _succeed(ctx, claim, place, result, closed["effect_id"])
                return verdict
            error = _error(
                closed["reason"],
                closed["layer"] or "pack",
                closed["message"][:500],
                invocation_id=closed["id"],
                attempt=begun.attempt,
            )
            if verdict == "retrying":
                return await _again(ctx, claim, place, error, rules.pause(closed["reason"], begun.attempt) or 0.0)
            if verdict == "unknown":
                return await _unknown(ctx, place, place.step, error)
            return await _fail(ctx, place, "step_failed", error)
    except Fenced:
        await _late(ctx, claim, step_id, begun, outcome)
        raise


def judge(closed: Row, idempotent: bool, attempt: int) -> str:
    """`succeeded`, `failed`, `retrying` or `unknown`, from the closed invocation. What may have had its effect is
    repeated only where the same key cannot have it twice; a call that broke on our side of the outside, only where that
    is safe."""
    if closed["state"] == "succeeded":
        return "succeeded"
    broke = closed["state"] == "unknown" or closed["reason"] in rules.BROKEN
    if broke and idempotent and rules.pause(closed["reason"], attempt) is not None:
        return "retrying"
    return "unknown" if closed["state"] == "unknown" else "failed"


async def _late(ctx: Context, claim: Claim, step_id: str, begun: _Started, outcome: Row) -> None:
    """The outcome of a call that was on its way when a person cancelled the task: kept on the invocation, so that what
    really happened can be found. A call of a task that another worker took over is that worker's to close."""
    async with ctx.transaction() as conn:
        task = await store.task_for_update(conn, claim.task_id)
        step = await store.step(conn, step_id)
        if (
            task is None
            or step is None
            or task["state"] != "cancelled"
            or step["invocation_id"] != begun.invocation["id"]
        ):
            return
        await packs.close_invocation(ctx, begun.invocation, begun.prepared.release, outcome)
        ctx.record(
            Event(
                events.STEP_REFUSED,
                step_id,
                step["name"],
                cause={"kind": "task", "id": claim.task_id},
                data={"invocation_id": begun.invocation["id"]},
                workspace_id=claim.workspace_id,
            )
        )


async def _scope(ctx: Context, place: _Place, template: Any) -> dict[str, Any]:
    """Inputs, the results that `template` refers to (opened only then), and the task's own fields."""
    wanted = rules.steps_named(template)
    results = {}
    for row in place.all_steps:
        if row["name"] in wanted and row["result_sealed"] is not None:
            results[row["name"]] = json.loads(await ctx.sealer.open(ctx, _purpose(row["id"]), row["result_sealed"]))
    return {
        "inputs": place.task["inputs"],
        "results": results,
        "task": {key: place.task[key] for key in rules.TASK_FIELDS},
    }


def _purpose(step_id: str) -> str:
    return f"step.result:{step_id}"


async def _succeed(ctx: Context, claim: Claim, place: _Place, result: Row, effect: str | None) -> None:
    step = place.step
    sealed = await ctx.sealer.seal(ctx, _purpose(step["id"]), json.dumps(result, ensure_ascii=False).encode())
    await store.set_step(ctx.conn, step["id"], "succeeded", "step_done", result_sealed=sealed, effect_id=effect)
    following = (
        place.definition.steps[step["position"]] if step["position"] < len(place.definition.steps) else place.shape
    )
    await store.progress(ctx.conn, claim.task_id, claim.token, claim.lease, following.seconds)
    _record_step(ctx, claim.task_id, place, {"state": "succeeded", "reason": "step_done"}, effect)


async def _fail(ctx: Context, place: _Place, reason: str, error: Row, *, decision_id: str | None = None) -> str:
    """The step failed, and the task with it: a definition of this version has no other way on."""
    task, step = place.task, place.step
    STEP.check(step["state"], "failed")
    TASK.check(task["state"], "failed")
    await store.set_step(ctx.conn, step["id"], "failed", reason, error=error, decision_id=decision_id)
    await store.end_open_steps(ctx.conn, task["id"], "task_ended")
    await store.set_task(ctx.conn, task["id"], "failed", reason, error={**error, "step": step["name"]})
    _record_step(ctx, task["id"], place, {"state": "failed", "reason": reason, "code": error["code"]}, None)
    _record_task(ctx, events.FINISHED, task, {"state": "failed", "reason": reason}, {"kind": "step", "id": step["id"]})
    ctx.failpoint("task.finished.before_commit")
    return "failed"


async def _unknown(ctx: Context, place: _Place, step: Row, error: Row) -> str:
    """Nobody recorded the outcome, and repeating is not safe: a person is asked."""
    task = place.task
    STEP.check(step["state"], "unknown")
    TASK.check(task["state"], "unknown")
    await store.set_step(ctx.conn, step["id"], "unknown", "unknown_outcome", error=error)
    await store.set_task(ctx.conn, task["id"], "unknown", "unknown_outcome", error={**error, "step": step["name"]})
    await store.insert_wait(
        ctx.conn,
        {
            "tenant_id": task["tenant_id"],
            "id": ids.new_id("wait"),
            "workspace_id": task["workspace_id"],
            "task_id": task["id"],
            "step_id": step["id"],
            "kind": "elicitation",
            "ref": step["id"],
            "name": f"Did the effect of {step['name']} happen?",
            "deadline": None,
        },
    )
    _record_task(
        ctx, events.UNKNOWN, task, {"state": "unknown", "reason": "unknown_outcome"}, {"kind": "step", "id": step["id"]}
    )
    ctx.failpoint("task.waiting.before_commit")
    return "unknown"


async def _again(ctx: Context, claim: Claim, place: _Place, error: Row, pause: float) -> str:
    """Safe to repeat: the next segment tries it with the same key, after a pause by the reaper's hand."""
    task, step = place.task, place.step
    if step["state"] != "queued":
        STEP.check(step["state"], "queued")
    TASK.check(task["state"], "retrying")
    await store.set_step(ctx.conn, step["id"], "queued", "retrying", error=error)
    segment = await store.next_segment(
        ctx.conn, task["id"], "retrying", "retrying", error={**error, "step": step["name"]}, pause=pause
    )
    if not pause:
        await store.enqueue(ctx.conn, claim.tenant_id, task["id"], segment, f"{task['id']}:{segment}")
    _record_task(
        ctx,
        events.RETRYING,
        task,
        {"state": "retrying", "reason": "retrying", "segment": segment},
        {"kind": "step", "id": step["id"]},
    )
    ctx.failpoint("task.resumed.before_commit")
    return "retrying"


def _error(code: str, layer: str, message: str, **more: Any) -> Row:
    return {
        "code": code,
        "layer": layer,
        "message": message,
        **{key: value for key, value in more.items() if value is not None},
    }


def _record_step(ctx: Context, task_id: str, place: _Place, after: Row, effect: str | None) -> None:
    ctx.record(
        Event(
            events.STEP_FINISHED,
            place.step["id"],
            place.step["name"],
            before={"state": place.step["state"]},
            after=after,
            cause={"kind": "task", "id": task_id},
            data={"effect_id": effect} if effect else {},
            workspace_id=place.task["workspace_id"],
        )
    )


def _record_task(ctx: Context, event: str, task: Row, after: Row, cause: Row) -> None:
    ctx.record(
        Event(
            event,
            task["id"],
            task["title"],
            before={"state": task["state"], "reason": task["reason"]},
            after=after,
            cause=cause,
            workspace_id=task["workspace_id"],
        )
    )
