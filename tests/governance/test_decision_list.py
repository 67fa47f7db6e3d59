"""Recorded decisions: listed whole for their two readers, and evaluated again with the policy of their day."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import pytest

import worka.api.app  # noqa: F401 - registers all that can be asked about
from tests.workspaces.world import TOOL, World
from worka import authorization
from worka.governance import decisions, service
from worka.governance.errors import DecisionNotFound
from worka.kernel.context import Resource
from worka.kernel.errors import Denied

WRITING = """@id("no-writing") @verdict("deny") @reason("No writing.")
forbid(principal, action == Worka::Action::"tool.invoke", resource)
when { context has side_effect && context.side_effect == "write" };"""


def tool(world: World, side_effect: str) -> Resource:
    return Resource("tool", TOOL, world.workspace_id, {"side_effect": side_effect})


async def listed(world: World, who: str, **filters: Any) -> list[dict[str, Any]]:
    """Every row, three by three."""
    wanted = {"verdict": None, "action": None, "principal": None, **filters}
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page = await decisions.listing(world.ctx(who), world.workspace_id, **wanted, after=after, limit=3)
        rows += page[:3]
        if len(page) < 4:
            return rows
        after = page[2]["id"]


@pytest.mark.capability(
    "AUT-12", part="recorded decisions are listed whole, page by page, by verdict, action and principal"
)
async def test_decisions_are_listed_whole_and_found_by_verdict_action_and_principal(world: World) -> None:
    made = []
    for who in ("member", "viewer"):
        for effect in ("read_only", "external_side_effect", "destructive"):
            for _ in range(3):
                made.append(await world.ctx(who).decide("tool.invoke", tool(world, effect)))
    made.append(await world.ctx("robot", behind="member").decide("tool.invoke", tool(world, "read_only")))
    everything = await listed(world, "admin")
    assert [row["id"] for row in everything] == sorted((one.id for one in made), reverse=True)
    for verdict in ("allow", "deny", "ask"):
        wanted = {one.id for one in made if one.verdict == verdict}
        assert wanted
        assert {row["id"] for row in await listed(world, "owner", verdict=verdict)} == wanted
    viewers = await listed(world, "owner", principal=world.ids["viewer"])
    assert {row["principal_id"] for row in viewers} == {world.ids["viewer"]}
    assert len(viewers) == 9
    behind = await listed(world, "owner", principal=world.ids["member"])
    assert len(behind) == 10, "what was done on somebody's behalf is theirs too"
    assert await listed(world, "owner", action="task.create") == []
    assert len(await listed(world, "owner", action="tool.invoke", verdict="ask")) == 3


async def test_who_reads_no_evidence_sees_what_concerns_them_and_no_rules(world: World) -> None:
    for who in ("member", "viewer"):
        await world.ctx(who).decide("tool.invoke", tool(world, "read_only"))
    (mine,) = await listed(world, "viewer")
    assert (mine["verdict"], mine["reader"]) == ("deny", "concerned")
    assert not {"rules", "principal_id", "resource_id"} & set(mine)
    assert {row["reader"] for row in await listed(world, "admin")} == {"evidence"}
    with pytest.raises(Denied):
        await listed(world, "stranger")


@pytest.mark.capability("AUT-10", part="replayed from a list, with the access set and the policies of that day")
async def test_a_decision_is_replayed_with_the_policy_of_its_day_though_everything_changed_since(world: World) -> None:
    before = await world.ctx("member").decide("tool.invoke", tool(world, "write"))
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", WRITING, "")
    after = await world.ctx("member").decide("tool.invoke", tool(world, "write"))
    from worka.workspaces import service as workspaces

    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["member"], "viewer", None)
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", "", "")
    for decision, verdict in ((before, "allow"), (after, "deny")):
        again = await decisions.replayed(world.ctx("admin"), decision.id)
        assert (again["verdict"], again["same"], again["could_not_reconstruct"]) == (verdict, True, None)
        assert again["rules"] == again["recorded"]["rules"] == list(decision.rules)
    now = await world.ctx("member").decide("tool.invoke", tool(world, "read_only"))
    assert now.verdict == "deny", "the control: today's answer is another"


@pytest.mark.capability("AUT-10", part="a decision of an older shipped set")
async def test_a_decision_of_an_older_shipped_set_is_evaluated_with_that_one(world: World) -> None:
    decision = await world.ctx("member").decide("tool.invoke", tool(world, "write"))
    (row,) = await world.rows("decision", "id = %s", decision.id)
    assert row["access_version"] == "floor.2"
    pack = {"kind": "attachment", "id": "att_x", "enabled": True, "roles": [], "may_use": [TOOL]}
    packs = {**row, "context": {**row["context"], "actors": [pack]}}
    async with world.db.transaction(world.tenant_id) as conn:
        now = await service.replay(conn, packs)
        then = await service.replay(conn, {**packs, "access_version": "floor.1"})
    assert (now["verdict"], now["rules"]) == ("allow", ["access/floor/pack-uses-what-it-declares"])
    assert (then["verdict"], then["rules"]) == ("deny", ["access/floor/packs-use-the-broker-only"])


@pytest.mark.capability("AUT-11", part="the missing fact is named, also for a fact that was masked")
async def test_what_was_masked_and_decided_is_named_as_missing(world: World) -> None:
    text = """@id("no-such-place") forbid(principal, action == Worka::Action::"tool.invoke", resource)
    when { context has destination && context.destination == "https://x/?token=abcdefghijkl" };"""
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", text, "")
    place = tool(world, "read_only")
    decision = await world.ctx("member").decide("tool.invoke", place, destination="https://x/?token=abcdefghijkl")
    assert decision.verdict == "deny"
    again = await decisions.replayed(world.ctx("admin"), decision.id)
    assert (again["same"], again["verdict"]) == (False, None)
    assert again["could_not_reconstruct"] == "the fact destination was masked when it was recorded"
    other = await world.ctx("member").decide("tool.invoke", place, destination="https://y/?token=abcdefghijkl")
    assert (await decisions.replayed(world.ctx("admin"), other.id))["same"] is True, "it decided nothing there"


async def test_a_replay_is_for_readers_of_evidence_and_of_ones_own_tenant(world: World) -> None:
    decision = await world.ctx("viewer").decide("tool.invoke", tool(world, "write"))
    with pytest.raises(Denied):
        await decisions.replayed(world.ctx("viewer"), decision.id)
    for who in ("member", "stranger"):
        with pytest.raises(DecisionNotFound):
            await decisions.replayed(world.ctx(who), decision.id)
    assert (await decisions.replayed(world.ctx("owner"), decision.id))["same"] is True


@pytest.mark.capability("AUT-10", part="in another process, for asked questions too")
async def test_an_answer_to_a_question_replays_in_another_process(world: World, cluster: Any) -> None:
    from worka.governance import questions

    asked = await questions.why(
        world.ctx("admin"), world.workspace_id, world.ids["viewer"], "task.create", "*", facts=["workflow=notes"]
    )
    program = """
import asyncio, json, sys
import worka.workers.wiring
from worka.governance import service, store
from worka.kernel.db import Database
async def main(dsn, tenant, one):
    db = Database(dsn, "replay"); await db.open()
    async with db.transaction(tenant) as conn:
        out = await service.replay(conn, await store.decision(conn, one))
    await db.close(); print(json.dumps(out))
asyncio.run(main(*json.loads(sys.stdin.read())))
"""
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await other.communicate(json.dumps([cluster.urls.app, world.tenant_id, asked["decision_id"]]).encode())
    answer = json.loads(out)
    assert (answer["same"], answer["verdict"], answer["rules"]) == (True, "deny", asked["rules"])


@pytest.mark.capability("GOV-15", part="who is stopped reads no evidence")
async def test_who_is_stopped_reads_their_own_decisions_and_no_evidence(world: World) -> None:
    others, own = [
        await world.ctx(who).decide("tool.invoke", tool(world, "external_side_effect")) for who in ("member", "admin")
    ]
    assert (await service.decision(world.ctx("admin"), others.id))["reader"] == "evidence", "the control"
    await service.kill(
        world.ctx("owner"), world.workspace_id, "member", world.ids["admin"], "the account was taken over", False
    )
    with pytest.raises(DecisionNotFound):
        await service.decision(world.ctx("admin"), others.id)
    assert (await service.decision(world.ctx("admin"), own.id))["reader"] == "concerned"
    assert (await service.decision(world.ctx("owner"), others.id))["reader"] == "evidence", "another goes on"


@pytest.mark.capability("AUT-12", part="an AI team member reads no more evidence than who is behind it")
async def test_what_may_be_shown_is_no_more_than_the_person_behind_may(world: World) -> None:
    place = Resource("workspace", world.workspace_id, world.workspace_id)
    for behind, allowed in (("member", True), ("stranger", False)):
        ctx = world.ctx("robot", behind=behind)
        async with ctx.transaction() as conn:
            found = await authorization.may(conn, ctx, "team_member", world.ids["robot"], "access.view", place)
        assert found is allowed, behind


@pytest.mark.capability("AUT-10")
async def test_a_dry_run_over_many_recorded_requests_in_another_process_gives_each_its_answer_again(
    world: World, cluster: Any
) -> None:
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", WRITING, "")
    kinds = ("read_only", "write", "external_side_effect", "destructive")
    said = []
    for number in range(60):
        who = ("owner", "admin", "member", "viewer")[number % 4]
        decision = await world.ctx(who).decide("tool.invoke", tool(world, kinds[number // 4 % 4]))
        said.append((decision.id, decision.verdict, list(decision.rules), list(decision.reasons)))
    recorded = {row["id"] for row in await world.rows("decision")}
    assert len({verdict for _, verdict, _, _ in said}) >= 2
    program = """
import asyncio, json, sys
from pathlib import Path
import worka.workers.wiring
from tests.workspaces.world import World
from worka.governance import service, store
from worka.governance.service import dry_runs
from worka.kernel.db import Database
from worka.kernel.settings import Settings
async def main(dsn, home, tenant, workspace, ids, day, all_of_them):
    db = Database(dsn, "again"); await db.open()
    world = World(db, Settings(home=Path(home)), tenant, workspace, ids)
    async with db.transaction(tenant) as conn:
        rows = [await store.decision(conn, one) for one in all_of_them]
        again = [await service.replay(conn, row) for row in rows]
    runs = {}
    for name, text in (("day", day), ("other", day.replace("write", "destructive"))):
        runs[name] = await dry_runs.dry_run(
            world.ctx("owner"), workspace, kind="governance", text=text, scope="tenant", role_of=None, role=None,
            since=None, until=None, after=None, limit=200)
    await db.close()
    print(json.dumps({"again": again, "runs": runs}, default=str))
asyncio.run(main(*json.loads(sys.stdin.read())))
"""
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    given = [
        cluster.urls.app, str(world.settings.home), world.tenant_id, world.workspace_id, world.ids, WRITING,
        [one for one, *_ in said if one in recorded],
    ]  # fmt: skip
    out, _ = await other.communicate(json.dumps(given).encode())
    told = json.loads(out)
    kept = [(verdict, rules, reasons) for one, verdict, rules, reasons in said if one in recorded]
    assert len(kept) >= 30
    assert [(a["verdict"], a["rules"], a["reasons"]) for a in told["again"]] == kept
    assert all(answer["same"] for answer in told["again"])
    assert told["runs"]["day"]["items"] == [], "the policy of that day flips nothing of what was decided by it"
    assert told["runs"]["day"]["scanned"] >= len(kept)
    changed = {item["decision_id"] for item in told["runs"]["other"]["items"]}
    assert changed & {one for one, *_ in said}, "the control: another policy flips some"
