"""npm packages: the hashed lock read strictly, installed with scripts off, every file compared with the locked archive.

npm has no record of what it installed. The record here is the archive itself: its SHA-512 stands in the lock, and each
installed file must be a file of an archive, byte for byte, and nothing else may be there.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worka.kernel import strict_json, tars
from worka.packs.errors import LockInvalid
from worka.packs.runtime import digest
from worka.packs.runtime.errors import BuildFailed, EntryPointMissing, RecordMismatch
from worka.packs.runtime.record import Distribution

LOCK = "package-lock.json"
CACHE = ".npm-cache"
_NAME = re.compile(r"(@[a-z0-9~-][a-z0-9._~-]*/)?[A-Za-z0-9~-][A-Za-z0-9._~-]*\Z")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9.+-]*\Z")
_RANGE = re.compile(r"(npm:(@[a-z0-9~-][\w.~-]*/)?[\w.~-]+@)?[\w.+*^~<>=|\s-]*\Z")
_INTEGRITY = re.compile(r"sha512-[A-Za-z0-9+/]{86}==\Z")
_PLACE = re.compile(r"node_modules/[^\0\\]+\Z")
_RANGES = ("dependencies", "optionalDependencies", "peerDependencies")
_KEPT = ("peerDependenciesMeta", "engines", "os", "cpu", "libc", "optional", "devOptional", "peer")
_MOST_ENTRIES, _MOST_JSON, _MOST_NAME = 5000, 4 * 1024 * 1024, 1024
# Of an entry beside its contents: its header, its padding, a record of its own for a long name.
_ROOM = 4096
_SEARCH = "/usr/local/bin:/usr/bin:/bin"
PASSED = {
    *("npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_cafile", "NPM_CONFIG_CAFILE", "NODE_EXTRA_CA_CERTS"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
}


@dataclass(frozen=True)
class Locked:
    """One package of a lock; `optional` ones may be left out where they do not fit the machine."""

    name: str
    version: str
    integrity: str
    optional: bool


@dataclass(frozen=True)
class Lock:
    """`text` is the lock as it is handed to npm: only what was understood of the one that was sent."""

    text: str
    packages: dict[str, Locked]

    def at(self, name: str) -> Locked | None:
        """The package of this name at the top."""
        return self.packages.get(f"node_modules/{name}")


def read_lock(text: str, name: str, version: str | None = None) -> Lock:
    """The lock of exactly this package; without a version, of the one that it pins.

    Raises LockInvalid for everything but registry packages with a SHA-512: an address, a git repository, a folder, a link
    or an archive of the sender's choice would be a stranger's command to our installer.
    """
    try:
        raw = strict_json.loads(text.encode())
    except strict_json.Unreadable as error:
        raise LockInvalid(f"The lock is not JSON: {error}") from error
    found = raw.get("packages") if isinstance(raw, dict) and raw.get("lockfileVersion") in (2, 3) else None
    if not isinstance(found, dict) or len(found) > _MOST_ENTRIES:
        raise LockInvalid("This is no package-lock.json of version 2 or 3 with its `packages`.")
    packages: dict[str, Locked] = {}
    kept: dict[str, Any] = {}
    for place, entry in sorted(found.items()):
        if place == "":
            continue
        if not isinstance(entry, dict) or not _PLACE.match(place):
            raise LockInvalid(f"{place[:120]!r} is no place of a package below node_modules.")
        packages[place], kept[place] = _entry(place, entry)
    top = packages.get(f"node_modules/{name}")
    if top is None or top.name != name:
        raise LockInvalid(f"The lock does not pin {name} itself.")
    if top.version != (version or top.version):
        raise LockInvalid(f"The lock pins {name} {top.version}, the manifest says {version}.")
    kept[""] = {"name": "worka-pack", "version": "1.0.0", "dependencies": {name: top.version}}
    document = {
        "name": "worka-pack", "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": kept,
    }  # fmt: skip
    return Lock(json.dumps(document, indent=1, sort_keys=True), packages)


def _entry(place: str, entry: dict[str, Any]) -> tuple[Locked, dict[str, Any]]:
    where = place.rpartition("node_modules/")[2]
    name = entry.get("name", where)
    if not (isinstance(name, str) and _NAME.match(name) and _NAME.match(where)) or not _inside(place):
        raise LockInvalid(f"{place[:120]!r} is no name of a package.")
    version, integrity = entry.get("version"), entry.get("integrity")
    if entry.get("link") or entry.get("inBundle") or not isinstance(version, str) or not _VERSION.match(version):
        raise LockInvalid(f"{place} is no version of a registry's package: no links, no bundles, no addresses.")
    if not isinstance(integrity, str) or not _INTEGRITY.match(integrity):
        raise LockInvalid(f"{place} has no integrity of one SHA-512.")
    kept: dict[str, Any] = {"version": version, "integrity": integrity}
    if name != where:
        kept["name"] = name
    for key in _RANGES:
        ranges = entry.get(key, {})
        if not isinstance(ranges, dict) or not all(
            _NAME.match(wanted) and isinstance(value, str) and _RANGE.match(value) for wanted, value in ranges.items()
        ):
            raise LockInvalid(f"{place} depends on something that is no range of a registry's versions.")
        if ranges:
            kept[key] = ranges
    kept |= {key: entry[key] for key in _KEPT if key in entry}
    return Locked(name, version, integrity, entry.get("optional") is True), kept


def _inside(place: str) -> bool:
    parts = place.split("/")
    return not {"", ".", ".."} & set(parts) and all(
        _NAME.match(part) or part.startswith("@") for part in parts if part != "node_modules"
    )


def node() -> Path:
    """The Node.js that packs run with, below /usr, where every sandbox sees it. Raises BuildFailed with the command that
    installs one."""
    found = shutil.which("node", path=_SEARCH)
    real = Path(os.path.realpath(found)) if found else None
    if real is None or Path("/usr") not in real.parents:
        raise BuildFailed("Node.js is not installed below /usr.", remedy="apt-get install -y nodejs npm")
    return real


def npm() -> str:
    """The npm that installs. Raises BuildFailed with the command that installs it."""
    found = shutil.which("npm", path=_SEARCH)
    if found is None:
        raise BuildFailed("npm is not installed.", remedy="apt-get install -y npm")
    return found


def prepare(env: Path, lock: Lock, name: str, version: str) -> list[str]:
    """Writes what npm reads into `env`, and returns the command that installs: no scripts, no audit, the archives kept in a
    cache of this installation alone until they were compared."""
    (env / LOCK).write_text(lock.text)
    return [npm(), "ci", *_wanted(env, name, version), "--no-bin-links", "--omit=dev", "--install-links=false"]


def prepare_lock(env: Path, name: str, version: str, held: str) -> list[str]:
    """Writes what npm reads into `env`, and returns the command that makes the lock alone; what stands in `held`, a lock as it
    was understood or nothing, is preferred. Raises LockInvalid for a name or a version of no package."""
    if not _NAME.match(name) or not _VERSION.match(version):
        raise LockInvalid(f"{name} {version} is no version of a package of npm.", remedy="Name it as 1.2.3.")
    if held:
        (env / LOCK).write_text(held)
    options = ["--package-lock-only", "--omit-lockfile-registry-resolved"]
    return [npm(), "install", *options, *_wanted(env, name, version)]


def _wanted(env: Path, name: str, version: str) -> list[str]:
    """Writes the one package that is wanted, and returns the options that keep npm to it."""
    (env / "package.json").write_text(
        json.dumps({"name": "worka-pack", "version": "1.0.0", "private": True, "dependencies": {name: version}})
    )
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    return [*options, "--userconfig=/dev/null", f"--cache={env / CACHE}", f"--prefix={env}"]


def environment(environ: Mapping[str, str], env: Path) -> dict[str, str]:
    """npm's whole environment: where packages come from, and whom to trust there, by name."""
    kept = {key: value for key, value in environ.items() if key in PASSED or key.startswith("npm_config_//")}
    if "NODE_EXTRA_CA_CERTS" not in kept and os.path.isfile(environ.get("SSL_CERT_FILE", "")):
        kept["NODE_EXTRA_CA_CERTS"] = environ["SSL_CERT_FILE"]
    return kept | {"PATH": _SEARCH, "HOME": str(env / CACHE), "LANG": "C.UTF-8", "NO_COLOR": "1"}


def verify(env: Path, lock: Lock, *, most_bytes: int, most_files: int) -> list[Distribution]:
    """Compares, then takes away what only the installation needed. Returns what is installed, by name. Raises
    RecordMismatch."""
    expected: dict[str, str] = {}
    installed = []
    for place, locked in lock.packages.items():
        if locked.optional and not (env / place).exists():
            continue
        files = _archive(env / CACHE, locked, most_bytes, most_files)
        most_bytes -= sum(size for _, size in files.values())
        most_files -= len(files)
        expected |= {f"{place}/{path}": sha for path, (sha, _) in files.items()}
        _is_it(env / place, locked)
        installed.append(Distribution(locked.name, locked.version, env / place))
    digest.remove(env / CACHE)
    for leftover in (env / "package.json", env / LOCK, env / "node_modules" / ".package-lock.json"):
        leftover.unlink(missing_ok=True)
    for path, _ in digest.walk(env):
        full = env / path
        if path not in expected:
            raise RecordMismatch(f"{path} was installed, but no locked package holds it.")
        if full.is_symlink() or digest.file_sha256(full) != expected.pop(path):
            raise RecordMismatch(f"{path} differs from the package's own archive.")
    if expected:
        raise RecordMismatch(f"{min(expected)} is in a locked package, but was not installed.")
    return installed


def _archive(cache: Path, locked: Locked, most_bytes: int, most_files: int) -> dict[str, tuple[str, int]]:
    """Path -> (SHA-256, size) of the files of a locked archive as npm unpacks it: without the first folder, plain files only.
    Raises RecordMismatch for one that is not the locked one, leaves its folder or unpacks to too much."""
    hashed = base64.b64decode(locked.integrity.removeprefix("sha512-")).hex()
    kept = cache / "_cacache" / "content-v2" / "sha512" / hashed[:2] / hashed[2:4] / hashed[4:]
    what = f"The archive of {locked.name} {locked.version}"
    try:
        with kept.open("rb") as opened:
            if hashlib.file_digest(opened, "sha512").hexdigest() != hashed:
                raise RecordMismatch(f"{what} is not the one that the lock names.")
        found: dict[str, tuple[str, int]] = {}
        ignored = False
        with (
            gzip.open(kept) as unpacked,
            tarfile.open(
                # What is no file counts too: an entry that npm leaves out can be as long as it says.
                fileobj=_Bounded(unpacked, most_bytes + most_files * _ROOM),
                mode="r|",
                tarinfo=tars.careful(),
            ) as archive,
        ):
            for number, member in enumerate(archive):
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep every entry with its headers
                if number >= most_files:
                    raise RecordMismatch(f"{what} has more than {most_files} entries.")
                path = member.name.partition("/")[2]
                if not member.isfile() or not path:
                    continue  # npm unpacks neither links nor devices; what is there all the same is found as too much
                strays = os.path.normpath(path) != path or path.startswith(("/", ".."))
                if strays or len(path) > _MOST_NAME or not 0 <= member.size <= most_bytes:
                    raise RecordMismatch(f"{what} holds {path[:120]!r}, which is too large or leads out of it.")
                most_bytes -= member.size
                content = archive.extractfile(member)
                assert content is not None
                ignored = ignored or path == ".npmignore"
                found[path] = (hashlib.file_digest(content, "sha256").hexdigest(), member.size)  # type: ignore[arg-type]
    except (OSError, tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, zlib.error) as error:
        raise RecordMismatch(f"{what} cannot be read: {error}") from error
    # npm's own rule: a .gitignore is written as .npmignore, unless there is one.
    return {(_as_npm(path) if not ignored else path): value for path, value in found.items()}


class _Bounded(io.BufferedIOBase):
    """So much is read of it, and no more: a hundred gigabytes of nothing are a hundred megabytes compressed."""

    def __init__(self, content: gzip.GzipFile, most: int) -> None:
        self._content, self._left = content, most

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes. Raises tarfile.ReadError beyond the bound."""
        found = self._content.read(size)
        self._left -= len(found)
        if self._left < 0:
            raise tarfile.ReadError("it unpacks to more than an environment may hold")
        return found


def _as_npm(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return (f"{folder}/" if folder else "") + (".npmignore" if name == ".gitignore" else name)


def _is_it(folder: Path, locked: Locked) -> None:
    document = _package(folder)
    if (document.get("name"), document.get("version")) != (locked.name, locked.version):
        raise RecordMismatch(
            f"{folder.name} calls itself {document.get('name')} {document.get('version')}, not {locked.name} {locked.version}."
        )


def _package(folder: Path) -> dict[str, Any]:
    path = folder / "package.json"
    try:
        if path.stat().st_size <= _MOST_JSON and isinstance(found := json.loads(path.read_text("utf-8")), dict):
            return found
    except (OSError, ValueError) as error:
        raise RecordMismatch(f"{folder.name} has no readable package.json.") from error
    raise RecordMismatch(f"{folder.name} has no readable package.json.")


def entry(env: Path, name: str) -> list[str]:
    """How the package is started: its `bin` of its own name, or its only one, run by Node.js. Raises EntryPointMissing."""
    folder = env / "node_modules" / name
    scripts = _package(folder).get("bin")
    if isinstance(scripts, str):
        scripts = {name.rpartition("/")[2]: scripts}
    scripts = (
        {key: value for key, value in scripts.items() if isinstance(value, str)} if isinstance(scripts, dict) else {}
    )
    wanted = scripts.get(name.rpartition("/")[2]) or (next(iter(scripts.values())) if len(scripts) == 1 else None)
    if wanted is None:
        raise EntryPointMissing(f"{name} has {len(scripts)} commands: {', '.join(sorted(scripts)) or 'none'}.")
    script = Path(os.path.normpath(folder / wanted))
    if folder not in script.parents or not script.is_file():
        raise EntryPointMissing(f"{name} names {wanted[:120]!r} as its command, which is no file of it.")
    return [str(node()), str(script)]
