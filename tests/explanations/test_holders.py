"""Work whose carrier is gone: it is not called running, the dead holder is named, and whether somebody is there to help."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.explanations import ways
from tests.workflows.world import World
from worka.kernel.context import Principal
from worka.kernel.http import Page
from worka.observability import explain, service
from worka.packs import routes as packs

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]


@pytest.mark.capability("XPL-1", "XPL-4", part="a dead holder is told before what follows from it")
async def test_a_task_whose_worker_is_gone_says_so_also_after_its_step_is_overdue(world: World) -> None:
    event = ways.hang(world)
    worker = world.work()
    task_id = await world.start([{**ways.PLAIN, "seconds": 2}])
    await ways.called(event)
    await ways.forget_other_workers(world, task_id)
    inside = await explain.why(world.ctx(world.owner), task_id)
    assert inside.state == "running", "the positive control: while its worker lives it runs"
    worker.kill()
    # Both its lease (3 s) and the two seconds that the step was expected to take are over.
    await asyncio.sleep(5.5)
    past = await explain.why(world.ctx(world.owner), task_id)
    assert (past.state, past.reason) == ("stalled", "holder_silent")
    assert re.search(r"its worker is down since \d\d:\d\d:\d\d UTC, and no worker is alive", past.headline), (
        past.headline
    )
    (wait,) = past.waiting_on
    assert wait.ref.startswith("proc_"), "the process is a link"
    assert "no other is alive" in wait.name
    assert "operator" in wait.who[0]
    assert "living worker" not in " ".join(wait.who), "nobody is promised who is not there"
    commands = {step.command: step for step in past.next}
    assert "worka doctor" in commands
    assert not commands["worka down && worka up"].allowed
    reader = world.ctx(world.owner)
    reader.principal = Principal("person", world.owner, "Ada", operator=True)
    own = await explain.why(reader, task_id)
    assert own.waiting_on[0].who == ["you, the operator of this deployment, on its machine"]
    assert next(step for step in own.next if step.command == "worka down && worka up").allowed


@pytest.mark.capability("XPL-1", "XPL-4", part="a call that nobody waits for is not called running")
async def test_a_call_whose_worker_is_gone_is_stalled_on_its_page_and_in_the_list(world: World) -> None:
    event = ways.hang(world)
    worker = world.work()
    task_id = await world.start([ways.PLAIN])
    await ways.called(event)
    await ways.forget_other_workers(world, task_id)
    subject = str((await world.task(task_id))["steps"][0]["invocation_id"])

    async def states() -> list[Row]:
        ctx = world.ctx(world.owner)
        listed = await packs.list_invocations(world.workspace_id, ctx, Page(limit=50, cursor=None), "running", None)
        shown = await packs.get_invocation(subject, ctx)
        return [*(row for row in listed["items"] if row["id"] == subject), shown]

    assert [row["state"] for row in await states()] == ["running", "running"]
    running = await explain.why(world.ctx(world.owner), subject)
    assert (running.state, running.certainty) == ("running", "observed"), "the positive control"
    worker.kill()
    await asyncio.sleep(5.5)
    assert [(row["state"], row["reason"]) for row in await states()] == [("stalled", "caller_silent")] * 2
    told = await explain.why(world.ctx(world.owner), subject)
    assert (told.state, told.reason, told.certainty) == ("stalled", "caller_silent", "unknown")
    assert "is running" not in told.headline
    assert "is down since" in told.headline
    (wait,) = told.waiting_on
    assert wait.ref.startswith("proc_"), "the process that carried it is a link"
    assert "ends this call as unknown" in wait.name
    assert "operator" in wait.who[0]
    assert any(item.kind == "process" and item.ref == wait.ref for item in told.evidence)
    assert any(task_id in step.command for step in told.next)


@pytest.mark.capability("XPL-1", part="a call past its own time is not called running")
async def test_a_call_past_its_own_time_is_stalled_though_its_worker_lives(world: World) -> None:
    subject = await ways.call_overdue(world)
    told = await explain.why(world.ctx(world.owner), subject)
    assert (told.state, told.reason) == ("stalled", "call_overdue")
    assert "no answer for 2 h, and its time was" in told.headline
    assert "worka doctor" in [step.command for step in told.next]
    assert service is not None


@pytest.mark.capability("XPL-4", part="an approval: when it was asked, and what became of what waited")
@pytest.mark.parametrize(("decision", "became"), [("reject", "failed; what was asked was not done."), ("approve", "")])
async def test_a_decided_approval_says_what_became_of_what_waited_and_was_asked_when_it_was_asked(
    world: World, decision: str, became: str
) -> None:
    task_id = await ways.waiting(world)
    ref = (await world.task(task_id))["waits"][0]["ref"]
    (asked,) = await world.rows("select * from worka.approval where id = %s", ref)
    before = await explain.why(world.ctx(world.owner), ref)
    assert before.waiting_on[0].since == asked["created_at"]
    assert "failed" not in before.headline, "the positive control: nothing has become of it yet"
    await asyncio.sleep(0.05)
    await world.approve(task_id, decision)
    if decision == "approve":
        await world.until(task_id, "succeeded")
    title = (await world.task(task_id))["title"]
    after = await explain.why(world.ctx(world.owner), ref)
    assert after.since > asked["created_at"]
    assert f"{title[:1].upper()}{title[1:]} {became or 'succeeded.'}" in after.headline, after.headline
    if decision == "reject":
        task = await explain.why(world.ctx(world.owner), task_id)
        assert "what was asked was not done" not in task.headline, "a task does not tell its own end twice"
