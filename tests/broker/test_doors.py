"""The broker's doors: network exceptions, the list of what left, and the broker's part of a "why"."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from tests.broker.world import CANARY, HOST, INJECT, Nobody, Notebook, World, code
from worka.broker import explain
from worka.broker.records.routes import router as records_router
from worka.broker.routes import router
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.errors import Denied, NotFound, Problem
from worka.kernel.events import Subscribers
from worka.kernel.settings import Settings


class Gate(Nobody):
    """Allows what is in `may`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.may = {
            f"{kind}.{verb}"
            for kind in ("network_exception", "upstream_trust")
            for verb in ("create", "remove", "view")
        } | {"egress.view"}
        self.asked: list[tuple[str, Resource]] = []

    async def decide(self, ctx: Context, action: str, resource: Resource, context: dict[str, Any]) -> Decision:
        self.asked.append((action, resource))
        return Decision("dec_1", "allow" if action in self.may else "deny", "authorization", (), (), (), "1", "")


@pytest.fixture
def gate() -> Gate:
    """The authorizer of these tests."""
    return Gate()


@pytest.fixture
def person(world: World, gate: Gate) -> Context:
    """An admin of the workspace."""
    return Context(
        Principal("person", "per_1", "Ada"), world.tenant_id, world.db, gate, world.notebook, Nobody(), Subscribers(),
        world.workspace_id, settings=Settings(home=world.paths.home),
    )  # fmt: skip


@pytest.fixture
async def http(world: World, person: Context) -> AsyncIterator[httpx.AsyncClient]:
    """The doors over HTTP, the way the api mounts them."""
    app = FastAPI()

    @app.middleware("http")
    async def enter(request: Request, call_next: Any) -> Response:
        request.state.ctx = replace(person, trace_id=os.urandom(16).hex())
        answer: Response = await call_next(request)
        return answer

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return JSONResponse(error.body(), error.status)

    app.include_router(router)
    app.include_router(records_router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


def new(world: World, **changed: Any) -> dict[str, Any]:
    return {
        "name": HOST, "port": 443, "address": "127.0.0.1", "real_port": world.outside.tracker,
        "ca_pem": world.outside.authority.pem.decode(), "reason": "the demo's tracker", **changed,
    }  # fmt: skip


async def test_an_exception_is_recorded_audited_used_and_taken_back(world: World, http: httpx.AsyncClient) -> None:
    await world.declare(HOST, connections=INJECT)
    await world.connect()
    path = f"/v1/workspaces/{world.workspace_id}/network-exceptions"
    box = await world.box()
    async with box.invoking():
        assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 502
    made = await http.post(path, json=new(world, name="Tracker.Worka.TEST."))
    assert made.status_code == 201, made.text
    assert (made.json()["name"], made.json()["created_by"]) == (HOST, "per_1")
    async with box.invoking() as call:
        assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200
    (row,) = await world.egress(call.id)
    assert row["exception_id"] == made.json()["id"]
    assert (await http.post(path, json=new(world))).status_code == 409
    assert (await http.delete(f"/v1/network-exceptions/{made.json()['id']}")).status_code == 204
    assert (await http.delete("/v1/network-exceptions/nex_none")).status_code == 404
    async with box.invoking():
        assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 502
    listed = (await http.get(path)).json()
    assert [item["removed_at"] is not None for item in listed["items"]] == [True]
    types = [entry.type for entry in world.notebook.entries if entry.type.startswith("network")]
    assert types == ["network.exception.created", "network.exception.removed"]


@pytest.mark.capability("BRK-13", part="network exceptions, one in the place of another")
async def test_an_exception_stands_in_the_place_of_the_one_before_if_that_is_said_and_may_be(
    world: World, http: httpx.AsyncClient, gate: Gate
) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/network-exceptions"
    first = (await http.post(path, json=new(world))).json()
    plain = (await http.post(path, json=new(world, port=80, ca_pem=""))).json()
    moved = new(world, address="::1", reason="moved", replace=True)
    gate.may.discard("network_exception.remove")
    assert (await http.post(path, json=moved)).status_code == 403, "who may not end one replaces none"
    gate.may.add("network_exception.remove")
    answer = await http.post(path, json=moved)
    assert (answer.status_code, answer.json().get("replaced")) == (201, first["id"])
    assert answer.json()["leads_to"] == f"[::1]:{world.outside.tracker}"
    (ca,) = answer.json()["authorities"]
    assert (ca["subject"], ca["over"]) == (ca["issuer"], False)
    there = {row: (await http.get(f"/v1/network-exceptions/{row}")).json() for row in (first["id"], plain["id"])}
    assert there[first["id"]]["removed_at"] is not None
    assert there[plain["id"]]["removed_at"] is None, "the one of the other port stays"
    assert there[plain["id"]]["authorities"] == []
    taken = await http.post(path, json=new(world))
    assert taken.status_code == 409, "the control"
    assert taken.json()["code"] == "network_exception_exists"
    types = [entry.type for entry in world.notebook.entries if entry.type.startswith("network")]
    assert types == ["network.exception.created"] * 2 + ["network.exception.removed", "network.exception.created"]
    assert (await http.get("/v1/network-exceptions/nex_none")).status_code == 404
    gate.may.discard("network_exception.view")
    assert (await http.get(f"/v1/network-exceptions/{first['id']}")).status_code == 404


@pytest.mark.capability("BRK-15", part="where no network exception leads")
@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "127.0.0.1"}, "name"),
        ({"name": "user@tracker.test"}, "name"),
        ({"address": "tracker.test"}, "address"),
        ({"address": "0.0.0.0"}, "address"),
        ({"address": "224.0.0.1"}, "address"),
        ({"address": "169.254.169.254"}, "address"),
        ({"address": "168.63.129.16"}, "address"),
        ({"address": "fd00:ec2::254"}, "address"),
        ({"address": "fe80::1"}, "address"),
        ({"address": "::ffff:169.254.169.254"}, "address"),
        ({"address": "64:ff9b::a9fe:a9fe"}, "address"),
        ({"address": "2002:a9fe:a9fe::1"}, "address"),
        ({"ca_pem": ""}, "ca_pem"),
        ({"ca_pem": "hello"}, "ca_pem"),
        ({"ca_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "ca_pem"),
        ({"ca_pem": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}, "ca_pem"),
    ],
)
async def test_a_bad_exception_is_refused_by_its_field(
    world: World, http: httpx.AsyncClient, changed: dict[str, Any], field: str
) -> None:
    answer = await http.post(f"/v1/workspaces/{world.workspace_id}/network-exceptions", json=new(world, **changed))
    assert (answer.status_code, answer.json().get("code")) == (422, "network_exception_invalid")
    assert answer.json()["field"] == field


@pytest.mark.capability("BRK-15", part="a network exception that is older than what is refused today")
async def test_an_exception_that_could_not_be_recorded_today_is_not_dialled(world: World) -> None:
    await world.declare(HOST, connections=INJECT)
    await world.connect()
    exception = await world.exempt(HOST, 443, world.outside.tracker)
    box = await world.box()
    # The last one is this machine's loopback in another form: without the look it would be answered.
    for address in ("169.254.169.254", "fd00:ec2::254", "fe80::1", "::ffff:127.0.0.1"):
        await world.execute("update worka.network_exception set address = %s where id = %s", address, exception)
        async with box.invoking() as call:
            found = await box.fetch(f"https://{HOST}/issues")
        assert code(found) == "private_address", address
        assert "the network exception of this name leads to" in json.loads(found["text"])["detail"]
        (row,) = await world.egress(call.id)
        assert (row["verdict"], row["reason"]) == ("denied", "private_address")
    assert world.outside.requests == []
    await world.execute("update worka.network_exception set address = '127.0.0.1' where id = %s", exception)
    async with box.invoking():
        assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200, "the control: the same one to loopback"


@pytest.mark.capability("BRK-15", part="an exception is asked about by what is kept")
async def test_policy_is_asked_about_an_exception_as_it_is_kept_and_not_as_it_was_written(
    world: World, http: httpx.AsyncClient, gate: Gate
) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/network-exceptions"
    made = await http.post(path, json=new(world, name="Tracker.Worka.TEST.", address="0:0:0:0:0:0:0:1"))
    assert made.status_code == 201, made.text
    (asked,) = [resource for action, resource in gate.asked if action == "network_exception.create"]
    assert (asked.attrs["name"], asked.attrs["address"]) == (HOST, "::1")
    assert (made.json()["name"], made.json()["address"]) == (HOST, "::1")


async def test_only_who_may_records_or_removes_an_exception(world: World, http: httpx.AsyncClient, gate: Gate) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/network-exceptions"
    found = await world.exempt(HOST, 443, 1)
    gate.may = {"network_exception.view"}
    assert (await http.post(path, json=new(world))).status_code == 403
    assert (await http.delete(f"/v1/network-exceptions/{found}")).status_code == 403
    assert [action for action, _ in gate.asked] == ["network_exception.create", "network_exception.remove"]
    (row,) = await world.rows("select * from worka.network_exception")
    assert row["removed_at"] is None


@pytest.mark.capability("BRK-10", part="what left")
async def test_what_left_is_listed_in_pages(world: World, http: httpx.AsyncClient, gate: Gate) -> None:
    await world.declare(HOST, connections=INJECT)
    await world.exempt(HOST, 443, world.outside.tracker)
    await world.connect()
    box = await world.box()
    async with box.invoking() as call:
        await box.fetch(f"https://{HOST}/issues")
        await box.fetch(f"https://{CANARY}/")
        await box.fetch("http://1.1.1.1/")
    path = f"/v1/workspaces/{world.workspace_id}/egress"
    first = (await http.get(path, params={"limit": 2})).json()
    second = (await http.get(path, params={"limit": 2, "cursor": first["next"]})).json()
    assert [row["host"] for row in first["items"] + second["items"]] == ["1.1.1.1", CANARY, HOST]
    assert second["next"] is None
    denied = (await http.get(path, params={"verdict": "denied", "invocation_id": call.id})).json()
    assert {row["reason"] for row in denied["items"]} == {"raw_address", "undeclared_destination"}
    assert (await http.get(path, params={"cursor": "???"})).status_code == 400
    gate.may = set()
    assert (await http.get(path)).status_code == 403


@pytest.mark.capability("BRK-12", "XPL-4")
async def test_a_refusal_is_explained_with_the_broken_leg_open(world: World, person: Context, gate: Gate) -> None:
    await world.declare(HOST, connections=INJECT)
    await world.exempt(HOST, 443, world.outside.tracker)
    await world.connect()
    box = await world.box()
    assert [leg.state for leg in await explain.legs(person, "inv_none")] == ["not_reached", "not_reached"]
    async with box.invoking() as call:
        await box.fetch(f"https://{HOST}/issues")
    assert [leg.state for leg in await explain.legs(person, call.id)] == ["ok", "ok"]
    async with box.invoking() as call:
        await box.fetch(f"https://{CANARY}/")
    broker, upstream = await explain.legs(person, call.id)
    assert (broker.state, upstream.state) == ("failed", "not_reached")
    assert CANARY in broker.detail
    why = await explain.explain(person, str(broker.ref))
    assert (why.state, why.reason, why.layer) == ("denied", "undeclared_destination", "broker")
    assert why.incident_class == "pack invocation"
    assert "Declare the destination" in why.next[0].label
    async with box.invoking() as call:
        world.treasury.grants.clear()
        await box.fetch(f"https://{HOST}/issues")
    (broker, _) = await explain.legs(person, call.id)
    assert (await explain.explain(person, str(broker.ref))).incident_class == "connection"
    with pytest.raises(NotFound):
        await explain.explain(person, "egr_none")
    gate.may = set()
    with pytest.raises(Denied):
        await explain.explain(person, str(broker.ref))


@pytest.mark.capability("DEP-10", part="the broker's rows")
async def test_another_tenant_sees_and_changes_nothing(world: World, person: Context) -> None:
    found = await world.exempt(HOST, 443, 1)
    other = replace(person, tenant_id="ten_other", recorder=Notebook())
    from worka.broker import service
    from worka.broker.records import service as records
    from worka.broker.records.model import Filter

    with pytest.raises(Problem) as problem:
        await service.remove_exception(other, found)
    assert problem.value.status == 404
    assert await service.list_exceptions(other, None, 10) == []
    with pytest.raises(Problem) as problem:
        await service.get_exception(other, found)
    assert problem.value.status == 404
    assert (await service.get_exception(person, found))["id"] == found, "the control"
    assert await records.page(other, Filter(), None, 10, False) == ([], 0)


def trusted(world: World, **changed: Any) -> dict[str, Any]:
    return {"name": HOST, "ca_pem": world.outside.authority.pem.decode(), "reason": "theirs"} | changed


@pytest.mark.capability("BRK-13")
async def test_upstream_trust_is_recorded_listed_and_taken_back(world: World, http: httpx.AsyncClient) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/upstream-trusts"
    made = await http.post(path, json=trusted(world))
    assert (made.status_code, made.json()["port"]) == (201, 443)
    assert (await http.post(path, json=trusted(world))).json()["code"] == "upstream_trust_exists"
    assert (await http.post(path, json=trusted(world, attachment_id=world.attachment_id))).status_code == 201
    assert (await http.delete(f"/v1/upstream-trusts/{made.json()['id']}")).status_code == 204
    assert (await http.delete("/v1/upstream-trusts/ust_none")).status_code == 404
    listed = (await http.get(path)).json()["items"]
    assert [(item["attachment_id"], item["removed_at"] is None) for item in listed] == [
        (world.attachment_id, True), ("", False),
    ]  # fmt: skip
    types = [entry.type for entry in world.notebook.entries]
    assert types == ["upstream.trust.created", "upstream.trust.created", "upstream.trust.removed"]


@pytest.mark.capability("BRK-13", part="upstream trust, in the place of what was recorded")
async def test_a_record_stands_in_the_place_of_the_one_before_and_tells_its_certificates_in_words(
    world: World, http: httpx.AsyncClient
) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/upstream-trusts"
    first = (await http.post(path, json=trusted(world))).json()
    kept = (await http.post(path, json=trusted(world, attachment_id=world.attachment_id))).json()
    answer = await http.post(path, json=trusted(world, reason="moved", replace=True))
    made = answer.json()
    assert (answer.status_code, made["replaced"], made["certificates"]) == (201, first["id"], [])
    (ca,) = made["authorities"]
    assert (ca["subject"], ca["over"]) == (ca["issuer"], False)
    assert ca["subject"].startswith("CN=")
    assert (await http.get(f"/v1/upstream-trusts/{made['id']}")).json()["reason"] == "moved"
    assert (await http.get(f"/v1/upstream-trusts/{first['id']}")).json()["removed_at"] is not None
    assert (await http.get(f"/v1/upstream-trusts/{kept['id']}")).json()["removed_at"] is None, (
        "the attachment's own stays"
    )
    assert (await http.get("/v1/upstream-trusts/ust_none")).status_code == 404
    taken = await http.post(path, json=trusted(world))
    assert taken.status_code == 409, "the control"
    assert taken.json()["code"] == "upstream_trust_exists"


@pytest.mark.parametrize(
    "changed",
    [
        {"ca_pem": ""},
        {"ca_pem": "no certificate"},
        {"ca_pem": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"},
        {"ca_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
        {"client_cert_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
        {"client_key_secret_id": "sec_none"},
        {"attachment_id": "att_none"},
        {"name": "127.0.0.1"},
    ],
)
async def test_a_record_of_trust_that_could_not_hold_is_refused(
    world: World, http: httpx.AsyncClient, changed: dict[str, Any]
) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/upstream-trusts"
    answer = await http.post(path, json=trusted(world, **changed))
    assert (answer.status_code, answer.json()["code"]) == (422, "upstream_trust_invalid")
    assert (await http.post(path, json=trusted(world))).status_code == 201, "the control"


async def test_who_may_not_administer_records_no_trust(world: World, http: httpx.AsyncClient, gate: Gate) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/upstream-trusts"
    found = (await http.post(path, json=trusted(world))).json()["id"]
    gate.may = {"upstream_trust.view"}
    assert (await http.post(path, json=trusted(world, name="other.test"))).status_code == 403
    assert (await http.delete(f"/v1/upstream-trusts/{found}")).status_code == 403
    assert len((await http.get(path)).json()["items"]) == 1
