"""The hashed lock of a package, resolved for the sandbox: Linux, wheels only, this Python's version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from worka.packs.runtime.build import uv
from worka.packs.runtime.errors import BuildFailed


def resolve(name: str, version: str, target: Path) -> int:
    """Writes the lock of one version of a PyPI package; what stands in `target` is preferred. Returns how many packages
    it pins. Raises BuildFailed with the resolver's own words."""
    command = [uv(), "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--only-binary", ":all:"]
    command += ["--python-platform", "linux", "--python-version", f"{sys.version_info[0]}.{sys.version_info[1]}"]
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
