"""`worka pack lock`: the hashed lock of a pack's package, resolved for the sandbox (Linux, wheels only, this Python)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from worka.cli.client import Failed


def lock(folder: Path) -> dict[str, Any]:
    """Writes the lock that the manifest names; what stands in it is preferred. Returns {lock, packages}.

    Raises Failed when the manifest names no PyPI package, or when the package cannot be resolved.
    """
    package = manifest_of(folder).get("runtime", {}).get("package") or {}
    if package.get("ecosystem") != "pypi" or not package.get("name") or not package.get("version"):
        raise Failed(
            {
                "code": "nothing_to_lock",
                "title": "The manifest names no package to lock",
                "detail": f"{folder}/worka/aip.json: runtime.package needs ecosystem pypi, a name and a version",
                "remedy": "Name the package, or write requirements.lock yourself for a pack that is its own source.",
            },
            2,
        )
    target = folder / str(package.get("lock") or "requirements.lock")
    beside = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or "uv"
    command = [beside, "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--only-binary", ":all:"]
    command += ["--python-platform", "linux", "--python-version", f"{sys.version_info[0]}.{sys.version_info[1]}"]
    try:
        done = subprocess.run(
            [*command, "-o", str(target)],
            input=f"{package['name']}=={package['version']}\n",
            capture_output=True,
            text=True,
            check=False,
            env={"UV_SYSTEM_CERTS": "1", **os.environ},
        )
    except OSError as error:
        raise Failed(
            {"title": "uv is missing", "detail": str(error), "remedy": "Run `make setup` again: it installs uv."}, 1
        ) from error
    if done.returncode != 0:
        raise Failed(
            {
                "code": "unresolved",
                "title": "The package cannot be resolved",
                "detail": done.stderr.strip()[-1500:],
                "remedy": "Check the name and the version; a package without wheels cannot be a pack.",
            },
            1,
        )
    return {"lock": str(target), "packages": target.read_text().count("==")}


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a pack's folder. Raises Failed when it cannot be read."""
    path = folder / "worka" / "aip.json"
    try:
        manifest = json.loads(path.read_text())
        if not isinstance(manifest, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:
        raise Failed(
            {
                "code": "manifest_unreadable",
                "title": "The manifest cannot be read",
                "detail": f"{path}: {error}",
                "remedy": "Correct the file.",
            },
            2,
        ) from error
    return manifest
