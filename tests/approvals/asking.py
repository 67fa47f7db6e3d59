"""Asking for consent by a rule of one's choice, and whoever is needed to decide."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from tests.workspaces.world import TOOL, World
from worka.approvals import groups, jobs, service, store
from worka.kernel.clock import now

ARGUMENTS = {"title": "Notes 42", "body": "the exact text"}
Row = dict[str, Any]


async def asked(world: World, *rules: str, who: str = "robot", behind: str | None = "member", **changes: Any) -> Row:
    """An approval by these rules. Without further words the member's robot asks, on the member's behalf."""
    ctx = world.ctx(who, behind=behind) if who.startswith("robot") else world.ctx(who)
    number = changes.pop("number", 1)
    given = {
        "boundary": "tool.external_side_effect",
        "action": "tool.invoke",
        "subject_type": "step",
        "subject_id": f"step_{number}",
        "title": f"Publish notes {number}",
        "effect": "Creates a page at tracker.worka.test",
        "digest": f"digest-{number}",
        "card": {"tool": TOOL, "host": "tracker.worka.test"},
        "arguments": json.dumps(ARGUMENTS).encode(),
        "rules": list(rules) or ["approve:1"],
        "decision_id": "dec_x",
        "policy_version": "p",
        "blocks": [{"kind": "task", "id": "task_1", "name": "Release notes"}],
    }
    async with ctx.transaction():
        row = await service.request(ctx, **{**given, **changes})
    return row_like(row, await row_of(world, row["id"]))


def row_like(first: Row, now_is: Row) -> Row:
    """What was asked for, as it is after the commit."""
    return {**first, **now_is}


async def row_of(world: World, approval_id: str) -> Row:
    (row,) = await world.rows("approval", "id = %s", approval_id)
    return row


async def say(world: World, who: str, approval: Row, decision: str = "approve", **how: Any) -> Row:
    """Somebody decides what they have read."""
    return await service.decide(world.ctx(who), approval["id"], decision, approval["digest"], **how)


async def join(world: World, name: str, role: str = "viewer", approver: bool = True) -> str:
    """One more person of the workspace, a named approver unless said otherwise."""
    await world.person(name)
    await world.join(name, role, approver)
    return world.ids[name]


async def group(world: World, name: str, *people: str) -> Row:
    """A group of the workspace with these people."""
    ids = [world.ids[person] for person in people]
    return await groups.create(world.ctx("owner"), world.workspace_id, name, "", ids)


def later(**span: float) -> Any:
    """A time to come."""
    return now() + timedelta(**span)


async def make_older(world: World, approval_id: str, minutes: float) -> None:
    """As if it had been asked, and its next step had been due, that much earlier."""
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.approval set created_at = created_at - make_interval(secs => %s),"
            " due_at = due_at - make_interval(secs => %s), expires_at = expires_at where id = %s",
            (minutes * 60, minutes * 60, approval_id),
        )


async def sweep(world: World) -> int:
    """What the worker does every few seconds."""
    return await jobs.remind_due(world.nobody())


async def due_at(world: World, approval_id: str) -> Any:
    async with world.db.transaction(world.tenant_id) as conn:
        row = await store.get(conn, approval_id)
    assert row is not None
    return row["due_at"]
