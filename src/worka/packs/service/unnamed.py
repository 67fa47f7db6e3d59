"""What lies in the store of artifacts and trees and no row of any tenant names: of a registration whose process died between
the disk and the commit, or was refused in between. It is cleared away a day after it was last put there.

Bytes lie under their digest and are shared by all tenants, so what is swept is decided by every tenant's rows together. Whoever
puts bytes there that are there already gives them a new time: what is about to be named is never old.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from worka.kernel.context import Context
from worka.kernel.paths import Paths
from worka.packs import store
from worka.packs.registry import oci

AGE_SECONDS = 86_400.0
"""Longer than any request that puts bytes there goes on before its commit."""
_GONE = ".gone."
log = logging.getLogger("worka.packs")


@dataclass(frozen=True)
class Unnamed:
    """A blob or a tree that no row names; `size` in bytes."""

    path: Path
    size: int


async def sweep(ctx: Context, *, age: float = AGE_SECONDS) -> int:
    """Clears away what has lain unnamed for so many seconds; how many. `ctx` is the platform's."""
    objects = Paths(ctx.settings.home).objects
    old = await asyncio.to_thread(lambda: list(_older(objects, age)))
    if not old:
        return 0
    # After the look at the disk: what was named in between is named here.
    async with ctx.db.transaction(None) as conn:
        named = await store.objects_named(conn)
    removed = await asyncio.to_thread(_remove, objects, old, named, age)
    if removed:
        log.info("%d blobs and trees that no row names were cleared away", removed)
    return removed


def lying(objects: Path, named: Set[str]) -> list[Unnamed]:
    """Everything that no row names, whatever its age: for telling, nothing is touched. Blocking. Raises OSError where the store
    may not be read."""
    used = _used(objects, named)
    return [Unnamed(path, _size(path)) for path in _older(objects, 0) if path.name not in used]


def _older(objects: Path, age: float) -> Iterator[Path]:
    """Blobs and trees, and what was left of writing one, that are older than this."""
    for folder in (oci.root(objects) / "blobs" / "sha256", objects / "trees"):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                with contextlib.suppress(FileNotFoundError):
                    if path.lstat().st_mtime <= time.time() - age:
                        yield path


def _used(objects: Path, named: Set[str]) -> set[str]:
    """The names on the disk of what these digests stand for: trees, manifests, and what those list."""
    found = {name.removeprefix("sha256:") for name in named}
    for digest in named:
        if oci.DIGEST.match(digest):
            with contextlib.suppress(OSError, oci.ArtifactProblem):
                manifest = (oci.root(objects) / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
                if len(manifest) <= oci.MOST_MANIFEST:
                    found |= {part["digest"].removeprefix("sha256:") for part in oci.descriptors(manifest, digest)}
    return found


def _remove(objects: Path, old: list[Path], named: Set[str], age: float) -> int:
    used, removed = _used(objects, named), 0
    for path in old:
        if path.name in used:
            continue
        aside = path.with_name(f"{_GONE}{path.name}") if not path.name.startswith(_GONE) else path
        with contextlib.suppress(OSError):
            path.rename(aside)
            if aside != path and aside.lstat().st_mtime > time.time() - age:
                aside.rename(path)  # somebody puts it there just now
                continue
            shutil.rmtree(aside) if aside.is_dir() and not aside.is_symlink() else aside.unlink()
            removed += 1
    return removed


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(os.lstat(Path(top) / name).st_size for top, _, names in os.walk(path) for name in names)
