"""Limits of a group of processes: cgroup v2, cgroup v1 (memory, pids, cpu), or rlimits alone where neither works.

A group lives below the launcher's own cgroup, so that whatever confines the launcher confines its packs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

_V1 = ("memory", "pids", "cpu")
_PERIOD_US = 100_000
_ROOT, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
ASIDE, _LEAF = "worka-up", "worka-launcher"
"""Groups of v2 below the one that `worka up` was started in: of all of our processes, and of the launcher alone."""


def _write(path: Path, value: str | int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _counter(path: Path, key: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0


@dataclass
class Group:
    """One session's group: the folders it has in each hierarchy; empty when limits are rlimits only."""

    driver: str
    folders: dict[str, Path] = field(default_factory=dict)

    def enter(self) -> None:
        """Moves the calling process, of one thread, in. Raises OSError."""
        # In v1 a thread that moves itself needs no lock over all groups; `cgroup.procs` waits for one, about 16 ms.
        name = "tasks" if self.driver == "v1" else "cgroup.procs"
        for folder in set(self.folders.values()):
            _write(folder / name, 0)

    def out_of_memory(self) -> bool:
        """Whether the kernel killed a process of this group for its memory."""
        folder = self.folders.get("memory")
        if folder is None:
            return False
        events = folder / ("memory.events" if self.driver == "v2" else "memory.oom_control")
        return _counter(events, "oom_kill") > 0

    def pids(self) -> list[int]:
        """Every process of the group."""
        found: set[int] = set()
        for folder in set(self.folders.values()):
            with contextlib.suppress(OSError):
                found |= {int(line) for line in (folder / "cgroup.procs").read_text().split()}
        return sorted(found - {0})

    def kill(self) -> None:
        """SIGKILL to every process, and again while a fork bomb outruns us (bounded: pids are limited)."""
        for folder in set(self.folders.values()):
            with contextlib.suppress(OSError):
                _write(folder / "cgroup.kill", 1)
        for _ in range(50):
            left = self.pids()
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Removes the folders; False while a killed process is still being taken down."""
        gone = True
        for folder in set(self.folders.values()):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                gone = False
        return gone


def _own(file: Path) -> dict[str, str]:
    """Controller -> the path of this process's group; of v2 under the name ``."""
    found = {}
    for line in file.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            found[name] = path.lstrip("/")
    return found


def step_aside(root: Path = _ROOT, own_file: Path = _OWN) -> None:
    """Moves this process into a leaf of its group (v2), before it starts any other: v2 hands controllers down only from a
    group without processes, and everything that we start is born where we are. Where this is refused nothing changes, and
    the launcher says what it lacks."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        if (root / "cgroup.controllers").exists():
            base = root / _own(own_file)[""]
            if base.name != ASIDE:
                (base / ASIDE).mkdir(exist_ok=True)
                _write(base / ASIDE / "cgroup.procs", 0)


class Cgroups:
    """Finds out once what can be written here, then makes groups."""

    def __init__(self, root: Path = _ROOT, own_file: Path = _OWN) -> None:
        self._bases: dict[str, Path] = {}
        self.driver = "rlimits"
        self.refused = ""
        """Why a controller of v2 is not handed down, in words; empty where none was refused."""
        with contextlib.suppress(OSError, ValueError):
            own = _own(own_file)
            if (root / "cgroup.controllers").exists():
                self._use_v2(root / own.get("", ""))
            else:
                self._use_v1(root, own)

    @property
    def describe(self) -> str:
        """For people and records, e.g. `v1:cpu,memory,pids`."""
        return f"{self.driver}:{','.join(sorted(self._bases))}" if self._bases else "rlimits"

    def _use_v1(self, root: Path, own: dict[str, str]) -> None:
        for name in _V1:
            # A container may see its own group as the root of the hierarchy.
            for base in (root / name / own.get(name, ""), root / name):
                probe = base / f"worka-probe-{os.getpid()}"
                try:
                    probe.mkdir()
                    probe.rmdir()
                except OSError:
                    continue
                self._bases[name] = base
                break
        if self._bases:
            self.driver = "v1"

    def _use_v2(self, base: Path) -> None:
        # Processes may only live in leaves once controllers are handed down: the launcher moves into one of its own, and the
        # rest of us is in another one already (`step_aside`).
        base = base.parent if base.name in (ASIDE, _LEAF) else base
        leaf = base / _LEAF
        leaf.mkdir(exist_ok=True)
        _write(leaf / "cgroup.procs", 0)
        available = (base / "cgroup.controllers").read_text().split()
        for name in _V1:
            if name not in available:
                self.refused = self.refused or f"{base} was not given the controller {name}"
                continue
            try:
                _write(base / "cgroup.subtree_control", f"+{name}")
                self._bases[name] = base
            except OSError as error:
                busy = "other processes than Worka's are in it" if error.errno == errno.EBUSY else error.strerror
                self.refused = f"{base} cannot hand {name} down: {busy} ({errno.errorcode.get(error.errno or 0, '?')})"
        if self._bases:
            self.driver = "v2"

    def sweep(self) -> None:
        """Removes what a launcher that was killed left: empty groups named after a process that is no more."""
        for base in set(self._bases.values()):
            for folder in base.glob("worka-*-*"):
                owner = folder.name.split("-")[1]
                if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                    Group(self.driver, {"": folder}).kill()
                    with contextlib.suppress(OSError):
                        folder.rmdir()

    def make(self, name: str) -> Group:
        """A new group, without limits yet. Raises OSError."""
        group = Group(self.driver)
        try:
            for controller, base in self._bases.items():
                folder = base / f"worka-{name}"
                folder.mkdir(exist_ok=True)
                group.folders[controller] = folder
        except OSError:
            group.remove()
            raise
        return group

    def limit(self, group: Group, *, memory_mb: int, processes: int, cpus: float) -> None:
        """Its limits: memory (with no swap beside it), processes, and processor share.

        Raises OSError when one cannot be set: a limit that was promised is in force or nothing starts.
        """
        write = _write_v2 if self.driver == "v2" else _write_v1
        for controller, folder in group.folders.items():
            write(folder, controller, memory_mb * 1024 * 1024, processes, cpus)


def _write_v1(folder: Path, controller: str, memory: int, processes: int, cpus: float) -> None:
    if controller == "memory":
        _write(folder / "memory.limit_in_bytes", memory)
        with contextlib.suppress(FileNotFoundError):  # without swap accounting there is no such file
            _write(folder / "memory.memsw.limit_in_bytes", memory)
    elif controller == "pids":
        _write(folder / "pids.max", processes)
    else:
        _write(folder / "cpu.cfs_period_us", _PERIOD_US)
        _write(folder / "cpu.cfs_quota_us", int(cpus * _PERIOD_US))


def _write_v2(folder: Path, controller: str, memory: int, processes: int, cpus: float) -> None:
    if controller == "memory":
        _write(folder / "memory.max", memory)
        with contextlib.suppress(FileNotFoundError):
            _write(folder / "memory.swap.max", 0)
    elif controller == "pids":
        _write(folder / "pids.max", processes)
    else:
        _write(folder / "cpu.max", f"{int(cpus * _PERIOD_US)} {_PERIOD_US}")
