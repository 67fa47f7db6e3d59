"""What a process of ours holds in memory (keys, leases, other people's data) stays there, also when it crashes."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource

log = logging.getLogger("worka.memory")
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4
"""mlockall(2): what is mapped and what will be, each page as it is first used, so that nothing is held that is not used."""
_DUMPABLE = 4
"""prctl(2)"""
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def no_core_dumps() -> None:
    """From here on neither this process nor what it starts leaves a core dump.

    One byte is too little for a file, and, unlike nothing, it also keeps the kernel from running a collector (core(5)).
    """
    with contextlib.suppress(ValueError, OSError):
        # Only root may ask for more than it was given; whoever was given nothing has no dump either.
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def keep(lock: bool = True) -> bool:
    """For a process that holds keys: its memory is read by no other process of its user, and, with `lock`, never written to swap
    where the machine lets it. Whether it is locked; the doctor says what is in force."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)
    if not lock:
        return False
    # With a limit, locking all that will be mapped would make the process fail later: then nothing is locked.
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY and os.geteuid() != 0:
        log.warning("memory is not locked: RLIMIT_MEMLOCK is limited")
        return False
    if libc.mlockall(_CURRENT | _FUTURE | _ON_FAULT) != 0:
        log.warning("memory is not locked: %s", os.strerror(ctypes.get_errno()))
        return False
    return True


def let_lock(pid: int) -> None:
    """Lets another process lock its memory, where this one may allow that."""
    with contextlib.suppress(ValueError, OSError):
        resource.prlimit(pid, resource.RLIMIT_MEMLOCK, _UNLIMITED)
