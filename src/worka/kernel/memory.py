"""What a process of ours holds in memory (keys, leases, other people's data) stays there, also when it crashes."""

from __future__ import annotations

import contextlib
import resource


def no_core_dumps() -> None:
    """From here on neither this process nor what it starts leaves a core dump.

    One byte is too little for a file, and, unlike nothing, it also keeps the kernel from running a collector (core(5)).
    """
    with contextlib.suppress(ValueError, OSError):
        # Only root may ask for more than it was given; whoever was given nothing has no dump either.
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
