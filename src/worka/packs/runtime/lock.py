"""The hashed lock of a package, resolved for the sandbox: Linux, wheels only, this Python's version; or npm's, with scripts off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from worka.packs.runtime import npm
from worka.packs.runtime.build import uv
from worka.packs.runtime.errors import BuildFailed


def resolve(name: str, version: str, target: Path) -> int:
    """Writes the lock of one version of a PyPI package; what stands in `target` is preferred. Returns how many packages
    it pins. A `constraints.txt` beside it narrows what may be taken (a server that was written for an older library). Raises
    BuildFailed with the resolver's own words."""
    command = [uv(), "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--only-binary", ":all:"]
    command += ["--python-platform", "linux", "--python-version", f"{sys.version_info[0]}.{sys.version_info[1]}"]
    constraints = target.parent / "constraints.txt"
    if constraints.is_file():
        command += ["--constraints", str(constraints)]
    done = subprocess.run(
        [*command, "-o", str(target)],
        input=f"{name}=={version}\n",
        capture_output=True,
        text=True,
        check=False,
        env={"UV_SYSTEM_CERTS": "1", **os.environ},
    )
    if done.returncode != 0:
        raise BuildFailed(
            done.stderr.strip()[-1500:],
            remedy="Check the name and the version; a package without wheels cannot be a pack.",
        )
    return target.read_text().count("==")


def resolve_npm(name: str, version: str, target: Path) -> int:
    """Writes the lock of one version of an npm package, without addresses and without running anything of it; what stands in
    `target` is preferred. Returns how many packages it pins. Raises BuildFailed with npm's own words."""
    with tempfile.TemporaryDirectory(prefix="worka-lock-") as folder:
        place = Path(folder)
        wanted = {"name": "worka-pack", "version": "1.0.0", "private": True, "dependencies": {name: version}}
        (place / "package.json").write_text(json.dumps(wanted))
        if target.is_file():
            (place / npm.LOCK).write_text(target.read_text())
        command = [npm.npm(), "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(
            [*command, "--omit-lockfile-registry-resolved"],
            capture_output=True, text=True, check=False, cwd=place, env={"NO_COLOR": "1", **os.environ},
        )  # fmt: skip
        if done.returncode != 0:
            raise BuildFailed(done.stderr.strip()[-1500:], remedy="Check the name and the version.")
        lock = npm.read_lock((place / npm.LOCK).read_text(), name, version)
    # As it was understood: what is not kept here would not be installed either.
    target.write_text(lock.text + "\n")
    return len(lock.packages)
