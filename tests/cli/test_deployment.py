"""The operator's own verbs: the deployment's policy and its kill switches over a tenant, each tried before it is done."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(240)
Place = tuple[str, str, dict[str, str]]
DENIES = (
    '@id("no-exports") @verdict("deny") @reason("Nobody exports evidence today.")\n'
    'forbid(principal, action == Worka::Action::"audit.export", resource);\n'
)


def worka(instance: Instance, who: dict[str, str], *words: str, code: int = 0) -> Any:
    done = instance.worka("--output", "json", *words, **who)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else done.stdout


def said(instance: Instance, who: dict[str, str], *words: str, code: int = 0) -> str:
    done = instance.worka(*words, **who)
    assert done.returncode == code, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def operator(stage: Demo) -> dict[str, str]:
    return {"WORKA_TOKEN": str(stage.operator.token)}


@pytest.fixture
def place(stage: Demo) -> Place:
    """A tenant of its own, whose record and switches no other test looks at: its id, its workspace, its owner."""
    name = secrets.token_hex(4)
    made = stage.operator.post(
        "/v1/tenants",
        {"slug": f"dep-{name}", "name": "Dep", "workspace_name": "W", "owner_email": f"odo-{name}@dep.test"},
    )
    accepted = Client(stage.url).post(
        "/v1/invitations/accept",
        {"token": made["invitation_token"], "password": secrets.token_urlsafe(18), "display_name": "Odo"},
    )
    owner = {"WORKA_TOKEN": str(accepted["session_token"]), "WORKA_WORKSPACE": str(made["workspace_id"])}
    return str(made["tenant_id"]), str(made["workspace_id"]), owner


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    file = tmp_path / "governance.cedar"
    file.write_text(DENIES)
    return file


@pytest.fixture
def afterwards_none(instance: Instance, operator: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """It binds every tenant of this instance: the last version is an empty one."""
    yield
    empty = tmp_path / "empty" / "governance.cedar"
    empty.parent.mkdir()
    empty.write_text("")
    worka(instance, operator, "policy", "save", str(empty), "--scope", "deployment", "--note", "as it was")


@pytest.mark.capability("DOR-2", part="the deployment's policy, tried, saved, written to files and read back")
@pytest.mark.capability("BEY-2", part="for the deployment's policy, in numbers by tenant and action")
def test_the_deployments_policy_is_checked_tried_on_the_record_saved_exported_and_imported(
    instance: Instance, operator: dict[str, str], place: Place, policy_file: Path,
    tmp_path: Path, afterwards_none: None,
) -> None:  # fmt: skip
    deployed, (tenant, _, cli_owner) = ("--scope", "deployment"), place
    before = worka(instance, operator, "policy", "show", "governance", *deployed)["version"]
    export = str(tmp_path / "ledger.tar")
    assert instance.worka("audit", "export", export, **cli_owner).returncode == 0
    tried = worka(instance, operator, "policy", "save", str(policy_file), *deployed, "--dry-run")
    assert (tried["ok"], tried["would"], tried["base_version"]) == (True, "hold at once", before)
    assert "nothing was saved" in said(instance, operator, "policy", "save", str(policy_file), *deployed, "--dry-run")
    assert worka(instance, operator, "policy", "check", str(policy_file), *deployed)["difference"]
    worka(instance, operator, "policy", "diff", "governance", "--file", str(policy_file), *deployed, code=1)
    found = worka(instance, operator, "policy", "dry-run", str(policy_file), *deployed, "--tenant", tenant)
    (item,) = found["items"]
    assert (item["tenant_id"], item["scanned"] > 0) == (tenant, True)
    flips = {(row["action"], row["from"], row["to"]) for row in item["items"]}
    assert flips == {("audit.export", "allow", "deny")}
    everywhere = worka(instance, operator, "policy", "dry-run", str(policy_file), *deployed)
    assert tenant in {row["tenant_id"] for row in everywhere["items"]}
    text = said(instance, operator, "policy", "dry-run", str(policy_file), *deployed, "--tenant", tenant)
    assert "of 1 tenants would have been others" in text
    assert instance.worka("audit", "export", export, **cli_owner).returncode == 0, "tried, and not in force"

    saved = worka(instance, operator, "policy", "save", str(policy_file), *deployed, "--note", "a quiet day")
    assert (saved["version"], saved["scope"], saved["state"]) == (before + 1, "*", "in_force")
    refused = said(instance, cli_owner, "audit", "export", export, code=5)
    assert "Nobody exports evidence today." in refused
    (newest, *_) = worka(instance, operator, "policy", "list", *deployed)["versions"]
    assert (newest["version"], newest["note"]) == (before + 1, "a quiet day")
    assert worka(instance, cli_owner, "policy", "show", "governance", *deployed)["text"] == DENIES, "a tenant reads it"
    folder = tmp_path / "files"
    worka(instance, operator, "policy", "export", str(folder), *deployed)
    written = folder / "deployment" / "governance.cedar"
    assert written.read_bytes() == DENIES.encode()
    same = worka(instance, operator, "policy", "import", str(folder), *deployed)
    assert {row["would"] for row in same["items"]} == {"change nothing"}
    written.write_text(DENIES + "// and a comment\n")
    tried = worka(instance, operator, "policy", "import", str(folder), *deployed, "--dry-run")
    assert "hold at once" in {row["would"] for row in tried["items"]}
    worka(instance, operator, "policy", "import", str(folder), *deployed)
    assert worka(instance, operator, "policy", "show", "governance", *deployed)["version"] == before + 2
    assert worka(instance, operator, "policy", "show", "governance", *deployed, "--version", "0")["text"] == ""


@pytest.mark.capability("DOR-2", part="the deployment's policy, tried, saved, written to files and read back")
def test_who_is_no_operator_has_no_verb_over_the_deployment(
    instance: Instance, stage: Demo, cli_owner: dict[str, str], policy_file: Path, tmp_path: Path
) -> None:
    file, deployed = str(policy_file), ("--scope", "deployment")
    for words in (
        ("policy", "list", *deployed), ("policy", "save", file, *deployed), ("policy", "check", file, *deployed),
        ("policy", "save", file, *deployed, "--dry-run"), ("policy", "export", str(tmp_path), *deployed),
        ("policy", "dry-run", file, *deployed, "--tenant", stage.ids["tenant"]),
        ("kill", "list", "--tenant", stage.ids["tenant"]),
        ("kill", "on", "tenant", stage.ids["tenant"], "--tenant", stage.ids["tenant"], "--dry-run"),
    ):  # fmt: skip
        assert "may not" in said(instance, cli_owner, *words, code=5), words
    wrong = said(instance, cli_owner, "policy", "import", str(tmp_path), "--scope", "tenant", code=2)
    assert "deployment, or leave it out" in wrong


@pytest.mark.capability("GOV-15", part="by the deployment's operator, on the command line")
def test_a_kill_switch_over_a_tenant_is_tried_set_shown_and_lifted_by_its_operator_alone(
    instance: Instance, operator: dict[str, str], place: Place
) -> None:
    tenant, workspace, cli_owner = place
    over, target = ("--tenant", tenant), ("destination", "operators.worka.test")
    tried = worka(instance, operator, "kill", "on", *target, *over, "--dry-run")
    assert (tried["would"]["subject"], tried["counts"]["tasks"]) == ("operators.worka.test", 0)
    assert tried.keys() == {"would", "counts"}, "how much, and nothing of what it is"
    assert "nothing was stopped" in said(instance, operator, "kill", "on", *target, *over, "--dry-run")
    listed = worka(instance, operator, "kill", "list", *over)["items"]
    assert "operators.worka.test" not in {row["subject"] for row in listed}
    made = worka(instance, operator, "kill", "on", *target, *over, "--yes", "--reason", "abuse")
    assert (made["state"], made["by_operator"], made["workspace_id"]) == ("on", True, None)
    assert worka(instance, operator, "kill", "show", made["id"], *over)["reason"] == "abuse"
    lift = ("kill", "lift", made["id"], "--reason", "mended")
    said(instance, cli_owner, *lift, "--skip-trial", code=5)
    would = worka(instance, operator, *lift, *over, "--skip-trial", "--dry-run")
    assert (would["kill"]["state"], would["would"]["stage"]) == ("lifted", "all")
    assert worka(instance, operator, "kill", "show", made["id"], *over)["state"] == "on", "tried, and not lifted"
    said(instance, operator, *lift, *over, "--dry-run", code=7)
    trial = worka(instance, operator, *lift, *over, "--for", workspace)
    assert (trial["state"], trial["exempt"]) == ("trial", [workspace])
    assert worka(instance, operator, *lift, *over)["state"] == "lifted"
    assert "none of the last" in said(instance, operator, "kill", "show", "kill_x", *over, code=3)
