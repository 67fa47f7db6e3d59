"""A pack for tests of the wire: `python server.py`."""

from __future__ import annotations

import os
from dataclasses import dataclass

from worka_sdk import Pack, ToolError, current

pack = Pack("wire", version="2.0.0", instructions="Be brief.")


@dataclass
class Answer:
    """An answer."""

    name: str
    age: int


@dataclass
class Said:
    """What was said."""

    text: str
    key: str


@pack.tool(side_effect="read_only", idempotent=True)
def say(text: str) -> Said:
    """Says it, and prints more than it should."""
    print("a stray line")
    os.write(1, b'{"jsonrpc": "2.0", "id": 1, "result": {}}\n')
    return Said(text, current().idempotency_key)


@pack.tool(side_effect="write")
def ask() -> str:
    """Asks who you are."""
    found = current().elicit("Who are you?", Answer)
    return f"{found.name}, {found.age + 1} next year"


@pack.tool(side_effect="write")
def fail() -> str:
    """Fails."""
    raise ToolError("No.")


@pack.tool(side_effect="read_only", idempotent=True)
def name(size: float = 1.0) -> dict[str, str]:
    """Says the name of a file that is not UTF-8, under that name, and as a text."""
    return {"\udcff.md": "\udcff.md"}


@pack.tool(side_effect="read_only", idempotent=True)
def text(number: bool = False) -> str:
    """Gives, or raises, a text with half of a surrogate pair."""
    if number:
        raise ToolError("\udcff")
    return "\udcff"


@pack.tool(side_effect="read_only", idempotent=True, summary=lambda found: "A number.")
def endless() -> dict[str, int]:
    """Gives a number of more digits than Python writes."""
    return {"number": 10**5000}


if __name__ == "__main__":
    pack.serve()
