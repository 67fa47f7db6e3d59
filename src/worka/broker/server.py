"""The `broker` role: the host's control socket, the launcher's socket for a sandbox's sockets, and the sessions.

Nothing here trusts the host with rules: it names an attachment and an invocation, the broker reads the rest itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

from worka.broker import bindings, credentials, dnswire, store, watching
from worka.broker.adapters.outside import Dialer, SystemResolver
from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.allowance import MB, Allowance, Meter, Meters
from worka.broker.bindings import Connection
from worka.broker.circuit import Circuits
from worka.broker.errors import InvocationActive, InvocationForeign, PolicyUnreadable, RulesUnreadable, SessionUnknown
from worka.broker.exchange import Outside
from worka.broker.intake import Intakes
from worka.broker.platform import MailRoute, PlatformDoor, PlatformLimits
from worka.broker.policy import rules as policies
from worka.broker.policy import store as policy_rows
from worka.broker.ports import Limits, Listed, MakeContext, Resolver, Treasury
from worka.broker.proxy import Proxy
from worka.broker.rules import Rule, RuleProblem, parse_rules
from worka.broker.session import NetworkException, Session, Trust
from worka.broker.templates import TemplateError
from worka.connections.rules import own
from worka.governance import kills
from worka.governance import store as governance_rows
from worka.governance.errors import Killed
from worka.kernel import ipc, telemetry
from worka.kernel.airgap import OPEN, AirGap
from worka.kernel.context import Principal
from worka.kernel.db import Connection as DatabaseConnection
from worka.kernel.errors import BadRequest, Conflict, NotFound
from worka.kernel.paths import Paths
from worka.kernel.settings import BrokerSettings, Settings

log = logging.getLogger("worka.broker")
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_SERVING = {"attached", "updating", "held"}
ACK = b"k"
BUNDLE = "ca.pem"
_PENDING_LOOKUPS = 512
_PROBE_SECONDS = 30
PLATFORM = "_platform"
"""Whose rows a probe's are: no tenant's."""


class Lookups(asyncio.DatagramProtocol):
    """The resolver of one sandbox."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = dnswire.respond(data, self.session.address_of)
        if reply is None or self.transport is None:
            return
        if reply.outcome == "refused" and len(self.session.lookups) >= _PENDING_LOOKUPS:
            return  # a flood: no answer without its record
        self.transport.sendto(reply.wire, addr)
        if reply.outcome == "refused":
            active = self.session.active
            reason = (
                "undeclared_destination" if active is None else active.refusal(reply.name, "undeclared_destination")
            )
            note = self.session.ledger.deny(reason=reason, kind="dns", host=reply.name, port=53)
            _keep(self.session.lookups, asyncio.create_task(note))


def _keep(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.add(task)
    task.add_done_callback(tasks.discard)


class Broker:
    """All sessions of one process. `start` opens the two sockets, `close` ends everything."""

    def __init__(
        self,
        paths: Paths,
        *,
        make_context: MakeContext,
        treasury: Treasury,
        resolver: Resolver | None = None,
        limits: Limits | None = None,
        platform_limits: PlatformLimits | None = None,
        mail: MailRoute | None = None,
        allowance: Allowance | None = None,
        opaque: bool = True,
        gap: AirGap = OPEN,
    ) -> None:
        self.paths = paths
        self.sessions: dict[str, Session] = {}
        self.limits = limits or Limits()
        self.allowance = allowance or Allowance()
        self.opaque = opaque
        self._meters = Meters()
        self._circuits = Circuits(self.limits.circuit_failures, self.limits.circuit_seconds)
        self._make_context = make_context
        self._resolver = resolver or SystemResolver()
        self._outside = Outside(Listed(self._resolver, gap), Dialer(), treasury, gap)
        self._intakes = Intakes()
        self._platform = PlatformDoor(self._outside, make_context, self.limits, platform_limits, mail, self._intakes)
        self._control: asyncio.Server | None = None
        self._tunnels: asyncio.Server | None = None
        self._net: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()
        self._warned = float("-inf")

    async def start(self) -> None:
        """Listens on `run/broker.sock` (control) and `run/broker-net.sock` (a sandbox's sockets, by token); own uid and root
        only."""
        self.paths.run.mkdir(parents=True, exist_ok=True)
        self.paths.sessions.mkdir(parents=True, exist_ok=True)
        # A session's network dies with the broker: what an earlier process left here belongs to nobody.
        for left in self.paths.sessions.glob(f"*/{BUNDLE}"):
            _remove_bundle(left.parent)
        net_path = self.paths.broker_net_socket
        # The name appears once it is served, and by whom it may be: the launcher connects before it becomes a pack's uid.
        beside = net_path.with_name(f"{net_path.name}~")
        beside.unlink(missing_ok=True)
        self._net = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._net.bind(str(beside))
        os.chmod(beside, 0o600)
        self._net.listen(64)
        self._net.setblocking(False)
        beside.rename(net_path)
        self._accepting = asyncio.create_task(self._accept_handovers(self._net))
        _keep(self._beside, asyncio.create_task(watching.watch(self.sessions, self.limits.unwatched_seconds)))
        self._tunnels = await ipc.serve_streams(self.paths.broker_out_socket, self._platform.tunnel)
        self._control = await ipc.serve_unix(self.paths.broker_socket, self._call)

    async def close(self) -> None:
        """Closes every session and both sockets."""
        for server in (self._control, self._tunnels):
            if server is not None:
                server.close()
        for task in (*self._beside, *((self._accepting,) if self._accepting else ())):
            task.cancel()
        if self._net is not None:
            self._net.close()
        for session_id in list(self.sessions):
            await self.close_session(session_id=session_id)
        if isinstance(self._resolver, SystemResolver):
            self._resolver.close()

    async def _call(self, op: str, args: dict[str, Any], traceparent: str | None) -> Any:
        ops = {
            "open_session": self.open_session,
            "open_probe": self.open_probe,
            "begin": self.begin,
            "end": self.end,
            "close_session": self.close_session,
            "status": self.status,
            "look_up": self.look_up,
            "platform_http": self._platform.http,
        }
        if op not in ops:
            raise BadRequest(f"The broker has no operation {op}.")
        if op == "begin":
            args["traceparent"] = traceparent
        if op == "platform_http" and (parent := telemetry.parse(traceparent)) is not None:
            args.setdefault("trace_id", parent[0])
        try:
            return await ops[op](**args)  # type: ignore[operator]
        except TypeError as error:
            raise BadRequest(f"{op}: {error}") from error

    async def open_session(
        self, *, session_id: str, tenant_id: str, workspace_id: str, attachment_id: str
    ) -> dict[str, Any]:
        """{token, ca_bundle_path}. The network stays shut until `begin`."""
        if not _SESSION_ID.match(session_id):
            raise BadRequest("A session id is letters, digits, - and _.")
        if session_id in self.sessions:
            raise Conflict("This session is open already.")
        principal = Principal("attachment", attachment_id, attachment_id, tenant_id)
        ctx = self._make_context(principal, tenant_id=tenant_id, workspace_id=workspace_id)
        async with ctx.transaction() as conn:
            found = await store.attachment(conn, attachment_id)
        if found is None or found["workspace_id"] != workspace_id:
            raise NotFound("There is no such attachment in this workspace.")
        folder = self.paths.sessions / session_id
        session = Session(
            session_id=session_id,
            tenant_id=tenant_id,
            workspace_id=workspace_id,
            attachment_id=attachment_id,
            pack=found["pack"],
            rules=_rules(found["manifest"]),
            make_context=self._make_context,
            limits=self.limits,
            intake=self._intakes.of(tenant_id),
            folder=folder,
        )
        bundle = _write_bundle(folder, session.authority.bundle)
        self.sessions[session_id] = session
        return {"token": session.token, "ca_bundle_path": str(bundle)}

    async def open_probe(self, *, session_id: str) -> dict[str, Any]:
        """{token, resolver}: a session of nobody's, in which nothing is ever called, so that all of it is refused: for a
        check of the way from a sandbox to here. `resolver`: whether this machine's answered in time, null where it is not asked."""
        if not _SESSION_ID.match(session_id) or session_id in self.sessions:
            raise BadRequest("A session id is letters, digits, - and _, and new.")
        session = Session(
            session_id=session_id,
            tenant_id=PLATFORM,
            workspace_id=PLATFORM,
            attachment_id="doctor",
            pack="worka.doctor",
            rules=(),
            make_context=self._make_context,
            limits=self.limits,
            intake=self._intakes.of(PLATFORM),
            folder=self.paths.sessions / session_id,
        )
        self.sessions[session_id] = session
        _keep(session.tasks, asyncio.create_task(self._forget(session_id)))
        return {"token": session.token, "resolver": await self._resolver_answers()}

    async def _resolver_answers(self) -> bool | None:
        """None where it may not be asked: of an air-gapped deployment not even a name leaves that is not listed."""
        if self._outside.gap.on:
            return None
        try:
            async with asyncio.timeout(2):
                await self._outside.resolver.resolve("worka.test")
        except (OSError, TimeoutError):
            return False
        return True

    async def look_up(self, *, host: str) -> dict[str, Any]:
        """{answered, addresses}: what this broker's resolver says of a name, for a request that is only tried. Whether the
        name may be asked for, whoever asks has decided by the rules of a release."""
        try:
            async with asyncio.timeout(self.limits.resolve_seconds):
                return {"answered": True, "addresses": list(await self._outside.resolver.resolve(normalise_host(host)))}
        except HostProblem as problem:
            raise BadRequest(problem.detail) from problem
        except (OSError, TimeoutError):
            return {"answered": False, "addresses": []}

    async def _forget(self, session_id: str) -> None:
        """Whoever probes may die; what it opened must not stay."""
        await asyncio.sleep(_PROBE_SECONDS)
        # Not this one itself, which ends the others.
        self.sessions[session_id].tasks -= {task for task in [asyncio.current_task()] if task is not None}
        await self.close_session(session_id=session_id)

    async def begin(
        self, *, session_id: str, tenant_id: str, invocation_id: str, traceparent: str | None = None
    ) -> dict[str, Any]:
        """Opens the session's network for one invocation, under the rules as they are now."""
        session = self._session(session_id, tenant_id)
        async with session.lock:
            if session.active is not None:
                raise InvocationActive(f"The session serves {session.active.id}.")
            principal = Principal("attachment", session.attachment_id, session.pack, tenant_id)
            ctx = self._make_context(principal, tenant_id=tenant_id, workspace_id=session.workspace_id)
            async with ctx.transaction() as conn:
                invocation = await store.invocation(conn, invocation_id)
                if (
                    invocation is None
                    or invocation["attachment_id"] != session.attachment_id
                    or invocation["state"] != "running"
                ):
                    raise InvocationForeign(
                        f"{invocation_id} is not a running invocation of this session's attachment."
                    )
                attachment = await store.attachment(conn, session.attachment_id)
                if attachment is None or attachment["state"] not in _SERVING:
                    raise InvocationForeign("The attachment does not serve calls now.")
                await _not_stopped(conn, session, invocation)
                person = invocation["originating_person"] or invocation["initiator_id"]
                connections = own(await store.connections(conn, session.workspace_id), person)
                exceptions = await store.live_exceptions(conn, session.workspace_id)
                trusts = await store.live_trusts(conn, session.workspace_id, session.attachment_id)
                meter = await self._meter(conn, session.attachment_id)
                held = await policy_rows.in_force(conn, session.workspace_id)
            manifest = invocation["manifest"]
            rules, policy = _rules(manifest), _policy(held)
            try:
                needs = bindings.parse_needs(manifest.get("connections") or [])
            except (RuleProblem, TemplateError, KeyError) as error:
                raise RulesUnreadable(f"connections: {error}") from error
            parent = telemetry.parse(traceparent)
            await session.renew_idle().close()
            session.activate(
                invocation,
                rules=rules,
                policy=policy,
                needs=needs,
                connections=tuple(Connection(**row) for row in connections),
                exceptions={
                    (row["name"], row["port"]): NetworkException(
                        row["id"], row["name"], row["port"], row["address"], row["real_port"], row["ca_pem"]
                    )
                    for row in exceptions
                },
                # The attachment's own come last, and stand before the workspace's.
                trusts={(row["name"], row["port"]): Trust(**row) for row in trusts},
                allowance=self.allowance.within(manifest.get("outbound_limits") or {}),
                meter=meter,
                parent_span=parent[1] if parent is not None and parent[0] == invocation["trace_id"] else None,
            )
        return {}

    async def _meter(self, conn: DatabaseConnection, attachment_id: str) -> Meter:
        """The attachment's, with what the rows say of today: a restart gives no new day."""
        meter, today = self._meters.of(attachment_id), datetime.datetime.now(datetime.UTC).date()
        used = await store.use(conn, attachment_id, today)
        meter.begin_day(today, used["bytes_out"] + used["bytes_in"] if used else 0)
        return meter

    async def end(self, *, session_id: str, invocation_id: str, tenant_id: str | None = None) -> dict[str, Any]:
        """Shuts the session's network, cuts what is open, and tells what left: {egress: […], denied: {…} | null, broken: the
        reason of a fault of ours that refused something, or null}."""
        session = self._session(session_id, tenant_id)
        async with session.lock:
            active = session.active
            if active is None or active.id != invocation_id:
                raise InvocationForeign(f"The session does not serve {invocation_id}.")
            # First nothing new may leave, then what is open is cut; its outcome is still written.
            session.active = None
            await _cut(active.tasks)
            await active.pool.close()
            await asyncio.gather(*session.lookups, return_exceptions=True)
            await credentials.over(active, self._outside.treasury)
            return {**await active.ledger.close(), "broken": active.broken}

    async def close_session(self, *, session_id: str, tenant_id: str | None = None) -> dict[str, Any]:
        """Forgets the session: its sockets, CA and folder. Ends its invocation first."""
        session = self._session(session_id, tenant_id)
        if session.active is not None:
            with contextlib.suppress(InvocationForeign):
                await self.end(session_id=session_id, invocation_id=session.active.id)
        self.sessions.pop(session_id, None)
        await _cut(session.tasks)
        for sock in session.sockets:
            sock.close()
        await asyncio.gather(*session.lookups, return_exceptions=True)
        await session.idle.close()
        _remove_bundle(session.folder)
        return {}

    async def status(self) -> dict[str, Any]:
        """{sessions: [{session_id, attachment_id, invocation_id, connections, connected}]}."""
        return {
            "sessions": [
                {
                    "session_id": session.id,
                    "tenant_id": session.tenant_id,
                    "attachment_id": session.attachment_id,
                    "invocation_id": session.active.id if session.active else None,
                    "connections": session.open_connections,
                    "connected": bool(session.sockets),
                }
                for session in self.sessions.values()
            ]
        }

    def _session(self, session_id: str, tenant_id: str | None) -> Session:
        session = self.sessions.get(session_id)
        if session is None or tenant_id not in {None, session.tenant_id}:
            raise SessionUnknown()
        return session

    async def _accept_handovers(self, net: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                conn, _ = await loop.sock_accept(net)
            except OSError as error:
                # As in _accept: one failure must not end handovers for good.
                self._warn_of_handover("accept of a handover failed: %s", type(error).__name__)
                await asyncio.sleep(0.05)
                continue
            _keep(self._beside, asyncio.create_task(self._handover(conn)))

    def _warn_of_handover(self, message: str, *args: object) -> None:
        # At most one line a second, whoever it is.
        clock = time.monotonic()
        if clock - self._warned >= 1.0:
            self._warned = clock
            log.warning(message, *args)

    async def _handover(self, conn: socket.socket) -> None:
        """The launcher's message {session_id, token} with three sockets: 53/udp, 80, 443. One byte says yes."""
        taken: list[socket.socket] = []
        try:
            if ipc.peer_uid(conn) not in (os.geteuid(), 0):
                self._warn_of_handover("a handover by another user was refused")
                return
            async with asyncio.timeout(5):
                await _readable(conn)
                message, descriptors, _, _ = socket.recv_fds(conn, 4096, 8)
                taken = _sockets(descriptors)
                asked = json.loads(message)
                session = self.sessions.get(str(asked.get("session_id")))
                if not _right_sockets(taken) or session is None or not session.take_token(str(asked.get("token"))):
                    self._warn_of_handover("a handover of sockets was refused")
                    return
                await self._listen(session, taken)
                taken = []
                await asyncio.get_running_loop().sock_sendall(conn, ACK)
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            self._warn_of_handover("a handover of sockets failed: %s", type(error).__name__)
        finally:
            for sock in taken:
                sock.close()
            conn.close()

    async def _listen(self, session: Session, sockets: list[socket.socket]) -> None:
        lookups, plain, secure = sockets
        for sock in sockets:
            sock.setblocking(False)
        session.sockets = sockets
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Lookups(session), sock=lookups)
        _keep(session.tasks, asyncio.create_task(_until_cancelled(transport)))
        for listener, port in ((plain, 80), (secure, 443)):
            _keep(session.tasks, asyncio.create_task(self._accept(session, listener, port)))

    async def _accept(self, session: Session, listener: socket.socket, port: int) -> None:
        loop = asyncio.get_running_loop()
        proxy = Proxy(session, self._outside, self._circuits, opaque=self.opaque)
        while True:
            try:
                conn, _ = await loop.sock_accept(listener)
            except OSError as error:
                # Out of descriptors, or the connection was gone before it was taken: the listener itself still stands.
                log.warning("accept failed: %s", type(error).__name__)
                await asyncio.sleep(0.05)
                continue
            if session.open_connections >= 2 * self.limits.connections:
                conn.close()
                continue
            active = session.active
            _keep(active.tasks if active else session.tasks, asyncio.create_task(_serve(session, proxy, conn, port)))


async def _serve(session: Session, proxy: Proxy, conn: socket.socket, port: int) -> None:
    session.open_connections += 1
    try:
        await proxy.serve(conn, port)
    except Exception:
        # One connection's surprise must not stop the listener; nothing was sent without its row.
        log.exception("a connection of session %s failed", session.id)
    finally:
        session.open_connections -= 1


async def _until_cancelled(transport: asyncio.DatagramTransport) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        transport.close()


async def _cut(tasks: set[asyncio.Task[None]]) -> None:
    cut = list(tasks)
    for task in cut:
        task.cancel()
    await asyncio.gather(*cut, return_exceptions=True)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _sockets(descriptors: list[int]) -> list[socket.socket]:
    """As sockets. Raises OSError when one is none, and then none of them stays open."""
    made: list[socket.socket] = []
    try:
        for descriptor in descriptors:
            made.append(socket.socket(fileno=descriptor))
    except OSError:
        for descriptor in descriptors[len(made) :]:
            os.close(descriptor)
        for sock in made:
            sock.close()
        raise
    return made


def _right_sockets(sockets: list[socket.socket]) -> bool:
    """True for one datagram socket and two listening ones, all IPv4."""
    if len(sockets) != 3 or any(sock.family != socket.AF_INET for sock in sockets):
        return False
    lookups, *listeners = sockets
    return lookups.type == socket.SOCK_DGRAM and all(
        sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        for sock in listeners
    )


async def _not_stopped(conn: DatabaseConnection, session: Session, invocation: dict[str, Any]) -> None:
    """A kill switch that was set after the call was decided: its network stays shut. Raises Killed."""
    found = kills.matching(
        await governance_rows.kills_on(conn),
        workspace=session.workspace_id,
        members=[who for who in (invocation["initiator_id"], invocation["originating_person"]) if who],
        releases=[invocation["release_id"]],
    )
    if found is not None:
        raise Killed(kills.said(found), remedy=kills.remedy(found), kill_id=found["id"])


def _rules(manifest: dict[str, Any]) -> tuple[Rule, ...]:
    try:
        return parse_rules(manifest.get("outbound_domains") or [])
    except RuleProblem as error:
        raise RulesUnreadable(str(error)) from error


def _policy(held: list[dict[str, Any]]) -> tuple[policies.Layer, ...]:
    try:
        return policies.layers(held)
    except RuleProblem as error:
        raise PolicyUnreadable(str(error)) from error


def _write_bundle(folder: Path, bundle: bytes) -> Path:
    """The CA bundle, readable for the attachment's uid: it holds certificates, no key."""
    if not folder.is_dir():
        folder.mkdir()
        folder.chmod(0o755)
    path = folder / BUNDLE
    path.unlink(missing_ok=True)
    path.write_bytes(bundle)
    path.chmod(0o644)
    return path


def _remove_bundle(folder: Path) -> None:
    # The host may keep things of its own beside it.
    (folder / BUNDLE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _allowance(given: BrokerSettings) -> Allowance:
    return Allowance(
        requests_per_minute=given.requests_per_minute,
        at_once=given.requests_at_once,
        call_bytes=given.call_mb * MB,
        day_bytes=given.day_mb * MB,
        exchange_seconds=given.exchange_seconds,
    )


async def run(
    settings: Settings,
    *,
    make_context: MakeContext,
    treasury: Treasury,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
) -> None:
    """The role's main coroutine: serves until `stop` is set."""
    mail = MailRoute.of(settings.mail)
    broker = Broker(
        Paths(settings.home), make_context=make_context, treasury=treasury, mail=mail, gap=settings.network.gap,
        allowance=_allowance(settings.broker), opaque=settings.broker.opaque,
    )  # fmt: skip
    await broker.start()
    if ready is not None:
        ready.set()
    try:
        await stop.wait()
    finally:
        await broker.close()
