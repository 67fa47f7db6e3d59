"""Names are looked up by the machine's resolver, and one tenant's slow names are no other tenant's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.capability("BRK-6", part="names whose servers keep silent")
def test_names_that_nobody_answers_for_hold_up_the_tenant_that_asks_for_them_and_no_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.broker.names", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["alone"] == ["93.184.216.34"], "the control: the resolver answers"
    assert found["slow_ended"] == 0, "the control: the others' names are still asked for"
    assert found["beside"] == found["alone"]
    assert found["seconds"] < 2
