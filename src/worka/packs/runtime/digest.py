"""Digests of environments: what they hold, and the cheap sign that they were not touched."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

_CHUNK = 1024 * 1024


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(path below root with `/`, lstat) of everything but folders, in byte order of the whole path's parts."""
    stack = [""]
    while stack:
        folder = stack.pop()
        with os.scandir(root / folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name.encode())
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                stack.append(path)
            else:
                yield path, entry.stat(follow_symlinks=False)


def remove(root: Path) -> None:
    """Deletes a folder and all below, read-only folders included. Raises OSError. By hand: what calls itself for each
    folder ends with an error of its own where a package nests them a thousand deep."""
    folders = [root]
    for folder in folders:
        folder.chmod(0o755)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                else:
                    os.unlink(entry.path)
    for folder in reversed(folders):
        folder.rmdir()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def portable(path: str) -> bool:
    """Whether a file is the same wherever this environment is built: not bytecode, not the tie to the interpreter."""
    parts = path.split("/")
    return (
        "__pycache__" not in parts and path != "pyvenv.cfg" and not (len(parts) == 2 and path.startswith("bin/python"))
    )


def tree(root: Path, keep: Callable[[str], bool] = lambda _: True) -> tuple[str, int]:
    """(SHA-256 over the sorted lines `mode path hash`, number of files). A link's hash is over where it points."""
    lines = []
    for path, status in walk(root):
        if not keep(path):
            continue
        if stat.S_ISLNK(status.st_mode):
            mode, content = "link", hashlib.sha256(os.readlink(root / path).encode()).hexdigest()
        elif not stat.S_ISREG(status.st_mode):
            # Opening a named pipe would wait for ever. Who takes files in refuses these; here they only count.
            mode, content = "special", f"{status.st_mode:o}"
        else:
            mode = "0555" if status.st_mode & 0o100 else "0444"
            content = file_sha256(root / path)
        lines.append(f"{mode} {path} {content}\n")
    whole = hashlib.sha256()
    for line in sorted(lines):
        whole.update(line.encode("utf-8", "surrogateescape"))
    return whole.hexdigest(), len(lines)


def surface(root: Path) -> str:
    """SHA-256 over path, mode, owner, size, inode and change time of everything: cheap; only root can forge it."""
    whole = hashlib.sha256()
    for line in sorted(
        f"{path} {s.st_mode:o} {s.st_uid} {s.st_size} {s.st_ino} {s.st_ctime_ns}\n" for path, s in walk(root)
    ):
        whole.update(line.encode("utf-8", "surrogateescape"))
    return whole.hexdigest()
