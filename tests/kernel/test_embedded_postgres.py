"""The embedded PostgreSQL when its first process is killed: what that one left must not write beside the next one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

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


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def connect(server: EmbeddedPostgres) -> psycopg.Connection:
    known = json.loads(server.secrets.read_text())
    return psycopg.connect(
        host="127.0.0.1", port=known["port"], user="postgres", password=known["admin"], dbname="worka", autocommit=True
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
