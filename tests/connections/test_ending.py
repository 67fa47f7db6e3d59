"""The end of a connection: said before, over at once, told to the provider, and in a receipt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.connections.test_renewing import away
from tests.connections.town import Town
from worka.connections import clients, ending, explain, renewing, service
from worka.kernel.errors import Conflict, Denied
from worka.treasury import connected, reading, rotation
from worka.treasury import errors as treasury_errors
from worka.treasury import service as vault

pytestmark = pytest.mark.timeout(120)


async def told(town: Town) -> int:
    """How often the provider was told of an end."""
    return int((await asyncio.to_thread(town.outside.counts))["revoked"])


@pytest.mark.capability("TRE-11")
async def test_removing_says_before_what_stops_ends_it_at_once_and_tells_the_provider(town: Town) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    inv = await town.called(att, "owner")
    token = await town.lease(found["secret_id"], att, inv)
    assert town.reads(token) == 200
    reach = await ending.reach(town.ctx("viewer"), found["id"])
    assert (reach["counts"], reach["provider"]) == ({"attachment": 1, "call": 1, "task": 0}, "told_after")
    assert "1 attachment that may use it, 1 call that holds it now" in reach["sentence"]
    with pytest.raises(Denied):
        await ending.remove(town.ctx("member"), found["id"])
    before = await told(town)
    gone = await ending.remove(town.ctx("owner"), found["id"], "not needed any more")
    assert (gone["state"], gone["reason"], gone["stopped"]) == ("revoked", "connection_removed", [att])
    assert gone["receipt"]["provider"]["state"] == "pending"
    with pytest.raises((treasury_errors.NoGrant, treasury_errors.SecretRevoked)):
        await town.lease(found["secret_id"], att, await town.called(att, "owner"))
    await renewing.sweep(town.world.nobody(), town.post)
    row = await town.row(found["id"])
    assert row["receipt"]["provider"]["state"] == "told"
    assert (row["receipt"]["grants"], row["receipt"]["by_name"], row["receipt"]["why"]) == (
        1, "owner", "not needed any more",
    )  # fmt: skip
    assert await told(town) == before + 2
    assert town.reads(token) == 401, "the provider takes it no more"
    states = {secret["kind"]: secret["state"] for secret in await town.world.rows("secret")}
    assert states == {"oauth_client": "active", "oauth_access": "destroyed", "oauth_refresh": "destroyed"}
    said = await explain.explain(town.ctx("viewer"), found["id"])
    assert "the provider was told" in said.headline
    with pytest.raises(Conflict):
        await ending.remove(town.ctx("owner"), found["id"])


@pytest.mark.capability("TRE-11", part="a provider that cannot be told")
async def test_a_provider_that_cannot_be_told_is_tried_again_and_given_up_truthfully(town: Town) -> None:
    await town.register()
    await town.attached()
    found = await town.connected()
    await ending.remove(town.ctx("owner"), found["id"])
    states = []
    for _ in range(6):
        async with town.world.db.transaction(town.world.tenant_id) as conn:
            await conn.execute("update worka.connection set tell_at = clock_timestamp() where tell_at is not null")
        await renewing.sweep(town.world.nobody(), away)
        states.append((await town.row(found["id"]))["receipt"]["provider"]["state"])
    assert states == ["pending"] * 4 + ["not_told"] * 2
    row = await town.row(found["id"])
    assert (row["tell_at"], row["receipt"]["provider"]["tries"]) == (None, 5)
    assert {secret["state"] for secret in await town.world.rows("secret", "kind <> 'oauth_client'")} == {"destroyed"}
    assert "could not be told" in (await explain.explain(town.ctx("viewer"), found["id"])).headline


@pytest.mark.capability("TRE-11", part="a renewal that comes after the end")
async def test_a_renewal_that_comes_back_after_the_end_brings_nothing_back(town: Town) -> None:
    await town.register()
    await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])

    async def removed_meanwhile(args: dict[str, Any]) -> dict[str, Any]:
        answer = await town.post(args)
        await ending.remove(town.ctx("owner"), found["id"])
        return answer

    assert await renewing.renew(town.platform(), found["id"], removed_meanwhile) == "fenced"
    row = await town.row(found["id"])
    assert (row["state"], row["refresh_at"]) == ("revoked", None)


async def test_a_client_stays_while_connections_stand_on_it_and_then_goes_with_its_way_out(town: Town) -> None:
    client = await town.register()
    await town.attached()
    found = await town.connected()
    with pytest.raises(Conflict) as refused:
        await clients.remove(town.ctx("owner"), client["id"])
    assert refused.value.problem_code == "provider_client_in_use"
    await ending.remove(town.ctx("owner"), found["id"])
    await renewing.sweep(town.world.nobody(), town.post)
    await clients.remove(town.ctx("owner"), client["id"])
    rules = await town.world.rows("platform_rule", "purpose = 'connection'")
    assert rules
    assert all(rule["ended_at"] for rule in rules)
    ctx = town.platform()
    async with ctx.transaction():
        with pytest.raises(treasury_errors.SecretRevoked):
            await connected.opened(ctx, str(client["secret_id"]), "test")


@pytest.mark.capability("TRE-16")
async def test_behind_a_tool_that_many_share_each_call_uses_the_account_of_who_it_is_made_for(town: Town) -> None:
    await town.register()
    att = await town.attached()
    mine = await town.connected("owner", "alice", own=True, name="Alice's")
    theirs = await town.connected("member", "bob", own=True, name="Bob's")
    assert (mine["person_id"], theirs["person_id"]) == (town.world.ids["owner"], town.world.ids["member"])
    for who, found in (("owner", mine), ("member", theirs)):
        other = theirs if found is mine else mine
        inv = await town.called(att, who)
        with pytest.raises(treasury_errors.AnotherPersons) as refused:
            await town.lease(other["secret_id"], att, inv)
        assert refused.value.problem_code == "another_persons_account"
        assert town.reads(await town.lease(found["secret_id"], att, inv)) == 200
    counts = await asyncio.to_thread(town.outside.counts)
    assert [item["account"] for item in counts["api"][-2:]] == ["alice", "bob"]


@pytest.mark.capability("TRE-16")
async def test_who_leaves_takes_their_account_along_and_stops_nobody_else(town: Town) -> None:
    await town.register()
    att = await town.attached()
    mine = await town.connected("owner", "alice", own=True, name="Alice's")
    theirs = await town.connected("member", "bob", own=True, name="Bob's")
    async with town.world.db.transaction(town.world.tenant_id) as conn:
        await conn.execute("delete from worka.membership where principal_id = %s", (town.world.ids["member"],))
    ctx = town.ctx("owner")
    async with ctx.transaction():
        await ctx.publish(
            "membership.changed", {"workspace_id": town.world.workspace_id, "principal_id": town.world.ids["member"]}
        )
    gone = await town.row(theirs["id"])
    assert (gone["state"], gone["reason"]) == ("revoked", "connection_owner_left")
    assert (await town.row(mine["id"]))["state"] == "active"
    with pytest.raises((treasury_errors.NoGrant, treasury_errors.SecretRevoked)):
        await town.lease(theirs["secret_id"], att, await town.called(att, "member"))
    assert town.reads(await town.lease(mine["secret_id"], att, await town.called(att, "owner"))) == 200


@pytest.mark.capability("TRE-16", part="whose account it is, and who tends it")
async def test_owners_neither_read_nor_replace_the_token_of_another_persons_account(town: Town) -> None:
    await town.register()
    await town.attached()
    shared = await town.connected("owner", "carol", name="The team's")
    theirs = await town.connected("member", "bob", own=True, name="Bob's")
    owner = town.ctx("owner")
    with pytest.raises(treasury_errors.AnotherPersons):
        await reading.ask(owner, theirs["secret_id"], "a look", 10)
    with pytest.raises(treasury_errors.AnotherPersons):
        await rotation.rotate(owner, theirs["secret_id"], "a-token-of-mine", grants="keep")
    assert (await town.row(theirs["id"]))["state"] == "active"
    # The control: about what is the workspace's its owners agree; and what is another's can still be taken away.
    assert (await reading.ask(owner, shared["secret_id"], "a look", 10))["state"] == "awaiting_approval"
    assert (await rotation.rotate(owner, shared["secret_id"], "a-token-of-ours", grants="keep"))["version"] == 2
    assert (await vault.revoke(owner, theirs["secret_id"], "it leaked"))["state"] == "revoked"


@pytest.mark.capability("TRE-16", part="whose account it is, and who tends it")
async def test_nobody_consents_for_another_persons_account(town: Town) -> None:
    from tests.connections.outside import CALLBACK
    from worka.connections import consent

    await town.register()
    await town.attached()
    made = await town.asked("member", own=True)
    for who in ("owner", "admin", "viewer"):
        with pytest.raises(Denied):
            await consent.begin(town.ctx(who), made["id"], CALLBACK)
    assert (await consent.begin(town.ctx("member"), made["id"], CALLBACK))["url"]
    said = await explain.explain(town.ctx("owner"), made["id"])
    assert [(item.kind, item.you_can) for item in said.waiting_on] == [("consent", False)]
    with pytest.raises(Denied):
        await service.create(
            town.ctx("viewer"), town.world.workspace_id, provider="outside", name="V", kind="oauth_code", own=True,
            access="read", metadata={}, why="",
        )  # fmt: skip


@pytest.mark.capability("CON-2")
async def test_another_tenant_reaches_nothing_of_it(town: Town, db: Any) -> None:
    from tests.connections.outside import CALLBACK
    from tests.workspaces.world import make
    from worka.connections import consent, uses
    from worka.connections.errors import ClientNotFound, ConnectionNotFound, FlowUnknown

    client = await town.register()
    await town.attached()
    made = await town.asked()
    begun = await consent.begin(town.ctx("owner"), made["id"], CALLBACK)
    back = await asyncio.to_thread(town.browser().consents, begun["url"])
    neighbour = await make(db, town.world.settings.home)
    for stranger in (neighbour.ctx("owner"), town.world.ctx("stranger")):
        with pytest.raises(ConnectionNotFound):
            await consent.begin(stranger, made["id"], CALLBACK)
        with pytest.raises(ConnectionNotFound):
            await ending.reach(stranger, made["id"])
        with pytest.raises(ConnectionNotFound):
            await uses.of(stranger, made["id"])
        with pytest.raises(ClientNotFound):
            await clients.remove(stranger, client["id"])
    with pytest.raises(FlowUnknown):
        await consent.finish(
            neighbour.ctx("owner"), town.world.workspace_id, state=back["state"], code=back["code"], iss=back["iss"],
            error="", post=town.post,
        )  # fmt: skip
    assert (await town.finish(back))["outcome"] == "connected"
