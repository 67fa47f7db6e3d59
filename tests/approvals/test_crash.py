"""A process killed at each failpoint of an approval: the decision and what it resumes are both there, or neither."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.approvals.test_approvals import approved, ask, digest, row_of
from tests.support import processes
from tests.workspaces.world import World

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import World
from tests.approvals.test_approvals import ask, digest
from worka.approvals import service
from worka.kernel.db import Database
from worka.kernel.settings import Settings

async def resume(ctx, payload):
    await ctx.conn.execute(
        "insert into worka.outbox (tenant_id, id, topic, payload) values (%s, %s, 'resumed', '{}')",
        (ctx.tenant_id, payload["approval_id"]),
    )

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    world.subscribers.on("approval.decided", resume)
    if given["do"] == "decide":
        await service.decide(world.ctx("approver"), given["approval"], "approve", given["digest"])
    elif given["do"] == "consume":
        await service.consume(world.ctx("robot", behind="member"), given["approval"], "key-1")
    else:
        await ask(world)
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


async def run(world: World, cluster: Any, do: str, approval: dict[str, Any] | None, failpoint: str | None) -> int:
    """Runs one use case in a process of its own; returns how that ended."""
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id,
        "workspace": world.workspace_id, "ids": world.ids, "do": do,
        "approval": approval["id"] if approval else None, "digest": approval["digest"] if approval else None,
    }  # fmt: skip
    return await processes.ran(PROGRAM, given, failpoint)


@pytest.mark.faults
@pytest.mark.capability("APR-9", part="a kill around the decision's commit")
@pytest.mark.parametrize(
    ("failpoint", "decided"), [("approval.decided.before_commit", False), ("approval.decided.after_commit", True)]
)
async def test_a_kill_around_the_decision_leaves_both_or_neither(
    world: World, cluster: Any, failpoint: str, decided: bool
) -> None:
    approval = await ask(world)
    assert await run(world, cluster, "decide", approval, failpoint) == -signal.SIGKILL
    assert (await row_of(world, approval))["state"] == ("approved" if decided else "open")
    assert (
        len(await world.rows("approval_vote")) == len(await world.rows("outbox", "topic = 'resumed'")) == int(decided)
    )
    assert len(await world.events("approval.approved")) == int(decided)
    if not decided:
        assert await run(world, cluster, "decide", approval, None) == 0
        assert (await row_of(world, approval))["state"] == "approved"
        assert len(await world.rows("outbox", "topic = 'resumed'")) == 1


@pytest.mark.faults
@pytest.mark.capability("APR-10", part="a kill before the use is committed is no use")
async def test_a_kill_before_the_use_is_committed_is_no_use(world: World, cluster: Any) -> None:
    approval = await approved(world)
    assert await run(world, cluster, "consume", approval, "approval.consumed.before_commit") == -signal.SIGKILL
    assert (await row_of(world, approval))["consumed_at"] is None
    assert await run(world, cluster, "consume", approval, None) == 0
    assert (await row_of(world, approval))["consumed_by"] == "key-1"


@pytest.mark.faults
async def test_a_kill_before_the_request_is_committed_leaves_nothing(world: World, cluster: Any) -> None:
    assert await run(world, cluster, "ask", None, "approval.requested.before_commit") == -signal.SIGKILL
    assert await world.rows("approval") == []
    assert await run(world, cluster, "ask", None, None) == 0
    (row,) = await world.rows("approval")
    assert row["digest"] == digest(world)
