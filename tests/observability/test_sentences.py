"""What changed, said: who did what to what, for every event there is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.architecture.test_catalogues import every_module
from tests.plugins import catalogue
from worka.kernel import actions, states
from worka.observability import sentences

# In all but one who acted was refused; a changed definition is refused by who looked at it.
REFUSED = {kind for kind in sentences.SAID if re.search(r"(refused|denied)$", kind)} - {"pack.definition.refused"}


def said(kind: str, name: str = "X", **data: Any) -> str:
    return sentences.sentence(
        {"type": kind, "actor_name": "Bob", "actor_id": "per_1", "subject_name": name, "data": data}
    )


def _catalogue() -> set[str]:
    page = (catalogue.CHECKOUT / "docs" / "reference" / "events.md").read_text()
    return set(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE))


@pytest.mark.capability("AUD-3", part="every event is said with who did it and to whom")
def test_every_event_of_the_catalogue_has_words_of_its_own() -> None:
    assert len(_catalogue()) > 80
    assert sorted(_catalogue() - set(sentences.SAID)) == [], "say it in observability/sentences.py"


@pytest.mark.capability("AUD-3", part="every event is said with who did it and to whom")
def test_every_end_of_an_approval_and_of_a_connection_has_words_too() -> None:
    every_module()
    kinds = [
        f"{machine}.{state.name}"
        for machine, first in (("approval", {"open"}), ("connection", {"awaiting_approval", "active"}))
        for state in states.all_machines()[machine].states
        if state.name not in first
    ]
    assert "approval.rejected" in kinds
    assert "connection.revoked" in kinds
    assert [kind for kind in kinds if kind not in sentences.SAID] == []


@pytest.mark.capability("AUD-3", part="every event is said with who did it and to whom")
@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_who_was_refused_is_never_said_to_have_refused(kind: str) -> None:
    told = said(kind)
    # Nobody need have denied it: a name that nobody knows is no way out either.
    assert told.startswith(("Bob was refused", "Bob was too late", "Bob did not get out")), told


@pytest.mark.capability("AUD-3", part="every event is said with who did it and to whom")
def test_who_rejected_is_said_to_have_rejected_and_who_was_refused_is_told_of_what_and_why() -> None:
    assert said("approval.rejected", "Call pay") == "Bob rejected “Call pay”"
    refused = said("approval.decision.refused", "Call pay", because="You have decided it already.")
    assert refused == "Bob was refused a decision on approval “Call pay”: You have decided it already."


@pytest.mark.capability("AUD-3", part="every event is said with who did it and to whom")
def test_what_did_not_get_out_is_told_with_why_not() -> None:
    told = said("broker.egress.denied", "hooks.example.com:443", reason="name_not_resolved")
    assert told == "Bob did not get out to “hooks.example.com:443”: name not resolved"


@pytest.mark.capability("AUD-3", part="every event is said with who did it and to whom")
def test_a_denial_names_what_was_asked_for_in_words() -> None:
    every_module()
    assert said("access.denied", "", action="member.invite") == "Bob was refused: invite people to the workspace"
    assert said("access.denied", "", action="gone.action") == "Bob was refused gone.action"


@pytest.mark.capability("AUD-3", part="every event is said with who did it and to whom")
def test_a_sentence_begins_with_who_acted_and_keeps_a_name_as_it_is() -> None:
    for kind in sentences.SAID:
        told = said(kind, "{who} {0}")
        assert told.startswith("Bob "), (kind, told)
        assert "{who} {0}" in told or "{name}" not in sentences.SAID[kind], (kind, told)
        bare = said(kind, "")
        assert not bare.endswith((":", " ")), (kind, bare)
        assert "“" not in bare, (kind, bare)


@pytest.mark.capability("AUT-1", part="refusals are words")
def test_every_action_can_be_said_after_may_not() -> None:
    every_module()
    for action in actions.all_actions():
        assert re.fullmatch(r"[a-z][^.:;()]+", action.words), (action.name, action.words)
        assert action.words != action.name
