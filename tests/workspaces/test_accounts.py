"""Service accounts: principals of their own, owned by a person, with no more rights than both, and ended for good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.identity.phone import session
from tests.workspaces.world import World, make
from worka import identity
from worka.approvals import service as approvals
from worka.approvals.errors import NotEligible
from worka.identity.errors import BadCredential, NotYours
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Conflict, Denied, Invalid
from worka.workspaces import accounts, service
from worka.workspaces.errors import AccountEnded, AccountNotFound

Row = dict[str, Any]


async def made(world: World, who: str = "owner", role: str = "member", name: str = "importer") -> Row:
    return await accounts.create(world.ctx(who), world.workspace_id, name, "imports issues", role)


async def keyed(world: World, account: Row, who: str = "owner", *, rotate: bool = False) -> str:
    """A token of it, made by somebody with a session."""
    ctx = await session(world, who)
    return str((await accounts.token(ctx, world.workspace_id, account["id"], None, rotate=rotate))["token"])


async def as_door(world: World, token: str) -> Context:
    """The request that comes with a token, as the door makes it."""
    found = await identity.authenticate(world.db, world.sealer, token)
    return world.context(
        found.principal,
        tenant_id=world.tenant_id,
        workspace_id=world.workspace_id,
        originating_person=found.issued_by,
        credential_id=found.id,
    )


async def works(world: World, token: str) -> bool:
    """Whether the token starts tasks."""
    try:
        ctx = await as_door(world, token)
        await ctx.require("task.create", Resource("workflow", "w", world.workspace_id))
    except (BadCredential, Denied):
        return False
    return True


@pytest.mark.capability("IDN-21")
async def test_an_account_is_a_principal_of_its_own_and_acts_for_its_owner(world: World) -> None:
    account = await made(world)
    ctx = await as_door(world, await keyed(world, account))
    assert (ctx.principal.kind, ctx.principal.id, ctx.principal.owner_person_id) == (
        "service_account", account["id"], world.ids["owner"],
    )  # fmt: skip
    assert ctx.originating_person == world.ids["owner"]
    decision = await ctx.require("task.create", Resource("workflow", "w", world.workspace_id))
    (row,) = await world.rows("decision", "id = %s", decision.id)
    assert (row["principal_kind"], row["principal_id"], row["originating_person"]) == (
        "service_account", account["id"], world.ids["owner"],
    )  # fmt: skip
    listed = await service.members(world.ctx("viewer"), world.workspace_id)
    (shown,) = [row for row in listed if row["principal_kind"] == "service_account"]
    assert (shown["name"], shown["owner_person_id"], shown["role"]) == ("importer", world.ids["owner"], "member")


@pytest.mark.capability("IDN-21", part="its name is taken by one rule, whatever the door")
async def test_a_name_that_cannot_be_seen_is_refused_and_one_that_can_is_kept_without_spaces_around_it(
    world: World,
) -> None:
    for bad in ("im\u202eporter", "im\nporter", "im\u200bporter", "", "   ", "\u3000"):
        with pytest.raises(Invalid) as refused:
            await made(world, name=bad)
        assert refused.value.extra["field"] == "/body/name", bad
    assert await world.rows("service_account") == []
    assert (await made(world, name="  Importer \u00fc\u6f22 "))["name"] == "Importer \u00fc\u6f22", "the control"
    with pytest.raises(Conflict):
        await made(world, name="Importer \u00fc\u6f22")


@pytest.mark.capability("IDN-21", part="never more than its role and its owner both may")
async def test_an_account_may_never_more_than_its_role_and_its_owner_both_may(world: World) -> None:
    weak = await keyed(world, await made(world, role="viewer", name="reader"))
    strong = await keyed(world, await made(world, "admin"), "admin")
    assert not await works(world, weak)
    assert await works(world, strong)
    ctx = await as_door(world, strong)
    for action in ("member.invite", "connection.create", "approval.decide"):
        with pytest.raises(Denied):
            await ctx.require(action, Resource("workspace", world.workspace_id, world.workspace_id))
    await service.change_member(world.ctx("owner"), world.workspace_id, world.ids["admin"], "viewer", None)
    assert not await works(world, strong), "its owner may not any more, so neither may it"


@pytest.mark.capability("IDN-21", part="made by who may, its tokens by its owner alone")
async def test_its_tokens_are_its_owners_alone_and_it_is_made_by_who_may(world: World) -> None:
    for who in ("member", "viewer", "approver"):
        with pytest.raises(Denied):
            await made(world, who)
    with pytest.raises(NotYours):
        await accounts.create(world.ctx("robot", behind="owner"), world.workspace_id, "x", "x", "viewer")
    account = await made(world, "admin")
    with pytest.raises(NotYours):
        await keyed(world, account, "owner")
    by_token = replace(await session(world, "admin"), credential_id="tok_x")
    with pytest.raises(NotYours):
        await accounts.token(by_token, world.workspace_id, account["id"], None, rotate=False)
    assert await works(world, await keyed(world, account, "admin"))
    with pytest.raises(Conflict):
        await made(world, "admin")


@pytest.mark.capability("IDN-21", part="rotation and end hold for the very next call")
async def test_rotation_voids_every_older_token_and_the_end_all_of_them_for_good(world: World) -> None:
    account, other = await made(world), await made(world, name="other")
    first, second = await keyed(world, account), await keyed(world, account)
    apart = await keyed(world, other)
    assert [await works(world, token) for token in (first, second)] == [True, True]
    third = await keyed(world, account, rotate=True)
    assert [await works(world, token) for token in (first, second, third)] == [False, False, True]
    await accounts.end(world.ctx("admin"), world.workspace_id, account["id"])
    assert not await works(world, third)
    with pytest.raises(AccountEnded):
        await keyed(world, account)
    with pytest.raises(AccountEnded):
        await accounts.end(world.ctx("owner"), world.workspace_id, account["id"])
    assert await works(world, apart), "another account goes on"
    assert (await made(world))["id"] != account["id"], "its name is free again; it does not come back"


@pytest.mark.capability("IDN-21", part="no token row brings an ended account back")
async def test_no_row_of_a_token_brings_an_ended_account_back(world: World) -> None:
    account = await made(world)
    token = await keyed(world, account)
    await accounts.end(world.ctx("owner"), world.workspace_id, account["id"])
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.api_token set revoked_at = null where principal_id = %s", (account["id"],))
    with pytest.raises(BadCredential):
        await as_door(world, token)


@pytest.mark.capability("IDN-21", part="four eyes: its owner does not approve what it asked for")
async def test_its_owner_does_not_approve_what_it_asked_for_and_another_does(world: World) -> None:
    ctx = await as_door(world, await keyed(world, await made(world)))
    async with ctx.transaction():
        asked = await approvals.request(
            ctx, boundary="tool.external_side_effect", action="tool.invoke", subject_type="step", subject_id="step_1",
            title="t", effect="e", digest="d", card={}, arguments=None, rules=["approve:1"], decision_id="dec_x",
            policy_version="p", blocks=[],
        )  # fmt: skip
    with pytest.raises(NotEligible):
        await approvals.decide(world.ctx("owner"), asked["id"], "approve", "d")
    done = await approvals.decide(world.ctx("admin"), asked["id"], "approve", "d")
    assert done["state"] == "approved"


async def test_another_tenants_account_does_not_exist(world: World) -> None:
    other = await make(world.db, world.settings.home)
    theirs = await made(other)
    for act in (accounts.show, accounts.end):
        with pytest.raises(AccountNotFound):
            await act(world.ctx("owner"), world.workspace_id, theirs["id"])
    assert (await accounts.show(other.ctx("owner"), other.workspace_id, theirs["id"]))["role"] == "member"
