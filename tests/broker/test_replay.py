"""Rules replayed over recorded rows: exactly those that would flip, both ways, and what cannot be said is said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from worka.broker.policy import rules as policy
from worka.broker.records import replay
from worka.broker.records.replay import Book
from worka.broker.rules import parse_rules

Row = dict[str, Any]


def row(number: int, host: str = "api.example.com", **changes: Any) -> Row:
    """A recorded row: a request that was let through, unless said otherwise."""
    return {
        "id": f"egr_{number}", "at": datetime.now(UTC), "workspace_id": "ws_1", "attachment_id": "att_1", "pack": "acme.notes",
        "invocation_id": "inv_1", "host": host, "port": 443, "kind": "http", "method": "GET", "path": "/v1/x",
        "verdict": "allowed", "reason": "allowed", "rule": "outbound_domains[0]", "count": 1, "opaque": False,
        "attachment_state": "attached", "now_release": "rel_1", "side_effect": "read_only", **changes,
    }  # fmt: skip


def book(*declared: Any, opaque: bool = True, **settings: Any) -> Book:
    """What decides."""
    held = (policy.parse(settings, "egress_policy/workspace.1"),) if settings else ()
    return Book(parse_rules(list(declared)), held, opaque)


def flips(rows: list[Row], today: Book, then: Book) -> list[tuple[str, str | None, str | None]]:
    """(row, today, then) of what is told."""
    items, taken = replay.compare(rows, lambda _row: today, lambda _row: then, 1000)
    assert taken == len(rows)
    return [(item["egress_id"], item["today"], item["to"]) for item in items]


REFUSED = {"verdict": "denied", "reason": "undeclared_destination", "rule": None}


@pytest.mark.capability("BRK-14", part="replay of rules")
def test_exactly_the_rows_flip_that_other_rules_decide_otherwise_both_ways() -> None:
    rows = [
        row(1),
        row(2, path="/admin"),
        row(3, "log.example.com", **REFUSED),
        row(4, method="POST", verdict="denied", reason="method_not_allowed"),
        row(5, "other.example.com", kind="dns", port=53, method=None, path=None, **REFUSED),
        row(6, "log.example.com", kind="dns", port=53, method=None, path=None, **REFUSED),
    ]
    today = book("api.example.com")
    then = book({"host": "api.example.com", "methods": ["GET", "POST"], "paths": ["/v1/*"]}, "log.example.com")
    assert flips(rows, today, then) == [
        ("egr_2", "allowed", "denied"),
        ("egr_3", "denied", "allowed"),
        ("egr_4", "denied", "allowed"),
        ("egr_6", "denied", "allowed"),
    ]
    # The control: the same rules flip nothing.
    assert flips(rows, today, today) == []


@pytest.mark.capability("BRK-14", part="replay of rules")
def test_a_row_that_was_refused_after_the_rules_had_passed_it_is_not_called_a_flip() -> None:
    rows = [
        row(1, verdict="denied", reason="private_address"),
        row(2, verdict="denied", reason="connection_missing"),
        row(3, status=500),
    ]
    assert flips(rows, book("api.example.com"), book("api.example.com")) == []
    # Other rules refuse them: that is one, for they had passed.
    assert [found[0] for found in flips(rows, book("api.example.com"), book())] == ["egr_1", "egr_2", "egr_3"]


@pytest.mark.capability("BRK-14", part="replay of rules")
def test_a_policy_is_replayed_as_the_broker_would_decide_and_an_earlier_change_is_told_apart() -> None:
    rows = [row(1), row(2, verdict="denied", reason="policy_refuses"), row(3, method="POST", side_effect="write")]
    today, then = book("api.example.com"), book("api.example.com", refuse=[{"host": "*", "methods": ["POST"]}])
    items, _ = replay.compare(rows, lambda _row: today, lambda _row: then, 1000)
    assert [(item["egress_id"], item["earlier"]) for item in items] == [("egr_2", True), ("egr_3", False)]
    assert replay.counts(items) == {"allowed to denied": 1}
    said = replay.sentence(items, 3, 3, "the 24 hours before now")
    assert "refused 1 request that pass today" in said
    assert "1 row decided differently since then by earlier changes" in said


@pytest.mark.capability("BRK-14", part="replay of rules")
def test_what_a_row_does_not_tell_is_not_guessed() -> None:
    then = book({"host": "api.example.com", "paths": ["/v1/*"]})
    several = row(1, count=7, path="/admin")
    items, _ = replay.compare([several], lambda _row: book("api.example.com"), lambda _row: then, 10)
    assert [item["certain"] for item in items] == [False]
    # The control: one request whose path is known is certain.
    items, _ = replay.compare([{**several, "count": 1}], lambda _row: book("api.example.com"), lambda _row: then, 10)
    assert [item["certain"] for item in items] == [True]
    untold = [
        row(2, pack=None),
        row(3, attachment_state="detached"),
        row(4, "(more destinations)", **REFUSED),
        row(5, kind="raw", method=None, verdict="denied", reason="raw_address"),
    ]
    items, taken = replay.compare(untold, lambda _row: then, lambda _row: then, 10)
    assert taken == 4
    # What no rule was asked about is none of the answer; what one might have decided is listed with what is missing.
    assert [(item["egress_id"], bool(item["missing"])) for item in items] == [
        ("egr_2", True),
        ("egr_3", True),
        ("egr_4", True),
    ]


@pytest.mark.capability("BRK-14", part="replay of rules")
def test_pages_of_any_size_add_up_to_the_whole() -> None:
    rows = [row(number, path="/admin" if number % 3 else "/v1/x", count=number % 2 + 1) for number in range(40)]
    today, then = book("api.example.com"), book({"host": "api.example.com", "paths": ["/v1/*"]})
    whole = flips(rows, today, then)
    assert len(whole) == 26
    for size in (1, 4, 7, 26, 27):
        found, left = [], rows
        while left:
            items, taken = replay.compare(left, lambda _row: today, lambda _row: then, size)
            found += [(item["egress_id"], item["today"], item["to"]) for item in items]
            left = left[taken:]
        assert found == whole


def test_a_tunnel_is_let_through_by_a_rule_of_host_and_port_alone() -> None:
    tunnel = row(1, method=None, path=None, kind="tunnel", opaque=True)
    assert flips([tunnel], book("api.example.com"), book("api.example.com")) == []
    assert flips([tunnel], book("api.example.com"), book({"host": "api.example.com", "paths": ["/v1/*"]})) == [
        ("egr_1", "allowed", "denied")
    ]
    unread, read = {"host": "api.example.com", "opaque": True}, {"host": "api.example.com", "methods": ["GET"]}
    assert flips([tunnel], book(unread), book(unread, refuse=["api.example.com"])) == [("egr_1", "allowed", "denied")]
    # Where the rules would have it read, what it said is not known.
    items, _taken = replay.compare([tunnel], lambda _row: book(unread), lambda _row: book(read), 9)
    assert [(item["to"], item["certain"]) for item in items] == [("denied", False)]
    assert flips([row(2)], book(read), book(unread)) == []


@pytest.mark.capability("BRK-14", part="replay of rules")
def test_where_the_deployment_lets_nothing_through_unread_no_rule_does() -> None:
    carried = row(1, method=None, path=None, kind="tunnel", opaque=True)
    stopped = {**carried, "id": "egr_2", "verdict": "denied", "reason": "opaque_not_allowed"}
    unread, read = {"host": "api.example.com", "opaque": True}, "api.example.com"
    on, off = book(unread), book(unread, opaque=False)
    # What it stopped is no flip while it is off, and it is not the tried rules that would let it through once it is on.
    assert flips([stopped], off, off) == []
    items, _ = replay.compare([carried, stopped], lambda _row: on, lambda _row: on, 9)
    assert [(item["egress_id"], item["from"], item["to"], item["earlier"]) for item in items] == [
        ("egr_2", "denied", "allowed", True)
    ]
    items, _ = replay.compare([carried, stopped], lambda _row: off, lambda _row: off, 9)
    assert [(item["egress_id"], item["to_reason"], item["earlier"]) for item in items] == [
        ("egr_1", "opaque_not_allowed", True)
    ]
    # Rules that have it read let it through whatever the deployment says of the other kind.
    assert flips([stopped], off, book(read, opaque=False)) == [("egr_2", "denied", "allowed")]
    # A row of a pack that is gone is listed with what is missing, as every refusal by rules.
    gone = {**stopped, "attachment_state": "detached"}
    items, _ = replay.compare([gone], lambda _row: off, lambda _row: off, 9)
    assert [bool(item["missing"]) for item in items] == [True]


def test_a_websocket_is_decided_as_one() -> None:
    socket, plain = row(1, kind="websocket"), row(2)
    allowed = {"host": "api.example.com", "methods": ["GET"], "websocket": True}
    assert flips([socket, plain], book(allowed), book({**allowed, "websocket": False})) == [
        ("egr_1", "allowed", "denied")
    ]
    refused = row(3, kind="websocket", verdict="denied", reason="upgrade_refused")
    assert flips([refused], book({**allowed, "websocket": False}), book(allowed)) == [("egr_3", "denied", "allowed")]
    # Once it stands it says what it likes: to policy its method is not known.
    policy_of = book(allowed, refuse=[{"host": "api.example.com", "methods": ["POST"]}])
    assert flips([socket, plain], book(allowed), policy_of) == [("egr_1", "allowed", "denied")]
    # An upgrade that is no WebSocket was refused before any rule was asked.
    assert flips([row(4, verdict="denied", reason="upgrade_refused")], book(allowed), book("x.example.com")) == []
