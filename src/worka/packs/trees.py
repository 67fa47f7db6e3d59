"""The file tree of a `path` package: what was sent along, kept by its digest until it is built. Blocking; no code of it
runs."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from worka.packs.errors import LockInvalid

MOST_FILES = 500
MOST_BYTES = 3 * 1024 * 1024


def decode(files: Mapping[str, str]) -> dict[str, bytes]:
    """path -> contents of what was sent as base64. Raises LockInvalid for a path that leaves the tree, or too much."""
    if len(files) > MOST_FILES:
        raise LockInvalid(f"The tree has {len(files)} files; {MOST_FILES} is the most.", code="tree_invalid")
    found: dict[str, bytes] = {}
    total = 0
    for name, text in files.items():
        check_name(name)
        try:
            found[name] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise LockInvalid(f"{name} is not base64.", code="tree_invalid") from error
        total += len(found[name])
        if total > MOST_BYTES:
            raise LockInvalid(f"The tree has more than {MOST_BYTES} bytes.", code="tree_invalid")
    return check(found)


def check(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """A tree that can be kept: the same limits for one that came as bytes. Raises LockInvalid."""
    for name in files:
        check_name(name)
        if any(str(above) in files for above in PurePosixPath(name).parents):
            raise LockInvalid(f"{name[:80]!r} lies below a file.", code="tree_invalid")
    if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
        raise LockInvalid(
            f"The tree has more than {MOST_FILES} files, or more than {MOST_BYTES} bytes.", code="tree_invalid"
        )
    return dict(files)


def check_name(name: str) -> None:
    """Raises LockInvalid (`tree_invalid`) for a name that is no plain relative path, or that git would read as its own."""
    path = PurePosixPath(name)
    bad = path.is_absolute() or ".." in path.parts or str(path) != name or not name.isprintable() or len(name) > 300
    bad = bad or any(part.startswith(".git") or len(part.encode()) > 255 for part in path.parts)
    if bad or name in {"", "."} or "\\" in name:
        raise LockInvalid(f"{name[:80]!r} is not a plain relative path.", code="tree_invalid")


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """path -> SHA-256, in hex."""
    return {name: hashlib.sha256(contents).hexdigest() for name, contents in sorted(files.items())}


def place(root: Path, contents: str) -> Path:
    """Where the tree of a contents digest lies."""
    return root / "trees" / contents


def keep(root: Path, contents: str, files: Mapping[str, bytes]) -> None:
    """Writes the tree, all of it or nothing; a tree that is there already is the same one."""
    target = place(root, contents)
    with contextlib.suppress(FileNotFoundError):
        os.utime(target)  # it is not cleared away before it has a row
        return
    # A folder of this call's own: the same tree may be sent by several requests of this process at once.
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{contents}.", dir=target.parent))
    try:
        scratch.chmod(0o755)
        for name, data in files.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o644)
        scratch.rename(target)
    except OSError:
        # Another request wrote the same tree meanwhile.
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def intact(root: Path, contents: str, known: Mapping[str, str]) -> bool:
    """Whether the tree still is what was sent: the same files with the same hashes, and nothing else."""
    base = place(root, contents)
    here = {
        path.relative_to(base).as_posix(): path.read_bytes()
        for path in sorted(base.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    return digests(here) == dict(known)
