"""How work ends: every terminal reason of tasks and steps, and the causes of calls that no other test makes happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.explanations import ways
from tests.packs.conftest import Packs
from tests.treasury.support import HERE, attachment, invocation, lease, secret
from tests.workflows.test_tasks import LOG, PUBLISH
from tests.workflows.world import Row, World, ok
from worka.approvals import jobs as approval_jobs
from worka.approvals import service as approvals
from worka.governance import service as governance
from worka.kernel.errors import BadRequest, Problem
from worka.observability import explain, service
from worka.treasury import service as vault
from worka.workflows import rules
from worka.workflows import service as workflows
from worka.workflows.reaper import Reaper

pytestmark = pytest.mark.timeout(300)
NEXT = {**ways.PLAIN, "name": "next"}


async def succeeds(world: World) -> str:
    world.work()
    task_id = await world.start([ways.PLAIN])
    await world.until(task_id, "succeeded")
    return task_id


async def step_fails(world: World) -> str:
    async def error(_arguments: Row, _meta: Row) -> Row:
        return {"status": "tool_error", "layer": "pack", "reason": "tool_error", "message": "no such repository"}

    world.host.answers["log"] = error
    world.work()
    task_id = await world.start([ways.PLAIN, NEXT])
    await world.until(task_id, "failed")
    return task_id


async def cancelled(world: World) -> str:
    task_id = await ways.waiting(world)
    await workflows.cancel(world.ctx(world.owner), task_id, "not needed")
    return task_id


async def resolved(world: World) -> str:
    task_id = await ways.unknown(world)
    await workflows.resolve(world.ctx(world.owner), task_id, "failed", "it is not there")
    return task_id


async def expired(world: World) -> str:
    task_id = await ways.waiting(world)
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.approval set expires_at = clock_timestamp() - interval '1 minute'")
    await approval_jobs.expire_due(world.runtime.platform_context())
    await world.until(task_id, "failed")
    return task_id


async def withdrawn(world: World) -> str:
    task_id = await ways.waiting(world)
    ref = (await world.task(task_id))["waits"][0]["ref"]
    await approvals.withdraw(world.ctx(world.owner), ref)
    return task_id


async def undeclared(world: World) -> str:
    """A definition that lost a tool after it was saved: what it says now holds."""
    task_id = await world.start([ways.PLAIN])
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.workflow_definition set definition = jsonb_set(definition, '{members,0,tools}',"
            " '[\"test.box.note\"]')"
        )
    world.work()
    await world.until(task_id, "failed")
    return task_id


async def out_of_time(world: World) -> str:
    async def slow(_arguments: Row, _meta: Row) -> Row:
        await asyncio.sleep(1.3)
        return ok("late")

    world.host.answers["log"] = slow
    world.work()
    task_id = await world.start([ways.PLAIN, NEXT], limits={"seconds": 1})
    await world.until(task_id, "failed")
    return task_id


async def given_up(world: World) -> str:
    """Lost as often as it may be, and then once more."""
    event = ways.hang(world)
    worker = world.work()
    task_id = await world.start([ways.PLAIN])
    await ways.called(event)
    worker.kill()
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.task set error = jsonb_build_object('code', 'worker_lost', 'lost', %s::int) where id = %s",
            (rules.MAX_REOFFERS, task_id),
        )
    reaper = Reaper(world.runtime, lease=3, knows=lambda _task, _segment: False)
    for _ in range(100):
        await reaper.sweep()
        if (await world.task(task_id))["state"] == "failed":
            return task_id
        await asyncio.sleep(0.1)
    raise AssertionError("it was never given up")


@pytest.mark.capability("XPL-1", part="ends too have their reason")
@pytest.mark.parametrize(
    ("way", "task", "steps"),
    [
        (succeeds, ("succeeded", "all_steps_done"), ["step_done"]),
        (step_fails, ("failed", "step_failed"), ["step_failed", "task_ended"]),
        (cancelled, ("cancelled", "cancelled_by_person"), ["step_done", "task_ended"]),
        (resolved, ("failed", "resolved_as_failed"), ["resolved_as_failed"]),
        (expired, ("failed", "approval_expired"), ["step_done", "approval_expired"]),
        (withdrawn, ("failed", "approval_withdrawn"), ["step_done", "approval_withdrawn"]),
        (undeclared, ("failed", "definition_refused"), ["definition_refused"]),
        (out_of_time, ("failed", "limit_reached"), ["step_done", "limit_reached"]),
        (given_up, ("failed", "given_up"), ["task_ended"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_the_end_of_a_task_says_why_it_ended_and_what_can_be_done(
    world: World, way: Callable[[World], Awaitable[str]], task: tuple[str, str], steps: list[str]
) -> None:
    task_id = await way(world)
    row = await world.task(task_id)
    assert (row["state"], row["reason"]) == task
    assert [step["reason"] for step in row["steps"]] == steps
    told = await explain.why(world.ctx(world.owner), task_id)
    assert (told.state, told.reason) == task
    assert told.waiting_on == []
    assert told.since == row["since"]
    if way is succeeds:
        called = await explain.why(world.ctx(world.owner), row["steps"][0]["invocation_id"])
        assert (called.state, called.reason, called.timing) == ("succeeded", "call_succeeded", "after_completion")
        listed = (await service.processes(world.ctx(world.owner)))["processes"]
        worker = next(item for item in listed if item["role"] == "worker" and item["health"] == "healthy")
        assert (await explain.why(world.ctx(world.owner), worker["id"])).reason == "process_alive"


async def test_a_host_that_does_not_take_a_call_is_told_by_a_code_that_has_a_page(world: World) -> None:
    async def refuse(_arguments: Row, _meta: Row) -> Row:
        raise BadRequest("The session cannot be read.", code="session_spec_invalid")

    world.host.answers["log"] = refuse
    world.work()
    task_id = await world.start([ways.PLAIN])
    await world.until(task_id, "failed")
    subject = (await world.task(task_id))["steps"][0]["invocation_id"]
    told = await explain.why(world.ctx(world.owner), subject)
    assert (told.reason, told.layer, told.scope) == ("host_refused", "sandbox", "platform")
    assert "session_spec_invalid" in told.headline, "the host's own code stands in the words"


async def test_a_decision_says_whether_a_rule_asked_or_refused(world: World) -> None:
    task_id = await ways.waiting(world)
    step = (await world.task(task_id))["steps"][1]
    asked = await explain.why(world.ctx(world.owner), step["decision_id"])
    assert (asked.state, asked.reason, asked.layer) == ("ask", "approval_asked", "governance")
    text = (
        '@id("never") @verdict("deny") @reason("not in this quarter")\n'
        'forbid(principal, action == Worka::Action::"tool.invoke", resource);'
    )
    await governance.save_policy(world.ctx(world.owner), world.workspace_id, "governance", text, "stop")
    other = await world.start([LOG, PUBLISH], {"word": "x"})
    failed = await world.until(other, "failed")
    denied = await explain.why(world.ctx(world.owner), failed["error"]["decision_id"])
    assert (denied.reason, denied.incident_class, denied.scope) == (
        "denied_by_governance", "access or authorization", "tenant",
    )  # fmt: skip
    assert "not in this quarter" in denied.headline


async def test_a_connection_that_nobody_decided_on_in_time_says_so(place: Packs) -> None:
    subject = await ways.connection_asked_for(place)
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute("update worka.approval set expires_at = clock_timestamp() - interval '1 minute'")
    await approval_jobs.expire_due(place.world.nobody())
    told = await explain.why(place.ctx(), subject)
    assert (told.state, told.reason, told.timing) == ("rejected", "connection_not_decided", "before_start")


async def test_a_lease_outside_of_a_running_call_is_refused_by_its_reason(place: Packs) -> None:
    world = place.world
    kept, holder = await secret(world), await attachment(world)
    await vault.grant(place.ctx(), kept["id"], holder, HERE)
    over = await invocation(world, holder, state="succeeded")
    with pytest.raises(Problem) as refused:
        await lease(world, kept["id"], holder, over)
    assert refused.value.extra["reason"] == "invocation_not_running"
    # The positive control: the same secret, and a call that runs.
    assert (await lease(world, kept["id"], holder, await invocation(world, holder))).id
