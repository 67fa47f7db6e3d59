"""A provider that answers 401 in the middle of a call: one renewal for the calls after it, an end where that is refused, a mark
where there is nothing to renew; and nothing is ever sent twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.broker.world import Box, code
from tests.connections.test_consent import back_from
from tests.connections.test_renewing import away, renewals, says
from tests.connections.test_road import asks, box
from tests.connections.town import Town
from tests.treasury.support import secret
from worka.connections import explain, refusals, renewing
from worka.kernel.clock import now
from worka.treasury import rotation

Row = dict[str, Any]
pytestmark = pytest.mark.timeout(120)


async def spoil(town: Town, att: str, connection: Row) -> None:
    """The provider forgets the access token; what renews it is still good."""
    token = await town.lease(connection["secret_id"], att, await town.called(att, "owner"))
    await asyncio.to_thread(town.outside.spoil, token)


async def heard(town: Town) -> int:
    """How often the interface was asked."""
    return len((await asyncio.to_thread(town.outside.counts))["api"])


async def refused(town: Town, inside: Box, att: str) -> Row:
    """A call to which the provider says 401: once, and the pack is told so."""
    before = await heard(town)
    inv, answer = await asks(town, inside, att, "owner")
    assert (answer["status"], await heard(town)) == (401, before + 1), "the pack has its answer, nothing was sent again"
    (row,) = await town.world.rows("egress", "invocation_id = %s", inv)
    assert (row["status"], row["count"]) == (401, 1)
    return row


@pytest.mark.capability("TRE-15", part="a 401 in the middle of a call")
async def test_a_credential_that_is_refused_in_a_call_is_renewed_once_for_the_calls_after_it(town: Town) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    inside = await box(town, att)
    try:
        assert (await asks(town, inside, att, "owner"))[1]["status"] == 200
        first = await town.row(found["id"])
        await spoil(town, att, found)
        asked = await refused(town, inside, att)
        row = await town.row(found["id"])
        assert (row["state"], row["reason"], row["problem"]["error"]) == ("active", "credential_refused", "401")
        assert row["refresh_at"] <= now() < first["refresh_at"], "it is due at once"
        told = await explain.explain(town.ctx("owner"), found["id"])
        assert "did not take its credential" in told.headline
        assert "a new one is asked for now" in told.headline
        (event,) = await town.world.rows("event", "type = 'connection.credential.refused'")
        assert event["cause"] == {"kind": "invocation", "id": asked["invocation_id"]}

        seen = await renewals(town)
        await renewing.sweep(town.world.nobody(), town.post)
        row = await town.row(found["id"])
        assert (row["reason"], await renewals(town)) == ("connection_in_service", seen + 1)
        assert (await asks(town, inside, att, "owner"))[1]["status"] == 200

        # What is refused anew right after is not mended by another renewal.
        await spoil(town, att, found)
        await refused(town, inside, att)
        row = await town.row(found["id"])
        assert (row["state"], row["reason"]) == ("active", "credential_refused")
        assert row["refresh_at"] > now()
        await renewing.sweep(town.world.nobody(), town.post)
        assert await renewals(town) == seen + 1

        # Of an older credential than the one there is now a late 401 says nothing.
        await renewing.renew(town.platform(), found["id"], town.post, by_hand=True)
        await refusals.refused(town.platform(), found["id"], first["refreshed_at"], "inv_late")
        assert (await town.row(found["id"]))["reason"] == "connection_in_service"
        assert (await asks(town, inside, att, "owner"))[1]["status"] == 200
    finally:
        await inside.stop()


@pytest.mark.capability("TRE-15", part="a 401 in the middle of a call")
@pytest.mark.capability("CON-8", part="an account that was taken away at the provider")
async def test_where_the_renewal_is_refused_too_the_connection_is_broken_until_it_is_connected_again(
    town: Town,
) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    inside = await box(town, att)
    try:
        assert (await asks(town, inside, att, "owner"))[1]["status"] == 200
        await asyncio.to_thread(town.outside.forget)
        await refused(town, inside, att)
        await renewing.sweep(town.world.nobody(), town.post)
        row = await town.row(found["id"])
        assert (row["state"], row["reason"]) == ("broken", "refresh_refused")
        assert row["problem"]["error"] == "invalid_grant"
        assert code((await asks(town, inside, att, "owner"))[1]) == "connection_unusable"
        told = await explain.explain(town.ctx("owner"), found["id"])
        assert told.next[0].command == f"worka connection authorize {found['id']}"
        again = await town.finish(await back_from(town, found["id"]))
        assert again["state"] == "active"
        assert (await asks(town, inside, att, "owner"))[1]["status"] == 200
    finally:
        await inside.stop()


@pytest.mark.capability("TRE-15", part="a 401 in the middle of a call")
@pytest.mark.parametrize(
    ("post", "state", "reason"),
    [
        (away, "active", "credential_refused"),
        (says(401, b'{"error":"invalid_client"}'), "broken", "refresh_refused"),
    ],
    ids=["nobody reaches the provider", "the provider refuses"],
)
async def test_a_renewal_that_a_401_brought_on_says_what_came_of_it(
    town: Town, post: Any, state: str, reason: str
) -> None:
    await town.register()
    await town.attached()
    found = await town.connected()
    seen = (await town.row(found["id"]))["refreshed_at"]
    await town.sooner(found["id"])
    await renewing.renew(town.platform(), found["id"], post)
    row = await town.row(found["id"])
    assert (row["state"], row["reason"]) == ("active", "refresh_failing"), (
        "the control: ahead of its end it is tried again"
    )
    await refusals.refused(town.platform(), found["id"], seen, "inv_x")
    await renewing.renew(town.platform(), found["id"], post)
    row = await town.row(found["id"])
    assert (row["state"], row["reason"]) == (state, reason)
    if state == "active":
        due = row["refresh_at"]
        await refusals.refused(town.platform(), found["id"], seen, "inv_y")
        assert (await town.row(found["id"]))["refresh_at"] == due, "it is being tried again already, after its pause"


@pytest.mark.capability("CON-8", part="a token that its provider refuses")
async def test_a_token_that_nothing_renews_is_marked_and_goes_on_until_a_good_one_is_in_its_place(town: Town) -> None:
    await town.register()
    att = await town.attached()
    theirs = await town.connected("member", "bob", own=True, name="Bob's")
    good = await town.lease(theirs["secret_id"], att, await town.called(att, "member"))
    held = await secret(town.world, value="a-token-that-nobody-believes-any-more")
    found = await town.asked(kind="token", secret_id=held["id"])
    inside = await box(town, att)
    try:
        await refused(town, inside, att)
        row = await town.row(found["id"])
        assert (row["state"], row["reason"], row["refresh_at"]) == ("active", "credential_refused", None)
        told = await explain.explain(town.ctx("owner"), found["id"])
        assert "did not take its credential" in told.headline
        assert "401" in told.headline
        assert told.next[0].command == f"worka secret rotate {held['id']}"
        await refused(town, inside, att)
        assert len(await town.world.rows("event", "type = 'connection.credential.refused'")) == 1, "it is said once"
        await rotation.rotate(town.ctx("owner"), held["id"], good, grants="keep")
        _, answer = await asks(town, inside, att, "owner")
        assert (answer["status"], json.loads(answer["text"])["of"]) == (200, "bob")
        row = await town.row(found["id"])
        assert (row["reason"], row["problem"]) == ("connection_in_service", None)
    finally:
        await inside.stop()
