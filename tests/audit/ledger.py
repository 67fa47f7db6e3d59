"""A tenant of its own with a ledger: the real recorder, sealer and use cases; who may is said by the test."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from tests.support.database import Cluster, reachable_directory
from worka.audit import export, service, store
from worka.audit.recorder import Recorder
from worka.audit.sealer import Sealer
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.db import Database
from worka.kernel.events import Event, Subscribers
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths


class Keys:
    """A sealer double that knows audit keys only: one for each tenant."""

    async def audit_key(self, conn: object, tenant_id: str) -> bytes:
        return hashlib.sha256(b"audit key of " + tenant_id.encode()).digest()


class Allow:
    """An authorizer double: `verdict` for everything, and what it was asked."""

    def __init__(self, verdict: str = "allow") -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, Resource]] = []

    async def decide(self, ctx: Context, action: str, resource: Resource, context: dict[str, Any]) -> Decision:
        self.asked.append((action, resource))
        return Decision(new_id("dec"), self.verdict, "test", (), ("the test says so",), (), "1", "")  # type: ignore[arg-type]


@dataclass
class Ledger:
    """One tenant's ledger and the home in which it is sealed."""

    db: Database
    home: Path
    tenant: str = field(default_factory=lambda: new_id("ten"))
    workspace: str = field(default_factory=lambda: new_id("ws"))
    authorizer: Allow = field(default_factory=Allow)
    recorder: Recorder = field(default_factory=Recorder)

    @property
    def paths(self) -> Paths:
        return Paths(self.home)

    def ctx(self, principal: Principal | None = None) -> Context:
        return Context(
            principal=principal or Principal("person", "per_ada", "Ada"),
            tenant_id=self.tenant,
            workspace_id=self.workspace,
            db=self.db,
            authorizer=self.authorizer,
            recorder=self.recorder,
            sealer=Keys(),  # type: ignore[arg-type]
            subscribers=Subscribers(),
            settings=SimpleNamespace(home=self.home),
        )

    async def write(self, number: int = 1, **fields: Any) -> None:
        """Transactions of one event each."""
        for at in range(number):
            ctx = self.ctx()
            async with ctx.transaction():
                ctx.record(Event("task.created", f"task_{at}", workspace_id=self.workspace, **fields))

    def sealer(self) -> Sealer:
        return Sealer(self.db, self.paths)

    async def heads(self) -> dict[int, tuple[int, str]]:
        async with self.db.transaction(self.tenant) as conn:
            return await store.own_heads(conn)

    async def longest(self) -> tuple[int, int]:
        """The lane with the most rows, and how many."""
        return max(((lane, seq) for lane, (seq, _) in (await self.heads()).items()), key=lambda found: found[1])

    async def exported(self) -> Path:
        """An export as the route makes it."""
        file = await service.export_ledger(self.ctx(), self.workspace)
        target = self.home / "ledger.tar"
        target.write_bytes(b"".join(export.chunks(file)))
        return target


def unpack(path: Path) -> dict[str, bytes]:
    """The files of an export."""
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}  # type: ignore[union-attr]


def pack(path: Path, files: dict[str, bytes]) -> Path:
    """A tar file of these files."""
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def rows_of(files: dict[str, bytes], lane: int) -> list[dict[str, Any]]:
    """The rows of a lane."""
    return [json.loads(line) for line in files[f"entries/lane-{lane}.jsonl"].splitlines()]


def put_rows(files: dict[str, bytes], lane: int, rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """The files with other rows in a lane."""
    lines = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    return {**files, f"entries/lane-{lane}.jsonl": lines}


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Waits for something that must come."""
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come")


@pytest.fixture
def ledger(db: Database) -> Iterator[Ledger]:
    """A ledger of a tenant of its own, sealed into an empty home."""
    home = reachable_directory("test-audit-")
    try:
        yield Ledger(db, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def as_owner(cluster: Cluster, ledger: Ledger, statement: str, *values: object) -> None:
    """What someone who owns the database can do; it must hit one row."""
    known = json.loads(cluster.server.secrets.read_text())
    with psycopg.connect(
        host=known["host"], port=known["port"], user="postgres", password=known["admin"], dbname="worka"
    ) as conn:
        assert conn.execute(statement, (ledger.tenant, *values)).rowcount == 1  # type: ignore[arg-type]
