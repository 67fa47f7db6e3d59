"""What is wrong with a pack that is being made, said before anything is sent. No code of the pack runs here."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from worka.packs import manifest as manifests
from worka.packs.errors import LockInvalid, ManifestInvalid
from worka.packs.folder import SDK, Source
from worka.packs.manifest import Manifest, Notice
from worka.packs.runtime import npm
from worka.packs.runtime.record import canonical_name, read_lock


@dataclass(frozen=True)
class Verdict:
    """`errors` keep it from being registered, `warnings` are told; `manifest` None: it cannot be read."""

    manifest: Manifest | None
    errors: list[Notice]
    warnings: list[Notice]

    @property
    def ok(self) -> bool:
        """Whether it would be taken."""
        return not self.errors


def check(source: Source) -> Verdict:
    """Everything that registration would refuse without running it, all at once."""
    try:
        manifest, warnings = manifests.read(source.document, place=source.place)
    except ManifestInvalid as invalid:
        told = [[Notice(**item) for item in invalid.extra[key]] for key in ("errors", "warnings")]
        return Verdict(None, told[0], told[1])
    errors = manifests.unserved(manifest)
    # Told once: as what refuses it, not as a warning beside.
    warnings = [warning for warning in warnings if warning.pointer not in {error.pointer for error in errors}]
    errors += _lock(manifest, source)
    if source.is_tree:
        errors += manifests.absent_files(manifest, source.files) + manifests.two_places(source.files)
        errors += _start(manifest, source)
        warnings += _code(source)
        if (package := manifest.runtime.package) and package.lock not in source.files:
            fix = "add it; a pack that needs nothing has one with a comment alone"
            warnings.append(Notice("/runtime/package/lock", f"there is no {package.lock}; nothing is installed", fix))
    return Verdict(manifest, errors, warnings)


def _lock(manifest: Manifest, source: Source) -> list[Notice]:
    package = manifest.runtime.package
    if package is None:
        return []
    try:
        if package.ecosystem == "npm":
            npm.read_lock(source.lock, package.name, package.version)
            return []
        pins = read_lock(source.lock).pins
    except LockInvalid as invalid:
        return [Notice("/runtime/package/lock", invalid.detail, "make it with `worka pack lock`, or correct the line")]
    if package.ecosystem == "pypi" and pins.get(canonical_name(package.name)) != package.version:
        message = f"{package.lock} does not pin {package.name} {package.version}"
        return [Notice("/runtime/package/lock", message, "make it with `worka pack lock`")]
    return []


def _start(manifest: Manifest, source: Source) -> list[Notice]:
    """`python -m MODULE` names a module that is there, and `python FILE` a file."""
    command = manifest.runtime.command or []
    if command[:1] not in (["python"], ["python3"]) or len(command) < 2:
        return []
    if command[1] == "-m" and len(command) > 2:
        module = command[2].replace(".", "/")
        wanted = [f"{root}{module}{end}" for root in ("", "src/") for end in ("/__main__.py", ".py")]
        # A module of a locked package is found there, not here.
        known = {name.split("/")[0] for name in source.files} | {
            name.split("/")[1] for name in source.files if name.startswith("src/")
        }
        if not any(name in source.files for name in wanted) and (command[2].split(".")[0] in known or not source.lock):
            return [Notice("/runtime/command/2", f"there is no module {command[2]}", f"add {wanted[0]}, or correct it")]
    elif not command[1].startswith("-") and command[1] not in source.files:
        return [Notice("/runtime/command/1", f"there is no file {command[1]}", "add it, or correct the name")]
    return []


def _code(source: Source) -> list[Notice]:
    """What does not compile: told where, as a pack may hold files that are no Python of its own."""
    found = []
    for name, contents in sorted(source.files.items()):
        if not name.endswith(".py") or name.startswith(f"{SDK}/"):
            continue
        try:
            ast.parse(contents)
        # The last two: nested deeper than the compiler goes, which is a stranger's doing as much as a wrong word.
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            where = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            found.append(
                Notice(
                    "",
                    f"{name} is not Python{where}: {str(error)[:120] or 'nested too deep'}",
                    "correct it, or leave it out",
                )
            )
    return found
