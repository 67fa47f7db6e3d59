"""The strong tier: the pack on a kernel of its own, gVisor's `runsc`, in the namespaces and groups that every pack gets.

Nothing of it is written to the host: bundle and state lie in a small memory file system that only this mount namespace sees.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from worka.packs.sandbox.spec import CA_INSIDE, INSIDE_UID, LaunchSpec

Configured = Callable[[LaunchSpec, list[tuple[str, str]], str], dict[str, Any]]
"""From a spec, its binds (source, target) and the root's path to the configuration of an OCI runtime."""
_PLACES: Final = ("/mnt", "/srv", "/media", "/opt")
_MS_PRIVATE_ALL: Final = 0x40000 | 0x4000
FAILED: Final = 128  # runsc's exit code when it could not start the pack
# What runsc itself takes of its group, beside the pack: memory in MiB, and threads.
OWN_MEMORY, OWN_PROCESSES = 96, 96
_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None) -> None:
    given = [None if text is None else text.encode() for text in (source, target, kind, data)]
    if _libc.mount(given[0], given[1], given[2], flags, given[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {target}: {os.strerror(number)}")


def place(spec: LaunchSpec, others: tuple[str, ...] = ()) -> Path:
    """A folder of this machine that can be covered: nothing that the pack is given lies below it. Raises OSError."""
    taken = [spec.env_path, *(bind.source for bind in spec.binds), *others]
    for candidate in _PLACES:
        if os.path.isdir(candidate) and not any(path.startswith(candidate + "/") for path in taken):
            return Path(candidate)
    raise OSError(f"none of {', '.join(_PLACES)} is there and free for the pack's bundle")


def bundle(spec: LaunchSpec, etc: Path, where: Path, configured: Configured | None = None) -> None:
    """Covers `where` and writes the bundle there, configured for gVisor or by another. In a mount namespace of its own, as its
    root. Raises OSError."""
    _mount("none", "/", None, _MS_PRIVATE_ALL, None)
    _mount("tmpfs", str(where), "tmpfs", 0, "size=8m,mode=0755")
    root = where / "rootfs"
    mounts = [*((bind.source, bind.target) for bind in spec.binds), (str(etc), "/etc"), (spec.env_path, spec.env_path)]
    for source, target in mounts:
        point = Path(f"{root}{target}")
        if os.path.isdir(source):
            point.mkdir(parents=True, exist_ok=True)
        else:
            point.parent.mkdir(parents=True, exist_ok=True)
            point.touch()
    for name in ("usr", "proc", "dev", "tmp"):
        (root / name).mkdir(exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        host = f"/{name}"
        if os.path.islink(host):
            (root / name).symlink_to(os.readlink(host))
        elif os.path.isdir(host):
            (root / name).mkdir()
            mounts.append((host, host))
    (where / "state").mkdir(mode=0o700)
    (where / "config.json").write_text(json.dumps((configured or config)(spec, mounts, str(root))))


def config(spec: LaunchSpec, binds: list[tuple[str, str]], root: str) -> dict[str, Any]:
    """The OCI runtime configuration: the same world as bubblewrap's, no capabilities, all read-only but /tmp."""
    limits = spec.limits
    files = {"hard": limits.files, "soft": limits.files}
    return {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": False,
            "user": {"uid": INSIDE_UID, "gid": INSIDE_UID},
            "args": spec.command,
            "env": [f"{name}={value}" for name, value in spec.env.items()],
            "cwd": "/tmp",  # noqa: S108 - the sandbox's own
            "noNewPrivileges": True,
            "capabilities": {},
            "rlimits": [{"type": "RLIMIT_NOFILE", **files}],
        },
        "root": {"path": root, "readonly": True},
        "hostname": "pack",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["size=1048576", "mode=755"]},
            {
                "destination": "/tmp",  # noqa: S108
                "type": "tmpfs",
                "source": "tmpfs",
                "options": [f"size={limits.disk_mb * 1024 * 1024}", "mode=1777"],
            },
            *(
                {"destination": target, "type": "bind", "source": source, "options": ["ro", "rbind"]}
                for source, target in [("/usr", "/usr"), *binds]
                if target != CA_INSIDE or os.path.exists(source)
            ),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }


def arguments(where: Path, *, network: bool) -> list[str]:
    """The command line of runsc. `network`: the pack's own network namespace, whose doors the broker holds; else none."""
    return [
        "runsc", "--rootless", "--ignore-cgroups", "--platform=ptrace", f"--network={'host' if network else 'none'}",
        f"--root={where / 'state'}", "run", f"--bundle={where}", "pack",
    ]  # fmt: skip
