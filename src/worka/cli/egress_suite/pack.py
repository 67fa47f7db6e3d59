"""The attacker as a pack: its manifest and its one file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PUBLISHER, NAME, VERSION = "range", "egress-suite", "1.0.0"
TOOL = f"{PUBLISHER}.{NAME}.attempt"


def body(declared: Sequence[str]) -> dict[str, Any]:
    """The registration request."""
    manifest = {
        "schema_version": "worka.aip.v1",
        "publisher": PUBLISHER,
        "name": NAME,
        "version": VERSION,
        "display_name": "Egress suite",
        "description": "Tries every way out of a sandbox. For the hostile egress suite of Worka only.",
        "runtime": {
            "package": {"ecosystem": "path", "name": NAME, "version": VERSION},
            "command": ["python", "attacker.py"],
            "limits": {"memory": 256, "processes": 24, "disk": 16, "files": 128, "timeout": 120},
        },
        "tools": [{"name": "attempt", "side_effect": "read_only"}],
        "outbound_domains": list(declared),
    }
    source = Path(__file__).with_name("attacker.py").read_bytes()
    return {
        "manifest": manifest,
        "place": "worka/aip.json",
        "lock": "",
        "files": {"attacker.py": base64.b64encode(source).decode()},
    }
