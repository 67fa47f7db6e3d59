"""One connection out of a sandbox, from accept to close: who is meant, may it, what goes with it, what comes back.

The order is the point: decide, resolve and check, lease, commit the row, and only then dial.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import Any

import h11

from worka.broker import bindings, http1, rules
from worka.broker.addresses import refused_kind
from worka.broker.bindings import Bound, Unbound
from worka.broker.exchange import Downstream, Exchange, Outside, Stop, where
from worka.broker.ledger import NotRecorded, Stopped
from worka.broker.ports import Lease
from worka.broker.session import Active, Session
from worka.broker.templates import TemplateError, expand
from worka.governance import kills
from worka.governance.errors import Killed, UseRefused
from worka.kernel import failpoints, redact, telemetry
from worka.kernel.errors import Denied, NotFound, Problem, Unavailable

log = logging.getLogger("worka.broker")


class Proxy:
    """Serves connections of one session."""

    def __init__(self, session: Session, outside: Outside) -> None:
        self.session = session
        self.outside = outside
        self.limits = session.limits

    async def serve(self, sock: socket.socket, port: int) -> None:
        """One accepted connection; `port` is the sandbox's (80 or 443). Never raises for what the pack does."""
        session = self.session
        local = str(sock.getsockname()[0])
        name, active = session.name_of(local), session.active
        stop = self._at_the_door(local, name, port, active)
        if stop is not None:
            await session.ledger.deny(reason=stop.reason, kind="http" if name else "raw", host=name or local, port=port)
        writer: asyncio.StreamWriter | None = None
        try:
            try:
                reader, writer = await self._open(sock, local, tls=port == 443)
            except (OSError, ssl.SSLError, TimeoutError) as error:
                if stop is None and active is not None:
                    await active.ledger.deny(reason="tls_handshake_failed", host=name, port=port, error=error)
                log.info("TLS with the pack failed: %s", type(error).__name__)
                return
            down = Downstream(reader, writer)
            if stop is not None:
                await self._say(down, stop, f"{name or local}:{port}")
            elif name is not None and active is not None:
                await self._requests(down, active, name, port)
        except (OSError, h11.ProtocolError) as error:
            log.debug("a connection of session %s ended: %s", session.id, type(error).__name__)
        except asyncio.CancelledError:
            if writer is not None:
                with contextlib.suppress(AttributeError):
                    writer.transport.abort()
            raise
        finally:
            if writer is None:
                sock.close()
            else:
                await _close(writer)

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

    async def _say(self, down: Downstream, stop: Stop, destination: str) -> None:
        """Refuses a connection as a whole: the first request is read to its head, so that the answer is one to it."""
        with contextlib.suppress(h11.RemoteProtocolError):
            await down.event(self.limits.head_seconds)
        await down.refuse(stop, destination, self.limits.idle_seconds)

    async def _requests(self, down: Downstream, active: Active, name: str, port: int) -> None:
        tls = down.writer.get_extra_info("ssl_object")
        sni: str | None = getattr(tls, "worka_sni", None)
        while True:
            request: Any = None
            try:
                request = await down.event(self.limits.head_seconds)
                if not isinstance(request, h11.Request):
                    return
                # A declared name without SNI is a client that does not check what it talks to; the rules still hold.
                head = http1.read_head(request, intended=name, port=port, sni=sni)
                await self._exchange(down, active, head, name, port)
            except h11.RemoteProtocolError as error:
                await active.ledger.deny(reason="malformed_request", host=name, port=port, error=error)
                await down.refuse(Stop("malformed_request", str(error)), f"{name}:{port}", self.limits.idle_seconds)
                return
            except http1.Refused as refused:
                method = bytes(request.method).decode("ascii", "replace")[:20]
                await active.ledger.deny(
                    reason=refused.reason, host=name, port=port, method=method, detail=refused.detail
                )
                stop = Stop(refused.reason, refused.detail)
                await down.refuse(stop, f"{name}:{port}", self.limits.idle_seconds)
                return
            except Stop as stop:
                await down.refuse(stop, f"{name}:{port}", self.limits.idle_seconds)
                return
            if (down.http.our_state, down.http.their_state) != (h11.DONE, h11.DONE):
                return
            down.http.start_next_cycle()

    async def _exchange(self, down: Downstream, active: Active, head: http1.Head, name: str, port: int) -> None:
        """One request: everything that is decided before the outside hears of it."""
        decision = rules.decide(active.rules, name, port, head.method, head.path, active.side_effect)
        try:
            if not decision.allowed:
                reason = active.refusal(name, decision.reason)
                raise Stop(reason, rule=decision.rule_id, remedy=decision.remedy, proposal=dict(decision.proposal))
            bound = bindings.bind(active.needs, active.connections, name, port)
            if isinstance(bound, Unbound):
                raise Stop(bound.reason, bound.detail, rule=decision.rule_id)
            target = await where(
                self.outside, self.limits, active.exceptions.get((name, port)), name, port, decision.rule_id
            )
            injection, lease = await self._credential(active, bound, name, port, decision.rule_id)
            request = self._outgoing(head, name, port, bound, injection, active)
        except Stop as stop:
            await active.ledger.deny(
                reason=stop.reason, host=name, port=port, rule=stop.rule, method=head.method, path=head.path,
                detail=stop.detail, error=stop,
            )  # fmt: skip
            raise
        try:
            entry = await active.ledger.allow(
                host=name, port=port, method=head.method, path=head.path, rule=decision.rule_id,
                address=target.shown,
                exception_id=target.exception_id, connection_id=bound.connection.id if bound else None,
                lease_id=lease.id if lease else None, secret_id=bound.connection.secret_id if bound else None,
            )  # fmt: skip
        except Stopped as stopped:
            await active.ledger.deny(
                reason=kills.REASON, host=name, port=port, rule=kills.PREFIX + stopped.kill["id"],
                method=head.method, path=head.path,
            )  # fmt: skip
            raise Stop(
                kills.REASON,
                kills.said(stopped.kill),
                rule=kills.PREFIX + stopped.kill["id"],
                remedy=kills.remedy(stopped.kill),
            ) from None
        except NotRecorded:
            active.broken = "egress_not_recorded"
            raise Stop("egress_not_recorded") from None
        failpoints.hit("broker.egress.before_dial")
        exchange = Exchange(self.outside, self.limits, down, active, entry, target, head, (name, port), lease)
        with telemetry.span(
            active.trace_id, "broker.egress", active.parent_span, host=name, port=port, egress=entry.row["id"]
        ):
            await exchange.run(request)

    async def _credential(
        self, active: Active, bound: Bound | None, name: str, port: int, rule: str | None
    ) -> tuple[http1.Injection | None, Lease | None]:
        if bound is None or bound.need.template is None:
            return None, None
        need, connection, template = bound.need, bound.connection, bound.need.template
        lease: Lease | None = None
        if connection.secret_id is not None and "connection.access_token" in template:
            lease = await self._lease(active, connection.secret_id, f"{name}:{port}", rule)
        secret = lease.value if lease is not None else None
        try:
            value = expand(template, lambda root: bindings.value_of(connection, root, secret))
        except TemplateError as error:
            raise Stop("template_error", str(error), rule=rule) from None
        return http1.Injection(header=need.header, query=need.query, value=value), lease

    async def _lease(self, active: Active, secret_id: str, endpoint: str, rule: str | None) -> Lease:
        key = f"{secret_id} {endpoint}"
        async with active.lease_lock:
            if key not in active.leases:
                try:
                    lease = await self.outside.treasury.lease(
                        active.context(),
                        secret_id=secret_id,
                        attachment_id=self.session.attachment_id,
                        invocation_id=active.id,
                        endpoint=endpoint,
                    )
                except (Killed, UseRefused) as error:
                    raise Stop(error.problem_code, error.detail, rule=rule, remedy=error.remedy) from error
                except Denied as error:
                    raise Stop("connection_not_granted", error.detail, rule=rule) from error
                except NotFound as error:
                    raise Stop("connection_missing", "the connection's secret is not there", rule=rule) from error
                except Problem as error:
                    if isinstance(error, Unavailable):
                        active.broken = "secret_unavailable"
                    raise Stop("secret_unavailable", error.title, rule=rule) from error
                redact.remember(lease.value)
                active.leases[key] = lease
            return active.leases[key]

    def _outgoing(
        self,
        head: http1.Head,
        name: str,
        port: int,
        bound: Bound | None,
        injection: http1.Injection | None,
        active: Active,
    ) -> h11.Request:
        header = bound.need.idempotency_header if bound else None
        # Every declared idempotency header belongs to the broker, on whatever host the pack tries to send it.
        owned = [need.idempotency_header for need in active.needs if need.idempotency_header]
        added = {header: active.idempotency_key} if header else None
        try:
            return http1.outgoing(head, host=name, port=port, injection=injection, owned=owned, added=added)
        except h11.LocalProtocolError as error:
            raise Stop("template_error", "the expanded value cannot stand in a header") from error


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
