"""Approvals on a real database: asked for, shown, decided, used, and every way in which one ends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.approvals.asking import asked, say
from tests.workspaces.world import TOOL, World
from worka.approvals import explain, jobs, rules, service, store
from worka.approvals.errors import ApprovalNotFound, ApprovalUsed, DigestChanged, NotEligible, NotOpen
from worka.governance import service as governance
from worka.kernel import reasons
from worka.kernel.context import Context, Decision, Resource
from worka.kernel.errors import Denied, Problem
from worka.workspaces import service as membership

ARGUMENTS = {"title": "Notes 42", "body": "the exact text"}


def digest(world: World, arguments: Any = ARGUMENTS) -> str:
    return rules.digest(
        action="tool.invoke", arguments=arguments, tool=TOOL, release="r", attachment="att",
        workspace=world.workspace_id, connection=None, target_host="tracker.worka.test",
        initiator=world.ids["robot"], originating_person=None,
    )  # fmt: skip


async def ask(
    world: World, who: str = "robot", behind: str | None = "member", subject: str = "step_1", **changes: Any
) -> dict[str, Any]:
    """What a step does at the gate: decide, then ask for consent in one transaction."""
    ctx = world.ctx(who, behind=behind) if who == "robot" else world.ctx(who)
    async with ctx.transaction():
        decision = await ctx.require("tool.invoke", call(world))
        assert decision.verdict == "ask"
        return await service.request(
            ctx,
            **{
                "boundary": "tool.external_side_effect",
                "action": "tool.invoke",
                "subject_type": "step",
                "subject_id": subject,
                "title": "Publish notes 42",
                "effect": "Creates a page at tracker.worka.test",
                "digest": digest(world),
                "card": {"tool": TOOL, "host": "tracker.worka.test"},
                "arguments": json.dumps(ARGUMENTS).encode(),
                "rules": list(decision.approval_rules),
                "decision_id": decision.id,
                "policy_version": decision.policy_version,
                "blocks": [{"kind": "task", "id": "task_1", "name": "Release notes"}],
                **changes,
            },
        )


def call(world: World) -> Resource:
    return Resource("tool", TOOL, world.workspace_id, {"side_effect": "external_side_effect"})


async def again(world: World) -> Decision:
    return await world.ctx("robot", behind="member").require("tool.invoke", call(world))


async def row_of(world: World, approval: dict[str, Any]) -> dict[str, Any]:
    (row,) = await world.rows("approval", "id = %s", approval["id"])
    return row


@pytest.mark.capability("APR-4")
@pytest.mark.parametrize("who", ["viewer", "member", "robot", "stranger"])
async def test_who_does_not_hold_the_permission_cannot_decide_and_is_told_why(world: World, who: str) -> None:
    approval = await ask(world, behind="owner")
    with pytest.raises(Problem) as refused:
        await service.decide(world.ctx(who), approval["id"], "approve", approval["digest"])
    assert isinstance(refused.value, ApprovalNotFound if who == "stranger" else NotEligible)
    assert (await row_of(world, approval))["state"] == "open"
    if who != "stranger":
        assert refused.value.extra["who_could"] == ["admin", "approver"]
        (event,) = await world.events("approval.decision.refused")
        assert event["actor_id"] == world.ids[who]
    done = await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])
    assert done["state"] == "approved"


@pytest.mark.capability("APR-4", part="four eyes")
async def test_neither_who_is_behind_it_nor_the_owner_of_the_team_member_may_approve_it(world: World) -> None:
    await world.robot("robot2", owner="admin")
    ctx = world.ctx("robot2", behind="owner")
    async with ctx.transaction():
        approval = await service.request(
            ctx, boundary="tool", action="tool.invoke", subject_type="step", subject_id="s", title="t", effect="e",
            digest="d", card={}, arguments=None, rules=["approve:1"], decision_id="dec_x", policy_version="p",
            blocks=[],
        )  # fmt: skip
    with pytest.raises(NotEligible, match="You asked for it"):
        await service.decide(world.ctx("owner"), approval["id"], "approve", "d")
    with pytest.raises(NotEligible, match="You own the AI team member") as refused:
        await service.decide(world.ctx("admin"), approval["id"], "approve", "d")
    assert refused.value.remedy == "Who could: approver."
    done = await service.decide(world.ctx("approver"), approval["id"], "approve", "d")
    assert done["state"] == "approved"


async def test_without_a_person_behind_it_the_owner_of_the_team_member_may_approve(world: World) -> None:
    await world.robot("robot2", owner="admin")
    ctx = world.ctx("robot2")
    async with ctx.transaction():
        approval = await service.request(
            ctx, boundary="tool", action="tool.invoke", subject_type="step", subject_id="s", title="t", effect="e",
            digest="d", card={}, arguments=None, rules=["approve:1"], decision_id="dec_x", policy_version="p",
            blocks=[],
        )  # fmt: skip
    assert (await service.decide(world.ctx("admin"), approval["id"], "approve", "d"))["state"] == "approved"


@pytest.mark.capability("APR-4", part="a role taken away holds for the very next decision")
async def test_an_approver_who_is_removed_cannot_decide_any_more(world: World) -> None:
    from worka.workspaces import service as workspaces

    approval = await ask(world)
    assert (await service.show(world.ctx("approver"), approval["id"]))["eligibility"]["eligible"] is True
    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["approver"], None, False)
    with pytest.raises(NotEligible):
        await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])


@pytest.mark.capability("APR-4", part="a tenant's own access policy counts too")
async def test_a_tenant_policy_that_forbids_deciding_is_seen_by_eligibility(world: World) -> None:
    approval = await ask(world)
    text = """@reason("Admins do not approve here.") forbid(principal, action == Worka::Action::"approval.decide",
        resource)
        when { principal.roles.contains("admin") };"""
    await governance.save_policy(world.ctx("owner"), world.workspace_id, "access", text, "")
    with pytest.raises(NotEligible) as refused:
        await service.decide(world.ctx("admin"), approval["id"], "approve", approval["digest"])
    assert refused.value.extra["who_could"] == ["owner", "approver"]
    done = await service.decide(world.ctx("owner"), approval["id"], "approve", approval["digest"])
    assert done["state"] == "approved"


@pytest.mark.capability("APR-5")
async def test_an_approval_keeps_requester_subject_decision_decider_and_time(world: World) -> None:
    approval = await ask(world)
    await service.decide(world.ctx("approver"), approval["id"], "reject", approval["digest"], "not yet")
    card = await service.show(world.ctx("member"), approval["id"])
    assert card["requester"] == {"kind": "team_member", "id": world.ids["robot"], "name": "robot"}
    assert card["originating_person"]["name"] == "member"
    assert card["subject"] == {"type": "step", "id": "step_1"}
    (vote,) = card["votes"]
    assert (vote["person"]["name"], vote["decision"], vote["comment"]) == ("approver", "reject", "not yet")
    assert card["state"] == "rejected"
    assert card["decided_at"] is not None
    (event,) = await world.events("approval.rejected")
    assert event["actor_id"] == world.ids["approver"]
    assert event["before"] == {"state": "open"}


@pytest.mark.capability("APR-6", part="the list and the card")
async def test_pending_approvals_are_listed_with_what_they_block(world: World) -> None:
    first, second = await ask(world, subject="step_1"), await ask(world, subject="step_2")
    await service.decide(world.ctx("approver"), first["id"], "approve", first["digest"])
    items = await service.listing(world.ctx("approver"), world.workspace_id, "open", None, 50)
    assert [item["id"] for item in items] == [second["id"]]
    assert items[0]["blocks"] == [{"kind": "task", "id": "task_1", "name": "Release notes"}]
    assert items[0]["eligibility"]["eligible"] is True
    assert items[0]["who_could"] == ["owner", "admin", "approver"]
    both = await service.listing(world.ctx("approver"), world.workspace_id, None, None, 1)
    assert [item["id"] for item in both] == [second["id"], first["id"]], "newest first, and one more than the limit"
    with pytest.raises(Denied):
        await service.listing(world.ctx("stranger"), world.workspace_id, "open", None, 50)


async def test_arguments_are_sealed_and_shown_to_those_who_may_decide_and_to_whom_it_is_done_for(world: World) -> None:
    approval = await ask(world)
    row = await row_of(world, approval)
    assert b"exact text" not in bytes(row["arguments_sealed"])
    assert (await service.show(world.ctx("approver"), approval["id"]))["arguments"] == ARGUMENTS
    assert (await service.show(world.ctx("member"), approval["id"]))["arguments"] == ARGUMENTS
    hidden = await service.show(world.ctx("viewer"), approval["id"])
    assert hidden["arguments"] is None
    assert hidden["arguments_hidden"]
    with pytest.raises(ApprovalNotFound):
        await service.show(world.ctx("stranger"), approval["id"])
    everything = [str(entry) for table in ("event", "audit_entry", "decision") for entry in await world.rows(table)]
    assert not any("exact text" in entry for entry in everything)


@pytest.mark.capability("APR-10", part="bound to the digest that the decider saw")
async def test_deciding_on_another_digest_is_a_conflict(world: World) -> None:
    approval = await ask(world)
    with pytest.raises(DigestChanged):
        await service.decide(world.ctx("approver"), approval["id"], "approve", digest(world, {"title": "other"}))
    assert (await row_of(world, approval))["state"] == "open"
    done = await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])
    assert done["state"] == "approved"


@pytest.mark.capability("APR-10", part="single use; a retry is the same use")
async def test_an_approval_is_used_once_and_a_retry_of_the_same_use_is_the_same(world: World) -> None:
    approval = await approved(world)
    ctx = world.ctx("robot", behind="member")
    first = await service.redeem(
        ctx, approval["id"], digest=digest(world), decision=await again(world), used_by="key-1"
    )
    retry = await service.redeem(
        ctx, approval["id"], digest=digest(world), decision=await again(world), used_by="key-1"
    )
    other = await service.redeem(
        ctx, approval["id"], digest=digest(world), decision=await again(world), used_by="key-2"
    )
    assert (first.usable, retry.usable, other.usable) == (True, True, False)
    with pytest.raises(ApprovalUsed):
        await service.consume(ctx, approval["id"], "key-2")
    assert await service.find_usable(ctx, "step_1", digest(world)) is None
    assert len(await world.events("approval.used")) == 1


@pytest.mark.capability("APR-10", part="single use under concurrency")
async def test_of_many_uses_at_once_one_wins(world: World) -> None:
    approval = await approved(world)

    async def use(key: str) -> bool:
        try:
            await service.consume(world.ctx("robot", behind="member"), approval["id"], key)
        except ApprovalUsed:
            return False
        return True

    assert sum(await asyncio.gather(*(use(f"key-{number}") for number in range(12)))) == 1


@pytest.mark.capability("APR-10", part="changed arguments supersede")
async def test_changed_arguments_supersede_the_approval(world: World) -> None:
    approval = await approved(world)
    ctx = world.ctx("robot", behind="member")
    changed = digest(world, {**ARGUMENTS, "body": "another text"})
    answer = await service.redeem(ctx, approval["id"], digest=changed, decision=await again(world), used_by="key-1")
    assert (answer.usable, answer.reason) == (False, "superseded")
    assert (await row_of(world, approval))["state"] == "superseded"
    unchanged = await service.redeem(
        ctx, approval["id"], digest=digest(world), decision=await again(world), used_by="key-1"
    )
    assert not unchanged.usable, "superseded is for good"


@pytest.mark.capability("APR-10", part="the policy version beside the digest")
@pytest.mark.parametrize(("rule", "usable"), [("approve:1", True), ("approve:2", False)])
async def test_if_policy_moved_it_holds_only_with_the_same_verdict_and_rule(
    world: World, rule: str, usable: bool
) -> None:
    approval = await approved(world)
    text = f"""@verdict("ask") @rule("{rule}") forbid(principal, action == Worka::Action::"tool.invoke", resource);"""
    await governance.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    decision = await again(world)
    assert decision.policy_version != approval["policy_version"]
    ctx = world.ctx("robot", behind="member")
    answer = await service.redeem(ctx, approval["id"], digest=digest(world), decision=decision, used_by="key-1")
    assert answer.usable is usable
    assert (await row_of(world, approval))["state"] == ("approved" if usable else "superseded")


@pytest.mark.capability("APR-10", part="expiry")
async def test_an_expired_approval_is_neither_decided_nor_used(world: World) -> None:
    approval = await approved(world, expires_in=timedelta(milliseconds=400))
    waiting = await ask(world, subject="step_2", expires_in=timedelta(milliseconds=200))
    assert await service.find_usable(world.ctx("robot"), "step_1", digest(world)) is not None
    await asyncio.sleep(0.5)
    with pytest.raises(NotEligible, match="expired"):
        await service.decide(world.ctx("approver"), waiting["id"], "approve", waiting["digest"])
    assert await service.find_usable(world.ctx("robot"), "step_1", digest(world)) is None
    with pytest.raises(ApprovalUsed):
        await service.consume(world.ctx("robot", behind="member"), approval["id"], "key-1")
    heard = listen(world)
    assert await jobs.expire_due(world.nobody()) >= 1
    assert (await row_of(world, waiting))["state"] == "expired"
    assert [(entry["approval_id"], entry["state"]) for entry in heard] == [(waiting["id"], "expired")]
    assert (await row_of(world, approval))["state"] == "approved", "decided in time: it is not open any more"


async def approved(world: World, **changes: Any) -> dict[str, Any]:
    approval = await ask(world, **changes)
    await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])
    return approval


def listen(world: World) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []

    async def hear(ctx: Context, payload: dict[str, Any]) -> None:
        if ctx.tenant_id == world.tenant_id:
            heard.append(payload)

    world.subscribers.on("approval.decided", hear)
    return heard


@pytest.mark.capability("APR-9", part="a resumption that fails takes the decision back with it")
async def test_the_decision_and_what_it_resumes_are_one_transaction(world: World) -> None:
    approval = await ask(world)
    broken = True

    async def resume(ctx: Context, payload: dict[str, Any]) -> None:
        await ctx.conn.execute(
            "insert into worka.outbox (tenant_id, id, topic, payload) values (%s, 'resumed', 'test', '{}')",
            (ctx.tenant_id,),
        )
        if broken:
            raise RuntimeError("the successor could not be written")

    world.subscribers.on("approval.decided", resume)
    with pytest.raises(RuntimeError):
        await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])
    assert (await row_of(world, approval))["state"] == "open"
    assert await world.rows("approval_vote") == []
    assert await world.rows("outbox", "topic = 'test'") == []
    broken = False
    await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])
    assert (await row_of(world, approval))["state"] == "approved"
    assert [entry["id"] for entry in await world.rows("outbox", "topic = 'test'")] == ["resumed"]


@pytest.mark.capability("APR-9", part="two deciders at once resume once")
async def test_two_deciders_at_once_decide_once(world: World) -> None:
    approval, heard = await ask(world), listen(world)

    async def decide(who: str) -> bool:
        try:
            await service.decide(world.ctx(who), approval["id"], "approve", approval["digest"])
        except NotOpen:
            return False
        return True

    assert sorted(await asyncio.gather(*(decide(who) for who in ("approver", "admin", "owner")))) == [
        False,
        False,
        True,
    ]
    assert len(heard) == 1
    assert heard[0]["subject_id"] == "step_1"


@pytest.mark.capability("APR-11", part="N of M and four eyes")
async def test_two_of_several_have_to_agree(world: World) -> None:
    text = """@verdict("ask") @rule("approve:2") forbid(principal, action == Worka::Action::"tool.invoke", resource);"""
    await governance.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    approval, heard = await ask(world), listen(world)
    first = await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])
    assert (first["state"], first["missing"], heard) == ("open", ["1 of 2 approvals"], [])
    with pytest.raises(NotEligible, match="decided it already"):
        await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])
    second = await service.decide(world.ctx("admin"), approval["id"], "approve", approval["digest"])
    assert (second["state"], len(heard)) == ("approved", 1)


async def test_the_same_question_is_the_same_approval_and_another_is_a_new_one(world: World) -> None:
    first = await ask(world)
    assert (await ask(world))["id"] == first["id"]
    other = await ask(world, digest=digest(world, {"title": "other"}))
    assert other["id"] != first["id"]
    async with world.ctx("robot").transaction():
        pass
    assert await service.end_for(world.ctx("robot"), "step_1", "superseded", keep_digest=other["digest"]) == [
        first["id"]
    ]
    assert [row["id"] for row in await world.rows("approval", "state = 'open'")] == [other["id"]]


async def test_only_who_asked_takes_it_back_and_whoever_waits_is_told(world: World) -> None:
    approval, heard = await ask(world), listen(world)
    with pytest.raises(NotEligible):
        await service.withdraw(world.ctx("approver"), approval["id"])
    assert (await service.withdraw(world.ctx("member"), approval["id"]))["state"] == "withdrawn"
    assert [entry["state"] for entry in heard] == ["withdrawn"]


@pytest.mark.capability("XPL-1", part="approvals")
async def test_the_explanation_says_who_may_decide_and_why_the_reader_may_or_may_not(world: World) -> None:
    approval = await ask(world)
    mine = await explain.explain(world.ctx("approver"), approval["id"])
    assert mine.reason == "waiting_for_approver"
    assert mine.incident_class == "approval"
    (wait,) = mine.waiting_on
    assert wait.who == ["owner", "admin", "approver"]
    assert wait.you_can
    assert wait.deadline == approval["expires_at"]
    theirs = await explain.explain(world.ctx("member"), approval["id"])
    assert theirs.waiting_on[0].you_can is False
    assert "permission" in theirs.waiting_on[0].because
    assert [step.allowed for step in theirs.next] == [False, False]
    await service.decide(world.ctx("approver"), approval["id"], "approve", approval["digest"])
    done = await explain.explain(world.ctx("member"), approval["id"])
    assert (done.state, done.waiting_on) == ("approved", [])
    assert "approved by approver" in done.headline


async def test_where_nobody_can_decide_the_wait_says_so_and_who_could_change_that(world: World) -> None:
    from worka.workspaces import store as workspaces

    async with world.db.transaction(world.tenant_id) as conn:
        for who in ("admin", "approver"):
            await workspaces.remove_member(conn, world.workspace_id, "person", world.ids[who])
    approval = await ask(world, behind="owner")
    told = await explain.explain(world.ctx("owner"), approval["id"])
    assert (approval["reason"], told.reason) == ("nobody_can_decide", "nobody_can_decide")
    assert "naming an approver" in told.waiting_on[0].who[0]
    await world.person("late")
    await world.join("late", "viewer", approver=True)
    assert (await explain.explain(world.ctx("owner"), approval["id"])).reason == "waiting_for_approver"


@pytest.mark.capability("DEP-10", part="approvals")
async def test_another_tenants_approval_does_not_exist(world: World) -> None:
    from tests.workspaces.world import make

    other = await make(world.db, world.settings.home)
    approval = await ask(world)
    for ctx in (other.ctx("owner"), replace(other.ctx("owner"), tenant_id=world.tenant_id)):
        for attempt in (
            service.show(ctx, approval["id"]),
            service.decide(ctx, approval["id"], "approve", approval["digest"]),
            service.withdraw(ctx, approval["id"]),
            explain.explain(ctx, approval["id"]),
        ):
            with pytest.raises(ApprovalNotFound):
                await attempt
    assert (await service.show(world.ctx("owner"), approval["id"]))["state"] == "open"


def test_every_state_has_registered_reasons() -> None:
    for state in rules.APPROVAL.by_name.values():
        assert state.reasons
        assert all(reasons.get(code) is not None for code in state.reasons)


async def test_the_store_moves_an_approval_only_out_of_the_state_it_is_in(world: World) -> None:
    approval = await ask(world)
    async with world.db.transaction(world.tenant_id) as conn:
        assert await store.close(conn, approval["id"], "approved", "superseded", "superseded", None) is None
        assert await store.close(conn, approval["id"], "open", "withdrawn", "withdrawn", None) is not None


@pytest.mark.capability("APR-5", part="who asked and who decided keep their names after they have left")
async def test_who_asked_or_decided_and_has_left_is_called_by_name_and_sees_nothing(world: World) -> None:
    approval = await asked(world, "approve:2", who="member", behind=None)
    await say(world, "approver", approval)
    for who in ("member", "approver"):
        await membership.remove_member(world.ctx("owner"), world.workspace_id, world.ids[who])
    for card in (
        await service.show(world.ctx("owner"), approval["id"]),
        *await service.listing(world.ctx("owner"), world.workspace_id, None, None, 5),
    ):
        assert card["requester"] == {"kind": "person", "id": world.ids["member"], "name": "member"}
        assert [vote["person"]["name"] for vote in card["votes"]] == ["approver"]
    told = await explain.explain(world.ctx("owner"), approval["id"])
    assert any(item.label.startswith("approver said approve") for item in told.evidence)
    # A name on a card lets nobody in.
    for who in ("member", "approver"):
        with pytest.raises(Problem):
            await service.show(world.ctx(who), approval["id"])


def test_why_somebody_else_cannot_decide_is_told_of_them() -> None:
    from worka.approvals.explain import of_another

    for said, told in (
        ("You do not hold the permission approve here, and are no named approver.",
         "They do not hold the permission approve here, and are no named approver."),
        ("You are not a member of this workspace.", "They are not a member of this workspace."),
        ("Somebody to whom you delegated it has decided it for you already.",
         "Somebody to whom they delegated it has decided it for them already."),
        ("Ann delegated it to you, and policy does not let you decide here.",
         "Ann delegated it to them, and policy does not let them decide here."),
        ("You are in none of the groups that have to approve it (security).",
         "They are in none of the groups that have to approve it (security)."),
        ("Only a person gives consent.", "Only a person gives consent."),
    ):  # fmt: skip
        assert of_another(said) == told
