"""An operator's own PostgreSQL (Debian's 15) instead of the embedded one: set up once, then the whole demo on it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.database import reachable_directory
from tests.support.instance import Instance, make_instance, worka_command
from worka.kernel.postgres import ROLES, EmbeddedPostgres

BINARIES = Path("/usr/lib/postgresql/15/bin")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    """The administrator's URL of a server of version 15 that has never heard of Worka."""
    assert (BINARIES / "initdb").exists(), "PostgreSQL 15 is missing: apt-get install postgresql-15"
    # A path that is too long for a socket: then it listens on loopback, as an operator's server would.
    home = reachable_directory("own-pg15-" + "x" * 80)
    server = EmbeddedPostgres(home, BINARIES)
    server.start()
    known = json.loads(server.secrets.read_text())
    assert known["host"] == "127.0.0.1"
    url = f"postgresql://postgres:{known['admin']}@127.0.0.1:{known['port']}/postgres"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("drop database worka")
        for role in ROLES.values():
            conn.execute(f"drop role {role}")
    try:
        yield url
    finally:
        server.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def settings(admin: str) -> dict[str, str]:
    """The three settings that `worka database setup` prints."""
    done = subprocess.run(
        [*worka_command(), "-o", "json", "database", "setup"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "WORKA_ADMIN_URL": admin},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture
def bare() -> Iterator[Instance]:
    made = make_instance("test-own-db-")
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.home, ignore_errors=True)


@pytest.mark.capability("DEP-3", "OPS-1", part="on PostgreSQL 15, as an operator's own server")
def test_the_whole_demo_runs_on_an_operators_own_server_and_keeps_no_admin_credential(
    bare: Instance, admin: str, settings: dict[str, str], repository: Path
) -> None:
    bare.env |= settings
    bare.start()
    report = bare.demo(repository)
    assert report["counts"]["effects"] == 1
    assert report["verdicts"]["ledger"] == "verified"
    with psycopg.connect(admin.rpartition("/")[0] + "/worka") as conn:
        version = conn.execute("show server_version_num").fetchone()
        task = conn.execute("select state from worka.task where id = %s", (report["ids"]["task"],)).fetchone()
        privileged = conn.execute(
            "select rolname from pg_roles where rolname like 'worka%%' and (rolsuper or rolbypassrls or rolcreaterole)"
        ).fetchall()
    assert version is not None
    assert version[0].startswith("15")
    assert task == ("succeeded",)
    assert privileged == []
    assert not (bare.home / "pg" / "data").exists(), "the embedded PostgreSQL was started beside the operator's own"
    password = admin.split(":")[2].partition("@")[0]
    kept = [path for path in bare.home.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
    assert kept == []


@pytest.mark.capability("DEP-10", part="a role that could look past the policies is refused")
def test_worka_does_not_start_as_a_role_that_isolation_does_not_bind(
    bare: Instance, admin: str, settings: dict[str, str]
) -> None:
    bare.env |= settings | {"WORKA_DATABASE__URL": admin.rpartition("/")[0] + "/worka"}
    with pytest.raises(AssertionError) as refused:
        bare.start()
    assert "bypass" in str(refused.value) or "owns" in str(refused.value), str(refused.value)[-2000:]
    # The positive control: the same home with the application's own role starts.
    bare.env |= settings
    bare.start()
    assert httpx.get(f"{bare.url}/readyz", trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("postgresql://postgres:wrong@127.0.0.1:{port}/postgres", 1, "password authentication failed"),
        ("host=127.0.0.1 user=postgres", 2, "postgresql://"),
    ],
)
def test_a_setup_that_cannot_be_done_says_why_and_never_the_password(
    admin: str, url: str, code: int, said: str
) -> None:
    port = admin.rpartition(":")[2].partition("/")[0]
    done = subprocess.run(
        [*worka_command(), "database", "setup"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "WORKA_ADMIN_URL": url.format(port=port)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stderr
    assert "wrong" not in done.stderr
    assert "Traceback" not in done.stderr
