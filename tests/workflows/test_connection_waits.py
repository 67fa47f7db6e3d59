"""A step that has no account outside to act with waits for it by name, and goes on by itself once there is one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.workflows.connecting import HOST, connection_row, needs_connection
from tests.workflows.test_tasks import LOG
from tests.workflows.world import World
from worka.approvals import service as approvals
from worka.connections import service as connections
from worka.connections import store
from worka.observability import service as observability
from worka.packs import service as packs
from worka.workflows import explain
from worka.workflows import jobs as workflows

pytestmark = pytest.mark.timeout(120)
PLAIN = {**LOG, "arguments": {}}


async def connect(world: World, **words: Any) -> str:
    """Asks for a connection to the outside, and has it approved."""
    given = {
        "provider": "outside",
        "name": "Issues",
        "host": HOST,
        "access": "read",
        "metadata": {},
        "why": "",
        **words,
    }
    made = await connections.create(world.ctx(world.owner), world.workspace_id, **given)
    ctx = world.ctx(world.approver)
    card = await approvals.show(ctx, made["approval_id"])
    await approvals.decide(ctx, made["approval_id"], "approve", card["digest"], "")
    return str(made["id"])


@pytest.mark.capability("TSK-8", part="connection")
@pytest.mark.capability("CON-8", "CON-5")
async def test_a_step_without_its_connection_waits_by_name_and_goes_on_by_itself_when_it_is_connected(
    world: World,
) -> None:
    await needs_connection(world)
    world.work()
    task_id = await world.start([PLAIN])
    task = await world.until(task_id, "waiting")
    assert task["reason"] == "connection_missing"
    (wait,) = task["waits"]
    assert (wait["kind"], wait["name"]) == ("connection", f"outside at {HOST}:443")
    assert world.host.calls == [], "the pack was not called"
    owner = await explain.explain(world.ctx(world.owner), task_id)
    viewer = await explain.explain(world.ctx(world.viewer), task_id)
    assert (owner.layer, owner.incident_class) == ("connection", "connection")
    assert f"the connection “outside at {HOST}:443”" in owner.headline
    assert [(item.kind, item.you_can) for item in owner.waiting_on] == [("connection", True)]
    assert [(item.kind, item.you_can) for item in viewer.waiting_on] == [("connection", False)]
    assert viewer.waiting_on[0].because
    assert owner.next[0].command == f"worka connection create outside --host {HOST}"
    seen = await observability.attention(world.ctx(world.owner))
    (row,) = [item for item in seen["items"] if item["ref"] == task_id]
    assert "waits for a connection that is not there" in row["headline"]

    await connect(world)
    await world.until(task_id, "succeeded")
    events = await world.rows("select type, cause from worka.event where subject = %s order by id", task_id)
    assert any(event["type"] == "workflow.task.resumed" and event["cause"]["kind"] == "connection" for event in events)


@pytest.mark.capability("CON-8", "TSK-8", part="connection")
@pytest.mark.parametrize(("state", "reason"), [("expired", "credential_expired"), ("broken", "refresh_refused")])
async def test_a_step_whose_connection_is_expired_or_broken_says_so_and_which(
    world: World, state: str, reason: str
) -> None:
    await needs_connection(world)
    there = await connection_row(world, state, reason, kind="oauth_code")
    world.work()
    task_id = await world.start([PLAIN])
    task = await world.until(task_id, "waiting")
    assert (task["reason"], task["waits"][0]["ref"]) == (f"connection_{state}", there)
    said = await explain.explain(world.ctx(world.owner), task_id)
    assert said.next[0].command == f"worka connection authorize {there}"
    # It is mended, as a consent or a renewal does it.
    ctx = world.runtime.platform_context(world.tenant_id)
    async with ctx.transaction() as conn:
        await store.move(conn, there, "active", "connection_in_service")
        await ctx.publish("connection.activated", {"connection_id": there, "workspace_id": world.workspace_id})
    await world.until(task_id, "succeeded")


@pytest.mark.capability("TRE-16", part="a task waits for the account of who it is made for")
async def test_another_persons_account_does_not_serve_a_task(world: World) -> None:
    await needs_connection(world)
    await connection_row(world, person=world.approver)
    world.work()
    task_id = await world.start([PLAIN])
    assert (await world.until(task_id, "waiting"))["reason"] == "connection_missing"
    mine = await connection_row(world, person=world.owner)
    ctx = world.runtime.platform_context(world.tenant_id)
    async with ctx.transaction():
        await ctx.publish("connection.activated", {"connection_id": mine, "workspace_id": world.workspace_id})
    await world.until(task_id, "succeeded")


@pytest.mark.capability("CON-8", part="one of one's own that is broken is not replaced by another account")
async def test_a_broken_account_of_ones_own_is_not_replaced_by_the_workspaces(world: World) -> None:
    await needs_connection(world)
    await connection_row(world)
    mine = await connection_row(world, "broken", "refresh_refused", person=world.owner)
    world.work()
    task_id = await world.start([PLAIN])
    task = await world.until(task_id, "waiting")
    assert (task["reason"], task["waits"][0]["ref"]) == ("connection_broken", mine)


async def test_a_connection_that_is_made_while_a_step_is_about_to_wait_is_not_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects holds the lock while the step looks again: the wait is there before the look for waits, or the step
    sees the connection."""
    await needs_connection(world)
    world.work()
    tasks = [await world.start([PLAIN]) for _ in range(6)]
    await asyncio.sleep(0.2)
    await connect(world)
    for task_id in tasks:
        await world.until(task_id, "succeeded")
    assert workflows.on_connection_activated


@pytest.mark.capability("CON-8", part="a call outside of a task")
async def test_a_call_without_its_connection_waits_under_its_key(world: World) -> None:
    await needs_connection(world)
    ctx = world.ctx(world.owner)
    status, told = await packs.call(ctx, "test.box.log", {}, "my-key")
    assert (status, told["status"], told["reason"]) == (202, "waiting_for_connection", "connection_missing")
    assert world.host.calls == []
    await connect(world)
    status, told = await packs.call(world.ctx(world.owner), "test.box.log", {}, "my-key")
    assert (status, told["status"]) == (200, "succeeded")


async def test_what_is_not_required_is_not_waited_for(world: World) -> None:
    await needs_connection(world, required=False)
    world.work()
    task_id = await world.start([PLAIN])
    await world.until(task_id, "succeeded")
