"""What a command costs before it does anything: its own few parts are loaded, and nothing of what serves."""

from __future__ import annotations

import json
import subprocess
import sys

LOADED = """
import json, sys
from worka.cli import commands
print(json.dumps(sorted(sys.modules)))
"""
SERVING = {
    "cedarpy",
    "cryptography",
    "dbos",
    "fastapi",
    "jsonschema",
    "mcp_types",
    "psycopg",
    "re2",
    "sqlalchemy",
    "uvicorn",
}


def test_a_command_loads_the_client_and_no_domain() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert {"typer", "httpx", "worka.cli.building", "worka.cli.packs"} <= loaded, "the control: all commands are there"
    ours = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("worka.")}
    assert ours == {"worka.cli", "worka.kernel"}
    assert not SERVING & loaded
