"""Taking releases and packs away and giving them back: who may, what it touches, what is left of it to read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.packs.registered import another_workspace, attachment, called, one, release
from tests.support.database import may_idle
from tests.workspaces.world import World, somebody_waits, world
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, NotFound
from worka.packs import actions, explain, service, store
from worka.packs.errors import AttachmentNotUsable
from worka.packs.lifecycle.errors import NotWithdrawn, PackWithdrawn, ReasonMissing
from worka.packs.service import withdrawing

__all__ = ["world"]
Row = dict[str, Any]


async def states(world: World, *ids: str) -> list[str]:
    """The states of releases and attachments as they are now."""
    return [(await one(world, "release" if key.startswith("rel") else "attachment", key))["state"] for key in ids]


@pytest.mark.capability("LIF-5", "GOV-11")
async def test_quarantine_and_revoke_differ_and_a_lift_gives_back_only_what_was_suspended(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    held = await attachment(world, made, workspace_id=await another_workspace(world), state="held", held={"say": "d"})
    await withdrawing.revoke(world.ctx("owner"), made, "an old flaw")
    assert await states(world, made, att, held) == ["revoked", "attached", "held"]
    # One that waited since before a revocation ended what waits.
    waiting = await attachment(world, made, workspace_id=await another_workspace(world), state="awaiting_connection")
    await withdrawing.quarantine(world.ctx("owner"), made, "a new one")
    assert await states(world, made, att, held, waiting) == [
        "quarantined",
        "suspended",
        "suspended",
        "awaiting_connection",
    ]
    found = await withdrawing.release(world.ctx("owner"), "lift", made, "mended")
    assert await states(world, made, att, held) == ["revoked", "attached", "held"], "what was revoked stays so"
    assert found["receipt"]["releases"] == [
        {"id": made, "version": "1.0.0", "before": "quarantined", "after": "revoked"}
    ]
    with pytest.raises(NotWithdrawn):
        await withdrawing.release(world.ctx("owner"), "lift", made, "again")


@pytest.mark.capability("GOV-10")
@pytest.mark.parametrize("waits", ["awaiting_connection", "awaiting_dependency"])
async def test_what_waits_on_a_release_that_is_revoked_ends_and_says_why(world: World, waits: str) -> None:
    made, other = await release(world), await release(world, version="2.0.0")
    waiting = await attachment(world, made, state=waits)
    serves = await attachment(world, made, workspace_id=await another_workspace(world))
    beside = await attachment(world, other, workspace_id=await another_workspace(world), state=waits)
    await withdrawing.revoke(world.ctx("owner"), made, "an old flaw")
    row = await one(world, "attachment", waiting)
    assert (row["state"], row["reason"]) == ("detached", "release_revoked")
    assert await states(world, serves, beside) == ["attached", waits], (
        "the control: what serves, and what waits elsewhere"
    )
    (receipt,) = await world.rows("withdrawal")
    assert [item["id"] for item in receipt["receipt"]["moved"]] == [waiting]
    told = await explain.explain_attachment(world.ctx("admin"), waiting)
    assert (told.reason, told.waiting_on) == ("release_revoked", [])


@pytest.mark.capability("LIF-5", "GOV-11")
async def test_revoking_what_is_quarantined_lets_nothing_run_again(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    await withdrawing.quarantine(world.ctx("owner"), made, "a bad file")
    await withdrawing.revoke(world.ctx("owner"), made, "and never again")
    assert await states(world, made, att) == ["quarantined", "suspended"]
    await withdrawing.release(world.ctx("owner"), "lift", made, "for those who have it")
    assert await states(world, made, att) == ["revoked", "attached"]


@pytest.mark.capability("LIF-5", "GOV-11")
async def test_what_was_quarantined_by_itself_is_not_given_back_with_its_pack(world: World) -> None:
    bad, good = await release(world), await release(world, version="2.0.0")
    att = await attachment(world, bad)
    await withdrawing.quarantine(world.ctx("owner"), bad, "a bad file")
    await withdrawing.pack(world.ctx("owner"), "quarantine", "acme.small", "stolen key")
    for told in (
        await explain.explain_attachment(world.ctx("owner"), att),
        await explain.explain_release(world.ctx("owner"), bad),
    ):
        assert "worka pack lift acme.small --reason WHY" in [step.command for step in told.next], (
            "the release alone is not lifted"
        )
    await withdrawing.pack(world.ctx("owner"), "lift", "acme.small", "new key")
    assert await states(world, bad, good, att) == ["quarantined", "released", "suspended"]
    told = await explain.explain_attachment(world.ctx("owner"), att)
    assert f"worka release lift {bad} --reason WHY" in [step.command for step in told.next]
    await withdrawing.release(world.ctx("owner"), "lift", bad, "a good file")
    assert await states(world, bad, att) == ["released", "attached"]


@pytest.mark.capability("LIF-5")
@pytest.mark.capability("GOV-14", part="packs")
@pytest.mark.parametrize("act", ["revoke", "quarantine"])
async def test_a_pack_that_was_taken_away_is_not_taken_away_again_and_its_first_reason_stays(
    world: World, act: str
) -> None:
    att = await attachment(world, await release(world))
    first = await withdrawing.pack(world.ctx("owner"), act, "acme.small", "a stolen key")
    with pytest.raises(PackWithdrawn) as refused:
        await withdrawing.pack(world.ctx("admin"), act, "acme.small", "as I said")
    assert "a stolen key" in str(refused.value), "it says who did, and why"
    assert [row["id"] for row in await world.rows("withdrawal")] == [first["id"]]
    told = await explain.explain_attachment(world.ctx("admin"), att)
    assert "as I said" not in str(told)
    # The control: what was given back may be taken away again.
    await withdrawing.pack(world.ctx("owner"), "lift", "acme.small", "another key")
    assert (await withdrawing.pack(world.ctx("admin"), act, "acme.small", "as I said"))["why"] == "as I said"


@pytest.mark.capability("LIF-5")
@pytest.mark.capability("GOV-14", part="packs")
@pytest.mark.parametrize("act", ["revoke", "quarantine", "lift"])
async def test_only_the_right_role_takes_away_or_gives_back_and_only_with_a_reason(world: World, act: str) -> None:
    made = await release(world, state="quarantined" if act == "lift" else "released")
    before = await states(world, made)
    for who in ("member", "viewer", "approver", "robot", "stranger"):
        with pytest.raises(Denied):
            await withdrawing.release(world.ctx(who), act, made, "why")
        with pytest.raises(Denied):
            await withdrawing.pack(world.ctx(who), act, "acme.small", "why")
    for why in ("", "  \n "):
        with pytest.raises(ReasonMissing):
            await withdrawing.release(world.ctx("admin"), act, made, why)
    assert await states(world, made) == before
    assert await world.rows("withdrawal") == []
    # The control: an admin may, with one.
    assert (await withdrawing.release(world.ctx("admin"), act, made, "why"))["why"] == "why"
    assert await states(world, made) != before


@pytest.mark.capability("GOV-14", part="packs")
async def test_a_receipt_holds_what_was_touched_in_that_moment_and_shows_each_reader_their_part(world: World) -> None:
    made = await release(world)
    att, hidden = await attachment(world, made), await another_workspace(world)
    away = await attachment(world, made, workspace_id=hidden)
    inv = await called(world, att)
    done = await withdrawing.release(world.ctx("owner"), "quarantine", made, "a bad file")
    answer = await withdrawing.told(world.ctx("owner"), done)
    assert (answer["receipt_cut"], hidden in str(answer)) == (True, False), "who does it sees no more of other places"
    await attachment(world, made, workspace_id=await another_workspace(world), state="awaiting_connection")
    (row,) = await world.rows("withdrawal")
    receipt = row["receipt"]
    assert [item["id"] for item in receipt["attachments"]] == [att, away]
    assert {item["id"] for item in receipt["moved"]} == {att, away}
    assert [item["id"] for item in receipt["calls"]] == [inv]
    seen = await withdrawing.show(world.ctx("viewer"), row["id"])
    assert [item["id"] for item in seen["receipt"]["attachments"]] == [att]
    assert seen["receipt_cut"] is True
    assert hidden not in str(seen)
    assert "was quarantined by owner" in seen["sentence"]
    assert "a bad file" in seen["sentence"]
    (listed,) = await withdrawing.listed(world.ctx("viewer"), world.workspace_id, None, 50)
    assert listed == seen
    with pytest.raises(NotFound):
        await withdrawing.show(world.ctx("stranger"), row["id"])
    with pytest.raises(Denied):
        await withdrawing.listed(world.ctx("stranger"), world.workspace_id, None, 50)


@pytest.mark.capability("GOV-14", part="packs")
async def test_a_dry_run_says_what_would_be_touched_and_leaves_everything(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    ctx = world.ctx("owner")
    ctx.undone = True
    would = await withdrawing.pack(ctx, "quarantine", "acme.small", "trying")
    assert [item["id"] for item in would["receipt"]["moved"]] == [att]
    assert await states(world, made, att) == ["released", "attached"]
    assert await world.rows("withdrawal") == []
    assert await world.rows("pack_standing") == []
    refused = world.ctx("member")
    refused.undone = True
    with pytest.raises(Denied):
        await withdrawing.pack(refused, "quarantine", "acme.small", "trying")


@pytest.mark.capability("GOV-10", "GOV-11")
async def test_a_whole_pack_is_taken_away_with_its_future_releases_and_given_back(world: World) -> None:
    old, new = await release(world), await release(world, version="2.0.0")
    gone = await release(world, version="0.9.0", state="revoked")
    other = await release(world, "acme.other")
    att, beside = await attachment(world, old), await attachment(world, other)
    await withdrawing.pack(world.ctx("owner"), "quarantine", "acme.small", "stolen key")
    assert await states(world, old, new, gone, att) == ["quarantined", "quarantined", "quarantined", "suspended"]
    assert await states(world, other, beside) == ["released", "attached"], "another pack goes on"
    later = await release(world, version="3.0.0")
    elsewhere = await another_workspace(world, "owner")
    with pytest.raises(PackWithdrawn) as refused:
        await attached(world, later, elsewhere)
    assert "stolen key" in refused.value.detail
    with pytest.raises(PackWithdrawn):
        await withdrawing.release(world.ctx("owner"), "lift", old, "one of them alone")
    await withdrawing.pack(world.ctx("owner"), "lift", "acme.small", "new key")
    assert await states(world, old, new, gone, att) == ["released", "released", "revoked", "attached"]
    assert (await attached(world, later, elsewhere))["state"] == "attached"
    with pytest.raises(NotWithdrawn):
        await withdrawing.pack(world.ctx("owner"), "lift", "acme.small", "again")


async def attached(world: World, release_id: str, workspace_id: str) -> Row:
    """An attachment that the owner makes there."""
    ctx = world.ctx("owner")
    ctx.workspace_id = workspace_id
    return await service.attach(ctx, release_id)


@pytest.mark.capability("GOV-10")
async def test_a_revoked_pack_is_attached_nowhere_anew_and_what_runs_goes_on(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    place = await another_workspace(world, "owner")
    control = await release(world, "acme.control")
    assert (await attached(world, control, place))["state"] == "attached"
    await withdrawing.pack(world.ctx("owner"), "revoke", "acme.small", "superseded")
    assert await states(world, made, att) == ["revoked", "attached"]
    with pytest.raises(Conflict):
        await attached(world, made, place)
    with pytest.raises(PackWithdrawn):
        await attached(world, await release(world, version="2.0.0"), place)


@pytest.mark.capability("LIF-5")
async def test_what_was_taken_away_says_to_its_readers_who_why_and_when(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    await withdrawing.quarantine(world.ctx("owner"), made, "it sends files away")
    for subject in (att, made):
        told = await explain.explain(world.ctx("viewer"), subject)
        (why,) = [item for item in told.evidence if item.kind == "withdrawal"]
        assert "it sends files away" in why.label
        assert "by owner" in why.label
    with pytest.raises(AttachmentNotUsable) as refused:
        await service.prepare(world.ctx("member"), "acme.small.say", {"text": "x"})
    assert "it sends files away" in refused.value.detail
    assert refused.value.extra["reason"] == "release_quarantined"


@pytest.mark.capability("GOV-9")
async def test_a_pack_is_removed_from_one_workspace_with_a_reason_that_its_people_read(world: World) -> None:
    made = await release(world)
    place = await another_workspace(world)
    att, other = await attachment(world, made), await attachment(world, made, workspace_id=place)
    with pytest.raises(Denied):
        await service.detach(world.ctx("viewer"), att, "no")
    await service.detach(world.ctx("member"), att, "we use another one")
    assert await states(world, att, other) == ["detached", "attached"]
    told = await explain.explain_attachment(world.ctx("viewer"), att)
    assert next(item.label for item in told.evidence if item.kind == "withdrawal").endswith("we use another one")
    (row,) = await world.rows("withdrawal")
    assert (row["act"], row["subject"], row["workspace_id"]) == ("detach", att, world.workspace_id)


@pytest.mark.capability("LIF-5")
async def test_the_right_is_asked_for_in_the_transaction_that_takes_it_away(world: World) -> None:
    made = await release(world)
    ctx = world.ctx("admin")
    inside: list[bool] = []
    plain = ctx.authorizer.decide

    async def decide(asking: Context, action: str, resource: Any, context: Row) -> Any:
        if action == actions.QUARANTINE.name:
            inside.append(asking.tx is not None)
        return await plain(asking, action, resource, context)

    ctx.authorizer.decide = decide  # type: ignore[method-assign, assignment]
    await withdrawing.quarantine(ctx, made, "why")
    assert inside == [True]


@pytest.mark.capability("GOV-11")
async def test_a_call_that_is_begun_while_its_pack_is_taken_away_never_begins(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    prepared = await service.prepare(world.ctx("member"), "acme.small.say", {"text": "x"})
    # It was looked at before, and all was well; now it is taken away, and then the call is to begin.
    async with world.db.transaction(world.tenant_id) as conn:
        await may_idle(conn)
        assert await store.attachments_of_release(conn, made, ["attached"])
        await store.move_attachment(conn, att, "suspended", "release_quarantined")
        beginning = asyncio.ensure_future(_begin(world, prepared))
        await somebody_waits(world)
    with pytest.raises(AttachmentNotUsable):
        await beginning
    assert await world.rows("invocation") == []
    # The control: the same call begins where nobody takes it away.
    async with world.db.transaction(world.tenant_id) as conn:
        await store.move_attachment(conn, att, "attached", "attachment_in_service")
    assert (await _begin(world, prepared))["state"] == "running"


async def _begin(world: World, prepared: Any) -> Row:
    ctx = world.ctx("member")
    async with ctx.transaction():
        return await service.open_invocation(ctx, prepared, idempotency_key="k", first=True)


@pytest.mark.capability("LIF-5")
async def test_what_a_release_is_not_it_cannot_become(world: World) -> None:
    made = await release(world)
    await withdrawing.revoke(world.ctx("owner"), made, "why")
    with pytest.raises(Conflict):
        await withdrawing.revoke(world.ctx("owner"), made, "again")
    with pytest.raises(NotWithdrawn):
        await withdrawing.release(world.ctx("owner"), "lift", made, "it is revoked")
    assert len(await world.rows("withdrawal")) == 1
