"""Groups that approval rules name: who counts for which seat, and who is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.approvals.asking import asked, group, join, row_of, say
from tests.workspaces.world import World, make
from worka.approvals import explain, groups, jobs, service
from worka.approvals.errors import GroupExists, GroupInUse, GroupNotFound, NotAPerson, NotEligible
from worka.governance import service as governance
from worka.kernel.errors import Denied
from worka.workspaces import service as workspaces

BOTH = "approve:2 of group:security and 1 of group:release"


async def people(world: World) -> None:
    """Three of security, two of release, one of them in both."""
    for name in ("sara", "sven", "both", "rosa"):
        await join(world, name)
    await group(world, "security", "sara", "sven", "both")
    await group(world, "release", "both", "rosa")


@pytest.mark.capability("APR-11", part="all-of groups")
async def test_every_group_of_a_rule_has_to_agree_with_as_many_as_it_says(world: World) -> None:
    await people(world)
    approval = await asked(world, BOTH)
    assert approval["rules"] == ["approve:1 of group:release and 2 of group:security"]
    card = await service.show(world.ctx("sara"), approval["id"])
    assert card["missing"] == ["1 of 1 approvals from group:release", "2 of 2 approvals from group:security"]
    assert set(card["who_could"]) == {"sara", "sven", "both", "rosa"}
    for outside in ("approver", "admin", "owner"):
        with pytest.raises(NotEligible, match="none of the groups") as refused:
            await say(world, outside, approval)
        assert set(refused.value.extra["who_could"]) == {"sara", "sven", "both", "rosa"}
    for who in ("sara", "sven"):
        assert (await say(world, who, approval))["state"] == "open"
    assert (await service.show(world.ctx("rosa"), approval["id"]))["missing"] == ["1 of 1 approvals from group:release"]
    assert (await say(world, "rosa", approval))["state"] == "approved"


@pytest.mark.capability("APR-11", part="a person counts for one seat only")
async def test_somebody_of_two_groups_fills_one_seat_and_makes_room_for_others(world: World) -> None:
    await people(world)
    approval = await asked(world, "approve:1 of group:security and 1 of group:release")
    assert (await say(world, "both", approval))["state"] == "open", "one person is one seat"
    # Whichever seat was theirs at first: either group's yes completes it.
    assert (await say(world, "rosa", approval))["state"] == "approved"
    other = await asked(world, "approve:1 of group:security and 1 of group:release", number=2)
    await say(world, "both", other)
    assert (await say(world, "sara", other))["state"] == "approved"


@pytest.mark.capability("APR-11", part="any-of groups")
async def test_any_of_several_groups_may_fill_a_seat(world: World) -> None:
    await people(world)
    approval = await asked(world, "approve:2 of group:release or group:security")
    await say(world, "rosa", approval)
    assert (await say(world, "sara", approval))["state"] == "approved"
    control = await asked(world, "approve:2 of group:release or group:security", number=2)
    with pytest.raises(NotEligible):
        await say(world, "approver", control)


async def test_who_is_not_needed_any_more_is_not_waited_for_and_their_no_still_counts(world: World) -> None:
    await people(world)
    approval = await asked(world, "approve:1 of group:security and 1 of group:release")
    await say(world, "sara", approval)
    card = await service.show(world.ctx("sven"), approval["id"])
    assert card["eligibility"]["eligible"]
    assert not card["eligibility"]["needed"]
    assert "your no would count" in card["eligibility"]["because"]
    assert set(card["who_could"]) == {"both", "rosa"}
    assert (await say(world, "sven", approval, "reject"))["state"] == "rejected"


@pytest.mark.capability("APR-4", part="a group gives nobody the permission")
async def test_a_group_gives_nobody_the_permission_to_approve(world: World) -> None:
    await group(world, "security", "member", "viewer")
    approval = await asked(world, "approve:1 of group:security", who="admin", behind=None)
    assert approval["reason"] == "nobody_can_decide"
    with pytest.raises(NotEligible, match="do not hold the permission"):
        await say(world, "viewer", approval)
    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["viewer"], None, True)
    assert (await say(world, "viewer", approval))["state"] == "approved"


@pytest.mark.capability("APR-4", part="taken out of a group, the very next decision is refused")
async def test_who_is_taken_out_of_a_group_cannot_decide_the_next_moment(world: World) -> None:
    await people(world)
    approval = await asked(world, "approve:1 of group:release")
    assert (await service.show(world.ctx("rosa"), approval["id"]))["eligibility"]["eligible"]
    (row,) = [
        row
        for row in await groups.listing(world.ctx("owner"), world.workspace_id, None, 50)
        if row["name"] == "release"
    ]
    await groups.change(world.ctx("owner"), row["id"], None, [], [world.ids["rosa"]])
    with pytest.raises(NotEligible, match="none of the groups"):
        await say(world, "rosa", approval)
    assert (await say(world, "both", approval))["state"] == "approved"


async def test_four_eyes_hold_for_the_seats_of_groups(world: World) -> None:
    await world.robot("robot2", owner="admin")
    await group(world, "security", "owner", "admin", "approver")
    approval = await asked(world, "approve:1 of group:security", who="robot2", behind="owner")
    for barred, why in (("owner", "You asked for it"), ("admin", "You own the AI team member")):
        with pytest.raises(NotEligible, match=why):
            await say(world, barred, approval)
    assert (await say(world, "approver", approval))["state"] == "approved"


@pytest.mark.capability("XPL-1", part="an approval that names a group which is not there")
async def test_a_wait_for_a_group_that_is_not_there_says_so_and_ends_when_it_is_made(world: World) -> None:
    approval = await asked(world, "approve:1 of group:security")
    assert approval["reason"] == "nobody_can_decide"
    told = await explain.explain(world.ctx("owner"), approval["id"])
    assert "there is no group security" in told.headline
    assert told.waiting_on[0].who == [
        "an owner or admin of the workspace, by making the group security with people in it"
    ]
    made = await group(world, "security")
    assert (
        "by adding approvers to security"
        in (await explain.explain(world.ctx("owner"), approval["id"])).waiting_on[0].who[0]
    )
    await groups.change(world.ctx("owner"), made["id"], None, [world.ids["approver"]], [])
    assert (await row_of(world, approval["id"]))["reason"] == "waiting_for_approver", "stored anew with the change"
    assert (await say(world, "approver", approval))["state"] == "approved"


async def test_the_groups_of_the_roles_are_there_without_being_made(world: World) -> None:
    approval = await asked(world, "approve:1 of group:owners")
    with pytest.raises(NotEligible):
        await say(world, "admin", approval)
    assert (await say(world, "owner", approval))["state"] == "approved"
    other = await asked(world, "approve:1 of group:admins", number=2)
    assert (await say(world, "admin", other))["state"] == "approved"


@pytest.mark.capability("APR-11", part="groups by policy")
async def test_a_tenants_policy_names_groups_and_the_rule_reaches_the_approval(world: World) -> None:
    from tests.approvals.test_approvals import ask

    await people(world)
    text = f"""@verdict("ask") @rule("{BOTH}") forbid(principal, action == Worka::Action::"tool.invoke", resource);"""
    await governance.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    approval = await ask(world)
    # The shipped floor's one approver and the tenant's groups both apply: sara's yes counts for each.
    assert approval["rules"] == ["approve:1", "approve:1 of group:release and 2 of group:security"]
    for who in ("sara", "sven"):
        assert (await say(world, who, approval))["state"] == "open"
    assert (await say(world, "rosa", approval))["state"] == "approved"


async def test_groups_are_made_changed_and_deleted_with_a_record_of_each(world: World) -> None:
    made = await group(world, "security", "approver")
    with pytest.raises(GroupExists):
        await group(world, "security")
    with pytest.raises(GroupExists):
        await group(world, "owners")
    with pytest.raises(NotAPerson):
        await group(world, "release", "stranger")
    with pytest.raises(NotAPerson):
        await group(world, "release", "robot")
    changed = await groups.change(
        world.ctx("admin"), made["id"], "who looks first", [world.ids["admin"]], [world.ids["approver"]]
    )
    assert ([member["name"] for member in changed["members"]], changed["purpose"]) == (["admin"], "who looks first")
    for who in ("member", "viewer", "approver", "robot"):
        with pytest.raises(Denied):
            await groups.change(world.ctx(who), made["id"], "mine", [], [])
    approval = await asked(world, "approve:1 of group:security")
    with pytest.raises(GroupInUse):
        await groups.delete(world.ctx("owner"), made["id"])
    await say(world, "admin", approval)
    await groups.delete(world.ctx("owner"), made["id"])
    assert await groups.listing(world.ctx("owner"), world.workspace_id, None, 50) == []
    kinds = [row["type"] for row in await world.rows("event", "subject = %s order by id", made["id"])]
    assert kinds == [
        "approval.group.created", "approval.group.changed", "approval.group.changed", "approval.group.changed",
        "approval.group.changed", "approval.group.deleted",
    ]  # fmt: skip


async def test_who_leaves_the_workspace_leaves_its_groups_for_good(world: World) -> None:
    jobs.subscribe(world.subscribers)
    made = await group(world, "security", "approver", "admin")
    await workspaces.remove_member(world.ctx("owner"), world.workspace_id, world.ids["approver"])
    await world.join("approver", "viewer", approver=True)
    assert [member["name"] for member in (await groups.show(world.ctx("owner"), made["id"]))["members"]] == ["admin"]
    approval = await asked(world, "approve:1 of group:security")
    with pytest.raises(NotEligible):
        await say(world, "approver", approval)
    assert (await say(world, "admin", approval))["state"] == "approved"


@pytest.mark.capability("DEP-10", part="groups of approvers")
async def test_another_tenants_group_does_not_exist(world: World) -> None:
    other = await make(world.db, world.settings.home)
    made = await group(world, "security", "approver")
    for ctx in (other.ctx("owner"), replace(other.ctx("owner"), tenant_id=world.tenant_id)):
        for attempt in (
            groups.show(ctx, made["id"]),
            groups.change(ctx, made["id"], "theirs", [], []),
            groups.delete(ctx, made["id"]),
        ):
            with pytest.raises(GroupNotFound):
                await attempt
    # A group of the same name elsewhere gives nobody a seat here.
    await group(other, "security", "approver")
    approval = await asked(world, "approve:1 of group:security")
    assert (await service.show(world.ctx("owner"), approval["id"]))["who_could"] == ["approver"]
    assert (await groups.show(world.ctx("owner"), made["id"]))["purpose"] == ""
