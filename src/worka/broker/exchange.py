"""One request that may leave, and its answer: dialled, forwarded and looked through, in constant memory both ways."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from dataclasses import dataclass
from typing import Any

import h11

from worka.broker import http1, rules, scan
from worka.broker.adapters.outside import Dialer
from worka.broker.addresses import refused_kind
from worka.broker.ledger import Entry
from worka.broker.ports import Lease, Limits, Resolver, Treasury
from worka.broker.session import Active, NetworkException
from worka.kernel import airgap, failpoints, reasons
from worka.kernel.airgap import AirGap

log = logging.getLogger("worka.broker")
CHUNK = 64 * 1024
# A small answer is looked through whole before its first byte goes on, so that a find can still be said in plain words.
_WHOLE = 64 * 1024
_WHOLE_SECONDS = 0.2
_STATUS = {"upstream_timeout": 504, "egress_not_recorded": 503, "limit_exceeded": 413, "malformed_request": 400}
_UPSTREAM = {"upstream_unreachable", "upstream_tls_failed", "upstream_malformed", "name_not_resolved", "secret_echoed",
             "answer_unscannable"}  # fmt: skip


class PackLeft(ConnectionResetError):
    """The pack closed its side, or sent no HTTP, in the middle of a request."""


class Stop(Exception):
    """The request ends here with this reason code; `detail` is for a person."""

    def __init__(
        self, reason: str, detail: str = "", *, rule: str | None = None, remedy: str = "", **extra: Any
    ) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.rule, self.remedy, self.extra = reason, detail, rule, remedy, extra


@dataclass(slots=True)
class Target:
    """Where a request really goes: a checked address, and what its certificate is held against."""

    address: str
    port: int
    ca_pem: str | None
    exception_id: str | None

    @property
    def shown(self) -> str:
        """As the egress row names it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(slots=True)
class Outside:
    """The shared parts that reach out."""

    resolver: Resolver
    dialer: Dialer
    treasury: Treasury
    gap: AirGap = airgap.OPEN


async def where(
    outside: Outside, limits: Limits, exception: NetworkException | None, name: str, port: int, rule: str | None
) -> Target:
    """The address that is dialled for a name, resolved once and checked, or the recorded exception's. Raises Stop."""
    if not (
        outside.gap.name(name, port) or (exception and outside.gap.address(exception.address, exception.real_port))
    ):
        # Before the name is asked of anybody: the question would leave too.
        raise Stop(airgap.REASON, "this deployment is air-gapped", rule=rule, remedy=airgap.REMEDY)
    if exception is not None:
        return Target(exception.address, exception.real_port, exception.ca_pem or None, exception.id)
    try:
        async with asyncio.timeout(limits.resolve_seconds):
            answers = await outside.resolver.resolve(name)
    except (OSError, TimeoutError) as error:
        raise Stop("name_not_resolved", "the resolver did not answer", rule=rule) from error
    if not answers:
        raise Stop("name_not_resolved", rule=rule)
    for address in answers:
        # One bad answer refuses all: a name that resolves to both is how rebinding begins.
        kind = refused_kind(address)
        if kind is not None:
            raise Stop("private_address", f"{name} resolves to a {kind} address", rule=rule)
    return Target(answers[0], port, None, None)


class Downstream:
    """The sandbox's side of a connection, as h11 events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=http1.MAX_HEAD)

    async def event(self, seconds: float) -> h11.Event | type[h11.PAUSED]:
        """The next event. Raises TimeoutError, ConnectionError, h11.RemoteProtocolError."""
        while True:
            found = self.http.next_event()
            if found is not h11.NEED_DATA:
                return found  # type: ignore[return-value]
            async with asyncio.timeout(seconds):
                self.http.receive_data(await self.reader.read(CHUNK))

    async def send(self, event: h11.Event, seconds: float) -> None:
        """Writes one event. Raises TimeoutError, ConnectionError."""
        data = self.http.send(event)
        if data:
            self.writer.write(data)
            async with asyncio.timeout(seconds):
                await self.writer.drain()

    async def refuse(self, stop: Stop, destination: str, seconds: float) -> None:
        """Says a refusal in problem+json; when an answer has begun, the connection is cut instead."""
        if self.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            with contextlib.suppress(AttributeError):
                self.writer.transport.abort()
            return
        reason = reasons.get(stop.reason)
        status = _STATUS.get(stop.reason, 502 if stop.reason in _UPSTREAM else 403)
        body = {
            "type": f"urn:worka:problem:{stop.reason}",
            "title": reason.meaning if reason else stop.reason,
            "status": status,
            "code": stop.reason,
            "reason": stop.reason,
            "detail": stop.detail or (reason.meaning if reason else ""),
            "destination": destination,
            "remedy": stop.remedy or (reason.remedy if reason else ""),
            "rule": stop.rule,
            **stop.extra,
        }
        response, raw = http1.problem(status, body)
        await self.send(response, seconds)
        await self.send(h11.Data(data=raw), seconds)
        await self.send(h11.EndOfMessage(), seconds)
        await self._linger()

    async def _linger(self) -> None:
        """Takes in what is left of a refused body: closing over unread bytes would reset the answer away."""
        left = 1 << 20
        with contextlib.suppress(OSError, h11.RemoteProtocolError):
            while self.http.their_state is h11.SEND_BODY and self.http.next_event() is not h11.NEED_DATA:
                pass
            if self.http.their_state is not h11.SEND_BODY:
                return
            async with asyncio.timeout(1):
                while left > 0 and (data := await self.reader.read(CHUNK)):
                    left -= len(data)


class Exchange:
    """One request that may leave, and its answer, streamed both ways in constant memory."""

    def __init__(
        self,
        outside: Outside,
        limits: Limits,
        down: Downstream,
        active: Active,
        entry: Entry,
        target: Target,
        head: http1.Head,
        place: tuple[str, int],
        lease: Lease | None,
    ) -> None:
        self.outside, self.down, self.active, self.entry, self.target = outside, down, active, entry, target
        self.head, self.place, self.lease, self.limits = head, place, lease, limits
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=http1.MAX_HEAD)
        self.sent = self.received = 0
        self.status: int | None = None

    async def run(self, request: h11.Request) -> None:
        """Dials, forwards, records the outcome. Raises Stop for what the pack should be told."""
        started = time.perf_counter()
        reason = "invocation_ended"
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await self._dial()
            await self._forward(request, reader, writer)
            reason = "allowed"
        except Stop as stop:
            reason = stop.reason
            self.active.ledger.lines.add(self.entry.row, reason, stop.detail, stop)
            raise
        except (OSError, h11.ProtocolError) as error:
            reason = "answer_not_taken"
            self.active.ledger.lines.add(self.entry.row, reason, "", error)
            raise
        finally:
            if writer is not None:
                # Python 3.11's TLS transport has no protocol any more when the other side closed it.
                with contextlib.suppress(AttributeError):
                    writer.transport.abort()
            await self.active.ledger.finish(
                self.entry, status=self.status, reason=reason, bytes_out=self.sent, bytes_in=self.received,
                duration_ms=round((time.perf_counter() - started) * 1000, 3),
            )  # fmt: skip

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name, port = self.place
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                return await self.outside.dialer.dial(
                    self.target.address, self.target.port, name=name if port == 443 else None, ca_pem=self.target.ca_pem
                )
        except ssl.SSLError as error:
            raise Stop("upstream_tls_failed", str(getattr(error, "verify_message", "") or error.reason)) from error
        except TimeoutError as error:
            raise Stop("upstream_timeout", "the connection was not accepted in time") from error
        except OSError as error:
            raise Stop("upstream_unreachable", type(error).__name__) from error

    async def _forward(self, request: h11.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upload = asyncio.create_task(self._upload(request, writer))
        try:
            response = await self._response(reader, upload)
            failpoints.hit("broker.egress.after_answer")
            self.status = response.status_code
            self._note_redirect(response)
            await self._answer(response, reader)
        finally:
            upload.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, TimeoutError, h11.ProtocolError, Stop):
                await upload

    async def _upload(self, request: h11.Request, writer: asyncio.StreamWriter) -> None:
        def put(event: h11.Event) -> None:
            data = self.http.send(event)
            if data:
                writer.write(data)

        put(request)
        async with asyncio.timeout(self.limits.idle_seconds):
            await writer.drain()
        if self.head.expects_continue and self.down.http.they_are_waiting_for_100_continue:
            await self.down.send(h11.InformationalResponse(status_code=100, headers=[]), self.limits.idle_seconds)
        while True:
            try:
                event = await self.down.event(self.limits.idle_seconds)
            except (OSError, h11.RemoteProtocolError) as error:
                raise PackLeft("the pack left in the middle of its request") from error
            if isinstance(event, h11.Data):
                self.sent += len(event.data)
                if self.sent > self.limits.body_bytes:
                    raise Stop("limit_exceeded", f"a request body above {self.limits.body_bytes} bytes")
                put(h11.Data(data=event.data))
                async with asyncio.timeout(self.limits.idle_seconds):
                    await writer.drain()
            elif isinstance(event, h11.EndOfMessage):
                # Trailers are dropped: they would arrive after every check.
                put(h11.EndOfMessage())
                return
            else:
                raise PackLeft("the pack left in the middle of its request")

    async def _response(self, reader: asyncio.StreamReader, upload: asyncio.Task[None]) -> h11.Response:
        """The final response head. An upload that fails on our side of the road ends the exchange with its cause."""
        head = asyncio.create_task(self._head(reader))
        try:
            await asyncio.wait({head, upload}, return_when=asyncio.FIRST_COMPLETED)
            error = upload.exception() if upload.done() and not head.done() else None
            # The outside may have answered and closed without reading all of the body: then its answer counts.
            if error is not None and (isinstance(error, PackLeft) or not isinstance(error, OSError)):
                raise error
            return await head
        finally:
            head.cancel()

    async def _head(self, reader: asyncio.StreamReader) -> h11.Response:
        while True:
            event = await self._upstream(reader)
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    raise Stop("upstream_malformed", "the outside changed the protocol unasked")
                continue
            if isinstance(event, h11.Response):
                return event
            raise Stop("upstream_malformed", "the outside closed the connection without an answer")

    async def _upstream(self, reader: asyncio.StreamReader, seconds: float | None = None) -> Any:
        while True:
            try:
                event = self.http.next_event()
            except h11.RemoteProtocolError as error:
                raise Stop("upstream_malformed", str(error)) from error
            if event is not h11.NEED_DATA:
                return event
            try:
                async with asyncio.timeout(seconds or self.limits.idle_seconds):
                    data = await reader.read(CHUNK)
            except TimeoutError:
                if seconds is not None:
                    return None
                raise Stop("upstream_timeout", "the outside fell silent") from None
            except OSError as error:
                raise Stop("upstream_unreachable", f"the outside cut the connection: {type(error).__name__}") from error
            self.http.receive_data(data)

    async def _answer(self, response: h11.Response, reader: asyncio.StreamReader) -> None:
        seconds = self.limits.idle_seconds
        answer = http1.answer(response)
        scanner = self._scanner(response)
        held: list[bytes] | None = None
        if scanner is None:
            await self.down.send(answer, seconds)
        else:
            held = []
        while True:
            event = await self._upstream(reader, _WHOLE_SECONDS if held else None)
            if event is None:
                assert held is not None
                await self._release(answer, held)
                held = None
            elif isinstance(event, h11.Data):
                self.received += len(event.data)
                if self.received > self.limits.body_bytes:
                    raise Stop("limit_exceeded", f"an answer above {self.limits.body_bytes} bytes")
                data = bytes(event.data) if scanner is None else self._scanned(scanner, bytes(event.data))
                if held is None:
                    await self._pass(data)
                elif data:
                    held.append(data)
                    if sum(map(len, held)) >= _WHOLE:
                        await self._release(answer, held)
                        held = None
            elif isinstance(event, h11.EndOfMessage):
                rest = b"" if scanner is None else scanner.finish()
                if held is not None:
                    await self._release(answer, [*held, rest])
                else:
                    await self._pass(rest)
                await self.down.send(h11.EndOfMessage(), seconds)
                return
            else:
                raise Stop("upstream_malformed", "the answer ended in the middle")

    async def _release(self, answer: h11.Response, held: list[bytes]) -> None:
        await self.down.send(answer, self.limits.idle_seconds)
        for data in held:
            await self._pass(data)

    async def _pass(self, data: bytes) -> None:
        if data:
            await self.down.send(h11.Data(data=data), self.limits.idle_seconds)

    def _scanner(self, response: h11.Response) -> scan.Scanner | scan.CodedScanner | None:
        if self.lease is None:
            return None
        coding = b",".join(value for name, value in response.headers if name == b"content-encoding").decode("latin-1")
        try:
            scanner = scan.scanner_for([self.lease.value.encode()], coding, limit=self.limits.body_bytes)
            for _, value in response.headers:
                scanner.check(bytes(value))
            scanner.check(bytes(response.reason))
        except scan.SecretEchoed:
            raise Stop("secret_echoed") from None
        except scan.Unscannable as error:
            raise Stop("answer_unscannable", str(error)) from None
        return scanner

    @staticmethod
    def _scanned(scanner: scan.Scanner | scan.CodedScanner, data: bytes) -> bytes:
        try:
            return scanner.feed(data)
        except scan.SecretEchoed:
            raise Stop("secret_echoed") from None
        except scan.Unscannable as error:
            raise Stop("answer_unscannable", str(error)) from None

    def _note_redirect(self, response: h11.Response) -> None:
        if not 300 <= response.status_code < 400:
            return
        for name, value in response.headers:
            if name == b"location":
                target = rules.redirect_target(value.decode("latin-1"), *self.place)
                if target is not None and target[0] and not rules.declared(self.active.rules, *target):
                    self.active.redirected.add(target[0])
