"""README, the tutorial and two how-to pages, as a newcomer types them: a fresh clone, a new HOME, no environment, empty data."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.database import reachable_directory

ROOT = Path(__file__).resolve().parents[2]
README, TUTORIAL = "README.md", "docs/tutorials/first-governed-task.md"
HOW_TO, GOVERNANCE = "docs/how-to/attach-a-third-party-server.md", "docs/how-to/pack-governance.md"
STAGES = ("people", "packs", "outside system", "approvals", "task", "refused road", "evidence")
PLACEHOLDER = re.compile(r"\b([a-z]+)_…")
REFUSED = re.compile(r"\s+# exit code (\d+)$")

pytestmark = pytest.mark.timeout(600)


@dataclass
class Shell:
    """One shell of a newcomer: it keeps its variables from line to line, and pastes ids that it has seen."""

    folder: Path
    env: dict[str, str]
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # The lines come by a pipe of their own: what a command reads from its standard input is not the next command.
        lines, typed = os.pipe()
        self.keyboard = os.fdopen(typed, "w")
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", f"/dev/fd/{lines}"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[lines],
        )
        os.close(lines)

    def paste(self, command: str) -> str:
        """The command with `task_…` and the like filled in: the first id of that kind in the newest output with one."""

        def known(match: re.Match[str]) -> str:
            for output in reversed(self.said):
                if found := re.search(rf"\b{match[1]}_[0-9a-hjkmnp-tv-z]{{26}}\b", output):
                    return found[0]
            raise AssertionError(f"{command}: no output so far shows an id of the kind {match[1]}")

        return PLACEHOLDER.sub(known, command)

    def type(self, command: str) -> tuple[int, str]:
        """Runs one command; its exit code and what it printed."""
        assert self.process.stdout is not None
        mark = uuid.uuid4().hex
        self.keyboard.write(f"{self.paste(command)}\nprintf '\\n%s %s\\n' {mark} $?\n")
        self.keyboard.flush()
        lines: list[str] = []
        for line in self.process.stdout:
            if line.startswith(mark):
                self.said.append("".join(lines))
                return int(line.split()[1]), self.said[-1]
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(lines)[-3000:]}")

    def follow(self, page: str, until: str = "") -> str:
        """Types every command of the page's blocks (`until` excluded); each must end with the code that the page names, or 0."""
        printed = ""
        for command, expected in commands(self.folder / page):
            if command == until:
                break
            code, output = self.type(command)
            assert code == expected, f"{page}: {command}\nended {code}, not {expected}:\n{output[-3000:]}"
            assert "Traceback" not in output, output[-3000:]
            printed += output
        return printed


def commands(page: Path) -> Iterator[tuple[str, int]]:
    """(command, exit code) of each `sh` block of a page; a here-document is one command."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), flags=re.M | re.S):
        lines = iter(block.splitlines())
        for line in lines:
            refused = REFUSED.search(line)
            command = REFUSED.sub("", line)
            if here := re.search(r"<<'(\w+)'$", command):
                for inner in lines:
                    command += f"\n{inner}"
                    if inner == here[1]:
                        break
            if command.strip():
                yield command, int(refused[1]) if refused else 0


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Shell]:
    """A shell in a fresh clone, with nothing of this machine but its registries' settings."""
    place = reachable_directory("newcomer-")
    clone = place / "worka"
    subprocess.run(["git", "-c", "safe.directory=*", "clone", "-q", str(ROOT), str(clone)], check=True)
    (place / "home").mkdir()
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(place / "home"),
        "WORKA_HOME": str(place / "data"),
        "WORKA_HTTP__PORT": "0",
        # A subset, so that the suite does not run itself: the command stays as it is typed.
        "PYTEST_ADDOPTS": "tests/broker/test_rules.py tests/approvals/test_rules.py",
    }
    env |= {key: value for key, value in os.environ.items() if key.startswith(("UV_", "PIP_", "SSL_CERT"))}
    env |= {"WORKA_PREFIX": os.environ["WORKA_PREFIX"]} if "WORKA_PREFIX" in os.environ else {}
    shell = Shell(clone, env)
    try:
        yield shell
    finally:
        shell.process.kill()
        shell.process.wait()
        shell.keyboard.close()
        subprocess.run(["bash", "-c", '"$(scripts/setup)" down'], cwd=clone, env=env, capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.capability("OPS-1")
def test_the_tutorial_runs_as_it_is_written_and_the_how_to_after_it(newcomer: Shell) -> None:
    assert next(commands(ROOT / TUTORIAL)) == (readme_commands()[0], 0)
    printed = newcomer.follow(TUTORIAL, until="worka down")
    for number, stage in enumerate(STAGES, 1):
        assert f"{number}. {stage}" in printed
    assert "four eyes" in printed
    assert "undeclared_destination" in printed
    attached = newcomer.follow(HOW_TO)
    assert "Europe/Berlin" in attached
    assert "tool_error" in attached
    governed = newcomer.follow(GOVERNANCE)
    assert "What breaks if it is revoked?" in governed
    assert "harbour.time was quarantined by Olga Owner" in governed
    code, output = newcomer.type("worka down")
    assert (code, "stopped" in output) == (0, True), output
    deadline = time.monotonic() + 20  # the tracker looks each second whether its instance is gone
    while (left := left_of(newcomer)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left == [], "what the demo started outlived `worka down`"


def left_of(shell: Shell) -> list[str]:
    """Processes that were started in a newcomer's place or for it, but for the shell itself."""
    place, found = str(shell.folder.parent).encode(), []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and int(folder.name) != shell.process.pid:
                words = (folder / "cmdline").read_bytes()
                if place in words + (folder / "environ").read_bytes():
                    found.append(words.decode(errors="replace").replace("\0", " "))
    return found


def readme_commands() -> list[str]:
    """README's two commands."""
    return re.findall(r"^(make \w+)", (ROOT / README).read_text(), flags=re.M)


@pytest.mark.capability("OPS-1")
def test_the_second_command_of_the_readme_sets_up_and_passes(newcomer: Shell) -> None:
    two = readme_commands()
    assert two[:2] == ["make demo", "make test"]
    code, output = newcomer.type(two[1])
    assert code == 0, output[-3000:]
    assert re.search(r"\d+ passed", output)
