"""`python -m worka.workers.standby MODULE`: has loaded the code of a role, and waits for the word to become it.

Loading the door takes longer than all else that a new one does. A line on standard input is the word; its end means that
the supervisor is gone.
"""

from __future__ import annotations

import importlib
import os
import sys

from worka.kernel import memory


def main() -> None:
    """The process."""
    memory.no_core_dumps()
    name = sys.argv[1]
    role = importlib.import_module(name)
    if not sys.stdin.buffer.readline():
        return
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.argv = [name]
    role.main()


if __name__ == "__main__":
    main()
