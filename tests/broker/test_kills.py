"""A kill switch that is set while a call runs: its very next request does not leave, and a call that begins stays shut."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.broker.world import HOST, INJECT, World, code
from worka.governance import kills
from worka.governance import store as governance
from worka.kernel.errors import Problem
from worka.kernel.ids import new_id


async def stop(world: World, kind: str, subject: str, workspace_id: str | None = None) -> str:
    """Sets a kill switch, as its use case writes and answers it."""
    async with world.db.transaction(world.tenant_id) as conn:
        made = await governance.add_kill(
            conn,
            {
                "tenant_id": world.tenant_id, "id": new_id("kill"), "workspace_id": workspace_id, "kind": kind,
                "subject": subject, "reason": "a bad day", "receipt": {}, "set_by": "per_x", "set_by_name": "Ada",
                "by_operator": False, "by_owner": True,
            },
        )  # fmt: skip
    assert made is not None
    await asyncio.sleep(kills.SETTLE_SECONDS)
    return str(made["id"])


async def lift(world: World, kill_id: str) -> None:
    async with world.db.transaction(world.tenant_id) as conn:
        await governance.move_kill(conn, kill_id, "lifted", [], "per_x", "over")


@pytest.mark.capability("GOV-15", part="at the broker, for the very next request of a call that runs")
async def test_the_very_next_request_of_a_running_call_does_not_leave(world: World) -> None:
    await world.declare(HOST, connections=INJECT)
    await world.exempt(HOST, 443, world.outside.tracker)
    connection = await world.connect()
    box = await world.box()
    (row,) = await world.rows("select secret_id from worka.connection where id = %s", connection)
    subjects = {
        "release": world.release_id, "secret": row["secret_id"], "destination": HOST,
        "workspace": world.workspace_id, "tenant": world.tenant_id,
    }  # fmt: skip
    for kind, subject in subjects.items():
        async with box.invoking("write") as call:
            (running,) = await world.rows("select initiator_id from worka.invocation where id = %s", call.id)
            before = len(world.outside.requests)
            assert (await box.fetch(f"https://{HOST}/a"))["status"] == 200, f"the control: {kind}"
            kill_id = await stop(world, kind, subject)
            refused = await box.fetch(f"https://{HOST}/a")
            assert code(refused) == "killed", kind
            said = json.loads(refused["text"])
            assert "was stopped by Ada" in said["detail"]
            assert kill_id in said["remedy"]
            assert len(world.outside.requests) == before + 1, f"{kind}: it reached the outside"
            await lift(world, kill_id)
            member = await stop(world, "member", running["initiator_id"])
            assert code(await box.fetch(f"https://{HOST}/a")) == "killed", "who called it"
            await lift(world, member)
            assert (await box.fetch(f"https://{HOST}/a"))["status"] == 200, f"lifted: {kind}"
        assert call.ended["denied"]["reason"] == "killed"
        denied = [entry for entry in await world.egress(call.id) if entry["verdict"] == "denied"]
        assert {entry["reason"] for entry in denied} == {"killed"}
        assert f"kill/{kill_id}" in {entry["rule"] for entry in denied}


@pytest.mark.capability("GOV-15", part="at the broker, for a call that begins")
async def test_a_call_that_begins_under_a_kill_switch_has_no_network(world: World) -> None:
    await world.declare(HOST)
    await world.exempt(HOST, 443, world.outside.tracker)
    box = await world.box()
    kill_id = await stop(world, "release", world.release_id, world.workspace_id)
    with pytest.raises(Problem, match="was stopped by Ada") as refused:
        async with box.invoking():
            pass
    assert refused.value.problem_code == "killed"
    await lift(world, kill_id)
    async with box.invoking():
        assert (await box.fetch(f"https://{HOST}/a"))["status"] == 401, "the control: it is reached"
