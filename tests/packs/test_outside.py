"""What packs may reach and did: before any call, one destination from every side, a request that is only tried, and the blast
radius of a destination and of a secret; on real rows, with a real broker where an address is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packs import moving
from tests.packs.conftest import TRACKER, Outside, Packs
from worka import packs
from worka.broker.errors import AttachmentUnknown, DestinationUnknown, RequestInvalid
from worka.broker.policy import service as policies
from worka.broker.records import reachable, trying
from worka.broker.records.answers import TriedRequest
from worka.governance import service as governance
from worka.kernel.errors import Denied, NotFound
from worka.packs.lifecycle import picture
from worka.packs.service import reaching

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]
NEED = {
    "provider": "tracker", "access": "read issues", "required": True,
    "inject": {"host": TRACKER, "header": "Authorization", "template": "Bearer {{connection.access_token}}"},
}  # fmt: skip


async def going(place: Packs, facts: Row) -> tuple[Row, Row]:
    """(attachment, connection): the small pack may read the tracker's issues, with the workspace's account there."""
    connection = await place.connect(facts)
    release = await moving.release(
        place,
        "1.0.0",
        outbound_domains=[{"host": TRACKER, "methods": ["GET"], "paths": ["/issues*"]}],
        connections=[NEED],
    )
    row = await packs.service.attach(place.ctx(), release["id"])
    await place.approve(row["approval_id"])
    return await moving.the(place, row["id"]), connection


async def tried(place: Packs, attached: Row, host: str = TRACKER, path: str = "/issues", **more: Any) -> Row:
    """What a viewer is told of a request."""
    asked = TriedRequest(attachment_id=attached["id"], host=host, path=path, **more)
    return await trying.look(place.ctx("viewer"), asked)


@pytest.mark.capability("BRK-10")
async def test_what_packs_may_reach_is_listed_with_its_accounts_before_any_call(place: Packs, outside: Outside) -> None:
    assert (await reachable.listing(place.ctx("viewer")))["items"] == []
    attached, connection = await going(place, outside.facts)
    (row,) = (await reachable.listing(place.ctx("viewer")))["items"]
    assert (row["host"], row["methods"], row["paths"], row["rule"]) == (
        TRACKER,
        ["GET"],
        ["/issues*"],
        "outbound_domains[0]",
    )
    assert (row["attachment_id"], row["pack"], row["requests"], row["stopped"]) == (attached["id"], "acme.small", 0, [])
    (need,) = row["connections"]
    assert (need["id"], need["granted"], need["owner_name"]) == (connection["id"], True, "owner")
    assert need["placed"] == "header Authorization"
    assert row["exceptions"], "what is behind its name is said"
    # What keeps it from passing is said too: a kill switch, a policy, a connection that is over.
    await governance.kill(place.ctx(), place.world.workspace_id, "destination", TRACKER, "an incident", False)
    await policies.save(
        place.ctx(), place.world.workspace_id, scope="workspace", settings={"refuse": [TRACKER]}, note=""
    )
    (row,) = (await reachable.listing(place.ctx("viewer")))["items"]
    assert len(row["stopped"]) == 2
    assert "an incident" in row["stopped"][0]
    assert row["policy"] == ["egress_policy/workspace.1/refuse[0]"]
    await place.world.person("stranger")
    with pytest.raises(Denied):
        await reachable.listing(place.ctx("stranger"))


@pytest.mark.capability("BRK-10", part="one destination")
async def test_a_destination_is_told_from_every_side(place: Packs, outside: Outside) -> None:
    attached, connection = await going(place, outside.facts)
    with pytest.raises(DestinationUnknown):
        await reachable.destination(place.ctx("viewer"), "nobody.goes.there", 443)
    with pytest.raises(RequestInvalid):
        await reachable.destination(place.ctx("viewer"), "10.0.0.1", 443)
    found = await reachable.destination(place.ctx("viewer"), TRACKER.upper(), 443)
    assert found["sentence"] == f"acme.small may reach {TRACKER}:443; in the last 30 days nothing did."
    assert [row["attachment_id"] for row in found["allowed"]] == [attached["id"]]
    async with place.ctx().transaction() as conn:
        await conn.execute(
            "insert into worka.egress (tenant_id, id, workspace_id, attachment_id, session_id, host, port, kind, method,"
            " path, verdict, reason, rule, count, connection_id, status, trace_id) values (%s, 'egr_1', %s, %s, 's', %s, 443,"
            " 'http', 'GET', '/issues', 'allowed', 'allowed', 'outbound_domains[0]', 3, %s, 200, 't')",
            (place.world.tenant_id, place.world.workspace_id, attached["id"], TRACKER, connection["id"]),
        )
    found = await reachable.destination(place.ctx("viewer"), TRACKER, 443)
    (use,) = found["used"]
    assert (use["pack"], use["rule"], use["requests"], use["owner_name"]) == (
        "acme.small",
        "outbound_domains[0]",
        3,
        "owner",
    )
    assert {item["key"]: item["requests"] for item in found["counts"]} == {"answered": 3}
    one = await reachable.of_attachment(place.ctx("viewer"), attached["id"])
    assert [(row["host"], row["connection_name"]) for row in one["used"]] == [(TRACKER, "Tracker")]
    await place.world.person("stranger")
    with pytest.raises(AttachmentUnknown):
        await reachable.of_attachment(place.ctx("stranger"), attached["id"])


@pytest.mark.capability("BRK-12", part="a request that is only tried")
@pytest.mark.capability("BRK-6", part="a request that is only tried")
async def test_a_request_is_tried_step_by_step_and_nothing_leaves(place: Packs, outside: Outside) -> None:
    attached, connection = await going(place, outside.facts)
    passes = await tried(place, attached)
    assert (passes["verdict"], passes["rule"]) == ("allowed", "outbound_domains[0]")
    assert {step["state"] for step in passes["steps"]} == {"ok"}
    assert (passes["credential"]["id"], passes["credential"]["secret_name"]) == (connection["id"], "tracker")
    assert passes["exception_id"] is not None
    refusals = {
        "undeclared_destination": await tried(place, attached, "elsewhere.example.org"),
        "method_not_allowed": await tried(place, attached, method="POST"),
        "path_not_allowed": await tried(place, attached, path="/admin"),
        "raw_address": await tried(place, attached, "169.254.169.254"),
        "malformed_host": await tried(place, attached, "a\\b.example.org"),
    }
    for reason, found in refusals.items():
        assert (found["verdict"], found["reason"]) == ("denied", reason), found
        failed = [step["name"] for step in found["steps"] if step["state"] == "failed"]
        assert len(failed) == 1
        assert found["credential"] is None
    assert refusals["method_not_allowed"]["proposal"]["outbound_domains"][0]["methods"] == ["POST"]

    await policies.save(place.ctx(), place.world.workspace_id, scope="workspace", settings={"only": []}, note="")
    by_policy = await tried(place, attached)
    assert (by_policy["reason"], by_policy["rule"]) == ("policy_does_not_list", "egress_policy/workspace.1/only")
    await policies.save(place.ctx(), place.world.workspace_id, scope="workspace", settings={}, note="")
    async with place.ctx().transaction() as conn:
        await conn.execute(
            "update worka.secret_grant set revoked_at = now() where attachment_id = %s", (attached["id"],)
        )
    assert (await tried(place, attached))["reason"] == "connection_not_granted"
    async with place.ctx().transaction() as conn:
        await conn.execute("update worka.connection set state = 'expired' where id = %s", (connection["id"],))
    assert (await tried(place, attached))["reason"] == "connection_unusable"
    killed = await governance.kill(place.ctx(), place.world.workspace_id, "destination", TRACKER, "an incident", False)
    assert (await tried(place, attached))["rule"] == f"kill/{killed['id']}"
    assert outside.record["requests"] == []
    assert await place.world.rows("egress") == []
    with pytest.raises(RequestInvalid):
        await tried(place, attached, tool="acme.small.nothing")
    await place.world.person("stranger")
    with pytest.raises(AttachmentUnknown):
        await trying.look(place.ctx("stranger"), TriedRequest(attachment_id=attached["id"], host=TRACKER))


@pytest.mark.capability("BEY-3", part="destinations and secrets")
async def test_the_blast_radius_of_a_destination_and_of_a_secret(place: Packs, outside: Outside) -> None:
    attached, connection = await going(place, outside.facts)
    there = await reaching.of_destination(place.ctx(), TRACKER, 443)
    assert [row["id"] for row in there["attachments"]] == [attached["id"]]
    assert [row["name"] for row in there["secrets"]] == ["tracker"]
    assert [row["id"] for row in there["connections"]] == [connection["id"]]
    assert there["sentence"] == f"{TRACKER}:443 can reach 1 secret; without it 1 attachment, 1 connection would break."
    nowhere = await reaching.of_destination(place.ctx(), "nobody.example.org", 443)
    assert (nowhere["attachments"], nowhere["secrets"]) == ([], [])
    assert "no credential of ours" in nowhere["sentence"]
    secret = there["secrets"][0]["id"]
    found = await reaching.of_secret(place.ctx(), secret)
    assert [(row["host"], row["port"], row["used"]) for row in found["reaches"]] == [(TRACKER, 443, 0)]
    assert [row["id"] for row in found["attachments"]] == [attached["id"]]
    assert [row["id"] for row in found["connections"]] == [connection["id"]]
    for reach in (there, found):
        drawn = picture.svg(reach)
        assert drawn.startswith("<svg")
        assert "tracker" in drawn
    await place.world.person("stranger")
    with pytest.raises(NotFound):
        await reaching.of_secret(place.ctx("stranger"), secret)
    with pytest.raises(Denied):
        await reaching.of_destination(place.ctx("stranger"), TRACKER, 443)
