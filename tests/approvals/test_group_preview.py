"""What a change of a group would do, before it is done: told by doing it, and undoing it."""

from __future__ import annotations

import pytest

from tests.approvals.asking import asked, group, join, row_of
from tests.workspaces.world import World
from worka.approvals import group_preview, groups, service
from worka.approvals.errors import GroupExists, GroupInUse, NotAPerson
from worka.kernel.errors import Denied

PREVIEW = pytest.mark.capability("APR-11", part="what a change of a group would do is shown before it is done")


async def picture(world: World) -> list[object]:
    """Everything that a change of a group writes."""
    return [await world.rows(table) for table in ("approval_group", "approval_group_member", "event", "audit_entry")]


@PREVIEW
async def test_a_new_group_says_which_approvals_would_have_somebody_to_wait_for_and_makes_nothing(world: World) -> None:
    await join(world, "sara")
    await join(world, "vera", approver=False)
    approval = await asked(world, "approve:1 of group:security")
    other = await asked(world, "approve:1", number=2)
    assert (await row_of(world, approval["id"]))["reason"] == "nobody_can_decide"
    before = await picture(world)
    people = [world.ids["sara"], world.ids["vera"]]
    would = await group_preview.of_new(world.ctx("owner"), world.workspace_id, "security", "looks", people)
    assert [(member["name"], member["counts"]) for member in would["joins"]] == [("sara", True), ("vera", False)]
    assert would["approvals"] == [
        {
            "id": approval["id"],
            "title": approval["title"],
            "gains": ["sara"],
            "loses": [],
            "freed": True,
            "nobody": False,
        }
    ]
    assert other["id"] not in str(would)
    assert "2 people, of whom 1 could approve" in would["sentence"]
    assert "1 open approval would wait for other people" in would["sentence"]
    assert "1 open approval could then be decided that cannot be now" in would["sentence"]
    assert await picture(world) == before, "a preview left something behind"
    assert (await row_of(world, approval["id"]))["reason"] == "nobody_can_decide"
    # The control: what was shown is what happens.
    await groups.create(world.ctx("owner"), world.workspace_id, "security", "looks", people)
    card = await service.show(world.ctx("owner"), approval["id"])
    assert card["who_could"] == ["sara"]


@PREVIEW
async def test_taking_the_last_one_out_is_said_to_leave_nobody_and_deleting_is_refused_as_it_would_be(
    world: World,
) -> None:
    await join(world, "sara")
    made = await group(world, "security", "sara")
    approval = await asked(world, "approve:1 of group:security")
    would = await group_preview.of_change(world.ctx("owner"), made["id"], None, [], [world.ids["sara"]])
    (touched,) = would["approvals"]
    assert (touched["loses"], touched["nobody"]) == (["sara"], True)
    assert "1 open approval could then not be decided" in would["sentence"]
    assert [member["name"] for member in would["leaves"]] == ["sara"]
    with pytest.raises(GroupInUse):
        await group_preview.of_end(world.ctx("owner"), made["id"])
    await service.withdraw(world.ctx("member"), approval["id"])
    ended = await group_preview.of_end(world.ctx("owner"), made["id"])
    assert ended["deleted"]
    assert "would not be there any more" in ended["sentence"]
    shown = await groups.show(world.ctx("owner"), made["id"])
    assert [member["name"] for member in shown["members"]] == ["sara"]


@PREVIEW
async def test_a_preview_is_refused_to_whom_the_change_would_be(world: World) -> None:
    made = await group(world, "security", "approver")
    for who in ("member", "viewer", "approver"):
        with pytest.raises(Denied):
            await group_preview.of_new(world.ctx(who), world.workspace_id, "other", "", [])
        with pytest.raises(Denied):
            await group_preview.of_change(world.ctx(who), made["id"], None, [world.ids["owner"]], [])
        with pytest.raises(Denied):
            await group_preview.of_end(world.ctx(who), made["id"])
    admin = world.ctx("admin")
    with pytest.raises(GroupExists):
        await group_preview.of_new(admin, world.workspace_id, "security", "", [])
    with pytest.raises(NotAPerson):
        await group_preview.of_new(admin, world.workspace_id, "other", "", ["per_nobody"])
    assert (await group_preview.of_new(admin, world.workspace_id, "other", "", []))["joins"] == []
