"""Where a test finds the thing that it tests, and folders that other users can reach."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def worka_bin() -> Path:
    """The runnable build, as a user starts it. Instances in tests are started from it, in a WORKA_HOME of their own."""
    path = os.environ.get("WORKA_BUILD_BIN")
    assert path, "WORKA_BUILD_BIN is not set: run the tests with `make test`"
    return Path(path)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A new folder that the users `worka` and `worka-db` can reach; pytest's own tmp_path is closed to them."""
    path = Path(tempfile.mkdtemp(prefix="worka-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)
