"""Invitations after they were sent: listed, taken back, sent again, run out, and gone with who sent them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.workspaces.world import World, make
from worka.governance import preview
from worka.governance import service as governance
from worka.identity.errors import UsedOrUnknownToken
from worka.kernel.errors import Denied
from worka.workspaces import service, store
from worka.workspaces.errors import AlreadyMember, InvitationHeld, InvitationNotFound, InvitationOpen, InvitationOver

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.capability("IDN-15", part="invitations are listed, taken back and sent again")


async def sent(
    world: World, who: str = "owner", role: str = "viewer", email: str = "new@example.org"
) -> dict[str, Any]:
    return await service.invite(world.ctx(who), world.workspace_id, email, role, False)


async def opens(world: World, invitation: dict[str, Any]) -> bool:
    """Whether its link lets somebody in."""
    try:
        await service.accept(world.nobody(), invitation["invitation_token"], PASSWORD, "New")
    except UsedOrUnknownToken:
        return False
    return True


async def expired(world: World, invitation: dict[str, Any]) -> None:
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("select worka.invitation_renew(%s, %s, %s, %s, now() - interval '1 hour', %s)",
                           (world.tenant_id, world.workspace_id, invitation["invitation_id"],
                            world.sealer.hmac("credential", invitation["invitation_token"].encode()), world.ids["owner"]))  # fmt: skip


async def states(world: World) -> dict[str, str]:
    rows = await service.invitations(world.ctx("owner"), world.workspace_id)
    return {row["id"]: row["state"] for row in rows}


async def test_one_that_was_taken_back_lets_nobody_in_and_another_does(world: World) -> None:
    back, stays = await sent(world), await sent(world, email=f"stays.{world.tenant_id[-8:]}@example.org")
    await service.withdraw_invitation(world.ctx("admin"), world.workspace_id, back["invitation_id"])
    assert not await opens(world, back)
    assert await opens(world, stays)
    assert await states(world) == {back["invitation_id"]: "withdrawn", stays["invitation_id"]: "accepted"}
    for one in (back, stays):
        with pytest.raises(InvitationOver):
            await service.withdraw_invitation(world.ctx("owner"), world.workspace_id, one["invitation_id"])
        with pytest.raises(InvitationOver):
            await service.renew_invitation(world.ctx("owner"), world.workspace_id, one["invitation_id"])
    assert [event["subject"] for event in await world.events("workspace.invitation.withdrawn")] == [
        back["invitation_id"]
    ]


async def test_one_that_is_sent_again_has_a_new_link_and_the_old_one_is_dead(world: World) -> None:
    old = await sent(world, email=f"again.{world.tenant_id[-8:]}@example.org")
    await expired(world, old)
    assert await states(world) == {old["invitation_id"]: "expired"}
    assert not await opens(world, old)
    new = await service.renew_invitation(world.ctx("owner"), world.workspace_id, old["invitation_id"])
    assert new["invitation_token"] != old["invitation_token"]
    assert not await opens(world, old)
    assert await opens(world, new)


async def test_only_an_owner_sends_again_or_takes_back_an_owners_invitation_and_members_none(world: World) -> None:
    big, small = await sent(world, role="owner", email="big@example.org"), await sent(world)
    for act in (service.withdraw_invitation, service.renew_invitation):
        with pytest.raises(Denied):
            await act(world.ctx("admin"), world.workspace_id, big["invitation_id"])
        for who in ("member", "viewer", "approver"):
            with pytest.raises(Denied):
                await act(world.ctx(who), world.workspace_id, small["invitation_id"])
    with pytest.raises(Denied):
        await service.invitations(world.ctx("member"), world.workspace_id)
    await service.renew_invitation(world.ctx("admin"), world.workspace_id, small["invitation_id"])
    await service.withdraw_invitation(world.ctx("owner"), world.workspace_id, big["invitation_id"])


async def test_another_tenants_invitation_does_not_exist(world: World) -> None:
    other = await make(world.db, world.settings.home)
    theirs = await service.invite(other.ctx("owner"), other.workspace_id, "new@example.org", "viewer", False)
    for act in (service.withdraw_invitation, service.renew_invitation):
        with pytest.raises(InvitationNotFound):
            await act(world.ctx("owner"), world.workspace_id, theirs["invitation_id"])
    assert await states(world) == {}
    assert await states(other) == {theirs["invitation_id"]: "open"}


@pytest.mark.capability("IDN-15", part="what somebody sent who may not send it any more opens nothing")
@pytest.mark.parametrize("how", ["removed", "downgraded"])
async def test_what_somebody_sent_who_may_not_send_it_any_more_opens_nothing(world: World, how: str) -> None:
    by_admin = await sent(world, "admin")
    by_owner = await sent(world, "owner", email=f"kept.{world.tenant_id[-8:]}@example.org")
    if how == "removed":
        await service.remove_member(world.ctx("owner"), world.workspace_id, world.ids["admin"])
    else:
        await service.change_member(world.ctx("owner"), world.workspace_id, world.ids["admin"], "member", None)
    assert not await opens(world, by_admin)
    assert await opens(world, by_owner)


@pytest.mark.capability("IDN-15", part="what somebody sent who may not send it any more opens nothing")
async def test_an_admin_who_was_removed_does_not_come_back_by_an_invitation_that_they_sent_again(world: World) -> None:
    tail = f"{world.tenant_id[-8:]}@example.org"
    again, kept, vouched = [await sent(world, email=f"{name}.{tail}") for name in ("again", "kept", "vouched")]
    by_admin = await sent(world, "admin", email=f"handed.{tail}")
    admin, owner, here = world.ctx("admin"), world.ctx("owner"), world.workspace_id
    in_hand = await service.renew_invitation(admin, here, again["invitation_id"])
    taken_over = await service.renew_invitation(owner, here, by_admin["invitation_id"])
    for_vouched = await service.renew_invitation(admin, here, vouched["invitation_id"])
    assert {row["id"]: row["invited_by"] for row in await service.invitations(owner, here)} == {
        again["invitation_id"]: "admin", kept["invitation_id"]: "owner",
        vouched["invitation_id"]: "admin", by_admin["invitation_id"]: "owner",
    }  # fmt: skip
    assert await opens(world, for_vouched), "the control: it opens while its renewer may invite"
    (made,) = await world.events("identity.person.created")
    assert made["after"]["vouched_by"] == world.ids["admin"], "the ledger names who made the link that was used"
    await service.remove_member(owner, here, world.ids["admin"])
    assert not await opens(world, in_hand)
    assert await opens(world, kept), "the control: what the owner sent opens"
    listed = {row["id"]: row["invited_by"] for row in await service.invitations(owner, here)}
    assert listed[again["invitation_id"]] == "admin", "who sent it has left, and has a name all the same"
    assert await opens(world, taken_over), "the control: what the owner sent again is the owner's"


@pytest.mark.capability("IDN-15", part="what a stopped member sent lets nobody in")
@pytest.mark.parametrize("everywhere", [False, True])
async def test_what_somebody_sent_who_is_stopped_lets_nobody_in_until_they_are_not(
    world: World, everywhere: bool
) -> None:
    owner, here, tail = world.ctx("owner"), world.workspace_id, f"{world.tenant_id[-8:]}@example.org"
    by_admin = await sent(world, "admin", email=f"accomplice.{tail}")
    by_owner, again = await sent(world, email=f"kept.{tail}"), await sent(world, "admin", email=f"again.{tail}")
    kill = await governance.kill(owner, here, "member", world.ids["admin"], "a stolen laptop", everywhere)
    with pytest.raises(InvitationHeld) as refused:
        await service.accept(world.nobody(), by_admin["invitation_token"], PASSWORD, "Accomplice")
    assert "stolen" not in f"{refused.value.detail} {refused.value.remedy}", "who comes from outside is not told why"
    assert "worka member resend" in refused.value.remedy
    assert await people_called(world, "Accomplice") == [], "no account was made"
    (event,) = await world.events("workspace.invitation.held")
    assert (event["subject"], "a stolen laptop" in event["data"]["because"]) == (by_admin["invitation_id"], True)
    assert (await preview.of_token(world.nobody(), by_admin["invitation_token"]))["held"]
    assert not (await preview.of_token(world.nobody(), by_owner["invitation_token"]))["held"], "the control"
    listed = {row["id"]: row for row in await service.invitations(owner, here)}
    assert "a stolen laptop" in listed[by_admin["invitation_id"]]["held"]
    assert listed[by_owner["invitation_id"]]["held"] == ""
    assert await opens(world, by_owner), "the control: what another sent opens"
    taken_over = await service.renew_invitation(owner, here, again["invitation_id"])
    assert await opens(world, taken_over), "the control: an owner sends it again in their own name"
    await governance.lift(owner, here, kill["id"], "all", [], "found again", True)
    assert await opens(world, by_admin), "the control: it was not used up"


async def people_called(world: World, name: str) -> list[dict[str, Any]]:
    async with world.db.transaction(world.tenant_id) as conn:
        rows = await store.members(conn, world.workspace_id)
    made = [event for event in await world.events("identity.person.created") if event["subject_name"] == name]
    return [*made, *(row for row in rows if row["name"] == name)]


async def test_accepting_and_taking_back_at_the_same_moment_leaves_one_truth(world: World) -> None:
    one = await sent(world, email=f"race.{world.tenant_id[-8:]}@example.org")
    came = await asyncio.gather(
        opens(world, one),
        service.withdraw_invitation(world.ctx("owner"), world.workspace_id, one["invitation_id"]),
        return_exceptions=True,
    )
    state = (await states(world))[one["invitation_id"]]
    assert state == ("accepted" if came[0] is True else "withdrawn")
    assert isinstance(came[1], InvitationOver) == (came[0] is True)


ONE = pytest.mark.capability(
    "IDN-15", part="one address has one link that opens the workspace, and none once its person is in it"
)


@ONE
async def test_of_several_who_invite_one_address_at_once_one_does(world: World) -> None:
    email = f"many.{world.tenant_id[-8:]}@example.org"
    came = await asyncio.gather(
        *(sent(world, who, email=email) for who in ("owner", "admin") * 3), return_exceptions=True
    )
    made = [one for one in came if isinstance(one, dict)]
    refused = [one for one in came if isinstance(one, InvitationOpen)]
    assert (len(made), len(refused)) == (1, 5), came
    assert {one.extra["invitation"] for one in refused} == {made[0]["invitation_id"]}
    assert made[0]["invitation_id"] in refused[0].remedy
    await sent(world, email=f"another.{world.tenant_id[-8:]}@example.org")
    await service.withdraw_invitation(world.ctx("owner"), world.workspace_id, made[0]["invitation_id"])
    assert await opens(world, await sent(world, email=email)), "the control: once it is taken back, another goes out"


@ONE
async def test_whoever_came_in_by_one_invitation_keeps_no_other_for_later(world: World) -> None:
    email = f"two.{world.tenant_id[-8:]}@example.org"
    old = await sent(world, role="admin", email=email)
    await expired(world, old)
    new = await sent(world, email=email)
    with pytest.raises(InvitationOpen):
        await service.renew_invitation(world.ctx("owner"), world.workspace_id, old["invitation_id"])
    stays = await sent(world, email=f"stays.{world.tenant_id[-8:]}@example.org")
    assert await opens(world, new)
    assert await states(world) == {
        old["invitation_id"]: "withdrawn", new["invitation_id"]: "accepted", stays["invitation_id"]: "open",
    }  # fmt: skip
    assert [event["subject"] for event in await world.events("workspace.invitation.withdrawn")] == [
        old["invitation_id"]
    ]
    with pytest.raises(InvitationOver):
        await service.renew_invitation(world.ctx("owner"), world.workspace_id, old["invitation_id"])
    with pytest.raises(AlreadyMember) as here:
        await sent(world, role="admin", email=email)
    assert "worka member change" in here.value.remedy
