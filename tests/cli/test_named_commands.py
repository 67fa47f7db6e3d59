"""A remedy that names a command names one that exists: an operator types what an error message says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from worka.cli import commands, shell

ROOT = Path(__file__).parents[2]
NAMED = re.compile(
    r"`worka ([a-z]+)(?: ([a-z]+))?|\"worka ([a-z]+)(?: ([a-z]+))?|^worka ([a-z]+)(?: ([a-z]+))?", re.MULTILINE
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
    assert unknown("Read `worka release why REL`.", known) == ["worka release why"]
