"""The platform's own outgoing calls (decisions.md 20): webhooks as HTTPS by a recorded rule, mail as a tunnel to the one
host and port that the deployment's settings name.

The same order as for a pack: rule, policy and kill switches, address, row, and only then dial. Who calls says where to;
whether that may be is read here. Nothing is followed, an answer is read to a bound, and a whole call has one deadline.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from worka import governance
from worka.broker import rules, store
from worka.broker.actions import PLATFORM_SEND
from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.exchange import Outside, Target, where
from worka.broker.intake import Intakes
from worka.broker.ledger import Entry, Ledger, NotRecorded, Place, Stopped
from worka.broker.link import CHUNK, cut
from worka.broker.ports import Limits, MakeContext
from worka.broker.rules import Rule
from worka.broker.session import NetworkException
from worka.broker.stops import Stop
from worka.broker.upstream import Far, Key, Pool, Stale
from worka.broker.wire import heads
from worka.broker.wire.events import Broken
from worka.broker.wire.heads import Answer, Outgoing
from worka.governance import kills
from worka.governance.errors import UseRefused
from worka.kernel import failpoints, ipc
from worka.kernel.context import Context, Principal, Resource
from worka.kernel.errors import BadRequest
from worka.kernel.settings import MailSettings

PLATFORM = Principal("platform", "platform", "Worka")
ATTACHMENT = "platform"
"""What stands in the place of a pack's attachment in the rows of these calls."""
REGISTRY = "registry"
"""The purpose of calls that carry artifacts to a registry and back."""
_TOLD = frozenset({b"location", b"content-type", b"docker-content-digest", b"www-authenticate"})
"""Headers of an answer that whoever called gets to see."""
_MOST_TOLD = 8192
"""Characters of one: an address of a store of blobs carries its own signature."""
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "upgrade", "te"})


@dataclass(frozen=True, slots=True)
class PlatformLimits:
    """Of these calls: one whole call, what goes out, how much of the answer is read, how many at once: of
    requests, of tunnels beside them, of one tenant in each, and of one receiver."""

    seconds: float = 15.0
    body_bytes: int = 256 * 1024
    answer_bytes: int = 16 * 1024
    at_once: int = 16
    tunnels: int = 8
    of_tenant: int = 6
    of_one: int = 2
    tunnel_seconds: float = 45.0
    tunnel_bytes: int = 1024 * 1024
    registry_seconds: float = 30.0
    registry_bytes: int = 8 * 1024 * 1024

    def of(self, purpose: str) -> tuple[float, int, int]:
        """(seconds, bytes out, bytes of the answer) of one call: what goes to a registry is larger than a message."""
        if purpose == REGISTRY:
            return self.registry_seconds, self.registry_bytes, self.registry_bytes
        return self.seconds, self.body_bytes, self.answer_bytes


@dataclass(frozen=True, slots=True)
class MailRoute:
    """The one destination of the deployment's mail, out of its settings."""

    host: str
    port: int
    exception: NetworkException | None

    @classmethod
    def of(cls, settings: MailSettings) -> MailRoute | None:
        """None when no mail is set. Raises RuleProblem for a host that is no name."""
        if not settings.host:
            return None
        host, wildcard = rules.host_pattern(settings.host)
        if wildcard is not None:
            raise rules.RuleProblem("mail.host: one name")
        exception = None
        if settings.address:
            exception = NetworkException(
                MAIL_EXCEPTION, host, settings.port, settings.address, settings.port, settings.ca_pem, of_settings=True
            )
        return cls(host, settings.port, exception)


MAIL_RULE, MAIL_EXCEPTION = "settings/mail", "settings/mail.address"


@dataclass(slots=True)
class Call:
    """One call, as who makes it names it, and the rows that belong to it."""

    tenant_id: str
    workspace_id: str
    purpose: str
    subject_id: str
    host: str
    port: int
    method: str | None
    path: str | None
    ledger: Ledger
    ctx: Context
    decision_id: str | None = None


class PlatformDoor:
    """The door of our own processes to the outside; the broker serves it beside the sessions."""

    def __init__(
        self,
        outside: Outside,
        make_context: MakeContext,
        limits: Limits,
        own: PlatformLimits | None = None,
        mail: MailRoute | None = None,
        intakes: Intakes | None = None,
    ) -> None:
        self._intakes = intakes or Intakes()
        self.outside, self.limits, self.own, self.mail = outside, limits, own or PlatformLimits(), mail
        self._make_context = make_context
        self._running: Counter[tuple[str, ...]] = Counter()

    async def tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a process of ours: its first frame says for whom, the answer's whether it may; what follows are
        the bytes of the two sides. TLS is spoken through it, end to end."""
        try:
            async with asyncio.timeout(self.limits.head_seconds):
                asked = await ipc.read_frame(reader)
            call = self._call(
                str(asked.get("tenant_id")), str(asked.get("workspace_id")), "mail", str(asked.get("subject_id")),
                self.mail.host if self.mail else "(none)", self.mail.port if self.mail else 0, None, None,
                asked.get("trace_id"),
            )  # fmt: skip
            with self._place(call, self.own.tunnels) as free:
                await self._carry(call, reader, writer, free=free)
        except (asyncio.IncompleteReadError, OSError, ValueError, TimeoutError):
            pass  # the one who asked left
        finally:
            writer.close()

    async def _carry(
        self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, free: bool
    ) -> None:
        try:
            if self.mail is None:
                raise Stop("platform_rule_missing", "no mail server is set")
            if not free:
                raise Stop("limit_exceeded", "too many of the platform's calls at once")
            refusal = await self._mail_allowed(call)
            if refusal is not None:
                raise refusal
            target = await where(self.outside, self.limits, self.mail.exception, call.host, call.port, MAIL_RULE)
            entry = await self._row(call, MAIL_RULE, target, kind="tunnel", opaque=True)
        except Stop as stop:
            writer.write(ipc.frame(await self._refused(call, stop, kind="tunnel")))
            await writer.drain()
            return
        failpoints.hit("broker.egress.before_dial")
        started = time.perf_counter()
        counted = [0, 0]
        reason = "allowed"
        try:
            async with asyncio.timeout(self.own.tunnel_seconds):
                reason = await self._between(call, entry, target, reader, writer, counted)
        except TimeoutError:
            reason = "upstream_timeout"
        except OSError:
            reason = "answer_not_taken"  # the one who asked left
        await call.ledger.finish(
            entry, status=None, reason=reason, bytes_out=counted[0], bytes_in=counted[1],
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
        )  # fmt: skip
        await call.ledger.close()

    async def _mail_allowed(self, call: Call) -> Stop | None:
        async with call.ctx.transaction():
            return await self._decided(call, MAIL_RULE)

    async def _between(
        self, call: Call, entry: Entry, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        counted: list[int],
    ) -> str:  # fmt: skip
        """Dials, says so, and carries bytes both ways until one side ends."""
        found: dict[str, Any] = {"egress_id": entry.row["id"], "decision_id": call.decision_id}
        try:
            far_reader, far_writer = await self.outside.dial(target, None, self.limits.connect_seconds, h2=False)
        except Stop as stop:
            call.ledger.lines.add(entry.row, stop.reason, stop.detail, stop)
            writer.write(ipc.frame(_answer(stop.reason, stop.detail, **found)))
            await writer.drain()
            return stop.reason
        try:
            writer.write(ipc.frame(_answer("allowed", "", **found)))
            await writer.drain()
            ways = [
                asyncio.create_task(self._way(reader, far_writer, counted, 0)),
                asyncio.create_task(self._way(far_reader, writer, counted, 1)),
            ]
            try:
                done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                return next((told for way in done if (told := way.result()) != "allowed"), "allowed")
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            cut(far_writer)

    async def _way(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counted: list[int], place: int
    ) -> str:
        try:
            while data := await source.read(CHUNK):
                counted[place] += len(data)
                if counted[place] > self.own.tunnel_bytes:
                    return "limit_exceeded"
                sink.write(data)
                await sink.drain()
        except OSError:
            return "upstream_unreachable" if place else "allowed"
        return "allowed"

    async def http(
        self,
        *,
        tenant_id: str,
        workspace_id: str,
        purpose: str,
        subject_id: str,
        url: str,
        headers: dict[str, str],
        body: str,
        method: str = "POST",
        trace_id: str | None = None,
    ) -> dict[str, Any]:
        """One HTTPS request for this subject; `body` is base64. {reason: allowed, or why not; detail, status, answer (its
        beginning, base64), cut: whether there was more of it, headers (some), duration_ms, egress_id, decision_id}. Refusals
        are answers too: they have their row."""
        try:
            content = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise BadRequest("body: not base64") from error
        most = self.own.of(purpose)[1]
        if len(content) > most:
            raise BadRequest(f"body: above {most} bytes")
        host, port, path, query = _parts(url)
        call = self._call(tenant_id, workspace_id, purpose, subject_id, host, port, method, path, trace_id)
        with self._place(call, self.own.at_once) as free:
            try:
                if not free:
                    raise Stop("limit_exceeded", "too many of the platform's calls at once")
                rule, exception, trust = await self._allowed(call)
                request = _request(call, path + query, headers, len(content))
                target = await where(self.outside, self.limits, exception, host, port, rule, call.tenant_id)
                if trust is not None:
                    target = replace(target, ca_pem=trust["ca_pem"] or target.ca_pem, trust_id=trust["id"])
                entry = await self._row(call, rule, target)
            except Stop as stop:
                return await self._refused(call, stop)
            failpoints.hit("broker.egress.before_dial")
            return await self._exchange(call, entry, target, request, content)

    @contextlib.contextmanager
    def _place(self, call: Call, most: int) -> Iterator[bool]:
        """Whether there is one: mail has its own, so that no webhook holds it up, and no tenant has them all."""
        kind, tenant = "http" if call.method else "tunnel", call.tenant_id
        bounds = {
            (kind,): most, (kind, tenant): self.own.of_tenant, (kind, tenant, call.subject_id): self.own.of_one,
        }  # fmt: skip
        free = all(self._running[key] < bound for key, bound in bounds.items())
        self._running.update(dict.fromkeys(bounds, int(free)))
        try:
            yield free
        finally:
            self._running.subtract(dict.fromkeys(bounds, int(free)))
            self._running = +self._running

    def _call(
        self, tenant_id: str, workspace_id: str, purpose: str, subject_id: str, host: str, port: int,
        method: str | None, path: str | None, trace_id: str | None,
    ) -> Call:  # fmt: skip
        def make() -> Context:
            return self._make_context(PLATFORM, tenant_id=tenant_id, workspace_id=workspace_id, trace_id=ctx.trace_id)

        given = {"trace_id": trace_id} if trace_id else {}
        ctx = self._make_context(PLATFORM, tenant_id=tenant_id, workspace_id=workspace_id, **given)
        place = Place(
            tenant_id=tenant_id, workspace_id=workspace_id, attachment_id=ATTACHMENT, session_id=subject_id,
            invocation_id=None, trace_id=ctx.trace_id,
        )  # fmt: skip
        ledger = Ledger(place, make, self.limits, self._intakes.of(tenant_id))
        return Call(tenant_id, workspace_id, purpose, subject_id, host, port, method, path, ledger, ctx)

    async def _allowed(self, call: Call) -> tuple[str, NetworkException | None, dict[str, Any] | None]:
        """The rule that lets it through, and of its destination the network exception and the workspace's record of upstream
        trust. Raises Stop."""
        host, port = call.host, call.port
        async with call.ctx.transaction() as conn:
            rows = await store.platform_rules(conn, call.purpose, call.subject_id)
            here = [_rule(row) for row in rows if row["workspace_id"] == call.workspace_id]
            found = rules.decide(here, host, port, call.method or "", call.path or "", "external_side_effect")
            if not found.allowed or found.rule_id is None:
                missing = found.rule_id is None
                raise Stop("platform_rule_missing" if missing else found.reason, rule=found.rule_id)
            exceptions = await store.live_exceptions(conn, call.workspace_id)
            trusts = await store.live_trusts(conn, call.workspace_id, "")
            refusal = await self._decided(call, found.rule_id)
        if refusal is not None:
            raise refusal
        # A certificate of ours is not shown: its key is granted to attachments, and the platform is none.
        return found.rule_id, _exception(exceptions, host, port), _of_place(trusts, host, port)

    async def _decided(self, call: Call, rule: str) -> Stop | None:
        """Policy and kill switches, recorded; a refusal is raised by the caller after the commit of its record."""
        place = f"{call.host}:{call.port}"
        resource = Resource("workspace", call.workspace_id, call.workspace_id)
        facts = {"host": call.host, "port": call.port, "destination": place, "kind": call.purpose}
        said = await governance.service.of_platform(call.ctx, PLATFORM_SEND, resource, rule, **facts)
        call.decision_id = said.id
        if said.verdict == "allow":
            return None
        killed = any(name.startswith(kills.PREFIX) for name in said.rules)
        reason = kills.REASON if killed else UseRefused.code
        return Stop(reason, "; ".join(said.reasons), rule=next(iter(said.rules), rule), remedy=said.remedy)

    # Its path stands in no row: every viewer reads those, and the address of a chat system is a credential by its path.
    # The rule that is named holds it, for whoever may see webhooks.
    async def _row(self, call: Call, rule: str, target: Target, **further: Any) -> Entry:
        try:
            return await call.ledger.allow(
                host=call.host, port=call.port, method=call.method, path=None, rule=rule, address=target.shown,
                exception_id=target.exception_id, trust_id=target.trust_id, decision_id=call.decision_id, **further,
            )  # fmt: skip
        except Stopped as stopped:
            raise Stop(kills.REASON, kills.said(stopped.kill), rule=kills.PREFIX + stopped.kill["id"]) from None
        except NotRecorded:
            raise Stop("egress_not_recorded") from None

    async def _refused(self, call: Call, stop: Stop, kind: str = "http") -> dict[str, Any]:
        await call.ledger.deny(
            kind=kind, reason=stop.reason, host=call.host, port=call.port, rule=stop.rule, method=call.method, path=None,
            decision_id=call.decision_id, detail=stop.detail, error=stop,
        )  # fmt: skip
        told = await call.ledger.close()
        found = told["denied"] or {}
        return _answer(stop.reason, stop.detail, egress_id=found.get("id"), decision_id=call.decision_id)

    async def _exchange(
        self, call: Call, entry: Entry, target: Target, request: Outgoing, content: bytes
    ) -> dict[str, Any]:
        started = time.perf_counter()
        seconds, _, most = self.own.of(call.purpose)
        sent = _Exchange(self.outside, self.limits, most)
        reason, detail = "allowed", ""
        try:
            async with asyncio.timeout(seconds):
                await sent.run(target, call.host, request, content)
        except TimeoutError:
            reason, detail = "upstream_timeout", f"no whole answer within {seconds:.0f} s"
            call.ledger.lines.add(entry.row, reason, detail)
        except Stop as stop:
            reason, detail = stop.reason, stop.detail
            call.ledger.lines.add(entry.row, reason, detail, stop)
        duration = round((time.perf_counter() - started) * 1000, 3)
        failpoints.hit("broker.egress.after_answer")
        await call.ledger.finish(
            entry, status=sent.status, reason=reason, bytes_out=sent.out, bytes_in=len(sent.answer),
            duration_ms=duration, upstream_protocol=sent.protocol, connect_ms=sent.connect_ms,
        )  # fmt: skip
        await call.ledger.close()
        return _answer(
            reason, detail, status=sent.status, answer=bytes(sent.answer), duration_ms=duration, cut=sent.cut,
            headers=sent.headers, egress_id=entry.row["id"], decision_id=call.decision_id,
        )  # fmt: skip


class _Exchange:
    """One request over a connection of its own. The answer is read until it ends or the bound is reached, never further."""

    def __init__(self, outside: Outside, limits: Limits, most: int) -> None:
        self.outside, self.limits, self.most = outside, limits, most
        self.status: int | None = None
        self.answer = bytearray()
        self.headers: dict[str, str] = {}
        self.out = 0
        self.protocol: str | None = None
        self.connect_ms: float | None = None

    @property
    def cut(self) -> bool:
        """Whether there may be more of the answer than was read."""
        return len(self.answer) >= self.most

    async def run(self, target: Target, name: str, request: Outgoing, content: bytes) -> None:
        """Raises Stop, TimeoutError."""

        async def dial(offer_h2: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await self.outside.dial(target, name, self.limits.connect_seconds, h2=offer_h2)

        pool = Pool(self.limits)
        far: Far | None = None
        try:
            far = await pool.get(
                Key(target.address, target.port, name, target.trust_id, target.ca_pem), dial, kept=False
            )
            self.protocol, self.connect_ms = far.protocol, far.connect_ms
            await self._talk(far, request, content)
        finally:
            if far is not None:
                far.done(whole=False)
            await pool.close()

    async def _talk(self, far: Far, request: Outgoing, content: bytes) -> None:
        try:
            await far.ask(request)
        except Stale:
            raise Stop("upstream_unreachable", "the outside closed the connection") from None
        except OSError:
            pass  # it may have answered without reading; its answer counts, and says what happened where it is none
        upload = asyncio.create_task(self._upload(far, content))
        try:
            answer = await far.answer()
            self.status, self.headers = answer.status, _told(answer)
            if answer.status == 101:
                raise Stop("upstream_malformed", "the outside changed the protocol unasked")
            while (data := await far.body()) is not None:
                self.answer += data[: self.most - len(self.answer)]
                if self.cut:
                    return  # enough to tell what it says; the rest of a flood is not taken
        finally:
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)

    async def _upload(self, far: Far, content: bytes) -> None:
        with contextlib.suppress(OSError, Broken, Stop):
            for at in range(0, len(content), CHUNK):
                await far.give(content[at : at + CHUNK])
                self.out += len(content[at : at + CHUNK])
            if content:
                await far.finish()


def _told(answer: Answer) -> dict[str, str]:
    """The headers that whoever called gets to see; the wire has their names in small letters."""
    found: dict[str, str] = {}
    for raw, value in answer.headers:
        if raw in _TOLD:
            name = raw.decode("ascii")
            # A registry may offer several ways to authenticate, each in a header of its own.
            before = f"{found[name]}, " if name == "www-authenticate" and name in found else ""
            found[name] = (before + value.decode("latin-1"))[:_MOST_TOLD]
    return found


def _parts(url: str) -> tuple[str, int, str, str]:
    """(host, port, path, query with its ?) of an https URL. Raises BadRequest for every other."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
        host = normalise_host(parts.netloc.rpartition(":")[0] if parts.port else parts.netloc)
    except (ValueError, HostProblem) as error:
        raise BadRequest(f"url: {error}") from error
    if parts.scheme != "https" or parts.fragment:
        raise BadRequest("url: an https address without a fragment")
    return host, port, parts.path or "/", f"?{parts.query}" if parts.query else ""


def _rule(row: dict[str, Any]) -> Rule:
    return Rule(
        row["id"], row["host"], None, frozenset({row["port"]}), frozenset(row["method"].split(",")), (row["path"],)
    )


def _of_place(rows: list[dict[str, Any]], host: str, port: int) -> dict[str, Any] | None:
    return next((row for row in rows if (row["name"], row["port"]) == (host, port)), None)


def _exception(rows: list[dict[str, Any]], host: str, port: int) -> NetworkException | None:
    found = _of_place(rows, host, port)
    if found is None:
        return None
    return NetworkException(
        found["id"], found["name"], found["port"], found["address"], found["real_port"], found["ca_pem"]
    )


def _request(call: Call, target: str, headers: dict[str, str], length: int) -> Outgoing:
    """The request as it goes out, checked as a pack's is. What frames it, and where it goes, is ours. Raises Stop."""
    place = call.host if call.port == 443 else f"{call.host}:{call.port}"
    own = [("Host", place), ("Accept-Encoding", "identity"), ("Content-Length", str(length))]
    given = [(name, value) for name, value in headers.items() if name.lower() not in _OURS]
    try:
        pairs = tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in (*own, *given))
        asked = heads.Request(call.method or "POST", target.encode("ascii"), pairs, "1.1", length > 0)
        head = heads.read_head(asked, intended=call.host, port=call.port, sni=None)
        return heads.outgoing(head, host=call.host, port=call.port)
    except heads.Refused as refused:
        raise Stop(refused.reason, refused.detail) from refused
    except ValueError as error:
        raise Stop("malformed_request", str(error)[:200]) from error


def _answer(reason: str, detail: str, **found: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "status": None, "answer": b"", "cut": False, "headers": {}, "duration_ms": None, "egress_id": None,
        "decision_id": None,
    }  # fmt: skip
    whole = {**base, **found}
    return {**whole, "reason": reason, "detail": detail, "answer": base64.b64encode(whole["answer"]).decode()}
