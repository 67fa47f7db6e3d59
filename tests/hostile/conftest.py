"""A home with the real launcher, host and broker, the broker in an Internet of its own; a warm hostile pack in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.packs.conftest import ROOT, Packs, wait_for
from tests.packs.conftest import repository as repository
from tests.support.database import Cluster, reachable_directory
from tests.workspaces.world import World, make
from worka import connections, packs
from worka.connections import service as connecting
from worka.kernel.context import Context
from worka.kernel.db import Database
from worka.kernel.paths import Paths
from worka.packs import service
from worka.treasury import service as treasury

Row = dict[str, Any]
HERE = Path(__file__).resolve().parent
TRACKER, TRACKER_ADDRESS = "tracker.worka.test", "93.184.216.34"
TOKEN = "trk_hostile-7d1f0c9a5b"  # what the hostile pack is after
HOST_CANARY = "canary-host-5f2e81"  # in the environment of every process of the instance
# Declared names that the world's resolver answers with addresses that must never be dialled.
INWARD = {
    "loopback.worka.test": ["127.0.0.1"],
    "zero.worka.test": ["0.0.0.0"],
    "private.worka.test": ["10.1.2.3"],
    "cgnat.worka.test": ["100.64.0.1"],
    "metadata.worka.test": ["169.254.169.254"],
    "azure.worka.test": ["168.63.129.16"],
    "mixed.worka.test": ["93.184.216.35", "169.254.169.254"],
    "six-loopback.worka.test": ["::1"],
    "mapped.worka.test": ["::ffff:7f00:1"],
    "nat64.worka.test": ["64:ff9b::7f00:1"],
    "nat64-local.worka.test": ["64:ff9b:1::a9fe:a9fe"],
    "sixtofour.worka.test": ["2002:7f00:1::"],
    "teredo.worka.test": ["2001:0:4136:e378:8000:63bf:80ff:fffe"],
    "six-metadata.worka.test": ["fd00:ec2::254"],
    "unique-local.worka.test": ["fd12:3456::1"],
}
REBIND = "rebind.worka.test"
DECLARED = [TRACKER, *INWARD, REBIND, "gone.worka.test"]


class Internet:
    """Commands to the Internet process (internet.py)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def do(self, what: str, **args: Any) -> Any:
        """One command; its value. Raises OSError with what it said."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what, **args}) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        if "error" in said:
            raise OSError(said["error"])
        return said["value"]

    def hits(self) -> list[Row]:
        """What arrived since the last question, anywhere."""
        found: list[Row] = self.do("hits")
        return found

    def canaries(self) -> list[Row]:
        """Of it, what did not arrive at the tracker's ports 80 and 443."""
        return [
            hit
            for hit in self.hits()
            if (hit["to"], hit["port"]) not in {(TRACKER_ADDRESS, 80), (TRACKER_ADDRESS, 443)}
        ]


@dataclass
class Site:
    """The instance under attack."""

    home: Path
    internet: Internet
    processes: dict[str, subprocess.Popen[Any]] = field(default_factory=dict)

    def log(self, role: str) -> str:
        """The end of a role's log."""
        return (self.home / "log" / f"{role}.log").read_text()[-3000:]


@pytest.fixture(scope="session")
def site(cluster: Cluster) -> Iterator[Site]:
    """Launcher and host as ever; the broker inside its Internet."""
    with opened(cluster) as found:
        yield found


@contextlib.contextmanager
def opened(cluster: Cluster, **settings: str) -> Iterator[Site]:
    """A site of its own, with these settings of the environment."""
    path = reachable_directory("test-hostile-")
    paths = Paths(path)
    for name, mode in (
        ("run", 0o711), ("envs", 0o755), ("clones", 0o755), ("sessions", 0o755), ("objects", 0o700), ("keys", 0o700),
        ("log", 0o750),
    ):  # fmt: skip
        (path / name).mkdir()
        (path / name).chmod(mode)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("WORKA_")},
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "WORKA_HOME": str(path),
        "WORKA_DATABASE__URL": cluster.urls.app,
        "SITE_CANARY": HOST_CANARY,
        **settings,
    }
    told = {"home": str(path), "ca": str(path / "internet.pem"), "environment": environment}
    running: list[subprocess.Popen[Any]] = []
    with (path / "log" / "internet.log").open("wb") as log:
        internet = subprocess.Popen(
            [sys.executable, str(HERE / "internet.py"), json.dumps(told)], env=environment, cwd="/", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    running.append(internet)
    for role, module in (("launcher", "worka.packs.sandbox.launcher"), ("host", "worka.packs.runtime.host")):
        with (path / "log" / f"{role}.log").open("wb") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", module],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                )
            )
    try:
        sockets = (paths.launcher_socket, paths.broker_socket, paths.host_socket)
        wait_for(lambda: all(p.exists() for p in sockets), running, path)
        assert internet.stdout is not None
        assert json.loads(internet.stdout.readline())["ready"]
        found = Site(path, Internet(internet), dict(zip(("internet", "launcher", "host"), running, strict=True)))
        found.internet.do("table", names={name: [answers] for name, answers in INWARD.items()})
        yield found
    finally:
        assert internet.stdin is not None
        internet.stdin.close()
        for process in running[1:]:
            process.terminate()
        for process in running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(path, ignore_errors=True)


def hostile_manifest(version: str = "1.0.0", **changes: Any) -> Row:
    """The hostile pack's manifest, with every name that the tests attack declared."""
    document: Row = json.loads((HERE / "pack" / "worka" / "aip.json").read_text())
    document["outbound_domains"] = list(DECLARED)
    document["version"] = document["runtime"]["package"]["version"] = version
    return document | changes


def hostile_files() -> dict[str, bytes]:
    """Its files; the wire client is the one of the broker's own tests."""
    files = {name: (HERE / "pack" / name).read_bytes() for name in ("server.py", "search.py", "probes.py")}
    return files | {"box.py": (ROOT / "tests" / "broker" / "box.py").read_bytes()}


@dataclass
class Tenant:
    """A tenant with the hostile pack attached; `call` goes the governed road, and `last` is its invocation's id."""

    packs: Packs
    attachment: Row
    connection_secret: str = TOKEN
    last: str = ""

    @property
    def ctx(self) -> Context:
        """Its owner."""
        return self.packs.ctx()

    async def answer(self, tool: str, arguments: Row) -> Row:
        """The whole answer of a governed call."""
        _, answer = await service.call(self.ctx, f"acme.hostile.{tool}", arguments, None)
        self.last = answer["invocation_id"]
        return answer

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The value of a call that must succeed."""
        answer = await self.answer(tool, arguments)
        assert answer["status"] == "succeeded", answer
        return answer["structured"]["value"]

    async def wire(self, *commands: Row) -> list[Row]:
        """Commands of box.py inside the sandbox, all in one call."""
        found: list[Row] = await self.call("wire", commands=list(commands))
        return found

    async def egress(self) -> list[Row]:
        """The egress rows of the last call."""
        return await self.packs.world.rows("egress", "invocation_id = %s order by id", self.last)

    async def reasons(self) -> set[str]:
        """Why the last call was refused what it was refused."""
        return {row["reason"] for row in await self.egress() if row["verdict"] == "denied"}


async def settle(db: Database, home: Path, repository: Path, token: str = TOKEN) -> Tenant:
    """A fresh tenant that registered and attached the hostile pack, with the tracker connected."""
    world: World = await make(db, home)
    packs.subscribe(world.subscribers)
    connections.subscribe(world.subscribers)
    place = Packs(world, repository)
    release = await place.register(hostile_manifest(), "", hostile_files())
    assert release["state"] == "released", release["error"]
    secret = await treasury.create(
        place.ctx(), world.workspace_id, name="tracker", purpose="issues", kind="api_token", value=token
    )
    connection = await connecting.create(
        place.ctx(), world.workspace_id, provider="tracker", name="Tracker", host=TRACKER, port=443, access="read",
        secret_id=secret["id"], metadata={}, why="tests",
    )  # fmt: skip
    if connection["state"] == "awaiting_approval":
        await place.approve(connection["approval_id"])
    attachment = await service.attach(place.ctx(), release["id"])
    if attachment["state"] == "awaiting_approval":
        await place.approve(attachment["approval_id"])
        (attachment,) = await world.rows("attachment", "id = %s", attachment["id"])
    assert attachment["state"] == "attached", attachment
    return Tenant(place, attachment, token)


@pytest.fixture(scope="session")
def settled(site: Site, cluster: Cluster, repository: Path) -> Tenant:
    """The warm hostile pack of the whole session. Its pool belongs to a test's loop, so `tenant` lends it one."""

    async def once() -> Tenant:
        database = Database(cluster.urls.app, "hostile", size=4)
        await database.open()
        try:
            return await settle(database, site.home, repository)
        finally:
            await database.close()

    return asyncio.run(once())


@pytest_asyncio.fixture
async def tenant(settled: Tenant, site: Site, db: Database) -> AsyncIterator[Tenant]:
    """The session's hostile pack, and the Internet counted from zero."""
    settled.packs.world.db = db
    site.internet.hits()
    site.internet.do("asked")
    yield settled
