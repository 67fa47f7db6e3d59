"""Who may decide, when it is decided, and what a digest binds: the pure rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worka.approvals import rules
from worka.approvals.rules import (
    Ask,
    Delegator,
    Reader,
    Rule,
    eligible,
    missing,
    open_reason,
    parse_rule,
    parse_rules,
    tally,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASK = Ask("open", (Rule("approve", 1),), True, "per_asker", "per_owner", NOW + timedelta(hours=1))
CONFIRM = replace(ASK, rules=(Rule("confirm", 1),))


def person(name: str, may_approve: bool = True, member: bool = True) -> Reader:
    return Reader("person", f"per_{name}", may_approve, member)


@pytest.mark.capability("APR-4", part="the rule")
@pytest.mark.parametrize(
    ("reader", "allowed", "because"),
    [
        (person("security"), True, "permission approve"),
        (person("security", may_approve=False), False, "do not hold the permission"),
        (person("security", member=False), False, "not a member"),
        (person("asker"), False, "You asked for it"),
        (person("owner"), False, "You own the AI team member"),
        (Reader("team_member", "tmb_x", True), False, "Only a person"),
        (Reader("platform", "platform", True), False, "Only a person"),
    ],
)
def test_four_eyes_and_the_permission_decide_who_may_approve(reader: Reader, allowed: bool, because: str) -> None:
    answer = eligible(ASK, reader, NOW)
    assert answer.eligible is allowed
    assert because in answer.because


@pytest.mark.capability(
    "APR-4", part="who recorded where a name leads does not agree to the credential that goes there"
)
def test_who_recorded_where_it_leads_does_not_approve_it_on_either_end_of_a_delegation() -> None:
    led = replace(ASK, led_by=frozenset({"per_leader"}))
    assert not eligible(led, person("leader"), NOW).eligible
    taker = replace(person("taker", may_approve=False), delegators=(Delegator("per_leader", "Leo", True, frozenset()),))
    assert not eligible(led, taker, NOW).eligible
    given = replace(person("leader"), delegators=(Delegator("per_other", "Oda", True, frozenset()),))
    assert not eligible(led, given, NOW).eligible
    for reader in (person("leader"), taker, given):
        assert eligible(ASK, reader, NOW).eligible, "the control"


@pytest.mark.capability("IDN-21", part="confirm and approve are told apart by the person behind it")
def test_confirm_is_the_person_behind_it_alone_and_approve_is_somebody_else() -> None:
    assert eligible(CONFIRM, person("asker", may_approve=False), NOW).verb == "confirm"
    assert not eligible(CONFIRM, person("security"), NOW).eligible
    assert eligible(ASK, person("security"), NOW).verb == "approve"


def test_without_a_person_behind_it_the_owner_may_approve_and_confirm() -> None:
    own_trigger = replace(ASK, originating_person=None)
    assert eligible(own_trigger, person("owner"), NOW).eligible
    assert not eligible(own_trigger, person("owner", may_approve=False), NOW).eligible
    assert eligible(replace(own_trigger, rules=CONFIRM.rules), person("owner"), NOW).verb == "confirm"
    assert not eligible(ASK, person("owner"), NOW).eligible


@pytest.mark.parametrize("state", ["approved", "rejected", "expired", "withdrawn", "superseded"])
def test_only_an_open_and_unexpired_approval_is_decided_and_once_by_each(state: str) -> None:
    assert eligible(ASK, person("security"), NOW).eligible
    assert not eligible(replace(ASK, state=state), person("security"), NOW).eligible
    assert not eligible(ASK, person("security"), ASK.expires_at).eligible
    assert not eligible(replace(ASK, voters=(("per_security", "approve"),)), person("security"), NOW).eligible


def test_quorum_counts_different_people_and_one_no_rejects() -> None:
    two = replace(ASK, rules=(Rule("approve", 2),))
    assert tally(two) == "open"
    one = replace(two, voters=(("per_a", "approve"),))
    assert (tally(one), missing(one)) == ("open", ["1 of 2 approvals"])
    assert tally(replace(two, voters=(("per_a", "approve"), ("per_b", "approve")))) == "approved"
    assert tally(replace(two, voters=(("per_a", "approve"), ("per_b", "reject")))) == "rejected"


def test_confirm_and_approve_together_need_both() -> None:
    both = replace(ASK, rules=(Rule("approve", 1), Rule("confirm", 1)))
    assert eligible(both, person("asker", may_approve=False), NOW).verb == "confirm"
    assert tally(replace(both, voters=(("per_asker", "approve"),))) == "open"
    assert tally(replace(both, voters=(("per_a", "approve"),))) == "open"
    assert tally(replace(both, voters=(("per_a", "approve"), ("per_asker", "approve")))) == "approved"


def test_a_wait_that_nobody_can_end_says_so() -> None:
    assert open_reason(ASK, 0) == "nobody_can_decide"
    assert open_reason(ASK, 1) == "waiting_for_approver"
    assert open_reason(CONFIRM, 1) == "waiting_for_confirmation"
    assert open_reason(replace(ASK, rules=(Rule("approve", 2),)), 1) == "nobody_can_decide"
    assert (
        open_reason(replace(ASK, rules=(Rule("approve", 2),), voters=(("per_a", "approve"),)), 1) != "nobody_can_decide"
    )


def test_rules_are_read_strictly_and_the_stricter_of_two_counts() -> None:
    assert parse_rule("approve") == Rule("approve", 1)
    assert [str(rule) for rule in parse_rules(["approve", "approve:3", "confirm"])] == ["approve:3", "confirm"]
    assert [str(rule) for rule in parse_rules([])] == ["approve:1"]
    for wrong in ("", "approve:0", "approve:10", "confirm:2", "owner", "approve:1:self"):
        with pytest.raises(ValueError):
            parse_rule(wrong)


FIELDS: dict[str, Any] = {
    "action": "tool.invoke",
    "arguments": {"b": 1, "a": [True, None, "ü"]},
    "tool": "acme.notes.publish_notes",
    "release": "sha256:1",
    "attachment": "att_1",
    "workspace": "ws_1",
    "connection": "conn_1",
    "target_host": "tracker.worka.test",
    "initiator": "team_member:tmb_1",
    "originating_person": "per_1",
}


@pytest.mark.capability("APR-10", part="what the digest covers")
@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_of_the_action_changes_the_digest_and_the_order_of_keys_does_not(name: str) -> None:
    first = rules.digest(**FIELDS)
    assert rules.digest(**{**FIELDS, "arguments": {"a": [True, None, "ü"], "b": 1}}) == first
    assert rules.digest(**{**FIELDS, name: {"changed": 1} if name == "arguments" else "changed"}) != first
