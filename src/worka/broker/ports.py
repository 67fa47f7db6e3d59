"""What the broker needs from others: a treasury, a resolver, a way to make a Context; and its limits."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from worka.kernel.airgap import AirGap
from worka.kernel.context import Context, Principal
from worka.kernel.errors import Denied, NotFound


class Lease(Protocol):
    """A secret's value for one invocation and endpoint; `id` is the row in `lease`."""

    @property
    def id(self) -> str: ...

    @property
    def value(self) -> str: ...


class Treasury(Protocol):
    """`treasury.service` implements it."""

    async def lease(
        self, ctx: Context, *, secret_id: str, attachment_id: str, invocation_id: str, endpoint: str
    ) -> Lease:
        """The value, or NotFound (no such secret here), Denied (no live grant for this attachment and endpoint)."""
        ...

    async def close_leases(self, ctx: Context, *, invocation_id: str) -> None:
        """Ends the invocation's leases; calling it without any is fine."""
        ...


class Resolver(Protocol):
    """The broker's own name resolution."""

    async def resolve(self, host: str, whose: str = "") -> tuple[str, ...]:
        """Every address of `host`, IPv4 first. Empty when it has none; raises OSError when it could not be asked. `whose`: for
        which tenant."""
        ...


class Listed:
    """A resolver that asks only for what the air gap lists, whoever wants to know: the question would leave too."""

    def __init__(self, resolver: Resolver, gap: AirGap) -> None:
        self.resolver, self.gap = resolver, gap

    async def resolve(self, host: str, whose: str = "") -> tuple[str, ...]:
        """As the protocol says; OSError for a name that is not listed."""
        if not self.gap.asks(host):
            raise PermissionError(errno.EPERM, f"air-gapped: {host} is not listed, so it is not asked for")
        return await self.resolver.resolve(host, whose)


class MakeContext(Protocol):
    """Given by the process role: a Context with the role's authorizer, recorder, sealer and subscribers."""

    def __call__(
        self,
        principal: Principal,
        *,
        tenant_id: str,
        workspace_id: str,
        originating_person: str | None = None,
        trace_id: str | None = None,
    ) -> Context: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and counts of one session."""

    connect_seconds: float = 10.0
    handshake_seconds: float = 10.0
    head_seconds: float = 30.0
    idle_seconds: float = 60.0
    record_seconds: float = 2.0
    resolve_seconds: float = 5.0
    connections: int = 64
    body_bytes: int = 512 * 1024 * 1024
    refused_destinations: int = 32
    exchange_seconds: float = 600.0
    circuit_failures: int = 5
    circuit_seconds: float = 30.0
    unanswered_seconds: float = 3.0
    unwatched_seconds: float = 15.0


@dataclass(slots=True)
class HeldLease:
    """The lease of the double below."""

    id: str
    value: str = field(repr=False)


class MemoryTreasury:
    """The in-memory double: `secrets` by id, `grants` as (secret, attachment, endpoint)."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.grants: set[tuple[str, str, str]] = set()
        self.leased: list[tuple[str, str, str]] = []
        self.closed: list[str] = []

    async def lease(
        self, ctx: Context, *, secret_id: str, attachment_id: str, invocation_id: str, endpoint: str
    ) -> Lease:
        """As the protocol says."""
        if secret_id not in self.secrets:
            raise NotFound("no such secret")
        if (secret_id, attachment_id, endpoint) not in self.grants:
            raise Denied("not granted")
        self.leased.append((secret_id, invocation_id, endpoint))
        return HeldLease(f"lease_{len(self.leased)}", self.secrets[secret_id])

    async def close_leases(self, ctx: Context, *, invocation_id: str) -> None:
        """As the protocol says."""
        self.closed.append(invocation_id)


class MemoryResolver:
    """The in-memory double: `answers` maps a name to one list of addresses per question, the last one repeats."""

    def __init__(self, answers: Mapping[str, list[tuple[str, ...]]]) -> None:
        self.answers = {name: list(lists) for name, lists in answers.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, whose: str = "") -> tuple[str, ...]:
        """The next answer for `host`."""
        self.asked.append(host)
        await asyncio.sleep(0)
        left = self.answers.get(host, [()])
        return left.pop(0) if len(left) > 1 else left[0]
