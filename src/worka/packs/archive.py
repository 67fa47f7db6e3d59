"""The archive of a pack: a plain tar that is the same, byte for byte, wherever and whenever it is made.

Not compressed: compressors differ from one machine to the next, and what is not compressed cannot be a bomb. Reading
believes nothing: plain files only, each once, none outside of the pack, within the bounds of a tree.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping

from worka.kernel import tars
from worka.packs import trees
from worka.packs.errors import ArchiveRefused, LockInvalid

SUFFIX = ".worka.tar"
# Each file takes a header, its padding, and for a long name a record of its own.
MOST_BYTES = trees.MOST_BYTES + trees.MOST_FILES * 4096 + 64 * 1024


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files (path -> contents). Raises LockInvalid for a name that is none."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            trees.check_name(name)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return made.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Path -> contents. Raises ArchiveRefused for a link, a device, a path that leaves, a name twice, and too much."""
    if len(data) > MOST_BYTES:
        raise ArchiveRefused(f"It has more than {MOST_BYTES} bytes.")
    found: dict[str, bytes] = {}
    folded: set[str] = set()
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", tarinfo=tars.careful()) as tar:
            for entry in tar:
                if not entry.isreg() or entry.issparse():
                    raise ArchiveRefused(f"{entry.name[:80]!r} is not a plain file.")
                trees.check_name(entry.name)
                # Two spellings that some disks take for one file would be read differently there.
                if entry.name.casefold() in folded:
                    raise ArchiveRefused(f"{entry.name[:80]!r} is in it twice.")
                folded.add(entry.name.casefold())
                total += entry.size
                if len(folded) > trees.MOST_FILES or total > trees.MOST_BYTES:
                    raise ArchiveRefused(f"More than {trees.MOST_FILES} files or {trees.MOST_BYTES} bytes.")
                opened = tar.extractfile(entry)
                contents = opened.read() if opened is not None else b""
                if len(contents) != entry.size:
                    raise ArchiveRefused(f"{entry.name[:80]!r} is cut.")
                found[entry.name] = contents
    except LockInvalid as error:
        raise ArchiveRefused(error.detail) from error
    # What tarfile raises for bytes that are no tar is many things.
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
        raise ArchiveRefused(f"It cannot be read: {type(error).__name__}.") from error
    if not found:
        raise ArchiveRefused("There is nothing in it.")
    if any(parent in found for name in found for parent in _parents(name)):
        raise ArchiveRefused("A file stands where another one needs a folder.")
    return found


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def digest(data: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()
