"""The set-up: nothing when done, one line when it cannot, and never the one to remove what still runs."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.plugins.catalogue import CHECKOUT

LOCKS = [*CHECKOUT.glob("requirements*.lock"), *CHECKOUT.glob("packs/**/*.lock")]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The set-up's modules, which are a program and not a package."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "scripts" / "set_up"))
    names = ("words", "use", "system", "environment", "build")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def test_with_nothing_to_do_it_does_nothing_and_names_the_same_build() -> None:
    first, second = (
        subprocess.run([CHECKOUT / "scripts" / "setup"], capture_output=True, text=True, check=True) for _ in range(2)
    )
    build = Path(first.stdout.strip())
    assert build.is_file()
    made = build.stat().st_mtime_ns
    assert second.stdout == first.stdout
    assert second.stderr == "", "each thing that the set-up does is said there"
    assert build.stat().st_mtime_ns == made


@pytest.mark.parametrize("lock", LOCKS, ids=[str(lock.relative_to(CHECKOUT)) for lock in LOCKS])
def test_a_lock_pins_every_package_by_hash_and_records_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index" not in text
    for requirement in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        if not requirement.startswith("#"):
            assert "==" in requirement, requirement
            assert "--hash=sha256:" in requirement, requirement


def test_what_users_run_has_no_test_tools(worka_bin: Path) -> None:
    python = re.search(r"exec '([^']+)'", worka_bin.read_text())
    assert python
    can = subprocess.run([python[1], "-I", "-c", "import pydantic"], capture_output=True)
    cannot = subprocess.run([python[1], "-I", "-c", "import pytest"], capture_output=True)
    assert (can.returncode, cannot.returncode) == (0, 1)


def test_an_ordinary_user_is_told_the_one_command(
    parts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    missing = parts["system"].Part("bubblewrap", lambda: False)
    monkeypatch.setattr(parts["system"], "PARTS", (missing,))
    with pytest.raises(parts["words"].Failed) as failure:
        parts["system"].ensure(tests=False)
    assert str(failure.value) == "Worka needs bubblewrap; run: sudo apt-get install -y bubblewrap"


def test_pruning_keeps_the_newest_builds_and_one_that_still_runs(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    builds = [tmp_path / "build" / f"{number:016x}" for number in range(8)]
    for age, build in enumerate(builds):
        build.mkdir(parents=True)
        os.utime(build, (1_000_000 - age, 1_000_000 - age))
    foreign = tmp_path / "build" / "somebody-elses"
    foreign.mkdir()
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, "PYTHONPATH": f"{builds[7]}/src"})
    try:
        parts["build"].prune(tmp_path)
    finally:
        process.kill()
        process.wait()
    assert {path for path in builds if path.exists()} == {*builds[:5], builds[7]}
    assert foreign.exists()
