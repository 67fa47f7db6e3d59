"""Tenants, invitations and members on a real database."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.support.database import may_idle
from tests.workspaces.world import World, make, somebody_waits
from worka import identity
from worka.identity import passwords
from worka.identity import rules as person_rules
from worka.identity.errors import BadSignIn, NotYours, TeamMemberNotFound, TooManySignIns, UsedOrUnknownToken
from worka.kernel.errors import Conflict, Denied, Invalid
from worka.kernel.ids import new_id
from worka.workspaces import rules, service, store
from worka.workspaces.errors import AlreadyMember, LastOwner, MemberNotFound, SlugTaken, WorkspaceNotFound

PASSWORD = "correct horse battery"


def slug() -> str:
    return new_id("ten")[4:].lower()


@pytest.mark.capability("IDN-12", part="tenants are the operator's")
async def test_only_an_operator_makes_a_tenant_and_gets_no_role_in_it(world: World) -> None:
    for who in ("owner", "member", "stranger"):
        with pytest.raises(Denied):
            await service.create_tenant(world.ctx(who), slug(), "T", "Main", "o@example.org")
    ctx = replace(world.ctx("operator"), tenant_id=None, workspace_id=None)
    made = await service.create_tenant(ctx, short := slug(), "T", "Main room", "boss@example.org")
    with pytest.raises(SlugTaken):
        await service.create_tenant(ctx, short, "T", "Main", "boss@example.org")
    async with world.db.transaction(made["tenant_id"]) as conn:
        assert await store.members(conn, made["workspace_id"]) == []
        workspace = await store.workspace(conn, made["workspace_id"])
        cursor = await conn.execute("select type from worka.event order by id")
        assert [row["type"] for row in await cursor.fetchall()] == [
            "tenant.created", "workspace.created", "workspace.member.invited",
        ]  # fmt: skip
    assert workspace is not None
    assert workspace["slug"] == "main-room"
    inside = replace(world.ctx("operator"), tenant_id=made["tenant_id"], workspace_id=made["workspace_id"])
    with pytest.raises(Denied):
        await service.members(inside, made["workspace_id"])


async def test_an_invitation_makes_an_account_and_a_member_once(world: World) -> None:
    address = f"new.{slug()}@example.org"
    invitation = await service.invite(world.ctx("owner"), world.workspace_id, address, "viewer", True)
    token = invitation["invitation_token"]
    tries = await asyncio.gather(
        *(service.accept(world.nobody(), token, PASSWORD, "New One") for _ in range(3)), return_exceptions=True
    )
    (accepted,) = [entry for entry in tries if isinstance(entry, dict)]
    assert [type(entry) for entry in tries if not isinstance(entry, dict)] == [UsedOrUnknownToken] * 2
    credential = await identity.authenticate(world.db, world.sealer, accepted["session_token"])
    assert credential.principal.id == accepted["person_id"]
    assert credential.principal.operator is False
    (made,) = await world.events("identity.person.created")
    assert made["after"] == {"operator": False, "vouched_by": world.ids["owner"]}, "the ledger names who vouched"
    async with world.db.transaction(world.tenant_id) as conn:
        assert await store.roles_of(conn, world.workspace_id, "person", accepted["person_id"]) == ["viewer", "approver"]
    (added,) = await world.events("workspace.member.added")
    assert added["after"] == {"role": "viewer", "approver": True}


async def test_an_invitation_is_no_way_into_somebodys_account(world: World) -> None:
    person = await world.person("known", password_hash=await passwords.hash_password(PASSWORD))
    async with world.db.transaction(None) as conn:
        row = await identity.store.person(conn, person)
    assert row is not None
    token = (await service.invite(world.ctx("admin"), world.workspace_id, row["email"], "member", False))[
        "invitation_token"
    ]
    with pytest.raises(BadSignIn):
        await service.accept(world.nobody(), token, "a password of the thief", "Thief")
    accepted = await service.accept(world.nobody(), token, PASSWORD, "ignored")
    assert accepted["person_id"] == person, "the refused try did not use the invitation up"
    with pytest.raises(AlreadyMember):
        await service.invite(world.ctx("admin"), world.workspace_id, row["email"], "admin", False)


async def test_invitations_are_no_way_to_guess_a_password(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await world.person("guessed", password_hash=await passwords.hash_password(PASSWORD))
    async with world.db.transaction(None) as conn:
        row = await identity.store.person(conn, person)
    assert row is not None
    other = await make(world.db, world.settings.home)
    invited = [
        (await service.invite(place.ctx("admin"), place.workspace_id, row["email"], "member", False))[
            "invitation_token"
        ]
        for place in (world, other)
    ]
    monkeypatch.setattr(person_rules, "PAIR", person_rules.Limit("pair", 2, 60))
    for token in invited:
        with pytest.raises(BadSignIn):
            await service.accept(world.nobody(), token, "a password of the thief", "Thief")
    for token in invited:  # the budget is the address's: another invitation has no tries of its own
        with pytest.raises(TooManySignIns) as limited:
            await service.accept(world.nobody(), token, PASSWORD, "")
        assert 0 < limited.value.extra["retry_after"] <= 60
    monkeypatch.setattr(person_rules, "PAIR", person_rules.Limit("pair", 20, 60))
    accepted = await service.accept(world.nobody(), invited[0], PASSWORD, "")
    assert accepted["person_id"] == person, "a right first try works, and the refused ones used nothing up"


async def test_a_role_change_holds_at_once_and_the_last_owner_stays(world: World) -> None:
    with pytest.raises(LastOwner):
        await service.change_member(world.ctx("owner"), world.workspace_id, world.ids["owner"], "admin", None)
    with pytest.raises(LastOwner):
        await service.remove_member(world.ctx("owner"), world.workspace_id, world.ids["owner"])
    with pytest.raises(Denied, match="owner"):
        await service.change_member(world.ctx("admin"), world.workspace_id, world.ids["owner"], "viewer", None)
    await service.change_member(world.ctx("owner"), world.workspace_id, world.ids["admin"], "owner", None)
    await service.change_member(world.ctx("admin"), world.workspace_id, world.ids["owner"], "viewer", None)
    with pytest.raises(Denied):
        await service.change_member(world.ctx("owner"), world.workspace_id, world.ids["member"], "viewer", None)
    changed = await world.events("workspace.member.changed")
    assert [(event["before"]["role"], event["after"]["role"]) for event in changed] == [
        ("admin", "owner"),
        ("owner", "viewer"),
    ]


async def test_two_owners_cannot_both_leave_at_once(world: World) -> None:
    await service.change_member(world.ctx("owner"), world.workspace_id, world.ids["admin"], "owner", None)
    tries = await asyncio.gather(
        *(service.remove_member(world.ctx(who), world.workspace_id, world.ids[who]) for who in ("owner", "admin")),
        return_exceptions=True,
    )
    assert sorted(type(entry).__name__ for entry in tries) == ["LastOwner", "NoneType"]


async def test_two_changes_of_one_member_at_once_do_not_undo_each_other(world: World) -> None:
    """Somebody is made a viewer while somebody else names the same person an approver."""
    target, boss = world.ids["member"], world.ctx("owner")
    async with boss.transaction() as conn:
        await may_idle(conn)
        await service.change_member(boss, world.workspace_id, target, "viewer", None)
        naming = asyncio.create_task(service.change_member(world.ctx("admin"), world.workspace_id, target, None, True))
        await somebody_waits(world)
    assert await naming == {"principal_id": target, "role": "viewer", "approver": True}
    first, second = await world.events("workspace.member.changed")
    assert first["after"] == second["before"] == {"role": "viewer", "approver": False}
    assert (await world.rows("membership", "principal_id = %s", target))[0]["role"] == "viewer"


async def test_who_is_taken_out_while_its_role_is_changed_is_not_found(world: World) -> None:
    target, boss = world.ids["member"], world.ctx("owner")
    async with boss.transaction() as conn:
        await may_idle(conn)
        await service.remove_member(boss, world.workspace_id, target)
        changing = asyncio.create_task(
            service.change_member(world.ctx("admin"), world.workspace_id, target, "viewer", None)
        )
        await somebody_waits(world)
    with pytest.raises(MemberNotFound):
        await changing
    assert await world.events("workspace.member.changed") == []


async def test_a_removed_member_loses_its_tokens_and_its_rights_at_once(world: World) -> None:
    made = await identity.service.create_token(world.ctx("member"), world.workspace_id, "x", None, None)
    await service.remove_member(world.ctx("admin"), world.workspace_id, world.ids["member"])
    with pytest.raises(identity.service.BadCredential):
        await identity.authenticate(world.db, world.sealer, made["token"])
    with pytest.raises(Denied):
        await service.members(world.ctx("member"), world.workspace_id)
    with pytest.raises(MemberNotFound):
        await service.remove_member(world.ctx("admin"), world.workspace_id, world.ids["member"])
    (event,) = await world.events("workspace.member.removed")
    assert event["data"] == {"tokens_revoked": 1}


@pytest.mark.capability("IDN-16", part="owner, approvers and AI team members are listed")
async def test_the_member_list_is_complete_with_approvers_and_owners_of_team_members(world: World) -> None:
    found = {row["name"]: row for row in await service.members(world.ctx("viewer"), world.workspace_id)}
    assert set(found) == {"owner", "admin", "member", "viewer", "approver", "robot"}
    assert found["approver"]["approver"] is True
    assert found["robot"]["owner_person_id"] == world.ids["member"]


@pytest.mark.capability("TEA-5", part="adding")
async def test_a_team_member_is_added_with_its_tools_and_never_becomes_an_admin(world: World) -> None:
    fields = {"name": "scribe", "responsibility": "notes", "instructions": "", "tools": ["acme.notes.compose"]}
    with pytest.raises(Denied):
        await service.add_team_member(world.ctx("member"), world.workspace_id, fields, "member")
    with pytest.raises(NotYours):
        await identity.service.create_team_member(world.ctx("robot"), world.workspace_id, fields)
    made = await service.add_team_member(world.ctx("admin"), world.workspace_id, fields, "member")
    assert made["owner_person_id"] == world.ids["admin"]
    assert made["tools"] == ["acme.notes.compose"]
    with pytest.raises(Conflict):
        await service.add_team_member(world.ctx("admin"), world.workspace_id, fields, "member")
    with pytest.raises(Invalid):
        await service.change_member(world.ctx("owner"), world.workspace_id, made["id"], "admin", None)
    with pytest.raises(Invalid):
        await service.change_member(world.ctx("owner"), world.workspace_id, made["id"], None, True)
    rows = await service.team_members(world.ctx("viewer"), world.workspace_id, None, 1)
    assert len(rows) == 2, "one more than the limit tells that there is more"


@pytest.mark.capability("DEP-10", part="workspaces and members")
async def test_another_tenants_workspace_does_not_exist(world: World) -> None:
    from tests.workspaces.world import make

    other = await make(world.db, world.settings.home)
    with pytest.raises(WorkspaceNotFound):
        await service.workspace(world.ctx("owner"), other.workspace_id)
    assert (await service.workspace(world.ctx("owner"), world.workspace_id))["id"] == world.workspace_id
    with pytest.raises(MemberNotFound):
        await service.change_member(world.ctx("owner"), world.workspace_id, other.ids["member"], "viewer", None)
    with pytest.raises(TeamMemberNotFound):
        await identity.service.change_team_member(
            world.ctx("owner"), world.workspace_id, other.ids["robot"], {"enabled": False}
        )
    mine = await service.my_workspaces(world.ctx("owner"))
    assert [entry["id"] for entry in mine] == [world.workspace_id]
    async with world.db.transaction(world.tenant_id) as conn:
        assert await store.members(conn, other.workspace_id) == []
        assert await store.roles_of(conn, other.workspace_id, "person", other.ids["owner"]) == []


def test_short_names() -> None:
    assert rules.slug_of("  Ärger & Co. KG ") == "rger-co-kg"
    assert rules.slug_of("!!!") == "main"
    for wrong in ("", "-a", "a-", "A", "a" * 49):
        with pytest.raises(Invalid):
            rules.check_slug(wrong)
    assert rules.unpack_role(rules.pack_role("viewer", True)) == ("viewer", True)
    assert rules.unpack_role("member") == ("member", False)
