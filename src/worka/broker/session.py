"""One pack session as the broker knows it: its CA, its pool of addresses, its sockets, the one invocation it serves."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worka.broker import rules as rule_book
from worka.broker import scan
from worka.broker.addresses import POOL
from worka.broker.allowance import Allowance, Meter
from worka.broker.bindings import Connection, Need
from worka.broker.ca import Authority
from worka.broker.intake import Intake
from worka.broker.ledger import Entry, Ledger, Place
from worka.broker.policy import rules as policy
from worka.broker.ports import Lease, Limits, MakeContext
from worka.broker.rules import Rule
from worka.broker.stops import Stop
from worka.broker.upstream import Pool
from worka.kernel.context import Context, Principal

# The first and last addresses of the pool are network and broadcast to some clients.
_POOL = [str(address) for address in POOL.hosts()]


@dataclass(frozen=True, slots=True)
class NetworkException:
    """An operator's recorded exception: what a pack sees, and what is really behind it."""

    id: str
    name: str
    port: int
    address: str
    real_port: int
    ca_pem: str
    of_settings: bool = False
    """Whether the deployment's settings say so, and not a record of a workspace."""


@dataclass(frozen=True, slots=True)
class Trust:
    """An operator's record of how the certificate of an outside name is checked, and what we show of ourselves."""

    id: str
    name: str
    port: int
    attachment_id: str
    ca_pem: str
    client_cert_pem: str
    client_key_secret_id: str | None


class Open:
    """Something of a call that stands open: it was let through, and ends at its deadline, or when it is stopped from beside."""

    def __init__(self, active: Active, entry: Entry, lease: Lease | None = None) -> None:
        self.active, self.entry, self.lease = active, entry, lease
        self.since = time.monotonic()
        self._deadline = asyncio.timeout(active.allowance.exchange_seconds)
        self._stopped: Stop | None = None

    def stop(self, stop: Stop) -> None:
        """Ends it with this, unless something else did: what was let through is not let through any more."""
        self._stopped = self._stopped or stop
        with contextlib.suppress(RuntimeError):  # it is about to end anyhow
            self._deadline.reschedule(0)

    def _ended(self, error: Exception) -> Stop | None:
        """How it ended where this error is its deadline's: what stopped it, or that it took too long."""
        if not (isinstance(error, TimeoutError) and self._deadline.expired()):
            return None
        seconds = self.active.allowance.exchange_seconds
        return self._stopped or Stop("exchange_too_long", f"not done after {seconds:g} s")


@dataclass(slots=True)
class Active:
    """The one invocation whose requests may leave now, with everything that was loaded at its begin."""

    id: str
    side_effect: str
    idempotency_key: str
    rules: tuple[Rule, ...]
    needs: tuple[Need, ...]
    connections: tuple[Connection, ...]
    exceptions: Mapping[tuple[str, int], NetworkException]
    pack: str
    policy: tuple[policy.Layer, ...]
    trace_id: str
    parent_span: str | None
    ledger: Ledger
    context: Callable[[], Context]
    pool: Pool
    allowance: Allowance = field(default_factory=Allowance)
    meter: Meter = field(default_factory=Meter)
    trusts: Mapping[tuple[str, int], Trust] = field(default_factory=dict)
    bytes: int = 0
    """Of all its requests and answers."""
    leases: dict[str, Lease] = field(default_factory=dict)
    sought: scan.Known = field(default_factory=dict, repr=False)
    """What is looked for in its answers, made once for each secret."""
    lease_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    heard: dict[str, int] = field(default_factory=dict)
    """What was answered last to a connection's credential: the status, by the connection."""
    redirected: set[str] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    open: set[Open] = field(default_factory=set)
    broken: str | None = None
    """Why something of this invocation was refused by a fault of ours: the pack only sees that it did not work."""

    def decide(self, host: str, port: int, method: str, path: str, *, websocket: bool = False) -> rule_book.Decision:
        """What the release declares and policy says of a request of this invocation. `host` is normalised."""
        return policy.decide(
            self.rules, self.policy, self.pack, host, port, method, path, self.side_effect, websocket=websocket
        )

    def refusal(self, host: str, reason: str) -> str:
        """`redirect_out_of_scope` instead of `undeclared_destination` when an answer sent the pack there."""
        return "redirect_out_of_scope" if reason == "undeclared_destination" and host in self.redirected else reason

    def count(self, piece: int) -> None:
        """Bytes that are about to pass. Raises Stop when they are in excess of a limit."""
        self.bytes += piece
        excess = self.meter.count(self.allowance, self.bytes, piece)
        if excess is not None:
            raise Stop(excess.reason, excess.detail)


class Session:
    """State of one session. The token lets the launcher hand over the sandbox's sockets, once."""

    def __init__(
        self,
        *,
        session_id: str,
        tenant_id: str,
        workspace_id: str,
        attachment_id: str,
        pack: str,
        rules: Sequence[Rule],
        make_context: MakeContext,
        limits: Limits,
        intake: Intake,
        folder: Path,
    ) -> None:
        self.id = session_id
        self.tenant_id = tenant_id
        self.workspace_id = workspace_id
        self.attachment_id = attachment_id
        self.pack = pack
        self.rules = tuple(rules)
        self.limits = limits
        self.intake = intake
        self.folder = folder
        self.authority = Authority(session_id)
        self.token = secrets.token_urlsafe(32)
        self.active: Active | None = None
        self.sockets: list[socket.socket] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.lookups: set[asyncio.Task[None]] = set()
        self.lock = asyncio.Lock()
        self.open_connections = 0
        self._token_used = False
        self._make_context = make_context
        self._address_of: dict[str, str] = {}
        self._name_of: dict[str, str] = {}
        self.idle = self._ledger(None, None, None)

    def take_token(self, token: str) -> bool:
        """True once, for the right token."""
        good = not self._token_used and hmac.compare_digest(token.encode(), self.token.encode())
        self._token_used |= good
        return good

    def address_of(self, name: str) -> str | None:
        """The pool address that stands for a declared name inside this sandbox; None for every other name, and when the
        pool is used up (a wildcard rule has no end of names)."""
        if name in self._address_of:
            return self._address_of[name]
        if not rule_book.declared(self.rules, name) or len(self._address_of) == len(_POOL):
            return None
        address = _POOL[len(self._address_of)]
        self._address_of[name], self._name_of[address] = address, name
        return address

    def name_of(self, address: str) -> str | None:
        """The declared name behind a pool address, None for a raw address."""
        return self._name_of.get(address)

    @property
    def ledger(self) -> Ledger:
        """Where a row belongs now: to the active invocation, or to the session between two."""
        return self.active.ledger if self.active is not None else self.idle

    def activate(self, invocation: Mapping[str, Any], **loaded: Any) -> Active:
        """Opens the network for this invocation."""
        members = tuple(who for who in (invocation.get("initiator_id"), invocation["originating_person"]) if who)
        ledger = self._ledger(
            invocation["id"], invocation["originating_person"], invocation["trace_id"],
            release_id=invocation.get("release_id"), members=members,
        )  # fmt: skip
        self.active = Active(
            id=invocation["id"],
            side_effect=invocation["side_effect"],
            idempotency_key=invocation["idempotency_key"],
            pack=self.pack,
            trace_id=invocation["trace_id"],
            ledger=ledger,
            context=self._contexts(invocation["originating_person"], invocation["trace_id"]),
            pool=Pool(self.limits),
            **loaded,
        )
        # Names that were answered under an older release keep their address; whether they may be used is decided anew.
        self.rules = self.active.rules
        return self.active

    def renew_idle(self) -> Ledger:
        """A fresh ledger for the time after this; the old one is returned to be closed."""
        old, self.idle = self.idle, self._ledger(None, None, None)
        return old

    def _contexts(self, originating_person: str | None, trace_id: str | None) -> Callable[[], Context]:
        principal = Principal("attachment", self.attachment_id, self.pack, self.tenant_id)

        def make() -> Context:
            return self._make_context(
                principal,
                tenant_id=self.tenant_id,
                workspace_id=self.workspace_id,
                originating_person=originating_person,
                trace_id=trace_id,
            )

        return make

    def _ledger(
        self,
        invocation_id: str | None,
        originating_person: str | None,
        trace_id: str | None,
        *,
        release_id: str | None = None,
        members: tuple[str, ...] = (),
    ) -> Ledger:
        place = Place(
            tenant_id=self.tenant_id,
            workspace_id=self.workspace_id,
            attachment_id=self.attachment_id,
            session_id=self.id,
            invocation_id=invocation_id,
            trace_id=trace_id or secrets.token_hex(16),
            release_id=release_id,
            members=members,
        )
        return Ledger(place, self._contexts(originating_person, place.trace_id), self.limits, self.intake)
