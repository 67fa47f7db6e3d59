"""Tasks on the real engine: a worker process, real PostgreSQL, and a host that keeps book from outside."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import psycopg
import pytest

from tests.support.database import Cluster
from tests.workflows.world import Row, World, ok
from tests.workspaces.world import decided_while_held
from worka.approvals import service as approvals
from worka.approvals.jobs import remind_due
from worka.governance import service as governance
from worka.kernel.db import DatabaseUnavailable
from worka.kernel.errors import Denied, Problem
from worka.views import service as views
from worka.workflows import explain, service, steps, store
from worka.workflows.errors import InputsInvalid, NotUnknown, TaskNotFound
from worka.workflows.segment import Work

LOG = {"kind": "tool", "name": "log", "tool": "test.box.log", "arguments": {"word": {"$input": "word"}}}
PUBLISH = {
    "kind": "tool",
    "name": "publish",
    "tool": "test.box.publish",
    "arguments": {"markdown": {"$step": "log", "path": "text"}},
}
SEND = {**PUBLISH, "name": "send", "tool": "test.box.send"}
KEEP = {**PUBLISH, "name": "keep", "tool": "test.box.keep"}
SHOW = {
    "kind": "publish_view",
    "name": "show",
    "view": "notes",
    "title": "Notes",
    "document": {"$step": "log", "path": "text"},
    "links": {"published": {"$step": "publish", "path": "structured.url"}},
}


@pytest.mark.capability("TSK-1", "TSK-5", "TSK-11", "VIW-6")
@pytest.mark.capability("TSK-8", part="approval")
async def test_a_task_waits_typed_is_explained_and_goes_on_once_approved(world: World) -> None:
    world.host.answers["publish"] = world.host.effect
    task_id = await world.start([LOG, PUBLISH, SHOW], {"word": "hello"})
    # Heartbeats belong to the deployment: workers that other tests killed still look alive for some seconds.
    async with world.runtime.db.transaction(None) as conn:
        await conn.execute("delete from worka.process")
    queued = await explain.explain(world.ctx(world.owner), task_id)
    assert (queued.state, queued.reason) == ("queued", "queued_waiting_for_worker")
    assert "no worker is alive" in queued.headline
    world.work()
    waiting = await world.until(task_id, "waiting")
    assert waiting["reason"] == "waiting_for_approval"
    wait = waiting["waits"][0]
    assert (wait["kind"], wait["cleared_at"]) == ("approval", None)
    assert wait["deadline"] is not None
    assert world.host.called("publish") == [], "nothing leaves before the approval"

    why = await explain.explain(world.ctx(world.approver), task_id)
    assert why.state == "waiting"
    assert why.headline.startswith("Waiting ")
    assert "Ann" in why.headline
    assert why.waiting_on[0].you_can
    assert any(item.kind == "decision" for item in why.evidence)
    assert why.next[0].allowed
    asked = await explain.explain(world.ctx(world.owner), task_id)
    assert not asked.waiting_on[0].you_can
    assert asked.waiting_on[0].because

    await world.approve(task_id)
    done = await world.until(task_id, "succeeded")
    assert [step["state"] for step in done["steps"]] == ["succeeded"] * 3
    assert list(world.host.effects.values()) == [1]
    assert [call["idempotency_key"] for call in world.host.called("publish")] == [done["steps"][1]["idempotency_key"]]
    assert done["steps"][1]["effect_id"]
    finished = [receipt["phase"] for step in done["steps"] for receipt in step["receipts"]]
    assert finished.count("outcome") == 3
    view = await world.rows(
        "select v.revision, r.document, r.task_id from worka.view v join worka.view_revision r on r.view_id = v.id"
    )
    assert view[0]["document"]["text"] == json.dumps({"word": "hello"})
    assert view[0]["document"]["untrusted"] is True
    assert view[0]["document"]["links"] == {"published": "https://tracker.worka.test/notes/1"}
    assert view[0]["task_id"] == task_id


@pytest.mark.capability("APR-3")
@pytest.mark.capability("APR-7", part="an approval resumes")
async def test_a_step_that_waits_for_an_approval_does_not_run(world: World) -> None:
    """However long it waits and however often workers look; the control: once approved, the same step runs, once."""
    world.host.answers["publish"] = world.host.effect
    world.work()
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    waiting = await world.until(task_id, "waiting", "succeeded", "failed")
    assert waiting["state"] == "waiting", "the step ran without its approval"
    await asyncio.sleep(4)  # past the lease and several sweeps
    still = await world.task(task_id)
    assert (still["state"], still["attempt"]) == ("waiting", waiting["attempt"])
    assert world.host.called("publish") == []
    assert await world.rows("select 1 from worka.invocation where step_id = %s", still["steps"][1]["id"]) == []
    await world.approve(task_id)
    await world.until(task_id, "succeeded")
    assert list(world.host.effects.values()) == [1]


@pytest.mark.capability("APR-7", part="a rejection ends")
@pytest.mark.capability("TSK-5", part="failed")
async def test_a_rejected_approval_ends_the_task_and_says_so(world: World) -> None:
    world.work()
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    await world.until(task_id, "waiting")
    await world.approve(task_id, "reject")
    failed = await world.task(task_id)
    assert (failed["state"], failed["reason"]) == ("failed", "approval_rejected")
    assert [step["state"] for step in failed["steps"]] == ["succeeded", "failed"]
    why = await explain.explain(world.ctx(world.owner), task_id)
    assert (why.layer, why.incident_class) == ("approval", "approval")
    assert world.host.called("publish") == []


@pytest.mark.capability("APR-9")
async def test_the_requester_and_the_acting_members_owner_cannot_approve(world: World) -> None:
    world.work()
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    waiting = await world.until(task_id, "waiting")
    ctx = world.ctx(world.owner)
    card = await approvals.show(ctx, waiting["waits"][0]["ref"])
    with pytest.raises(Problem) as refused:
        await approvals.decide(ctx, card["id"], "approve", card["digest"])
    assert refused.value.status == 403
    assert (await world.task(task_id))["state"] == "waiting"


async def test_a_denied_step_fails_the_task_with_its_decision(world: World) -> None:
    world.work()
    task_id = await world.start([LOG], {"word": "x"})
    await world.until(task_id, "succeeded")
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.team_member set tools = '[]'")
    task_id = await world.start([LOG], {"word": "x"})
    failed = await world.until(task_id, "failed")
    assert failed["reason"] == "step_refused"
    assert failed["error"]["decision_id"]
    why = await explain.explain(world.ctx(world.owner), task_id)
    assert why.layer == "authorization"
    assert any(item.kind == "decision" for item in why.evidence)
    assert len(world.host.called("log")) == 1


@pytest.mark.capability("WFG-5", part="a tool that is not declared for the team member")
async def test_a_tool_that_the_definition_does_not_declare_is_refused(world: World) -> None:
    """It is declared, but for somebody else: the team member has it in its own list, and may not use it here."""
    world.work()
    steps = [{**LOG, "arguments": {}}]
    others = [{"name": "Somebody else", "tools": ["test.box.log"]}, {"name": "Rena", "tools": ["test.box.compose"]}]
    failed = await world.until(await world.start(steps, members=others), "failed", "succeeded")
    assert (failed["state"], failed["reason"]) == ("failed", "definition_refused")
    assert world.host.called("log") == []
    mine = [{"name": "Rena", "tools": ["test.box.log"]}]
    await world.until(await world.start(steps, members=mine), "succeeded")
    assert len(world.host.called("log")) == 1


@pytest.mark.capability("WFG-5", part="a team member that is not declared")
async def test_a_team_member_that_the_definition_does_not_declare_takes_no_part(world: World) -> None:
    steps = [{**LOG, "arguments": {}}]
    with pytest.raises(InputsInvalid, match="may not take part"):
        await world.start(steps, members=[{"name": "Somebody else", "tools": ["test.box.log"]}])
    assert await world.rows("select 1 from worka.task") == []
    assert await world.start(steps, members=[{"name": "Rena", "tools": ["test.box.log"]}])


async def test_a_tool_that_answers_with_an_error_fails_the_step_and_names_the_invocation(world: World) -> None:
    async def error(_arguments: Row, _meta: Row) -> Row:
        return {
            "status": "tool_error",
            "layer": "pack",
            "reason": "tool_error",
            "message": "no such repository",
            "text": "no",
        }

    world.host.answers["log"] = error
    world.work()
    task_id = await world.start([LOG, SHOW | {"links": {}}], {"word": "x"})
    failed = await world.until(task_id, "failed")
    assert failed["error"]["code"] == "tool_error"
    assert failed["error"]["invocation_id"]
    assert [step["state"] for step in failed["steps"]] == ["failed", "cancelled"]
    why = await explain.explain(world.ctx(world.owner), task_id)
    assert why.last_error is not None
    assert "no such repository" in why.headline


async def test_a_call_that_broke_is_tried_again_with_the_same_key_where_that_is_safe(world: World) -> None:
    tries = 0

    async def breaks_once(arguments: Row, meta: Row) -> Row:
        nonlocal tries
        tries += 1
        if tries == 1:
            return {"status": "failed", "layer": "pack", "reason": "pack_crashed", "message": "exit 1"}
        return ok("fine")

    world.host.answers["log"] = breaks_once
    world.work()
    task_id = await world.start([LOG], {"word": "x"})
    done = await world.until(task_id, "succeeded")
    assert done["steps"][0]["attempt"] == 2
    assert len({call["idempotency_key"] for call in world.host.called("log")}) == 1
    assert [receipt["phase"] for receipt in done["steps"][0]["receipts"]] == [
        "intent:1",
        "retrying:1",
        "intent:2",
        "outcome",
    ]


@pytest.mark.capability("TSK-5", part="cancelled")
async def test_cancelling_a_waiting_task_withdraws_its_approval(world: World) -> None:
    world.work()
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    waiting = await world.until(task_id, "waiting")
    with pytest.raises(Denied):
        await service.cancel(world.ctx(world.viewer), task_id, "")
    cancelled = await service.cancel(world.ctx(world.owner), task_id, "not needed")
    assert cancelled["state"] == "cancelled"
    card = await approvals.show(world.ctx(world.owner), waiting["waits"][0]["ref"])
    assert card["state"] == "withdrawn"
    with pytest.raises(Problem):
        await service.cancel(world.ctx(world.owner), task_id, "")


async def test_deciding_and_cancelling_at_once_take_locks_in_one_order(world: World) -> None:
    world.host.answers["publish"] = world.host.effect
    world.work()
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    await world.until(task_id, "waiting")
    (approval,) = await world.rows("select * from worka.approval")
    await decided_while_held(
        world, approval["id"], world.approve(task_id), lambda conn: store.task_for_update(conn, task_id)
    )
    await world.until(task_id, "succeeded", seconds=25)


async def test_cancelling_a_running_task_keeps_what_really_happened_on_the_invocation(world: World) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(arguments: Row, meta: Row) -> Row:
        begun.set()
        await go_on.wait()
        return ok("late")

    world.host.answers["log"] = slow
    world.work()
    task_id = await world.start([LOG], {"word": "x"})
    await asyncio.wait_for(begun.wait(), 20)
    assert (await service.cancel(world.ctx(world.owner), task_id, ""))["state"] == "cancelled"
    go_on.set()
    for _ in range(200):
        found = await world.rows("select state from worka.invocation where task_id = %s", task_id)
        if found[0]["state"] != "running":
            break
        await asyncio.sleep(0.05)
    assert found[0]["state"] == "succeeded"
    after = await world.task(task_id)
    assert (after["state"], after["steps"][0]["state"]) == ("cancelled", "cancelled")


@pytest.mark.capability("APR-3", part="a moved policy: the same verdict and rule hold, another rule asks again")
async def test_when_policy_moves_the_approval_holds_only_for_the_same_rules(world: World) -> None:
    world.host.answers["publish"] = world.host.effect
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    worker = world.work()
    await world.until(task_id, "waiting")
    worker.kill()
    await world.approve(task_id)
    text = (
        '@id("two-eyes") @verdict("ask") @rule("approve:2") @reason("two people look at it")\n'
        'forbid(principal, action == Worka::Action::"tool.invoke", resource);'
    )
    await governance.save_policy(world.ctx(world.owner), world.workspace_id, "governance", text, "stricter")
    world.work()
    again = await world.until(task_id, "waiting")
    states = [row["state"] for row in await world.rows("select state from worka.approval order by id")]
    assert states == ["superseded", "open"]
    assert len(again["waits"]) == 2
    assert world.host.effects == {}


@pytest.mark.capability("APR-3", part="a moved policy: the same verdict and rule hold, another rule asks again")
async def test_a_task_whose_open_approval_policy_changed_asks_anew_by_itself(world: World) -> None:
    world.host.answers["publish"] = world.host.effect
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    world.work()
    await world.until(task_id, "waiting")
    (first,) = await world.rows("select id, digest from worka.approval")
    text = (
        '@id("two-eyes") @verdict("ask") @rule("approve:2") @reason("two people look at it")\n'
        'forbid(principal, action == Worka::Action::"tool.invoke", resource);'
    )
    await governance.save_policy(world.ctx(world.owner), world.workspace_id, "governance", text, "stricter")
    await remind_due(world.runtime.platform_context())
    for _ in range(400):
        found = await world.rows("select id, state, reason, rules, digest from worka.approval order by id")
        if len(found) == 2:
            break
        await asyncio.sleep(0.05)
    assert len(found) == 2, "the task asks anew"
    assert [(row["state"], row["reason"]) for row in found] == [
        ("superseded", "rule_changed"), ("open", found[1]["reason"]),
    ]  # fmt: skip
    assert (found[1]["rules"], found[1]["digest"]) == (["approve:2"], first["digest"])
    assert world.host.effects == {}


async def test_inputs_members_and_strangers_are_checked_before_anything_is_written(world: World) -> None:
    name = await world.save([LOG])
    owner = world.ctx(world.owner)
    with pytest.raises(InputsInvalid):
        await service.create(owner, workflow=name, version=None, inputs={"word": 3}, member_id=world.member_id)
    with pytest.raises(InputsInvalid):
        await service.create(owner, workflow=name, version=None, inputs={}, member_id="mem_nobody")
    with pytest.raises(Denied):
        await service.create(world.ctx(world.viewer), workflow=name, version=None, inputs={}, member_id=world.member_id)
    assert await world.rows("select 1 from worka.task") == []
    task_id = await world.start([LOG])
    stranger: Any = world.runtime.context(owner.principal, tenant_id="ten_other", workspace_id=world.workspace_id)
    with pytest.raises(TaskNotFound):
        await service.get(stranger, task_id)
    with pytest.raises(NotUnknown):
        await service.resolve(owner, task_id, "retry", "")


async def test_the_same_document_is_the_same_version_and_another_the_next(world: World) -> None:
    ctx = world.ctx(world.owner)
    document = {
        "name": "versions",
        "members": [{"name": "*", "tools": ["test.box.log"]}],
        "steps": [{**LOG, "arguments": {}}],
    }
    first = await service.save_definition(ctx, document)
    same = await service.save_definition(ctx, document)
    second = await service.save_definition(ctx, {**document, "description": "changed"})
    assert (first["version"], same["version"], second["version"]) == (1, 1, 2)
    assert (first["created"], same["created"]) == (True, False)


@pytest.mark.capability("TSK-1", part="the engine's journal holds ids only")
async def test_the_engines_journal_holds_no_argument_no_result_and_no_name(world: World, cluster: Cluster) -> None:
    secret = "Zq7-private-words-of-an-argument"
    world.host.answers["publish"] = world.host.effect
    world.work()
    task_id = await world.start([LOG, PUBLISH], {"word": secret})
    await world.until(task_id, "waiting")
    await world.approve(task_id)
    await world.until(task_id, "succeeded")
    found = ""
    with psycopg.connect(cluster.urls.engine) as conn:
        tables = conn.execute("select table_name from information_schema.tables where table_schema = 'dbos'").fetchall()
        for (table,) in tables:
            found += "\n".join(str(row) for row in conn.execute(f'select * from dbos."{table}"').fetchall())  # type: ignore[arg-type]
    assert task_id in found, "the positive control: the journal knows the task by its id"
    assert secret not in found
    assert "tracker.worka.test" not in found
    assert "Olga" not in found


async def test_on_a_full_disk_no_task_is_begun_and_it_goes_on_by_itself_once_there_is_room(world: World) -> None:
    world.environment["WORKA_DISK__FLOOR_MB"] = str(10**9)
    cramped = world.work("1")
    task_id = await world.start([{**LOG, "arguments": {}}], {})
    await asyncio.sleep(9)  # longer than a lease, and the reaper has looked
    waiting = await world.task(task_id)
    assert (waiting["state"], waiting["attempt"]) == ("queued", 0)
    cramped.kill()
    world.environment.pop("WORKA_DISK__FLOOR_MB")
    world.work("2")
    done = await world.until(task_id, "succeeded", seconds=20)
    assert done["attempt"] == 1


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_task_ends_when_workers_have_worked_on_it_for_longer_than_its_limit(world: World, pieces: int) -> None:
    """Also in pieces that are each shorter than a holder's signs of life are apart."""

    async def slow(_arguments: Row, _meta: Row) -> Row:
        await asyncio.sleep(2.4 / pieces)
        return ok("fine")

    world.host.answers["log"] = slow
    world.work()
    first = {**LOG, "arguments": {}}
    names = ["log", "again", "more", "late"][: pieces + 1]
    limited = await world.start([{**first, "name": name} for name in names], {}, limits={"seconds": 2})
    ended = await world.until(limited, "failed", "succeeded", seconds=30)
    assert (ended["state"], ended["reason"]) == ("failed", "limit_reached")
    # On a slow machine what goes on around the pieces is worked time too.
    done = [step["state"] for step in ended["steps"]].index("failed")
    assert 1 <= done <= pieces


async def test_work_before_a_wait_counts_for_the_limit_and_the_wait_itself_does_not(world: World) -> None:
    async def slow(_arguments: Row, _meta: Row) -> Row:
        await asyncio.sleep(1.8)
        return ok("fine")

    world.host.answers["log"] = world.host.answers["publish"] = slow
    world.work()
    task_id = await world.start([LOG, PUBLISH, {**LOG, "name": "late"}], {"word": "x"}, limits={"seconds": 3})
    await world.until(task_id, "waiting")
    await asyncio.sleep(3.5)
    await world.approve(task_id)
    ended = await world.until(task_id, "failed", "succeeded")
    assert [step["state"] for step in ended["steps"]] == ["succeeded", "succeeded", "failed"]
    assert ended["reason"] == "limit_reached"


async def test_a_clock_that_is_set_forth_uses_up_no_tasks_time(world: World) -> None:
    """Found by the crash harness: two hours forth, and every running task failed with `limit_reached`."""
    task_id = await world.start([{**LOG, "arguments": {}}], {}, limits={"seconds": 60})
    async with world.ctx(world.owner).transaction() as conn:
        await conn.execute("update worka.task set created_at = created_at - interval '2 hours'")
    world.work()
    assert (await world.until(task_id, "succeeded", "failed"))["state"] == "succeeded"


@pytest.mark.capability("TSK-12", part="a lease that a clock which was set back left in the future")
async def test_a_task_that_was_lost_while_the_clock_was_ahead_is_taken_over_all_the_same(world: World) -> None:
    """Found by the crash harness: two hours forth, its run broke off, two hours back: it was held until the lease passed."""
    lost = await world.start([{**LOG, "arguments": {}}], {})
    queued = await world.start([{**LOG, "arguments": {}}], {})
    async with world.ctx(world.owner).transaction() as conn:
        await conn.execute(
            "update worka.task set state = 'running', reason = 'running_step', claim = 'lost', claimed_by = 'nobody',"
            " attempt = 1, since = now() + interval '2 hours', lease_until = now() + interval '2 hours' where id = %s",
            (lost,),
        )
        # A segment that the engine has no entry of: it was lost there too.
        await conn.execute(
            "update worka.task set segment = segment + 1, since = now() + interval '2 hours' where id = %s", (queued,)
        )
    world.work()
    assert (await world.until(lost, "succeeded", "failed"))["state"] == "succeeded"
    assert (await world.until(queued, "succeeded", "failed"))["state"] == "succeeded"


@pytest.mark.capability("TSK-12", part="a living holder keeps its task when the clock is set back")
async def test_a_living_holder_keeps_its_task_when_the_clock_is_set_back(world: World) -> None:
    async def slow(_arguments: Row, _meta: Row) -> Row:
        await asyncio.sleep(9)
        return ok("fine")

    world.host.answers["log"] = slow
    world.work()
    task_id = await world.start([{**LOG, "arguments": {}, "seconds": 60}], {})
    await world.until(task_id, "running")
    async with world.ctx(world.owner).transaction() as conn:
        await conn.execute("update worka.task set lease_until = now() + interval '2 hours' where id = %s", (task_id,))
    ended = await world.until(task_id, "succeeded", "failed")
    assert (ended["state"], ended["attempt"]) == ("succeeded", 1)


async def test_a_step_that_was_refused_by_a_fault_of_ours_is_tried_again(world: World) -> None:
    """Found by the crash harness: the broker could not record while the disk was full, and the task failed for good."""
    refused = {
        **ok(),
        "status": "failed",
        "layer": "broker",
        "reason": "egress_not_recorded",
        "message": "nothing was sent",
    }
    answers = iter([refused, ok("done", {"effect_id": "e-1", "url": "https://tracker.worka.test/notes/1"})])

    async def once_refused(_arguments: Row, _meta: Row) -> Row:
        return next(answers)

    world.host.answers["keep"] = once_refused
    world.work()
    task_id = await world.start([{**KEEP, "arguments": {}}], {})
    done = await world.until(task_id, "succeeded", "failed", "unknown")
    assert (done["state"], done["steps"][0]["attempt"]) == ("succeeded", 2), done["error"]
    assert len({call["idempotency_key"] for call in world.host.called("keep")}) == 1


@pytest.mark.capability("TSK-12", part="a pause before the next try of what broke on our side")
async def test_a_fault_of_ours_that_lasts_some_seconds_fails_no_step_and_the_next_try_is_told(world: World) -> None:
    """Found by the crash harness: a ledger that stood still for four seconds used up three tries within one."""
    refused = {
        **ok(),
        "status": "failed",
        "layer": "broker",
        "reason": "egress_not_recorded",
        "message": "nothing sent",
    }
    tries: list[float] = []

    async def refused_for_a_while(_arguments: Row, _meta: Row) -> Row:
        tries.append(time.monotonic())
        return refused if len(tries) < 5 else ok("done", {"effect_id": "e-1", "url": "https://tracker.worka.test/1"})

    world.host.answers["keep"] = refused_for_a_while
    world.work()
    task_id = await world.start([{**KEEP, "arguments": {}}], {})
    deadline = time.monotonic() + 20
    while not (why := await explain.explain(world.ctx(world.owner), task_id)).waiting_on or (
        why.waiting_on[0].kind != "retry"
    ):
        assert time.monotonic() < deadline, why
        await asyncio.sleep(0.1)
    assert why.state == "retrying"
    assert why.last_error is not None
    assert why.last_error.next_try == why.waiting_on[0].deadline
    assert "engine" not in why.headline, "a pause is no disagreement"
    done = await world.until(task_id, "succeeded", "failed", "unknown", seconds=30)
    assert (done["state"], done["steps"][0]["attempt"]) == ("succeeded", 5), done["error"]
    assert tries[-1] - tries[0] > 1 + 2 + 4 - 0.5, "it waited longer each time"
    assert len({call["idempotency_key"] for call in world.host.called("keep")}) == 1


async def test_a_call_that_breaks_each_time_fails_after_three_tries(world: World) -> None:
    async def breaks(_arguments: Row, _meta: Row) -> Row:
        return {"status": "failed", "layer": "pack", "reason": "pack_crashed", "message": "exit 1"}

    world.host.answers["log"] = breaks
    world.work()
    task_id = await world.start([LOG], {"word": "x"})
    done = await world.until(task_id, "succeeded", "failed")
    assert (done["state"], done["steps"][0]["attempt"]) == ("failed", 3)


async def test_a_step_that_met_a_part_that_was_away_has_not_failed_and_is_done_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await world.start([LOG], {"word": "x"})
    work = Work(world.runtime, worker="worker-here", lease=30, publish_view=views.publish)
    claim = await work.claim(world.tenant_id, task_id, (await world.task(task_id))["segment"])
    assert claim is not None
    (step_id,) = claim.left

    async def away(*_arguments: object) -> None:
        raise DatabaseUnavailable("it is being restarted")

    with monkeypatch.context() as patch:
        patch.setattr(steps.packs, "prepare", away)
        with pytest.raises(DatabaseUnavailable):
            await work.run_step(claim, step_id)
    task = await world.task(task_id)
    assert (task["state"], task["steps"][0]["state"]) == ("running", "queued"), "it was not begun, so it did not fail"
    assert await work.run_step(claim, step_id) == "succeeded"
    assert await work.finish(claim) == "succeeded"
