"""The policy on destinations on real rows: versions, who may, what waits for a second owner, and the broker held to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.broker.test_doors import gate as gate
from tests.broker.test_doors import person as person
from tests.broker.test_records import busy
from tests.broker.world import HOST, INJECT, code
from tests.broker.world import World as Wire
from tests.workspaces.world import World as People
from tests.workspaces.world import world as people
from worka import broker
from worka.approvals import service as approvals
from worka.broker.errors import PolicyChangeUnknown, PolicyInvalid, PolicyMoved
from worka.broker.policy import service
from worka.broker.policy import store as rows
from worka.broker.records import replaying
from worka.governance.errors import BadWindow
from worka.kernel.errors import Denied, Problem
from worka.packs.proposals import difference as proposed

__all__ = ["people"]
Row = dict[str, Any]


@pytest_asyncio.fixture
async def place(people: People) -> AsyncIterator[People]:
    """A tenant whose approvals reach this domain."""
    broker.subscribe(people.subscribers)
    yield people


async def save(
    place: People, who: str = "owner", over: int | None = None, scope: str = "workspace", **settings: Any
) -> Row:
    return await service.save(
        place.ctx(who), place.workspace_id, scope=scope, settings=settings, note="because", over=over
    )


@pytest.mark.capability("BRK-13", part="policy on destinations")
async def test_owners_set_it_and_each_version_is_recorded_with_before_and_after(place: People) -> None:
    first = await save(place, refuse=["a.example.com"])
    assert (first["state"], first["version"], first["words"]) == ("in_force", 1, ["refused: a.example.com"])
    second = await save(place, refuse=["a.example.com", "b.example.com"])
    assert second["version"] == 2
    (_, event) = await place.events("egress.policy.saved")
    assert event["before"] == {"version": 1, "refuse": ["a.example.com"]}
    assert event["after"]["refuse"] == ["a.example.com", "b.example.com"]
    shown = await service.show(place.ctx("viewer"), place.workspace_id)
    assert [layer["version"] for layer in shown["layers"]] == [2]
    listed = await service.history(place.ctx("viewer"), place.workspace_id, "workspace", None, 5)
    assert [row["version"] for row in listed] == [2, 1]
    for who in ("admin", "member", "viewer"):
        with pytest.raises(Denied):
            await save(place, who, refuse=["c.example.com"])
    with pytest.raises(PolicyMoved):
        await save(place, over=1, refuse=["c.example.com"])
    with pytest.raises(PolicyInvalid) as wrong:
        await save(place, refuse=[{"host": "a.example.com", "port": 22}])
    assert wrong.value.extra["field"] == "/settings/refuse[0].port"
    assert (await service.show(place.ctx("owner"), place.workspace_id))["layers"][0]["version"] == 2


@pytest.mark.capability("BRK-14", part="a change of policy")
@pytest.mark.capability("APR-4", part="more let through to destinations")
async def test_more_is_let_through_with_a_second_owner_and_less_at_once(place: People) -> None:
    await save(place, refuse=["a.example.com"])
    # With one owner there is nobody who answers for the place as well.
    assert (await save(place))["state"] == "in_force"
    await place.person("second")
    await place.join("second", "owner")
    assert (await save(place, refuse=["a.example.com"]))["state"] == "in_force"
    waits = await save(place)
    assert (waits["state"], waits["loosens"]) == ("open", True)
    assert (await save(place))["id"] == waits["id"], "the same again is the same change"
    card = await approvals.show(place.ctx("second"), waits["approval_id"])
    assert card["card"]["difference"] == ["- refused: a.example.com"]
    assert card["eligibility"]["eligible"]
    assert not (await approvals.show(place.ctx("owner"), waits["approval_id"]))["eligibility"]["eligible"]
    held = await service.show(place.ctx("viewer"), place.workspace_id)
    assert held["layers"][0]["settings"] == {"refuse": ["a.example.com"]}
    assert [row["id"] for row in held["changes"]] == [waits["id"]]
    await approvals.decide(place.ctx("second"), waits["approval_id"], "approve", card["digest"])
    held = await service.show(place.ctx("viewer"), place.workspace_id)
    assert (held["layers"][0]["settings"], held["changes"]) == ({}, [])
    assert held["layers"][0]["approved_by"] == place.ids["second"]


@pytest.mark.capability("BRK-14", part="a change of policy")
async def test_a_change_that_was_written_over_another_version_is_overtaken(place: People) -> None:
    await place.person("second")
    await place.join("second", "owner")
    await save(place, refuse=["a.example.com"])
    waits = await save(place)
    await save(place, refuse=["a.example.com", "b.example.com"])
    ended = await service.change(place.ctx("owner"), waits["id"])
    assert (ended["state"], ended["outcome"]) == ("closed", "superseded")
    rejected = await save(place, refuse=["b.example.com"])
    card = await approvals.show(place.ctx("second"), rejected["approval_id"])
    await approvals.decide(place.ctx("second"), rejected["approval_id"], "reject", card["digest"])
    assert (await service.change(place.ctx("owner"), rejected["id"]))["outcome"] == "rejected"
    (layer,) = (await service.show(place.ctx("owner"), place.workspace_id))["layers"]
    assert layer["settings"] == {"refuse": ["a.example.com", "b.example.com"]}
    await place.person("stranger")
    with pytest.raises(PolicyChangeUnknown):
        await service.change(place.ctx("stranger"), waits["id"])


@pytest.mark.capability("BRK-13", part="policy on destinations")
async def test_the_tenants_and_the_workspaces_policy_both_hold(place: People) -> None:
    await save(place, scope="tenant", only=["*.example.com"])
    await save(place, refuse=["a.example.com"])
    shown = await service.show(place.ctx("viewer"), place.workspace_id)
    assert [(layer["scope"], layer["words"]) for layer in shown["layers"]] == [
        ("tenant", ["on the list: *.example.com"]), ("workspace", ["refused: a.example.com"]),
    ]  # fmt: skip
    with pytest.raises(Denied):
        await save(place, "admin", scope="tenant", only=[])


@pytest.mark.capability("BRK-13", part="policy on destinations")
async def test_the_broker_refuses_by_policy_from_the_next_call_on(world: Wire) -> None:
    await world.declare(HOST, connections=INJECT)
    await world.connect()
    await world.exempt(HOST, 443, world.outside.tracker)
    box = await world.box()
    async with box.invoking() as call:
        assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200
    version = {
        "tenant_id": world.tenant_id, "workspace_id": world.workspace_id, "version": 1, "note": "", "created_by": "per_1",
        "approved_by": "", "settings": {"refuse": [{"host": HOST, "paths": ["/issues"], "packs": ["acme.fetch"]}]},
    }  # fmt: skip
    async with world.db.transaction(world.tenant_id) as conn:
        await rows.add(conn, version)
    seen = len(world.outside.requests)
    async with box.invoking() as call:
        refused = await box.fetch(f"https://{HOST}/issues")
        assert (await box.fetch(f"https://{HOST}/other"))["status"] == 200
    assert refused["status"] == 403
    assert len(world.outside.requests) == seen + 1
    denied = [row for row in await world.egress(call.id) if row["verdict"] == "denied"]
    assert [(row["reason"], row["rule"]) for row in denied] == [
        ("policy_refuses", "egress_policy/workspace.1/refuse[0]")
    ]
    # The control: for another pack's name the same item refuses nothing.
    version |= {"version": 2, "settings": {"refuse": [{"host": HOST, "packs": ["acme.other"]}]}}
    async with world.db.transaction(world.tenant_id) as conn:
        await rows.add(conn, version)
    async with box.invoking():
        assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200


@pytest.mark.capability("BRK-13", part="policy on destinations")
async def test_what_is_not_read_is_held_to_policy_by_its_host(world: Wire) -> None:
    await world.declare({"host": HOST, "opaque": True})
    await world.exempt(HOST, 443, world.outside.tracker)
    version = {
        "tenant_id": world.tenant_id, "workspace_id": world.workspace_id, "version": 1, "note": "", "created_by": "per_1",
        "approved_by": "", "settings": {"refuse": [{"host": HOST, "methods": ["POST"], "paths": ["/secret"]}]},
    }  # fmt: skip
    async with world.db.transaction(world.tenant_id) as conn:
        await rows.add(conn, version)
    box = await world.box()
    async with box.invoking() as call:
        refused = await box.fetch(f"https://{HOST}/issues")
    # What it says inside is not known, so it may be just what is refused.
    assert (refused["status"], code(refused)) == (403, "policy_refuses")
    assert world.outside.requests == []
    (row,) = await world.egress(call.id)
    assert (row["kind"], row["opaque"], row["method"], row["reason"]) == ("tunnel", True, None, "policy_refuses")
    kind, difference = proposed.of_denial({**row, "pack": "acme.fetch"}, None, None, None)
    assert (kind, difference["add"]) == ("policy", [{"host": HOST, "port": 443, "packs": ["acme.fetch"]}])


@pytest.mark.capability("BRK-13", part="policy on destinations")
async def test_what_cannot_be_read_of_a_policy_lets_nothing_through(world: Wire) -> None:
    await world.declare(HOST)
    async with world.db.transaction(world.tenant_id) as conn:
        await rows.add(
            conn,
            {"tenant_id": world.tenant_id, "workspace_id": "", "version": 1, "note": "", "created_by": "per_1",
             "approved_by": "", "settings": {"refuse": [], "newer": []}},
        )  # fmt: skip
    box = await world.box()
    with pytest.raises(Problem) as problem:
        async with box.invoking():
            raise AssertionError("its network was opened")
    assert (problem.value.problem_code, "newer" in problem.value.detail) == ("policy_unreadable", True)


@pytest.mark.capability("BRK-14", part="replay of rules")
async def test_a_policy_is_replayed_over_what_the_broker_wrote_page_by_page(world: Wire, person: Any) -> None:
    did = await busy(world)
    person.authorizer.may |= {"egress_policy.view"}
    settings = {"refuse": [{"host": HOST, "methods": ["GET"]}]}
    whole = await replaying.run(person, settings=settings)
    assert {row["invocation_id"] for row in whole["items"]} == {did["first"], did["third"]}
    assert whole["counts"] == {"allowed to denied": 3}
    assert "refused 3 requests that pass today" in whole["sentence"]
    found, after = [], None
    while True:
        page = await replaying.run(
            person,
            settings=settings,
            limit=1,
            after=after,
            since=whole["since"].isoformat(),
            until=whole["until"].isoformat(),
        )
        found += page["items"]
        after = page["next"]
        if after is None:
            break
    assert [row["egress_id"] for row in found] == [row["egress_id"] for row in whole["items"]]
    declared = await replaying.run(
        person, outbound_domains=[{"host": HOST, "methods": ["GET", "POST"]}], attachment_id=world.attachment_id
    )
    assert {(row["host"], row["today"], row["to"]) for row in declared["items"]} >= {(HOST, "denied", "allowed")}
    with pytest.raises(BadWindow):
        await replaying.run(person, settings=settings, since="90d")
    with pytest.raises(PolicyInvalid):
        await replaying.run(person)
