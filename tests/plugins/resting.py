"""What a verdict on a mutation rests on: the definitions that the patch changes and those of the tests that it names.

A file holds much that has nothing to do with one guard; if any change of it took the verdict away, each commit would take
dozens. So of a Python file it is the functions around the changed lines (outside of functions: the statements), of its tests
the named ones with whatever of their file is not another test, and of any other file the paragraphs. What cannot be found
there by its text counts whole. What these call may have changed since: `make prove ARGS=--again` asks that too.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Hunk:
    """One place of a patch: the lines that it expects, where it expects them, and which of them it touches (from 0)."""

    start: int
    old: list[str]
    touched: set[int]


def hunks(patch: str) -> dict[str, list[Hunk]]:
    """File -> its places, in the order of the patch."""
    found: dict[str, list[Hunk]] = {}
    here: list[Hunk] = []
    inside = False
    lines = patch.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("+++ b/"):
            here, inside = found.setdefault(line[6:].split("\t")[0].strip(), []), False
        elif at := _HUNK.match(line):
            here.append(Hunk(int(at.group(1)) - 1, [], set()))
            inside = True
        elif line.startswith("diff --git") or (line.startswith("--- ") and after.startswith("+++ ")):
            inside = False
        elif inside and line.startswith("+"):
            # What is added stands between two lines: both are where it is.
            here[-1].touched |= {max(len(here[-1].old) - 1, 0), len(here[-1].old)}
        elif inside and line.startswith("-"):
            here[-1].touched.add(len(here[-1].old))
            here[-1].old.append(line[1:])
        elif inside and line[:1] in (" ", ""):
            here[-1].old.append(line[1:])
    return found


def of_change(name: str, source: str, places: list[Hunk]) -> str:
    """The parts of a file that the patch is about; the whole file where one of its places is not there."""
    lines = source.splitlines()
    touched: set[int] = set()
    for hunk in places:
        at = _where(lines, hunk)
        if at is None:
            return source
        touched |= {at + offset for offset in hunk.touched if at + offset < len(lines)}
    spans = _definitions(source) if name.endswith(".py") else list(_paragraphs(lines))
    if spans is None:
        return source
    around = sorted({span for line in touched for span in spans if span[0] <= line < span[1]})
    return "\n\0".join("\n".join(lines[first:last]) for first, last in around)


def of_tests(source: str, names: Collection[str]) -> str:
    """A test file without the tests that are not named; whole if it does not parse."""
    tree = _parsed(source)
    if tree is None:
        return source
    lines = source.splitlines()
    for function in _functions(tree):
        if function.name.startswith("test_") and function.name not in names:
            first, last = _span(function)
            lines[first:last] = [""] * (last - first)
    return "\n".join(line for line in lines if line.strip())


def _where(lines: list[str], hunk: Hunk) -> int | None:
    """Where the expected lines stand, nearest to where they were; None if nowhere."""
    size = len(hunk.old)
    found = [at for at in range(len(lines) - size + 1) if lines[at : at + size] == hunk.old]
    return min(found, key=lambda at: abs(at - hunk.start), default=None)


def _definitions(source: str) -> list[tuple[int, int]] | None:
    """(first line, line after the last) of every function that is in no other, and of every statement outside of them."""
    tree = _parsed(source)
    return None if tree is None else [_span(node) for node in _statements(tree)]


@functools.lru_cache(maxsize=256)
def _parsed(source: str) -> ast.Module | None:
    """The tree of a file that many patches name."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return None


def _statements(within: ast.Module | ast.ClassDef) -> Iterator[ast.stmt]:
    for node in within.body:
        if isinstance(node, ast.ClassDef):
            yield from _statements(node)
        else:
            yield node


def _functions(within: ast.Module | ast.ClassDef) -> Iterator[Function]:
    return (node for node in _statements(within) if isinstance(node, Function))


def _span(node: ast.stmt) -> tuple[int, int]:
    decorators = [one.lineno for one in getattr(node, "decorator_list", [])]
    return min([node.lineno, *decorators]) - 1, node.end_lineno or node.lineno


def _paragraphs(lines: list[str]) -> Iterator[tuple[int, int]]:
    """What stands between blank lines."""
    first = None
    for number, line in enumerate([*lines, ""]):
        if line.strip():
            first = number if first is None else first
        elif first is not None:
            yield first, number
            first = None
