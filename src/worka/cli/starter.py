"""What `worka pack init` writes: a pack that works, passes its tests, and is short enough to be read in a minute."""

from __future__ import annotations

import json
from typing import Any

LOCK = "# This pack needs nothing but Python: the SDK is copied into it when it is built.\n"
MAIN = '''"""`python -m MODULE`: the MCP server over stdio."""

from MODULE.tools import pack

pack.serve()
'''
INIT = '"""The pack PACK."""\n'
TOOLS = '''"""The tools of PACK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from worka_sdk import Field, Pack, ToolError

pack = Pack("NAME", version="0.1.0")


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
'''
TEST = '''"""Run them with `worka pack test`: in the sandbox, without network."""

import unittest

from worka_sdk.testing import Harness

from MODULE.tools import pack


class CountTest(unittest.TestCase):
    def test_a_text_is_counted(self) -> None:
        found = Harness(pack).call("count", text="one two\\nthree")
        self.assertEqual(found.value, {"characters": 13, "words": 3, "lines": 2})

    def test_an_empty_text_is_refused_with_what_to_do(self) -> None:
        found = Harness(pack).call("count", text=" ")
        self.assertTrue(found.is_error)
        self.assertIn("at least one word", found.text)
'''
README = """# PACK

Counts the characters, words and lines of a text.

- **Network:** none. **Credentials:** none. **Files:** none.
- `worka pack check` says what is wrong with it, `worka pack test` runs its tests in the sandbox, `worka pack run` calls a
  tool, `worka pack tools --write` writes its tools into the manifest after a change.
"""


def files(publisher: str, name: str) -> dict[str, str]:
    """Path -> text of a new pack's files."""
    module = f"{publisher}_{name}".replace("-", "_")
    pack = f"{publisher}.{name}"

    def filled(text: str) -> str:
        return text.replace("MODULE", module).replace("PACK", pack).replace("NAME", name)

    return {
        "worka/aip.json": json.dumps(_manifest(publisher, name, module), indent=2, ensure_ascii=False) + "\n",
        "requirements.lock": LOCK,
        "README.md": filled(README),
        f"{module}/__init__.py": filled(INIT),
        f"{module}/__main__.py": filled(MAIN),
        f"{module}/tools.py": filled(TOOLS),
        "tests/test_tools.py": filled(TEST),
    }


def _manifest(publisher: str, name: str, module: str) -> dict[str, Any]:
    from worka.packs.format import SCHEMA_VERSION

    numbers = {key: {"type": "integer"} for key in ("characters", "words", "lines")}
    return {
        "schema_version": SCHEMA_VERSION,
        "publisher": publisher,
        "name": name,
        "version": "0.1.0",
        "display_name": name.replace("-", " ").replace("_", " ").capitalize(),
        "description": "Counts the characters, words and lines of a text.",
        "license": "Apache-2.0",
        "runtime": {
            "package": {"ecosystem": "path", "name": module, "version": "0.1.0"},
            "command": ["python", "-m", module],
            "limits": {"memory": 256, "timeout": 30},
        },
        "tools": [
            {
                "name": "count",
                "description": "Counts the characters, words and lines of a text.",
                "input_schema": {
                    "type": "object",
                    "properties": {"text": {"type": "string", "description": "the text", "maxLength": 100_000}},
                    "required": ["text"],
                    "additionalProperties": False,
                },
                "output_schema": {
                    "type": "object",
                    "properties": numbers,
                    "required": list(numbers),
                    "additionalProperties": False,
                    "description": "How much a text holds.",
                },
                "side_effect": "read_only",
                "idempotent": True,
            }
        ],
    }
