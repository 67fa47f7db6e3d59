"""The files of a folder that somebody else has filled: read and written below it, and nowhere else. Blocking.

No link is followed on the way from the folder to the file: a stranger's folder may link a lock to the reader's keys, or
the file that is about to be made to the reader's profile. The folder itself is named by whoever calls.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from worka.packs import trees
from worka.packs.errors import FolderUnreadable, TargetRefused

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not waiting: somebody's pipe would otherwise hold us for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read(folder: Path, name: str, most: int = trees.MOST_BYTES) -> bytes | None:
    """The contents of the plain file `name` below `folder`, None without one. Raises FolderUnreadable for a link, anything
    else that is no plain file, and more than `most` bytes (before they are read); LockInvalid for a name that is none."""
    trees.check_name(name)
    where = folder / name
    try:
        with _parent(folder, name, make=False) as (parent, last):
            descriptor = os.open(last, _READ, dir_fd=parent)
            with open(descriptor, "rb") as opened:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise _no_file(where)
                contents = opened.read(most + 1) if status.st_size <= most else None
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise _no_file(where) from error
        raise FolderUnreadable(f"{where}: {error.strerror}.", remedy="Make it readable, or remove it.") from error
    if contents is None or len(contents) > most:
        raise FolderUnreadable(
            f"{where} is larger than a pack may be ({trees.MOST_FILES} files, {trees.MOST_BYTES} bytes).",
            remedy="Keep what the pack needs, and no more.",
        )
    return contents


def write(folder: Path, name: str, contents: bytes) -> None:
    """Puts the file `name` below `folder`, whole or not at all, and the folders on the way. Raises TargetRefused where a link
    or anything but a plain file stands in its place, or a link on the way; LockInvalid for a name that is none."""
    trees.check_name(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _parent(folder, name, make=True) as (parent, last):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise TargetRefused(f"{folder / name} is a link, or no plain file.")
            scratch = f".worka-{secrets.token_hex(8)}"
            try:
                with open(os.open(scratch, _NEW, 0o666, dir_fd=parent), "wb") as opened:
                    opened.write(contents)
                os.replace(scratch, last, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(scratch, dir_fd=parent)
                raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise TargetRefused(f"On the way to {folder / name} stands a link, or no folder.") from error
        raise TargetRefused(f"{folder / name}: {error.strerror}.") from error


@contextlib.contextmanager
def _parent(folder: Path, name: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """The open folder that holds `name`, and the last part of it."""
    *parts, last = name.split("/")
    here = os.open(folder, _FOLDER)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=here)
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        yield here, last
    finally:
        os.close(here)


def _no_file(where: Path) -> FolderUnreadable:
    return FolderUnreadable(
        f"{where} is not a plain file in a plain folder.", remedy="Put the file itself there, or remove it."
    )
