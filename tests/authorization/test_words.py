"""Permissions and actions never contradict each other, and a refusal is said in words."""

from __future__ import annotations

import pytest

from tests.architecture.test_catalogues import every_module
from worka.authorization import matrix
from worka.cli import access
from worka.kernel import actions


@pytest.mark.capability("AUT-3", part="which actions a permission is needed for")
def test_each_action_is_under_the_one_permission_that_it_needs() -> None:
    every_module()
    lines = {row["name"]: row["actions"] for row in matrix.shown()["permissions"]}
    under = [name for names in lines.values() for name in names]
    assert sorted(under) == [action.name for action in actions.all_actions()]
    assert all(action.name in lines[action.permission] for action in actions.all_actions())
    # To write a view is no sharing of it with people outside.
    assert "view.publish" in lines["change"]
    assert lines["publish_shared_views"] == ["publication.review"]


@pytest.mark.capability("AUT-3", part="which actions a permission is needed for")
def test_who_asks_for_their_permissions_reads_what_each_is_needed_for(capsys: pytest.CaptureFixture[str]) -> None:
    every_module()
    held = matrix.permissions_of("person", ["member"])
    access.six(
        {
            "principal": {"name": "Bob"}, "role": "member", "approver": False, "also": [],
            "permissions": {name: name in held for name in actions.PERMISSIONS}, "matrix": matrix.shown(),
        }
    )  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(lines) if "✗ publish shared views" in line)
    assert "publication.review" in lines[at + 1]
    assert "view.publish" not in lines[at + 1]
    changes = next(number for number, line in enumerate(lines) if "✓ change" in line)
    assert "view.publish" in lines[changes + 1]
