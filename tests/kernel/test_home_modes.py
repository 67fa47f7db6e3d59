"""What another user of the machine can read of a running WORKA_HOME, tried as that user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.instance import Instance

pytestmark = pytest.mark.timeout(420)
NOBODY = 65534
# Tries every path as a user who is nobody here: what could be read, listed, written or connected to.
TRY = """
import json, os, socket, stat, sys
found = {"read": [], "listed": [], "connected": [], "written": []}
for path in json.load(sys.stdin):
    try:
        kind = os.lstat(path).st_mode
        if stat.S_ISDIR(kind):
            os.listdir(path); found["listed"].append(path)
        elif stat.S_ISREG(kind):
            open(path, "rb").close(); found["read"].append(path)
        elif stat.S_ISSOCK(kind):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(2); s.connect(path); found["connected"].append(path)
    except OSError:
        pass
    if os.access(path, os.W_OK):
        found["written"].append(path)
print(json.dumps(found))
"""
OPEN_FILES = {
    "run/instance.json": "the address of the console: whoever may use the machine may know it",
    "run/processes.json": "which processes run, and since when",
    "up.log": "the tests' own file",
}
OPEN_FOLDERS = {
    "envs": "packs run as users of their own and must read their environments; they hold no secret",
    "sandbox/etc": "the /etc of every sandbox",
    "failpoints": "the tests' own folder",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
def test_another_user_of_the_machine_reads_no_key_no_token_no_log_and_no_row(instance: Instance, stage: object) -> None:
    home = instance.home
    everything = [str(path) for path in home.rglob("*")]
    assert {"keys", "admin", "run", "pg", "objects", "log", "clones", "sessions"} <= {p.name for p in home.iterdir()}
    done = subprocess.run(
        [sys.executable, "-I", "-c", TRY], input=json.dumps(everything), capture_output=True, text=True, check=True,
        user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", timeout=60,
    )  # fmt: skip
    found = {
        kind: {str(Path(path).relative_to(home)) for path in paths} for kind, paths in json.loads(done.stdout).items()
    }
    assert "run/instance.json" in found["read"], "the control: what is open was read"
    within = tuple(f"{folder}/" for folder in OPEN_FOLDERS)
    # A clone is read by its attachment's user, a bundle of certificates by its session's; nobody else learns their names:
    # the folders of all clones and of all sessions cannot be listed.
    clones = {path for path in found["read"] if path.startswith("clones/") or path.endswith("/ca.pem")}
    assert not {path for path in found["listed"] if path in ("clones", "sessions", "run", "keys", "admin", "pg", "log")}
    surprising = {path for path in found["read"] - clones if path not in OPEN_FILES and not path.startswith(within)}
    assert surprising == set()
    assert found["connected"] == set()
    assert {path for path in found["written"] if not path.startswith("failpoints")} == set()


@pytest.mark.parametrize("name", ["keys/master.key", "keys/seal.ed25519", "admin/database.json", "run/database.json"])
def test_a_key_or_a_password_is_for_its_one_user(instance: Instance, name: str) -> None:
    assert (instance.home / name).stat().st_mode & 0o077 == 0
