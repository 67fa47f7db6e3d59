"""The hashed lock of a package, resolved for the sandbox: Linux, wheels only, this Python's version; or npm's, with scripts off.

A folder that somebody else has made is no more than texts here: what stands in it was understood before an installer sees
it, and the installer runs in an empty folder, with the environment that a build has. Nothing of the folder is run.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from worka.kernel.redact import text as redact_text
from worka.packs.errors import LockInvalid
from worka.packs.manifest import Package
from worka.packs.runtime import npm
from worka.packs.runtime.build import tool_environment, uv
from worka.packs.runtime.errors import BuildFailed
from worka.packs.runtime.record import canonical_name, read_lock

SECONDS = 600
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CORRECT = "Check the name and the version; a package without wheels cannot be a pack."
_ANEW = "Remove the lock, and run the command again."


def resolve(package: Package, held: str = "", constraints: str = "") -> tuple[str, int]:
    """The lock of one version of a PyPI package, and how many packages it pins. What stands in the `held` lock is preferred;
    `constraints` (lines `name op version`) narrow what may be taken (a server that was written for an older library).

    Raises LockInvalid for a name, a version, a lock or constraints that say more than that; BuildFailed with the resolver's own
    words.
    """
    if not _NAME.fullmatch(package.name) or not _is_version(package.version):
        raise LockInvalid(f"{package.name} {package.version} is no version of a package of PyPI.", remedy=_CORRECT)
    preferred, narrowed = _held(held), _constraints(constraints)
    with tempfile.TemporaryDirectory(prefix="worka-lock-") as folder:
        place = Path(folder)
        target = place / "requirements.lock"
        target.write_text(preferred)
        command = [uv(), "pip", "compile", "-", "--quiet", "--no-config", "--python", sys.executable]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
        command += ["--only-binary", ":all:", "--python-platform", "linux"]
        command += ["--python-version", f"{sys.version_info[0]}.{sys.version_info[1]}"]
        if narrowed:
            (place / "constraints.txt").write_text(narrowed)
            command += ["--constraints", str(place / "constraints.txt")]
        wanted = f"{package.name}=={package.version}\n"
        _run([*command, "-o", str(target)], place, tool_environment(os.environ, place / "home"), _CORRECT, wanted)
        text = target.read_text()
    pins = read_lock(text).pins
    if pins.get(canonical_name(package.name)) != package.version:
        told = pins.get(canonical_name(package.name), "nothing")
        raise BuildFailed(f"{package.name} {package.version} was asked for and {told} found.", remedy=_CORRECT)
    return text, len(pins)


def resolve_npm(package: Package, held: str = "") -> tuple[str, int]:
    """The lock of one version of an npm package, without addresses and without running anything of it, and how many packages it
    pins; what stands in the `held` lock is preferred. Raises LockInvalid, BuildFailed with npm's own words."""
    with tempfile.TemporaryDirectory(prefix="worka-lock-") as folder:
        place = Path(folder)
        command = npm.prepare_lock(place, package.name, package.version, _held_npm(held, package.name))
        _run(command, place, npm.environment(os.environ, place), "Check the name and the version.")
        lock = npm.read_lock((place / npm.LOCK).read_text(), package.name, package.version)
    # As it was understood: what is not kept here would not be installed either.
    return lock.text + "\n", len(lock.packages)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _held(text: str) -> str:
    try:
        return read_lock(text).text
    except LockInvalid as invalid:
        raise LockInvalid(invalid.detail, remedy=_ANEW) from invalid


def _held_npm(text: str, name: str) -> str:
    if not text.strip():
        return ""
    try:
        return npm.read_lock(text, name).text
    except LockInvalid as invalid:
        raise LockInvalid(invalid.detail, remedy=_ANEW) from invalid


def _constraints(text: str) -> str:
    """As they were understood: an option or an address in them would be a stranger's command to the resolver."""
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        try:
            found = Requirement(line)
        except InvalidRequirement as error:
            raise _no_constraint(number, line) from error
        # `===` compares texts of any kind.
        if found.url or found.extras or found.marker or not found.specifier or "===" in str(found.specifier):
            raise _no_constraint(number, line)
        lines.append(f"{found.name}{found.specifier}\n")
    return "".join(lines)


def _no_constraint(number: int, line: str) -> LockInvalid:
    return LockInvalid(
        f"Line {number} of constraints.txt is not `name op version`: {line[:120]}",
        remedy="Write one package and its versions a line, such as mcp<2.",
    )


def _run(command: list[str], cwd: Path, env: dict[str, str], remedy: str, given: str = "") -> None:
    """Runs an installer to its end. Raises BuildFailed with its own words, or that it took too long."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", cwd=cwd, env=env, start_new_session=True,
    )  # fmt: skip
    try:
        _, said = process.communicate(given, timeout=SECONDS)
    except BaseException as error:
        # With whatever it has started, which would hold its pipes for ever.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BuildFailed(f"{Path(command[0]).name} took longer than {SECONDS} s.") from error
        raise
    if process.returncode != 0:
        raise BuildFailed(redact_text(said.strip())[-1500:], remedy=remedy)
