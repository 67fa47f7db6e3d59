"""A pack from its first file: every command of the way, in the real sandbox of this machine, without an instance."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.instance import worka_command

Said = subprocess.CompletedProcess[str]
Worka = Callable[..., Said]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def worka(tmp_path: Path) -> Worka:
    """`worka`, as somebody types it who has no instance and is signed in nowhere."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WORKA_") or key == "WORKA_BUILD_ID"}
    clean |= {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "c"),
        "WORKA_HOME": str(tmp_path / "h"),
        "CANARY": "x",
    }

    def run(*words: str, code: int = 0) -> Said:
        done = subprocess.run(
            [*worka_command(), *words],
            env=clean,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, f"{words} ended {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        assert "Traceback" not in done.stderr
        return done

    return run


def value(done: Said) -> Any:
    return json.loads(done.stdout)


@pytest.mark.capability("MAN-1", "MAN-2", part="from `pack init` to an archive")
def test_a_new_pack_is_checked_tested_called_and_built(worka: Worka, tmp_path: Path) -> None:
    assert value(worka("-o", "json", "pack", "init", "acme.first-one", "--dry-run"))["written"] is False
    assert not (tmp_path / "first-one").exists()
    worka("pack", "init", "acme.first-one")
    assert "something already" in worka("pack", "init", "acme.first-one", code=7).stderr
    assert value(worka("-o", "json", "pack", "check", "first-one")) | {"files": 0} == {
        "ok": True, "pack": "acme.first-one", "version": "0.1.0", "errors": [], "warnings": [], "files": 0, "sdk": True,
    }  # fmt: skip
    tested = value(worka("-o", "json", "pack", "test", "first-one"))
    assert tested["passed"]
    assert "Ran 2 tests" in tested["output"]
    called = value(worka("-o", "json", "pack", "run", "first-one", "count", "-a", '{"text": "one two"}'))
    assert (called["status"], called["structured"]) == ("ok", {"characters": 7, "words": 2, "lines": 1})
    assert called["isolation"]["driver"] == "bwrap"
    built = value(worka("-o", "json", "pack", "build", "first-one"))
    again = value(worka("-o", "json", "pack", "build", "first-one", "--out", "copy.worka.tar"))
    assert built["sha256"] == again["sha256"]
    assert {"worka_sdk/pack.py", "worka/aip.json"} <= set(built["files"])
    assert not any(name.startswith("tests") for name in built["files"])
    from_archive = value(worka("-o", "json", "pack", "run", "copy.worka.tar", "count", "-a", '{"text": "x"}'))
    assert from_archive["structured"]["words"] == 1
    assert not list(Path("/tmp").glob("worka-workshop-*")) or os.environ.get("PYTEST_XDIST_WORKER"), "nothing is left"


PROBE = """
import os, socket, unittest
from pathlib import Path


class Inside(unittest.TestCase):
    def test_no_network(self):
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", PORT), 2)

    def test_no_environment(self):
        self.assertNotIn("CANARY", os.environ)

    def test_no_file_of_the_machine(self):
        self.assertFalse(Path("CANARY_FILE").exists())

    def test_nothing_is_written_but_the_own_tmp(self):
        with self.assertRaises(OSError):
            Path(__file__).with_name("x").write_text("x")
        Path("/tmp/x").write_text("x")
"""


@pytest.mark.capability("RUN-1", part="a pack's tests are run in the sandbox too")
def test_the_tests_of_a_pack_run_without_network_environment_and_files_of_the_machine(
    worka: Worka, tmp_path: Path
) -> None:
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    canary = tmp_path / "canary"
    canary.write_text("here")
    worka("pack", "init", "acme.probe")
    text = PROBE.replace("PORT", str(listener.getsockname()[1])).replace("CANARY_FILE", str(canary))
    (tmp_path / "probe" / "tests" / "test_inside.py").write_text(text)
    assert "Ran 6 tests" in worka("pack", "test", "probe").stdout
    # The control: outside of the sandbox each of them fails.
    bare = subprocess.run(
        ["python3", "-m", "unittest", "test_inside"], cwd=tmp_path / "probe" / "tests", capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "CANARY": "x"}, check=False,
    )  # fmt: skip
    assert re.search(r"failures=\d, errors=\d|failures=[34]", bare.stderr), bare.stderr
    listener.close()
    (tmp_path / "probe" / "tests" / "test_fails.py").write_text("import unittest\n\n\nclass T(unittest.TestCase):\n"
                                                                "    def test_x(self):\n        self.fail('so')\n")  # fmt: skip
    assert "so" in worka("pack", "test", "probe", "-k", "test_x", code=1).stdout


def test_what_is_wrong_is_told_with_its_fix_and_nothing_of_it_runs(worka: Worka, tmp_path: Path) -> None:
    worka("pack", "init", "acme.wrong")
    place = tmp_path / "wrong" / "worka" / "aip.json"
    document = json.loads(place.read_text())
    place.write_text(json.dumps(document | {"version": "one", "migrations": "m", "sauce": 1}))
    said = worka("pack", "check", "wrong", code=2).stdout
    assert "/version" in said
    assert "did you mean source?" in said
    for verb in ("test", "run", "tools", "build", "release"):
        refused = worka("pack", verb, "wrong", code=2).stderr
        assert "/version" in refused
        assert "worka pack check" in refused
    place.write_text("{")
    assert "Correct the file" in worka("pack", "check", "wrong", code=2).stderr
    place.write_text('{"version": "1.0.0", "version": "2.0.0"}')
    assert "version" in worka("pack", "check", "wrong", code=2).stderr, "two readers would take two versions"
    assert "worka pack init" in worka("pack", "check", "nowhere", code=2).stderr


HANGS = """

@pack.tool(side_effect="read_only")
def hang() -> str:
    \"\"\"Hangs.\"\"\"
    import time

    time.sleep(600)
    return ""
"""


def test_whatever_ends_the_command_ends_the_pack_and_its_launcher(worka: Worka, tmp_path: Path) -> None:
    worka("pack", "init", "acme.hangs")
    module = tmp_path / "hangs" / "acme_hangs" / "tools.py"
    module.write_text(module.read_text() + HANGS)
    env = {**os.environ, "HOME": str(tmp_path), "WORKA_HOME": str(tmp_path / "h"), "TMPDIR": "/tmp"}
    running = subprocess.Popen(
        [*worka_command(), "pack", "run", "hangs", "hang"], env=env, cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        launcher = until(lambda: [p for p in children(running.pid) if "worka-workshop-" in said(p)])[0]
        home = re.search(r"/tmp/worka-workshop-[a-z0-9_]+", said(launcher))
        assert home
        until(lambda: [p for p in everybody() if "acme_hangs" in said(p)])
    finally:
        running.kill()
        running.wait()
    until(lambda: not [p for p in everybody() if home[0] in said(p) or "acme_hangs" in said(p)])
    shutil.rmtree(home[0], ignore_errors=True)


def everybody() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def said(pid: int) -> str:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    try:
        return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def until(what: Callable[[], Any]) -> Any:
    """What becomes true, looked at again and again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


NEW_TOOL = '''

@pack.tool(side_effect="write")
def shout(text: str) -> str:
    """Says it loudly."""
    print("a stray line")
    return text.upper()
'''


@pytest.mark.capability("TOL-1", part="an author compares and writes the tools")
def test_the_tools_are_compared_with_what_the_server_lists_and_written_on_request(worka: Worka, tmp_path: Path) -> None:
    worka("pack", "init", "acme.tools")
    module = tmp_path / "tools" / "acme_tools" / "tools.py"
    place = tmp_path / "tools" / "worka" / "aip.json"
    document = json.loads(place.read_text())
    document["tools"][0]["side_effect"] = "destructive"
    place.write_text(json.dumps(document))
    module.write_text(module.read_text() + NEW_TOOL)
    assert "shout" in worka("pack", "tools", "tools", code=1).stdout
    worka("pack", "tools", "tools", "--write", "--dry-run")
    assert json.loads(place.read_text()) == document
    worka("pack", "tools", "tools", "--write")
    classes = {tool["name"]: tool["side_effect"] for tool in json.loads(place.read_text())["tools"]}
    assert classes == {"count": "destructive", "shout": "write"}, "what a person wrote stays"
    assert value(worka("-o", "json", "pack", "tools", "tools"))["same"] is True
    called = worka("pack", "run", "tools", "shout", "-a", '{"text": "hé"}')
    assert called.stdout.strip() == "HÉ"
    assert "a stray line" in called.stderr
    assert "Did you mean shout?" in worka("pack", "run", "tools", "shuot", code=3).stderr
    assert "/text" in worka("pack", "run", "tools", "shout", "-a", '{"text": 5}', code=2).stderr
    module.write_text("raise SystemExit('it is broken')\n")
    assert "it is broken" in worka("pack", "run", "tools", code=1).stderr
