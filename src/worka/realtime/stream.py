"""The stream of a workspace's committed events, as server-sent events."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.db import Database
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


async def begin(ctx: Context, last_event_id: str | None, after: str | None = None) -> tuple[str, int]:
    """Checks the right and fixes where the stream begins: after the given id (`last_event_id` before `after`), else now. Raises
    Denied, BadEventId."""
    assert ctx.workspace_id is not None
    last, first = cursor(last_event_id), cursor(after)
    given = last or first
    async with ctx.transaction() as conn:
        await ctx.require(OBSERVE.name, Resource("workspace", ctx.workspace_id, ctx.workspace_id))
        return given or await store.newest(conn)


async def stream(db: Database, ctx: Context, after: tuple[str, int]) -> AsyncIterator[bytes]:
    """Yields event frames from `after` (see `begin`) until the reader leaves or loses its right; never raises for a
    database that is away (it says so in a comment and goes on)."""
    tenant_id, workspace_id = ctx.tenant_id, ctx.workspace_id
    assert tenant_id is not None
    assert workspace_id is not None
    hub = hub_of(db)
    wake = hub.join(tenant_id)
    spoke = checked = asyncio.get_running_loop().time()
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
                        if not await _may(conn, ctx):
                            yield b'event: bye\ndata: {"reason": "no_longer_allowed"}\n\n'
                            return
                    rows = await store.after(conn, workspace_id, *after, PAGE)
                    if not rows:
                        waiting = await store.held_back(conn, workspace_id, *after)
            except Problem as problem:
                yield f": {problem.problem_code}\n\n".encode()
                await asyncio.sleep(CHECK_SECONDS)
                continue
            for row in rows:
                after = (row["xid"], row["id"])
                yield frame(row)
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


async def _may(conn: Any, ctx: Context) -> bool:
    assert ctx.workspace_id is not None
    return await store.may_still_read(conn, ctx.workspace_id, ctx.principal.kind, ctx.principal.id, ctx.credential_id)


def frame(row: dict[str, Any]) -> bytes:
    """One event: `id` is its place in the order of commits, `event` its type, `data` the change as JSON on one line."""
    body = json.dumps(change(row), ensure_ascii=False, default=_plain)
    return f"id: {row['xid']}-{row['id']}\nevent: {row['type']}\ndata: {body}\n\n".encode()


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
