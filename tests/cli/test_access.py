"""`worka access` and `worka decision`, as an operator types them."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.support.forks import typed
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def worka(stage: Demo, cli_owner: dict[str, str]) -> Any:
    """Runs a command as the owner; (exit code, what it printed)."""

    def run(*words: str, **environment: str) -> tuple[int, str]:
        told = {**os.environ, "WORKA_URL": stage.url, **cli_owner, **environment}
        done = typed(words, told)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.capability("DOR-2", part="access and decisions")
@pytest.mark.capability("AUT-12", part="by command, complete")
def test_an_operator_asks_who_may_do_what_and_why(stage: Demo, worka: Any) -> None:
    code, said = worka("access", "can-i", "connection.create")
    assert (code, "approve:1" in said or "approval" in said) == (6, True), said
    code, said = worka("access", "can-i", "workspace.view")
    assert code == 0, said
    code, said = worka("access", "why", stage.ids["member"], "member.invite")
    assert code == 5, said
    assert "does not hold the permission administer" in said or "can never hold" in said
    assert "decision dec_" in said
    decision = said.rpartition("decision ")[2].split()[0]
    code, said = worka("decision", "show", decision)
    assert code == 0, said
    code, said = worka("decision", "replay", decision)
    assert (code, "the same verdict, rules and reasons" in said) == (0, True), said
    code, said = worka("-o", "json", "access", "list", "--action", "task.create", "--all")
    found = json.loads(said)
    assert code == 0, said
    assert found["next"] is None
    assert stage.ids["member"] in {row["id"] for row in found["items"]}
    code, said = worka("access", "list", "--principal", "me", "--limit", "2")
    assert (code, "--all" in said) == (0, True), "a page that is not the last says so"
    code, said = worka("access", "list", "--principal", stage.ids["member"], "--action", "tool.invoke")
    assert code == 0, said
    code, said = worka("-o", "json", "access", "unused", "--days", "7")
    found = json.loads(said)
    assert (code, found["days"], found["complete"]) == (0, 7, True), said
    assert stage.ids["owner"] not in {row["principal_id"] for row in found["items"]}, "the last owner stays one"
    code, said = worka("access", "unused")
    assert (code, found["sentence"].partition(" in the last")[0] in said) == (0, True), said
    assert all(row["command"] in said for row in found["items"]), said
    code, said = worka("access", "matrix")
    assert (code, "manage connections" in said) == (0, True), said


def test_what_is_not_there_or_misspelt_says_so_and_what_to_do(stage: Demo, worka: Any) -> None:
    assert worka("access", "why", "nobody-of-this-name", "task.view")[0] == 3
    code, said = worka("access", "why", "per_00000000000000000000000000", "task.view")
    assert (code, "Nobody of this id acts" in said) == (3, True), said
    code, said = worka("access", "can-i", "task.veiw")
    assert (code, "Did you mean task.view" in said) == (2, True), said
    code, said = worka("access", "can-i", "pack.attach", "--fact", "netwrok=true")
    assert (code, "Did you mean network" in said) == (2, True), said
    assert worka("access", "list")[0] == 2
    assert worka("decision", "replay", "dec_00000000000000000000000000")[0] == 3


def test_decisions_are_listed_by_what_they_said(stage: Demo, worka: Any) -> None:
    code, said = worka("-o", "json", "decision", "list", "--verdict", "deny", "--limit", "5")
    assert code == 0, said
    assert all(row["verdict"] == "deny" for row in json.loads(said)["items"])
    code, said = worka("-o", "json", "decision", "list", "--principal", stage.ids["member"], "--all")
    rows = json.loads(said)
    assert (code, rows["next"]) == (0, None)
    assert rows["items"]
    assert {row["principal_id"] for row in rows["items"]} == {stage.ids["member"]}
