"""Streams of what was committed in a workspace, as server-sent events: its events, or another feed of that shape."""

from __future__ import annotations

import asyncio
import json
import re
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from worka import authorization
from worka.authorization.layers import InForce
from worka.governance.facade import Authorizer
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource, Transaction
from worka.kernel.db import Connection, Database
from worka.kernel.errors import BadRequest, Problem
from worka.kernel.http import COMMIT
from worka.observability.actions import OBSERVE
from worka.observability.service import change
from worka.realtime import store
from worka.realtime.hub import hub_of

PAGE = 200
CHECK_SECONDS = 0.5
"""How often a stream looks: is the reader still allowed, was an announcement lost."""
SILENCE_SECONDS = 15.0
"""After this long without an event a comment is sent, so that dead connections are noticed."""


SHARED_SECONDS = 0.2
"""How old what is in force may be when a reader looks: with the next look after a change a stream ends within a second."""
MOST_PLACES = 10_000
_held: weakref.WeakKeyDictionary[Database, dict[tuple[str | None, str | None], tuple[float, InForce]]] = (
    weakref.WeakKeyDictionary()
)


class BadEventId(BadRequest):
    """The Last-Event-ID is not one of ours."""

    code, title = "bad_last_event_id", "The Last-Event-ID cannot be read"
    default_remedy = "Send back the id of the last event as it was, or none to begin now."


def cursor(last_event_id: str | None) -> tuple[str, int] | None:
    """(xid, id) of a Last-Event-ID; None stays None. Raises BadEventId."""
    if not last_event_id:
        return None
    if not re.fullmatch(COMMIT, last_event_id.strip()):
        raise BadEventId("It is not an id that this stream gave out.")
    xid, _, row = last_event_id.strip().partition("-")
    return xid, int(row)


@dataclass(frozen=True)
class Feed:
    """What a stream is of: who may read it, the rows after a place in the order of commits, whether some wait for an older
    transaction, the place of a row, and the row as a frame."""

    action: str
    rows: Callable[[Connection, str, tuple[str, int]], Awaitable[list[dict[str, Any]]]]
    waiting: Callable[[Connection, str, tuple[str, int]], Awaitable[bool]]
    place: Callable[[dict[str, Any]], tuple[str, int]]
    frame: Callable[[dict[str, Any]], bytes]


async def begin(
    ctx: Context, last_event_id: str | None, after: str | None = None, action: str = OBSERVE.name
) -> tuple[str, int]:
    """Checks the right and fixes where the stream begins: after the given id (`last_event_id` before `after`), else now. Raises
    Denied, BadEventId."""
    assert ctx.workspace_id is not None
    last, first = cursor(last_event_id), cursor(after)
    given = last or first
    async with ctx.transaction() as conn:
        await ctx.require(action, Resource("workspace", ctx.workspace_id, ctx.workspace_id))
        return given or await store.newest(conn)


async def stream(db: Database, ctx: Context, after: tuple[str, int], feed: Feed | None = None) -> AsyncIterator[bytes]:
    """Yields frames of a feed (the workspace's events) from `after` (see `begin`) until the reader leaves or loses its right; never raises for a
    database that is away (it says so in a comment and goes on)."""
    tenant_id, workspace_id = ctx.tenant_id, ctx.workspace_id
    assert tenant_id is not None
    assert workspace_id is not None
    hub = hub_of(db)
    wake = hub.join(tenant_id)
    spoke = checked = asyncio.get_running_loop().time()
    feed = feed or EVENTS
    sight = Sight(db, ctx, feed.action)
    yield f": from {after[0]}-{after[1]}\nretry: 1000\n\n".encode()
    try:
        while True:
            wake.clear()
            waiting = False
            try:
                async with db.transaction(tenant_id) as conn:
                    clock = asyncio.get_running_loop().time()
                    if clock - checked >= CHECK_SECONDS:
                        checked = clock
                        if not await sight.still(conn, clock):
                            yield b'event: bye\ndata: {"reason": "no_longer_allowed"}\n\n'
                            return
                    rows = await feed.rows(conn, workspace_id, after)
                    if not rows:
                        waiting = await feed.waiting(conn, workspace_id, after)
            except Problem as problem:
                yield f": {problem.problem_code}\n\n".encode()
                await asyncio.sleep(CHECK_SECONDS)
                continue
            for row in rows:
                after = feed.place(row)
                yield feed.frame(row)
            if rows:
                spoke = asyncio.get_running_loop().time()
                continue
            if asyncio.get_running_loop().time() - spoke >= SILENCE_SECONDS:
                spoke = asyncio.get_running_loop().time()
                yield f": alive {now().isoformat()}\n\n".encode()
            try:
                # Not past the next check, however often an announcement wakes us in between.
                left = max(checked + CHECK_SECONDS - asyncio.get_running_loop().time(), 0.0)
                async with asyncio.timeout(0.02 if waiting else left):
                    await wake.wait()
            except TimeoutError:
                pass
    finally:
        hub.leave(tenant_id, wake)


class Sight:
    """Whether a reader may still read: its membership and credential at each look, and the façade's word whenever its role,
    a policy or a kill switch is another than at the last one. Thousands of readers look twice a second."""

    def __init__(self, db: Database, ctx: Context, action: str) -> None:
        self.ctx, self.action = ctx, action
        self.holds = _held.setdefault(db, {})
        self.allowed_with: tuple[str, InForce] | None = None

    async def still(self, conn: Connection, clock: float) -> bool:
        """In an open transaction of the tenant; `clock` is the loop's."""
        ctx = self.ctx
        assert ctx.workspace_id is not None
        role = await store.may_still_read(
            conn, ctx.workspace_id, ctx.principal.kind, ctx.principal.id, ctx.credential_id
        )
        if role is None:
            return False
        now_with = (role, await self._in_force(conn, clock))
        if now_with == self.allowed_with:
            return True
        asked = replace(ctx, tx=Transaction(conn))
        place = Resource("workspace", ctx.workspace_id, ctx.workspace_id)
        assert isinstance(ctx.authorizer, Authorizer)
        found = await ctx.authorizer.ask(asked, self.action, place, {}, asked_by=ctx.principal.id, keep=False)
        self.allowed_with = now_with
        return found.decision.verdict == "allow"

    async def _in_force(self, conn: Connection, clock: float) -> InForce:
        """What is in force in the workspace; read once for all who look at the same moment."""
        key = (self.ctx.tenant_id, self.ctx.workspace_id)
        kept = self.holds.get(key)
        if kept is not None and clock - kept[0] <= SHARED_SECONDS:
            return kept[1]
        found = await authorization.store.in_force(conn, self.ctx.workspace_id)
        if len(self.holds) > MOST_PLACES:
            self.holds.clear()
        self.holds[key] = (clock, found)
        return found


def frame(row: dict[str, Any]) -> bytes:
    """One event: `id` is its place in the order of commits, `event` its type, `data` the change as JSON on one line."""
    body = json.dumps(change(row), ensure_ascii=False, default=_plain)
    return f"id: {row['xid']}-{row['id']}\nevent: {row['type']}\ndata: {body}\n\n".encode()


EVENTS = Feed(
    OBSERVE.name,
    lambda conn, workspace_id, after: store.after(conn, workspace_id, *after, PAGE),
    lambda conn, workspace_id, after: store.held_back(conn, workspace_id, *after),
    lambda row: (row["xid"], row["id"]),
    frame,
)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
