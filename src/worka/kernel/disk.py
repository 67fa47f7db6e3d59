"""How much room the disk of WORKA_HOME has. Before it is full, changes are refused while they still can be refused well:
a database that finds no room for its log stops altogether, and takes reading and signing in with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from worka.kernel.errors import Unavailable

EVERY_SECONDS = 0.2
MIB = 1024 * 1024


class DiskFull(Unavailable):
    """What is left is kept for reading, signing in, taking rights away, and for ending what runs."""

    code, title = "disk_full", "The disk is full, so nothing new is begun"
    default_remedy = "Free space on the disk of WORKA_HOME, or move it to a larger one; work then goes on by itself."


class Disk:
    """The file systems of the home and of its database; looked at a few times a second at most."""

    def __init__(self, home: Path, floor_mb: int) -> None:
        self.places = [home, home / "pg"]
        self.floor = floor_mb * MIB
        self._looked = 0.0
        self._free = 0

    def free(self) -> int:
        """Bytes free for everybody but root, where there is least."""
        found = []
        for place in self.places:
            try:
                seen = os.statvfs(place)
            except OSError:
                continue  # not there (a database elsewhere), or not ours to see
            found.append(seen.f_bavail * seen.f_frsize)
        return min(found, default=self.floor)

    @property
    def low(self) -> bool:
        """Whether less is free than must be."""
        now = time.monotonic()
        if now - self._looked >= EVERY_SECONDS:
            self._looked, self._free = now, self.free()
        return self._free < self.floor

    def require(self) -> None:
        """Raises DiskFull when it is low."""
        if self.low:
            raise DiskFull(
                f"{self._free // MIB} MiB are free where {self.places[0]} lies; the last {self.floor // MIB} are kept.",
                retry_after=5,
            )


class Reserve:
    """Room that is taken in good times and given back when the disk is full, so that the database can go on: a file."""

    def __init__(self, file: Path, size_mb: int, disk: Disk) -> None:
        self.file = file
        self.size = size_mb * MIB
        self.disk = disk

    def tend(self) -> str:
        """Gives the room back, or takes it again; what it did: `given_back`, `taken`, or nothing."""
        free = self.disk.free()
        if self.file.exists():
            # At the very end, not at the floor: whoever fills the disk would only fill this too.
            if free < self.size // 16:
                self.file.unlink()
                return "given_back"
        elif self.size and free > self.size + 2 * self.disk.floor:
            draft = self.file.with_suffix(".new")
            with draft.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self.size)
            draft.replace(self.file)
            return "taken"
        return ""
