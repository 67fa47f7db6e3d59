"""A test's own program in a process of its own, which a failpoint may kill: what a killed process leaves is real."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PIPE = asyncio.subprocess.PIPE


async def start(program: str, failpoint: str | None = None) -> asyncio.subprocess.Process:
    """The text of a program, begun: it can import what this process can, and the tests. All its streams are pipes."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("WORKA_FAILPOINT")}
    env["WORKA_TESTING"] = "1"
    env["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT), *filter(None, sys.path)])
    if failpoint:
        env["WORKA_FAILPOINT"] = failpoint
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=env
    )


async def ran(program: str, told: dict[str, Any], failpoint: str | None = None) -> int:
    """Runs a program that reads what it is told, as JSON, from its standard input. 0, or -SIGKILL if it was killed."""
    child = await start(program, failpoint)
    _, wrong = await child.communicate(json.dumps(told).encode())
    return ended(child, wrong)


def ended(child: asyncio.subprocess.Process, wrong: bytes) -> int:
    """How it ended: 0 or -SIGKILL. Anything else is a failure of the test, told with what it wrote to standard error."""
    assert child.returncode in (0, -signal.SIGKILL), wrong.decode()[-4000:]
    return child.returncode or 0
