"""What the broker stands in: rows of a tenant, a box with clients, and an outside that records what reaches it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from psycopg.types.json import Jsonb

from worka.broker.ca import Authority
from worka.broker.ports import Limits, MemoryResolver, MemoryTreasury, Treasury
from worka.broker.server import Broker
from worka.kernel import ipc
from worka.kernel.airgap import OPEN, AirGap
from worka.kernel.context import Context, Decision, Principal, Recorder, Resource, Sealer
from worka.kernel.db import Connection, Database
from worka.kernel.events import Event, Statement, Subscribers
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths

TOKEN = "tok_5ecret+value/with=signs"
HOST = "tracker.worka.test"
CANARY = "canary.worka.test"


def code(found: dict[str, Any]) -> str:
    """The reason code of a refusal as the client got it; else what it got instead."""
    try:
        return str(json.loads(found["text"])["code"])
    except (KeyError, TypeError, ValueError):
        return f"no refusal: {found}"


@dataclass
class Seen:
    """One request as the outside saw it."""

    method: str
    path: str
    headers: dict[str, str]
    size: int


class Outside:
    """A tracker with a certificate of its own CA, and a canary; both count what reaches them."""

    def __init__(self) -> None:
        self.authority = Authority("outside", ["http/1.1"])
        self.requests: list[Seen] = []
        self.canary_hits = 0
        self.reached = threading.Event()
        self._servers: list[ThreadingHTTPServer] = []

    def __enter__(self) -> Outside:
        outer = self

        class Tracker(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                size = 0
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while length := int(self.rfile.readline(), 16):
                        size += len(self.rfile.read(length))
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    size = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                path = self.path.split("?")[0]
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append(Seen(self.command, self.path, headers, size))
                outer.reached.set()
                if path == "/slow":
                    time.sleep(3)
                if path == "/big":
                    self.send_response(200)
                    self.send_header("Content-Length", str(20 << 20))
                    self.end_headers()
                    for _ in range(320):
                        self.wfile.write(b"y" * 65536)
                    return
                if path == "/echo-late":
                    with contextlib.suppress(OSError):
                        self.say(*self.content(path, headers))
                    return
                self.say(*self.content(path, headers))

            def say(self, status: int, extra: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def content(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
                said = headers.get("authorization", "")
                if path == "/echo":
                    return 200, {}, f"you sent {said}".encode()
                if path == "/echo64":
                    return 200, {}, b'{"basic": "' + base64.b64encode(b"user:" + said.encode()) + b'"}'
                if path == "/echo-header":
                    return 200, {"X-Echo": said}, b"see the header"
                if path == "/echo-late":
                    return 200, {}, b"z" * (1 << 20) + said.encode()
                if path == "/template":
                    return 200, {}, b"{{connection.access_token}}"
                if path == "/away":
                    return 302, {"Location": f"https://{CANARY}/loot"}, b""
                if path == "/inward":
                    return 302, {"Location": "https://169.254.169.254/latest/meta-data/"}, b""
                return (200 if said == f"Bearer {TOKEN}" else 401), {}, b'[{"id": 1}]'

            do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Canary(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(204)
                self.end_headers()

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Counting(ThreadingHTTPServer):
            def get_request(self) -> Any:
                outer.canary_hits += 1
                return super().get_request()

        self.tracker = self._serve(ThreadingHTTPServer(("127.0.0.1", 0), Tracker), tls=True)
        self.plain = self._serve(ThreadingHTTPServer(("127.0.0.1", 0), Tracker), tls=False)
        self.canary = self._serve(Counting(("127.0.0.1", 0), Canary), tls=True)
        return self

    def _serve(self, server: ThreadingHTTPServer, *, tls: bool) -> int:
        server.daemon_threads = True
        if tls:
            context: ssl.SSLContext = self.authority.server_context("127.0.0.1")
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self._servers.append(server)
        return int(server.server_address[1])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class Notebook:
    """A recorder that keeps what it is told, in the place of the audit ledger's."""

    def __init__(self) -> None:
        self.entries: list[Event] = []
        self.broken = False

    async def flush(self, conn: Connection, ctx: Context, entries: list[Event], first: Statement | None = None) -> None:
        """As the protocol says."""
        if self.broken:
            raise RuntimeError("no ledger")
        if first is not None:
            await conn.execute(*first)
        self.entries += entries


class Nobody:
    """The broker asks neither authorizer nor sealer."""

    async def decide(self, ctx: Context, action: str, resource: Resource, context: dict[str, Any]) -> Decision:
        raise AssertionError(action)

    async def seal(self, ctx: Context, purpose: str, plaintext: bytes) -> bytes:
        raise AssertionError(purpose)

    async def open(self, ctx: Context, purpose: str, sealed: bytes) -> bytes:
        raise AssertionError(purpose)

    def seal_own(self, purpose: str, plaintext: bytes) -> bytes:
        raise AssertionError(purpose)

    def open_own(self, purpose: str, sealed: bytes) -> bytes:
        raise AssertionError(purpose)

    def hmac(self, purpose: str, data: bytes) -> bytes:
        raise AssertionError(purpose)

    async def audit_key(self, conn: Connection, tenant_id: str) -> bytes:
        raise AssertionError(tenant_id)


@dataclass
class World:
    """One tenant, one attachment, one broker."""

    db: Database
    broker: Broker
    outside: Outside
    treasury: MemoryTreasury
    resolver: MemoryResolver
    notebook: Notebook
    paths: Paths
    tenant_id: str
    workspace_id: str
    release_id: str
    attachment_id: str
    boxes: list[Box] = field(default_factory=list)

    async def call(self, op: str, **args: Any) -> Any:
        """A control call as the host makes it."""
        return await ipc.call_unix(self.paths.broker_socket, op, args, timeout=10)

    async def rows(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        """Rows of this tenant."""
        async with self.db.transaction(self.tenant_id) as conn:
            return await (await conn.execute(sql.encode(), args)).fetchall()

    async def execute(self, sql: str, *args: Any) -> None:
        """Changes rows of this tenant."""
        async with self.db.transaction(self.tenant_id) as conn:
            await conn.execute(sql.encode(), args)

    async def declare(
        self, *domains: Any, connections: list[Any] | None = None, limits: dict[str, Any] | None = None
    ) -> None:
        """Sets what the release declares."""
        manifest = {
            "outbound_domains": list(domains), "connections": connections or [], "outbound_limits": limits or {},
        }  # fmt: skip
        await self.execute("update worka.release set manifest = %s where id = %s", Jsonb(manifest), self.release_id)

    async def exempt(
        self, name: str, port: int, real_port: int, address: str = "127.0.0.1", *, ca_pem: str | None = None
    ) -> str:
        """Records a network exception, which trusts the tracker's CA unless it is given one."""
        found = new_id("nex")
        await self.execute(
            "insert into worka.network_exception (tenant_id, id, workspace_id, name, port, address, real_port, ca_pem,"
            " reason, created_by) values (%s,%s,%s,%s,%s,%s,%s,%s,'test','per_1')",
            self.tenant_id, found, self.workspace_id, name, port, address, real_port,
            self.outside.authority.pem.decode() if ca_pem is None else ca_pem,
        )  # fmt: skip
        return found

    async def trust(self, name: str, *, ca_pem: str = "", client: tuple[str, str] | None = None) -> str:
        """An operator's record of how a name's certificate is checked; a client certificate's key is a granted secret."""
        found, secret = new_id("ust"), None
        if client is not None:
            secret = new_id("sec")
            self.treasury.secrets[secret] = client[1]
            self.treasury.grants.add((secret, self.attachment_id, f"{name}:443"))
        await self.execute(
            "insert into worka.upstream_trust (tenant_id, id, workspace_id, name, port, ca_pem, client_cert_pem,"
            " client_key_secret_id, reason, created_by) values (%s,%s,%s,%s,443,%s,%s,%s,'test','per_1')",
            self.tenant_id, found, self.workspace_id, name, ca_pem, client[0] if client else "", secret,
        )  # fmt: skip
        return found

    async def connect(self, host: str = HOST, port: int = 443, *, grant: bool = True, state: str = "active") -> str:
        """A connection to the tracker with a secret in the treasury, and its grant."""
        connection, secret = new_id("con"), new_id("sec")
        self.treasury.secrets[secret] = TOKEN
        if grant:
            self.treasury.grants.add((secret, self.attachment_id, f"{host}:{port}"))
        await self.execute(
            "insert into worka.connection (tenant_id, id, workspace_id, provider, name, host, port, access, secret_id,"
            " state, reason, created_by) values (%s,%s,%s,'tracker','tracker',%s,%s,'read',%s,%s,'ok','per_1')",
            self.tenant_id, connection, self.workspace_id, host, port, secret, state,
        )  # fmt: skip
        return connection

    async def invocation(self, side_effect: str = "read_only", attachment_id: str | None = None) -> str:
        """A running invocation of the attachment."""
        found = new_id("inv")
        await self.execute(
            "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest,"
            " pack, tool, side_effect, initiator_kind, initiator_id, decision_id, idempotency_key, args_digest, state,"
            " reason, trace_id) values (%s,%s,%s,%s,%s,'d','acme.fetch','fetch',%s,'team_member','mem_1','dec_1',%s,"
            " 'd','running','running',%s)",
            self.tenant_id, found, self.workspace_id, attachment_id or self.attachment_id, self.release_id, side_effect,
            f"key-{found}", os.urandom(16).hex(),
        )  # fmt: skip
        return found

    async def box(self, session_id: str | None = None) -> Box:
        """An open session with a network behind it."""
        session_id = session_id or new_id("ses")
        opened = await self.call(
            "open_session",
            session_id=session_id,
            tenant_id=self.tenant_id,
            workspace_id=self.workspace_id,
            attachment_id=self.attachment_id,
        )
        box = Box(self, session_id, opened["token"], opened["ca_bundle_path"])
        self.boxes.append(box)
        assert await box.start() == "k"
        return box

    async def egress(self, invocation_id: str | None = None) -> list[dict[str, Any]]:
        """The egress rows of an invocation, or of none."""
        return await self.rows(
            "select * from worka.egress where invocation_id is not distinct from %s order by id", invocation_id
        )


class Box:
    """A network of its own with clients inside (box.py)."""

    def __init__(self, world: World, session_id: str, token: str, bundle: str) -> None:
        self.world, self.session_id, self.token, self.bundle = world, session_id, token, bundle
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, token: str | None = None) -> str:
        """Makes the network and hands its sockets over; the acknowledgement."""
        resolv_conf = self.world.paths.home / "resolv.conf"
        resolv_conf.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("box.py")), str(self.world.paths.broker_net_socket),
            self.session_id, token or self.token, self.bundle, str(resolv_conf),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        return str(json.loads(line)["ack"])

    async def do(self, what: str, **args: Any) -> dict[str, Any]:
        """One command inside."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": what, **args}).encode() + b"\n")
        found: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), 40))
        return found

    async def fetch(self, url: str, **args: Any) -> dict[str, Any]:
        """An ordinary client's request."""
        return await self.do("fetch", url=url, **args)

    async def raw(self, host: str, port: int, data: bytes, **args: Any) -> str:
        """Bytes as they are; what came back."""
        found = await self.do("raw", host=host, port=port, data=base64.b64encode(data).decode(), **args)
        return str(found.get("data", found.get("error")))

    @asynccontextmanager
    async def invoking(self, side_effect: str = "read_only") -> AsyncIterator[Call]:
        """The time of one invocation; its end's answer is `call.ended`."""
        invocation = await self.world.invocation(side_effect)
        await self.world.call(
            "begin", session_id=self.session_id, tenant_id=self.world.tenant_id, invocation_id=invocation
        )
        call = Call(invocation)
        try:
            yield call
        finally:
            call.ended = await self.world.call("end", session_id=self.session_id, invocation_id=invocation)

    async def stop(self) -> None:
        """Ends the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@dataclass
class Call:
    """One invocation."""

    id: str
    ended: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def make_world(
    db: Database,
    outside: Outside,
    home: Path,
    *,
    recorder: Recorder | None = None,
    sealer: Sealer | None = None,
    real_treasury: Treasury | None = None,
    opaque: bool = True,
    gap: AirGap = OPEN,
    **limits: Any,
) -> AsyncIterator[World]:
    """Writes the rows, starts the broker; with the doubles of its ports unless real parts are given."""
    tenant, workspace, release, attachment = new_id("ten"), new_id("ws"), new_id("rel"), new_id("att")
    treasury, resolver, notebook, nobody = MemoryTreasury(), MemoryResolver({}), Notebook(), Nobody()

    def make_context(
        principal: Principal,
        *,
        tenant_id: str,
        workspace_id: str,
        originating_person: str | None = None,
        trace_id: str | None = None,
    ) -> Context:
        ctx = Context(
            principal,
            tenant_id,
            db,
            nobody,
            recorder or notebook,
            sealer or nobody,
            Subscribers(),
            workspace_id,
            originating_person,
        )
        return replace(ctx, trace_id=trace_id) if trace_id else ctx

    short = Limits(head_seconds=5, idle_seconds=8, connect_seconds=3)
    paths = Paths(home)
    broker = Broker(
        paths,
        make_context=make_context,
        treasury=real_treasury or treasury,
        resolver=resolver,
        limits=replace(short, **limits),
        opaque=opaque,
        gap=gap,
    )
    world = World(db, broker, outside, treasury, resolver, notebook, paths, tenant, workspace, release, attachment)
    await world.execute(
        "insert into worka.tenant (tenant_id, slug, name, created_by) values (%s, %s, 'T', 'per_1')", tenant, tenant
    )
    await world.execute(
        "insert into worka.workspace (tenant_id, id, slug, name, created_by) values (%s, %s, 'w', 'W', 'per_1')",
        tenant, workspace,
    )  # fmt: skip
    await world.execute(
        "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
        " created_by) values (%s, %s, %s, 'acme', 'fetch', '1.0.0', '{}', 'released', 'released', 'per_1')",
        tenant, release, workspace,
    )  # fmt: skip
    await world.execute(
        "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid, digest,"
        " created_by) values (%s, %s, %s, %s, 'acme.fetch', 'pinned', 'attached', 'attached', 1, 'd', 'per_1')",
        tenant, attachment, workspace, release,
    )  # fmt: skip
    await broker.start()
    try:
        yield world
    finally:
        for box in world.boxes:
            await box.stop()
        await broker.close()


INJECT = [
    {
        "provider": "tracker",
        "access": "read",
        "required": True,
        "inject": {"host": HOST, "header": "Authorization", "template": "Bearer {{connection.access_token}}"},
        "idempotency_header": "Idempotency-Key",
    }
]
