"""From a refusal to a proposal, from a proposal to a release and a move, or to a change of policy; with real releases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packs import moving
from tests.packs.conftest import Packs
from worka import broker
from worka.approvals.rules import parse_rule
from worka.broker import store as broker_rows
from worka.broker.policy import service as policies
from worka.governance import statements
from worka.kernel.clock import now
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.observability import service as observability
from worka.packs import service as packs
from worka.packs.proposals import difference, service, unused
from worka.packs.proposals.errors import NothingToPropose, ProposalNotFound, ProposalOver, ProposalRejected

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]
HOST = "tracker.worka.test"


async def denied(place: Packs, attached: Row, **changes: Any) -> str:
    """A row as the broker writes it for a refusal; its id."""
    row = {
        "id": new_id("egr"), "workspace_id": attached["workspace_id"], "attachment_id": attached["id"],
        "invocation_id": None, "session_id": "s", "trace_id": "0" * 32, "host": HOST, "port": 443, "kind": "http",
        "method": "POST", "path": "/notes", "verdict": "denied", "reason": "method_not_allowed",
        "rule": "outbound_domains[0]", "address": None, "opaque": False, "exception_id": None, "connection_id": None,
        "lease_id": None, "decision_id": None, **changes,
    }  # fmt: skip
    ctx = place.ctx()
    async with ctx.transaction() as conn:
        await broker_rows.insert_egress(conn, str(ctx.tenant_id), row)
    return str(row["id"])


async def reaching(place: Packs, *domains: Any, version: str = "1.0.0") -> Row:
    """An attachment that serves and may go to these."""
    release = await moving.release(
        place, version, outbound_domains=list(domains) or [{"host": HOST, "methods": ["GET"]}]
    )
    row = await packs.attach(place.ctx(), release["id"])
    if row["state"] == "awaiting_approval":
        await place.approve(row["approval_id"])
    return await moving.the(place, row["id"])


@pytest.mark.capability("BRK-14")
async def test_a_refusal_becomes_a_proposal_a_release_and_a_move_that_asks(place: Packs) -> None:
    attached = await reaching(place)
    refused = await denied(place, attached)
    made = await service.propose(place.ctx("member"), refused, why="it writes notes")
    assert made["difference"]["add"] == [{"host": HOST, "port": 443, "methods": ["POST"], "paths": ["/notes"]}]
    assert (made["owner_id"], made["state"], made["refused"]) == (place.world.ids["member"], "open", [refused])
    for who, can in (("admin", True), ("viewer", False)):
        items = (await observability.attention(place.ctx(who)))["items"]
        assert [(item["ref"], item["mine"]) for item in items if item["kind"] == "proposal"] == [(made["id"], can)]
    # Nothing changed by that.
    assert (await moving.the(place, attached["id"]))["release_id"] == attached["release_id"]

    with pytest.raises(Denied):
        await service.accept(place.ctx("member"), made["id"])
    accepted = await service.accept(place.ctx("admin"), made["id"], "it may")
    assert (accepted["state"], accepted["reason"], accepted["release_state"]) == (
        "accepted",
        "made_into_release",
        "draft",
    )
    assert "draft" in accepted["became"]
    release = await packs.run_registration(place.platform(), accepted["made_release"])
    assert (release["state"], release["version"]) == ("released", "1.0.1-outside.1")
    assert release["manifest"]["outbound_domains"] == [{"host": HOST, "methods": ["GET"]}, *made["difference"]["add"]]
    (move,) = await moving.moves(place, attached["id"])
    assert (move["state"], move["requester_id"], move["kind"]) == ("planned", place.world.ids["admin"], "asked")
    await moving.work(place)
    (move,) = await moving.moves(place, attached["id"])
    # It widens, so it asks, as every move that widens does.
    assert (move["state"], move["widens"]) == ("awaiting_approval", True)
    assert "awaiting approval" in (await service.get(place.ctx(), made["id"]))["became"]
    await place.approve(move["approval_id"])
    await moving.work(place)
    assert (await moving.the(place, attached["id"]))["release_id"] == release["id"]
    done = await service.get(place.ctx(), made["id"])
    assert done["became"] == "release 1.0.1-outside.1 is attached"
    with pytest.raises(ProposalOver):
        await service.reject(place.ctx("admin"), made["id"], "too late")
    # The same refusal has nothing to propose any more: it is declared.
    with pytest.raises(NothingToPropose) as nothing:
        await service.propose(place.ctx(), await denied(place, attached))
    assert nothing.value.extra["reason"] == "allowed_meanwhile"


@pytest.mark.capability("BRK-14")
async def test_two_accepted_proposals_are_both_in_what_comes_of_them(place: Packs) -> None:
    attached = await reaching(place)
    first = await service.propose(place.ctx(), await denied(place, attached))
    second = await service.propose(place.ctx(), await denied(place, attached, path="/other"))
    one = await service.accept(place.ctx(), first["id"])
    two = await service.accept(place.ctx(), second["id"])
    for accepted in (one, two):
        await packs.run_registration(place.platform(), accepted["made_release"])
    (newer,) = await place.world.rows("release", "id = %s", two["made_release"])
    assert newer["version"] == "1.0.1-outside.2"
    assert newer["manifest"]["outbound_domains"][1:] == [*first["difference"]["add"], *second["difference"]["add"]]
    await moving.work(place)
    waiting = [move for move in await moving.moves(place, attached["id"]) if not moving.over(move)]
    assert [move["to_release"] for move in waiting] == [newer["id"]]


@pytest.mark.capability("BRK-14", part="proposals")
async def test_the_same_again_is_counted_and_what_was_rejected_is_remembered(place: Packs) -> None:
    attached = await reaching(place)
    refusals = [await denied(place, attached) for _ in range(3)]
    made = [await service.propose(place.ctx("member"), row) for row in refusals]
    assert {row["id"] for row in made} == {made[0]["id"]}
    assert (made[2]["times"], made[2]["refused"]) == (3, refusals)
    other = await service.propose(place.ctx("member"), await denied(place, attached, path="/other"))
    assert other["id"] != made[0]["id"]
    rejected = await service.reject(place.ctx("admin"), made[0]["id"], "never")
    assert (rejected["state"], rejected["reason"], rejected["decided_why"]) == (
        "rejected",
        "proposal_rejected",
        "never",
    )
    with pytest.raises(ProposalRejected) as remembered:
        await service.propose(place.ctx("member"), refusals[0])
    assert "never" in remembered.value.detail
    again = await service.propose(place.ctx("member"), refusals[0], again=True)
    assert (again["state"], again["times"]) == ("open", 1)
    listed = await service.listing(place.ctx("viewer"), place.world.workspace_id, None, None, None, 10)
    assert [row["id"] for row in listed] == [again["id"], other["id"], made[0]["id"]]
    with pytest.raises(Denied):
        await service.propose(place.ctx("viewer"), refusals[0])


@pytest.mark.capability("BRK-14", part="never wider than what was refused")
async def test_a_proposal_is_never_wider_than_the_refusal_and_some_refusals_have_none(place: Packs) -> None:
    attached = await reaching(place)
    with pytest.raises(NothingToPropose, match="never wider"):
        await service.propose(place.ctx(), await denied(place, attached), path="/")
    with pytest.raises(NothingToPropose, match="two servers read it differently"):
        await service.propose(place.ctx(), await denied(place, attached, path="/a/../b"))
    with pytest.raises(NothingToPropose, match="private_address"):
        await service.propose(place.ctx(), await denied(place, attached, reason="private_address"))
    with pytest.raises(NothingToPropose, match="let through"):
        await service.propose(place.ctx(), await denied(place, attached, verdict="allowed", reason="allowed"))
    lookup = await denied(
        place, attached, kind="dns", port=53, method=None, path=None, rule=None, host="rates.example.org",
        reason="undeclared_destination",
    )  # fmt: skip
    # Of a lookup only the name is known: reading it is the least, and the proposer may say less than that.
    narrow = await service.propose(place.ctx(), lookup, path="/v1/today")
    assert narrow["difference"]["add"] == [
        {"host": "rates.example.org", "port": 443, "methods": ["GET"], "paths": ["/v1/today"]}
    ]
    whole = await service.propose(place.ctx(), lookup)
    assert whole["difference"]["add"] == [{"host": "rates.example.org", "port": 443, "methods": ["GET"]}]


@pytest.mark.capability("BRK-14", part="a change of policy")
async def test_a_refusal_by_policy_becomes_a_change_of_policy_which_waits_for_another_owner(place: Packs) -> None:
    broker.subscribe(place.world.subscribers)
    attached = await reaching(place)
    here = place.world.workspace_id
    saved = await policies.save(
        place.ctx(), here, scope="workspace", settings={"refuse": [{"host": HOST, "methods": ["POST"]}]}, note=""
    )
    assert (saved["state"], saved["version"]) == ("in_force", 1)
    await place.world.person("second owner")
    await place.world.join("second owner", "owner")
    refused = await denied(
        place, attached, reason="policy_refuses", rule="egress_policy/workspace.1/refuse[0]"
    )  # fmt: skip
    made = await service.propose(place.ctx("member"), refused)
    assert made["difference"] == {
        "scope": "workspace", "part": "except",
        "add": [{"host": HOST, "port": 443, "methods": ["POST"], "paths": ["/notes"], "packs": ["acme.small"]}],
    }  # fmt: skip
    accepted = await service.accept(place.ctx(), made["id"])
    assert (accepted["reason"], accepted["change_state"]) == ("made_into_policy", "open")
    assert accepted["became"] == "the change waits for another owner"
    (held,) = (await policies.show(place.ctx(), here))["layers"]
    assert held["version"] == 1
    await place.approve(accepted["approval_id"], who="second owner")
    (held,) = (await policies.show(place.ctx(), here))["layers"]
    assert (held["version"], held["settings"]["except"]) == (2, made["difference"]["add"])
    assert held["approved_by"] == place.world.ids["second owner"]
    assert (await service.get(place.ctx(), made["id"]))["became"] == "policy says so since version 2"


@pytest.mark.capability("BEY-4", part="destinations, methods, tools and secrets")
async def test_what_is_declared_and_not_used_is_told_and_becomes_a_narrower_release(place: Packs) -> None:
    attached = await reaching(
        place, {"host": HOST, "methods": ["GET", "POST"]}, "unused.example.org", {"host": "half.example.org"}
    )
    for changes in ({}, {"host": "half.example.org"}):
        await denied(place, attached, verdict="allowed", reason="allowed", method="GET", path="/x", **changes)
    async with place.ctx().transaction() as conn:
        await conn.execute(
            "update worka.attachment set created_at = now() - interval '90 days' where id = %s", (attached["id"],)
        )
    report = await unused.report(place.ctx("viewer"), attached["id"])
    told = {(item["what"], item["name"]) for item in report["items"]}
    assert told == {
        ("method", "POST"), ("port", f"{HOST}:80"), ("destination", "unused.example.org"),
        ("port", "half.example.org:80"), ("tool", "acme.small.say"),
    }  # fmt: skip
    assert report["whole"] is True
    assert '"acme.small.say"' in report["policy"]
    await moving.say(place, "hello")
    after = await unused.report(place.ctx("viewer"), attached["id"])
    assert "tool" not in {item["what"] for item in after["items"]}

    made = await service.propose_difference(place.ctx("member"), attached["id"], report["difference"], why="least")
    accepted = await service.accept(place.ctx("admin"), made["id"])
    release = await packs.run_registration(place.platform(), accepted["made_release"])
    assert release["state"] == "released", release["error"]
    assert release["manifest"]["outbound_domains"] == [
        {"host": HOST, "methods": ["GET"], "port": 443},
        {"host": "half.example.org", "port": 443},
    ]
    await moving.work(place)
    # It only narrows, so nobody is asked.
    assert (await moving.the(place, attached["id"]))["release_id"] == release["id"]
    assert (await unused.report(place.ctx(), attached["id"]))["difference"]["remove"] == []


@pytest.mark.capability("BRK-14", part="proposals")
async def test_a_proposal_over_what_is_not_there_any_more_ends_and_makes_nothing(place: Packs) -> None:
    attached = await reaching(place, {"host": HOST, "methods": ["GET"]}, "unused.example.org")
    gone = {"add": [], "remove": ["unused.example.org"], "drop": []}
    narrow = await service.propose_difference(place.ctx(), attached["id"], gone, why="")
    widen = await service.propose(place.ctx(), await denied(place, attached))
    newer = await moving.release(place, "1.1.0", outbound_domains=[{"host": HOST, "methods": ["GET", "POST"]}])
    await moving.moved(place, attached["id"], newer["id"])
    ended = await service.accept(place.ctx(), narrow["id"])
    assert (ended["state"], ended["reason"], ended["made_release"]) == ("superseded", "manifest_changed", None)
    ended = await service.accept(place.ctx(), widen["id"])
    assert (ended["state"], ended["reason"]) == ("superseded", "allowed_meanwhile")
    third = await service.propose(place.ctx(), await denied(place, attached, path="/x", method="DELETE"))
    async with place.ctx().transaction() as conn:
        await conn.execute("update worka.attachment set state = 'detached' where id = %s", (attached["id"],))
    assert (await service.accept(place.ctx(), third["id"]))["reason"] == "attachment_removed"
    assert len(await place.world.rows("release", "publisher = 'acme'")) == 2


@pytest.mark.capability("DEP-10", part="proposals")
async def test_a_proposal_of_elsewhere_is_none(place: Packs) -> None:
    attached = await reaching(place)
    made = await service.propose(place.ctx(), await denied(place, attached))
    await place.world.person("stranger")
    with pytest.raises(ProposalNotFound):
        await service.get(place.ctx("stranger"), made["id"])
    assert (await service.get(place.ctx("viewer"), made["id"]))["id"] == made["id"]


@pytest.mark.capability("BEY-4", part="WebSockets")
def test_a_websocket_that_is_declared_and_never_spoken_is_told_and_one_that_is_spoken_stays() -> None:
    rule = {"host": HOST, "port": 443, "websocket": True}
    use = {"host": HOST, "port": 443, "method": "GET", "path": "/live", "several": False, "socket": False}
    release = {"id": "rel_1", "version": "1.0.0", "manifest": {"outbound_domains": [rule]}, "tools": []}
    row = {"id": "att_1", "pack": "acme.small", "created_at": now()}
    found = unused.told(row, release, [use], {}, [], now(), 30)
    assert [(item["what"], item["name"]) for item in found["items"]] == [("websocket", HOST)]
    assert found["difference"] == {"add": [{"host": HOST, "port": 443}], "remove": [rule], "drop": []}
    spoken = unused.told(row, release, [use, {**use, "socket": True}], {}, [], now(), 30)
    assert (spoken["items"], spoken["manifest"]) == ([], None), "the control"


def test_the_policy_that_refuses_unused_tools_is_one_that_can_be_saved() -> None:
    text = unused.told(
        {"id": "att_1", "pack": "acme.small", "created_at": now()},
        {"id": "rel_1", "version": "1.0.0", "manifest": {}, "tools": [{"name": "say", "side_effect": "write"}]},
        [], {}, [], now(), 30,
    )["policy"]  # fmt: skip
    assert statements.check("governance", text, parse_rule) == []
    assert statements.check("governance", text.replace("tool.invoke", "tool.invent"), parse_rule) != []


def test_a_refused_websocket_is_proposed_as_a_websocket() -> None:
    row = {"verdict": "denied", "kind": "websocket", "reason": "upgrade_refused", "host": HOST, "port": 443, "method": "GET",
           "path": "/live", "opaque": False, "rule": "outbound_domains[0]", "pack": "acme.notes"}  # fmt: skip
    item = {"host": HOST, "port": 443, "methods": ["GET"], "paths": ["/live"], "websocket": True}
    assert difference.of_denial(row, None, None, None) == ("widen", {"add": [item], "remove": [], "drop": []})
    with pytest.raises(ValueError, match="not refused by what"):
        difference.of_denial({**row, "kind": "http"}, None, None, None)


@pytest.mark.parametrize(
    ("version", "taken", "made"),
    [
        ("1.2.3", [], "1.2.4-outside.1"),
        ("1.2.3", ["1.2.4-outside.1", "1.2.4"], "1.2.4-outside.2"),
        ("1.2.4-outside.2", ["1.2.4-outside.1", "1.2.4-outside.2"], "1.2.4-outside.3"),
        ("2.0.0-rc.1", [], "2.0.0-rc.1.outside.1"),
        ("2.0.0-rc.1.outside.1", [], "2.0.0-rc.1.outside.2"),
        ("1.0.0+build.7", [], "1.0.1-outside.1"),
    ],
)
def test_the_version_of_a_release_made_of_a_proposal_comes_after_its_base_and_before_the_next(
    version: str, taken: list[str], made: str
) -> None:
    from worka.packs.moving import versions

    found = difference.next_version(version, taken)
    assert found == made
    assert versions.newer(found, version)
    assert not versions.followed(found, "1.2.3") or versions.is_trial(version) is False
