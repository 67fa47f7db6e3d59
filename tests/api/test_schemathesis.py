"""schemathesis, an outside judge, on our OpenAPI document against a running Worka: every check on every operation."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Doors, full
from tests.support.instance import Instance
from worka.cli.client import Client


@pytest.fixture(scope="module")
def doors(instance: Instance, repository: Path) -> Iterator[Doors]:
    """Tenants of its own: it takes things away, too."""
    yield from full(instance, repository)


CONFIG = Path(__file__).with_name("schemathesis.toml")


def own(client: Client) -> str:
    """An API token of the client's person: signing out, which is tried too, does not end it."""
    return str(client.post(client.ws("/tokens"), {"name": "schemathesis"})["token"])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.capability("DOR-1", part="schemathesis with all its checks")
def test_schemathesis_finds_nothing_with_all_its_checks(doors: Doors, tmp_path: Path) -> None:
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}
        for name, token in (("owner", own(doors.a)), ("stranger", own(doors.b)))
    ]
    (tmp_path / "wfc.json").write_text(json.dumps({"schema_version": "0.2.0", "auth": users}))
    filled = string.Template(CONFIG.read_text()).substitute(
        {**doors.ids, "WFC": str(tmp_path / "wfc.json"), "HOOKS": str(CONFIG.with_name("schemathesis_hooks.py"))}
    )
    (tmp_path / "schemathesis.toml").write_text(filled)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(tmp_path / "schemathesis.toml"),
    ]
    command += ["run", f"{doors.instance.url}/openapi.json", "--checks", "all"]
    command += ["--report", "ndjson", "--report-ndjson-path", str(tmp_path / "report.ndjson")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
