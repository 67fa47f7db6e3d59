"""What a task does with consent: a bypass lets it go on by itself, and an effect that breaks first spends no second approval."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest

from tests.workflows.test_tasks import LOG, PUBLISH
from tests.workflows.world import Row, World
from worka.approvals import bypass
from worka.kernel.clock import now

BOUNDARY = "tool.external_side_effect"


@pytest.mark.faults
@pytest.mark.capability("APR-12", part="a task goes on by a bypass, once, also over a kill")
@pytest.mark.parametrize("point", [None, "approval.bypassed.before_commit", "task.resumed.before_commit"])
async def test_a_task_goes_on_by_a_bypass_and_each_use_is_counted_once_over_a_kill(
    world: World, point: str | None
) -> None:
    world.host.answers["publish"] = world.host.effect
    until = now() + timedelta(minutes=30)
    made = await bypass.open_(world.ctx(world.owner), world.workspace_id, "boundary", BOUNDARY, "incident 7", until, 1)
    first = world.work("1", point)
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    if point:
        assert await first.died() == -signal.SIGKILL
        world.work("2")
    await world.until(task_id, "succeeded", seconds=25)
    assert list(world.host.effects.values()) == [1]
    (approval,) = await world.rows("select * from worka.approval where bypass_id is not null")
    assert (approval["bypass_id"], approval["reason"]) == (made["id"], "used")
    assert (await bypass.show(world.ctx(world.owner), made["id"]))["uses"] == 1
    # The cap holds: the next task waits for a person.
    second = await world.start([LOG, PUBLISH], {"word": "y"})
    await world.until(second, "waiting")


@pytest.mark.capability("APR-10", part="an effect that breaks first is tried again under the same approval")
async def test_an_effect_that_breaks_first_is_tried_again_under_the_same_approval(world: World) -> None:
    tries: list[Row] = []

    async def breaks_once(arguments: Row, meta: Row) -> Row:
        tries.append(meta)
        if len(tries) == 1:
            return {
                "status": "failed",
                "layer": "pack",
                "reason": "pack_crashed",
                "message": "The server ended: exit 3.",
            }
        return await world.host.effect(arguments, meta)

    world.host.answers["publish"] = breaks_once
    world.work()
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    await world.until(task_id, "waiting")
    await world.approve(task_id)
    await world.until(task_id, "succeeded", seconds=25)
    assert len(tries) == 2
    assert len({meta["idempotency_key"] for meta in tries}) == 1
    (approval,) = await world.rows("select * from worka.approval")
    assert approval["reason"] == "used"
    assert len(await world.rows("select * from worka.approval_vote")) == 1, "nobody was asked twice"
    assert list(world.host.effects.values()) == [1]
