"""Which connection stands behind a request."""

from __future__ import annotations

import pytest

from worka.broker.bindings import Bound, Connection, Unbound, bind, parse_needs, value_of
from worka.broker.rules import RuleProblem
from worka.broker.templates import TemplateError

NEEDS = parse_needs(
    [
        {
            "provider": "tracker",
            "inject": {"host": "*.tracker.example", "header": "Authorization"},
            "idempotency_header": "Idempotency-Key",
        }
    ]
)


def connection(**fields: object) -> Connection:
    base: dict[str, object] = {
        "id": "con_1", "provider": "tracker", "host": "a.tracker.example", "port": 443, "state": "active",
        "secret_id": "sec_1", "metadata": {"account": 42},
    }  # fmt: skip
    return Connection(**{**base, **fields})  # type: ignore[arg-type]


@pytest.mark.capability("BRK-13")
def test_a_credential_is_bound_to_host_and_port_of_its_connection() -> None:
    have = [connection()]
    assert isinstance(bind(NEEDS, have, "a.tracker.example", 443), Bound)
    assert bind(NEEDS, have, "b.tracker.example", 443) == Unbound(
        "connection_missing", "the connection to tracker is for a.tracker.example:443, not b.tracker.example:443"
    )
    assert isinstance(bind(NEEDS, have, "a.tracker.example", 80), Unbound)
    assert bind(NEEDS, have, "elsewhere.example", 443) is None


@pytest.mark.capability("BRK-13")
def test_a_connection_to_a_host_that_the_manifest_does_not_inject_to_gives_nothing() -> None:
    assert bind(NEEDS, [connection(host="elsewhere.example")], "elsewhere.example", 443) is None


@pytest.mark.capability("BRK-6")
def test_a_missing_and_an_unusable_connection_are_told_apart() -> None:
    found = bind(NEEDS, [], "a.tracker.example", 443)
    assert isinstance(found, Unbound)
    assert found.reason == "connection_missing"
    found = bind(NEEDS, [connection(state="expired")], "a.tracker.example", 443)
    assert found == Unbound("connection_unusable", "the connection to tracker is expired")


def test_an_optional_connection_may_lack() -> None:
    needs = parse_needs(
        [{"provider": "tracker", "required": False, "inject": {"host": "a.tracker.example", "header": "x"}}]
    )
    assert bind(needs, [], "a.tracker.example", 443) is None


def test_the_newest_active_connection_is_used() -> None:
    found = bind(
        NEEDS, [connection(id="new", state="broken"), connection(id="mid"), connection()], "a.tracker.example", 443
    )
    assert isinstance(found, Bound)
    assert found.connection.id == "mid"


def test_a_connection_can_bring_the_key_without_an_injection() -> None:
    needs = parse_needs([{"provider": "tracker", "idempotency_header": "Idempotency-Key"}])
    assert isinstance(bind(needs, [connection()], "a.tracker.example", 443), Bound)
    assert bind(needs, [], "a.tracker.example", 443) is None


def test_the_template_has_a_sensible_default_and_is_checked() -> None:
    assert NEEDS[0].template == "Bearer {{connection.access_token}}"
    with pytest.raises(TemplateError):
        parse_needs([{"provider": "x", "inject": {"host": "a.b", "header": "x", "template": "{{env.HOME}}"}}])
    for inject in ({"host": "a.b"}, {"header": "x"}, {"host": "a.b", "header": "x", "query": "y"}):
        with pytest.raises(RuleProblem):
            parse_needs([{"provider": "x", "inject": inject}])


def test_values_of_the_roots() -> None:
    have = connection()
    assert value_of(have, "connection.metadata.account", None) == "42"
    assert value_of(have, "connection.provider", None) == "tracker"
    assert value_of(have, "connection.access_token", "s") == "s"
    assert value_of(have, "connection.refresh_token", "s") is None
