"""A home with a real launcher, host and broker, one for the whole session; and a tenant in it, fresh for each test."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.database import Cluster, reachable_directory
from tests.workspaces.world import World, make
from worka import connections, packs
from worka.approvals import service as approvals
from worka.broker import store as broker
from worka.connections import service as connecting
from worka.kernel.context import Context
from worka.kernel.db import Database
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.settings import PackSettings, Settings
from worka.packs import folder, service
from worka.treasury import service as treasury

ROOT = Path(__file__).resolve().parents[2]
TRACKER = "tracker.worka.test"
TOKEN = "trk_a-token-for-tests-0123456789"
Row = dict[str, Any]


@dataclass
class Outside:
    """The demo's tracker, with the judge's view of it."""

    facts: Row
    process: subprocess.Popen[str]

    @property
    def record(self) -> Row:
        """What it recorded, read from its own file."""
        lines = (
            [json.loads(line) for line in Path(self.facts["record"]).read_text().splitlines()]
            if Path(self.facts["record"]).exists()
            else []
        )
        return {
            "requests": [line for line in lines if line["kind"] == "request"],
            "effects": [line for line in lines if line["kind"] == "effect"],
            "canary": [line for line in lines if line["kind"] == "canary"],
        }


@pytest.fixture(scope="session")
def home(cluster: Cluster) -> Iterator[Path]:
    """The folder of an instance whose launcher, host and broker run."""
    path = reachable_directory("test-packs-")
    paths = Paths(path)
    for name, mode in (
        ("run", 0o711),
        ("envs", 0o755),
        ("clones", 0o755),
        ("sessions", 0o755),
        ("objects", 0o700),
        ("keys", 0o700),
        ("log", 0o750),
    ):
        (path / name).mkdir()
        (path / name).chmod(mode)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("WORKA_")},
        "PYTHONPATH": str(ROOT / "src"),
        "WORKA_HOME": str(path),
        "WORKA_DATABASE__URL": cluster.urls.app,
    }
    running = []
    try:
        for module in ("worka.packs.sandbox.launcher", "worka.workers.broker", "worka.packs.runtime.host"):
            log = (path / "log" / f"{module.rsplit('.', 1)[1]}.log").open("wb")
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
        wait_for(
            lambda: all(p.exists() for p in (paths.launcher_socket, paths.broker_socket, paths.host_socket)),
            running,
            path,
        )
        yield path
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(path, ignore_errors=True)


def wait_for(ready: Any, running: list[subprocess.Popen[bytes]], path: Path) -> None:
    """Until the processes listen; what they said when they do not."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if ready():
            return
        if any(process.poll() is not None for process in running):
            break
        time.sleep(0.05)
    said = "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in (path / "log").glob("*.log"))
    raise AssertionError(f"the processes of packs did not start:\n{said}")


@pytest.fixture(scope="session")
def repository() -> Iterator[Path]:
    """A git repository with three commits, a hook, a remote with a credential, and a loose file."""
    path = reachable_directory("test-repo-")
    script = """
    git init -q -b main .
    echo one > a && git add a && git commit -qm 'feat: one'
    echo two > a && git commit -qam 'fix: two'
    echo three > a && git commit -qam 'three, a plain one'
    git remote add origin https://user:hunter2@git.example/x.git
    printf '#!/bin/sh\\ntouch /tmp/worka-hook-ran\\n' > .git/hooks/post-checkout
    chmod +x .git/hooks/post-checkout
    echo loose > uncommitted
    """
    identity = {
        f"GIT_{who}_{what}": "Ann" if what == "NAME" else "ann@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    subprocess.run(["sh", "-ec", script], cwd=path, env={**os.environ, **identity}, check=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """The tracker in a process of its own."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "worka.cli.demo_tracker",
            "--dir",
            str(tmp_path / "tracker"),
            "--token-file",
            str(token),
            "--repo-name",
            "acme/web",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    try:
        assert process.stdout is not None
        yield Outside(json.loads(process.stdout.readline()), process)
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Packs:
    """A tenant in the shared home, and what tests do in it."""

    world: World
    repository: Path
    releases: dict[str, Row] = field(default_factory=dict)

    def ctx(self, who: str = "owner", **fields: Any) -> Context:
        """Somebody of the tenant."""
        return self.world.ctx(who, **fields)

    def platform(self) -> Context:
        """What the worker runs jobs as."""
        nobody = self.world.nobody()
        nobody.tenant_id = self.world.tenant_id
        return nobody

    async def register(
        self, document: Row, lock: str = "", files: dict[str, bytes] | None = None, who: str = "owner"
    ) -> Row:
        """Registers and takes the job's part; the release as it is then."""
        encoded = {name: base64.b64encode(data).decode() for name, data in (files or {}).items()}
        row = await service.register(self.ctx(who), document, lock_text=lock, files=encoded)
        return await service.run_registration(self.platform(), row["id"])

    async def shipped(self, name: str) -> Row:
        """A pack of this repository, released."""
        if name not in self.releases:
            source = folder.read(ROOT / "packs" / name)
            files = dict(source.files) if source.is_tree else {}
            self.releases[name] = await self.register(source.document, source.lock, files)
        assert self.releases[name]["state"] == "released", self.releases[name]["error"]
        return self.releases[name]

    async def approve(self, approval_id: str, decision: str = "approve", who: str = "approver") -> None:
        """A decision by somebody else."""
        card = await approvals.show(self.ctx(who), approval_id)
        await approvals.decide(self.ctx(who), approval_id, decision, card["digest"])

    async def attach(self, name: str, *, approve: bool = True) -> Row:
        """An attachment of a shipped pack, approved."""
        release = await self.shipped(name)
        mounts = {"repo": str(self.repository)} if name == "git" else {}
        row = await service.attach(self.ctx(), release["id"], mounts=mounts)
        if approve and row["state"] == "awaiting_approval":
            await self.approve(row["approval_id"])
            (row,) = await self.world.rows("attachment", "id = %s", row["id"])
        return row

    async def connect(self, facts: Row) -> Row:
        """The tracker under an exception, its token in the treasury, and an approved connection."""
        await self.exception(TRACKER, facts["port"], facts)
        secret = await treasury.create(
            self.ctx(),
            self.world.workspace_id,
            name="tracker",
            purpose="the tracker's token",
            kind="api_token",
            value=TOKEN,
        )
        row = await connecting.create(
            self.ctx(),
            self.world.workspace_id,
            provider="tracker",
            name="Tracker",
            host=TRACKER,
            port=443,
            access="read issues",
            secret_id=secret["id"],
            metadata={},
            why="tests",
        )
        if row["state"] == "awaiting_approval":
            await self.approve(row["approval_id"])
        (found,) = await self.world.rows("connection", "id = %s", row["id"])
        return found

    async def exception(self, name: str, real_port: int, facts: Row) -> None:
        """A network exception for a name of the outside."""
        async with self.ctx().transaction() as conn:
            await broker.insert_exception(
                conn,
                self.world.tenant_id,
                {
                    "id": new_id("nex"),
                    "workspace_id": self.world.workspace_id,
                    "name": name,
                    "port": 443,
                    "address": facts["address"],
                    "real_port": real_port,
                    "ca_pem": Path(facts["ca_pem"]).read_text(),
                    "reason": "tests",
                    "created_by": self.world.ids["owner"],
                },
            )


@pytest_asyncio.fixture
async def place(db: Database, home: Path, repository: Path, tmp_path: Path) -> AsyncIterator[Packs]:
    """A fresh tenant in the home where packs run; mounts may come from the repository's folder and the test's own."""
    world = await make(db, home)
    world.settings = Settings(home=home, packs=PackSettings(mount_roots=(str(repository), str(tmp_path))))
    packs.subscribe(world.subscribers)
    connections.subscribe(world.subscribers)
    yield Packs(world, repository)
