"""What the set-up says: progress in words on stderr, a failure as one line."""

from __future__ import annotations

import sys
import time

_started = time.monotonic()


class Failed(Exception):
    """The set-up cannot go on; the text is one line that names the remedy."""


def say(text: str) -> None:
    """One progress line on stderr, with the seconds since the start."""
    print(f"  set-up {time.monotonic() - _started:5.1f} s  {text}", file=sys.stderr, flush=True)
