"""Every command of `worka`, called wrongly: a documented exit code, one clear line with its remedy on stderr, no traceback."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.support.forks import Forks, forks
from tests.support.instance import Instance, worka_command
from worka.cli.commands import app

DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7}
LOCAL = {
    "version",
    "up",
    "down",
    "demo",
    "doctor",
    "config show",
    "login",
    "setup",
    "invitation accept",
    "database setup",
    "pack lock",
    *(f"pack {verb}" for verb in ("init", "check", "test", "run", "tools", "build", "release")),
    "registry root key",
    "registry root new",
    "registry root sign",
    "policy break-glass",
}
"""Commands that are not a call of the API; each has tests of its own."""
TEXT = {
    "workflow": "release-notes", "outcome": "failed", "name": "a.b.c", "arguments": "{}", "subject": "task_x", "value": "3",
    "settings": "{}", "document": "{}", "endpoint": "x.test:443",
}  # fmt: skip
NEVER = "7zzzzzzzzzzzzzzzzzzzzzzzzz"
PREFIX = {"task_id": "task", "approval_id": "apr", "release_id": "rel", "invocation_id": "inv", "view_id": "view",
          "decision_id": "dec", "attachment_id": "att", "kill_id": "kill", "secret_id": "sec", "grant_id": "grant", "reading_id": "srd",
          "token_id": "tok", "withdrawal_id": "wdr", "publication_id": "pub", "destination_id": "dst", "move_id": "mov",
          "before_id": "rel", "after_id": "rel", "trust_id": "ust", "exception_id": "nex"}  # fmt: skip
OPTION = {"batch": f"apr_{NEVER}", "most_uses": "3", "owner_email": "a@b.test"}
EXTRA = {
    "policy dry-run": ["access.cedar"],
    **{
        key: ["--reason", "r"]
        for key in (
            "pack detach",
            "pack revoke",
            "pack quarantine",
            "pack lift",
            "release lift",
            "kill on",
            "limits set",
            "limits clear",
            "release quarantine",
            "release revoke",
            "secret revoke",
        )
    },
    "connection register": ["--public"],
    "egress replay": ["--proposal", f"epr_{NEVER}"],
    "registry review": ["--note", "n"],
    "secret create": ["--generate"],
    "secret rotate": ["--generate", "--yes"],
    "secret destroy": ["--yes"],
    "treasury destroy-keys": ["--reason", "r"],
    "registry withdraw": ["--reason", "r"],
    "access list": ["--action", "task.create"],
    "approvals bypass open": ["--boundary", "pack.attach"],
    "webhook replay": ["--delivery", f"dlv_{NEVER}"],
    "person reset-second-factor": ["--code", "123456"],
    "team-member change": ["--pause"],
    **{key: ["--code", "123456"] for key in ("me step-up", "me second-factor recovery-codes", "me second-factor end")},
}
"""What a command wants though no parameter of it is required by itself."""


def commands() -> dict[str, Any]:
    """Every command by its words."""
    found: dict[str, Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[" ".join(words)] = command
            return
        for name, part in inner.items():
            walk(part, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


def wanted(command: Any) -> list[Any]:
    """What a command cannot do without."""
    return [p for p in command.params if p.required]


def arguments(called: str, command: Any, folder: Path) -> list[str]:
    """Right in shape, naming nothing that there is."""
    words: list[str] = []
    for parameter in wanted(command):
        name = parameter.name or ""
        value = f"{PREFIX[name]}_{NEVER}" if name in PREFIX else TEXT.get(name, "x")
        if name == "folder":
            value = str(folder)
        if name == "file":
            named = {"check": "access.cedar", "save": "access.cedar", "import": "osv.json"}
            value = str(folder / named.get(command.name, "out.tar"))
        if name == "kind":
            value = "release" if command.name == "on" else "access"
        given = OPTION.get(name, f"tmb_{NEVER}")
        words += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], given]
    return words + EXTRA.get(called, [])


def options(called: str, command: Any, folder: Path) -> list[str]:
    """Of these words, those that are no arguments."""
    words = arguments(called, command, folder)
    named = [p.opts[0] for p in wanted(command) if p.param_type_name != "argument"]
    return [part for name in named for part in words[words.index(name) : words.index(name) + 2]] + EXTRA.get(called, [])


def surroundings(folder: Path, **env: str) -> dict[str, str]:
    """The environment of a terminal in a home of its own."""
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith("WORKA_") or k in ("WORKA_BUILD_ID", "WORKA_PREFIX")
    }
    clean |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "WORKA_HOME": str(folder / "home")}
    return {**clean, **env}


def call(words: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, as a terminal starts it."""
    return subprocess.run(
        [*worka_command(), *words], env=surroundings(folder, **env), capture_output=True, text=True, timeout=60,
        check=False, cwd=folder, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def fault_of(done: subprocess.CompletedProcess[str], codes: set[int], remedy: str) -> str:
    """What is wrong with how a command failed; empty if nothing."""
    said = done.stderr
    if "Traceback" in said + done.stdout:
        return f"a traceback: {said[-400:]}"
    if done.returncode not in codes:
        return f"exit {done.returncode}, not one of {sorted(codes)}: {said[-300:]}"
    if remedy not in said:
        return f"no {remedy!r} on stderr: {said[-300:]!r}"
    return ""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """The program in memory, for every call of these tests that a terminal need not start for itself."""
    with forks(tmp_path_factory.mktemp("forks") / "said") as begun:
        yield begun


def all_of(
    program: Forks, calls: dict[str, tuple[list[str], dict[str, str]]], folder: Path, codes: set[int], remedy: str
) -> list[str]:
    """The faults of many calls, each forked from the program that is in memory already."""
    done = {name: program.call(words, folder, surroundings(folder, **env)) for name, (words, env) in calls.items()}
    return [f"{name}: {fault}" for name, answer in done.items() if (fault := fault_of(answer, codes, remedy))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A home of its own, with a pack's folder."""
    shutil.copytree(Path(__file__).resolve().parents[2] / "packs" / "git", tmp_path, dirs_exist_ok=True)
    (tmp_path / "osv.json").write_text('{"id": "OSV-1", "modified": "2026-01-01T00:00:00Z"}')
    (tmp_path / "tenant").mkdir()
    for text in (tmp_path / "access.cedar", tmp_path / "tenant" / "access.cedar"):
        text.write_text("")
    return tmp_path


def remote() -> dict[str, Any]:
    """The commands that call the API."""
    found = {name: command for name, command in commands().items() if name not in LOCAL}
    assert len(found) > 20
    return found


@pytest.mark.timeout(300)
@pytest.mark.capability("DOR-2", part="every command without its arguments says which one is missing")
def test_every_command_without_its_arguments_names_the_missing_one(program: Forks, folder: Path) -> None:
    calls = {name: (name.split(), {}) for name, command in commands().items() if wanted(command)}
    assert len(calls) > 12
    assert all_of(program, calls, folder, {2}, "Missing") == []
    # A group that answers by itself calls the API.
    groups = {" ".join(name.split()[:-1]) for name in commands() if " " in name} - {"me"}
    helped = {name: (name.split(), {}) for name in groups}
    assert all_of(program, helped, folder, {0, 2}, "") == []


@pytest.mark.timeout(300)
@pytest.mark.capability("DOR-2", part="every command without a server says how to start one")
def test_every_command_without_a_server_says_how_to_start_one(program: Forks, folder: Path) -> None:
    env = {"WORKA_URL": "http://127.0.0.1:9", "WORKA_TOKEN": "wks_x", "WORKA_WORKSPACE": f"ws_{NEVER}"}
    calls = {name: ([*name.split(), *arguments(name, command, folder)], env) for name, command in remote().items()}
    # `audit verify` of a file needs no server: without one it asks the platform.
    assert all_of(program, calls, folder, {1}, "worka up") == []


@pytest.mark.timeout(300)
@pytest.mark.capability("DOR-2", part="every command without a credential exits 4 and says how to sign in")
def test_every_command_of_somebody_who_is_not_signed_in_exits_4(
    instance: Instance, program: Forks, folder: Path
) -> None:
    env = {"WORKA_URL": instance.url, "WORKA_WORKSPACE": f"ws_{NEVER}"}
    calls = {name: ([*name.split(), *arguments(name, command, folder)], env) for name, command in remote().items()}
    assert all_of(program, calls, folder, {4}, "worka login") == []


@pytest.mark.timeout(300)
@pytest.mark.capability("DOR-2", part="an id that nobody has is exit 3, one that is none 2 or 3")
def test_every_command_with_an_id_of_nothing_exits_3(
    instance: Instance, program: Forks, folder: Path, cli_owner: dict[str, str]
) -> None:
    env = {"WORKA_URL": instance.url, **cli_owner}
    by_id = {
        name: command
        for name, command in remote().items()
        if any(p.name in PREFIX or p.name == "subject" for p in wanted(command))
    }
    assert len(by_id) > 10
    unknown = {name: ([*name.split(), *arguments(name, command, folder)], env) for name, command in by_id.items()}
    assert all_of(program, unknown, folder, {3}, "remedy") == []
    for bad in ("", "..", "a/b", "x?y=1", "x#y", "../../livez", "a" * 5000, "\u00e9\u0301", "-"):
        bent = {
            f"{name} {bad[:10]!r}": (
                [*name.split(), *options(name, command, folder), "--", *[
                    bad if word.endswith(NEVER) or word == "task_x" else word
                    for word in arguments(name, command, folder) if word not in options(name, command, folder)
                ]], env,
            )
            for name, command in list(by_id.items())[:: 4]
        }  # fmt: skip
        assert all_of(program, bent, folder, {2, 3}, "remedy") == [], bad[:20]


@pytest.mark.timeout(120)
def test_a_wrong_output_format_is_named_with_the_right_ones(program: Forks, folder: Path) -> None:
    calls = {name: (["--output", "xml", *name.split(), *arguments(name, command, folder)], {})
             for name, command in list(remote().items())[::3]}  # fmt: skip
    assert all_of(program, calls, folder, {2}, "json, ndjson, yaml") == []


@pytest.fixture
def stranger() -> Iterator[str]:
    """A web server that is no Worka."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path.endswith("me") else 404)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>" if self.path.endswith("me") else b"[1]")

        def log_message(self, *_: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_an_address_that_is_none_or_belongs_to_something_else_is_said(
    program: Forks, folder: Path, stranger: str
) -> None:
    found = {}
    for url in ("http://[bad", "nothing", "ftp://x.test", "http://127.0.0.1:99999", "http://nobody.invalid"):
        done = program.call(["me"], folder, surroundings(folder, WORKA_URL=url, WORKA_TOKEN="x"))
        found[url] = fault_of(done, {1, 2}, "remedy")
    for verb in (["me"], ["task", "show", f"task_{NEVER}"]):
        done = program.call(verb, folder, surroundings(folder, WORKA_URL=stranger, WORKA_TOKEN="x"))
        found[" ".join(verb)] = fault_of(done, {1, 3}, "not Worka")
    assert {url: fault for url, fault in found.items() if fault} == {}


def test_files_that_cannot_be_read_or_written_are_said(
    program: Forks, folder: Path, instance: Instance, cli_owner: dict[str, str]
) -> None:
    env = surroundings(folder, WORKA_URL=instance.url, **cli_owner)
    tries = [
        ("audit export /nonexistent/dir/ledger.tar", {1, 2}),
        ("audit verify /nonexistent/ledger.tar", {1, 2}),
        ("audit verify worka/aip.json", {1, 2}),
        ("pack register /nonexistent", {2}),
        (f"pack attach rel_{NEVER} --mount nonsense", {2}),
        ("tool call a.b.c --arguments @/nonexistent", {2}),
        ("tool call a.b.c --arguments [1]", {2}),
        ("tool call a.b.c --arguments {", {2}),
        (f"task create release-notes --member tmb_{NEVER} --input @/nonexistent", {2}),
        ("changes --since nonsense", {2}),
        ("changes --limit 0", {2}),
        ("changes --limit 99999999999999999999", {2}),
        ("nothing-like-it", {2}),
        ("task nothing-like-it", {2}),
        ("--nothing", {2}),
    ]
    found = [(words, fault_of(program.call(shlex.split(words), folder, env), codes, "")) for words, codes in tries]
    assert [(words, fault) for words, fault in found if fault] == []


def test_a_setting_that_is_none_is_named_with_the_nearest_one(folder: Path) -> None:
    done = call(["up"], folder, WORKA_HTTP__PROT="1")
    assert done.returncode == 1
    assert "WORKA_HTTP__PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_machine_output_of_a_failure_is_the_problem_itself(folder: Path) -> None:
    done = call(["--output", "json", "me"], folder, WORKA_URL="http://127.0.0.1:9", WORKA_TOKEN="x")
    assert json.loads(done.stdout)["code"] == "no_server"
    assert "worka up" in done.stderr


def test_a_reader_that_goes_away_is_no_error_of_ours(
    folder: Path, instance: Instance, cli_owner: dict[str, str]
) -> None:
    command = " ".join(map(shlex.quote, [*worka_command(), "me"]))
    done = subprocess.run(
        ["sh", "-c", f"{command} | true"], env={**os.environ, "WORKA_URL": instance.url, **cli_owner, "HOME": str(folder)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
