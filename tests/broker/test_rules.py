"""The one decision over a request, from the manifest's own words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worka.broker import causes
from worka.broker.rules import (
    RuleProblem,
    canonical_path,
    decide,
    declared,
    opaque_rule,
    parse_rules,
    redirect_target,
)
from worka.kernel import reasons

RULES = parse_rules(
    [
        "plain.example",
        "*.wide.example",
        {"host": "api.example", "port": 443, "methods": ["GET", "POST"], "paths": ["/v1/*", "/robots.txt"]},
    ]
)


def reason(host: str, port: int, method: str, path: str, side_effect: str = "write") -> str:
    return decide(RULES, host, port, method, path, side_effect).reason


@pytest.mark.capability("BRK-2")
def test_an_undeclared_host_is_refused_and_a_declared_one_passes() -> None:
    assert reason("plain.example", 443, "GET", "/") == "allowed"
    assert reason("evil.example", 443, "GET", "/") == "undeclared_destination"
    assert reason("sub.plain.example", 443, "GET", "/") == "undeclared_destination"
    assert reason("plain.example.evil", 443, "GET", "/") == "undeclared_destination"
    assert reason("notplain.example", 443, "GET", "/") == "undeclared_destination"


@pytest.mark.capability("BRK-2")
def test_no_rules_mean_no_network() -> None:
    assert decide((), "plain.example", 443, "GET", "/", "destructive").reason == "undeclared_destination"


@pytest.mark.capability("BRK-2")
def test_a_wildcard_covers_names_below_and_not_the_name_itself() -> None:
    assert reason("a.wide.example", 443, "GET", "/") == "allowed"
    assert reason("a.b.wide.example", 443, "GET", "/") == "allowed"
    assert reason("wide.example", 443, "GET", "/") == "undeclared_destination"
    assert reason("evilwide.example", 443, "GET", "/") == "undeclared_destination"


@pytest.mark.capability("BRK-13")
def test_a_rule_binds_port_method_and_path() -> None:
    assert reason("api.example", 443, "POST", "/v1/issues") == "allowed"
    assert reason("api.example", 443, "GET", "/robots.txt") == "allowed"
    assert reason("api.example", 80, "GET", "/v1/issues") == "undeclared_destination"
    assert reason("api.example", 443, "DELETE", "/v1/issues") == "method_not_allowed"
    assert reason("api.example", 443, "GET", "/v2/issues") == "path_not_allowed"
    assert reason("api.example", 443, "GET", "/robots.txt2") == "path_not_allowed"


@pytest.mark.capability("BRK-13")
@pytest.mark.parametrize(
    ("side_effect", "method", "expected"),
    [
        ("read_only", "GET", "allowed"),
        ("read_only", "HEAD", "allowed"),
        ("read_only", "POST", "method_not_allowed"),
        ("read_only", "OPTIONS", "method_not_allowed"),
        ("write", "DELETE", "allowed"),
        ("external_side_effect", "POST", "allowed"),
        ("destructive", "PATCH", "allowed"),
        ("anything_else", "POST", "method_not_allowed"),
        ("destructive", "TRACE", "method_not_allowed"),
        ("destructive", "CONNECT", "method_not_allowed"),
        ("destructive", "get", "method_not_allowed"),
    ],
)
def test_without_named_methods_they_follow_the_side_effect_class(side_effect: str, method: str, expected: str) -> None:
    assert reason("plain.example", 443, method, "/", side_effect) == expected


def test_a_named_method_holds_for_a_reading_tool_too() -> None:
    assert reason("api.example", 443, "POST", "/v1/x", "read_only") == "allowed"


@pytest.mark.capability("BRK-13")
@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin", "/v1/%2e%2e/admin", "/v1/%2E./admin", "/v1/..;x/admin", "/v1/%252e%252e/admin",
        "/v1/..%2fadmin", "/v1/..%5cadmin", "/v1\\..\\admin", "/v1/./x", "/v1/%00", "/v1/%ff", "/v1/%25252525252e",
    ],
)  # fmt: skip
def test_a_path_that_two_servers_read_differently_matches_no_path_rule(path: str) -> None:
    assert reason("api.example", 443, "GET", path) == "path_not_allowed"


@given(st.lists(st.sampled_from(["..", ".", "%2e", "%2E%2e", "a", "%2f", "v1", "%252e", ";", "\\"]), max_size=6))
def test_a_canonical_path_never_climbs(parts: list[str]) -> None:
    from urllib.parse import unquote

    clean = canonical_path("/v1/" + "/".join(parts))
    if clean is None:
        return
    seen = clean
    for _ in range(5):
        assert ".." not in seen.split("/")
        seen = unquote(seen)


def test_needless_escapes_do_not_matter() -> None:
    assert canonical_path("/v1/%61") == "/v1/a"
    assert canonical_path("/v1/a%20b") is None or "%20" in str(canonical_path("/v1/a%20b"))


def test_the_nearest_miss_gives_the_reason_and_a_narrow_proposal() -> None:
    decision = decide(RULES, "evil.example", 443, "GET", "/x", "read_only")
    assert decision.proposal == {
        "outbound_domains": [{"host": "evil.example", "port": 443, "methods": ["GET"], "paths": ["/x"]}]
    }
    assert "evil.example" in decision.remedy


@pytest.mark.parametrize(
    "item",
    [
        7, {}, {"host": 1}, {"host": "a.b", "extra": 1}, {"host": "1.2.3.4"}, "127.0.0.1", "*", "*.com", "*.*.a.b",
        "a*.b.c", {"host": "a.b", "port": 22}, {"host": "a.b", "port": True}, {"host": "a.b", "methods": []},
        {"host": "a.b", "methods": ["CONNECT"]}, {"host": "a.b", "paths": ["x"]}, {"host": "a.b", "paths": ["/a*b"]},
        "http://a.b", "a.b:443", "user@a.b", {"host": "a.b", "websocket": "yes"}, {"host": "a.b", "opaque": 1},
        {"host": "a.b", "websocket": True, "methods": ["POST"]}, {"host": "a.b", "opaque": True, "port": 80},
        {"host": "a.b", "opaque": True, "paths": ["/x"]}, {"host": "a.b", "opaque": True, "methods": ["GET"]},
        {"host": "a.b", "opaque": True, "websocket": True},
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_read_refuses_the_whole_list(item: object) -> None:
    with pytest.raises(RuleProblem, match=r"outbound_domains\[1\]"):
        parse_rules(["good.example", item])


def test_what_is_declared_is_what_the_resolver_answers_for() -> None:
    assert declared(RULES, "plain.example")
    assert declared(RULES, "x.wide.example", 80)
    assert not declared(RULES, "api.example", 80)


@pytest.mark.capability("BRK-13")
def test_a_websocket_needs_its_word_and_the_rest_of_its_rule() -> None:
    rules = parse_rules(
        [{"host": "a.test", "paths": ["/live"], "websocket": True}, {"host": "a.test", "paths": ["/v1"]}]
    )

    def ask(path: str, *, websocket: bool = True) -> str:
        return decide(rules, "a.test", 443, "GET", path, "read_only", websocket=websocket).reason

    assert (ask("/live"), ask("/live", websocket=False), ask("/v1", websocket=False)) == ("allowed",) * 3
    assert ask("/v1") == "upgrade_refused"
    assert ask("/other") == "path_not_allowed"
    proposal = decide(rules, "b.test", 443, "GET", "/live", "write", websocket=True).proposal["outbound_domains"][0]
    assert proposal["websocket"] is True


@pytest.mark.capability("BRK-13")
def test_what_passes_unread_is_no_request_and_a_rule_that_is_read_comes_first() -> None:
    rules = parse_rules([{"host": "a.test", "opaque": True}, "b.x.test", {"host": "*.x.test", "opaque": True}])
    found = opaque_rule(rules, "a.test", 443)
    assert found is not None
    assert found.id == "outbound_domains[0]"
    assert opaque_rule(rules, "c.x.test", 443) is not None
    assert opaque_rule(rules, "a.test", 80) is None
    assert opaque_rule(rules, "b.x.test", 443) is None, "another rule reads it"
    assert opaque_rule(rules, "d.example", 443) is None
    assert decide(rules, "a.test", 443, "GET", "/", "destructive").reason == "undeclared_destination"
    assert declared(rules, "a.test", 443), "its name is answered"


@pytest.mark.capability("BRK-15", part="redirects")
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/next", None),
        ("https://plain.example/next", None),
        ("https://evil.example/", ("evil.example", 443)),
        ("//evil.example/", ("evil.example", 443)),
        ("http://plain.example/", ("plain.example", 80)),
        ("https://169.254.169.254/", ("", 0)),
        ("gopher://evil.example/", ("", 0)),
        ("https://[::1", ("", 0)),
    ],
)
def test_a_redirect_is_read_as_its_target(location: str, target: tuple[str, int] | None) -> None:
    assert redirect_target(location, "plain.example", 443) == target


@pytest.mark.capability("BRK-6")
def test_rejections_tell_connection_outbound_policy_and_upstream_apart() -> None:
    by_layer = {cause.code: cause.layer for cause in causes.REASONS}
    assert by_layer["undeclared_destination"] == "broker"
    assert by_layer["connection_missing"] == by_layer["connection_not_granted"] == "connection"
    assert by_layer["upstream_unreachable"] == "upstream"
    assert all(reasons.get(cause.code) == cause for cause in causes.REASONS)
