"""Commands that start instances of their own, ended with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path


def run_to_its_end(
    command: list[str | Path], *, seconds: float, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs it in a process group of its own. However this ends, nothing of the group stays: an instance that outlived its
    test would slow down every test after it."""
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True
    )
    try:
        out, err = started.communicate(timeout=seconds)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(command, started.returncode, out, err)
