"""A tenant with everybody in it, a real broker beside it, and a real OAuth provider outside."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from tests.connections import outside as far
from tests.connections.outside import API, CALLBACK, CLIENT, LOGIN, SECRET, Browser, Outside
from tests.connections.test_connections import decide
from tests.treasury.support import broker as as_broker
from tests.workspaces.world import World
from worka import broker as broker_domain
from worka import connections, packs
from worka.broker import service as exceptions
from worka.broker.ports import MemoryResolver
from worka.broker.schema import NewNetworkException
from worka.broker.server import Broker
from worka.connections import clients, consent, service
from worka.kernel import ipc
from worka.kernel.context import Context, Principal
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.settings import ConnectionSettings
from worka.treasury import service as treasury

Row = dict[str, Any]
HERE = f"{API}:443"


@dataclass
class Town:
    """The world and what stands around it. `posted`: what was asked of the broker, in order."""

    world: World
    outside: Outside
    broker: Broker
    paths: Paths
    catalogue: Path
    posted: list[Row] = field(default_factory=list)
    lost: int = 0

    async def post(self, args: Row) -> Row:
        """As a process of ours calls the broker's."""
        self.posted.append(args)
        return dict(await ipc.call_unix(self.paths.broker_socket, "platform_http", args, timeout=30))

    def ctx(self, who: str, session: str = "") -> Context:
        """Somebody of this world, in a session."""
        ctx = self.world.ctx(who)
        ctx.credential_id = session or f"ses_{who}"
        return ctx

    def platform(self) -> Context:
        """The platform in this tenant, as the worker acts."""
        ctx = self.world.context(Principal("platform", "platform", "Worka"), tenant_id=self.world.tenant_id)
        return ctx

    def browser(self, account: str = "alice") -> Browser:
        """Somebody at the provider."""
        return Browser(self.outside, account)

    async def register(self) -> Row:
        """The workspace's client at the provider."""
        return await clients.register(
            self.ctx("owner"), self.world.workspace_id, provider="outside", client_id=CLIENT, secret=SECRET, metadata={}
        )

    async def attached(
        self, pack: str = "acme.notes", scopes: tuple[str, ...] = ("issues:read",), state: str = "attached"
    ) -> str:
        """An attachment whose pack declares that it needs the provider."""
        release, found = new_id("rel"), new_id("att")
        publisher, _, name = pack.partition(".")
        manifest = {
            "runtime": {"transport": "stdio", "command": ["notes"]},
            "outbound_domains": [API],
            "connections": [
                {"provider": "outside", "access": "read issues", "required": True, "scopes": list(scopes),
                 "inject": {"host": API, "header": "Authorization", "template": "Bearer {{connection.access_token}}"}}
            ],
        }  # fmt: skip
        async with self.world.db.transaction(self.world.tenant_id) as conn:
            await conn.execute(
                "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
                " created_by) values (%s, %s, %s, %s, %s, %s, %s, 'released', 'release_in_service', 'test')",
                (self.world.tenant_id, release, self.world.workspace_id, publisher, name, f"1.0.0-{release[-8:]}",
                 Jsonb(manifest)),
            )  # fmt: skip
            await conn.execute(
                "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid,"
                " digest, created_by) values (%s, %s, %s, %s, %s, 'pinned', %s, 'attachment_in_service', 1, 'd', 'test')",
                (self.world.tenant_id, found, self.world.workspace_id, release, pack, state),
            )
        return found

    async def called(self, attachment_id: str, who: str) -> str:
        """A running call of the attachment, made for somebody."""
        found = new_id("inv")
        person = self.world.ids[who]
        async with self.world.db.transaction(self.world.tenant_id) as conn:
            await conn.execute(
                "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest, pack,"
                " tool, side_effect, initiator_kind, initiator_id, originating_person, decision_id, idempotency_key,"
                " args_digest, state, reason, trace_id) select tenant_id, %s, workspace_id, id, release_id, 'd', pack,"
                " 'read', 'read_only', 'person', %s, %s, 'dec_x', %s, 'a', 'running', 'call_under_way', 't'"
                " from worka.attachment where id = %s",
                (found, person, person, found, attachment_id),
            )
        return found

    async def lease(self, secret_id: str, attachment_id: str, invocation_id: str) -> str:
        """The value, as the broker asks for it."""
        found = await treasury.lease(
            as_broker(self.world, attachment_id), secret_id=secret_id, attachment_id=attachment_id,
            invocation_id=invocation_id, endpoint=HERE,
        )  # fmt: skip
        return found.value

    def reads(self, token: str) -> int:
        """What the outside's interface answers to a token."""
        return self.outside.ask("GET", f"https://{API}/api/issues", None, {"Authorization": f"Bearer {token}"})[0]

    async def asked(self, who: str = "owner", **words: Any) -> Row:
        """A connection that is asked for, and allowed."""
        given: Row = {
            "provider": "outside", "name": "Issues outside", "access": "read issues", "metadata": {},
            "why": "the notes list open issues", "kind": "oauth_code", **words,
        }  # fmt: skip
        made = await service.create(self.ctx(who), self.world.workspace_id, **given)
        if made["approval_id"]:
            await decide(self.world, made["approval_id"])
        return await service.get(self.ctx(who), made["id"])

    async def finish(self, back: dict[str, str], who: str = "owner", session: str = "", **changes: Any) -> Row:
        """The provider's answer, as the browser brings it."""
        words = {"state": back["state"], "code": back.get("code", ""), "iss": back.get("iss"),
                 "error": back.get("error", ""), **changes}  # fmt: skip
        return await consent.finish(self.ctx(who, session), self.world.workspace_id, post=self.post, **words)

    async def connected(self, who: str = "owner", account: str = "alice", **words: Any) -> Row:
        """A connection by code, from the question to the token."""
        made = await self.asked(who, **words)
        begun = await consent.begin(self.ctx(who), made["id"], CALLBACK)
        back = await asyncio.to_thread(self.browser(account).consents, begun["url"])
        return await self.finish(back, who)

    async def row(self, connection_id: str) -> Row:
        """A connection as it lies in the database."""
        (found,) = await self.world.rows("connection", "id = %s", connection_id)
        return found

    async def sooner(self, connection_id: str, seconds: float = 0) -> None:
        """As if it were time to renew it; its token ends in so many seconds."""
        async with self.world.db.transaction(self.world.tenant_id) as conn:
            await conn.execute(
                "update worka.connection set refresh_at = clock_timestamp() - interval '1 second', expires_at = case when %s"
                " then clock_timestamp() + make_interval(secs => %s) else expires_at end where id = %s",
                (bool(seconds), seconds, connection_id),
            )

    async def everything(self) -> str:
        """Every row of every table that this tenant can see, as text: what must not hold a token."""
        found = []
        async with self.world.db.transaction(self.world.tenant_id) as conn:
            cursor = await conn.execute(
                "select table_name from information_schema.tables where table_schema = 'worka' and table_type = 'BASE TABLE'"
            )
            for table in await cursor.fetchall():
                try:
                    async with conn.transaction():
                        rows = await (await conn.execute(f"select * from worka.{table['table_name']}")).fetchall()  # type: ignore[arg-type]
                except Exception:  # not for the application's role to read
                    continue
                found += [
                    json.dumps(row, default=lambda value: value.hex() if isinstance(value, bytes) else str(value))
                    for row in rows
                ]
                found += [
                    bytes(value).decode("latin-1") for row in rows for value in row.values() if isinstance(value, bytes)
                ]
        return "\n".join(found)

    async def leave(self) -> None:
        """Ends the broker."""
        await self.broker.close()
        shutil.rmtree(self.paths.home, ignore_errors=True)


async def town(world: World, outside: Outside) -> Town:
    """Starts the broker; the caller closes it."""
    catalogue = Path(tempfile.mkdtemp(prefix="cat-"))
    (catalogue / "outside.json").write_text(json.dumps(far.entry()))
    world.settings = world.settings.model_copy(update={"connections": ConnectionSettings(catalogue=str(catalogue))})
    for domain in (connections, broker_domain, packs):
        domain.subscribe(world.subscribers)
    paths = Paths(Path(tempfile.mkdtemp(prefix="con-")))

    def make(principal: Principal, **fields: Any) -> Context:
        return world.context(principal, **{key: value for key, value in fields.items() if value is not None})

    found = Broker(paths, make_context=make, treasury=treasury, resolver=MemoryResolver({}))
    await found.start()
    for name in (LOGIN, API):
        new = NewNetworkException(
            name=name,
            port=443,
            address="127.0.0.1",
            real_port=outside.port,
            ca_pem=outside.ca,
            reason="the test's provider",
        )
        await exceptions.create_exception(world.ctx("admin"), new)
    return Town(world, outside, found, paths, catalogue)
