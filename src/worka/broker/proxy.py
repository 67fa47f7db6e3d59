"""One connection out of a sandbox, from accept to close: who is meant, may it, what goes with it, what comes back.

The order is the point: decide, resolve and check, lease, commit the row, and only then dial.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import math
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import h11

from worka.broker import bindings, events, rules, tunnel
from worka.broker.adapters.outside import ClientCertificate
from worka.broker.addresses import refused_kind
from worka.broker.bindings import Bound, Unbound
from worka.broker.circuit import FAILURES, Circuit, Circuits
from worka.broker.credentials import Credentials
from worka.broker.downstream import H1Down, H2Down, Incoming
from worka.broker.exchange import Exchange, Outside, Target, where
from worka.broker.ledger import Entry, NotRecorded, Stopped
from worka.broker.link import Link, Stream, cut
from worka.broker.policy import rules as policy
from worka.broker.session import Active, Session
from worka.broker.stops import Stop
from worka.broker.wire import h2, heads
from worka.broker.wire.events import Broken, Opened
from worka.governance import kills
from worka.kernel import failpoints, telemetry

log = logging.getLogger("worka.broker")
_LEFT = frozenset({"invocation_ended", "answer_not_taken"})


class Proxy:
    """Serves connections of one session."""

    def __init__(self, session: Session, outside: Outside, circuits: Circuits, *, opaque: bool = True) -> None:
        self.session = session
        self.outside = outside
        self.limits = session.limits
        self._circuits, self._opaque = circuits, opaque
        self._credentials = Credentials(outside.treasury, session.attachment_id)

    async def serve(self, sock: socket.socket, port: int) -> None:
        """One accepted connection; `port` is the sandbox's (80 or 443). Never raises for what the pack does."""
        session = self.session
        local = str(sock.getsockname()[0])
        name, active = session.name_of(local), session.active
        stop = self._at_the_door(local, name, port, active)
        writer: asyncio.StreamWriter | None = None
        taken = recorded = False
        try:
            if stop is None and name is not None and active is not None and port == 443:
                try:
                    taken = await self._tunnelled(sock, active, name)
                    if taken:
                        return
                except Stop as refused:
                    stop, recorded = refused, True
            if stop is not None and not recorded:
                await session.ledger.deny(
                    reason=stop.reason,
                    kind="http" if name else "raw",
                    host=name or local,
                    port=port,
                    rule=stop.rule,
                    detail=stop.detail,
                    error=stop,
                )
            try:
                reader, writer = await self._open(sock, local, tls=port == 443)
            except (OSError, ssl.SSLError, TimeoutError) as error:
                if stop is None and active is not None:
                    await active.ledger.deny(reason="tls_handshake_failed", host=name, port=port, error=error)
                log.info("TLS with the pack failed: %s", type(error).__name__)
                return
            if stop is not None or name is None or active is None:
                await self._say(reader, writer, stop or Stop("no_active_invocation"), f"{name or local}:{port}")
            else:
                await self._requests(reader, writer, active, name, port)
        except (OSError, h11.ProtocolError, Broken) as error:
            log.debug("a connection of session %s ended: %s", session.id, type(error).__name__)
        except asyncio.CancelledError:
            if writer is not None:
                cut(writer)
            raise
        finally:
            if writer is not None:
                await _close(writer)
            elif not taken:
                sock.close()

    def _at_the_door(self, local: str, name: str | None, port: int, active: Active | None) -> Stop | None:
        if active is None:
            return Stop("no_active_invocation")
        if name is None:
            kind = refused_kind(local)
            return Stop("raw_address") if kind is None else Stop("private_address", f"a {kind} address")
        if self.session.open_connections > self.limits.connections:
            return Stop("limit_exceeded", f"more than {self.limits.connections} connections at once")
        return None

    async def _open(
        self, sock: socket.socket, local: str, *, tls: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=256 * 1024)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            sock,
            ssl=self.session.authority.server_context(local) if tls else None,
            ssl_handshake_timeout=self.limits.handshake_seconds if tls else None,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _tunnelled(self, sock: socket.socket, active: Active, name: str) -> bool:
        """Whether this connection was one that the broker does not read, and is over. Raises Stop, with nothing of the
        connection taken yet, so that the refusal can be said inside TLS."""
        rule = rules.opaque_rule(active.rules, name, 443)
        # A credential can only be put on what is read.
        if rule is None or any(need.covers(name) for need in active.needs):
            return False
        circuit: Circuit | None = None
        try:
            if not self._opaque:
                raise Stop("opaque_not_allowed", rule=rule.id)
            refused = policy.refusal(active.policy, active.pack, name, 443, None, None)
            if refused is not None:
                raise Stop(refused.reason, rule=refused.rule_id, remedy=refused.remedy, proposal=dict(refused.proposal))
            if not await tunnel.named(sock, name, self.limits.handshake_seconds, rule.id):
                return False
            target = await self._target(active, name, 443, rule.id)
            circuit = self._admitted(active, name, 443, rule.id)
        except Stop as stop:
            await active.ledger.deny(
                reason=stop.reason, kind="tunnel", host=name, port=443, rule=stop.rule, protocol="tls", opaque=True,
                detail=stop.detail, error=stop,
            )  # fmt: skip
            raise
        carried: tunnel.Tunnel | None = None
        try:
            entry = await self._row(
                active, kind="tunnel", host=name, port=443, method=None, path=None, rule=rule.id, opaque=True,
                address=target.shown, exception_id=target.exception_id, protocol="tls",
            )  # fmt: skip
            failpoints.hit("broker.egress.before_dial")
            carried = tunnel.Tunnel(self.outside, self.limits, active, entry)
            active.open.add(carried)
            await carried.run(sock, target)
        finally:
            if carried is not None:
                active.open.discard(carried)
            self._over(active, circuit, name, 443, carried.reason if carried is not None else "", carried)
        return True

    async def _say(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: Stop, destination: str
    ) -> None:
        """Refuses a connection as a whole: the first request is read to its head, so that the answer is one to it."""

        async def refuse(incoming: Incoming) -> None:
            await incoming.refuse(stop, destination)

        if _speaks_h2(writer):
            # One is told; a connection that stayed would be refused when a call has begun, too.
            await self._streams(reader, writer, refuse, only=1)
            return
        down = self._h1(reader, writer)
        with contextlib.suppress(Broken):
            await down.next()
        await refuse(down)

    def _h1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> H1Down:
        return H1Down(reader, writer, head_seconds=self.limits.head_seconds, idle_seconds=self.limits.idle_seconds)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, active: Active, name: str, port: int
    ) -> None:
        sni: str | None = getattr(writer.get_extra_info("ssl_object"), "worka_sni", None)

        async def one(incoming: Incoming) -> bool:
            return await self._request(incoming, active, name, port, sni)

        if _speaks_h2(writer):
            broken = await self._streams(reader, writer, one)
            if broken is not None:
                await active.ledger.deny(reason="malformed_request", host=name, port=port, protocol="h2", error=broken)
            return
        down = self._h1(reader, writer)
        while True:
            try:
                if await down.next() is None:
                    return
            except Broken as error:
                await active.ledger.deny(reason="malformed_request", host=name, port=port, error=error)
                await down.refuse(Stop("malformed_request", str(error)), f"{name}:{port}")
                return
            if not await one(down) or not down.wire.again:
                await down.linger()
                return
            down.wire.renew()

    async def _streams(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one: Callable[[Incoming], Awaitable[Any]],
        *, only: int = 0,
    ) -> Broken | None:  # fmt: skip
        """Every request of a connection of HTTP/2 beside the others (`only`: so many, then it ends); what was broken about it,
        or None."""
        tasks: set[asyncio.Task[None]] = set()

        async def serve(down: H2Down) -> None:
            try:
                await one(down)
            except (OSError, Broken) as error:
                log.debug("a stream of session %s ended: %s", self.session.id, type(error).__name__)
            finally:
                down.over()
                if only and down.number >= 2 * only - 1:
                    leave()

        def leave() -> None:
            wire.goodbye()
            link.write()
            writer.close()

        def opened(stream: Stream, event: Opened) -> None:
            down = H2Down(link, stream, event.request, idle_seconds=self.limits.idle_seconds)
            task = asyncio.create_task(serve(down))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        wire = h2.Server(streams=self.limits.connections)
        link = Link(reader, writer, wire, opened)
        try:
            await link.run(self.limits.idle_seconds)
            return link.broken
        finally:
            # Each still writes what became of it.
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _request(self, down: Incoming, active: Active, name: str, port: int, sni: str | None) -> bool:
        """One request, refused or exchanged; whether the connection may carry another."""
        request, place = down.request, f"{name}:{port}"
        try:
            # A declared name without SNI is a client that does not check what it talks to; the rules still hold.
            head = heads.read_head(request, intended=name, port=port, sni=sni)
            await self._exchange(down, active, head, name, port)
        except Broken as error:
            await active.ledger.deny(reason="malformed_request", host=name, port=port, error=error)
            await down.refuse(Stop("malformed_request", str(error)), place)
            return False
        except heads.Refused as refused:
            method = request.method[:20]
            await active.ledger.deny(reason=refused.reason, host=name, port=port, method=method, protocol=down.protocol)
            await down.refuse(Stop(refused.reason, refused.detail), place)
            return False
        except Stop as stop:
            await down.refuse(stop, place)
            return False
        return True

    async def _exchange(self, down: Incoming, active: Active, head: heads.Head, name: str, port: int) -> None:
        """One request: everything that is decided before the outside hears of it."""
        decision = active.decide(name, port, head.method, head.path, websocket=head.websocket)
        circuit: Circuit | None = None
        target: Target | None = None
        exchange: Exchange | None = None
        kind = "websocket" if head.websocket else "http"
        bound: Bound | Unbound | None = None
        try:
            started = time.perf_counter()
            try:
                if not decision.allowed:
                    reason = active.refusal(name, decision.reason)
                    raise Stop(reason, rule=decision.rule_id, remedy=decision.remedy, proposal=dict(decision.proposal))
                bound = bindings.bind(active.needs, active.connections, name, port)
                if isinstance(bound, Unbound):
                    raise Stop(bound.reason, bound.detail, rule=decision.rule_id)
                circuit = self._admitted(active, name, port, decision.rule_id)
                target = await self._target(active, name, port, decision.rule_id)
                resolve_ms = round((time.perf_counter() - started) * 1000, 3)
                injection, lease = await self._credentials.place(active, bound, name, port, decision.rule_id)
                request = self._credentials.request(head, name, port, bound, injection, active)
            except Stop as stop:
                await active.ledger.deny(
                    reason=stop.reason, host=name, port=port, rule=stop.rule, method=head.method, path=head.path,
                    kind=kind, protocol=down.protocol, detail=stop.detail, error=stop,
                )  # fmt: skip
                raise
            except asyncio.CancelledError:
                # The pack was less patient than the resolver: what it wanted, and why nothing came of it, is told all the same.
                waited = target is None and time.perf_counter() - started >= self.limits.unanswered_seconds
                await active.ledger.deny(
                    reason="name_not_resolved" if waited else "invocation_ended", host=name, port=port,
                    rule=decision.rule_id, method=head.method, path=head.path, kind=kind, protocol=down.protocol,
                    detail="the call ended before it was sent",
                )  # fmt: skip
                raise
            entry = await self._row(
                active, host=name, port=port, method=head.method, path=head.path, rule=decision.rule_id,
                address=target.shown, kind=kind, protocol=down.protocol, exception_id=target.exception_id,
                connection_id=bound.connection.id if bound else None, lease_id=lease.id if lease else None,
                secret_id=bound.connection.secret_id if bound else None, trust_id=target.trust_id,
            )  # fmt: skip
            failpoints.hit("broker.egress.before_dial")
            exchange = Exchange(self.outside, self.limits, down, active, entry, target, head, (name, port), lease)
            exchange.resolve_ms = resolve_ms
            active.open.add(exchange)
            with telemetry.span(
                active.trace_id, "broker.egress", active.parent_span, host=name, port=port, egress=entry.row["id"]
            ):
                await exchange.run(request)
        finally:
            if exchange is not None:
                active.open.discard(exchange)
            if isinstance(bound, Bound) and exchange is not None and exchange.lease and exchange.status is not None:
                active.heard[bound.connection.id] = exchange.status
            if circuit is not None:
                self._over(active, circuit, name, port, exchange.reason if exchange is not None else "", exchange)

    def _admitted(self, active: Active, name: str, port: int, rule: str | None) -> Circuit:
        """Within its attachment's limits, and to an outside that is asked at all now; `_over` follows. Raises Stop."""
        clock = time.monotonic()
        circuit = self._circuits.of(self.session.tenant_id, name, port)
        if circuit.state(clock) == "open":
            wait = math.ceil(circuit.admit(clock) or 1)
            raise Stop(
                "circuit_open", f"{circuit.failures} requests failed ({circuit.reason}); the next may try in {wait} s",
                rule=rule, retry_after_seconds=wait,
            )  # fmt: skip
        excess = active.meter.admit(active.allowance, clock, datetime.datetime.now(datetime.UTC).date())
        if excess is not None:
            stop = Stop(excess.reason, excess.detail, rule=rule)
            if excess.seconds is not None:
                stop.extra["retry_after_seconds"] = math.ceil(excess.seconds)
            raise stop
        circuit.admit(clock)
        return circuit

    def _over(
        self, active: Active, circuit: Circuit, name: str, port: int, reason: str,
        exchange: Exchange | tunnel.Tunnel | None,
    ) -> None:  # fmt: skip
        active.meter.done()
        patience = self.limits.unanswered_seconds
        if reason in _LEFT and isinstance(exchange, Exchange) and exchange.unanswered_seconds >= patience:
            # Whoever asked is less patient than we are: that no answer came in time is true all the same.
            reason = "upstream_timeout"
        if reason in FAILURES and exchange is not None:
            if circuit.failed(reason, time.monotonic()):
                active.ledger.tell(exchange.entry, events.circuit_opened(exchange.entry.row, circuit.failures, reason))
        elif exchange is not None and exchange.answered:
            if circuit.succeeded():
                active.ledger.tell(exchange.entry, events.circuit_closed(exchange.entry.row))
        else:
            circuit.release()

    async def _target(self, active: Active, name: str, port: int, rule: str | None) -> Target:
        """Where it goes, and how the certificate there is checked. Raises Stop."""
        exception = active.exceptions.get((name, port))
        target = await where(self.outside, self.limits, exception, name, port, rule, self.session.tenant_id)
        trust = active.trusts.get((name, port))
        if trust is None:
            return target
        client = None
        if trust.client_key_secret_id is not None:
            lease = await self._credentials.lease(active, trust.client_key_secret_id, f"{name}:{port}", rule)
            client = ClientCertificate(trust.client_cert_pem, lease.value)
        return replace(target, ca_pem=trust.ca_pem or target.ca_pem, trust_id=trust.id, client=client)

    async def _row(self, active: Active, **row: Any) -> Entry:
        """The row of a request that is about to leave. Raises Stop."""
        try:
            return await active.ledger.allow(**row)
        except Stopped as stopped:
            rule = kills.PREFIX + stopped.kill["id"]
            told = ("kind", "host", "port", "method", "path", "protocol")
            await active.ledger.deny(
                reason=kills.REASON, rule=rule, **{key: row[key] for key in told if row.get(key) is not None}
            )
            raise Stop(kills.REASON, kills.said(stopped.kill), rule=rule, remedy=kills.remedy(stopped.kill)) from None
        except NotRecorded:
            active.broken = "egress_not_recorded"
            raise Stop("egress_not_recorded") from None


def _speaks_h2(writer: asyncio.StreamWriter) -> bool:
    tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == "h2"


async def _close(writer: asyncio.StreamWriter) -> None:
    """Says goodbye for a second, then cuts."""
    writer.close()
    try:
        async with asyncio.timeout(1):
            await writer.wait_closed()
    except TimeoutError:
        # Python 3.11's TLS transport has no protocol any more when it was closed in the meantime.
        with contextlib.suppress(AttributeError):
            writer.transport.abort()
    except OSError:
        pass
