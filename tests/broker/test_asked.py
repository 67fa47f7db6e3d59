"""Where a name leads that a credential goes to, and who vouches for it, is recorded only with a second person's consent; and who
agrees to a connection is shown where its name leads already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from tests.support.database import may_idle
from tests.treasury.support import attachment, secret
from tests.workspaces.world import World, world
from worka import broker, connections
from worka.approvals import bypass
from worka.approvals import service as approvals
from worka.approvals.errors import BadBypass, NotEligible
from worka.broker import explain, service, trusts
from worka.broker import store as rows
from worka.broker.asked import service as asked
from worka.broker.ca import Authority
from worka.broker.errors import ExceptionExists, TrustExists, WayChangeUnknown
from worka.broker.schema import NewNetworkException, NewUpstreamTrust
from worka.connections import clients, ending, leads
from worka.connections import service as connecting
from worka.connections import store as connection_rows
from worka.kernel.clock import now
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.kernel.settings import NetworkSettings
from worka.packs.registry.service import destinations
from worka.packs.registry.store import records as registry

__all__ = ["world"]
Row = dict[str, Any]
HOST = "tracker.worka.test"
CA = Authority("theirs").pem.decode()


@pytest_asyncio.fixture
async def place(world: World) -> AsyncIterator[World]:
    """A tenant whose approvals reach these two domains."""
    broker.subscribe(world.subscribers)
    connections.subscribe(world.subscribers)
    yield world


async def connect(place: World, who: str = "owner", **fields: Any) -> Row:
    """Asks for a connection to the tracker, with a credential."""
    words: Row = {
        "provider": "tracker", "name": "Issue tracker", "host": HOST, "port": 443, "access": "read issues",
        "secret_id": None, "metadata": {}, "why": "the notes list open issues", **fields,
    }  # fmt: skip
    if words["secret_id"] is None and who == "owner":
        words["secret_id"] = (await secret(place, f"token {new_id('t')[-6:]}"))["id"]
    return await connecting.create(place.ctx(who), place.workspace_id, **words)


async def connected(place: World, **fields: Any) -> Row:
    """A connection in service."""
    made = await connect(place, **fields)
    await decide(place, made)
    found = await connecting.get(place.ctx("owner"), made["id"])
    assert found["state"] == "active"
    return found


def exception(**changes: Any) -> NewNetworkException:
    given: Row = {"name": HOST, "port": 443, "address": "10.0.0.1", "real_port": 8443, "ca_pem": CA, "reason": "nearer"}
    return NewNetworkException(**{**given, **changes})


async def lead(place: World, who: str = "admin", **changes: Any) -> Row:
    """Records, or asks for, an exception."""
    return await service.create_exception(place.ctx(who), exception(**changes))


async def vouch(place: World, who: str = "admin", **changes: Any) -> Row:
    """Records, or asks for, upstream trust."""
    given: Row = {"name": HOST, "ca_pem": CA, "reason": "our own CA", **changes}
    return await trusts.create(place.ctx(who), NewUpstreamTrust(**given))


async def decide(place: World, row: Row, decision: str = "approve", who: str = "approver") -> None:
    """Decides what a connection or a change waits for."""
    card = await approvals.show(place.ctx(who), row["approval_id"])
    await approvals.decide(place.ctx(who), row["approval_id"], decision, card["digest"], "")


async def holding(place: World) -> list[tuple[str, str]]:
    """(kind, who recorded it) of all that holds of where names lead."""
    live = "removed_at is null order by id"
    return [
        *(("exception", row["created_by"]) for row in await place.rows("network_exception", live)),
        *(("trust", row["created_by"]) for row in await place.rows("upstream_trust", live)),
    ]


async def change(place: World, row: Row) -> Row:
    return await asked.get(place.ctx("viewer"), row["id"])


# recorded after the credential --------------------------------------------------------------------------------------
@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_an_admin_alone_does_not_lead_a_credential_elsewhere(place: World) -> None:
    await connected(place)
    waits = await lead(place)
    assert (waits.get("state"), waits["reason"], waits.get("leads_to")) == (
        "open",
        "waiting_for_approver",
        "10.0.0.1:8443",
    )
    assert await holding(place) == [], "nothing holds that nobody else agreed to"
    with pytest.raises(NotEligible):
        await decide(place, waits, who="admin")
    assert (await lead(place))["id"] == waits["id"], "the same again is the same question"
    assert await holding(place) == []
    await decide(place, waits)
    assert await holding(place) == [("exception", place.ids["admin"])]
    became = await change(place, waits)
    (kept,) = await place.rows("network_exception")
    assert (became["state"], became["reason"], became["made_id"]) == ("recorded", "way_recorded", kept["id"])
    assert (kept["address"], kept["real_port"], kept["ca_pem"], kept["reason"]) == ("10.0.0.1", 8443, CA, "nearer")
    (event,) = await place.events("network.exception.created")
    assert event["cause"] == {"kind": "approval", "id": waits["approval_id"]}
    assert [row["after"]["state"] for row in await place.events("way.change.closed")] == ["recorded"]
    (approval,) = await place.rows("approval", "subject_type = 'way_change'")
    assert (approval["consumed_by"], approval["boundary"]) == (waits["id"], "network_exception.create")


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_who_vouches_for_a_name_that_a_credential_goes_to_is_recorded_by_two_as_well(place: World) -> None:
    att = await attachment(place)
    await connected(place)
    wide: Row = {}
    for further in (wide, {"attachment_id": att}):
        waits = await vouch(place, **further)
        assert waits.get("state") == "open", further
        with pytest.raises(NotEligible):
            await decide(place, waits, who="admin")
        assert await holding(place) == [("trust", place.ids["admin"])] * bool(further)
        await decide(place, waits)
    assert await holding(place) == [("trust", place.ids["admin"])] * 2
    # In the place of one that holds: that one ends with the consent, and not before.
    with pytest.raises(TrustExists):
        await vouch(place)
    waits = await vouch(place, reason="moved", replace=True)
    assert waits["replaces"] is not None
    assert (await trusts.get(place.ctx("viewer"), waits["replaces"]))["removed_at"] is None
    await decide(place, waits)
    assert (await trusts.get(place.ctx("viewer"), waits["replaces"]))["removed_at"] is not None
    assert len(await holding(place)) == 2


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_a_name_that_no_credential_goes_to_needs_nobody_else(place: World) -> None:
    await connected(place)
    ended = await connected(place, host="ended.worka.test")
    await ending.remove(place.ctx("owner"), ended["id"])
    refused = await connect(place, host="refused.worka.test")
    await decide(place, refused, "reject")
    for other in ({"name": "other.worka.test"}, {"port": 80, "ca_pem": ""}, {"name": "ended.worka.test"},
                  {"name": "refused.worka.test"}):  # fmt: skip
        assert "state" not in await lead(place, **other), other
    assert "state" not in await vouch(place, name="other.worka.test")
    assert len(await holding(place)) == 5
    assert (await lead(place)).get("state") == "open", "the control"
    with pytest.raises(ExceptionExists):
        await lead(place, name="other.worka.test")


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
@pytest.mark.parametrize("name", [HOST, "Tracker.Worka.TEST", "tracker.worka.test.", "TRACKER.worka.test."])
async def test_another_spelling_of_the_name_is_the_same_name(place: World, name: str) -> None:
    await connected(place)
    assert (await lead(place, name=name)).get("state") == "open"
    assert (await vouch(place, name=name)).get("state") == "open"
    assert await holding(place) == []
    assert "state" not in await lead(place, name="x" + name), "the control"


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_a_credential_that_will_go_there_counts_as_one_that_does(place: World) -> None:
    waiting = await connect(place)
    assert waiting["state"] == "awaiting_approval"
    assert (await lead(place)).get("credentials") == ["the workspace's connection Issue tracker (tracker)"]
    mine = await connect(place, "admin", host="own.worka.test", own=True)
    assert mine["state"] == "awaiting_approval"
    told = await lead(place, "owner", name="own.worka.test")
    assert told.get("credentials") == ["the own account of admin, connected as Issue tracker (tracker)"]
    # Its person would receive their own alone, and still does not agree to it themselves.
    assert (await lead(place, "admin", name="own.worka.test")).get("state") == "open"
    for state, reason in (("broken", "refresh_refused"), ("expired", "credential_expired")):
        made = await connected(place, host=f"{state}.worka.test")
        async with place.db.transaction(place.tenant_id) as conn:
            await connection_rows.move(conn, made["id"], state, reason)
        assert (await lead(place, name=f"{state}.worka.test")).get("state") == "open"
    assert await holding(place) == []


async def client_at(place: World, host: str) -> str:
    """A client of the workspace at a provider, with the way to its token endpoint."""
    base = {"tenant_id": place.tenant_id, "workspace_id": place.workspace_id, "created_by": place.ids["owner"]}
    client: Row = {
        **base,
        "id": new_id("pcl"),
        "provider": "outside",
        "client_id": "worka",
        "secret_id": None,
        "metadata": {},
    }
    way: Row = {**base, "id": new_id("rule"), "purpose": "connection", "subject_id": client["id"], "host": host, "port": 443,
                "method": "POST", "path": "/token"}  # fmt: skip
    async with place.db.transaction(place.tenant_id) as conn:
        assert await connection_rows.add_client(conn, client)
        await rows.add_platform_rule(conn, way)
    return str(client["id"])


async def registry_at(place: World, host: str, credential: bytes | None) -> None:
    """A registry of the workspace, with the way to it."""
    base = {"tenant_id": place.tenant_id, "workspace_id": place.workspace_id, "created_by": place.ids["owner"]}
    there: Row = {**base, "id": new_id("dst"), "name": host.partition(".")[0], "host": host, "port": 443, "repository": "a/b",
                  "credential": credential, "token_service": "", "blob_hosts": []}  # fmt: skip
    way: Row = {**base, "id": new_id("rule"), "purpose": "registry", "subject_id": there["id"], "host": host, "port": 443,
                "method": "GET", "path": "/v2/a/b/*"}  # fmt: skip
    async with place.db.transaction(place.tenant_id) as conn:
        assert await registry.add_destination(conn, there)
        await rows.add_platform_rule(conn, way)


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_the_platforms_own_credentials_count_where_they_are_sent(place: World) -> None:
    held = await client_at(place, "login.worka.test")
    await registry_at(place, "images.worka.test", b"sealed")
    await registry_at(place, "public.worka.test", None)
    at = {name: await lead(place, name=f"{name}.worka.test") for name in ("login", "images", "public")}
    assert at["login"].get("credentials") == ["the workspace's client at outside, and the tokens that it is given"]
    assert at["images"].get("credentials") == ["the credential of the registry images"]
    assert "state" not in at["public"], "nothing of ours is sent there"
    assert len(await holding(place)) == 1
    # With its end nothing goes there any more.
    async with place.db.transaction(place.tenant_id) as conn:
        await rows.end_platform_rules(conn, "connection", held)
    assert "state" not in await lead(place, "owner", name="login.worka.test")


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_an_air_gaps_exceptions_are_asked_about_alike(place: World) -> None:
    network = NetworkSettings(air_gapped=True, allowed=[f"{HOST}:443", "10.0.0.0/8:*"])
    place.settings = place.settings.model_copy(update={"network": network})
    await connected(place)
    waits = await lead(place)
    assert (waits.get("state"), await holding(place)) == ("open", [])
    await decide(place, waits)
    assert await holding(place) == [("exception", place.ids["admin"])]


@pytest.mark.capability("APR-10", part="where a credential goes")
async def test_who_agrees_reads_where_it_leads_whom_it_trusts_and_whose_credentials_go_there(place: World) -> None:
    await connected(place)
    await connect(place, "admin", name="My own", own=True)
    waits = await lead(place)
    card = await approvals.show(place.ctx("approver"), waits["approval_id"])
    (mark,) = leads.fingerprints(CA)
    assert (card["card"]["name"], card["card"]["leads_to"]) == (f"{HOST}:443", "10.0.0.1:8443")
    assert [mark in line for line in card["card"]["trusted"]] == [True]
    assert card["card"]["credentials"] == [
        "the workspace's connection Issue tracker (tracker)",
        "the own account of admin, connected as My own (tracker)",
    ]
    assert card["card"]["because"] == "nearer"
    assert f"Calls to {HOST}:443 go to 10.0.0.1:8443, checked by" in card["effect"]
    assert mark in card["effect"]
    assert card["arguments"]["ca_pem"] == CA, "whoever agrees can read all of it"
    (decision,) = await place.rows("decision", "id = %s", card["decision_id"])
    assert decision["reasons"] == ["A credential goes to this name, and would go where this leads."]
    assert card["eligibility"]["eligible"]
    assert not (await approvals.show(place.ctx("admin"), waits["approval_id"]))["eligibility"]["eligible"]


@pytest.mark.capability("APR-7", part="where a credential goes")
@pytest.mark.parametrize(("ending_it", "reason"), [("reject", "way_rejected"), ("withdraw", "way_not_decided")])
async def test_what_nobody_agreed_to_is_not_recorded_and_says_why(place: World, ending_it: str, reason: str) -> None:
    await connected(place)
    waits = await lead(place)
    told = await explain.explain(place.ctx("admin"), waits["id"])
    assert (told.state, told.reason, told.layer) == ("open", "waiting_for_approver", "approval")
    assert "a credential goes to that name" in told.headline
    (wait,) = told.waiting_on
    assert (wait.ref, wait.you_can) == (waits["approval_id"], False)
    assert (await explain.explain(place.ctx("approver"), waits["id"])).waiting_on[0].you_can, "the control"
    if ending_it == "reject":
        await decide(place, waits, "reject")
    else:
        await approvals.withdraw(place.ctx("admin"), waits["approval_id"])
    assert await holding(place) == []
    told = await explain.explain(place.ctx("viewer"), waits["id"])
    assert (told.state, told.reason, told.timing) == ("closed", reason, "after_completion")
    assert "was not recorded" in told.headline
    assert told.next[0].command.startswith(f"worka egress exception set {HOST} --port 443 --address ")
    assert (await lead(place))["id"] != waits["id"], "it is asked for anew"
    with pytest.raises(WayChangeUnknown):
        await explain.explain(place.ctx("stranger"), waits["id"])


@pytest.mark.capability("APR-10", part="where a credential goes")
async def test_consent_is_to_exactly_what_was_asked_and_to_the_credentials_that_went_there(place: World) -> None:
    await connected(place)
    altered = await lead(place)
    async with place.db.transaction(place.tenant_id) as conn:
        await conn.execute(
            'update worka.way_change set settings = settings || \'{"address": "10.6.6.6"}\' where id = %s',
            (altered["id"],),
        )
    await decide(place, altered)
    assert (await change(place, altered))["reason"] == "way_superseded"
    # Another credential goes there meanwhile: whoever agreed did not agree to that.
    fewer = await lead(place)
    await connect(place, name="Second")
    await decide(place, fewer)
    assert (await change(place, fewer))["reason"] == "way_superseded"
    # Who asked may not ask any more.
    lost = await lead(place)
    async with place.db.transaction(place.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'member' where principal_id = %s", (place.ids["admin"],))
    await decide(place, lost)
    assert (await change(place, lost))["reason"] == "way_superseded"
    assert await holding(place) == []
    # The control: nothing changed.
    waits = await lead(place, "owner")
    await decide(place, waits)
    assert await holding(place) == [("exception", place.ids["owner"])]


@pytest.mark.capability("APR-10", part="where a credential goes")
async def test_of_two_that_wait_for_one_name_the_first_that_is_agreed_to_ends_the_other(place: World) -> None:
    await connected(place)
    first, second = await lead(place), await lead(place, "owner", address="10.0.0.2")
    assert first["id"] != second["id"]
    await decide(place, second)
    assert ((await change(place, first))["reason"], (await change(place, second))["state"]) == (
        "way_superseded",
        "recorded",
    )
    (approval,) = await place.rows("approval", "id = %s", first["approval_id"])
    assert approval["state"] == "superseded"
    assert await holding(place) == [("exception", place.ids["owner"])]
    # What else is asked of the name by then as well: it was asked for where this was not. Of two attachments neither touches
    # the other's calls.
    one, two = await attachment(place), await attachment(place, "acme.other")
    wide, ones, twos = await vouch(place), await vouch(place, attachment_id=one), await vouch(place, attachment_id=two)
    await decide(place, ones)
    await decide(place, twos)
    told = [(await change(place, row))["reason"] for row in (wide, ones, twos)]
    assert told == ["way_superseded", "way_recorded", "way_recorded"]


@pytest.mark.capability("APR-10", part="where a credential goes")
async def test_who_agrees_reads_what_else_is_recorded_of_the_name_and_agrees_to_that_with_it(place: World) -> None:
    own = await vouch(place)
    await connected(place)
    (mark,) = leads.fingerprints(CA)
    stays = f"Recorded besides: {HOST}:443 is checked by a certificate authority that admin recorded (SHA-256 {mark})."
    waits = await lead(place, "owner", ca_pem=Authority("another").pem.decode())
    card = await approvals.show(place.ctx("approver"), waits["approval_id"])
    assert card["card"].get("beside") == [stays], "it stands before the authority that the exception names"
    assert stays in card["effect"]
    await trusts.remove(place.ctx("admin"), own["id"])
    await decide(place, waits)
    assert (await change(place, waits))["reason"] == "way_superseded"
    assert await holding(place) == []
    again = await lead(place, "owner")
    assert "beside" not in (await approvals.show(place.ctx("approver"), again["approval_id"]))["card"], "the control"
    await decide(place, again)
    # The one in whose place it stands is none beside it.
    first = await vouch(place)
    await decide(place, first)
    second = await vouch(place, reason="moved", replace=True)
    (led,) = (await approvals.show(place.ctx("approver"), second["approval_id"]))["card"]["beside"]
    assert led.startswith(f"Recorded besides: {HOST}:443 leads to 10.0.0.1:8443 by an exception that owner recorded")


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_what_is_only_tried_asks_nobody_and_records_nothing(place: World) -> None:
    await connected(place)
    would = await service.create_exception(replace(place.ctx("admin"), undone=True), exception())
    assert (would["state"], would["leads_to"]) == ("open", "10.0.0.1:8443")
    assert await place.rows("way_change") == []
    assert await place.rows("approval", "subject_type = 'way_change'") == []
    assert (await lead(place)).get("state") == "open", "the control"
    assert len(await place.rows("way_change")) == 1


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_taking_back_needs_nobody_else_and_recording_it_again_does(place: World) -> None:
    await connected(place)
    waits = await lead(place)
    await decide(place, waits)
    made = (await change(place, waits))["made_id"]
    with pytest.raises(Denied):
        await service.remove_exception(place.ctx("member"), made)
    await service.remove_exception(place.ctx("admin"), made)
    assert await holding(place) == []
    assert (await lead(place)).get("state") == "open"


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_what_stands_there_holds_until_somebody_agrees_to_what_takes_its_place(place: World) -> None:
    await connected(place)
    waits = await lead(place)
    await decide(place, waits)
    first = (await change(place, waits))["made_id"]
    moved = await lead(place, "owner", address="10.0.0.2", replace=True)
    assert (moved.get("state"), moved["replaces"]) == ("open", first)
    assert await holding(place) == [("exception", place.ids["admin"])], "nobody agreed yet"
    await decide(place, moved)
    assert await holding(place) == [("exception", place.ids["owner"])]
    (event,) = await place.events("network.exception.removed")
    assert event["subject"] == first
    # What it would have replaced was taken back meanwhile: that is not what was agreed to.
    late = await lead(place, "owner", address="10.0.0.3", replace=True)
    await service.remove_exception(place.ctx("admin"), (await change(place, moved))["made_id"])
    await decide(place, late)
    assert (await change(place, late))["reason"] == "way_superseded"
    assert await holding(place) == []


@pytest.mark.capability("APR-12", part="what is never bypassed: where a credential goes")
@pytest.mark.parametrize("boundary", ["network_exception.create", "upstream_trust.create"])
async def test_no_bypass_leads_a_credential_elsewhere(place: World, boundary: str) -> None:
    await connected(place)
    until = now() + timedelta(hours=1)
    with pytest.raises(BadBypass, match="never bypassed"):
        await bypass.open_(
            place.ctx("owner"),
            place.workspace_id,
            kind="boundary",
            target=boundary,
            why="alone",
            until=until,
            most_uses=1,
        )
    waits = await (lead(place) if boundary.startswith("network") else vouch(place))
    (row,) = await place.rows("approval", "id = %s", waits["approval_id"])
    assert (row["boundary"], approvals.bypassable(row)) == (boundary, [])
    assert approvals.bypassable({**row, "boundary": "connection.create"}) != [], "the control"


# recorded before the credential -------------------------------------------------------------------------------------
@pytest.mark.capability("CON-6", part="where its name leads is shown to whoever agrees")
async def test_who_agrees_to_a_connection_reads_where_its_name_leads_already(place: World) -> None:
    await lead(place)
    await vouch(place)
    await lead(place, name="other.worka.test", address="10.0.0.9")
    for asks in ({"who": "owner"}, {"who": "admin", "own": True}):
        made = await connect(place, **asks)
        card = await approvals.show(place.ctx("approver"), made["approval_id"])
        (mark,) = leads.fingerprints(CA)
        told = [
            f"{HOST}:443 leads to 10.0.0.1:8443 by an exception that admin recorded, with a certificate authority of their own"
            f" (SHA-256 {mark}).",
            f"{HOST}:443 is checked by a certificate authority that admin recorded (SHA-256 {mark}).",
        ]
        assert card["card"].get("led") == told
        assert all(line in card["effect"] for line in told)
        await decide(place, made)
        assert (await connecting.get(place.ctx("owner"), made["id"]))["state"] == "active"
    plain = await connect(place, host="plain.worka.test")
    assert "led" not in (await approvals.show(place.ctx("approver"), plain["approval_id"]))["card"], "the control"


@pytest.mark.capability("CON-6", part="where its name leads is shown to whoever agrees")
@pytest.mark.parametrize("meanwhile", ["led", "vouched", "taken back"])
async def test_a_consent_to_a_connection_is_none_to_where_its_name_leads_meanwhile(
    place: World, meanwhile: str
) -> None:
    held = await lead(place, name="removed.worka.test")
    made = await connect(place, host="removed.worka.test" if meanwhile == "taken back" else HOST)
    if meanwhile == "taken back":
        await service.remove_exception(place.ctx("admin"), held["id"])
    else:
        waits = await (lead(place) if meanwhile == "led" else vouch(place))
        await decide(place, waits)
        assert (await change(place, waits))["state"] == "recorded"
    await decide(place, made)
    found = await connecting.get(place.ctx("owner"), made["id"])
    assert (found["state"], found["reason"]) == ("rejected", "connection_superseded")
    again = await connect(place, host=found["host"])
    await decide(place, again)
    assert (await connecting.get(place.ctx("owner"), again["id"]))["state"] == "active", "the control"


@pytest.mark.capability(
    "APR-4", part="who recorded where a name leads does not agree to the credential that goes there"
)
@pytest.mark.parametrize("recorded", ["led", "vouched"])
@pytest.mark.parametrize("own", [False, True])
async def test_who_recorded_where_a_name_leads_does_not_agree_to_a_credential_for_it(
    place: World, recorded: str, own: bool
) -> None:
    await (lead(place) if recorded == "led" else vouch(place))
    asks: Row = {"who": "member", "own": True} if own else {"who": "owner"}
    made = await connect(place, **asks)
    card = await approvals.show(place.ctx("admin"), made["approval_id"])
    assert "admin" not in card["who_could"]
    assert card["eligibility"]["because"].startswith("You recorded where its name leads"), "they read why"
    with pytest.raises(NotEligible):
        await decide(place, made, who="admin")
    assert (await connecting.get(place.ctx("owner"), made["id"]))["state"] == "awaiting_approval"
    await decide(place, made)
    assert (await connecting.get(place.ctx("owner"), made["id"]))["state"] == "active"
    plain = await connect(place, **{**asks, "host": "plain.worka.test"})
    await decide(place, plain, who="admin")
    assert (await connecting.get(place.ctx("owner"), plain["id"]))["state"] == "active", "the control"


@pytest.mark.capability("APR-12", part="what is never bypassed: where a credential goes")
async def test_no_bypass_lets_a_credential_through_to_a_name_that_is_led_elsewhere(place: World) -> None:
    await lead(place, "owner")
    await bypass.open_(
        place.ctx("owner"), place.workspace_id, kind="boundary", target="connection.own", why="alone",
        until=now() + timedelta(hours=1), most_uses=9,
    )  # fmt: skip
    made = await connect(place, "admin", own=True)
    assert (await connecting.get(place.ctx("owner"), made["id"]))["state"] == "awaiting_approval", (
        "somebody looks at it"
    )
    plain = await connect(place, "admin", own=True, host="plain.worka.test")
    assert (await connecting.get(place.ctx("owner"), plain["id"]))["state"] == "active", "the control"


@pytest.mark.capability("GOV-7", part="whether a name leads elsewhere is a fact of whatever sends a credential there")
async def test_policy_is_told_whether_the_name_leads_elsewhere(place: World) -> None:
    await lead(place)
    await connect(place)
    await connect(place, host="plain.worka.test")
    told = [
        row["context"]["facts"]["redirected"]
        for row in await place.rows("decision", "action = 'connection.create' order by id")
    ]
    assert told == [True, False]


@pytest.mark.capability("BRK-13", part="who types in a registry's credential is told where its name leads")
async def test_who_types_in_a_registrys_credential_is_told_where_its_names_lead(place: World) -> None:
    await lead(place, name="images.worka.test")
    await vouch(place, name="tokens.worka.test")

    async def name_it(called: str, undone: bool = False, **given: Any) -> list[str]:
        fields: Row = {"host": "images.worka.test", "username": "ada", "password": "correct horse", **given}
        ctx = replace(place.ctx("owner"), undone=undone)
        made = await destinations.create(ctx, place.workspace_id, name=called, port=443, repository="a/b", **fields)
        return list(made["led"])

    (mark,) = leads.fingerprints(CA)
    leads_on = (
        "images.worka.test:443 leads to 10.0.0.1:8443 by an exception that admin recorded, with a certificate authority of their"
        f" own (SHA-256 {mark})."
    )
    service = {"host": "plain.worka.test", "token_service": "https://tokens.worka.test/token?service=x"}
    assert await name_it("tried", undone=True) == [leads_on], "before it is kept"
    assert await place.rows("destination") == []
    assert await name_it("images") == [leads_on]
    (vouched,) = await name_it("tokens", **service)
    assert vouched.startswith("tokens.worka.test:443 is checked by a certificate authority that admin recorded")
    for called, given in (("plain", {"host": "plain.worka.test"}), ("open", {"username": "", "password": ""})):
        assert await name_it(called, **given) == [], "the control"


# at once ------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
@pytest.mark.parametrize("first", ["connecting", "leading"])
async def test_a_connection_and_where_its_name_leads_do_not_pass_each_other_by(place: World, first: str) -> None:
    key = (await secret(place))["id"]
    acts = {"connecting": lambda: connect(place, secret_id=key), "leading": lambda: lead(place)}
    begun: list[asyncio.Future[Row]] = []
    async with place.db.transaction(place.tenant_id) as conn:
        await may_idle(conn)
        await connection_rows.lock_places(conn, place.workspace_id)
        for name in (first, next(name for name in acts if name != first)):
            begun.append(asyncio.ensure_future(acts[name]()))
            done, _ = await asyncio.wait(begun, timeout=1.0)
            assert done == set(), f"{name} did not wait for who changes where names lead"
    one, other = await asyncio.gather(*begun)
    made, led = (one, other) if first == "connecting" else (other, one)
    card = (await approvals.show(place.ctx("approver"), made["approval_id"]))["card"]
    # Whoever came second has seen the first.
    assert (led.get("state") == "open", "led" in card) == ((True, False) if first == "connecting" else (False, True))


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person")
async def test_a_client_at_a_provider_waits_for_who_changes_where_names_lead(place: World) -> None:
    async def register() -> Row:
        return await clients.register(
            place.ctx("owner"),
            place.workspace_id,
            provider="gitlab",
            client_id="worka",
            secret="a-client-secret",
            metadata={},
        )

    async with place.db.transaction(place.tenant_id) as conn:
        await may_idle(conn)
        await connection_rows.lock_places(conn, place.workspace_id)
        begun = asyncio.ensure_future(register())
        done, _ = await asyncio.wait({begun}, timeout=1.0)
        assert done == set(), "it did not wait"
    assert (await begun)["provider"] == "gitlab"
    assert (await lead(place, name="gitlab.com")).get("state") == "open"
