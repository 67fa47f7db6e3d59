"""A remedy that names a command names one that exists: an operator types what an error message says."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

import worka
from worka.cli import commands, shell
from worka.kernel.http import Body

ROOT = Path(__file__).parents[2]
NAMED = re.compile(
    r"`worka ([a-z][a-z-]*)(?: ([a-z-]+))?|\"worka ([a-z][a-z-]*)(?: ([a-z-]+))?|^worka ([a-z][a-z-]*)(?: ([a-z-]+))?",
    re.MULTILINE,
)
PLACES = ("src/worka/**/*.py", "src/worka/**/*.html", "docs/**/*.md", "README.md", "SECURITY.md", "ARCHITECTURE.md")


def unknown(text: str, known: Mapping[str, Any]) -> list[str]:
    """The commands that a text names and that are none. `known`: commands by name; a noun has `commands` of its own."""
    found = []
    for match in NAMED.finditer(text):
        noun, verb, *_ = [*filter(None, match.groups()), ""]
        verbs = getattr(known.get(noun), "commands", None)
        if noun not in known or (verbs and verb and verb not in verbs):
            found.append(f"worka {noun} {verb}".strip())
    return found


@pytest.mark.capability("DOR-2", part="every command that a remedy names exists")
def test_every_command_that_a_message_or_a_page_names_exists() -> None:
    assert commands.__doc__, "the commands are registered by being read"
    known = vars(typer.main.get_command(shell.app))["commands"]
    read = {str(path.relative_to(ROOT)): path.read_text() for place in PLACES for path in sorted(ROOT.glob(place))}
    named = sum(len(NAMED.findall(text)) for text in read.values())
    assert named > 80, "the texts were not found"
    wrong = {path: found for path, text in read.items() if (found := unknown(text, known))}
    assert wrong == {}
    # The positive control: one that does not exist is noticed.
    assert unknown("Read `worka release because REL`.", known) == ["worka release because"]


# Of a remedy every word is an instruction: "worka members", without marks around it, sends its reader nowhere all the same.
IN_A_REMEDY = re.compile(r"\bworka ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?(?: ([a-z][a-z-]+))?([^`;:]*)")


def words_of(node: ast.AST | None) -> list[str]:
    """The texts that an expression may come to; what is filled in later is `…`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)]
    if isinstance(node, ast.IfExp):
        return words_of(node.body) + words_of(node.orelse)
    if isinstance(node, ast.BinOp):
        return [a + b for a in words_of(node.left) or [""] for b in words_of(node.right) or [""]]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in words_of(value)]
    return []


def remedies(source: str) -> Iterator[str]:
    """Every remedy that a module may give: of its problems, of what it raises, of the bodies that it writes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "remedy":
            yield from words_of(node.value)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id.lower().endswith("remedy") for target in targets):
                yield from words_of(node.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "remedy":
                    yield from words_of(value)
        elif isinstance(node, ast.FunctionDef) and node.name in ("remedy", "way_out", "_way_out", "_remedy"):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return):
                    yield from words_of(inner.value)


def nowhere(text: str, known: Mapping[str, Any]) -> list[str]:
    """What a remedy tells somebody to type that no command takes: a noun, a verb, or an option."""
    found = []
    for match in IN_A_REMEDY.finditer(text):
        command, said = known.get(match[1]), f"worka {match[1]}"
        if command is None:
            found.append(said)
            continue
        for verb in filter(None, (match[2], match[3])):
            inner = getattr(command, "commands", None)
            if inner is None:
                break
            said += f" {verb}"
            command = inner.get(verb)
            if command is None:
                found.append(said)
                break
        options = {flag for param in getattr(command, "params", ()) for flag in param.opts}
        found += [
            f"{said} {flag}"
            for flag in re.findall(r"--[a-z-]+", match[4])
            if command and flag not in options | {"--help"}
        ]
    return found


@pytest.mark.capability("DOR-2", part="every command that a remedy names exists")
def test_no_remedy_sends_anybody_to_a_command_or_an_option_that_there_is_not() -> None:
    known = vars(typer.main.get_command(shell.app))["commands"]
    read = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.glob("src/worka/**/*.py"))}
    texts = [(path, text) for path, source in read.items() for text in remedies(source)]
    assert len(texts) > 150, "the remedies were not found"
    assert sum(len(IN_A_REMEDY.findall(text)) for _, text in texts) > 40, "nor the commands in them"
    assert [(path, wrong) for path, text in texts if (wrong := nowhere(text, known))] == []
    # The positive controls: what an operator read once, and an option that is none.
    assert nowhere("Name a person who is a member; worka members and the invitation come first.", known) == [
        "worka members"
    ]
    assert nowhere("Lift it: `worka kill lift … --stage trial`.", known) == ["worka kill lift --stage"]
    assert nowhere("Lift it: `worka kill lift … --for ID`, with `--skip-trial`.", known) == []


@pytest.mark.capability("DOR-2", part="every command that a remedy names exists")
def test_no_remedy_asks_for_a_field_of_the_api_where_a_person_reads_it() -> None:
    for info in pkgutil.walk_packages(worka.__path__, "worka."):
        if not info.name.endswith("__main__") and not info.name.startswith("worka.kernel.migrations"):
            importlib.import_module(info.name)
    fields, kinds = set(), [Body]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        fields |= {name for name in kind.model_fields if "_" in name}
    assert {"skip_trial", "display_name"} <= fields, "the bodies of the API were not found"

    def asked(text: str) -> list[str]:
        return [word for word in re.findall(r"(?<![-\w/{.])[a-z]+(?:_[a-z]+)+(?![\w}])", text) if word in fields]

    # AuthZEN's own words: no command of ours asks by it.
    read = {path: path.read_text() for path in sorted(ROOT.glob("src/worka/**/*.py"))}
    wrong = [
        (str(path.relative_to(ROOT)), found)
        for path, source in read.items()
        for text in remedies(source)
        if "resource.properties" not in text and "next_token" not in text and (found := asked(text))
    ]
    assert wrong == []
    assert asked("Lift it for one workspace or member first (stage trial), or say skip_trial.") == ["skip_trial"]
