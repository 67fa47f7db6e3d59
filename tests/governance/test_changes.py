"""A change of policy by one owner is a proposal; somebody else puts it in force, by approving exactly this text."""

from __future__ import annotations

import signal
from datetime import timedelta
from typing import Any

import pytest

from tests.governance.test_layers import ask, call, deny
from tests.support import processes
from tests.workspaces.world import World, decided_while_held, make
from worka import governance
from worka.approvals import service as approvals
from worka.approvals.errors import DigestChanged, NotEligible, NotOpen
from worka.governance import service, store
from worka.governance.errors import PolicyLocksOut, ProposalNotFound
from worka.kernel.context import Principal
from worka.kernel.errors import Denied

FOUR_EYES = pytest.mark.capability("APR-1", "APR-4", part="a change of policy")


@pytest.fixture(autouse=True)
def plugged(world: World) -> None:
    """As the process roles do it."""
    governance.subscribe(world.subscribers)


async def propose(world: World, text: str, who: str = "owner", **fields: Any) -> dict[str, Any]:
    return await service.save_policy(world.ctx(who), world.workspace_id, "governance", text, "why", **fields)


async def vote(world: World, proposal: dict[str, Any], who: str, said: str = "approve") -> dict[str, Any]:
    return await approvals.decide(world.ctx(who), proposal["approval_id"], said, proposal["digest"])


async def may_call(world: World) -> bool:
    return (await world.ctx("member").decide("tool.invoke", call(world))).verdict == "allow"


@FOUR_EYES
async def test_a_change_by_one_of_two_owners_holds_only_when_the_other_has_approved_it(two_owners: World) -> None:
    world = two_owners
    proposal = await propose(world, deny("stop"))
    assert (proposal.get("state"), proposal.get("base_version")) == ("open", 0)
    assert await may_call(world), "a proposal holds nothing"
    card = await approvals.show(world.ctx("second"), proposal["approval_id"])
    assert (card["boundary"], card["requester"]["name"]) == ("policy.change", "owner")
    assert any("stop says no" in line for line in card["card"]["difference"])
    assert (await vote(world, proposal, "second"))["state"] == "approved"
    assert not await may_call(world)
    (version,) = await world.rows("policy_version")
    assert (version["version"], version["created_by"], version["approved_by"]) == (
        1,
        world.ids["owner"],
        world.ids["second"],
    )
    shown = await service.show_proposal(world.ctx("viewer"), proposal["id"])
    assert (shown["state"], shown["version"]) == ("in_force", 1)
    (saved,) = await world.events("policy.version.saved")
    assert saved["cause"] == {"kind": "approval", "id": proposal["approval_id"]}
    assert len(await world.events("policy.change.proposed")) == 1


@FOUR_EYES
async def test_an_admin_or_a_named_approver_can_be_the_second_person(two_owners: World) -> None:
    for who in ("admin", "approver"):
        proposal = await propose(two_owners, deny(who))
        await vote(two_owners, proposal, who)
    assert [row["version"] for row in await two_owners.rows("policy_version", "true order by version")] == [1, 2]


@FOUR_EYES
async def test_nobody_approves_their_own_change_through_another_of_their_principals(two_owners: World) -> None:
    world = two_owners
    await world.robot("robot2", owner="owner")
    proposal = await propose(world, deny("stop"))
    with pytest.raises(NotEligible, match="You asked for it"):
        await vote(world, proposal, "owner")
    with pytest.raises(NotEligible, match="Only a person"):
        await approvals.decide(
            world.ctx("robot2", behind="owner"), proposal["approval_id"], "approve", proposal["digest"]
        )
    by_token = world.context(
        Principal("person", world.ids["owner"], "owner"), tenant_id=world.tenant_id, workspace_id=world.workspace_id,
        originating_person=world.ids["owner"], credential_id="tok_00000000000000000000000000",
    )  # fmt: skip
    with pytest.raises(NotEligible, match="You asked for it"):
        await approvals.decide(by_token, proposal["approval_id"], "approve", proposal["digest"])
    for who in ("member", "viewer"):
        with pytest.raises(NotEligible):
            await vote(world, proposal, who)
    assert await may_call(world)
    await vote(world, proposal, "second")
    assert not await may_call(world), "the control"


async def test_approving_and_saving_at_once_take_locks_in_one_order(two_owners: World) -> None:
    world = two_owners
    proposal = await propose(world, deny("stop"))
    await decided_while_held(
        world,
        proposal["approval_id"],
        vote(world, proposal, "second"),
        lambda conn: store.proposal(conn, proposal["id"], lock=True),
    )
    assert not await may_call(world)


@FOUR_EYES
async def test_an_approval_of_another_text_is_refused(two_owners: World) -> None:
    proposal = await propose(two_owners, deny("one"))
    other = await propose(two_owners, deny("two"))
    with pytest.raises(DigestChanged):
        await approvals.decide(two_owners.ctx("second"), proposal["approval_id"], "approve", other["digest"])
    assert await two_owners.rows("policy_version") == []
    await vote(two_owners, proposal, "second")
    assert (await two_owners.rows("policy_version"))[0]["text"] == deny("one")


@FOUR_EYES
async def test_of_two_proposals_over_one_version_the_second_is_superseded_and_its_approval_not_spent(
    two_owners: World,
) -> None:
    world = two_owners
    first, second = await propose(world, deny("one")), await propose(world, deny("two"), who="second")
    await vote(world, first, "second")
    with pytest.raises(NotOpen):
        await vote(world, second, "owner")
    shown = await service.show_proposal(world.ctx("owner"), second["id"])
    assert (shown["state"], shown["outcome"]) == ("closed", "superseded")
    (approval,) = await world.rows("approval", "id = %s", second["approval_id"])
    assert (approval["state"], approval["consumed_at"]) == ("superseded", None)
    assert len(await world.rows("policy_version")) == 1
    assert len(await world.events("policy.change.closed")) == 1


@FOUR_EYES
@pytest.mark.parametrize("how", ["rejected", "withdrawn"])
async def test_a_refused_or_withdrawn_change_is_closed_and_holds_nothing(two_owners: World, how: str) -> None:
    world = two_owners
    proposal = await propose(world, deny("stop"))
    if how == "rejected":
        await vote(world, proposal, "second", "reject")
    else:
        await approvals.withdraw(world.ctx("owner"), proposal["approval_id"])
    shown = await service.show_proposal(world.ctx("owner"), proposal["id"])
    assert (shown["state"], shown["outcome"]) == ("closed", how)
    assert await may_call(world)


@FOUR_EYES
async def test_who_is_no_owner_any_more_when_it_is_approved_changes_nothing(two_owners: World) -> None:
    world = two_owners
    proposal = await propose(world, deny("stop"))
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'admin' where principal_id = %s", (world.ids["owner"],))
    await vote(world, proposal, "second")
    shown = await service.show_proposal(world.ctx("second"), proposal["id"])
    assert (shown["state"], shown["outcome"]) == ("closed", "superseded")
    assert await may_call(world)
    again = await propose(world, deny("stop"), who="second")
    assert again["state"] == "in_force", "the only owner that is left"


@FOUR_EYES
async def test_the_only_owner_changes_policy_alone_and_the_version_says_that_nobody_approved_it(world: World) -> None:
    saved = await propose(world, deny("stop"))
    assert (saved["state"], saved["version"], saved["approved_by"]) == ("in_force", 1, "")
    (event,) = await world.events("policy.version.saved")
    assert (event["cause"], event["after"]["approved_by"]) == (None, "")


@FOUR_EYES
async def test_a_tenant_with_one_owner_asks_for_a_second_person_by_policy(world: World) -> None:
    text = '@id("eyes") @verdict("ask") @rule("approve:1") forbid(principal, action == Worka::Action::"policy.save", resource);'
    await propose(world, text)
    proposal = await propose(world, text + deny("stop"))
    assert proposal["state"] == "open"
    await vote(world, proposal, "admin")
    assert not await may_call(world)


@FOUR_EYES
async def test_a_workspaces_own_policy_has_its_own_second_person(two_owners: World) -> None:
    proposal = await propose(two_owners, deny("here"), scope="workspace")
    assert (proposal["state"], proposal["scope"]) == ("open", two_owners.workspace_id)
    await vote(two_owners, proposal, "second")
    assert not await may_call(two_owners)
    for who in ("admin", "member", "viewer", "stranger"):
        with pytest.raises(Denied):
            await propose(two_owners, "", who=who, scope="workspace")


async def test_the_same_proposal_again_is_the_same(two_owners: World) -> None:
    first = await propose(two_owners, deny("stop"))
    assert (await propose(two_owners, deny("stop")))["id"] == first["id"]
    assert len(await two_owners.rows("approval")) == 1


@pytest.mark.capability("DEP-10", part="proposed changes of policy")
async def test_another_tenant_does_not_see_a_proposal(two_owners: World) -> None:
    other = await make(two_owners.db, two_owners.settings.home)
    proposal = await propose(two_owners, deny("stop"))
    with pytest.raises(ProposalNotFound):
        await service.show_proposal(other.ctx("owner"), proposal["id"])
    with pytest.raises(ProposalNotFound):
        await service.show_proposal(two_owners.ctx("stranger"), proposal["id"])
    assert (await service.show_proposal(two_owners.ctx("viewer"), proposal["id"]))["text"] == deny("stop")


# locking out --------------------------------------------------------------------------------------------------------
ALL = "principal, action, resource"


@pytest.mark.capability("IDN-12", part="no policy takes policy out of the owners' hands")
@pytest.mark.parametrize(
    ("kind", "text", "statement"),
    [
        ("access", f"forbid({ALL});", 1),
        ("access", 'forbid(principal, action == Worka::Action::"policy.view", resource);', 1),
        ("access", f'{deny("fine")}\n\nforbid(principal, action == Worka::Action::"policy.save", resource);', 2),
        ("governance", f'@verdict("deny") forbid({ALL});', 1),
        (
            "governance",
            '@verdict("deny") forbid(principal, action == Worka::Action::"policy.save", resource)'
            ' when { context has kind && context.kind == "access" };',
            1,
        ),
        (
            "governance",
            '@verdict("ask") @rule("approve:9") forbid(principal, action == Worka::Action::"policy.save", resource);',
            1,
        ),
    ],
)
@pytest.mark.parametrize("owners", [1, 2])
async def test_a_text_after_which_nobody_could_undo_it_is_refused_and_the_statement_named(
    world: World, kind: str, text: str, statement: int, owners: int
) -> None:
    if owners == 2:
        await world.person("second")
        await world.join("second", "owner")
    with pytest.raises(PolicyLocksOut, match="locks every owner out") as refused:
        await service.save_policy(world.ctx("owner"), world.workspace_id, kind, text, "")
    assert {fault["statement"] for fault in refused.value.extra["errors"]} == {statement}
    assert await world.rows("policy_version") == []
    # The control: the same, with a way in for owners.
    let_in = (
        text.rstrip(";") + ' unless { principal.roles.contains("owner") };'
        if "when" not in text
        else text.replace(" };", ' && !principal.roles.contains("owner") };')
    )
    made = await service.save_policy(world.ctx("owner"), world.workspace_id, kind, let_in, "")
    assert made["state"] == ("in_force" if owners == 1 else "open")


async def test_where_two_owners_are_nobody_may_be_kept_from_approving(two_owners: World) -> None:
    text = 'forbid(principal, action == Worka::Action::"approval.decide", resource);'
    with pytest.raises(PolicyLocksOut, match="approve a change of it"):
        await service.save_policy(two_owners.ctx("owner"), two_owners.workspace_id, "access", text, "")
    narrow = text.rstrip(";") + f' unless {{ principal == Worka::Person::"{two_owners.ids["admin"]}" }};'
    made = await service.save_policy(two_owners.ctx("owner"), two_owners.workspace_id, "access", narrow, "")
    assert made["state"] == "open", "one who can approve is enough"


async def test_what_the_tenants_own_text_locks_is_not_blamed_on_a_workspaces(world: World) -> None:
    checked = await service.check_policy(world.ctx("viewer"), world.workspace_id, "access", f"forbid({ALL});")
    assert (checked["ok"], checked["would"], checked["faults"][0]["line"]) == (False, "be refused", 1)
    fine = await service.check_policy(world.ctx("viewer"), world.workspace_id, "governance", ask("a", "approve"))
    assert (fine["ok"], fine["would"], fine["faults"]) == (True, "hold at once", [])
    assert any(line.startswith("+@id") for line in fine["difference"])


# break-glass --------------------------------------------------------------------------------------------------------
def machine(world: World) -> Any:
    return world.context(Principal("platform", "platform", "root on host"), tenant_id=world.tenant_id)


async def test_break_glass_puts_a_place_back_to_the_floor_for_a_while_and_says_so(world: World) -> None:
    await propose(world, deny("stop"))
    assert not await may_call(world)
    for who in ("owner", "operator"):
        with pytest.raises(Denied, match="on the machine"):
            await service.break_glass(world.ctx(who), None, "please", 1)
    glass = await service.break_glass(machine(world), None, "wrong text", 2)
    assert await may_call(world)
    shown = await service.newest_policy(world.ctx("viewer"), world.workspace_id, "governance")
    assert (shown["version"], shown["break_glass"]["reason"], shown["break_glass"]["opened_by"]) == (
        1,
        "wrong text",
        "root on host",
    )
    assert shown["break_glass"]["until"] - glass["opened_at"] == timedelta(hours=2)
    (event,) = await world.events("policy.break_glass.opened")
    assert (event["actor_name"], event["after"]["reason"], event["lane"]) == ("root on host", "wrong text", "policy")
    await service.mend_glass(machine(world), None)
    assert not await may_call(world)
    assert len(await world.events("policy.break_glass.ended")) == 1


async def test_break_glass_ends_by_itself_and_with_the_next_version(world: World) -> None:
    await propose(world, deny("stop"))
    await service.break_glass(machine(world), None, "wrong text", 1)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.policy_break_glass set until = now() - interval '1 second'")
    assert not await may_call(world), "its time is over"
    await service.break_glass(machine(world), None, "again", 1)
    assert await may_call(world)
    await propose(world, deny("better"))
    assert not await may_call(world), "the new version holds at once"
    with pytest.raises(Exception, match="at most 24"):
        await service.break_glass(machine(world), None, "too long", 25)


async def test_break_glass_of_a_workspace_leaves_the_tenants_policy(world: World) -> None:
    await propose(world, deny("here"), scope="workspace")
    await service.break_glass(machine(world), world.workspace_id, "wrong", 1)
    assert await may_call(world)
    await propose(world, deny("all"))
    assert not await may_call(world)


# killed around the commit -------------------------------------------------------------------------------------------
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.workspaces.world import World
from worka import governance
from worka.approvals import service as approvals
from worka.governance import service
from worka.kernel.context import Principal
from worka.kernel.db import Database
from worka.kernel.settings import Settings

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    governance.subscribe(world.subscribers)
    if given["do"] == "save":
        await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", given["text"], "")
    elif given["do"] == "approve":
        await approvals.decide(world.ctx("second"), given["approval"], "approve", given["digest"])
    elif given["do"] == "kill":
        await service.kill(world.ctx("owner"), world.workspace_id, "workspace", world.workspace_id, "r", False)
    else:
        ctx = world.context(Principal("platform", "platform", "root"), tenant_id=world.tenant_id)
        await service.break_glass(ctx, None, "r", 1)
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


async def run(world: World, cluster: Any, do: str, failpoint: str | None, **given: Any) -> int:
    """Runs one use case in a process of its own; returns how that ended."""
    told = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id, "do": do,
        "workspace": world.workspace_id, "ids": world.ids, **given,
    }  # fmt: skip
    return await processes.ran(PROGRAM, told, failpoint)


@pytest.mark.faults
@pytest.mark.capability("APR-9", part="a kill around the commit of a change of policy")
async def test_a_kill_before_the_commit_of_an_approved_change_leaves_neither_vote_nor_version(
    two_owners: World, cluster: Any
) -> None:
    world = two_owners
    assert await run(world, cluster, "save", "policy.proposed.before_commit", text=deny("stop")) == -signal.SIGKILL
    assert await world.rows("policy_proposal") == await world.rows("approval") == []
    proposal = await propose(world, deny("stop"))
    given = {"approval": proposal["approval_id"], "digest": proposal["digest"]}
    assert await run(world, cluster, "approve", "policy.approved.before_commit", **given) == -signal.SIGKILL
    assert await world.rows("policy_version") == await world.rows("approval_vote") == []
    assert (await service.show_proposal(world.ctx("owner"), proposal["id"]))["state"] == "open"
    assert await run(world, cluster, "approve", "approval.decided.after_commit", **given) == -signal.SIGKILL
    assert len(await world.rows("policy_version")) == len(await world.rows("approval_vote")) == 1
    assert (await service.show_proposal(world.ctx("owner"), proposal["id"]))["state"] == "in_force"
    assert not await may_call(world)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("do", "failpoint", "table"),
    [
        ("save", "policy.saved.before_commit", "policy_version"),
        ("glass", "policy.break_glass.before_commit", "policy_break_glass"),
        ("kill", "kill.moved.before_commit", "kill"),
    ],
)
async def test_a_kill_before_the_commit_leaves_nothing_and_the_repeat_all_of_it(
    world: World, cluster: Any, do: str, failpoint: str, table: str
) -> None:
    assert await run(world, cluster, do, failpoint, text=deny("stop")) == -signal.SIGKILL
    assert await world.rows(table) == await world.rows("event") == []
    assert await run(world, cluster, do, None, text=deny("stop")) == 0
    assert len(await world.rows(table)) == len(await world.rows("event")) == 1
