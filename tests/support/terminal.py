"""A command at a terminal of its own, as somebody types at it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence


def at_a_terminal(
    command: Sequence[str], answers: Sequence[tuple[str, str]], *, env: dict[str, str], seconds: float = 60
) -> tuple[int, str]:
    """Runs it and answers each prompt when it is there, in order; (exit code, what stood on the screen)."""
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd="/", start_new_session=True
    )
    os.close(theirs)
    screen, read_to, left = "", 0, list(answers)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([ours], [], [], 0.2)
            if ready:
                try:
                    got = os.read(ours, 65536)
                except OSError:  # the other end was closed: the command has ended
                    break
                screen += got.decode(errors="replace")
            # With its colon and the blank after it: only then has a hidden prompt thrown away what was typed before.
            if left and (place := screen.find(f"{left[0][0]}: ", read_to)) >= 0:
                read_to = place + 1
                os.write(ours, f"{left.pop(0)[1]}\n".encode())
        code = started.wait(max(1.0, deadline - time.monotonic()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        started.wait()
        os.close(ours)
    assert not left, f"never asked for {left[0][0]}:\n{screen}"
    return code, screen
