"""The embedded PostgreSQL: who reaches it, by which road, and what a kill of its first process leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.database import reachable_directory
from worka.kernel.postgres import EmbeddedPostgres


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A cluster of this test's own."""
    home = reachable_directory("test-orphans-")
    made = EmbeddedPostgres(home)
    made.start()
    try:
        yield made
    finally:
        made.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)


# Connects with the right password, as somebody.
CONNECT = "import psycopg, sys; print(psycopg.connect(sys.stdin.read()).execute('select current_user').fetchone()[0])"
NOBODY = 65534


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def connect(server: EmbeddedPostgres) -> psycopg.Connection:
    known = json.loads(server.secrets.read_text())
    return psycopg.connect(
        host=known["host"],
        port=known["port"],
        user="postgres",
        password=known["admin"],
        dbname="worka",
        autocommit=True,
    )


@pytest.mark.faults
@pytest.mark.capability("DEP-3", part="PostgreSQL's first process killed while a backend works")
def test_a_backend_of_a_killed_server_is_ended_before_the_next_server_starts(server: EmbeddedPostgres) -> None:
    first = server.running_pid()
    assert first is not None
    conn = connect(server)
    backend = conn.info.backend_pid

    def work() -> None:
        # It computes, so it does not notice that its server is gone.
        with pytest.raises(psycopg.OperationalError):
            conn.execute("do $$ declare i bigint := 0; begin loop i := i + 1; end loop; end $$")

    worker = threading.Thread(target=work)
    worker.start()
    time.sleep(0.5)
    os.kill(first, signal.SIGKILL)
    time.sleep(0.5)
    assert alive(backend), "the control: without us it would go on beside the next server"
    server.start()
    assert not alive(backend)
    worker.join(10)
    with connect(server) as again:
        assert again.execute("select 1").fetchone() == (1,)
    assert server.running_pid() not in (None, first)


def connects_as(user: int | str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-c", CONNECT], input=url, capture_output=True, text=True, check=False, cwd="/",
        user=user, group=user, extra_groups=[], timeout=60,
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
@pytest.mark.capability("DEP-10", part="a stranger of the machine does not reach the database, even with a password")
def test_only_the_platforms_own_users_reach_the_socket_and_there_is_no_port(server: EmbeddedPostgres) -> None:
    url = server.urls().app
    ours = connects_as("worka", url)
    assert ours.stdout.strip() == "worka_app", f"the control: the roles' own user is let in: {ours.stderr}"
    stranger = connects_as(NOBODY, url)
    assert stranger.returncode != 0
    assert "Permission denied" in stranger.stderr
    # The folder keeps strangers out, and so would the socket without it.
    folder = server.paths.pg_socket
    folder.chmod(0o755)
    again = connects_as(NOBODY, url)
    assert again.returncode != 0
    assert "Permission denied" in again.stderr
    known = json.loads(server.secrets.read_text())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", known["port"]), 2)


@pytest.mark.capability("DEP-10", part="a login without its password")
def test_the_socket_asks_for_the_password(server: EmbeddedPostgres) -> None:
    known = conninfo_to_dict(server.urls().app)
    with psycopg.connect(**known) as conn:  # type: ignore[arg-type]
        assert conn.execute("select current_user").fetchone() == ("worka_app",), "the control"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**known | {"password": "another"})  # type: ignore[arg-type]
    assert not stat.S_IMODE(server.paths.pg_socket.stat().st_mode) & 0o007


@pytest.mark.parametrize(
    ("name", "road"),
    [("short", "socket"), ("Jo's home", "socket"), ("x" * 100, "127.0.0.1"), ("a,b", "127.0.0.1")],
)
def test_a_path_that_is_no_sockets_address_falls_back_to_loopback(name: str, road: str) -> None:
    above = reachable_directory("test-road-")
    home = above / name
    home.mkdir()
    made = EmbeddedPostgres(home)
    try:
        urls = made.start()
        for url in (urls.app, urls.engine, urls.migrator):
            with psycopg.connect(url) as conn:
                assert conn.execute("select 1").fetchone() == (1,)
                assert conn.info.host == ("127.0.0.1" if road == "127.0.0.1" else str(home / "pg-socket"))
    finally:
        made.stop("immediate")
        shutil.rmtree(above, ignore_errors=True)


@pytest.mark.faults
@pytest.mark.capability("DEP-3", part="the server goes on when its supervisor is gone, and is taken over where it is")
def test_a_server_that_still_runs_is_adopted_at_its_own_address(server: EmbeddedPostgres) -> None:
    first, urls = server.running_pid(), server.urls()
    # What an earlier build wrote, and an address that is not this server's.
    known = {key: value for key, value in json.loads(server.secrets.read_text()).items() if key != "host"}
    server.secrets.write_text(json.dumps({**known, "port": 1}))
    after = EmbeddedPostgres(server.paths.home)
    assert after.start() == urls
    assert after.running_pid() == first
    with connect(after) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


@pytest.mark.faults
@pytest.mark.capability("DEP-3", part="the lock of a killed server's socket names a process that lives")
def test_what_a_killed_server_left_in_the_sockets_folder_does_not_stop_the_next(server: EmbeddedPostgres) -> None:
    first, urls = server.running_pid(), server.urls()
    assert first is not None
    (lock,) = server.paths.pg_socket.glob(".s.PGSQL.*.lock")
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 10
    while alive(first) and time.monotonic() < until:
        time.sleep(0.02)
    lock.write_text(lock.read_text().replace(str(first), str(os.getpid()), 1))
    assert server.start() == urls
    assert server.running_pid() not in (None, first)
