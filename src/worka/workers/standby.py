"""`python -m worka.workers.standby MODULE`: has loaded the code of a role, and waits for the word to become it.

Loading the door takes longer than all else that a new one does. A line on standard input is the word; its end means that
the supervisor is gone.
"""

from __future__ import annotations

import os
import sys

from worka.workers.role import load


def main() -> None:
    """The process."""
    name = sys.argv[1]
    role = load(name)
    if not sys.stdin.buffer.readline():
        return
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.argv = [name]
    role.main()


if __name__ == "__main__":
    main()
