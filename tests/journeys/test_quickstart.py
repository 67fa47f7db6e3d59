"""README's first command, as a newcomer types it: a fresh clone, a new HOME, no environment, an empty data directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.database import reachable_directory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(420)
@pytest.mark.capability("OPS-1")
def test_the_quickstart_of_the_readme_runs_on_a_fresh_clone() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^make (\w+)", readme, flags=re.M)
    assert commands[:2] == ["demo", "test"]
    place = reachable_directory("quickstart-")
    try:
        clone = place / "worka"
        subprocess.run(["git", "-c", "safe.directory=*", "clone", "-q", str(ROOT), str(clone)], check=True)
        (place / "home").mkdir()
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(place / "home"),
            "WORKA_HOME": str(place / "data"),
            "WORKA_HTTP__PORT": "0",
            "DEMO_EXIT": "1",
        }
        # The machine's own registry settings may stand in the environment; they are part of the machine.
        env |= {key: value for key, value in os.environ.items() if key.startswith(("UV_", "PIP_", "SSL_CERT"))}
        env |= {"WORKA_PREFIX": os.environ["WORKA_PREFIX"]} if "WORKA_PREFIX" in os.environ else {}
        done = subprocess.run(
            ["make", commands[0]], cwd=clone, env=env, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        for number, stage in enumerate(
            ("people", "packs", "outside system", "approvals", "task", "refused road", "evidence"), 1
        ):
            assert f"{number}. {stage}" in done.stdout + done.stderr
        assert "How long each stage took" in done.stdout + done.stderr
    finally:
        shutil.rmtree(place, ignore_errors=True)
