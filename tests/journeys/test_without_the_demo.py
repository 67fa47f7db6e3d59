"""README and the tutorial without the demo: from an empty home to a workspace that somebody owns, typed as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.journeys.test_newcomer import README, ROOT, TUTORIAL, commands
from tests.support.instance import Instance, make_instance, worka_command
from tests.support.terminal import at_a_terminal

pytestmark = pytest.mark.timeout(300)
WHO, PASSWORD = "you@example.org", "correct horse battery"
ASKED = "Password (10 characters or more)"


@pytest.fixture
def fresh() -> Iterator[Instance]:
    """A new instance that nobody was ever in, and a newcomer's own folder for logins."""
    made = make_instance("test-fresh-")
    made.env["XDG_CONFIG_HOME"] = str(made.home / "config-of-you")
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.home, ignore_errors=True)


def part(page: str, heading: str, folder: Path) -> list[str]:
    """The commands of one part of a page."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", (ROOT / page).read_text(), re.M | re.S)
    assert found, f"{page} has no part {heading!r}"
    alone = folder / "part.md"
    alone.write_text(found[1])
    return [" ".join(shlex.split(command, comments=True)) for command, _ in commands(alone)]


def said(instance: Instance, *words: str, code: int = 0, typed: str = "", **extra: str) -> str:
    """What a command prints, with lines of standard input."""
    done = subprocess.run(
        [*worka_command(), *words], input=typed, capture_output=True, text=True, timeout=120, check=False, cwd="/",
        env={**instance.env, **extra},
    )  # fmt: skip
    assert done.returncode == code, f"{words} ended {done.returncode}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


def sign_in_page(instance: Instance) -> str:
    return httpx.get(f"{instance.url}/sign-in", headers={"Accept": "text/html"}, trust_env=False).text


@pytest.mark.capability("OPS-1")
@pytest.mark.capability("IDN-18", part="the first operator, by command")
def test_without_the_demo_the_readme_and_the_tutorial_lead_to_a_workspace_of_ones_own(
    fresh: Instance, tmp_path: Path
) -> None:
    lines = part(TUTORIAL, "9. Without the demo", tmp_path)
    short = part(README, "Without the demo", tmp_path)
    assert [line for line in lines if line in short] == short, "README's commands stand in the tutorial, in this order"
    assert short[0] == "worka up"
    until = time.monotonic() + 20  # it is told once the door answers
    while "nobody is set up here yet" not in (fresh.home / "up.log").read_text() and time.monotonic() < until:
        time.sleep(0.1)
    assert "nobody is set up here yet" in (fresh.home / "up.log").read_text()
    assert "worka setup" in sign_in_page(fresh), "and at the console's door"
    assert "worka setup" in said(fresh, "login", "--email", WHO, code=4), "before a password is asked for"

    printed = ""
    for line in lines[1:]:
        words = line.split()
        assert words.pop(0) == "worka"
        if words == ["setup"]:
            answers = [
                ("E-mail", WHO),
                ("Name", "Yu Newcomer"),
                (ASKED, PASSWORD),
                ("Repeat for confirmation", PASSWORD),
            ]
        elif words == ["invitation", "accept"]:
            (token,) = set(re.findall(r"wki_[A-Za-z0-9_-]+", printed))
            answers = [
                ("Invitation (its link or token)", f"{fresh.url}/invitation?token={token}"),
                ("Password (a new one, or that of your account)", PASSWORD),
                ("Name (Enter, if you have an account)", ""),
            ]
        else:
            printed += said(fresh, *words)
            continue
        code, screen = at_a_terminal([*worka_command(), *words], answers, env=fresh.env)
        assert code == 0, screen
        if words == ["setup"]:
            assert "worka tenant create" in screen
            assert "worka tenant create" in said(fresh, "attention", code=2), "in no workspace yet: what comes next"
        assert PASSWORD not in screen
    assert "nobody was invited" in printed, "the dry run"
    me = json.loads(said(fresh, "-o", "json", "me"))
    assert (me["name"], me["operator"], [row["role"] for row in me["workspaces"]]) == ("Yu Newcomer", True, ["owner"])
    assert [row["slug"] for row in fresh.rows("select slug from worka.tenant where slug <> '_platform'")] == ["acme"]
    assert "worka setup" not in sign_in_page(fresh)
    assert not (fresh.home / "run" / "setup-token").exists()
    # Run again it says so; nobody comes in beside them, and the login that is kept is as it was.
    assert "was set up before" in said(fresh, "setup")
    assert json.loads(said(fresh, "-o", "json", "setup")) == {"done": False, "set_up": True}
    assert json.loads(said(fresh, "-o", "json", "me"))["id"] == me["id"]
    said(fresh, "login", "--email", WHO, typed=f"{PASSWORD}\n", WORKA_PASSWORD_STDIN="1")


@pytest.mark.capability("IDN-18", part="the first operator, by command")
def test_the_setup_reads_lines_too_sends_its_token_to_no_stranger_and_keeps_it_when_it_is_refused(
    fresh: Instance,
) -> None:
    lines = f"{WHO}\nYu\n{PASSWORD}\n"
    # The same instance by another name: whether it is the one whose token lies here cannot be told from the address.
    elsewhere = fresh.url.replace("127.0.0.1", "localhost")
    assert "--token -" in said(fresh, "--url", elsewhere, "setup", typed=lines, code=2)
    token = (fresh.home / "run" / "setup-token").read_text().strip()
    wrong = said(fresh, "--url", elsewhere, "setup", "--token", "-", typed=f"wkst_wrong\n{lines}", code=4)
    assert "worka login" in wrong
    assert "10 to 1,024" in said(fresh, "setup", typed=f"{WHO}\nYu\nshort\n", code=2)
    assert "no line for: Name" in said(fresh, "setup", typed=f"{WHO}\n", code=2)
    assert fresh.rows("select id from worka.person") == [], "nobody came in by any of these"
    said(fresh, "--url", elsewhere, "setup", "--token", "-", "--name", "Yu", typed=f"{token}\n{WHO}\n{PASSWORD}\n")
    me = json.loads(said(fresh, "-o", "json", "me"))
    assert (me["name"], me["operator"]) == ("Yu", True)
    assert "worka login" in said(fresh, "--url", elsewhere, "setup", "--token", "-", typed=f"{token}\n{lines}", code=4)
    assert len(fresh.rows("select id from worka.person")) == 1
