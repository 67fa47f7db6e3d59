"""What an operator is told of a running tool, word by word, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from worka.packs.lifecycle import told

Row = dict[str, Any]
AT = datetime(2026, 11, 29, 21, 24, tzinfo=UTC)
NOTHING: Row = {
    "name": "acme.small 1.0.0", "reaches": [], "attachments": [], "tasks": [], "calls": [], "workflows": [], "views": [],
    "connections": [], "dependents": [], "elsewhere": None,
}  # fmt: skip


def found(**changes: Any) -> Row:
    """A lineage of a tool that nobody had to approve."""
    return {
        "tool": "acme.small.say",
        "source": {
            "publisher": "acme", "declared": {"repository": "https://git.test/x", "revision": "abc123"},
            "package": {"ecosystem": "pypi", "name": "lib", "version": "1.0"}, "ecosystem": "pypi", "contents": None,
        },
        "release": {
            "id": "rel_1", "pack": "acme.small", "version": "1.0.0", "digest": "d" * 64, "state": "released",
            "registered_by_name": "Mo Member", "registered_at": AT, "workspace_id": "ws_home",
        },
        "attachment": {
            "id": "att_1", "workspace_id": "ws_here", "workspace": "Desk", "mode": "tracking", "state": "attached",
            "attached_by_name": "Ada Admin", "attached_at": AT.isoformat(),
        },
        "approval": None,
        **changes,
    }  # fmt: skip


def release(**manifest: Any) -> Row:
    """Its release."""
    tools = [{"name": "say", "side_effect": "read_only"}, {"name": "wipe", "side_effect": "destructive"}]
    return {"tools": tools, "manifest": manifest}


def answers(lineage: Row, made: Row | None = None, users: Any = (), reach: Row | None = None) -> dict[str, str]:
    """Question -> answer."""
    given = told.answers(lineage, made or release(), users, reach or NOTHING)
    assert [item["question"] for item in given] == list(told.QUESTIONS.values())
    return {item["key"]: item["answer"] for item in given}


@pytest.mark.capability("LIF-6", part="every question that an operator asks of a tool, by every door")
def test_each_question_is_answered_from_the_record() -> None:
    said = answers(found())
    assert said["owner"] == "acme; registered by Mo Member on 29 Nov 2026, 21:24."
    assert said["source"] == "repository https://git.test/x, revision abc123; pypi package lib 1.0."
    assert said["release"] == f"acme.small 1.0.0, digest {'d' * 12}, released."
    assert said["attached"] == "Ada Admin on 29 Nov 2026, 21:24, to Desk, following new releases."
    assert said["approved"] == "Nobody had to: policy asked nobody."
    assert said["may"] == "say reads only; it has no network."
    assert said["users"] == "None that you see."
    assert said["breaks"] == "Nothing hangs on it."


def test_who_agreed_a_bypass_and_an_open_approval_are_told_apart() -> None:
    asked: Row = {"id": "apr_1", "state": "approved", "bypass_id": None, "votes": []}
    voted = [{"name": "Arno", "decision": "approve", "at": AT}, {"name": "Rea", "decision": "reject", "at": AT}]
    assert told.approved({**asked, "votes": voted}) == "Arno on 29 Nov 2026, 21:24"
    assert told.approved({**asked, "bypass_id": "byp_1"}) == "It went by a bypass"
    assert told.approved({**asked, "state": "open"}) == "Nobody yet: the approval is open"


def test_what_it_may_do_names_hosts_connections_files_packs_and_services() -> None:
    made = release(
        outbound_domains=["a.test", {"host": "b.test", "port": 8443}], connections=[{"provider": "tracker"}],
        dependencies=["acme.other", {"pack": "acme.third"}], host_services=["worka.ui"],
        runtime={"mounts": [{"name": "repo"}]},
    )  # fmt: skip
    assert told.may(None, "acme.small", made) == (
        "say reads only, wipe may destroy; it may reach a.test:443, b.test:8443; with the connection tracker;"
        " it reads the files repo; it calls acme.other, acme.third; it uses worka.ui"
    )
    assert told.may("acme.small.wipe", "acme.small", release()) == "wipe may destroy; it has no network"


@pytest.mark.capability("GOV-14", part="what lies elsewhere is counted for who could take it away, and for nobody else")
def test_what_breaks_is_counted_and_what_lies_elsewhere_only_where_its_reader_may_know() -> None:
    row = {"id": "att_1", "workspace": "Desk", "workspace_id": "ws_here", "version": "1.0.0"}
    reach = {**NOTHING, "attachments": [row], "tasks": [row, row]}
    said = answers(found(), users=[row], reach=reach)
    assert said["breaks"].endswith("quarantined, 1 attachment, 2 tasks would break.")
    assert "do not see" not in said["breaks"] + said["users"]
    said = answers(found(), users=[row], reach={**reach, "elsewhere": {"workspaces": 1, "attachments": 3, "tasks": 0}})
    assert said["users"] == "Desk (1.0.0); beside that 1 workspace that you do not see."
    assert "and 3 more in workspaces that you do not see" in said["breaks"]
