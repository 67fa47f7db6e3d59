"""Reading the source as a tree: which dotted names a module uses, and which strings it holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.plugins.catalogue import CHECKOUT

SRC = CHECKOUT / "src" / "worka"


@dataclass(frozen=True)
class Finding:
    """Something that a module does, and where."""

    path: str  # below src/worka, "broker/rules.py"
    line: int
    what: str

    def __str__(self) -> str:
        return f"src/worka/{self.path}:{self.line} {self.what}"


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the platform, by its path below src/worka."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        try:
            found[path.relative_to(SRC).as_posix()] = ast.parse(path.read_text(), filename=str(path))
        except SyntaxError as error:
            raise SyntaxError(f"{path.relative_to(CHECKOUT)}:{error.lineno}: {error.msg}") from None
    return found


def names_used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import and each use of one: `from os import fork as f; f()` is os.fork twice."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (dotted := _dotted(node)):
            head, _, rest = dotted.partition(".")
            if head in bound:
                yield node.lineno, f"{bound[head]}.{rest}"


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := _dotted(node.value)):
        return f"{head}.{node.attr}"
    return ""


def methods_called(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) for each `anything.name(…)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.lineno, node.func.attr


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) for each string that is not a docstring; an f-string as its fixed parts joined by {}."""
    silent: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            silent.add(id(node.value))  # a docstring, or a string that goes nowhere
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            silent.update(id(part) for part in node.values)
            yield node.lineno, "".join(str(part) for part in parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.lineno, node.value
