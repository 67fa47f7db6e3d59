"""Every reason that no state of `ways.py` carries: which test produces it. Found by reading the tests, so that the list
never lies: a reason whose name no test of the running product mentions in what it demands fails here, by its name.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.explanations.test_states import pairs
from worka.kernel import reasons, states

TESTS = Path(__file__).resolve().parents[1]
# Tests of pure functions produce nothing; those of this folder that only read the registry neither.
PURE = ("test_rules.py", "test_bindings.py", "test_catalogues.py", "test_failure_reasons.py", "test_doors.py")


# Registered, and produced by no test yet: each with why. An entry whose reason a test produces by now fails here too.
NOT_YET = {
    "broker_lost": "the broker has to die under a call of a real sandbox; tests/faults kills it, and judges effects",
    "secret_unreadable": "a stored secret's byte has to be flipped by a superuser; the error has a test, the reason none",
}


@cache
def demanded() -> dict[str, list[str]]:
    """Text constant -> the tests that hold it: in an assertion of theirs, or in their parameters."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path.name in PURE and path.parent.name != "broker":
            continue
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
                continue
            parts: list[ast.AST] = [part for part in ast.walk(node) if isinstance(part, ast.Assert)]
            parts += node.decorator_list
            for constant in {
                item.value
                for part in parts
                for item in ast.walk(part)
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            }:
                found.setdefault(constant, []).append(f"{path.relative_to(TESTS)}::{node.name}")
        for node in tree.body:
            # Tables of a module that its parametrized tests run over.
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for item in ast.walk(node.value):
                    if isinstance(item, ast.Constant) and isinstance(item.value, str):
                        found.setdefault(item.value, []).append(f"{path.relative_to(TESTS)} (a table)")
    return found


def others() -> list[str]:
    """The reasons that no way of `ways.py` makes happen, and that somebody can meet."""
    made = {reason for _, _, reason in pairs()}
    later = {
        reason
        for machine in states.all_machines().values()
        for state in machine.states
        if state.later
        for reason in state.reasons
    }
    return [reason.code for reason in reasons.all_reasons() if reason.code not in made | later]


@pytest.mark.capability("XPL-3", part="every reason is produced by a test")
@pytest.mark.parametrize("code", others())
def test_a_reason_is_demanded_by_a_test_that_produces_it(code: str) -> None:
    found = demanded().get(code)
    if code in NOT_YET:
        assert not found, f"{found} produces {code} by now: take it out of NOT_YET"
    else:
        assert found, f"no test asserts the reason {code}: write one that makes it happen"
