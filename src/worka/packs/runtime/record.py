"""Checks an installed environment against what its packages say about themselves, without running any of them."""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import itertools
import os
import re
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name

from worka.kernel.errors import Invalid
from worka.packs.errors import LockInvalid
from worka.packs.runtime import digest
from worka.packs.runtime.errors import CodeAtInstall, EntryPointMissing, RecordMismatch

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[A-Za-z0-9._, -]*\])? ?== ?(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
    r" ?(?:;(?P<marker>[^#]*))?"
)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
_MOST_LINE, _MOST_MARKER = 64 * 1024, 4000


_MEGABYTE = 1024 * 1024
_MOST_TEXT, _MOST_RECORD = 4 * _MEGABYTE, 64 * _MEGABYTE


def _text(path: Path, what: str, most: int = _MOST_TEXT) -> str:
    """A text of a package's metadata. Raises RecordMismatch for none, and for one that would fill the memory."""
    try:
        if path.stat().st_size <= most:
            return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordMismatch(f"{what} cannot be read.") from error
    raise RecordMismatch(f"{what} has more than {most // _MEGABYTE} MiB.")


@dataclass(frozen=True)
class Lock:
    """A hashed requirements file, read strictly: name, version, marker and hashes, and not one option more."""

    text: str
    pins: dict[str, str]


def canonical_name(name: str) -> str:
    """A distribution's name in the one spelling that locks are compared by."""
    return str(canonicalize_name(name))


def read_lock(text: str) -> Lock:
    """Raises LockInvalid for anything but `name==version [; marker] --hash=sha256:…` lines and comments.

    An option in a lock (another index, an editable folder, a file to include) would be a stranger's command to our
    installer, so the lock is rewritten from what was understood.
    """
    joined = re.sub(r"\\\r?\n", " ", text)
    pins: dict[str, str] = {}
    lines: list[str] = []
    for number, raw in enumerate(joined.splitlines(), 1):
        words = re.sub(r"(^|\s)#.*$", "", raw).split()
        if not words:
            continue
        line = " ".join(words)
        hashes = len(list(itertools.takewhile(_HASH.fullmatch, reversed(words))))
        match = _PIN.fullmatch(" ".join(words[:-hashes])) if hashes and len(raw) <= _MOST_LINE else None
        if match is None:
            raise LockInvalid(f"Requirement {number} is not `name==version --hash=sha256:…`: {line[:120]}")
        if (marker := match["marker"]) is not None and not _is_marker(marker.strip()):
            raise LockInvalid(f"Requirement {number} has a marker that is none: {line[:120]}")
        pins[canonicalize_name(match["name"])] = match["version"]
        lines.append(line)
    return Lock("\n".join(lines) + "\n" if lines else "", pins)


def _is_marker(text: str) -> bool:
    try:
        return len(text) <= _MOST_MARKER and bool(Marker(text))
    except (InvalidMarker, RecursionError):
        return False


@dataclass(frozen=True)
class Distribution:
    """One installed package."""

    name: str
    version: str
    info: Path


def distributions(site: Path) -> list[Distribution]:
    """What is installed, by its metadata. Raises RecordMismatch for a folder without readable metadata."""
    found = []
    for info in sorted(site.glob("*.dist-info")):
        headers = HeaderParser().parsestr(_text(info / "METADATA", f"The metadata of {info.name}"))
        found.append(Distribution(str(headers["Name"]), str(headers["Version"]), info))
    return found


def verify(env: Path, site: Path, lock: Lock) -> list[Distribution]:
    """Every installed file is in a package's RECORD with its own hash, and every package is in the lock.

    Raises RecordMismatch, CodeAtInstall.
    """
    installed = distributions(site)
    listed: set[str] = set()
    for package in installed:
        name = canonicalize_name(package.name)
        if lock.pins.get(name) != package.version:
            raise RecordMismatch(f"{package.name} {package.version} was installed, but the lock does not name it.")
        text = _text(package.info / "RECORD", f"The RECORD of {package.name}", _MOST_RECORD)
        rows = csv.reader(io.StringIO(text, newline=""))
        try:
            listed |= {_check_row(env, site, package, row) for row in rows if len(row) == 3}
        except csv.Error as error:
            raise RecordMismatch(f"The RECORD of {package.name} is no list: {error}.") from error
    for path, _status in digest.walk(env):
        if digest.portable(path) and not path.startswith("app/") and path not in listed:
            raise RecordMismatch(f"{path} was installed, but no package lists it.")
    _refuse_executable_pth(site)
    return installed


def _check_row(env: Path, site: Path, package: Distribution, row: list[str]) -> str:
    path, recorded, _size = row
    full = Path(os.path.normpath(site / path))
    if env not in full.parents:
        raise RecordMismatch(f"{package.name} lists {path}, outside its environment.")
    below = full.relative_to(env).as_posix()
    if not recorded:
        if full == package.info / "RECORD" or full.suffix == ".pyc":
            return below
        raise RecordMismatch(f"{package.name} lists {path} without a hash.")
    kind, _, value = recorded.partition("=")
    if kind != "sha256" or not full.is_file() or full.is_symlink():
        raise RecordMismatch(f"{package.name} lists {path}, which is not there as a plain file with a SHA-256.")
    with full.open("rb") as opened:
        actual = base64.urlsafe_b64encode(hashlib.file_digest(opened, "sha256").digest()).rstrip(b"=").decode()
    if actual != value:
        raise RecordMismatch(f"{path} of {package.name} differs from the package's record.")
    return below


def _refuse_executable_pth(site: Path) -> None:
    for pth in sorted(site.glob("*.pth")):
        for line in _text(pth, pth.name).splitlines():
            if line.startswith(("import ", "import\t")):
                raise CodeAtInstall(f"{pth.name} runs code at every start of Python: {line[:100]}")
            if line.strip() and not line.startswith("#") and (os.path.isabs(line) or ".." in Path(line).parts):
                raise CodeAtInstall(f"{pth.name} adds a folder outside the environment: {line[:100]}")


def console_script(package: str, installed: list[Distribution]) -> str:
    """The console script of a package, from its entry_points.txt: the one of its name, or its only one.

    Raises EntryPointMissing, naming the choices.
    """
    wanted = canonicalize_name(package)
    for found in installed:
        if canonicalize_name(found.name) != wanted:
            continue
        parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            parser.read_string(_text(found.info / "entry_points.txt", f"The entry points of {package}"))
        except (RecordMismatch, configparser.Error) as error:
            raise EntryPointMissing(f"{package} has no console script.") from error
        scripts = sorted(parser["console_scripts"]) if parser.has_section("console_scripts") else []
        same = [name for name in scripts if canonicalize_name(name) == wanted]
        if same or len(scripts) == 1:
            return (same or scripts)[0]
        raise EntryPointMissing(f"{package} has {len(scripts)} console scripts: {', '.join(scripts) or 'none'}.")
    raise Invalid(f"{package} is not in its own lock.", code="lock_invalid", remedy=LockInvalid.default_remedy)
