"""Several people at one terminal, and what a person reads there."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.instance import Instance
from worka.cli.demo import Demo


def keep(stage: Demo, instance: Instance, folder: Path, name: str, token: str) -> None:
    done = instance.worka(
        "--url", instance.url, "--login", name, "login", "--with-token", token, XDG_CONFIG_HOME=str(folder)
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.capability("DOR-2", part="named logins")
def test_named_logins_are_kept_apart_and_readable_by_their_user_alone(
    instance: Instance, stage: Demo, tmp_path: Path
) -> None:
    keep(stage, instance, tmp_path, "olga", str(stage.owner.token))
    keep(stage, instance, tmp_path, "arno", str(stage.approver.token))
    names = {}
    for name in ("olga", "arno"):
        done = instance.worka("--login", name, "-o", "json", "me", XDG_CONFIG_HOME=str(tmp_path))
        names[name] = json.loads(done.stdout)["name"]
        mode = stat.S_IMODE(os.stat(tmp_path / "worka" / f"login-{name}.json").st_mode)
        assert mode == 0o600
    assert names == {"olga": "Olga Owner", "arno": "Arno Approver"}


@pytest.mark.capability("DOR-2", part="named logins")
@pytest.mark.parametrize(("name", "code"), [("nobody", 4), ("../escape", 2), ("A", 2)])
def test_a_login_that_was_never_saved_is_named_and_no_name_leaves_the_folder(
    instance: Instance, tmp_path: Path, name: str, code: int
) -> None:
    done = instance.worka("--login", name, "me", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == code
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_ids_in_a_list_are_whole_words_also_on_a_narrow_page(instance: Instance, stage: Demo, tmp_path: Path) -> None:
    keep(stage, instance, tmp_path, "olga", str(stage.owner.token))
    done = instance.worka("--login", "olga", "pack", "list", XDG_CONFIG_HOME=str(tmp_path), COLUMNS="80")
    for release in stage.releases.values():
        assert release["id"] in done.stdout


@pytest.mark.capability("DOR-2", part="the member of a task by name")
def test_a_task_takes_the_only_team_member_or_one_by_name_and_says_who_there_is(
    instance: Instance, stage: Demo, tmp_path: Path
) -> None:
    keep(stage, instance, tmp_path, "olga", str(stage.owner.token))
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    create = ["--login", "olga", "-o", "json", "task", "create", "release-notes", "--input", '{"repository": "pier"}']
    by_name: dict[str, Any] = json.loads(instance.worka(*create, "--member", "Rhea", **environment).stdout)
    assert by_name["member_id"] == stage.ids["member"]
    nobody = instance.worka(*create, "--member", "Rheo", **environment)
    assert nobody.returncode == 3
    assert f"Rhea ({stage.ids['member']})" in nobody.stderr
    instance.worka("--login", "olga", "task", "cancel", by_name["id"], **environment)


def test_down_on_a_home_where_nothing_runs_says_so(instance: Instance, tmp_path: Path) -> None:
    done = instance.worka("down", WORKA_HOME=str(tmp_path))
    assert done.returncode == 0
    assert "nothing runs" in done.stderr


@pytest.mark.capability("APR-6", part="the card on the command line")
def test_the_card_on_the_command_line_shows_the_call_who_may_and_why_this_reader_may_not(
    instance: Instance, stage: Demo, tmp_path: Path
) -> None:
    keep(stage, instance, tmp_path, "olga", str(stage.owner.token))
    keep(stage, instance, tmp_path, "arno", str(stage.approver.token))
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    create = ["--login", "olga", "-o", "json", "task", "create", "release-notes", "--input", '{"repository": "mole"}']
    task = json.loads(instance.worka(*create, "--wait", **environment).stdout)
    approval = next(wait["ref"] for wait in task["waits"] if wait["kind"] == "approval")
    card = stage.owner.get(f"/v1/approvals/{approval}")
    shown = {
        name: instance.worka("--login", name, "approvals", "show", approval, **environment).stdout
        for name in ("olga", "arno")
    }
    for text in shown.values():
        assert card["digest"] in text
        assert "worka.notes.publish_notes" in text
        assert f"blocks    task Release notes of mole ({task['id']})" in text
        assert "who can   Arno Approver" in text
    assert f"you cannot: {card['eligibility']['because']}" in shown["olga"]
    assert "you can: " in shown["arno"]
    assert f"worka approvals approve {approval}" in shown["arno"]
    instance.worka("--login", "olga", "task", "cancel", task["id"], **environment)


@pytest.mark.parametrize(
    ("package", "code", "said"),
    [
        ({"ecosystem": "pypi", "name": "mcp-server-time", "version": "2026.10.19"}, 0, "packages, by their hashes"),
        ({"ecosystem": "pypi", "name": "mcp-server-time", "version": "0.0.0.1"}, 1, "mcp-server-time==0.0.0.1"),
        ({"ecosystem": "path", "name": "own", "version": "1.0.0"}, 2, "names no package to lock"),
    ],
)
def test_pack_lock_pins_by_hash_and_says_what_it_cannot_resolve(
    instance: Instance, tmp_path: Path, package: dict[str, str], code: int, said: str
) -> None:
    (tmp_path / "worka").mkdir()
    runtime = {"transport": "stdio", "package": package} | ({"command": ["own"]} if code == 2 else {})
    manifest = {
        "schema_version": "worka.aip.v1", "publisher": "acme", "name": "own", "version": "1.0.0", "display_name": "Own",
        "description": "For tests.", "runtime": runtime, "tools": "discover",
    }  # fmt: skip
    (tmp_path / "worka" / "aip.json").write_text(json.dumps(manifest))
    done = instance.worka("pack", "lock", str(tmp_path))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    lock = tmp_path / "requirements.lock"
    assert lock.exists() == (code == 0)
    if code == 0:
        pins = [line for line in lock.read_text().splitlines() if "==" in line]
        assert any(line.startswith("mcp-server-time==2026.10.19") for line in pins)
        assert lock.read_text().count("--hash=sha256:") >= len(pins)
        assert "://" not in lock.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "xml", "me"], "text, json, ndjson, yaml"),
        (["task", "create", "release-notes", "--input", "[1]"], "JSON object"),
        (["task", "create", "release-notes", "--input", "@missing.json"], "missing.json"),
    ],
)
def test_a_wrong_option_is_a_usage_error_in_one_line(instance: Instance, arguments: list[str], said: str) -> None:
    done = instance.worka(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_every_variable_that_the_command_line_takes_is_one_that_a_process_may_be_started_with() -> None:
    """They stand in the same environment: `export WORKA_LOGIN=…` must not keep `worka up` or `worka doctor` from working."""
    import typer

    from worka.cli.commands import app
    from worka.kernel.settings import load

    root = typer.main.get_command(app)
    taken = {name for option in root.params for name in ([option.envvar] if isinstance(option.envvar, str) else [])}
    assert "WORKA_LOGIN" in taken
    load({"WORKA_HOME": "/nonexistent", **dict.fromkeys(taken | {"WORKA_ADMIN_URL"}, "x")})
