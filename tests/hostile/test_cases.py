"""The table of hostile cases names tests that exist, and every test of this folder stands in it."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.hostile.cases import CASES

TESTS = Path(__file__).resolve().parents[1]


def functions(file: Path) -> set[str]:
    """Names of the tests in a file."""
    tree = ast.parse(file.read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_case_names_tests_that_are_there() -> None:
    missing = []
    for case in CASES:
        assert case.tests, case.attempt
        for test in case.tests:
            file, _, name = test.partition("::")
            if name not in functions(TESTS / file):
                missing.append(test)
    assert not missing


def test_every_hostile_test_holds_a_case() -> None:
    named = {test for case in CASES for test in case.tests}
    here = {
        f"hostile/{file.name}::{name}"
        for file in (TESTS / "hostile").glob("test_*.py")
        if file.name != "test_cases.py"
        for name in functions(file)
    }
    assert sorted(here - named) == []
