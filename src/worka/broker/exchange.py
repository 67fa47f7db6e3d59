"""One request that may leave, and its answer: dialled, forwarded and looked through, in constant memory both ways."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11

from worka.broker import rules, scan
from worka.broker.adapters.outside import ClientCertificate, Dialer, tls_reason
from worka.broker.addresses import EXCEPTED, EXCEPTED_REMEDY, never_excepted, refused_kind
from worka.broker.downstream import H1Down, Incoming
from worka.broker.ledger import Entry
from worka.broker.link import CHUNK as CHUNK
from worka.broker.link import flush
from worka.broker.ports import Lease, Limits, Resolver, Treasury
from worka.broker.session import Active, NetworkException, Open
from worka.broker.stops import PackLeft as PackLeft
from worka.broker.stops import Stop as Stop
from worka.broker.upstream import Far, H1Far, Key, Stale
from worka.broker.wire import heads, websocket
from worka.broker.wire.events import Broken
from worka.broker.wire.heads import Answer, Head, Outgoing
from worka.kernel import airgap, failpoints
from worka.kernel.airgap import AirGap

log = logging.getLogger("worka.broker")
# A small answer is looked through whole before its first byte goes on, so that a find can still be said in plain words.
_WHOLE = 64 * 1024
_WHOLE_SECONDS = 0.2


@dataclass(slots=True)
class Target:
    """Where a request really goes: a checked address, and what its certificate is held against."""

    address: str
    port: int
    ca_pem: str | None
    exception_id: str | None
    trust_id: str | None = None
    client: ClientCertificate | None = None

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

    async def dial(
        self, target: Target, name: str | None, seconds: float, *, h2: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a checked target. Raises Stop."""
        try:
            async with asyncio.timeout(seconds):
                return await self.dialer.dial(
                    target.address, target.port, name=name, ca_pem=target.ca_pem, client=target.client, h2=h2
                )
        except ssl.SSLError as error:
            raise Stop(*tls_reason(error)) from error
        except TimeoutError as error:
            raise Stop("upstream_timeout", "the connection was not accepted in time") from error
        except OSError as error:
            raise Stop("upstream_unreachable", type(error).__name__) from error


async def where(
    outside: Outside, limits: Limits, exception: NetworkException | None, name: str, port: int, rule: str | None,
    whose: str = "",
) -> Target:  # fmt: skip
    """The address that is dialled for a name, resolved once and checked, or the recorded exception's. Raises Stop. `whose`: for
    which tenant."""
    # Where a workspace's exception leads, its admins say, and the list is the operator's: then the address has to be on it.
    named = (exception is None or exception.of_settings) and outside.gap.name(name, port)
    if not (named or (exception and outside.gap.address(exception.address, exception.real_port))):
        # Before the name is asked of anybody: the question would leave too.
        raise Stop(airgap.REASON, "this deployment is air-gapped", rule=rule, remedy=airgap.REMEDY)
    if exception is not None:
        # What the deployment's settings name is its own.
        why = None if exception.of_settings else never_excepted(exception.address)
        if why is not None:
            raise Stop("private_address", EXCEPTED + why, rule=rule, remedy=EXCEPTED_REMEDY)
        return Target(exception.address, exception.real_port, exception.ca_pem or None, exception.id)
    try:
        async with asyncio.timeout(limits.resolve_seconds):
            answers = await outside.resolver.resolve(name, whose)
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


class Exchange(Open):
    """One request that may leave, and its answer, streamed both ways in constant memory."""

    def __init__(
        self,
        outside: Outside,
        limits: Limits,
        down: Incoming,
        active: Active,
        entry: Entry,
        target: Target,
        head: Head,
        place: tuple[str, int],
        lease: Lease | None,
    ) -> None:
        super().__init__(active, entry, lease)
        self.outside, self.down, self.target = outside, down, target
        self.head, self.place, self.limits = head, place, limits
        self.sent = self.received = 0
        self.status: int | None = None
        self.reason = ""
        self.far: Far | None = None
        self.resolve_ms: float | None = None
        self._waiting: float | None = None
        self._connect_ms: float | None = None
        self._answer_ms: float | None = None
        self._upstream: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the outside said something."""
        return self.status is not None

    @property
    def unanswered_seconds(self) -> float:
        """For how long it has been the outside's turn, with nothing said."""
        return 0.0 if self.answered or self._waiting is None else time.monotonic() - self._waiting

    async def run(self, request: Outgoing) -> None:
        """Dials, forwards, records the outcome. Raises Stop for what the pack should be told."""
        started = time.perf_counter()
        self._waiting = time.monotonic()
        reason = "invocation_ended"
        try:
            async with self._deadline:
                await self._whole(request)
            reason = "allowed"
        except Stop as stop:
            reason = stop.reason
            self.active.ledger.lines.add(self.entry.row, reason, stop.detail, stop)
            raise
        except (OSError, h11.ProtocolError, Broken) as error:
            ended = self._ended(error)
            reason = ended.reason if ended is not None else "answer_not_taken"
            self.active.ledger.lines.add(self.entry.row, reason, ended.detail if ended is not None else "", error)
            if ended is not None:
                raise ended from error
            raise
        finally:
            if self.far is not None:
                self.far.done(whole=reason == "allowed")
            await self.active.ledger.finish(
                self.entry, status=self.status, reason=reason, bytes_out=self.sent, bytes_in=self.received,
                duration_ms=round((time.perf_counter() - started) * 1000, 3), protocol=self._spoken(),
                upstream_protocol=self._upstream, resolve_ms=self.resolve_ms, connect_ms=self._connect_ms,
                answer_ms=self._answer_ms,
            )  # fmt: skip
            self.reason = reason

    def _spoken(self) -> str:
        return "websocket" if self.head.websocket and self.status == 101 else self.down.protocol

    async def _whole(self, request: Outgoing) -> None:
        # What writes, or has a body, never goes over a connection that the outside may be closing right now.
        safe = request.method in rules.READING and not request.has_body
        for kept in (True, False) if safe else (False,):
            self.far = await self._get(kept=kept)
            try:
                await self._forward(request, self.far)
            except Stale:
                self.far.done(whole=False)
                continue
            return
        raise Stop("upstream_unreachable", "the outside closed the connection")

    async def _get(self, *, kept: bool) -> Far:
        name, port = self.place
        key = Key(
            self.target.address, self.target.port, name if port == 443 else None, self.target.trust_id,
            self.target.ca_pem,
        )  # fmt: skip

        async def dial(offer_h2: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await self.outside.dial(self.target, key.name, self.limits.connect_seconds, h2=offer_h2)

        far = await self.active.pool.get(key, dial, kept=kept, websocket=self.head.websocket)
        self._upstream, self._connect_ms = far.protocol, far.connect_ms
        return far

    async def _forward(self, request: Outgoing, far: Far) -> None:
        started = time.perf_counter()
        if not request.has_body:
            await self._written(far.ask(request))
            response = await far.answer()
            await self._answered(request, response, far, started)
            return
        upload = asyncio.create_task(self._upload(request, far))
        try:
            response = await self._response(far, upload)
            await self._answered(request, response, far, started)
        finally:
            upload.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, TimeoutError, Broken, Stop):
                await upload

    async def _answered(self, request: Outgoing, response: Answer, far: Far, started: float) -> None:
        self._answer_ms = round((time.perf_counter() - started) * 1000, 3)
        failpoints.hit("broker.egress.after_answer")
        if response.status == 101:
            await self._switched(request, response, far)
            return
        self.status = response.status
        self._note_redirect(response)
        await self._answer(response, far)

    @staticmethod
    async def _written(write: Awaitable[None]) -> None:
        """The outside may have answered, and closed, without reading: then its answer counts."""
        try:
            await write
        except TimeoutError:
            raise Stop("upstream_timeout", "the outside takes nothing") from None
        except OSError:
            return

    async def _upload(self, request: Outgoing, far: Far) -> None:
        self._waiting = None
        await far.ask(request)
        if self.head.expects_continue:
            await self.down.proceed()
        while (data := await self.down.body()) is not None:
            self._out(data)
            if data:
                await far.give(data)
        # Trailers are dropped: they would arrive after every check.
        await far.finish()
        self._waiting = time.monotonic()

    async def _response(self, far: Far, upload: asyncio.Task[None]) -> Answer:
        """The final response head. An upload that fails on our side of the road ends the exchange with its cause."""
        head = asyncio.create_task(far.answer())
        try:
            await asyncio.wait({head, upload}, return_when=asyncio.FIRST_COMPLETED)
            error = upload.exception() if upload.done() and not head.done() else None
            # The outside may have answered and closed without reading all of the body: then its answer counts.
            if error is not None and (isinstance(error, PackLeft) or not isinstance(error, OSError)):
                raise error
            return await head
        finally:
            head.cancel()

    async def _answer(self, response: Answer, far: Far) -> None:
        answer = heads.answer(response)
        scanner = self._scanner(response)
        held: list[bytes] | None = None
        if scanner is None:
            await self.down.answer(answer)
            if not far.pending:
                await self.down.flush()
        else:
            held = []
        while True:
            try:
                data = await far.body(_WHOLE_SECONDS if held else None)
            except TimeoutError:
                assert held is not None
                await self._release(answer, held)
                held = None
                continue
            if data is None:
                break
            self._in(data)
            if scanner is not None:
                data = self._scanned(scanner, data)
            if held is None:
                await self._pass(data)
            elif data:
                held.append(data)
                if sum(map(len, held)) >= _WHOLE:
                    await self._release(answer, held)
                    held = None
        rest = b"" if scanner is None else scanner.finish()
        trailers = self._trailers(far, scanner)
        if held is not None:
            await self._release(answer, [*held, rest])
        else:
            await self._pass(rest)
        await self.down.end(trailers)

    async def _release(self, answer: Answer, held: list[bytes]) -> None:
        await self.down.answer(answer)
        await self._pass(b"".join(held))

    async def _pass(self, data: bytes) -> None:
        if data:
            await self.down.pass_on(data)

    def _trailers(self, far: Far, scanner: scan.Scanner | scan.CodedScanner | None) -> tuple[tuple[bytes, bytes], ...]:
        kept = tuple(heads.answer(Answer(200, far.trailers)).headers)
        if scanner is not None:
            self._headers(scanner, kept)
        return kept

    @staticmethod
    def _headers(scanner: scan.Scanner | scan.CodedScanner, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        try:
            for name, value in headers:
                scanner.check(name)
                scanner.check(value)
        except scan.SecretEchoed:
            raise Stop("secret_echoed") from None

    def _scanner(self, response: Answer) -> scan.Scanner | scan.CodedScanner | None:
        if self.lease is None:
            return None
        coding = b",".join(value for name, value in response.headers if name == b"content-encoding").decode("latin-1")
        try:
            scanner = scan.scanner_for(
                [self.lease.value.encode()], coding, limit=self.limits.body_bytes, known=self.active.sought
            )
        except scan.Unscannable as error:
            raise Stop("answer_unscannable", str(error)) from None
        self._headers(scanner, (*response.headers, (b"reason", response.reason)))
        return scanner

    @staticmethod
    def _scanned(scanner: scan.Scanner | scan.CodedScanner, data: bytes) -> bytes:
        try:
            return scanner.feed(data)
        except scan.SecretEchoed:
            raise Stop("secret_echoed") from None
        except scan.Unscannable as error:
            raise Stop("answer_unscannable", str(error)) from None

    def _note_redirect(self, response: Answer) -> None:
        if not 300 <= response.status < 400:
            return
        for name, value in response.headers:
            if name == b"location":
                target = rules.redirect_target(value.decode("latin-1"), *self.place)
                if target is not None and target[0] and not rules.declared(self.active.rules, *target):
                    self.active.redirected.add(target[0])

    async def _switched(self, request: Outgoing, response: Answer, far: Far) -> None:
        """Both sides speak WebSocket now: bytes are carried, counted, and looked through on the way in."""
        if not request.websocket or not isinstance(self.down, H1Down) or not isinstance(far, H1Far):
            raise Stop("upstream_malformed", "the outside changed the protocol unasked")
        problem = websocket.answer_problem(request.headers, response.headers)
        if problem is not None:
            raise Stop("upstream_malformed", problem)
        self.status = response.status
        scanner = self._scanner(response)
        kept = tuple(
            item for item in heads.answer(response).headers if item[0] not in {b"content-length", b"content-encoding"}
        )
        early = await self.down.switch(Answer(101, kept))
        ways = [
            asyncio.create_task(self._way(early, self.down.reader, far.writer, self._out)),
            asyncio.create_task(self._way(far.wire.trailing, far.reader, self.down.writer, self._looked(scanner))),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def _out(self, data: bytes) -> bytes:
        self.sent += len(data)
        if self.sent > self.limits.body_bytes:
            raise Stop("limit_exceeded", f"more than {self.limits.body_bytes} bytes to the outside")
        self.active.count(len(data))
        return data

    def _in(self, data: bytes) -> bytes:
        self.received += len(data)
        if self.received > self.limits.body_bytes:
            raise Stop("limit_exceeded", f"more than {self.limits.body_bytes} bytes from the outside")
        self.active.count(len(data))
        return data

    def _looked(self, scanner: scan.Scanner | scan.CodedScanner | None) -> Callable[[bytes], bytes]:
        return lambda data: self._in(data) if scanner is None else self._scanned(scanner, self._in(data))

    async def _way(
        self, early: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], bytes]
    ) -> None:
        """One direction until its end. Both ways share the exchange's deadline; silence alone ends nothing."""
        data = early or await self._piece(reader)
        while data:
            passed = look(data)
            if passed:
                writer.write(passed)
                await flush(writer, self.limits.idle_seconds)
            data = await self._piece(reader)

    async def _piece(self, reader: asyncio.StreamReader) -> bytes:
        with contextlib.suppress(OSError):
            return await reader.read(CHUNK)
        return b""
