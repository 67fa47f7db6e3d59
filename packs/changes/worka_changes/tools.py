"""The tools of worka.changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from worka_sdk import Field, Pack, ToolError

pack = Pack("changes", version="0.1.0")


@dataclass
class Counts:
    """How much a text holds."""

    characters: int
    words: int
    lines: int


@pack.tool(side_effect="read_only", idempotent=True)
def count(text: Annotated[str, Field("the text", max_length=100_000)]) -> Counts:
    """Counts the characters, words and lines of a text."""
    if not text.strip():
        raise ToolError("The text is empty.", "Give at least one word.")
    return Counts(len(text), len(text.split()), len(text.splitlines()))
