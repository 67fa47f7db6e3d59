"""The database's old port is taken by somebody while it is down: the instance goes on where the database is now."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket

import pytest

from tests.faults.test_standby import ready, within
from tests.support.instance import make_instance
from worka.kernel.postgres import EmbeddedPostgres


@pytest.mark.faults
@pytest.mark.capability(
    "DEP-3", part="the database comes back when its port is taken, at its socket or on another port"
)
@pytest.mark.parametrize(("name", "moves"), [("test-stays-", False), ("test-moved-a,b-", True)])
def test_an_instance_goes_on_when_somebody_has_the_port_of_its_killed_database(name: str, moves: bool) -> None:
    instance = make_instance(name)  # a path with a comma is no socket's address: that one is on loopback
    try:
        instance.start()
        assert ready(instance)
        server = EmbeddedPostgres(instance.home)
        before, supervisor = server.urls(), json.loads((instance.home / "run" / "instance.json").read_text())["pid"]
        os.kill(supervisor, signal.SIGSTOP)
        try:
            server.stop("immediate")
            assert not ready(instance), "the control: there is no database"
            taken = socket.create_server(("127.0.0.1", json.loads(server.secrets.read_text())["port"]))
        finally:
            os.kill(supervisor, signal.SIGCONT)
        with taken:
            assert within(lambda: ready(instance)), (instance.home / "up.log").read_text()[-2000:]
            assert (server.urls() != before) is moves
    finally:
        instance.stop()
        shutil.rmtree(instance.home, ignore_errors=True)
