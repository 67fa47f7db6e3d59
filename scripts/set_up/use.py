"""Which environments and builds are in use, and since when."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

NAME = re.compile(r"[0-9a-f]{16}")


def touch(folder: Path) -> None:
    """Marks it as used now; by another user's prefix we may only read, and that is fine."""
    try:
        os.utime(folder)
    except PermissionError:
        pass


def hashed(parent: Path) -> list[Path]:
    """The folders that the set-up made here (others are not ours to touch), last used first."""
    if not parent.is_dir():
        return []
    folders = [folder for folder in parent.iterdir() if NAME.fullmatch(folder.name) and folder.is_dir()]
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)


def sweep(parent: Path) -> None:
    """Removes what a killed set-up left half made. Only with the lock held: nobody else is making anything here."""
    for left in parent.glob(".*.*"):
        if NAME.fullmatch(left.name.split(".")[1]):
            shutil.rmtree(left, ignore_errors=True)


def environment_of(build: Path) -> str:
    """The environment that a build runs with, or "" if it does not say."""
    try:
        return str(json.loads((build / "build.json").read_text())["environment"])
    except (OSError, ValueError, KeyError):
        return ""


def running(folder: Path) -> bool:
    """Whether a process that we may look at was started from it (its command line or environment names it)."""
    needle = os.fsencode(f"{folder}/")
    for process in Path("/proc").glob("[0-9]*"):
        for part in ("cmdline", "environ"):
            try:
                if needle in (process / part).read_bytes():
                    return True
            except OSError:
                continue
    return False
