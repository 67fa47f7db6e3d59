"""Entries of a stranger's tar, for `tarfile.open(…, tarinfo=careful())`.

tarfile reads a header's whole declared size before anybody can look at it, and makes of an extended one up to the square
of its length. So their lengths are bounded before they are read, and files with holes, whose maps have no length at all,
are refused.
"""

from __future__ import annotations

import tarfile
from typing import Any, NoReturn

MOST_IN_A_ROW = 16 * 1024
"""Bytes of the extended headers of one entry, the global ones before it included: far above any path that a disk takes."""
MOST_IN_ALL = 4 * 1024 * 1024
"""Bytes of all extended headers of an archive."""
_EXTENDED = {
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
}


def careful() -> type[tarfile.TarInfo]:
    """The class of the entries of one archive: it counts, so each archive needs its own. Reading raises tarfile.ReadError."""
    everywhere = row = whole = 0

    class Entry(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Any:
            nonlocal everywhere, row, whole
            found = super().frombuf(buf, encoding, errors)
            if found.size < 0:
                raise tarfile.ReadError("an entry has less than no bytes")
            if found.type == tarfile.GNUTYPE_SPARSE:
                _holes()
            if found.type not in _EXTENDED:
                row = everywhere
                return found
            # The header's own block counts, or empty ones could follow one another for ever.
            row += found.size + tarfile.BLOCKSIZE
            whole += found.size
            if found.type == tarfile.XGLTYPE:
                everywhere += found.size + tarfile.BLOCKSIZE
            if row > MOST_IN_A_ROW or whole > MOST_IN_ALL:
                raise tarfile.ReadError("its extended headers are too long")
            return found

        _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = lambda *_: _holes()

    return Entry


def _holes() -> NoReturn:
    raise tarfile.ReadError("a file with holes")
