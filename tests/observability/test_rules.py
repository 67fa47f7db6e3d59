"""A change as one line: what a person can read of it, and nothing that says nothing."""

from __future__ import annotations

import pytest

from worka.observability.rules import one_line

pytestmark = pytest.mark.capability("AUD-3", part="a change as one line")
PERSON = "per_01m8nrzw9xe00b6mfbp9xbgy36"


def test_a_change_says_what_became_of_what_and_a_new_thing_what_it_is() -> None:
    assert one_line({"state": "queued"}, {"state": "running", "attempt": 1}) == "state queued → running, attempt 1"
    made = {"kind": "destination", "exempt": [], "note": "", "by_operator": False, "reason": "looking at it"}
    assert one_line(None, made) == "kind destination, reason looking at it"


def test_what_is_turned_on_or_off_is_said_in_words() -> None:
    assert one_line({"by_operator": False}, {"by_operator": True}) == "by operator no → yes"
    assert one_line({"note": "old"}, {"note": ""}) == "note old → nothing"
    assert one_line(None, {"approver": True}) == "approver yes"


def test_ids_and_hashes_are_left_to_the_details_also_in_lists() -> None:
    assert one_line(None, {"name": "reviewers", "members": [PERSON], "digest": "a" * 64}) == "name reviewers"
    assert one_line({"members": [PERSON]}, {"members": ["everybody"]}) == f"members {PERSON} → everybody"
