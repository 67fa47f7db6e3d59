"""A pack as its author has it: a folder with `worka/aip.json`, the lock, and its files. Blocking; no code of it runs.

What is sent is every plain file but tests and hidden ones. Where the files import `worka_sdk` and do not bring it, the
platform's own copy goes along: what runs is in the release's digest, and nothing has to be installed for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import worka
from worka.kernel import strict_json
from worka.packs import archive, trees
from worka.packs import files as plain
from worka.packs.errors import ArchiveRefused, FolderUnreadable
from worka.packs.manifest import OLDER_PLACE, PLACE

SDK = "worka_sdk"
_LEFT_OUT = {"__pycache__", "node_modules", "tests", "dist", "build"}


@dataclass(frozen=True)
class Source:
    """What an author hands in: the manifest as it was written, where it stood, the lock, and path -> contents."""

    document: dict[str, Any]
    place: str
    lock: str
    files: Mapping[str, bytes]

    @property
    def package(self) -> dict[str, Any]:
        """`runtime.package`, empty where there is none."""
        runtime = self.document.get("runtime")
        found = runtime.get("package") if isinstance(runtime, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def is_tree(self) -> bool:
        """Whether the files are the pack, and not a package that is installed."""
        return self.package.get("ecosystem") == "path"


def read(path: Path, *, with_tests: bool = False) -> Source:
    """The source in a folder, or in an archive that `worka pack build` made.

    Raises FolderUnreadable, ArchiveRefused, LockInvalid (a name that is none, more than a tree may have).
    """
    if path.is_file():
        files = archive.unpack(_contents(path))
    elif path.is_dir():
        # A folder that names a package may hold anything beside these: only what is sent is looked at.
        files = _plain(path, PLACE, OLDER_PLACE)
    else:
        raise FolderUnreadable(f"{path} is neither a folder nor an archive.")
    place = PLACE if PLACE in files else OLDER_PLACE
    if place not in files:
        raise FolderUnreadable(f"{path} holds no {PLACE}.")
    source = Source(_manifest(files[place], f"{path}/{place}"), place, "", files)
    lock = str(source.package.get("lock") or "requirements.lock")
    if path.is_dir():
        trees.check_name(lock)
        files = gather(path, with_tests=with_tests) if source.is_tree else _plain(path, place, lock)
    source = replace(source, files=files, lock=files[lock].decode("utf-8", "replace") if lock in files else "")
    return replace(source, files=vendored(files)) if source.is_tree else source


def _plain(folder: Path, *names: str) -> dict[str, bytes]:
    found = {name: plain.read(folder, name) for name in names}
    return {name: contents for name, contents in found.items() if contents is not None}


def _manifest(raw: bytes, where: str) -> dict[str, Any]:
    try:
        found = strict_json.loads(raw)
    except strict_json.Unreadable as error:
        said = error.detail.replace("The body", "The file", 1)
        raise FolderUnreadable(f"{where}: {said}", remedy=f"Correct the file. {error.remedy}") from error
    if not isinstance(found, dict):
        raise FolderUnreadable(f"{where}: it is not a JSON object.", remedy="Write one JSON object.")
    return found


def _contents(path: Path) -> bytes:
    if path.stat().st_size > archive.MOST_BYTES:
        raise ArchiveRefused(f"{path.name} has more than {archive.MOST_BYTES} bytes.")
    return path.read_bytes()


def gather(folder: Path, *, with_tests: bool = False) -> dict[str, bytes]:
    """Path -> contents of a folder's files; no link is followed. Raises FolderUnreadable, LockInvalid."""
    found: dict[str, bytes] = {}
    total = 0
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        kept = [name for name in folders if not name.startswith(".") and not (here / name).is_symlink()]
        out = _LEFT_OUT - {"tests"} if with_tests else _LEFT_OUT
        folders[:] = sorted(name for name in kept if name not in out)
        for name in sorted(names):
            if name.startswith(".") or name.endswith((".pyc", archive.SUFFIX)):
                continue
            below = (here / name).relative_to(folder).as_posix()
            contents = plain.read(folder, below, trees.MOST_BYTES - total if len(found) < trees.MOST_FILES else -1)
            if contents is not None:
                found[below] = contents
                total += len(contents)
    return found


def vendored(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, with the SDK where they import it and do not bring it."""
    if any(name.startswith(f"{SDK}/") for name in files) or not any(
        _imports_sdk(contents) for name, contents in files.items() if name.endswith(".py")
    ):
        return dict(files)
    return {**files, **sdk_files()}


_FROM = re.compile(rf"from\s+{SDK}(\.\w+)*\s+import\b".encode())
_IMPORT = re.compile(rf"{SDK}(\.\w+)*(\s+as\s+\w+)?".encode())


def _imports_sdk(contents: bytes) -> bool:
    """By its words alone: a compiler that is given a stranger's source runs out of depth or memory where he wants it to. That
    a text may say it too costs nothing but a copy of the SDK."""
    if SDK.encode() not in contents:
        return False
    for raw in re.split(rb"[;:\r\n]", re.sub(rb"\\\r?\n", b" ", contents)):
        statement = raw.partition(b"#")[0].strip()
        if _FROM.match(statement):
            return True
        word, *others = statement.split(None, 1) or [b""]
        if word == b"import" and others and any(_IMPORT.fullmatch(name.strip()) for name in others[0].split(b",")):
            return True
    return False


def sdk_folder() -> Path:
    """Where the SDK of this platform lies: beside `src` in a checkout and in a build, beside `worka` when installed.

    Raises FolderUnreadable without one.
    """
    here = Path(worka.__file__ or ".").resolve().parent
    for candidate in (here.parents[1] / "sdk" / SDK, here.parent / SDK):
        if (candidate / "__init__.py").is_file():
            return candidate
    raise FolderUnreadable("This installation of Worka has no worka_sdk.", remedy="Run `make setup` again.")


def sdk_files() -> dict[str, bytes]:
    """`worka_sdk/…` -> contents."""
    folder = sdk_folder()
    return {f"{SDK}/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}
