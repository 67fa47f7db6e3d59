"""`worka policy` and `worka kill` as an operator types them, on a running instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.instance import Instance
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(240)
TEXT = (
    "// Grüße: a comment that stays as it is,  with two spaces.\n\n"
    '@id("two") @verdict("ask") @rule("approve:2")\t@reason("Two people; always.")\n'
    'forbid(principal, action == Worka::Action::"connection.create", resource);   \n\n'
)


def worka(instance: Instance, owner: dict[str, str], *words: str, code: int = 0) -> Any:
    done = instance.worka("--output", "json", *words, **owner)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else done.stdout


def files(folder: Path) -> dict[str, bytes]:
    """The files that can be imported, byte for byte."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("tenant", "workspace")
        for path in sorted((folder / part).glob("*.cedar"))
    }


def test_what_is_exported_changed_imported_and_exported_again_is_equal_byte_for_byte(
    instance: Instance, cli_owner: dict[str, str], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    worka(instance, cli_owner, "policy", "export", str(first))
    assert {"access.cedar", "governance.cedar"} <= {path.name for path in (first / "floor").iterdir()}
    (first / "workspace").mkdir(exist_ok=True)
    (first / "workspace" / "governance.cedar").write_bytes(TEXT.encode())
    before = files(first)
    tried = worka(instance, cli_owner, "policy", "import", str(first), "--dry-run")
    would = {row["file"].removeprefix(str(first) + "/"): row["would"] for row in tried["items"]}
    assert would["workspace/governance.cedar"] == "hold at once"
    assert {text for name, text in would.items() if name != "workspace/governance.cedar"} <= {"change nothing"}
    assert worka(instance, cli_owner, "policy", "show", "governance", "--scope", "workspace")["version"] == 0
    worka(instance, cli_owner, "policy", "import", str(first), "--note", "from files")
    shown = worka(instance, cli_owner, "policy", "show", "governance", "--scope", "workspace")
    assert (shown["version"], shown["text"], shown["note"]) == (1, TEXT, "from files")
    worka(instance, cli_owner, "policy", "export", str(second))
    assert files(second) == before
    again = worka(instance, cli_owner, "policy", "import", str(second))
    assert {row["would"] for row in again["items"]} == {"change nothing"}
    assert worka(instance, cli_owner, "policy", "show", "governance", "--scope", "workspace")["version"] == 1
    worka(instance, cli_owner, "policy", "diff", "governance", "--scope", "workspace", code=1)
    empty = tmp_path / "governance.cedar"
    empty.write_text("")
    worka(instance, cli_owner, "policy", "save", str(empty), "--scope", "workspace", "--note", "as it was")


def test_of_files_with_a_fault_none_is_saved_and_the_fault_is_located(
    instance: Instance, cli_owner: dict[str, str], tmp_path: Path
) -> None:
    for scope, text in (("tenant", TEXT), ("workspace", "\n\nforbid(principal, action, resource);")):
        (tmp_path / scope).mkdir()
        (tmp_path / scope / "governance.cedar").write_text(text)
    before = worka(instance, cli_owner, "policy", "show", "governance")["version"]
    tried = worka(instance, cli_owner, "policy", "import", str(tmp_path), code=1)
    (fault,) = tried["faults"]
    assert (fault["statement"], fault["line"]) == (1, 3)
    assert "@verdict" in fault["message"]
    assert worka(instance, cli_owner, "policy", "show", "governance")["version"] == before
    checked = worka(instance, cli_owner, "policy", "check", str(tmp_path / "tenant" / "governance.cedar"))
    assert (checked["ok"], checked["would"]) == (True, "hold at once")
    empty = tmp_path / "nothing"
    empty.mkdir()
    assert "nothing to import" in instance.worka("policy", "import", str(empty), **cli_owner).stderr


@pytest.mark.capability("BEY-2", part="for policy, on the command line")
def test_a_dry_run_names_what_would_have_been_asked(
    instance: Instance, cli_owner: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "governance.cedar"
    file.write_text(
        '@id("x") @verdict("deny") @reason("no")'
        ' forbid(principal, action == Worka::Action::"connection.create", resource);'
    )
    found = worka(instance, cli_owner, "policy", "dry-run", str(file), "--since", "1d")
    flips = [item for item in found["items"] if item["missing"] is None]
    assert {(item["action"], item["from"], item["to"]) for item in flips} == {("connection.create", "ask", "deny")}
    times = "1 time" if len(flips) == 1 else f"{len(flips)} times"
    assert f"would have denied {times}, of {found['scanned']} recorded decisions" in found["sentence"]
    # What was asked about and would be asked of more people: that is what changes, and it is said.
    file.write_text(TEXT)
    found = worka(instance, cli_owner, "policy", "dry-run", str(file), "--since", "1d")
    assert f"asked other people, or more of them, {times}, of" in found["sentence"]
    text = instance.worka("policy", "dry-run", str(file), "--since", "1d", **cli_owner).stdout
    assert len([line for line in text.splitlines() if "ask (approve:1)" in line and "approve:2" in line]) == len(flips)
    done = instance.worka("policy", "dry-run", **cli_owner)
    assert done.returncode == 2, "neither a file nor a role"


@pytest.mark.capability("GOV-15", part="on the command line, against a destination, at the door of a tool call")
def test_a_kill_switch_is_shown_set_explained_and_lifted_in_stages(
    instance: Instance, stage: Demo, cli_owner: dict[str, str]
) -> None:
    target = ("destination", "kill.worka.test")
    tried = worka(instance, cli_owner, "kill", "on", *target, "--dry-run")
    assert tried["name"] == "kill.worka.test"
    admin = {**cli_owner, "WORKA_TOKEN": str(stage.approver.token)}
    assert instance.worka("kill", "on", *target, "--dry-run", **admin).returncode == 0
    refused = instance.worka("kill", "on", "member", stage.ids["approver"], "--dry-run", **admin)
    assert (refused.returncode, "Nobody stops themselves" in refused.stderr) == (2, True), "as the switch would be"

    def listed() -> list[dict[str, Any]]:
        return [row for row in worka(instance, cli_owner, "kill", "list")["items"] if row["subject"] == target[1]]

    assert listed() == []
    assert instance.worka("kill", "on", *target, "--yes", **cli_owner).returncode == 2, "a reason is needed"
    made = worka(instance, cli_owner, "kill", "on", *target, "--yes", "--reason", "a bad day")
    assert (made["state"], made["reason"]) == ("on", "a bad day")
    refused = instance.worka("kill", "lift", made["id"], "--reason", "over", **cli_owner)
    assert refused.returncode == 7
    assert "on trial" in refused.stderr
    trial = worka(
        instance, cli_owner, "kill", "lift", made["id"], "--reason", "over", "--for", cli_owner["WORKA_WORKSPACE"]
    )
    assert trial["state"] == "trial"
    tried = instance.worka("kill", "lift", made["id"], "--reason", "over", "--dry-run", **cli_owner)
    assert (tried.returncode, "would run again" in tried.stdout) == (0, True), tried.stdout + tried.stderr
    assert worka(instance, cli_owner, "kill", "lift", made["id"], "--reason", "over")["state"] == "lifted"
    (row,) = listed()
    assert (row["state"], row["who_can_lift"]) == ("lifted", "")


def test_break_glass_on_the_machine_shows_in_policy_and_changes_and_ends(
    instance: Instance, cli_owner: dict[str, str], tmp_path: Path
) -> None:
    tenant = instance.client(cli_owner["WORKA_TOKEN"]).get(f"/v1/workspaces/{cli_owner['WORKA_WORKSPACE']}")[
        "tenant_id"
    ]
    words = ("policy", "break-glass", "--tenant", tenant, "--of-workspace", cli_owner["WORKA_WORKSPACE"])
    assert worka(instance, {}, *words, "--dry-run")["done"] is False
    (opened,) = worka(instance, {}, *words, "--reason", "wrong text", "--hours", "0.5")["items"]
    assert opened["reason"] == "wrong text"
    changes = worka(instance, cli_owner, "changes", "--since", "5m")["items"]
    assert any(change["subject"]["id"] == opened["id"] for change in changes)
    assert len(worka(instance, {}, *words, "--end")["items"]) == 1
    assert worka(instance, {}, *words, "--end")["items"] == []
    nowhere = instance.worka(
        "policy", "break-glass", "--tenant", "ten_nowhere", "--reason", "r", "--of-workspace", "ws_x"
    )
    assert nowhere.returncode == 1
    assert "no workspace of this tenant" in nowhere.stderr
