"""A tenant with everybody in it, for tests of who may do what: real database, real ledger, real sealing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_asyncio

import worka.packs.actions
import worka.workflows.actions  # noqa: F401 - registers the actions that the shipped policies speak of
from tests.support.database import may_idle
from worka import identity, workspaces
from worka.audit.recorder import Recorder
from worka.governance.facade import Authorizer
from worka.kernel.context import Context, Principal
from worka.kernel.db import Connection, Database
from worka.kernel.errors import Problem
from worka.kernel.events import Subscribers
from worka.kernel.ids import new_id
from worka.kernel.settings import Settings
from worka.treasury.sealer import TreasurySealer

PEOPLE = {
    "owner": ("owner", False),
    "admin": ("admin", False),
    "member": ("member", False),
    "viewer": ("viewer", False),
    "approver": ("viewer", True),
}
TOOL = "acme.notes.publish_notes"
_numbers = itertools.count(1)
WAITING = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@dataclass
class World:
    """One tenant and workspace; `ctx("member")` is the Context of its member, `ctx("robot")` of its AI team member."""

    db: Database
    settings: Settings
    tenant_id: str = ""
    workspace_id: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    authorizer: Authorizer = field(default_factory=Authorizer)
    recorder: Recorder = field(default_factory=Recorder)
    subscribers: Subscribers = field(default_factory=Subscribers)

    def __post_init__(self) -> None:
        self.sealer = TreasurySealer(self.settings)

    def context(self, principal: Principal, **fields: Any) -> Context:
        """A Context of a principal."""
        return Context(
            principal=principal,
            db=self.db,
            authorizer=self.authorizer,
            recorder=self.recorder,
            sealer=self.sealer,
            subscribers=self.subscribers,
            settings=self.settings,
            **fields,
        )

    def nobody(self) -> Context:
        """Somebody who is not signed in: the platform answers the door."""
        return self.context(Principal("platform", "platform", "Worka"), tenant_id=None)

    def ctx(self, who: str, *, behind: str | None = None) -> Context:
        """Somebody of this world, in the workspace; `behind` is the person that an AI team member acts for."""
        kind = "team_member" if who.startswith("robot") else "person"
        behind = self.ids[behind] if behind else (self.ids[who] if kind == "person" else None)
        principal = Principal(kind, self.ids[who], who, operator=who == "operator")  # type: ignore[arg-type]
        return self.context(
            principal, tenant_id=self.tenant_id, workspace_id=self.workspace_id, originating_person=behind
        )

    async def person(self, name: str, *, operator: bool = False, password_hash: str = "!") -> str:
        """A person of the deployment, without the cost of a password."""
        person_id = new_id("per")
        row = {
            "id": person_id,
            "email": f"{name}.{next(_numbers)}.{person_id[-6:]}@example.org",
            "display_name": name,
            "password_hash": password_hash,
            "operator": operator,
        }
        async with self.db.transaction(None) as conn:
            await identity.store.create_person(conn, row)
        self.ids[name] = person_id
        return person_id

    async def join(self, name: str, role: str, approver: bool = False, kind: str = "person") -> None:
        """Makes somebody a member of the workspace."""
        async with self.db.transaction(self.tenant_id) as conn:
            await workspaces.store.add_member(
                conn,
                {
                    "tenant_id": self.tenant_id,
                    "workspace_id": self.workspace_id,
                    "principal_kind": kind,
                    "principal_id": self.ids[name],
                    "role": role,
                    "approver": approver,
                    "created_by": "test",
                },
            )

    async def robot(self, name: str = "robot", owner: str = "member", tools: tuple[str, ...] = (TOOL,)) -> str:
        """An AI team member with its owner and its tools."""
        async with self.db.transaction(self.tenant_id) as conn:
            row = await identity.store.create_team_member(
                conn,
                {
                    "tenant_id": self.tenant_id,
                    "id": new_id("tmb"),
                    "workspace_id": self.workspace_id,
                    "name": name,
                    "responsibility": "notes",
                    "instructions": "",
                    "tools": list(tools),
                    "owner_person_id": self.ids[owner],
                    "created_by": self.ids[owner],
                },
            )
        assert row is not None
        self.ids[name] = row["id"]
        await self.join(name, "member", kind="team_member")
        return str(row["id"])

    async def rows(self, table: str, where: str = "true", *parameters: object) -> list[dict[str, Any]]:
        """Rows of the tenant."""
        async with self.db.transaction(self.tenant_id) as conn:
            cursor = await conn.execute(f"select * from worka.{table} where {where}", parameters)  # type: ignore[arg-type]
            return await cursor.fetchall()

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """The tenant's events of a type."""
        return await self.rows("event", "type = %s order by id", kind)


async def make(db: Database, home: Path) -> World:
    """A fresh tenant with an owner, an admin, a member, a viewer, a named approver, a robot, and a stranger outside."""
    world = World(db, Settings(home=home))
    world.tenant_id, world.workspace_id = new_id("ten"), new_id("ws")
    row = {"tenant_id": world.tenant_id, "created_by": "test", "name": "Test"}
    async with db.transaction(world.tenant_id) as conn:
        assert await workspaces.store.create_tenant(conn, {**row, "slug": world.tenant_id[4:].lower()})
        await workspaces.store.create_workspace(conn, {**row, "id": world.workspace_id, "slug": "main"})
    for name, (role, approver) in PEOPLE.items():
        await world.person(name)
        await world.join(name, role, approver)
    await world.person("stranger")
    await world.person("operator", operator=True)
    await world.robot()
    return world


@pytest_asyncio.fixture
async def world(db: Database, tmp_path: Path) -> AsyncIterator[World]:
    """A fresh tenant. Every home has its own master key, so tenants are never shared between tests."""
    (tmp_path / "keys").mkdir(mode=0o700, exist_ok=True)
    yield await make(db, tmp_path)


async def refusal(use: Awaitable[Any]) -> str:
    """The code that it is refused with; "" when it is not."""
    try:
        await use
    except Problem as problem:
        return problem.code
    return ""


async def somebody_waits(world: Any, seconds: float = 10, many: int = 1) -> None:
    """Until a transaction (or as many) waits for what another one holds."""
    async with asyncio.timeout(seconds):
        while True:
            async with world.db.transaction(None) as conn:
                if len(await (await conn.execute(WAITING)).fetchall()) >= many:
                    return
            await asyncio.sleep(0.02)


async def decided_while_held(
    world: Any, approval_id: str, deciding: Coroutine[Any, Any, Any], hold: Callable[[Connection], Awaitable[Any]]
) -> None:
    """Somebody decides while what waits for the approval is held, as by who cancels or removes it: the decision waits, and
    nobody holds the approval yet, or the two would wait for each other in a circle."""
    async with world.db.transaction(world.tenant_id) as conn:
        await may_idle(conn)
        assert await hold(conn), "the control: there is something to hold"
        decision = asyncio.ensure_future(deciding)
        try:
            await somebody_waits(world)
            free = "select id from worka.approval where id = %s for update nowait"
            assert await (await conn.execute(free, (approval_id,))).fetchone(), "the decision has the approval already"
        except BaseException:
            decision.cancel()
            raise
    await decision
