"""Two worlds in which every state can be made to happen, and the three doors on each: a real `serve` process, the real
command line, and the console's pages.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.explanations.doors import Doors
from tests.packs.conftest import home, outside, place, repository
from tests.support.database import Cluster, reachable_directory
from tests.workflows.conftest import world

__all__ = ["home", "outside", "place", "repository", "world"]
MASTER_KEY = base64.b64encode(bytes(32)).decode()
"""That of tests/workflows/world.py: credentials made there open this door."""


def open_doors(cluster: Cluster, folder: Path, **more: str) -> Iterator[Doors]:
    """A `serve` process on the cluster and the home."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("WORKA_")},
        "WORKA_HOME": str(folder),
        "WORKA_DATABASE__URL": cluster.urls.app,
        "WORKA_DATABASE__ENGINE_URL": cluster.urls.engine,
        "WORKA_HTTP__PORT": str(port),
        "WORKA_TESTING": "1",
        **more,
    }
    log = (folder / "serve.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "worka.web.serve"], env=environment, stdout=log, stderr=log, cwd="/"
    )
    doors = Doors(f"http://127.0.0.1:{port}", environment)
    try:
        deadline = time.monotonic() + 30
        while not doors.ready():
            assert process.poll() is None, (folder / "serve.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the door did not open"
            time.sleep(0.05)
        yield doors
    finally:
        process.terminate()
        process.wait(15)
        log.close()


@pytest.fixture(scope="session")
def task_doors(cluster: Cluster) -> Iterator[Doors]:
    """The doors of every world of tests/workflows/world.py."""
    folder = reachable_directory("test-doors-")
    for name in ("run", "keys", "log", "objects"):
        (folder / name).mkdir()
    try:
        yield from open_doors(cluster, folder, WORKA_TREASURY__MASTER_KEY=MASTER_KEY)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pack_doors(cluster: Cluster, home: Path) -> Iterator[Doors]:
    """The doors of every tenant in the home where packs run."""
    yield from open_doors(cluster, home)
