"""The network policy of services: its shape, its decisions, and that it is nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from worka.broker.rules import RuleProblem, parse_rules
from worka.packs import manifest as manifests
from worka.services import Asker, ServicePolicy, inbound, outbound, public_routes
from worka.services.rules import widened

SHOP = {
    "inbound": {
        "port": 8080,
        "routes": [
            {"path": "/*", "exposure": "workspace"},
            {"path": "/shop/*", "exposure": "public", "authentication": "none"},
            {"path": "/shop/orders", "methods": ["POST"], "exposure": "public"},
            {"path": "/shop/admin", "exposure": "tenant"},
        ],
    },
    "domains": [{"name": "shop.acme.test"}],
    "outbound": [
        {"host": "*", "methods": ["GET"]},
        {"host": "*.pay.test", "ports": [443, 8443], "methods": ["POST"]},
        {"host": "live.pay.test", "ports": [443], "websocket": True},
    ],
}
SERVICE, PACK, DEVICE = Asker("service", "svc_1"), Asker("pack", "att_1"), Asker("device", "dev_1")


def policy(**changes: Any) -> ServicePolicy:
    return ServicePolicy.model_validate({**SHOP, **changes})


@pytest.mark.capability("BRK-8", part="the policy of a service: its shape, its versions and its decisions")
def test_a_service_goes_out_wider_than_a_pack_may() -> None:
    shop = policy()
    assert outbound(SERVICE, shop, "anything.test", 443, "GET").allowed
    assert outbound(SERVICE, shop, "eu.pay.test", 8443, "POST").rule == "outbound[1]"
    assert outbound(SERVICE, shop, "live.pay.test", 443, "GET", websocket=True).rule == "outbound[2]"
    for item in (SHOP["outbound"][0]["host"], {"host": "eu.pay.test", "port": 8443}):  # type: ignore[index]
        with pytest.raises(RuleProblem):
            parse_rules([item])
    refusals = {
        outbound(SERVICE, shop, "anything.test", 443, "POST").reason: "method_not_allowed",
        outbound(SERVICE, policy(outbound=[{"host": "*"}]), "anything.test", 443, "TRACE").reason: "method_not_allowed",
        outbound(SERVICE, shop, "anything.test", 8443, "GET").reason: "undeclared_destination",
        outbound(SERVICE, shop, "eu.pay.test", 443, "POST", websocket=True).reason: "upgrade_refused",
        outbound(SERVICE, shop, "2130706433", 443, "GET").reason: "raw_address",
        outbound(SERVICE, shop, "a@b.test", 443, "GET").reason: "malformed_host",
        outbound(SERVICE, None, "anything.test", 443, "GET").reason: "service_policy_missing",
    }
    assert all(found == wanted for found, wanted in refusals.items())


@pytest.mark.capability("BRK-8", part="the policy of a service: its shape, its versions and its decisions")
def test_a_pack_and_a_device_are_never_decided_by_a_services_policy_nor_a_service_by_a_packs() -> None:
    shop = policy()
    assert outbound(SERVICE, shop, "anything.test", 443, "GET").allowed, "the control"
    assert outbound(PACK, shop, "anything.test", 443, "GET").reason == "policy_of_another_kind"
    for field in ("outbound_domains", "connections", "tools"):
        with pytest.raises(ValidationError, match=field):
            policy(**{field: []})
    with pytest.raises(ValidationError, match="kind"):
        policy(kind="pack")
    document = {
        "schema_version": "worka.aip.v1", "publisher": "acme", "name": "x", "version": "1.0.0", "display_name": "X",
        "description": "X.", "runtime": {"command": ["python", "x.py"]}, "tools": [{"name": "x"}], "outbound_domains": ["a.test"],
    }  # fmt: skip
    for field in ("inbound", "domains", "health", "outbound"):
        _, notices = manifests.read({**document, field: SHOP.get(field, {})}, place="worka/aip.json")
        assert any(field in str(notice) for notice in notices), notices


@pytest.mark.capability("BRK-9", part="the broker's policy lets no device through, by name")
def test_what_a_device_does_locally_does_not_go_through_here() -> None:
    found = outbound(DEVICE, policy(), "anything.test", 443, "GET")
    assert (found.allowed, found.reason) == (False, "device_not_through_broker")
    assert "registration, enablement and consent" in found.remedy
    assert outbound(SERVICE, policy(), "anything.test", 443, "GET").allowed, "the control"


@pytest.mark.capability("BRK-11", part="the decision over a route, and their list")
@pytest.mark.parametrize(
    ("asker", "method", "path", "reason", "rule"),
    [
        (Asker("service", "", "public"), "GET", "/shop/tea", "allowed", 1),
        (Asker("service", "", "public"), "POST", "/shop/tea", "route_not_declared", None),
        (Asker("service", "", "public"), "POST", "/shop/orders", "unauthenticated", 2),
        (Asker("service", "", "public", True), "POST", "/shop/orders", "allowed", 2),
        (Asker("service", "", "public", True), "GET", "/shop/admin", "route_not_exposed", 3),
        (Asker("service", "", "tenant", True), "GET", "/shop/admin", "allowed", 3),
        (Asker("service", "", "public", True), "GET", "/internal", "route_not_exposed", 0),
        (Asker("service", "", "workspace", True), "GET", "/internal", "allowed", 0),
        (Asker("service", "", "public", True), "GET", "/shop/Admin", "path_not_allowed", 1),
        (Asker("service", "", "public", True), "GET", "/shop//admin", "path_not_allowed", 1),
        (Asker("service", "", "public", True), "GET", "/shop/admin;x=y", "path_not_allowed", 1),
        (Asker("service", "", "public", True), "GET", "/shop/administration", "allowed", 1),
        (Asker("service", "", "public", True), "GET", "/shop/../internal", "path_not_allowed", None),
        (Asker("service", "", "public", True), "GET", "/shop/%2e%2e/internal", "path_not_allowed", None),
    ],
)
def test_what_comes_in_is_decided_by_the_most_exact_route(
    asker: Asker, method: str, path: str, reason: str, rule: int | None
) -> None:
    found = inbound(asker, policy(), method, path)
    assert (found.reason, found.rule) == (reason, None if rule is None else f"inbound.routes[{rule}]")
    assert found.allowed is (reason == "allowed")
    assert inbound(asker, None, method, path).reason == "service_policy_missing"


@pytest.mark.capability("BRK-11", part="the decision over a route, and their list")
def test_public_routes_are_listed_with_their_names() -> None:
    listed = public_routes([("shop", policy())])
    assert [(row["path"], row["methods"], row["signed_in"]) for row in listed] == [
        ("/shop/*", "GET, HEAD", False), ("/shop/orders", "POST", True),
    ]  # fmt: skip
    assert {row["domain"] for row in listed} == {"shop.acme.test"}
    quiet = policy(inbound={"port": 8080, "routes": [{"path": "/*", "exposure": "tenant"}]})
    assert public_routes([("quiet", quiet)]) == []


@pytest.mark.capability("BRK-8", part="the policy of a service: its shape, its versions and its decisions")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"inbound": {"port": 80}}, "port"),
        ({"inbound": {"port": 8080, "routes": [{"path": "/a/../b"}]}}, "path"),
        ({"inbound": {"port": 8080, "routes": [{"path": "no"}]}}, "path"),
        ({"inbound": {"port": 8080, "routes": [{"path": "/a"}, {"path": "/a"}]}}, "twice"),
        ({"inbound": {"port": 8080, "routes": [{"path": "/a", "methods": ["CONNECT"]}]}}, "CONNECT"),
        ({"inbound": {"port": 8080, "routes": [{"path": "/a", "authentication": "none"}]}}, "public"),
        ({"domains": []}, "domains"),
        ({"domains": [{"name": "127.0.0.1"}]}, "name"),
        ({"domains": [{"name": "a.test"}, {"name": "A.test."}]}, "twice"),
        ({"health": {"timeout_seconds": 20, "interval_seconds": 15}}, "timeout_seconds"),
        ({"health": {"path": "/h*"}}, "path"),
        ({"outbound": [{"host": "*.test"}]}, "wildcard"),
        ({"outbound": [{"host": "10.0.0.1"}]}, "host"),
        ({"outbound": [{"host": "a.test", "ports": [0]}]}, "ports"),
        ({"outbound": [{"host": "a.test", "addresses": ["10.0.0.1"]}]}, "addresses"),
    ],
)
def test_a_policy_that_cannot_be_read_whole_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        policy(**changes)
    assert field in str(refused.value)
    assert policy().health.path == "/healthz", "the control: without the change it is read, with its defaults"


@pytest.mark.capability("BRK-8", part="the policy of a service: its shape, its versions and its decisions")
def test_what_a_new_version_widens_is_said() -> None:
    before = policy()
    assert widened(before, before) == []
    narrower = policy(outbound=SHOP["outbound"][:2])  # type: ignore[index]
    assert widened(before, narrower) == []
    assert widened(narrower, before) == ["live.pay.test at 443 goes out"]
    routes = [{**SHOP["inbound"]["routes"][3], "exposure": "public", "authentication": "none"}]  # type: ignore[index]
    assert widened(before, policy(inbound={"port": 8080, "routes": routes})) == [
        "GET /shop/admin is public, was tenant", "HEAD /shop/admin is public, was tenant",
    ]  # fmt: skip
    assert "the name shop.acme.test" in widened(None, before)
