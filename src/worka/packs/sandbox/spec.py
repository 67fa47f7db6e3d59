"""What the launcher is asked for, checked, and the bubblewrap arguments made of it.

The launcher keeps root, so it believes nothing: a uid outside the reserved range, a path outside the folders of this
WORKA_HOME or an unknown field is refused, whoever asks.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from worka.packs.sandbox.tiers import RUNTIMES, TIERS

UID_RANGE = 65_536
INSIDE_UID = 1000  # who the pack thinks it is
CA_INSIDE = "/run/worka/ca.pem"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SYSTEM = (
    "/usr",
    "/etc",
    "/proc",
    "/dev",
    "/sys",
    "/run",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/tmp",  # noqa: S108  (inside the sandbox: its own private /tmp)
)
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class SpecRefused(Exception):
    """The launcher does not start this; the text says which field is wrong."""


@dataclass(frozen=True)
class Limits:
    """`cpus` is a share of processors; `cpu_seconds` is processor time of one process over its life."""

    memory_mb: int = 512
    cpu_seconds: int = 600
    processes: int = 64
    files: int = 256
    disk_mb: int = 64
    cpus: float = 1.0

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Limits:
        """From the session's `limits`; values outside the bounds are refused, unknown ones belong to the host."""
        bounds = {
            "memory_mb": (16, 65_536),
            "cpu_seconds": (1, 86_400),
            "processes": (1, 4096),
            "files": (16, 65_536),
            "disk_mb": (1, 65_536),
            "cpus": (0.05, 64),
        }
        values: dict[str, Any] = {}
        for name, (low, high) in bounds.items():
            value = raw.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise SpecRefused(f"limits.{name} must be a number from {low} to {high}")
            values[name] = float(value) if name == "cpus" else int(value)
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """For the record of an invocation."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Bind:
    """A folder or file of the host that the pack sees, read-only."""

    source: str
    target: str


@dataclass(frozen=True)
class LaunchSpec:
    """One checked request."""

    session_id: str
    token: str
    uid: int
    command: list[str]
    env: dict[str, str]
    env_path: str
    binds: list[Bind]
    limits: Limits
    network: bool
    isolation: str = "shared"
    """The tier that it needs at least (`tiers.py`)."""
    runtime: str = "sandbox"
    """What starts it (`tiers.RUNTIMES`)."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def of(cls, told: dict[str, Any]) -> LaunchSpec:
        """From `as_dict`, between processes of the launcher: checked already."""
        return cls(**told | {"binds": [Bind(**bind) for bind in told["binds"]], "limits": Limits(**told["limits"])})


@dataclass(frozen=True)
class Allowed:
    """What this launcher may touch: set by its command line, never by a request."""

    home: Path
    uid_base: int
    mount_roots: tuple[Path, ...] = ()
    runtime_roots: tuple[Path, ...] = field(default=())


def read(raw: Any, allowed: Allowed) -> LaunchSpec:
    """Checks a request. Raises SpecRefused."""
    if not isinstance(raw, dict):
        raise SpecRefused("the request is not an object")
    session_id = raw.get("session_id")
    if not isinstance(session_id, str) or not _SESSION.match(session_id):
        raise SpecRefused("session_id is missing or not a plain name")
    uid = raw.get("uid")
    if not isinstance(uid, int) or isinstance(uid, bool):
        raise SpecRefused("uid is not a number")
    if os.geteuid() == 0 and not allowed.uid_base <= uid < allowed.uid_base + UID_RANGE:
        raise SpecRefused(f"uid {uid} is outside the range reserved for attachments")
    command = raw.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise SpecRefused("command is not a list of texts")
    env = raw.get("env") or {}
    if not isinstance(env, dict) or not all(
        isinstance(key, str) and _NAME.match(key) and isinstance(value, str) for key, value in env.items()
    ):
        raise SpecRefused("env is not a map of names to texts")
    if any("\0" in text for text in [*command, *env.values()]):
        raise SpecRefused("a text holds a NUL byte")
    isolation = raw.get("isolation", "shared")
    if isolation not in TIERS:
        raise SpecRefused(f"isolation is not one of {', '.join(TIERS)}")
    runtime = raw.get("runtime", RUNTIMES[0])
    if runtime not in RUNTIMES:
        raise SpecRefused(f"runtime is not one of {', '.join(RUNTIMES)}")
    home = allowed.home
    env_path = inside(raw.get("env_path"), (home / "envs",), "env_path")
    binds = [_mount(item, (home / "clones", *allowed.mount_roots)) for item in raw.get("mounts") or []]
    if raw.get("ca_bundle_path"):
        binds.append(Bind(inside(raw["ca_bundle_path"], (home / "sessions",), "ca_bundle_path"), CA_INSIDE))
    for root in raw.get("runtime_roots") or []:
        path = inside(root, allowed.runtime_roots, "runtime_roots", itself=True)
        binds.append(Bind(path, path))
    return LaunchSpec(
        session_id=session_id,
        token=str(raw.get("token") or ""),
        uid=uid,
        command=command,
        env=env,
        env_path=env_path,
        binds=binds,
        limits=Limits.read(dict(raw.get("limits") or {})),
        network=raw.get("network") is True,
        isolation=isolation,
        runtime=runtime,
    )


def inside(value: Any, roots: tuple[Path, ...], what: str, *, itself: bool = False) -> str:
    """The path with every link resolved, if it exists below one of the roots. Raises SpecRefused."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise SpecRefused(f"{what} is not an absolute path")
    real = Path(os.path.realpath(value))
    for root in roots:
        base = Path(os.path.realpath(root))
        if base in real.parents or (itself and real == base):
            if not real.exists():
                raise SpecRefused(f"{what} {value} does not exist")
            return str(real)
    raise SpecRefused(f"{what} {value} is outside the folders that a pack may see")


def _mount(item: Any, roots: tuple[Path, ...]) -> Bind:
    if not isinstance(item, dict):
        raise SpecRefused("a mount is not an object")
    target = item.get("target")
    if not isinstance(target, str) or os.path.normpath(target) != target or not target.startswith("/"):
        raise SpecRefused("a mount's target is not a plain absolute path")
    if target == "/" or any(target == path or target.startswith(path + "/") for path in _SYSTEM):
        raise SpecRefused(f"a mount's target {target} would cover the sandbox's own files")
    if item.get("mode", "ro") != "ro":
        raise SpecRefused("a mount is read-only")
    source = inside(item.get("source"), roots, "a mount's source")
    if not stat.S_ISDIR(os.stat(source).st_mode):
        raise SpecRefused("a mount's source is not a folder")
    return Bind(source, target)


@lru_cache(maxsize=4)
def usr_merge(root: str = "/") -> tuple[str, ...]:
    """Arguments for /bin, /sbin and /lib*: the same links as on the host, or read-only binds where it has folders."""
    arguments: list[str] = []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = os.path.join(root, name)
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), "/" + name]
        elif os.path.isdir(path):
            arguments += ["--ro-bind", path, "/" + name]
    return tuple(arguments)


def bwrap_arguments(spec: LaunchSpec, *, etc: Path, seccomp_fd: int, status_fd: int, unshare_net: bool) -> list[str]:
    """Options of bubblewrap, without the program and without the pack's command.

    `unshare_net` unless the process is in its own network namespace already, the one whose doors the broker holds.
    """
    disk = str(spec.limits.disk_mb * 1024 * 1024)
    arguments = [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup"),
        *(("--unshare-net",) if unshare_net else ()),
        *("--disable-userns", "--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID), "--hostname", "pack"),
        *("--cap-drop", "ALL", "--clearenv", "--die-with-parent", "--new-session"),
        *("--ro-bind", "/usr", "/usr"),
        *usr_merge(),
        *("--ro-bind", str(etc), "/etc"),
        *("--proc", "/proc", "--dev", "/dev", "--size", "1048576", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
        *("--perms", "0755", "--dir", "/run", "--perms", "0755", "--dir", "/run/worka"),
        *("--size", disk, "--tmpfs", "/tmp"),  # noqa: S108 - the sandbox's own
        *("--ro-bind", spec.env_path, spec.env_path),
    ]
    for bind in spec.binds:
        arguments += ["--ro-bind", bind.source, bind.target]
    arguments += ["--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108
    for name, value in spec.env.items():
        arguments += ["--setenv", name, value]
    return [*arguments, "--seccomp", str(seccomp_fd), "--json-status-fd", str(status_fd)]
