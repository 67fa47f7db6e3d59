"""Kill switches: shown before, held from the very next call, explained, and lifted in stages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import worka.audit.actions
import worka.views.actions  # noqa: F401 - registers what a stopped tenant must not do
from tests.governance.test_layers import another_workspace, ask
from tests.support import processes
from tests.workspaces.world import TOOL, World, make
from worka import governance
from worka.governance import kills, service
from worka.governance.errors import AlreadyKilled, KillMoved, KillNotFound
from worka.kernel import actions
from worka.kernel.context import Resource
from worka.kernel.errors import Denied, Invalid

HOLDS = pytest.mark.capability(
    "GOV-15", part="for what a decision can see: release, secret, destination, member, workspace, tenant"
)
RELEASE = "rel_00000000000000000000000001"


def tool(world: World, place: str | None = None, **facts: Any) -> Resource:
    return Resource("tool", TOOL, place or world.workspace_id, {"side_effect": "read_only", **facts})


async def release(world: World, number: str = RELEASE, place: str = "") -> str:
    """A release of the tenant, as a row, registered in the workspace or in another one."""
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
            " created_by) values (%s, %s, %s, 'acme', 'notes', %s, '{\"outbound_domains\": [\"api.test\"]}',"
            " 'released', 'release_ready', 'test')",
            (world.tenant_id, number, place or world.workspace_id, f"1.0.{number[-1]}"),
        )
    return number


async def attach(world: World, number: str, place: str) -> str:
    """An attachment of it that serves, as a row."""
    from worka.kernel.ids import new_id

    attachment = new_id("att")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid, digest,"
            " created_by) values (%s, %s, %s, %s, 'acme.notes', 'pinned', 'attached', 'attachment_in_service', 1,"
            " 'd', 'test')",
            (world.tenant_id, attachment, place, number),
        )
    return attachment


async def stop(world: World, kind: str, subject: str, who: str = "owner", **fields: Any) -> dict[str, Any]:
    return await service.kill(
        world.ctx(who), world.workspace_id, kind, subject, "a bad day", fields.get("everywhere", False)
    )


async def verdict(world: World, resource: Resource, who: str = "member", action: str = "tool.invoke") -> str:
    return (await world.ctx(who).decide(action, resource)).verdict


@HOLDS
@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_stopped_thing_is_refused_from_the_next_call_on_and_nothing_else_is(
    world: World, everywhere: bool
) -> None:
    elsewhere = await another_workspace(world)
    number = await release(world)
    cases = {
        "release": (number, tool(world, release=number), tool(world, release="rel_other")),
        "destination": ("api.test", tool(world, host="api.test"), tool(world, host="other.test")),
        "member": (world.ids["member"], tool(world), None),
        "workspace": (world.workspace_id, tool(world), tool(world, elsewhere)),
    }
    for kind, (subject, hit, spared) in cases.items():
        assert await verdict(world, hit) == "allow", f"the control: {kind}"
        made = await stop(world, kind, subject, everywhere=everywhere)
        with pytest.raises(Denied, match=r"was stopped by owner .* a bad day") as refused:
            await world.ctx("member").require("tool.invoke", hit)
        assert made["id"] in refused.value.remedy
        if spared is not None:
            assert await verdict(world, spared) == "allow", kind
        else:
            assert await verdict(world, hit, "owner") == "allow", "another member"
        lifted = await service.lift(
            world.ctx("owner"), world.workspace_id, made["id"], "all", [], "over", skip_trial=True
        )
        assert lifted["state"] == "lifted"
        assert await verdict(world, hit) == "allow", kind


@HOLDS
async def test_in_one_workspace_it_does_not_hold_in_another_and_everywhere_it_does(world: World) -> None:
    elsewhere = await another_workspace(world)
    number = await release(world)
    here, there = tool(world, release=number), tool(world, elsewhere, release=number)
    made = await stop(world, "release", number)
    assert (await verdict(world, here), await verdict(world, there)) == ("deny", "allow")
    await service.lift(world.ctx("owner"), world.workspace_id, made["id"], "all", [], "over", True)
    await stop(world, "release", number, everywhere=True)
    assert (await verdict(world, here), await verdict(world, there)) == ("deny", "deny")


@HOLDS
async def test_a_stopped_member_does_nothing_and_nobody_does_anything_for_it(world: World) -> None:
    view = Resource("task", "t", world.workspace_id)
    assert await verdict(world, view, action="task.view") == "allow"
    await stop(world, "member", world.ids["member"])
    assert await verdict(world, view, action="task.view") == "deny", "not even looking"
    behind = world.ctx("robot", behind="member")
    assert (await behind.decide("tool.invoke", tool(world))).verdict == "deny", "its AI team member, for it"
    assert (await world.ctx("robot", behind="owner").decide("tool.invoke", tool(world, name=TOOL))).verdict == "allow"
    made = await stop(world, "member", world.ids["robot"])
    assert (await world.ctx("robot", behind="owner").decide("tool.invoke", tool(world))).verdict == "deny"
    assert made["sentence"].startswith(f"The member {world.ids['robot']} was stopped by owner")


@HOLDS
async def test_a_stopped_tenant_can_still_be_looked_at_and_cleared_up(world: World) -> None:
    made = await stop(world, "tenant", world.tenant_id)
    acting, going = set(), set()
    for action in actions.all_actions():
        name = world.workspace_id if action.resource_type == "workspace" else "thing"
        if action.resource_type in ("policy", "tenant"):
            continue
        decision = await world.ctx("owner").decide(
            action.name, Resource(action.resource_type, name, world.workspace_id)
        )
        if decision.rules == (f"kill/{made['id']}",):
            acting.add(action.name)
        elif decision.verdict != "deny":
            going.add(action.name)
    assert acting >= {"task.create", "tool.invoke", "pack.attach", "connection.create", "secret.grant", "member.invite",
                      "secret.create", "pack.register", "view.publish", "network_exception.create", "token.create"}  # fmt: skip
    assert going >= {"task.view", "task.cancel", "secret.revoke", "connection.remove", "member.remove", "pack.detach",
                     "pack.quarantine", "approval.decide", "audit.export", "decision.view", "kill.set"}  # fmt: skip
    await service.lift(world.ctx("owner"), world.workspace_id, made["id"], "all", [], "over", True)
    assert await verdict(world, tool(world)) == "allow"


@pytest.mark.capability("GOV-14", part="workspaces, attachments, tasks and calls under way; no services or shares yet")
async def test_what_it_touches_is_shown_before_and_kept_as_its_receipt(world: World) -> None:
    elsewhere = await another_workspace(world)
    number, other = await release(world), await release(world, RELEASE[:-1] + "2")
    mine = [await attach(world, number, world.workspace_id), await attach(world, number, elsewhere)]
    await attach(world, other, elsewhere)
    before = await service.preview_kill(world.ctx("owner"), world.workspace_id, "release", number, True)
    assert (before["name"], before["workspaces"]) == ("acme.notes 1.0.1", sorted([world.workspace_id, elsewhere]))
    assert {row["id"] for row in before["attachments"]} == set(mine)
    here = await service.preview_kill(world.ctx("viewer"), world.workspace_id, "release", number, False)
    assert [row["id"] for row in here["attachments"]] == [mine[0]], "in this workspace"
    host = await service.preview_kill(world.ctx("owner"), world.workspace_id, "destination", "API.test:443", True)
    assert len(host["attachments"]) == 3
    assert await verdict(world, tool(world, release=number)) == "allow", "nothing was stopped"
    made = await stop(world, "release", number, everywhere=True)
    assert {row["id"] for row in made["receipt"]["attachments"]} == set(mine)
    (event,) = await world.events("kill.set")
    counts = {"workspaces": 2, "attachments": 2, "tasks": 0, "calls": 0}
    assert event["data"] == {"receipt": {"id": made["id"], **counts}}, "how much; what it was stands in the receipt"


@pytest.mark.capability("GOV-15", part="the staged lift, and its record")
async def test_it_is_lifted_for_some_on_trial_before_it_is_for_all(world: World) -> None:
    elsewhere = await another_workspace(world)
    number = await release(world)
    here, there = tool(world, release=number), tool(world, elsewhere, release=number)
    made = await stop(world, "release", number, everywhere=True)

    async def lift(stage: str, exempt: list[str], skip: bool = False) -> dict[str, Any]:
        return await service.lift(world.ctx("owner"), world.workspace_id, made["id"], stage, exempt, "mended", skip)

    with pytest.raises(KillMoved, match="on trial"):
        await lift("all", [])
    with pytest.raises(Invalid, match="names the workspaces"):
        await lift("trial", [])
    trial = await lift("trial", [elsewhere])
    assert (trial["state"], trial["exempt"]) == ("trial", [elsewhere])
    assert (await verdict(world, here), await verdict(world, there)) == ("deny", "allow")
    for stage in ("all", "none"):
        with pytest.raises(Invalid, match="for all"):
            await lift(stage, [elsewhere])
    assert await verdict(world, here) == "deny", "who named somebody meant no lift for all"
    back = await lift("none", [])
    assert (back["state"], await verdict(world, there)) == ("on", "deny")
    await lift("trial", [world.ids["owner"]])
    assert (await verdict(world, here), await verdict(world, here, "owner")) == ("deny", "allow"), "one member"
    assert (await lift("all", []))["state"] == "lifted"
    assert await verdict(world, here) == "allow"
    with pytest.raises(KillMoved):
        await lift("all", [])
    moves = [(event["before"]["state"], event["after"]["state"]) for event in await world.events("kill.moved")]
    assert moves == [("on", "trial"), ("trial", "on"), ("on", "trial")]
    (lifted,) = await world.events("kill.lifted")
    assert (lifted["actor_id"], lifted["after"]["why"]) == (world.ids["owner"], "mended")
    assert (await stop(world, "release", number, everywhere=True))["state"] == "on", "it can be set again"


@HOLDS
async def test_who_may_stop_and_lift_is_who_manages_the_place(world: World) -> None:
    number = await release(world)
    for who in ("member", "viewer", "approver", "stranger"):
        with pytest.raises(Denied):
            await stop(world, "release", number, who=who)
    made = await stop(world, "release", number, who="admin")
    with pytest.raises(AlreadyKilled):
        await stop(world, "release", number)
    for who in ("member", "viewer"):
        with pytest.raises(Denied):
            await service.lift(world.ctx(who), world.workspace_id, made["id"], "all", [], "r", True)
    await service.lift(world.ctx("admin"), world.workspace_id, made["id"], "all", [], "r", True)
    with pytest.raises(Denied):
        await stop(world, "release", number, who="admin", everywhere=True)
    with pytest.raises(Denied):
        await stop(world, "tenant", world.tenant_id, who="admin")
    with pytest.raises(Invalid, match="Nobody stops themselves"):
        await stop(world, "member", world.ids["owner"])
    for bad in ("", "http://x", "a..b", "x" * 300, "*"):
        with pytest.raises(Invalid):
            await stop(world, "destination", bad)
    with pytest.raises(Invalid):
        await service.kill(world.ctx("owner"), world.workspace_id, "release", number, "  ", False)


async def test_a_rule_that_asks_before_a_kill_switch_is_not_passed_over(world: World) -> None:
    text = ask("asks", "approve:1").replace('action == Worka::Action::"tool.invoke"', "action").replace(
        ";", ' when { resource is Worka::Workspace && principal.roles.contains("admin") };'
    )  # fmt: skip
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    with pytest.raises(Denied, match="cannot wait"):
        await stop(world, "workspace", world.workspace_id, who="admin")
    assert await world.rows("kill") == []
    assert (await stop(world, "workspace", world.workspace_id))["state"] == "on", "the control: whom it spares"


@pytest.mark.capability("GOV-15", part="by the deployment's operator")
async def test_what_the_operator_stopped_nobody_of_the_tenant_lifts(world: World) -> None:
    with pytest.raises(Denied):
        await service.kill_in_tenant(world.ctx("owner"), world.tenant_id, "tenant", world.tenant_id, "abuse")
    made = await service.kill_in_tenant(world.ctx("operator"), world.tenant_id, "tenant", world.tenant_id, "abuse")
    assert await verdict(world, tool(world)) == "deny"
    with pytest.raises(Denied, match="operator set it"):
        await service.lift(world.ctx("owner"), world.workspace_id, made["id"], "all", [], "please", True)
    lifted = await service.lift_in_tenant(
        world.ctx("operator"), world.tenant_id, made["id"], "all", [], "they mended it", True
    )
    assert lifted["state"] == "lifted"
    assert await verdict(world, tool(world)) == "allow"
    with pytest.raises(KillNotFound):
        await service.kill_in_tenant(world.ctx("operator"), "ten_nowhere", "tenant", world.tenant_id, "abuse")


@pytest.mark.capability("DEP-10", part="kill switches")
async def test_another_tenant_neither_sees_nor_stops_nor_lifts(world: World) -> None:
    other = await make(world.db, world.settings.home)
    number = await release(world)
    made = await stop(world, "release", number)
    assert await service.list_kills(other.ctx("owner"), other.workspace_id, None, 50) == []
    for kind, subject in (("release", number), ("member", world.ids["member"]), ("workspace", world.workspace_id)):
        with pytest.raises(KillNotFound):
            await stop(other, kind, subject)
    with pytest.raises(KillNotFound):
        await service.lift(other.ctx("owner"), other.workspace_id, made["id"], "all", [], "r", True)
    with pytest.raises(KillNotFound):
        await service.show_kill(other.ctx("owner"), other.workspace_id, made["id"])
    assert (await other.ctx("member").decide("tool.invoke", tool(other, release=number))).verdict == "allow"
    assert (await service.show_kill(world.ctx("viewer"), world.workspace_id, made["id"]))["state"] == "on"


@pytest.mark.capability("GOV-15", part="the explanation")
async def test_a_stopped_call_explains_who_stopped_it_when_why_and_who_can_lift_it(world: World) -> None:
    made = await stop(world, "workspace", world.workspace_id)
    decision = await world.ctx("member").decide("tool.invoke", tool(world))
    for reader in ("member", "owner"):
        told = await governance.explain.explain(world.ctx(reader), decision.id)
        assert (told.reason, told.layer, told.state) == ("killed", "governance", "deny")
        assert "was stopped by owner at" in told.headline
        assert told.headline.endswith("a bad day")
        assert told.next[0].label == f"An owner or admin of the workspace can lift it: worka kill lift {made['id']}"
    shown = await service.decision(world.ctx("member"), decision.id)
    assert shown["killed_by"] == made["id"]


CALLER = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import TOOL, World
from worka.kernel.context import Resource
from worka.kernel.db import Database
from worka.kernel.settings import Settings

async def main():
    given = json.loads(sys.stdin.readline())
    db = Database(given["dsn"], "caller"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    for line in sys.stdin:
        resource = Resource("tool", TOOL, world.workspace_id, {"side_effect": "read_only"})
        print((await world.ctx("member").decide("tool.invoke", resource)).verdict, flush=True)
    await db.close()

asyncio.run(main())
"""


@pytest.mark.capability("GOV-15", part="in another process, at its very next call")
async def test_another_process_with_warm_caches_refuses_its_very_next_call(world: World, cluster: Any) -> None:
    child = await processes.start(CALLER)
    assert child.stdin is not None
    assert child.stdout is not None
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id,
        "workspace": world.workspace_id, "ids": world.ids,
    }  # fmt: skip
    child.stdin.write(json.dumps(given).encode() + b"\n")

    async def once() -> str:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"go\n")
        await child.stdin.drain()
        return (await asyncio.wait_for(child.stdout.readline(), 30)).decode().strip()

    assert await once() == "allow"
    for _ in range(5):
        made = await stop(world, "workspace", world.workspace_id)
        assert await once() == "deny"
        await service.lift(world.ctx("owner"), world.workspace_id, made["id"], "all", [], "over", True)
        assert await once() == "allow"
    child.stdin.close()
    assert await child.wait() == 0


def test_a_destination_stops_itself_its_port_or_all_below_it() -> None:
    for subject, place, hit in (
        ("api.test", "api.test:443", True), ("api.test", "api.test", True), ("api.test", "x.api.test:443", False),
        ("api.test:443", "api.test:443", True), ("api.test:443", "api.test:80", False), ("api.test:443", "api.test", True),
        ("*.api.test", "x.api.test:1", True), ("*.api.test", "api.test", False), ("api.test", "api.test.evil:1", False),
    ):  # fmt: skip
        assert kills.covers(subject, place) is hit, (subject, place)
