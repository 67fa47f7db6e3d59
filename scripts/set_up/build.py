"""The runnable build: a copy of the code by its content, where every process of the platform can read it.

A clone may lie under a closed home while processes run as user `worka`; and a running instance must not change when
someone edits the checkout. So what runs is always `<prefix>/build/<hash>/`, with the layout of the repository.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from collections.abc import Iterator

import use
from words import Failed, say

KEEP = 5
# What runs, and what running code reads. Paths keep their place, so the code finds its files the same way in both.
CONTENT = ("src/worka", "packs", "sdk", "docs/reference", "docs/runbooks", "pyproject.toml", "LICENSE", "CHANGELOG.md")
IGNORED = {
    "__pycache__",
    "node_modules",
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    "build",
    "dist",
}
WRAPPER = """#!/bin/sh
# Worka, build {build}. Made by scripts/setup; the code beside it is never changed.
PYTHONPATH='{src}'
PYTHONSAFEPATH=1
WORKA_BUILD_ID='{build}'
export PYTHONPATH PYTHONSAFEPATH WORKA_BUILD_ID
exec '{python}' -m worka "$@"
"""


def _files(checkout: Path) -> Iterator[Path]:
    for name in CONTENT:
        top = checkout / name
        if top.is_file():
            yield top
        for parent, folders, files in os.walk(top):
            folders[:] = sorted(folder for folder in folders if folder not in IGNORED)
            for file in sorted(files):
                path = Path(parent) / file
                if path.is_file() and not file.endswith((".pyc", ".swp", "~")):
                    yield path


def _digest(checkout: Path, env: Path) -> str:
    digest = hashlib.sha256(f"1\0{env}\0".encode())
    for path in _files(checkout):
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(checkout)}\0{executable}\0{content}\0".encode())
    return digest.hexdigest()[:16]


def ensure(checkout: Path, builds: Path, env: Path) -> Path:
    """`builds/<hash>` of what the checkout holds now."""
    builds = builds.absolute()
    for _ in range(3):
        name = _digest(checkout, env)
        build = builds / name
        if build.exists():
            use.touch(build)
            return build
        work = builds / f".{name}.{os.getpid()}"
        shutil.rmtree(work, ignore_errors=True)
        try:
            _copy(checkout, work, build, env)
            if _digest(checkout, env) == name:  # else someone saved a file meanwhile: a mixture must not get this name
                work.rename(build)
                say(f"build ready: {build}")
                return build
        finally:
            shutil.rmtree(work, ignore_errors=True)
    raise Failed("the checkout keeps changing while it is copied; run it again when nothing writes there")


def _copy(checkout: Path, work: Path, build: Path, env: Path) -> None:
    (work / "src").mkdir(parents=True)
    for path in _files(checkout):
        target = work / path.relative_to(checkout)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    (work / "bin").mkdir()
    wrapper = work / "bin" / "worka"
    wrapper.write_text(WRAPPER.format(build=build.name, src=build / "src", python=env / "bin" / "python"))
    wrapper.chmod(0o755)
    (work / "build.json").write_text(json.dumps({"build": build.name, "environment": str(env)}, indent=2) + "\n")
    # Compiled here because user `worka` cannot write beside it; unchecked because the copy never changes. By the
    # environment's own interpreter, under the name that the build will have. A file that does not parse fails later,
    # where it is imported, in its own words.
    command = [env / "bin" / "python", "-I", "-m", "compileall", "-qq", "-s", work, "-p", build]
    subprocess.run([*map(str, command), "--invalidation-mode", "unchecked-hash", str(work / "src")], check=False)


def link(checkout: Path, build: Path) -> None:
    """`build/worka` in the checkout names the newest runnable build, for people; a read-only checkout goes without."""
    shortcut = checkout / "build" / "worka"
    target = build / "bin" / "worka"
    try:
        if os.path.realpath(shortcut) == str(target):
            return
        shortcut.parent.mkdir(exist_ok=True)
        beside = shortcut.with_name(f".worka.{os.getpid()}")
        beside.symlink_to(target)
        beside.replace(shortcut)
    except OSError:
        return


def prune(prefix: Path) -> None:
    """Keeps the newest builds, and any that something still runs from."""
    for build in use.hashed(prefix / "build")[KEEP:]:
        if not use.running(build):
            shutil.rmtree(build, ignore_errors=True)
