"""Kill switches: who is shown what one touches, who stops whom, and the one way out of a stopped owner."""

from __future__ import annotations

from typing import Any

import pytest

from tests.governance.test_kills import HOLDS, attach, release, stop, tool, verdict
from tests.governance.test_layers import another_workspace
from tests.governance.test_recorded_roles import call
from tests.workspaces.world import World, refusal
from worka.governance import service
from worka.governance.errors import KillNotFound
from worka.kernel.errors import Denied
from worka.workspaces import service as workspaces


@pytest.mark.capability("GOV-14", part="workspaces, attachments, tasks and calls under way; no services or shares yet")
async def test_who_cannot_stop_it_in_the_whole_tenant_is_shown_this_workspace_alone(world: World) -> None:
    elsewhere = await another_workspace(world)
    number = await release(world)
    mine, other = await attach(world, number, world.workspace_id), await attach(world, number, elsewhere)
    calls = [
        await call(world, number, mine, state="running"),
        await call(world, number, other, state="running", place=elsewhere),
    ]
    targets = [("release", number, True), ("tenant", world.tenant_id, False), ("workspace", elsewhere, True)]
    for kind, subject, everywhere in targets:
        for who in ("viewer", "admin"):
            with pytest.raises(Denied, match="is not shown what that would touch in the whole tenant"):
                await service.preview_kill(world.ctx(who), world.workspace_id, kind, subject, everywhere)
        shown = await service.preview_kill(world.ctx("owner"), world.workspace_id, kind, subject, everywhere)
        assert other in [row["id"] for row in shown["attachments"]], "the control: who could set it"
        assert calls[1] in [row["id"] for row in shown["recorded"]["calls"]]
    here = await service.preview_kill(world.ctx("viewer"), world.workspace_id, "release", number, False)
    assert [row["id"] for row in here["attachments"]] == [mine]
    assert [row["id"] for row in here["recorded"]["calls"]] == calls[:1]

    made = await stop(world, "release", number, everywhere=True)
    assert set(made["receipt"]["calls"]) == set(calls)
    for who, places, ids, running in (
        ("viewer", [world.workspace_id], {mine}, set(calls[:1])),
        ("admin", [world.workspace_id], {mine}, set(calls[:1])),
        ("owner", sorted([world.workspace_id, elsewhere]), {mine, other}, set(calls)),
    ):
        for row in (
            (await service.list_kills(world.ctx(who), world.workspace_id, None, 50))[0],
            await service.show_kill(world.ctx(who), world.workspace_id, made["id"]),
        ):
            assert (row["receipt"]["workspaces"], {one["id"] for one in row["receipt"]["attachments"]}) == (places, ids)
            assert set(row["receipt"]["calls"]) == running, who
            assert row["receipt_cut"] is (who != "owner")


@pytest.mark.capability("AUT-1", part="kill switches: who may not is told nothing of what there is")
async def test_who_may_not_stop_it_is_refused_alike_whether_it_is_there_or_not(world: World) -> None:
    number = await release(world)
    for kind, there, nowhere in (
        ("release", number, "rel_00000000000000000000000009"),
        ("workspace", await another_workspace(world), "ws_00000000000000000000000009"),
        ("secret", "sec_00000000000000000000000009", "nothing"),
        ("member", world.ids["robot"], "tmb_00000000000000000000000009"),
    ):
        for who, everywhere in (("viewer", False), ("viewer", True), ("admin", True)):
            for subject in (there, nowhere):
                assert await refusal(stop(world, kind, subject, who=who, everywhere=everywhere)) == "denied"
        with pytest.raises(KillNotFound):
            await stop(world, kind, nowhere, everywhere=True)
    assert (await stop(world, "release", number, everywhere=True))["state"] == "on", "the control: its owner"


@HOLDS
async def test_only_an_owner_stops_an_owner(world: World) -> None:
    await world.person("second")
    await world.join("second", "owner")
    with pytest.raises(Denied, match="Only an owner"):
        await stop(world, "member", world.ids["owner"], who="admin")
    assert await world.rows("kill") == []
    assert await verdict(world, tool(world), "owner") == "allow"
    made = await stop(world, "member", world.ids["member"], who="admin")
    assert await verdict(world, tool(world)) == "deny", "the control: an admin stops whom an admin may remove"
    await service.lift(world.ctx("admin"), world.workspace_id, made["id"], "all", [], "over", True)
    await stop(world, "member", world.ids["second"])
    assert await verdict(world, tool(world), "second") == "deny", "the control: an owner stops an owner"


@HOLDS
async def test_an_owner_whom_somebody_else_stopped_lifts_that_and_what_an_owner_stopped_stays(world: World) -> None:
    by_admin = await stop(world, "member", world.ids["member"], who="admin")
    with pytest.raises(Denied, match="was stopped by admin"):
        await service.list_kills(world.ctx("member"), world.workspace_id, None, 50)
    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["member"], "owner", None)
    by_owner = await stop(world, "workspace", world.workspace_id)

    async def lift(kill_id: str) -> dict[str, Any]:
        return await service.lift(world.ctx("member"), world.workspace_id, kill_id, "all", [], "mine", True)

    seen = await service.list_kills(world.ctx("member"), world.workspace_id, None, 50)
    assert {row["id"] for row in seen} == {by_admin["id"], by_owner["id"]}
    with pytest.raises(Denied, match="was stopped by admin"):
        await lift(by_owner["id"])
    for kind, subject in (("member", world.ids["admin"]), ("destination", "api.test")):
        with pytest.raises(Denied, match="was stopped by admin"):
            await stop(world, kind, subject, who="member")
    assert await verdict(world, tool(world)) == "deny"
    assert (await lift(by_admin["id"]))["state"] == "lifted", "the control"

    stopped = await stop(world, "member", world.ids["member"])
    with pytest.raises(Denied, match="was stopped by owner"):
        await lift(stopped["id"])
    with pytest.raises(Denied, match="was stopped by owner"):
        await service.show_kill(world.ctx("member"), world.workspace_id, stopped["id"])
    operators = await service.kill_in_tenant(
        world.ctx("operator"), world.tenant_id, "member", world.ids["owner"], "abuse"
    )
    with pytest.raises(Denied, match="was stopped by operator"):
        await service.lift(world.ctx("owner"), world.workspace_id, operators["id"], "all", [], "please", True)
