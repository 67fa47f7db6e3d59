"""A revocation holds for the very next call, in another process with warm caches: random orders, judged by a model.

The long form: `ORDERS=10000 make test ARGS="tests/authorization/test_orders.py"`.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.authorization.orders import PEOPLE, Child, play
from tests.workspaces.world import World

ORDERS = int(os.environ.get("ORDERS", "600"))


@pytest.mark.timeout(max(120, ORDERS // 20))
@pytest.mark.capability("AUT-1", part="no stale allow over two processes, in random orders of grant, revoke and check")
@pytest.mark.capability("AUT-5", part="a tool taken away, in random orders over two processes")
async def test_no_order_of_grants_and_revocations_over_two_processes_leaves_a_stale_answer(
    world: World, cluster: Any
) -> None:
    for name in PEOPLE:
        await world.person(name)
    children = [await Child.start(cluster.urls.app, world) for _ in range(2)]
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(4))
    try:
        counts = await play(children, seed, ORDERS)
    finally:
        for one in children:
            await one.stop()
    print(f"seed {seed}: {counts}")
    assert counts["changes"] > ORDERS // 10
    assert counts["during"] > ORDERS // 50
    assert ORDERS // 20 < counts["allowed"] < counts["checks"] - ORDERS // 20, "both answers were met often"


@pytest.mark.capability("IDN-10", "IDN-12", part="a downgrade holds for the very next call in another process")
async def test_a_downgrade_holds_for_the_very_next_call_in_another_process(world: World, cluster: Any) -> None:
    for name in PEOPLE:
        await world.person(name)
    children = [await Child.start(cluster.urls.app, world) for _ in range(2)]
    one, other = children

    async def said(child: Child, **order: Any) -> str:
        child.send({"behind": None, **order})
        return await child.answer()

    invite = {"do": "check", "who": "ann", "action": "member.invite"}
    try:
        await said(one, do="role", who="ann", joins=True, role="admin", approver=False)
        for child in children:
            assert await said(child, **invite) == "allow", "warm"
        for round_ in range(20):
            giver, asker = (one, other) if round_ % 2 else (other, one)
            await said(giver, do="role", who="ann", joins=False, role="viewer", approver=False)
            assert await said(asker, **invite) == "deny", round_
            await said(giver, do="role", who="ann", joins=False, role="admin", approver=False)
            assert await said(asker, **invite) == "allow", round_
        await said(one, do="access", forbid="member.invite")
        assert await said(other, **invite) == "deny", "the policy of a moment ago"
        await said(other, do="access", forbid="")
        assert await said(one, **invite) == "allow"
    finally:
        for child in children:
            await child.stop()
