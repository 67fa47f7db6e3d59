"""What may go past the framework, and that everything else goes through it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.routing import Match

from worka.api.straight import Straight

PATH = "/v1/workspaces/ws_1/tools/a.b.c/call"


def asked(**other: Any) -> Any:
    """A scope as the door leaves it behind: signed in, its body read."""
    state = {"ctx": object(), "json": {"arguments": {"n": 1.0}}} | other.pop("state", {})
    plain = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": []}
    return {**plain, **other, "state": state}


def test_a_call_with_nothing_to_refuse_in_its_form_goes_straight_and_is_read_as_the_framework_would() -> None:
    match, found = Straight().matches(asked(headers=[(b"idempotency-key", b"k" * 200)]))
    workspace, tool, body, _, key = found["called"]
    assert (match, workspace, tool, key) == (Match.FULL, "ws_1", "a.b.c", "k" * 200)
    assert body.arguments == {"n": 1}
    assert type(body.arguments["n"]) is int, "1.0 is the number 1"
    assert Straight().matches(asked(state={"json": {}}))[1]["called"][2].arguments == {}


@pytest.mark.parametrize(
    "other",
    [
        {"method": "GET"},
        {"method": "HEAD"},
        {"path": PATH + "/"},
        {"path": PATH.replace("a.b.c", "a/b")},
        {"path": "/v1/workspaces/ws_1/tools"},
        {"query_string": b"dry_run=true"},
        {"type": "websocket"},
        {"headers": [(b"idempotency-key", b"k" * 201)]},
        {"headers": [(b"idempotency-key", b"one"), (b"idempotency-key", b"two")]},
        {"state": {"json": None}},
        {"state": {"json": []}},
        {"state": {"json": {"arguments": "text"}}},
        {"state": {"json": {"arguments": {}, "unknown": 1}}},
    ],
)
def test_what_has_something_to_refuse_is_left_to_the_framework(other: dict[str, Any]) -> None:
    assert Straight().matches(asked(**other))[0] is Match.NONE
    assert Straight().matches(asked())[0] is Match.FULL, "the control"


def test_nobody_who_is_not_signed_in_goes_straight() -> None:
    stranger = asked()
    del stranger["state"]["ctx"]
    assert Straight().matches(stranger)[0] is Match.NONE
