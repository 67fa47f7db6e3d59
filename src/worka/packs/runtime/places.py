"""Whose turn it is: places for calls, bounded per attachment, per tenant and in all, given out in turn between tenants.

Inside a tenant first come, first served, but who waits for its own attachment stands in nobody's way. Between tenants one
place each in turn: a tenant with a thousand waiting calls gets the next place as often as one with a single call.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any

from worka.packs.runtime.outcome import CallFailed, Ending


@dataclass(eq=False)
class Call:
    """One call that waits for a place, or has one."""

    tenant_id: str
    owner: str
    invocation_id: str
    came: float
    turn: asyncio.Future[None] = field(repr=False, kw_only=True)


class Places:
    """Counts who is in, keeps who waits. `total` bounds all tenants together."""

    def __init__(self, *, per_attachment: int, per_tenant: int, total: int) -> None:
        self.per_attachment, self.per_tenant, self.total = per_attachment, per_tenant, total
        self.inside: set[Call] = set()
        # In the order of turns: who was served last stands at the end.
        self.lines: dict[str, list[Call]] = {}
        self._tenants: Counter[str] = Counter()
        self._owners: Counter[tuple[str, str]] = Counter()

    @contextlib.asynccontextmanager
    async def place(self, tenant_id: str, owner: str, invocation_id: str, timeout: float) -> AsyncIterator[None]:
        """A place for one call. Raises CallFailed: `no_free_session` after `timeout` seconds, or what `turn_away` says."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call = Call(tenant_id, owner, invocation_id, time.monotonic(), turn=turn)
        self.lines.setdefault(tenant_id, []).append(call)
        try:
            self._serve()
            try:
                async with asyncio.timeout(timeout):
                    await call.turn
            except TimeoutError:
                # In the moment in which its time ran out it may have been served, or turned away: who has no place goes no
                # further.
                if call not in self.inside:
                    away = call.turn.exception() if call.turn.done() and not call.turn.cancelled() else None
                    raise away or CallFailed(self._too_late(call, timeout)) from None
            yield
        finally:
            self._leave(call)
            self._serve()

    def _serve(self) -> None:
        """Gives free places away, to one tenant after the other, until nobody who waits has room."""
        served = True
        while served and len(self.inside) < self.total:
            served = False
            for tenant_id in list(self.lines):
                call = self._next_of(tenant_id)
                if call is None:
                    continue
                self._enter(call)
                served = True
                if len(self.inside) >= self.total:
                    break

    def _next_of(self, tenant_id: str) -> Call | None:
        if self._tenants[tenant_id] >= self.per_tenant:
            return None
        return next((call for call in self.lines[tenant_id] if self._has_room(call)), None)

    def _has_room(self, call: Call) -> bool:
        return self._owners[call.tenant_id, call.owner] < self.per_attachment

    def _enter(self, call: Call) -> None:
        line = self.lines.pop(call.tenant_id)
        line.remove(call)
        if line:
            self.lines[call.tenant_id] = line
        self.inside.add(call)
        self._tenants[call.tenant_id] += 1
        self._owners[call.tenant_id, call.owner] += 1
        if not call.turn.done():
            call.turn.set_result(None)

    def _leave(self, call: Call) -> None:
        if call in self.inside:
            self.inside.discard(call)
            # Subtracting leaves no entry behind for who has nobody in any more.
            self._tenants -= Counter([call.tenant_id])
            self._owners -= Counter([(call.tenant_id, call.owner)])
            return
        line = self.lines.get(call.tenant_id, [])
        if call in line:
            line.remove(call)
            if not line:
                del self.lines[call.tenant_id]

    def turn_away(self, owner: str, ending: Ending) -> list[str]:
        """Ends the wait of every call to this attachment; returns the invocations that waited."""
        return self._away([call for line in self.lines.values() for call in line if call.owner == owner], ending)

    def turn_away_calls(self, tenant_id: str, invocation_ids: Collection[str], ending: Ending) -> list[str]:
        """The same for these calls of a tenant."""
        return self._away(
            [call for call in self.lines.get(tenant_id, []) if call.invocation_id in invocation_ids], ending
        )

    def _away(self, waiting: list[Call], ending: Ending) -> list[str]:
        for call in waiting:
            self._leave(call)
            if not call.turn.done():
                call.turn.set_exception(CallFailed(ending))
        return [call.invocation_id for call in waiting]

    def of(self, tenant_id: str, invocation_id: str) -> dict[str, Any] | None:
        """Where a waiting call of this tenant stands: {limit, most, ahead, tenants, holders, waited_seconds}; None when it
        does not wait. `limit` is what is full: `attachment`, `tenant` or `host`; `ahead` counts the calls that get that
        place before it, `tenants` the other tenants in turn; `holders` are the tenant's own running invocations."""
        line = self.lines.get(tenant_id, [])
        call = next((one for one in line if one.invocation_id == invocation_id), None)
        if call is None:
            return None
        before = line[: line.index(call)]
        mine = [one for one in self.inside if one.tenant_id == tenant_id]
        if not self._has_room(call):
            limit, most = "attachment", self.per_attachment
            before = [one for one in before if one.owner == call.owner]
            mine = [one for one in mine if one.owner == call.owner]
        elif self._tenants[tenant_id] >= self.per_tenant:
            limit, most = "tenant", self.per_tenant
        else:
            limit, most = "host", self.total
        return {
            "limit": limit,
            "most": most,
            "ahead": len(before),
            "tenants": len(self.lines) - 1 if limit == "host" else 0,
            "holders": sorted(one.invocation_id for one in mine if one.invocation_id),
            "waited_seconds": round(time.monotonic() - call.came, 3),
        }

    def _too_late(self, call: Call, timeout: float) -> Ending:
        words = {
            "attachment": f"All {self.per_attachment} sessions of the attachment were busy for {timeout:g} s.",
            "tenant": f"All {self.per_tenant} sessions of the tenant were busy for {timeout:g} s.",
            "host": f"All {self.total} sessions of this machine were busy for {timeout:g} s.",
        }
        remedies = {
            "attachment": "Wait, or raise packs.sessions_per_attachment.",
            "tenant": "Wait, or raise packs.sessions_per_tenant.",
            "host": "Wait, or raise packs.sessions.",
        }
        limit = "host"
        if not self._has_room(call):
            limit = "attachment"
        elif self._tenants[call.tenant_id] >= self.per_tenant:
            limit = "tenant"
        return Ending("no_free_session", words[limit], remedy=remedies[limit])
