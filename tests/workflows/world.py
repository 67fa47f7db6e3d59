"""What workflows stand in: a tenant with people, a team member and attached packs, a pack host that keeps book of every
effect from outside the platform, and real worker processes that a test may kill or stop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from tests.support import roles
from tests.support.database import Cluster
from worka.approvals import service as approvals
from worka.kernel import ipc, settings
from worka.kernel.context import Context, Principal
from worka.kernel.db import Database
from worka.kernel.ids import new_id
from worka.workers.wiring import Runtime
from worka.workflows import service

Row = dict[str, Any]
Answer = Callable[[Row, Row], Awaitable[Row]]
PINNED = "0" * 64


def tool(name: str, side_effect: str = "read_only", *, idempotent: bool = False) -> Row:
    return {
        "name": name,
        "description": name,
        "input_schema": {"type": "object"},
        "output_schema": None,
        "annotations": None,
        "side_effect": side_effect,
        "idempotent": idempotent,
        "pin": PINNED,
    }


def ok(text: str = "", structured: Any = None) -> Row:
    return {
        "status": "ok",
        "text": text,
        "structured": structured,
        "is_structured": structured is not None,
        "session": "warm",
        "call_ms": 1.0,
        "handshake_ms": None,
        "isolation": {"driver": "test"},
    }


@dataclass
class Host:
    """The pack host's contract on its socket, and the outside behind it: every call and every effect is written down
    here, in another process than the worker's."""

    calls: list[Row] = field(default_factory=list)
    effects: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)

    async def handle(self, op: str, args: Row, _traceparent: str | None) -> Any:
        assert op == "invoke", op
        self.calls.append({"tool": args["tool"], "arguments": args["arguments"], **args["meta"]})
        return await self.answers.get(args["tool"], self.plain)(args["arguments"], args["meta"])

    async def plain(self, arguments: Row, meta: Row) -> Row:
        return ok(json.dumps(arguments))

    async def effect(self, arguments: Row, meta: Row) -> Row:
        """An effect outside, once per key however often it is asked for."""
        key = meta["idempotency_key"]
        self.effects[key] = self.effects.get(key, 0) + 1
        return ok("done", {"effect_id": f"e-{key}", "url": "https://tracker.worka.test/notes/1"})

    def called(self, name: str) -> list[Row]:
        return [call for call in self.calls if call["tool"] == name]


class WorkerProcess:
    """A worker as the supervisor starts it, but for its imports, which a process of ours has made (tests/support/roles.py)."""

    def __init__(self, world: World, name: str = "1", failpoint: str | None = None, how: str = "KILL") -> None:
        self.proof = world.home / f"hit-{new_id('x')}"
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("WORKA_")},
            **world.environment,
            "WORKA_WORKFLOWS__SLOT": name,
            "WORKA_TESTING": "1",
        }
        if failpoint:
            env |= {
                "WORKA_FAILPOINT": failpoint,
                "WORKA_FAILPOINT_FILE": str(self.proof),
                "WORKA_FAILPOINT_SIGNAL": how,
            }
        self.log = world.home / f"worker-{name}.log"
        self.process = roles.start("worka.workers.worker", env, self.log)

    async def died(self, seconds: float = 20) -> int:
        """The exit code, once it has ended."""
        deadline = time.monotonic() + seconds
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline, "the worker did not die"
            await asyncio.sleep(0.05)
        return code

    def said(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-4000:]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@dataclass
class World:
    """One tenant, one workspace."""

    home: Path
    environment: dict[str, str]
    runtime: Runtime
    host: Host
    tenant_id: str
    workspace_id: str
    owner: str
    approver: str
    viewer: str
    member_id: str
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def db(self) -> Database:
        return self.runtime.db

    def ctx(self, person: str, name: str = "") -> Context:
        return self.runtime.context(
            Principal(kind="person", id=person, name=name or person),
            tenant_id=self.tenant_id,
            workspace_id=self.workspace_id,
            originating_person=person,
        )

    def work(self, name: str = "1", failpoint: str | None = None, how: str = "KILL") -> WorkerProcess:
        worker = WorkerProcess(self, name, failpoint, how)
        self.workers.append(worker)
        return worker

    async def save(self, steps: list[Row], **more: Any) -> str:
        tools = sorted({step["tool"] for step in steps if step["kind"] == "tool"})
        document = {
            "schema_version": "worka.workflow.v1",
            "name": f"flow-{new_id('x')[-8:]}",
            "inputs": {"type": "object", "properties": {"word": {"type": "string"}}},
            "members": [{"name": "*", "tools": tools}],
            "steps": steps,
            **more,
        }
        return str((await service.save_definition(self.ctx(self.owner), document))["name"])

    async def start(self, steps: list[Row], inputs: Row | None = None, **more: Any) -> str:
        name = await self.save(steps, **more)
        made = await service.create(
            self.ctx(self.owner), workflow=name, version=None, inputs=inputs or {}, member_id=self.member_id
        )
        return str(made["id"])

    async def task(self, task_id: str) -> Row:
        return await service.get(self.ctx(self.owner), task_id)

    async def until(self, task_id: str, *states: str, seconds: float = 60) -> Row:
        """The task, once it is in one of these states."""
        deadline = time.monotonic() + seconds
        while True:
            task = await self.task(task_id)
            if task["state"] in states:
                return task
            assert time.monotonic() < deadline, (
                f"{task['state']} ({task['reason']}) {task['error']}, not {states}\n{self.logs()}"
            )
            await asyncio.sleep(0.05)

    async def approve(self, task_id: str, decision: str = "approve") -> Row:
        task = await self.task(task_id)
        wait = next(wait for wait in task["waits"] if wait["cleared_at"] is None)
        ctx = self.ctx(self.approver)
        card = await approvals.show(ctx, wait["ref"])
        return await approvals.decide(ctx, wait["ref"], decision, card["digest"])

    async def rows(self, query: str, *values: Any) -> list[Row]:
        async with self.runtime.db.transaction(self.tenant_id) as conn:
            return await (await conn.execute(query, values)).fetchall()

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in self.home.glob("worker-*.log"))


@asynccontextmanager
async def make_world(cluster: Cluster, home: Path) -> AsyncIterator[World]:
    (home / "run").mkdir(parents=True)
    for name in ("keys", "log", "objects"):
        (home / name).mkdir(exist_ok=True)
    environment = {
        "WORKA_HOME": str(home),
        "WORKA_DATABASE__URL": cluster.urls.app,
        "WORKA_DATABASE__ENGINE_URL": cluster.urls.engine,
        "WORKA_WORKFLOWS__LEASE_SECONDS": "3",
        # One for all worlds of the session: a worker sweeps the whole database, tenants of earlier tests included.
        "WORKA_TREASURY__MASTER_KEY": base64.b64encode(bytes(32)).decode(),
    }
    runtime = Runtime(settings.load(environment), "test")
    await runtime.db.open()
    host = Host()
    server = await ipc.serve_unix(runtime.paths.host_socket, host.handle)
    world = await _populate(home, environment, runtime, host)
    try:
        yield world
    finally:
        for worker in world.workers:
            worker.kill()
        server.close()
        async with runtime.db.transaction(world.tenant_id) as conn:
            await conn.execute(
                "update worka.task set state = 'cancelled', reason = 'cancelled_by_person' where ended_at is null"
            )
        await runtime.db.close()


async def _populate(home: Path, environment: dict[str, str], runtime: Runtime, host: Host) -> World:
    tenant, workspace = new_id("ten"), new_id("ws")
    owner, approver, viewer, member = new_id("per"), new_id("per"), new_id("per"), new_id("mem")
    release, attachment = new_id("rel"), new_id("att")
    tools = [
        tool("log"),
        tool("compose"),
        tool("publish", "external_side_effect", idempotent=True),
        tool("send", "external_side_effect"),
        tool("note", "write"),
        tool("keep", "write", idempotent=True),
    ]
    manifest = {
        "schema_version": "worka.aip.v1",
        "publisher": "test",
        "name": "box",
        "version": "1.0.0",
        "runtime": {},
        "tools": tools,
    }
    async with runtime.db.transaction(tenant) as conn:
        for person, name in ((owner, "Olga"), (approver, "Ann"), (viewer, "Vic")):
            await conn.execute(
                "select worka.person_create(%s, %s, %s, null, false)", (person, f"{person}@example.org", name)
            )
        await conn.execute(
            "insert into worka.tenant (tenant_id, slug, name, created_by) values (%s, %s, 'T', %s)",
            (tenant, tenant, owner),
        )
        await conn.execute(
            "insert into worka.workspace (tenant_id, id, slug, name, created_by) values (%s, %s, 'w', 'W', %s)",
            (tenant, workspace, owner),
        )
        await conn.execute(
            "insert into worka.team_member (tenant_id, id, workspace_id, name, responsibility, tools,"
            " owner_person_id, created_by)"
            " values (%s, %s, %s, 'Rena', 'notes', %s, %s, %s)",
            (tenant, member, workspace, Jsonb([f"test.box.{item['name']}" for item in tools]), owner, owner),
        )
        members = [
            ("person", owner, "owner", False),
            ("person", approver, "member", True),
            ("person", viewer, "viewer", False),
            ("team_member", member, "member", False),
        ]
        for kind, principal, role, approves in members:
            await conn.execute(
                "insert into worka.membership (tenant_id, workspace_id, principal_kind, principal_id, role,"
                " approver, created_by)"
                " values (%s, %s, %s, %s, %s, %s, %s)",
                (tenant, workspace, kind, principal, role, approves, owner),
            )
        await conn.execute(
            "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state,"
            " reason, digest, env_path,"
            " entry, tools, server_pin, created_by) values (%s, %s, %s, 'test', 'box', '1.0.0', %s, 'released',"
            " 'release_in_service', %s,"
            " '/nowhere', %s, %s, %s, %s)",
            (tenant, release, workspace, Jsonb(manifest), PINNED, Jsonb(["run"]), Jsonb(tools), PINNED, owner),
        )
        await conn.execute(
            "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason,"
            " uid, digest, created_by)"
            " values (%s, %s, %s, %s, 'test.box', 'pinned', 'attached', 'attachment_in_service', 1, %s, %s)",
            (tenant, attachment, workspace, release, PINNED, owner),
        )
    return World(home, environment, runtime, host, tenant, workspace, owner, approver, viewer, member)
