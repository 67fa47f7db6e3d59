"""The circuit as a machine of states."""

from __future__ import annotations

from worka.broker.circuit import Circuit, Circuits


def test_it_opens_after_failures_in_a_row_and_one_request_tries_later() -> None:
    circuit = Circuit(3, 30.0)
    assert [circuit.failed("upstream_timeout", 0.0), circuit.failed("upstream_timeout", 1.0)] == [False, False]
    assert circuit.admit(1.0) is None
    assert circuit.failed("upstream_timeout", 2.0)
    assert (circuit.state(2.0), circuit.reason) == ("open", "upstream_timeout")
    assert circuit.admit(12.0) == 20.0
    assert circuit.state(32.0) == "half_open"
    assert circuit.admit(32.0) is None
    assert circuit.admit(32.0) == 1.0, "one tries, the others wait for it"
    assert circuit.succeeded()
    assert (circuit.state(32.0), circuit.admit(32.0)) == ("closed", None)
    assert not circuit.succeeded(), "it was closed already"


def test_an_answer_between_begins_the_count_anew() -> None:
    circuit = Circuit(2, 30.0)
    circuit.failed("upstream_timeout", 0.0)
    circuit.succeeded()
    assert not circuit.failed("upstream_timeout", 0.0)
    assert circuit.failed("upstream_timeout", 0.0)


def test_a_failed_try_opens_it_for_longer_and_never_for_ever() -> None:
    circuit = Circuit(1, 10.0)
    clock = 0.0
    circuit.failed("upstream_unreachable", clock)
    waits = []
    for _ in range(7):
        assert circuit.until is not None
        waits.append(circuit.until - clock)
        clock = circuit.until
        assert circuit.admit(clock) is None
        assert circuit.failed("upstream_unreachable", clock)
    assert waits == [10, 20, 40, 80, 160, 160, 160]


def test_what_was_under_way_when_it_opened_changes_nothing() -> None:
    circuit = Circuit(1, 10.0)
    assert circuit.failed("upstream_unreachable", 0.0)
    assert not circuit.failed("upstream_timeout", 5.0)
    assert circuit.until == 10.0


def test_a_try_that_tells_nothing_lets_another_try() -> None:
    circuit = Circuit(1, 10.0)
    circuit.failed("upstream_unreachable", 0.0)
    assert circuit.admit(10.0) is None
    circuit.release()
    assert circuit.admit(10.0) is None


def test_each_tenant_has_its_own() -> None:
    found = Circuits(1, 10.0, most=2)
    found.of("ten_a", "api.example", 443).failed("upstream_timeout", 0.0)
    assert found.of("ten_a", "api.example", 443).admit(1.0) == 9.0
    assert found.of("ten_b", "api.example", 443).admit(1.0) is None
    assert found.of("ten_a", "api.example", 80).admit(1.0) is None, "and this is a third one"
    assert found.of("ten_a", "api.example", 443).admit(1.0) is None, "the oldest was forgotten"
