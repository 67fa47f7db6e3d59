"""schemathesis, an outside judge, on our OpenAPI document against a running Worka: every check on every operation.

It gets an instance of its own: it takes things away, and tries so many sign-ins that others from this address wait.
"""

from __future__ import annotations

import json
import os
import shutil
import string
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api import schemathesis_hooks
from tests.api.world import Doors, full
from tests.support.instance import make_instance
from worka.cli.client import Client

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def apart(repository: Path) -> Iterator[Doors]:
    """The two tenants on an instance of their own."""
    made = make_instance("test-schemathesis-")
    try:
        made.start()
        yield from full(made, repository)
    finally:
        made.stop()
        shutil.rmtree(made.home, ignore_errors=True)


def own(client: Client) -> str:
    """An API token of the client's person: signing out, which is tried too, does not end it."""
    return str(client.post(client.ws("/tokens"), {"name": "schemathesis"})["token"])


def test_no_check_is_off_but_for_an_operation_whose_refusals_are_named() -> None:
    config = tomllib.loads(CONFIG.read_text())
    statuses = {name: check.pop("expected-statuses") for name, check in config["checks"].items() if name != "enabled"}
    assert config["checks"] == {"enabled": True, "positive_data_acceptance": {}, "negative_data_rejection": {}}
    assert not {"400", "422", "4xx"} & set(statuses["positive_data_acceptance"])
    assert not {"2xx", "200", "201"} & set(statuses["negative_data_rejection"])
    off = {entry["include-name"]: entry["checks"] for entry in config["operations"] if "checks" in entry}
    assert all(checks == {"positive_data_acceptance": {"enabled": False}} for checks in off.values())
    assert set(off) == set(schemathesis_hooks.BY_NATURE)


@pytest.mark.slow
@pytest.mark.timeout(960)
@pytest.mark.capability("DOR-1", part="schemathesis with all its checks")
def test_schemathesis_finds_nothing_with_all_its_checks(apart: Doors, tmp_path: Path) -> None:
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}
        for name, token in (("owner", own(apart.a)), ("stranger", own(apart.b)))
    ]
    (tmp_path / "wfc.json").write_text(json.dumps({"schema_version": "0.2.0", "auth": users}))
    filled = string.Template(CONFIG.read_text()).substitute(
        {**apart.ids, "WFC": str(tmp_path / "wfc.json"), "HOOKS": str(CONFIG.with_name("schemathesis_hooks.py"))}
    )
    (tmp_path / "schemathesis.toml").write_text(filled)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(tmp_path / "schemathesis.toml"),
    ]
    command += ["run", f"{apart.instance.url}/openapi.json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1", "SCHEMATHESIS_ANSWERED": str(tmp_path / "answered")},
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    tried = set((tmp_path / "answered").read_text().splitlines())
    assert {f"{method} {path}" for method, path, _ in apart.operations} <= tried, "the control: every route was asked"
