"""The tags, the mutations and the list of capabilities agree, and the judge of `make prove` is strict."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.plugins import catalogue
from tests.plugins.capabilities import failed_by


def _marks() -> Iterator[tuple[str, str, str | None]]:
    """(file:line, code, part) of every `capability(…)` mark in the tests, read without running them."""
    for path in sorted((catalogue.CHECKOUT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "capability":
                part = next((k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)), None)
                for code in node.args:
                    if isinstance(code, ast.Constant):
                        yield f"{path.relative_to(catalogue.CHECKOUT)}:{node.lineno}", str(code.value), part


def test_every_tag_names_a_capability() -> None:
    known = catalogue.capabilities()
    assert not [f"{where}: {code}" for where, code, _ in _marks() if code not in known]


def test_what_is_missing_is_named_for_exactly_the_partly_covered() -> None:
    parts: dict[str, list[str | None]] = {}
    for _, code, part in _marks():
        parts.setdefault(code, []).append(part)
    partly = {code for code, found in parts.items() if all(found)}
    assert set(catalogue.partly()) == partly, "tests/partly.toml names what is missing, for exactly these codes"


def test_the_guarding_codes_exist_and_stand_once() -> None:
    codes = catalogue.guarding()
    assert set(codes) <= set(catalogue.capabilities())
    assert len(codes) == len(set(codes))


def test_every_mutation_applies_removes_code_and_expects_a_test_that_is_there() -> None:
    known = catalogue.capabilities()
    for mutation in catalogue.mutations():
        name = mutation.path.name
        assert mutation.code in known or mutation.code in catalogue.UNTAGGED, name
        assert mutation.why, f"{name} does not say what it takes away"
        assert mutation.expects, f"{name} names no test that has to fail"
        targets = [line[6:] for line in mutation.path.read_text().splitlines() if line.startswith("+++ b/")]
        assert targets, f"{name} changes nothing"
        assert all(target.startswith(("src/", "packs/", "sdk/")) for target in targets), f"{name} changes {targets}"
        command = ["git", "-c", "core.autocrlf=false", "apply", "--check", str(mutation.path)]
        applied = subprocess.run(command, cwd=catalogue.CHECKOUT, capture_output=True, text=True)
        assert applied.returncode == 0, f"{name} does not apply: {applied.stderr}"
    assert catalogue.absent(test for mutation in catalogue.mutations() for test in mutation.expects) == []
    assert catalogue.absent(["tests/architecture/test_proof.py::test_of_nothing"]) != []


# ---------------------------------------------------------------- the judge


def _prove() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("prove", str(catalogue.CHECKOUT / "scripts" / "prove"))
    spec = importlib.util.spec_from_loader("prove", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _run(*tests: tuple[str, str, str], exit_code: int = 1, uncollected: int = 0) -> dict[str, Any]:
    rows = [{"id": name, "outcome": outcome, "by": by, "message": ["one is not two"]} for name, outcome, by in tests]
    return {"exit": exit_code, "uncollected": uncollected, "tests": rows}


def _mutation(*expects: str) -> catalogue.Mutation:
    return catalogue.Mutation(Path("BRK-2-x.patch"), "BRK-2", expects, "")


def test_a_mutation_is_proven_when_the_expected_test_fails_by_its_own_assertion() -> None:
    judged = _prove().judge(_mutation("t::a"), _run(("t::a[1]", "failed", "assertion"), ("t::b", "passed", "")))
    assert judged == (True, "t::a[1]: one is not two")


@pytest.mark.parametrize(
    "run",
    [
        _run(("t::a", "passed", ""), exit_code=0),
        _run(("t::a", "error", "ImportError")),
        _run(("t::a", "error", "assertion")),
        _run(("t::a", "failed", "timeout")),
        _run(("t::a", "failed", "KeyError")),
        _run(("t::a", "skipped", "")),
        _run(("t::b", "failed", "assertion"), ("t::a", "passed", "")),
        _run(("t::b", "failed", "assertion")),
        _run(("t::a", "failed", "assertion"), uncollected=1),
        _run(("t::a", "failed", "assertion"), exit_code=3),
        _run(exit_code=5),
    ],
)
def test_a_mutation_is_not_proven_by_anything_else(run: dict[str, Any]) -> None:
    proven, why = _prove().judge(_mutation("t::a"), run)
    assert not proven, why


def test_every_test_that_a_mutation_names_has_to_fail() -> None:
    judge = _prove().judge
    both = _mutation("t::a", "t::b")
    assert judge(both, _run(("t::a", "failed", "assertion"), ("t::b", "failed", "assertion")))[0]
    assert not judge(both, _run(("t::a", "failed", "assertion"), ("t::b", "passed", "")))[0]
    assert not judge(_mutation(), _run(("t::a", "failed", "assertion")))[0], "a patch that names no test proves nothing"


def test_tests_that_are_not_green_or_of_another_capability_prove_nothing() -> None:
    not_green = _prove().not_green
    green = _run(("t::a[1]", "passed", ""), ("t::a[2]", "passed", ""), exit_code=0)
    for test in green["tests"]:
        test["capabilities"] = [{"code": "BRK-2", "part": None}]
    assert not_green(_mutation("t::a"), green) == ""
    assert "did not run" in not_green(_mutation("t::b"), green)
    green["tests"][1]["outcome"] = "failed"
    assert "not green" in not_green(_mutation("t::a"), green)
    green["tests"][1] |= {"outcome": "passed", "capabilities": []}
    green["tests"][0]["capabilities"] = [{"code": "BRK-3", "part": None}]
    assert "not tagged BRK-2" in not_green(_mutation("t::a"), green)


GUARD = """import os

def before():
    return 1


class Door:
    limit = 3

    def opens(self, who):
        if who is None:
            raise PermissionError
        return True

    def shuts(self):
        return self.limit
"""
ITS_TESTS = """WHO = None

def test_a():
    assert WHO is None

def test_b():
    assert WHO is not 1
"""
ITS_PATCH = """# code: BRK-2
# expects: tests/test_a.py::test_a
# why: x
diff --git a/src/a.py b/src/a.py
--- a/src/a.py
+++ b/src/a.py
@@ -10,4 +10,2 @@
     def opens(self, who):
-        if who is None:
-            raise PermissionError
         return True
"""


def guarded(root: Path, **changed: tuple[str, str]) -> tuple[catalogue.Mutation, str]:
    """A tree with one guard, its test and its patch, some of their text replaced; the mutation and what is said of it."""
    for key, name, text in (
        ("guard", "src/a.py", GUARD), ("tests", "tests/test_a.py", ITS_TESTS),
        ("patch", str(catalogue.MUTATIONS / "BRK-2-x.patch"), ITS_PATCH),
    ):  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        old, new = changed.get(key, ("", ""))
        assert old in text
        path.write_text(text.replace(old, new) if old else text)
    (mutation,) = catalogue.mutations(root)
    return mutation, catalogue.state(mutation, catalogue.verdicts(root), root)


def test_a_verdict_holds_until_the_patch_the_guard_or_its_test_changes(tmp_path: Path) -> None:
    mutation, state = guarded(tmp_path)
    assert state == "none"
    catalogue.keep_verdict(mutation, mutation.key(tmp_path), True, "it fails", 1.0, tmp_path)
    for key, old, new in (
        ("guard", "return True", "return 1"),  # in the function that the patch changes
        ("guard", "import os\n", "import os\n" * 2 + "x = 1\n"),  # elsewhere, and it moves down
        ("guard", "return self.limit", "return 4"),
        ("tests", "WHO = None", "WHO = 0"),  # what the test stands on
        ("tests", "assert WHO is None", "assert not WHO"),
        ("tests", "is not 1", "is not 2"),  # another test
        ("patch", "why: x", "why: y"),
    ):
        _, state = guarded(tmp_path, **{key: (old, new)})
        untouched = (key, old) in {("guard", "import os\n"), ("guard", "return self.limit"), ("tests", "is not 1")}
        assert state == ("proven" if untouched else "stale"), old
    _, state = guarded(tmp_path, guard=("        if who is None:\n            raise PermissionError\n", ""))
    assert state == "stale", "the guard is gone"
    (tmp_path / "src" / "a.py").unlink()
    assert catalogue.state(mutation, catalogue.verdicts(tmp_path), tmp_path) == "stale"
    mutation, _ = guarded(tmp_path)
    catalogue.keep_verdict(mutation, mutation.key(tmp_path), False, "it passes", 1.0, tmp_path)
    assert guarded(tmp_path)[1] == "failed"


def test_what_broke_a_test_is_told_apart() -> None:
    assert failed_by(AssertionError()) == "assertion"
    assert failed_by(pytest.fail.Exception("DID NOT RAISE")) == "assertion"
    assert failed_by(pytest.fail.Exception("Timeout (>1.0s) from pytest-timeout.")) == "timeout"
    assert failed_by(KeyError("a")) == "KeyError"
    assert failed_by(ExceptionGroup("two", [AssertionError(), AssertionError()])) == "assertion"
    assert failed_by(ExceptionGroup("two", [AssertionError(), KeyError()])) == "ExceptionGroup"
