"""The address of a name that is only tried: looked up by the broker itself, judged as for a request, and only where it may be."""

from __future__ import annotations

from typing import Any

import pytest

from tests.broker.test_doors import gate as gate
from tests.broker.test_doors import person as person
from tests.broker.world import HOST, INJECT, World
from worka.broker.records import reachable, trying
from worka.broker.records.answers import TriedRequest
from worka.kernel.context import Context


async def tried(world: World, person: Context, host: str, **more: Any) -> dict[str, Any]:
    """What the person is told, with the running broker beside."""
    return await trying.look(person, TriedRequest(attachment_id=world.attachment_id, host=host, **more))


@pytest.mark.capability("BRK-15", part="a request that is only tried")
async def test_the_address_of_a_tried_name_is_looked_up_by_the_broker_and_judged(world: World, person: Context) -> None:
    await world.declare("out.example.org", "in.example.org", "both.example.org", "nobody.example.org")
    world.resolver.answers |= {
        "out.example.org": [("93.184.216.34",)],
        "in.example.org": [("10.1.2.3",)],
        "both.example.org": [("93.184.216.34", "169.254.169.254")],
    }
    out = await tried(world, person, "out.example.org")
    assert (out["verdict"], out["addresses"]) == ("allowed", [{"address": "93.184.216.34", "refused": None}])
    for host, kind in (("in.example.org", "private"), ("both.example.org", "metadata")):
        found = await tried(world, person, host)
        assert (found["reason"], found["addresses"][-1]["refused"]) == ("private_address", kind)
    assert (await tried(world, person, "nobody.example.org"))["reason"] == "name_not_resolved"
    # As an exception would be met that was recorded before metadata services were refused.
    old = await world.exempt("in.example.org", 443, 443, "169.254.169.254")
    excepted = await tried(world, person, "in.example.org")
    assert (excepted["reason"], excepted["exception_id"]) == ("private_address", old)
    assert "Remove the network exception" in excepted["remedy"]
    await world.execute("update worka.network_exception set address = '10.1.2.3' where id = %s", old)
    assert (await tried(world, person, "in.example.org"))["verdict"] == "allowed", (
        "the control: one to an inside address"
    )
    unasked = await tried(world, person, "out.example.org", resolve=False)
    assert (unasked["verdict"], unasked["addresses"]) == ("allowed", [])
    assert "if its name leads to a public address" in unasked["sentence"]
    # What no rule lets the pack ask for is not asked for either: a try is no way to send names out.
    asked = list(world.resolver.asked)
    assert (await tried(world, person, "secret-in-a-name.example.com"))["reason"] == "undeclared_destination"
    assert world.resolver.asked == asked


@pytest.mark.capability("BRK-13", part="WebSockets, a request that is only tried")
async def test_a_websocket_is_tried_as_one(world: World, person: Context) -> None:
    await world.declare(
        {"host": "live.example.org", "methods": ["GET", "POST"], "websocket": True}, "plain.example.org"
    )
    live = {"resolve": False, "websocket": True}
    allowed = await tried(world, person, "live.example.org", **live)
    assert (allowed["verdict"], allowed["rule"]) == ("allowed", "outbound_domains[0]")
    refused = await tried(world, person, "plain.example.org", **live)
    assert (refused["verdict"], refused["reason"]) == ("denied", "upgrade_refused")
    assert "websocket: true in outbound_domains[1]" in refused["remedy"]
    assert refused["proposal"]["outbound_domains"][0]["websocket"] is True
    assert (await tried(world, person, "live.example.org", method="POST", **live))["reason"] == "upgrade_refused"
    # The controls: the same requests that ask for no WebSocket pass.
    for host, method in (("plain.example.org", "GET"), ("live.example.org", "POST")):
        assert (await tried(world, person, host, method=method, resolve=False))["verdict"] == "allowed"


@pytest.mark.capability("TRE-16", part="whose account a tried request would go out with")
async def test_a_tried_request_goes_with_the_account_of_who_asks_and_never_with_another_persons(
    world: World, person: Context
) -> None:
    await world.declare(HOST, connections=INJECT)
    shared, theirs = await world.connect(), await world.connect()
    await world.execute("update worka.connection set person_id = 'per_2' where id = %s", theirs)
    found = await tried(world, person, HOST, resolve=False)
    assert found["credential"]["id"] == shared, "the newest one is another person's own"
    mine = await world.connect()
    await world.execute("update worka.connection set person_id = 'per_1' where id = %s", mine)
    found = await tried(world, person, HOST, resolve=False)
    assert found["credential"]["id"] == mine
    assert "your own account" in next(step["detail"] for step in found["steps"] if step["name"] == "connection")
    (row,) = (await reachable.listing(person))["items"]
    assert {item["id"] for item in row["connections"]} == {shared, theirs, mine}, (
        "all that may stand behind it are told"
    )
    # What is past its end is no account, whatever its row still says.
    await world.execute("update worka.connection set expires_at = now() - interval '1 second' where id = %s", mine)
    found = await tried(world, person, HOST, resolve=False)
    assert (found["verdict"], found["reason"]) == ("denied", "connection_unusable")
