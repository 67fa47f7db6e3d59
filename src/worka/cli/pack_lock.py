"""`worka pack lock`: the hashed lock of a pack's package, resolved for the sandbox (Linux, wheels only, this Python)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worka.cli.client import Failed
from worka.packs.runtime.lock import resolve


def lock(folder: Path) -> dict[str, Any]:
    """Writes the lock that the manifest names; what stands in it is preferred. Returns {lock, packages}.

    Raises Failed when the manifest names no PyPI package, BuildFailed when the package cannot be resolved.
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
    return {"lock": str(target), "packages": resolve(str(package["name"]), str(package["version"]), target)}


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
