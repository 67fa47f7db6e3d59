"""What is named in one place is used in another, and nothing is used that is not named."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest

import worka
from tests.architecture.reading import Finding, modules, strings
from tests.plugins import catalogue

CATALOGUE = "kernel/failpoints.py"


def _hits() -> Iterator[tuple[Finding, str]]:
    """Each `failpoints.hit("name")` or `hit("name")` with a literal name."""
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called == "hit" and isinstance(node.args[0].value, str):
                yield Finding(path, node.lineno, node.args[0].value), node.args[0].value


def _commit_points() -> Iterator[str]:
    """Each `commit_points("name")` with a literal name: it stands for two failpoints."""
    for tree in modules().values():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "commit_points"
            ):
                yield from (item.value for item in node.args if isinstance(item, ast.Constant))


def _catalogue() -> dict[str, str]:
    return importlib.import_module("worka.kernel.failpoints").CATALOGUE if CATALOGUE in modules() else {}


def test_every_failpoint_in_the_code_is_in_the_catalogue() -> None:
    unknown = [str(finding) for finding, name in _hits() if name not in _catalogue()]
    assert not unknown, "\n".join(unknown)


def test_every_failpoint_of_the_catalogue_is_in_the_code() -> None:
    used = {text for path, tree in modules().items() if path != CATALOGUE for _, text in strings(tree)}
    used |= {f"{name}.{side}_commit" for name in _commit_points() for side in ("before", "after")}
    assert sorted(set(_catalogue()) - used) == []


def _skipped(path: str) -> bool:
    """`__main__` would run; the environment and the versions of the migrations are alembic's to load."""
    return path.endswith("__main__.py") or path.startswith("kernel/migrations/")


@cache
def every_module() -> dict[str, ModuleType]:
    """All of the platform, imported, by its path below src/worka. A warning at import is an error."""
    found = {}
    for path in modules():
        if not _skipped(path):
            name = "worka." + path.removesuffix(".py").replace("/", ".")
            found[path] = importlib.import_module(name.removesuffix(".__init__"))
    return found


def test_every_module_imports_and_every_folder_is_a_package() -> None:
    imported = every_module()
    folders = {path.rpartition("/")[0] for path in imported if "/" in path}
    assert not [folder for folder in folders if f"{folder}/__init__.py" not in imported]


@pytest.mark.capability("XPL-1")
def test_every_state_that_is_not_an_end_has_registered_reasons() -> None:
    every_module()
    states = importlib.import_module("worka.kernel.states")
    reasons = importlib.import_module("worka.kernel.reasons")
    poor = []
    for name, machine in states.all_machines().items():
        for state in machine.states:
            if not state.terminal and not state.reasons:
                poor.append(f"{name}.{state.name} has no reason")
            poor += [
                f"{name}.{state.name}: {code} is not registered" for code in state.reasons if not reasons.get(code)
            ]
    assert not poor, "\n".join(poor)


@pytest.mark.capability("XPL-1")
def test_every_state_can_be_left_unless_it_is_an_end() -> None:
    every_module()
    states = importlib.import_module("worka.kernel.states")
    stuck = [
        f"{name}.{state.name}"
        for name, machine in states.all_machines().items()
        for state in machine.states
        if state.terminal == any(old == state.name for old, _ in machine.transitions)
    ]
    assert not stuck, f"a terminal state with a way out, or another without: {stuck}"


@pytest.mark.capability("XPL-3")
def test_every_reason_says_what_it_means_why_it_happens_how_to_check_and_what_to_do() -> None:
    every_module()
    reasons = importlib.import_module("worka.kernel.reasons").all_reasons()
    poor = [
        f"{reason.code}.{field}"
        for reason in reasons
        for field in ("meaning", "causes", "check", "remedy")
        if not getattr(reason, field).strip()
    ]
    assert not poor, poor


@pytest.mark.capability("XPL-3", "MAN-3")
def test_the_reference_pages_are_those_of_this_code() -> None:
    result = subprocess.run(
        ["python", "scripts/docs", "--check"], cwd=catalogue.CHECKOUT, capture_output=True, text=True, env=os.environ
    )
    assert result.returncode == 0, f"{result.stdout}{result.stderr}\nRenew them with: make docs"


def test_the_tests_run_the_build_and_not_the_checkout() -> None:
    built = os.environ.get("WORKA_BUILD_BIN")
    assert built, "run the tests with `make test`"
    assert str(worka.__path__[0]).startswith(os.path.dirname(os.path.dirname(built)))


def test_migrations_stand_in_one_line_each_with_a_number_of_its_own() -> None:
    """Two branches that each add the next number collide only when a database is made: here they collide at once."""
    folder = catalogue.CHECKOUT / "src" / "worka" / "kernel" / "migrations" / "versions"
    found = []
    for path in sorted(folder.glob("*.py")):
        names = {
            target.id: node.value.value
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        found.append((path.name[:4], names["revision"], names["down_revision"]))
    numbers = [f"{number:04d}" for number in range(1, len(found) + 1)]
    assert found == [(number, number, before) for number, before in zip(numbers, [None, *numbers[:-1]], strict=True)], (
        "renumber the newer one: file name, revision and down_revision"
    )
