"""The tree reads as the glossary: known names, short files, and every linter content."""

from __future__ import annotations

import os
import subprocess
import tomllib

import pytest

from tests.architecture.reading import SRC, modules
from tests.plugins.catalogue import CHECKOUT

LONGEST = 600
BANNED = {"manager", "helper", "helpers", "util", "utils", "common", "misc"}


def test_no_source_file_is_longer_than_one_can_read() -> None:
    lengths = {path: len((SRC / path).read_text().splitlines()) for path in modules()}
    long = {path: lines for path, lines in lengths.items() if lines > LONGEST}
    assert not long, f"split by use case (a package of the same name): {long}"


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [path for path in modules() if set(path.removesuffix(".py").split("/")) & BANNED]


def test_every_folder_is_a_layer_of_the_list() -> None:
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {layer.strip("()") for layer in contracts[0]["layers"]}
    folders = {path.split("/")[0] for path in modules() if "/" in path}
    assert folders <= layers, f"not in the layer list of pyproject.toml: {sorted(folders - layers)}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "-q", "--output-format=concise", "src", "tests", "scripts"],
        ["ruff", "format", "--check", "src", "tests", "scripts"],
        ["lint-imports", "--no-logo"],
        ["mypy"],
    ],
    ids=["ruff", "format", "layers", "types"],
)
def test_the_linters_are_content(command: list[str]) -> None:
    result = subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)} (see `make lint`):\n{(result.stdout + result.stderr)[-6000:]}"
