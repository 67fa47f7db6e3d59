"""A container engine's runtime in place of bubblewrap: `runc`, with the files, limits and groups that every pack gets.

An OCI runtime is told in a bundle what bubblewrap is told in options. It runs in the namespaces that the launcher's child has
made, as the pack's uid and in its control groups, and makes the others; it needs no daemon, no image and no root.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from worka.packs.sandbox import gvisor, seccomp
from worka.packs.sandbox.spec import LaunchSpec

PROGRAM: Final = "runc"
OWN_PROCESSES: Final = 16
"""Threads of the runtime itself, in the pack's group."""
OWN_MEMORY: Final = 32
"""MiB that it takes of the group."""
INSIDE: Final = 0
"""Who the pack thinks it is: the one uid of the namespace, without any capability."""
_LAST_WITH_PARENT: Final = ("/usr/bin/setpriv", "--pdeathsig", "KILL", "--")
_HIDDEN: Final = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/proc/scsi")
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def config(spec: LaunchSpec, binds: list[tuple[str, str]], root: str) -> dict[str, Any]:
    """The OCI runtime configuration: gVisor's, with what the host's kernel has to be told besides."""
    found = gvisor.config(spec, binds, root)
    process, limits = found["process"], spec.limits
    process["user"] = {"uid": INSIDE, "gid": INSIDE}
    # Whoever kills the runtime kills the pack: it is not the runtime's child for nothing.
    process["args"] = [*_LAST_WITH_PARENT, *spec.command]
    bounds = {
        "RLIMIT_CORE": 1,
        "RLIMIT_NOFILE": limits.files,
        "RLIMIT_FSIZE": limits.disk_mb * 1024 * 1024,
        "RLIMIT_CPU": limits.cpu_seconds,
    }
    process["rlimits"] = [{"type": name, "hard": value, "soft": value} for name, value in bounds.items()]
    shared = {"destination": "/dev/shm", "type": "tmpfs", "source": "tmpfs", "options": ["size=1048576", "mode=1777"]}  # noqa: S108
    found["mounts"].insert(2, shared)
    found["linux"] = {
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "cgroup")],
        "seccomp": seccomp.rules(),
        "maskedPaths": list(_HIDDEN),
        "readonlyPaths": list(_READ_ONLY),
    }
    return found


def arguments(where: Path, log: int) -> list[str]:
    """The command line of runc; what it cannot do it says as JSON to the descriptor `log`."""
    return [
        PROGRAM, f"--root={where / 'state'}", f"--log=/proc/self/fd/{log}", "--log-format=json", "run",
        f"--bundle={where}", "pack",
    ]  # fmt: skip
