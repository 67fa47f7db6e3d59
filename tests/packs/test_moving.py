"""An attachment goes from one release to another: what asks, what does not, what stays, and what never takes it down."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import Outside, Packs
from tests.packs.moving import (
    LOUD,
    POISONED,
    SAY,
    WIDER,
    attached,
    moved,
    moves,
    release,
    say,
    the,
    wider,
    work,
)
from tests.packs.registry_support import policy
from tests.packs.test_registration import SERVER
from worka.approvals import service as approvals
from worka.governance import service as governance
from worka.kernel.errors import Denied
from worka.packs import explain as packs_explain
from worka.packs import service as packs
from worka.packs.errors import MountInvalid, ReleaseNotUsable, ToolNotFound
from worka.packs.lifecycle.errors import PackWithdrawn, ToolShadowed
from worka.packs.moving import explain, trying
from worka.packs.moving import service as moving
from worka.packs.moving import store as rows
from worka.packs.moving.errors import (
    ModeAlready,
    MoveOver,
    MoveUnderWay,
    NothingBefore,
    NothingNewer,
    NotNewer,
    OtherPack,
)
from worka.packs.registry.errors import SignatureNotTrusted
from worka.packs.service import hosting, withdrawing

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]


async def sessions(place: Packs, attachment_id: str) -> list[Row]:
    """The warm and busy sessions of an attachment, at the host."""
    found = await hosting.client(place.ctx()).status()
    return [row for row in found["sessions"] if row["attachment_id"] == attachment_id]


@pytest.mark.capability("GOV-8", part="moved by a person, and back")
@pytest.mark.capability("RUN-3", part="sessions dropped on update, and not before the call that they serve")
async def test_a_release_that_does_no_more_takes_over_without_asking_and_the_old_sessions_go(place: Packs) -> None:
    row = await attached(place)
    new = await release(place, "1.0.1")
    assert (await say(place, "before"))["status"] == "succeeded"
    (warm,) = await sessions(place, row["id"])
    assert warm["release_id"] == row["release_id"]

    with pytest.raises(Denied):
        await moving.update(place.ctx("viewer"), row["id"])
    move = await moving.update(place.ctx("member"), row["id"], why="a fix")
    assert (move["state"], move["widens"], move["redefines"], move["approval_id"]) == ("trying", False, False, None)
    assert (await the(place, row["id"]))["state"] == "updating"
    assert (await say(place, "meanwhile"))["session"] == "warm", "what is attached serves until the other takes over"
    with pytest.raises(MoveUnderWay):
        await moving.update(place.ctx("member"), row["id"], release_id=new["id"])
    await work(place)

    now = await the(place, row["id"])
    assert (now["state"], now["release_id"], now["digest"]) == ("attached", new["id"], new["digest"])
    assert await sessions(place, row["id"]) == [], "the warm session of the old release is gone"
    after = await say(place, "after")
    assert (after["status"], after["session"]) == ("succeeded", "cold")
    (called,) = await place.world.rows("invocation", "id = %s", after["invocation_id"])
    assert (called["release_id"], called["release_digest"]) == (new["id"], new["digest"])
    states = [event["after"]["state"] for event in await place.world.events("pack.move.changed")]
    assert states == ["trying", "moved"]
    told = await explain.explain(place.ctx("viewer"), move["id"])
    assert told.state == "moved"
    assert "from 1.0.0 to 1.0.1" in told.headline
    with pytest.raises(NothingNewer):
        await moving.update(place.ctx(), row["id"])
    with pytest.raises(MoveOver):
        await moving.withdraw(place.ctx(), move["id"])


@pytest.mark.capability("RUN-3", part="sessions dropped on update, and not before the call that they serve")
async def test_a_call_that_runs_while_the_pack_moves_ends_on_the_release_that_it_began_with(place: Packs) -> None:
    slow = SERVER.replace(
        "    return text", "    import time\n    time.sleep(2 if text == 'slow' else 0)\n    return text"
    )
    row = await attached(place, server=slow)
    new = await release(place, "1.0.1", slow)
    call = asyncio.create_task(say(place, "slow"))
    for _ in range(500):
        if any(s["state"] == "busy" for s in await sessions(place, row["id"])):
            break
        await asyncio.sleep(0.02)
    assert (await moved(place, row["id"], new["id"]))["state"] == "moved"
    assert not call.done(), "it moved while the call ran"
    done = await call
    assert done["status"] == "succeeded"
    (called,) = await place.world.rows("invocation", "id = %s", done["invocation_id"])
    assert called["release_id"] == row["release_id"]
    assert await sessions(place, row["id"]) == [], "and its session serves no other"
    assert (await say(place, "x"))["session"] == "cold"


@pytest.mark.capability("LIF-4", part="a widening move asks with the difference on its card")
async def test_a_release_that_may_do_more_waits_for_a_consent_to_exactly_that_difference(place: Packs) -> None:
    row = await attached(place)
    new = await wider(place, "1.1.0")
    move = await moving.update(place.ctx("member"), row["id"])
    assert (move["state"], move["widens"]) == ("awaiting_approval", True)
    assert (await the(place, row["id"]))["state"] == "attached", "it serves as it is"
    card = await approvals.show(place.ctx("approver"), move["approval_id"])
    assert card["boundary"] == "pack.update"
    assert "widening: The tool shout is new: it reads only." in card["card"]["changes"]
    assert "from 1.0.0 to 1.1.0" in card["title"]
    told = await explain.explain(place.ctx("viewer"), move["id"])
    assert [wait.ref for wait in told.waiting_on] == [move["approval_id"]]
    same = await moving.update(place.ctx("member"), row["id"])
    assert same["id"] == move["id"], "the same question is the same move"
    with pytest.raises(ToolNotFound):
        await packs.prepare(place.ctx(), "acme.small.shout", {"text": "x"})
    await place.approve(move["approval_id"])
    await work(place)
    assert (await the(place, row["id"]))["release_id"] == new["id"]
    assert (await say(place, "hey", "shout"))["text"] == "HEY"
    (used,) = await place.world.rows("approval", "id = %s", move["approval_id"])
    assert used["consumed_by"] == move["id"]

    other = await moving.back(place.ctx("member"), row["id"], "too loud")
    assert (other["state"], other["widens"]) == ("trying", False), "the way back is narrower, and asks nobody"
    await work(place)
    now = await the(place, row["id"])
    assert (now["release_id"], now["mode"]) == (row["release_id"], "pinned")
    with pytest.raises(NothingBefore):
        await moving.back(place.ctx("member"), row["id"])


@pytest.mark.capability("LIF-4", part="a widening move asks with the difference on its card")
async def test_a_release_that_may_only_reach_more_asks_too_and_says_the_same_to_callers(place: Packs) -> None:
    row = await attached(place)
    await release(place, "1.0.1", outbound_domains=["elsewhere.test"])
    move = await moving.update(place.ctx("member"), row["id"])
    assert (move["state"], move["widens"], move["redefines"]) == ("awaiting_approval", True, False)
    assert (await the(place, row["id"]))["release_id"] == row["release_id"]
    await place.approve(move["approval_id"], "reject")
    same = await release(place, "1.0.2")
    move = await moving.update(place.ctx("member"), row["id"], release_id=same["id"])
    assert (move["state"], move["widens"]) == ("trying", False), "the control"


@pytest.mark.capability("LIF-4", part="a widening move asks with the difference on its card")
@pytest.mark.parametrize(
    ("decision", "ends"),
    [
        ("reject", ("refused", "move_rejected")),
        ("superseded", ("refused", "move_superseded")),
        ("denied", ("refused", "move_denied")),
        ("revoked", ("refused", "release_revoked")),
        ("approve", ("moved", "move_done")),
    ],
    ids=["reject", "superseded", "denied", "revoked", "approve"],
)
async def test_a_move_is_made_only_as_it_was_approved_by_who_may_still_ask(
    place: Packs, decision: str, ends: tuple[str, str]
) -> None:
    row = await attached(place)
    new = await wider(place, "1.1.0")
    move = await moving.update(place.ctx("member"), row["id"])
    if decision == "reject":
        await place.approve(move["approval_id"], "reject")
    else:
        await place.approve(move["approval_id"])
        assert (await the(place, row["id"]))["state"] == "updating"
        async with place.world.db.transaction(place.world.tenant_id) as conn:
            if decision == "superseded":
                # The consent was to another digest of the release than the one that would be attached.
                await conn.execute("update worka.release set digest = %s where id = %s", ("f" * 64, new["id"]))
            if decision == "denied":
                who = place.world.ids["member"]
                await conn.execute("update worka.membership set role = 'viewer' where principal_id = %s", (who,))
        if decision == "revoked":
            await packs.revoke(place.ctx(), new["id"], "a flaw")
    if decision == "superseded":
        # The host would refuse these files; what is looked at here is the consent.
        await trying._made(place.platform(), move["id"], None)
    await work(place)
    now = await the(place, row["id"])
    (ended,) = await moves(place, row["id"])
    assert (ended["state"], ended["reason"]) == ends
    assert now["state"] == "attached"
    assert (now["release_id"] == new["id"]) == (decision == "approve"), "the control"
    assert (await say(place, "still"))["status"] == "succeeded"


@pytest.mark.capability("LIF-4", part="a move that fails leaves what works")
async def test_a_release_that_does_not_run_here_never_takes_the_working_one_down(place: Packs) -> None:
    """It lists its tools at registration, and dies once the attachment's files are there."""
    mounts = {"package": {"ecosystem": "path", "name": "small", "version": "1.0.0"}, "command": ["python", "server.py"],
              "mounts": [{"name": "repo", "target": "/repo", "mode": "ro"}]}  # fmt: skip
    first = await release(place, "1.0.0", runtime=mounts)
    row = await packs.attach(place.ctx(), first["id"], mounts={"repo": str(place.repository)})
    assert row["state"] == "attached"
    broken = f"import os\nif os.path.isdir('/repo'):\n    raise SystemExit('no such format')\n{SERVER}"
    new = await release(place, "1.0.1", broken, runtime=mounts)
    ended = await moved(place, row["id"], new["id"])
    assert (ended["state"], ended["reason"]) == ("failed", "probe_failed")
    assert "no such format" in str(ended["error"])
    now = await the(place, row["id"])
    assert (now["state"], now["release_id"]) == ("attached", first["id"])
    assert (await say(place, "still"))["status"] == "succeeded"
    told = await explain.explain(place.ctx("viewer"), ended["id"])
    assert told.last_error is not None
    good = await release(place, "1.0.2", runtime=mounts)
    assert (await moved(place, row["id"], good["id"]))["state"] == "moved", "the control"
    (mount,) = (await the(place, row["id"]))["mounts"]
    assert Path(mount["clone"]).is_dir(), "and the clone is the one that it had"


@pytest.mark.capability("GOV-8")
@pytest.mark.capability("LIF-4")
async def test_what_follows_moves_by_itself_where_nothing_widens_and_what_is_pinned_stays(place: Packs) -> None:
    row = await attached(place, mode="tracking")
    assert row["followed_by"] == place.world.ids["owner"]
    plain = await release(place, "1.0.1")
    await work(place)
    now = await the(place, row["id"])
    assert (now["state"], now["release_id"]) == ("attached", plain["id"])
    (first,) = await moves(place, row["id"])
    assert (first["kind"], first["state"], first["approval_id"]) == ("followed", "moved", None)

    await release(place, "2.0.0-rc.1")
    await release(place, "1.0.0-late", WIDER, tools=[SAY, LOUD])
    await work(place)
    assert len(await moves(place, row["id"])) == 1, "no trial version, and nothing older"

    poisoned = await release(place, "1.0.2", POISONED, tools=[{"name": "say", "side_effect": "read_only"}])
    await work(place)
    asked = (await moves(place, row["id"]))[-1]
    assert (asked["state"], asked["widens"], asked["redefines"]) == ("awaiting_approval", False, True)
    assert (await the(place, row["id"]))["release_id"] == plain["id"], "another text for models is looked at first"

    pinned = await moving.set_mode(place.ctx("member"), row["id"], "pinned", "it is odd")
    assert (pinned["mode"], pinned["followed_by"]) == ("pinned", None)
    ended = (await moves(place, row["id"]))[-1]
    assert (ended["state"], ended["reason"]) == ("superseded", "attachment_pinned")
    assert (await approvals.show(place.ctx(), asked["approval_id"]))["state"] == "withdrawn"
    await release(place, "1.0.3")
    await work(place)
    assert len(await moves(place, row["id"])) == 2
    told = await packs_explain.explain_attachment(place.ctx("viewer"), row["id"])
    assert "A newer release is there: 1.0.3; it is pinned." in told.headline
    assert any(
        poisoned["id"] != step.command.split(" ")[-1] and "worka pack diff" in step.command for step in told.next
    )

    with pytest.raises(Denied):
        await moving.set_mode(place.ctx("member"), row["id"], "tracking")
    with pytest.raises(ModeAlready):
        await moving.set_mode(place.ctx("admin"), row["id"], "pinned")
    await moving.set_mode(place.ctx("admin"), row["id"], "tracking", "again")
    await work(place)
    now = await the(place, row["id"])
    assert (now["followed_by"], (await store_release(place, now["release_id"]))["version"]) == (
        place.world.ids["admin"],
        "1.0.3",
    )


async def store_release(place: Packs, release_id: str) -> Row:
    (row,) = await place.world.rows("release", "id = %s", release_id)
    return row


@pytest.mark.capability("GOV-8", part="on the account of whoever let it follow, by the policy of the moment")
async def test_what_follows_does_so_on_the_account_of_who_let_it_and_by_the_policy_of_the_moment(place: Packs) -> None:
    row = await attached(place)
    await moving.set_mode(place.ctx("admin"), row["id"], "tracking")
    text = (
        '@id("stay") @verdict("deny") @reason("No automatic moves this week.")\n'
        'forbid(principal, action == Worka::Action::"pack.update", resource)'
        " when { context has automatic && context.automatic };"
    )
    await governance.save_policy(place.ctx(), place.world.workspace_id, "governance", text, "freeze")
    new = await release(place, "1.0.1")
    await work(place)
    (refused,) = await moves(place, row["id"])
    assert (refused["state"], refused["reason"]) == ("refused", "move_denied")
    assert "No automatic moves this week." in refused["error"]["message"]
    assert (await the(place, row["id"]))["release_id"] == row["release_id"]
    assert (await moved(place, row["id"], new["id"]))["state"] == "moved", "the control: a person still may"

    await governance.save_policy(place.ctx(), place.world.workspace_id, "governance", "", "over")
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        who = place.world.ids["admin"]
        await conn.execute("update worka.membership set role = 'viewer' where principal_id = %s", (who,))
    await release(place, "1.0.2")
    await work(place)
    last = (await moves(place, row["id"]))[-1]
    assert (last["requester_id"], last["state"], last["reason"]) == (place.world.ids["admin"], "refused", "move_denied")


@pytest.mark.capability("LIF-4", part="releases that race, and no way down by itself")
async def test_of_two_releases_that_race_the_newer_is_attached_and_nothing_goes_down_by_itself(place: Packs) -> None:
    row = await attached(place, mode="tracking")
    await asyncio.gather(wider(place, "1.1.0"), release(place, "1.0.5"), release(place, "1.0.4"))
    open_ones = await place.world.rows("attachment_move", "ended_at is null")
    assert len(open_ones) == 1
    await asyncio.gather(*(moving.run_move(place.platform(), m["id"]) for m in open_ones * 3))
    await work(place)
    for move in await moves(place, row["id"]):
        if move["state"] == "awaiting_approval":
            await place.approve(move["approval_id"])
    await work(place)
    now = await the(place, row["id"])
    version = (await store_release(place, now["release_id"]))["version"]
    assert (now["state"], version) == ("attached", "1.1.0")
    made = [m for m in await moves(place, row["id"]) if m["state"] == "moved"]
    assert [m["to_release"] for m in made][-1] == now["release_id"]
    assert not await place.world.rows("attachment_move", "ended_at is null")
    (older,) = await place.world.rows("release", "version = '1.0.4'")
    with pytest.raises(NotNewer):
        await moving.update(place.ctx(), row["id"], release_id=older["id"])
    with pytest.raises(NotNewer):
        await moving.update(place.ctx(), row["id"], release_id=now["release_id"])


@pytest.mark.capability("LIF-4", part="releases that race, and no way down by itself")
async def test_a_newer_release_takes_the_place_of_a_move_that_still_asks(place: Packs) -> None:
    row = await attached(place, mode="tracking")
    for version in ("1.1.0", "1.2.0"):
        await wider(place, version)
        await work(place)
    first, second = await moves(place, row["id"])
    assert (first["state"], first["reason"]) == ("superseded", "newer_move")
    assert second["state"] == "awaiting_approval"
    await place.approve(second["approval_id"])
    await work(place)
    assert (await the(place, row["id"]))["release_id"] == second["to_release"]


async def test_what_is_no_release_of_the_pack_or_cannot_be_attached_is_refused_and_a_mount_is_asked_for(
    place: Packs, tmp_path: Path
) -> None:
    row = await attached(place, mode="tracking")
    other = await release(place, "9.0.0", name="other")
    with pytest.raises(OtherPack):
        await moving.update(place.ctx(), row["id"], release_id=other["id"])
    with pytest.raises(OtherPack):
        await moving.compare(place.ctx(), other["id"], row["release_id"])
    reads = {"package": {"ecosystem": "path", "name": "small", "version": "1.1.0"}, "command": ["python", "server.py"],
             "mounts": [{"name": "repo", "target": "/repo", "mode": "ro"}]}  # fmt: skip
    new = await release(place, "1.1.0", runtime=reads)
    await work(place)
    (by_itself,) = await moves(place, row["id"])
    assert (by_itself["state"], by_itself["reason"]) == ("refused", "move_needs_a_person")
    with pytest.raises(MountInvalid, match="needs a path for repo"):
        await moving.update(place.ctx(), row["id"], release_id=new["id"])
    with pytest.raises(MountInvalid):
        await moving.update(place.ctx(), row["id"], release_id=new["id"], mounts={"repo": str(tmp_path / "missing")})
    move = await moving.update(place.ctx(), row["id"], release_id=new["id"], mounts={"repo": str(place.repository)})
    assert move["state"] == "awaiting_approval"
    (bound,) = move["mounts"]
    assert Path(bound["clone"]).is_dir()
    await place.approve(move["approval_id"])
    await work(place)
    (mount,) = (await the(place, row["id"]))["mounts"]
    assert (mount["target"], mount["source"]) == ("/repo", str(place.repository))
    await packs.revoke(place.ctx(), row["release_id"], "old")
    with pytest.raises(ReleaseNotUsable):
        await moving.back(place.ctx(), row["id"])


@pytest.mark.capability("LIF-4", part="the credentials follow the release")
@pytest.mark.capability("LIF-3", part="a connection, named")
async def test_the_grants_of_a_credential_come_and_go_with_the_release_that_uses_it(
    place: Packs, outside: Outside
) -> None:
    reach = {
        "outbound_domains": ["tracker.worka.test"],
        "connections": [
            {
                "provider": "tracker", "required": True,
                "inject": {"host": "tracker.worka.test", "header": "Authorization",
                           "template": "Bearer {{connection.access_token}}"},
            }
        ],
    }  # fmt: skip
    row = await attached(place)
    new = await release(place, "1.1.0", **reach)
    move = await moving.update(place.ctx(), row["id"])
    await place.approve(move["approval_id"])
    (waits,) = await moves(place, row["id"])
    assert (waits["state"], waits["reason"]) == ("awaiting_connection", "waiting_for_connection")
    told = await explain.explain(place.ctx("viewer"), move["id"])
    assert [wait.name for wait in told.waiting_on] == ["tracker at tracker.worka.test:443"]
    assert (await say(place, "meanwhile"))["status"] == "succeeded"
    await place.connect(outside.facts)
    await work(place)
    assert (await the(place, row["id"]))["release_id"] == new["id"]
    (grant,) = await place.world.rows("secret_grant")
    assert (grant["attachment_id"], grant["revoked_at"]) == (row["id"], None)
    await moving.back(place.ctx(), row["id"])
    await work(place)
    (grant,) = await place.world.rows("secret_grant")
    assert grant["revoked_at"] is not None
    assert (await the(place, row["id"]))["release_id"] == row["release_id"]


@pytest.mark.capability("LIF-3")
async def test_a_pack_waits_by_name_for_the_packs_that_it_needs_and_goes_on_by_itself(place: Packs) -> None:
    needs = {"dependencies": [{"pack": "acme.other", "tools": ["say"]}]}
    first = await release(place, "1.0.0", **needs)
    row = await packs.attach(place.ctx(), first["id"])
    assert (row["state"], row["reason"]) == ("awaiting_dependency", "waiting_for_dependency")
    told = await packs_explain.explain_attachment(place.ctx("viewer"), row["id"])
    assert [(wait.kind, wait.name) for wait in told.waiting_on] == [("pack", "acme.other")]
    other = await release(place, "1.0.0", name="other")
    served = await packs.attach(place.ctx(), other["id"])
    assert served["state"] == "attached", "the control: it needs nothing"
    assert (await the(place, row["id"]))["state"] == "attached"

    # A move waits for what the new release needs, and what is attached serves meanwhile.
    more = await release(
        place, "1.1.0", dependencies=[*needs["dependencies"], {"pack": "acme.third", "tools": ["say"]}]
    )
    move = await moving.update(place.ctx(), row["id"], release_id=more["id"])
    await place.approve(move["approval_id"])
    (waits,) = await moves(place, row["id"])
    assert waits["state"] == "awaiting_dependency"
    third = await release(place, "1.0.0", name="third")
    await packs.attach(place.ctx(), third["id"])
    await work(place)
    assert (await the(place, row["id"]))["release_id"] == more["id"]


async def test_a_move_is_taken_back_or_overtaken_by_what_ends_the_attachment(place: Packs) -> None:
    row = await attached(place)
    await wider(place, "1.1.0")
    move = await moving.update(place.ctx(), row["id"])
    with pytest.raises(Denied):
        await moving.withdraw(place.ctx("viewer"), move["id"])
    gone = await moving.withdraw(place.ctx("member"), move["id"], "no")
    assert (gone["state"], gone["reason"]) == ("superseded", "move_withdrawn")
    assert (await approvals.show(place.ctx(), move["approval_id"]))["state"] == "withdrawn"
    # One that nobody tries any more: its process was lost, and the job with it.
    plain = await release(place, "1.0.1")
    lost = await moving.update(place.ctx(), row["id"], release_id=plain["id"])
    with pytest.raises(MoveUnderWay):
        await moving.withdraw(place.ctx("member"), lost["id"])
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.attachment_move set since = since - interval '11 minutes' where id = %s", (lost["id"],)
        )
    told = await explain.explain(place.ctx(), lost["id"])
    assert any("withdraw" in step.command for step in told.next)
    assert (await moving.withdraw(place.ctx("member"), lost["id"]))["state"] == "superseded"
    assert (await the(place, row["id"]))["state"] == "attached"
    second = await moving.update(place.ctx(), row["id"])
    await packs.detach(place.ctx(), row["id"], "over")
    last = (await moves(place, row["id"]))[-1]
    assert (last["id"], last["state"], last["reason"]) == (second["id"], "superseded", "attachment_removed")


@pytest.mark.capability("GOV-11", part="a move that is under way")
async def test_a_quarantine_stops_an_attachment_that_is_being_moved(place: Packs) -> None:
    row = await attached(place)
    new = await release(place, "1.0.1")
    move = await moving.update(place.ctx(), row["id"])
    await packs.quarantine(place.ctx(), row["release_id"], "a bad file")
    assert (await the(place, row["id"]))["state"] == "suspended"
    await work(place)
    now = await the(place, row["id"])
    assert (now["state"], now["release_id"]) == ("suspended", row["release_id"])
    assert (await moves(place, row["id"]))[0]["reason"] == "attachment_changed"
    assert move["to_release"] == new["id"]


async def test_a_move_of_another_tenant_is_not_there(place: Packs) -> None:
    row = await attached(place)
    await wider(place, "1.1.0")
    move = await moving.update(place.ctx(), row["id"])
    world = place.world
    calls: dict[str, Any] = {
        "move": lambda conn: rows.move(conn, move["id"]),
        "move_for_update": lambda conn: rows.move_for_update(conn, move["id"]),
        "open_move": lambda conn: rows.open_move(conn, row["id"]),
        "moves_of": lambda conn: rows.moves_of(conn, row["id"], None, 5),
        "waiting_moves": lambda conn: rows.waiting_moves(conn, world.workspace_id, "awaiting_approval"),
        "releases_of": lambda conn: rows.releases_of(conn, "acme.small"),
        "attached_tools": lambda conn: rows.attached_tools(conn, world.workspace_id, ["acme.small"]),
    }
    for tenant, seen in ((world.tenant_id, True), ("ten_00000000000000000000000000", False)):
        async with world.db.transaction(tenant) as conn:
            found = {name: bool(await call(conn)) for name, call in calls.items()}
        assert found == dict.fromkeys(calls, seen), tenant
    async with world.db.transaction("ten_00000000000000000000000000") as conn:
        await rows.set_state(conn, move["id"], "refused", "move_rejected")
        await rows.set_definitions(conn, row["id"], {"x": {}}, None)
        await rows.to_release(conn, row["id"], {"id": "rel_x", "digest": "d"}, [])
    (kept,) = await moves(place, row["id"])
    assert (kept["state"], (await the(place, row["id"]))["definitions"]) == ("awaiting_approval", {})


@pytest.mark.capability("LIF-4", part="nothing comes by a move that could not be attached")
async def test_what_could_not_be_attached_does_not_come_by_a_move_either(place: Packs) -> None:
    """A tool that reads like another pack's, a signature that policy misses, and a pack that was taken away as a whole."""
    row = await attached(place)
    murmur = SERVER.replace("def say", "def murmur")
    evil = await release(place, "1.0.0", murmur, publisher="evil", name="web", tools=[{**SAY, "name": "murmur"}])
    theirs = await packs.attach(place.ctx(), evil["id"])
    assert theirs["state"] == "attached"
    shadow = await release(place, "1.1.0", publisher="evil", name="web")
    with pytest.raises(ToolShadowed, match=r"evil\.web\.say may be taken for acme\.small\.say"):
        await moving.update(place.ctx(), theirs["id"], release_id=shadow["id"])
    seen = await moving.review(place.ctx(), place.world.workspace_id, shadow["id"])
    assert any(item["blocks"] and "may be taken for" in item["name"] for item in seen["waits"])

    new = await release(place, "1.0.1")
    await policy(place, require_signature=True)
    with pytest.raises(SignatureNotTrusted):
        await moving.update(place.ctx(), row["id"], release_id=new["id"])
    await policy(place, require_signature=False)
    move = await moving.update(place.ctx(), row["id"], release_id=new["id"])
    await policy(place, require_signature=True)
    await work(place)
    (refused,) = await moves(place, row["id"])
    assert (refused["state"], refused["reason"], refused["error"]["code"]) == (
        "refused",
        "move_denied",
        "signature_not_trusted",
    )
    assert (await the(place, row["id"]))["release_id"] == row["release_id"]
    await policy(place, require_signature=False)
    assert (await moved(place, row["id"], new["id"]))["state"] == "moved", "the control"
    assert move["id"] == refused["id"]

    await moving.set_mode(place.ctx(), row["id"], "tracking")
    await withdrawing.pack(place.ctx(), "revoke", "acme.small", "its key was stolen")
    await release(place, "1.0.2")
    await work(place)
    last = (await moves(place, row["id"]))[-1]
    assert (last["kind"], last["state"], last["error"]["code"]) == ("followed", "refused", "pack_withdrawn")
    assert (await the(place, row["id"]))["release_id"] == new["id"], "what is attached runs on"
    with pytest.raises(PackWithdrawn):
        await moving.update(place.ctx(), row["id"])
