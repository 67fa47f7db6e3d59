"""How much an installer may unpack: a wheel of a few megabytes can hold more than any disk (and has no honest header).

The installer is watched from outside while it works, in its environment and in what is new in its cache, and killed when
it goes beyond the bound; one single file cannot grow beyond it in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worka.packs.runtime import digest

_EVERY_SECONDS = 0.1
_FOLDER_BYTES = 4096  # what an empty one takes on most disks


class Exceeded(Exception):
    """More was unpacked than the budget; the text says how much it may be."""


@dataclass(frozen=True)
class Budget:
    """Of one environment."""

    most_bytes: int = 4 * 1024 * 1024 * 1024
    most_files: int = 200_000
    """Folders among them: an archive names as many as it likes, and each takes room."""
    most_depth: int = 100
    compiler_bytes: int = 1024 * 1024 * 1024

    def limited(self, command: list[str]) -> list[str]:
        """The command with a bound on each file, and without core dumps. A shell counts in units of 512 bytes."""
        return ["/bin/sh", "-c", f'ulimit -c 0 && ulimit -f {self.most_bytes // 512} && exec "$@"', "sh", *command]

    def compiling(self, command: list[str]) -> list[str]:
        """The command with a bound on the memory of each of its processes: a compiler of Python takes five hundred bytes
        for one of a source that is made for it. A shell counts in units of 1,024 bytes."""
        return ["/bin/sh", "-c", f'ulimit -c 0 && ulimit -v {self.compiler_bytes // 1024} && exec "$@"', "sh", *command]

    async def watch(self, env: Path, cache: Path, since: float) -> None:
        """Returns never; raises Exceeded. `since`: what the cache got from then on (seconds of the epoch) counts."""
        while True:
            await asyncio.to_thread(self.weigh, env, cache, since)
            await asyncio.sleep(_EVERY_SECONDS)

    def weigh(self, env: Path, cache: Path, since: float) -> None:
        """One look. Raises Exceeded."""
        size = files = 0
        for place in (env, *_fresh(cache, since)):
            own = 0
            for depth, length in _entries(place):
                own += length
                files += 1
                if depth > self.most_depth:
                    raise Exceeded(f"The packages nest folders more than {self.most_depth} deep.")
                if size + own > self.most_bytes or files > self.most_files:
                    raise Exceeded(
                        f"The packages unpack to more than {self.most_bytes // 1024**2} MiB or {self.most_files} files, "
                        "which is the most an environment may hold."
                    )
            size += own


def sweep(cache: Path, since: float | None = None) -> None:
    """Removes the scratch folders that killed installers left, and, with `since`, what was unpacked from then on. Only
    while none is at work."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(cache)):
            if entry.name.startswith(".tmp") and entry.is_dir(follow_symlinks=False):
                _gone(Path(entry.path))
    if since is None:
        return
    for place in list(_fresh(cache, since)):
        if place.parent.name.startswith("archive"):
            _gone(place)
    # The cache's own notes of what it has unpacked: one that names what is gone would break the next installation.
    for bucket in cache.glob("wheels-*"):
        for note in list(bucket.rglob("*")):
            with contextlib.suppress(OSError):
                if not note.is_dir() and note.lstat().st_mtime >= since:
                    note.unlink()


def _fresh(cache: Path, since: float) -> Iterator[Path]:
    """What the installer has put into its cache since: its scratch folders, and new entries of its buckets."""
    with contextlib.suppress(OSError):
        for bucket in list(os.scandir(cache)):
            if not bucket.is_dir(follow_symlinks=False):
                continue
            if bucket.name.startswith(".tmp"):
                yield Path(bucket.path)
                continue
            with contextlib.suppress(OSError):
                for entry in list(os.scandir(bucket.path)):
                    if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_ctime >= since:
                        yield Path(entry.path)


def _entries(folder: Path) -> Iterator[tuple[int, int]]:
    """(how deep, bytes on disk) of every file and folder below; what vanishes meanwhile counts as nothing."""
    waiting = [(os.fspath(folder), 1)]
    while waiting:
        place, depth = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
                        yield depth, _FOLDER_BYTES
                    else:
                        yield depth, entry.stat(follow_symlinks=False).st_size


def _gone(folder: Path) -> None:
    with contextlib.suppress(OSError):
        digest.remove(folder)
