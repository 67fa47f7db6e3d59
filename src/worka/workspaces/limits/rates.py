"""The rate of requests: one bucket per tenant, workspace and member, shared by every door of the deployment.

A door takes a share of a bucket at once and spends it from memory, so that a request costs no statement of its own; what it
takes is gone from the bucket, so that all doors together never spend more than there is. What a door did not spend within
some seconds it gives back with the next share. The clock of the buckets is the database's, the door's own is a steady one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worka.identity.service import RATE
from worka.kernel.db import Connection, Database
from worka.workspaces import store
from worka.workspaces.errors import RateReached
from worka.workspaces.limits import rules
from worka.workspaces.limits.rules import SCOPES, Bound, Scope, Use
from worka.workspaces.limits.service import refusal

Row = dict[str, Any]
WINDOW: Final = 60
LEAST: Final = 10
"""A rate below this would shut out those who have to raise it again."""
RAISING: Final = Bound(RATE, "member", 3 * LEAST, {"layer": "deployment"})
"""How often one member may try to set a limit in a minute, whatever else is used up."""
KEPT_SECONDS: Final = 5.0
_SHARES: Final = 20
_MOST_BUCKETS: Final = 20_000


async def _used(conn: Connection) -> Use:
    tenant, workspaces, members = 0, {}, {}
    for row in await store.rates_used(conn, f"{RATE}/"):
        _, scope, workspace_id, member_id = row["key"].split("/")
        if scope == "tenant":
            tenant = int(row["used"])
        elif scope == "workspace":
            workspaces[workspace_id] = int(row["used"])
        else:
            members[workspace_id, member_id] = int(row["used"])
    return Use(tenant, workspaces, members)


async def _members(conn: Connection) -> Use:
    return rules.counted((row["workspace_id"], "", row["members"]) for row in await store.members_counted(conn))


rules.add(
    rules.Limit(
        RATE, "requests in a minute", SCOPES, WINDOW, "The request is refused (429) with Retry-After.", _used, LEAST
    )
)
rules.add(
    rules.Limit("members", "members", ("tenant", "workspace"), 0, "Nobody more is invited or added (409).", _members)
)


@dataclass
class Share:
    """What one door holds of a bucket: `tokens` until `until`; `left`: what the bucket had beside them when it was taken;
    `empty_until`: before that there is no use in asking the bucket again."""

    value: int
    tokens: int
    left: int
    until: float
    empty_until: float = 0.0


@dataclass(frozen=True)
class Shown:
    """What the headers of an answer say of one bound."""

    scope: Scope
    limit: int
    remaining: int

    @property
    def reset(self) -> int:
        """Seconds until the bucket is full again."""
        return math.ceil((self.limit - self.remaining) * WINDOW / self.limit)


class Rates:
    """The shares of one door."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._shares: dict[tuple[str, str], Share] = {}
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}

    async def take(
        self, tenant_id: str, workspace_ids: Sequence[str], member_id: str, settings: Iterable[Row]
    ) -> list[Shown]:
        """One request of a member. `workspace_ids`: the workspace that it names, else those of the tenant that the member
        is in: of several none can be said to be asked, and only the tightest of the member's own bounds counts. Raises
        RateReached; what was taken from narrower buckets is given back then."""
        mine = [row for row in settings if row["tenant_id"] in ("", tenant_id)]
        if not mine:
            return []
        found = [rules.holding(mine, RATE, workspace_id, member_id) for workspace_id in workspace_ids or [""]]
        bounds = found[0]
        if len(found) > 1:
            own = [held["member"] for held in found if "member" in held]
            bounds = {scope: bound for scope, bound in bounds.items() if scope == "tenant"}
            if own:
                bounds["member"] = min(own, key=lambda bound: bound.value)
        workspace_id = workspace_ids[0] if len(workspace_ids) == 1 else ""
        taken: list[Share] = []
        shown = []
        # From the narrowest: who floods is stopped by the own bound, and uses nothing of what is everybody's.
        for scope in reversed(SCOPES):
            if scope not in bounds:
                continue
            key = _key(scope, workspace_id, member_id)
            share = await self._one(tenant_id, key, bounds[scope])
            if share.tokens < 1:
                for other in taken:
                    other.tokens += 1
                raise self._refused(bounds[scope], share)
            share.tokens -= 1
            taken.append(share)
            shown.append(Shown(scope, bounds[scope].value, share.tokens + share.left))
        return shown

    async def take_raising(self, tenant_id: str, member_id: str) -> None:
        """One try of a member to set a limit, out of a bucket that nothing else uses. Raises RateReached."""
        share = await self._one(tenant_id, f"raising/member//{member_id}", RAISING)
        if share.tokens < 1:
            raise RateReached(
                f"At most {RAISING.value} tries of one member to set a limit in a minute: it is held up by no other limit.",
                retry_after=_wait(share),
                window_seconds=WINDOW,
                name=RATE,
                scope="member",
                limit=RAISING.value,
                use=RAISING.value,
                source="deployment",
                who_can_raise="nobody: it is built in",
                remedy=f"Try again in {_wait(share)} s.",
            )
        share.tokens -= 1

    async def _one(self, tenant_id: str, key: str, bound: Bound) -> Share:
        """The share of a bucket, taken anew where it is spent, kept for too long, or of another limit."""
        place = (tenant_id, key)
        share = self._shares.get(place)
        if self._good(share, bound):
            assert share is not None
            return share
        async with self._asking.setdefault(place, asyncio.Lock()):
            share = self._shares.get(place)
            if self._good(share, bound):
                assert share is not None
                return share
            unspent = share.tokens if share is not None else 0
            if share is not None:
                share.tokens = 0
            want = max(1, bound.value // _SHARES)
            async with self.db.transaction(tenant_id) as conn:
                row = await store.rate_lease(conn, tenant_id, key, bound.value, WINDOW, want, unspent)
            now = time.monotonic()
            if len(self._shares) > _MOST_BUCKETS:
                self._shares.clear()
                self._asking.clear()
            empty = now + max(0.05, (1 - row["tokens"]) * WINDOW / bound.value) if row["granted"] < 1 else 0.0
            share = Share(bound.value, int(row["granted"]), int(row["tokens"]), now + KEPT_SECONDS, empty)
            self._shares[place] = share
            return share

    @staticmethod
    def _good(share: Share | None, bound: Bound) -> bool:
        if share is None or share.value != bound.value:
            return False
        now = time.monotonic()
        return (share.tokens > 0 and share.until > now) or share.empty_until > now

    @staticmethod
    def _refused(bound: Bound, share: Share) -> RateReached:
        problem = refusal(rules.known(RATE), bound, bound.value, _wait(share))
        assert isinstance(problem, RateReached)
        return problem


def _wait(share: Share) -> int:
    return max(1, math.ceil(share.empty_until - time.monotonic()))


def _key(scope: Scope, workspace_id: str, member_id: str) -> str:
    if scope == "tenant":
        return f"{RATE}/tenant//"
    if scope == "workspace":
        return f"{RATE}/workspace/{workspace_id}/"
    return f"{RATE}/member/{workspace_id}/{member_id}"


def headers(shown: Sequence[Shown]) -> list[tuple[bytes, bytes]]:
    """`RateLimit-Policy` names every bound, `RateLimit` the one that is nearest (IETF draft-ietf-httpapi-ratelimit-headers)."""
    if not shown:
        return []
    nearest = min(shown, key=lambda one: one.remaining / one.limit)
    policies = ", ".join(f'"{one.scope}";q={one.limit};w={WINDOW}' for one in shown)
    state = f'"{nearest.scope}";r={max(0, nearest.remaining)};t={nearest.reset}'
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", state.encode())]


def refused_headers(problem: RateReached) -> list[tuple[bytes, bytes]]:
    """The same of a refusal."""
    return headers([Shown(problem.extra["scope"], problem.extra["limit"], 0)])
