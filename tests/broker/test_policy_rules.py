"""Policy on destinations: what it refuses of that which a release declares, and when one policy lets more through."""

from __future__ import annotations

from typing import Any

import pytest

from worka.broker.policy import rules
from worka.broker.policy.rules import Layer
from worka.broker.rules import RuleProblem, parse_rules

DECLARED = parse_rules(
    ["api.example.com", "*.files.example.com", {"host": "log.example.com", "methods": ["GET", "POST"]}]
)


def layer(name: str = "workspace.1", **settings: Any) -> Layer:
    """A layer of these settings."""
    return rules.parse({key.rstrip("_"): value for key, value in settings.items()}, f"egress_policy/{name}")


def told(
    held: list[Layer], host: str, method: str = "GET", path: str = "/", pack: str = "acme.notes"
) -> tuple[str, Any]:
    """(reason, rule) of one request of a writing tool."""
    found = rules.decide(DECLARED, held, pack, host, 443, method, path, "write")
    return found.reason, found.rule_id


@pytest.mark.capability("BRK-13", part="policy on destinations")
def test_policy_refuses_what_is_declared_and_never_allows_what_is_not() -> None:
    refusing = layer(refuse=["api.example.com"])
    assert told([], "api.example.com") == ("allowed", "outbound_domains[0]")
    assert told([refusing], "api.example.com") == ("policy_refuses", "egress_policy/workspace.1/refuse[0]")
    # The control: what it does not name passes, and what is not declared does not pass by being listed.
    assert told([refusing], "a.files.example.com")[0] == "allowed"
    assert told([layer(only=["*"])], "elsewhere.example.com")[0] == "undeclared_destination"


@pytest.mark.capability("BRK-13", part="policy on destinations")
def test_a_list_refuses_whatever_is_not_on_it_and_every_layer_has_to_let_a_request_through() -> None:
    tenant = layer("tenant.4", only=[{"host": "api.example.com", "methods": ["GET"]}])
    assert told([tenant], "api.example.com")[0] == "allowed"
    assert told([tenant], "api.example.com", "POST") == ("policy_does_not_list", "egress_policy/tenant.4/only")
    assert told([tenant], "log.example.com")[0] == "policy_does_not_list"
    assert told([layer("tenant.5", only=[])], "api.example.com")[0] == "policy_does_not_list"
    workspace = layer(refuse=[{"host": "*", "paths": ["/admin/*"]}])
    assert told([tenant, workspace], "api.example.com", path="/v1")[0] == "allowed"
    assert told([tenant, workspace], "api.example.com", path="/admin/x")[0] == "policy_refuses"


@pytest.mark.capability("BRK-13", part="policy on destinations")
def test_an_exception_is_for_exactly_what_it_names_and_for_its_layer_alone() -> None:
    held = layer(
        refuse=[{"host": "*", "methods": ["POST"]}],
        except_=[{"host": "log.example.com", "methods": ["POST"], "paths": ["/v1/lines"], "packs": ["acme.notes"]}],
    )
    assert told([held], "log.example.com", "POST", "/v1/lines")[0] == "allowed"
    assert told([held], "log.example.com", "POST", "/v1/lines/more")[0] == "policy_refuses"
    assert told([held], "log.example.com", "POST", "/v1/lines", pack="acme.other")[0] == "policy_refuses"
    assert (
        told([held, layer("tenant.1", refuse=["log.example.com"])], "log.example.com", "POST", "/v1/lines")[0]
        == "policy_refuses"
    )


@pytest.mark.capability("BRK-13", part="policy on destinations")
def test_what_is_not_known_of_a_request_is_refused_where_it_might_be_refused() -> None:
    posts = layer(refuse=[{"host": "api.example.com", "methods": ["POST"]}])
    assert told([posts], "api.example.com", "GET")[0] == "allowed"
    # Nobody reads inside of a tunnel: it might post.
    assert rules.refusal([posts], "acme.notes", "api.example.com", 443, None, None) is not None
    paths = layer(refuse=[{"host": "api.example.com", "paths": ["/admin"]}])
    assert told([paths], "api.example.com", path="/public")[0] == "allowed"
    # Two servers could read this path differently, so it might be the refused one.
    assert told([paths], "api.example.com", path="/public/%2e%2e/admin")[0] == "policy_refuses"
    listed = layer(only=[{"host": "api.example.com", "paths": ["/v1/*"]}])
    assert told([listed], "api.example.com", path="/v1/../admin")[0] == "policy_does_not_list"


@pytest.mark.capability("BRK-13", part="policy on destinations")
@pytest.mark.parametrize(
    "path",
    ["/v1/admin/x", "/v1//admin/x", "/v1/ADMIN/x", "/v1/%61dmin/x", "/v1;a=b/admin/x", "/v1/admin;x/y", "/v1/admin%3bx/y",
     "/v1/users/@me", "/v1/users/%40me", "/v1/users/@me/", "/v1//users/@Me"],
)  # fmt: skip
def test_what_is_refused_by_its_path_is_refused_however_a_server_may_read_it(path: str) -> None:
    held = layer(refuse=[{"host": "api.example.com", "paths": ["/v1/admin/*", "/v1/users/@me"]}])
    assert told([held], "api.example.com", path=path)[0] == "policy_refuses"
    for other in ("/v1/administer", "/v1/users/@me/notes", "/v1/users", "/v2/admin/x"):
        assert told([held], "api.example.com", path=other)[0] == "allowed", "the control"


@pytest.mark.capability("BRK-14", part="never wider than what was refused")
def test_of_a_path_that_no_rule_names_exactly_nothing_is_proposed() -> None:
    held = [layer(refuse=[{"host": "api.example.com", "paths": ["/v1/*"]}])]
    for path in ("/v1/*", "/v1/a*b", "/v1/x/../y"):
        found = rules.decide(DECLARED, held, "acme.notes", "api.example.com", 443, "GET", path, "write")
        assert (found.reason, found.proposal) == ("policy_refuses", {}), path
        undeclared = rules.decide(DECLARED, [], "acme.notes", "other.example.com", 443, "GET", path, "write")
        assert (undeclared.reason, undeclared.proposal) == ("undeclared_destination", {}), path
    plain = rules.decide(DECLARED, held, "acme.notes", "api.example.com", 443, "GET", "/v1/x", "write")
    item = {"host": "api.example.com", "port": 443, "methods": ["GET"], "paths": ["/v1/x"], "packs": ["acme.notes"]}
    assert plain.proposal == {"egress_policy": {"except": [item]}}, "the control"


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"refuse": "api.example.com"}, "refuse"),
        ({"refuse": [{"host": "api.example.com", "port": 22}]}, "refuse[0].port"),
        ({"only": [{"host": "10.0.0.1"}]}, "only[0]"),
        ({"except": ["ok.example.com", {"host": "a.example.com", "packs": []}]}, "except[1].packs"),
        ({"allow": []}, "allow"),
        ({"refuse": [{"path": "/"}]}, "refuse[0]"),
    ],
)
def test_an_item_that_cannot_be_read_is_named_and_nothing_of_the_policy_is_taken(settings: Any, where: str) -> None:
    with pytest.raises(RuleProblem) as problem:
        rules.parse(settings, "x")
    assert str(problem.value).startswith(where)


@pytest.mark.capability("BRK-14", part="never wider than what was refused")
@pytest.mark.parametrize(
    ("before", "after", "more"),
    [
        ({}, {"refuse": ["a.example.com"]}, False),
        ({"refuse": ["a.example.com"]}, {}, True),
        ({"refuse": ["a.example.com"]}, {"refuse": ["*.example.com"]}, False),
        ({"refuse": ["*.example.com"]}, {"refuse": ["a.example.com"]}, True),
        ({"refuse": ["a.example.com"]}, {"refuse": [{"host": "a.example.com", "methods": ["POST"]}]}, True),
        ({"refuse": [{"host": "a.example.com", "packs": ["x.y"]}]}, {"refuse": ["a.example.com"]}, False),
        ({"refuse": ["a.example.com"]}, {"refuse": ["a.example.com"], "except": [{"host": "a.example.com", "paths": ["/x"]}]}, True),
        ({}, {"only": ["a.example.com"]}, False),
        ({"only": ["a.example.com"]}, {}, True),
        ({"only": ["a.example.com", "b.example.com"]}, {"only": ["a.example.com"]}, False),
        ({"only": ["a.example.com"]}, {"only": ["a.example.com", "b.example.com"]}, True),
        ({"only": [{"host": "a.example.com", "paths": ["/v1/*"]}]}, {"only": [{"host": "a.example.com", "paths": ["/v1/x"]}]}, False),
        ({"only": [{"host": "a.example.com", "paths": ["/v1/x"]}]}, {"only": [{"host": "a.example.com", "paths": ["/v1/*"]}]}, True),
        ({"refuse": ["*"]}, {"refuse": ["a.example.com"]}, True),
        ({"refuse": ["a.example.com"]}, {"refuse": ["*"]}, False),
    ],
)  # fmt: skip
def test_a_policy_lets_more_through_or_it_does_not(before: Any, after: Any, more: bool) -> None:
    assert rules.loosens(rules.parse(before, "x"), rules.parse(after, "x")) is more


@pytest.mark.capability("BRK-13", part="policy on destinations")
def test_whatever_passes_after_a_change_that_is_said_to_tighten_passed_before() -> None:
    """Over every pair of some policies and every one of some requests: in doubt a change is said to loosen."""
    some: list[dict[str, Any]] = [
        {}, {"refuse": ["a.example.com"]}, {"refuse": ["*.example.com"]}, {"refuse": ["*"]},
        {"refuse": [{"host": "a.example.com", "methods": ["POST"]}]}, {"only": ["a.example.com"]}, {"only": []},
        {"only": [{"host": "a.example.com", "paths": ["/v1/*"]}]},
        {"refuse": ["*"], "except": [{"host": "a.example.com", "methods": ["GET"]}]},
        {"refuse": [{"host": "a.example.com", "packs": ["x.y"]}]},
        {"refuse": ["a.example.com"], "only": ["b.example.com"]},
    ]  # fmt: skip
    asked = [
        (pack, host, port, method, path)
        for pack in ("x.y", "x.z")
        for host in ("a.example.com", "b.example.com", "b.a.example.com")
        for port in (80, 443)
        for method in ("GET", "POST", None)
        for path in ("/", "/v1/x", None)
    ]
    held = [rules.parse(settings, "x") for settings in some]
    tightening = 0
    for before in held:
        for after in held:
            if rules.loosens(before, after):
                continue
            tightening += 1
            for request in asked:
                if rules.refusal([after], *request) is None:
                    assert rules.refusal([before], *request) is None, (before, after, request)
    assert tightening > 30
