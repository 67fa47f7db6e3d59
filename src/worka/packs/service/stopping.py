"""The end of what computes: sandboxes of a release that was revoked, and calls that a kill switch stops (RUN-3, GOV-15).

Whoever revokes ends them right after the commit, and a job that was enqueued in the commit does the same, so that a crash in
between leaves nothing. A kill switch is set where nobody knows of sandboxes: its job alone does it, at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from worka.governance import kills
from worka.governance import store as governance_rows
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.packs import events
from worka.packs import store as packs
from worka.packs.lifecycle import store
from worka.packs.service import hosting

Row = dict[str, Any]
log = logging.getLogger("worka.packs")
JOB_SECONDS = 900.0
"""How long the worker goes on: longer than a host takes to come back."""
SETTLE_SECONDS = 1.0
"""A call that was allowed just before a kill switch was set has its row by then."""
COMPUTES = ("release", "member", "workspace", "tenant")
"""Kinds of kill switches that end what computes. Without a secret or a destination it may go on: the broker refuses it these."""


async def renew(ctx: Context, withdrawal: Row, said: str) -> bool:
    """Ends what was started of the releases that this withdrawal revoked, before it did: they serve on in new sessions. `said`
    is what their calls are told. False where the host did not do it: the job goes on. No transaction may be open."""
    if ctx.undone or ctx.tx is not None:
        return True
    revoked = [item["id"] for item in withdrawal["receipt"]["releases"] if item["after"] == "revoked"]
    because = {"reason": "ended_by_revocation", "message": said, "remedy": "Call again."}
    done = await asyncio.gather(
        *(_asked(hosting.client(ctx).renew(release_id=key, because=because)) for key in revoked)
    )
    await told(ctx, withdrawal["id"], withdrawal["name"], withdrawal["workspace_id"], done)
    return None not in done


async def end_trials(ctx: Context, withdrawal: Row, said: str) -> bool:
    """Ends what tries a release that this withdrawal quarantined, for a move of an attachment that has another one. False
    where the host did not do it: the job goes on. A trial that begins later reads that the release is gone. No transaction
    may be open."""
    if ctx.undone or ctx.tx is not None:
        return True
    taken = [item["id"] for item in withdrawal["receipt"]["releases"] if item["after"] == "quarantined"]
    async with ctx.transaction() as conn:
        # What was given back since is tried again.
        found = [await packs.release(conn, key) for key in taken]
    gone = [row["id"] for row in found if row is not None and row["state"] == "quarantined"]
    because = {"reason": "release_quarantined", "message": said, "remedy": f"worka why {withdrawal['id']}"}
    client = hosting.client(ctx)
    done = await asyncio.gather(
        *(
            _asked(client.stop(tenant_id=withdrawal["tenant_id"], invocation_ids=[], release_id=key, workspace_id=None,
                               idle=True, because=because))
            for key in gone
        )
    )  # fmt: skip
    await told(ctx, withdrawal["id"], withdrawal["name"], withdrawal["workspace_id"], done)
    return None not in done


async def run_renewing(ctx: Context, withdrawal: Row, said: str) -> None:
    """By the worker: what a revocation renews and a quarantine ends beside the attachments' own calls, until it is done.
    Raises TimeoutError after `JOB_SECONDS`."""
    work = renew if withdrawal["act"] == "revoke" else end_trials
    until = asyncio.get_running_loop().time() + JOB_SECONDS
    while not await work(ctx, withdrawal, said):
        if asyncio.get_running_loop().time() > until:
            raise TimeoutError(f"sandboxes of {withdrawal['name']} may run on: the host does not answer")
        await asyncio.sleep(1)


async def kill_set(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a kill switch is set: the job that ends what it stops."""
    if payload["kind"] in COMPUTES:
        assert ctx.tenant_id is not None
        await store.enqueue_killing(ctx.conn, ctx.tenant_id, payload["kill_id"])


async def run_killing(ctx: Context, kill_id: str) -> None:
    """By the worker: ends the calls that a kill switch stops, with their sandboxes, and what is kept warm of a release or
    workspace. No call is begun any more, so it is done once none runs; or once it is lifted, on trial or for all. Raises
    TimeoutError after `JOB_SECONDS`."""
    loop = asyncio.get_running_loop()
    settled, until = loop.time() + SETTLE_SECONDS, loop.time() + JOB_SECONDS
    ended: list[Row | None] = []
    kill: Row | None = None
    try:
        while True:
            async with ctx.transaction() as conn:
                kill = await governance_rows.kill(conn, kill_id)
                if kill is None or kill["state"] != "on":
                    return
                calls = await governance_rows.stopped_calls(conn, kill["kind"], kill["subject"], kill["workspace_id"])
            ended.append(await _asked(_stop(ctx, kill, calls)))
            if ended[-1] is not None and not calls and loop.time() > settled:
                return
            if loop.time() > until:
                raise TimeoutError(f"{len(calls)} calls run still that {kill_id} stops")
            await asyncio.sleep(0.05 if calls else SETTLE_SECONDS / 2)
    finally:
        if kill is not None:
            name = f"kill switch on {kill['kind']} {kill['receipt'].get('name') or kill['subject']}"
            await told(ctx, kill_id, name, kill["workspace_id"], ended)


async def _stop(ctx: Context, kill: Row, calls: list[str]) -> Row:
    kind, subject = kill["kind"], kill["subject"]
    return await hosting.client(ctx).stop(
        tenant_id=kill["tenant_id"],
        invocation_ids=calls,
        release_id=subject if kind == "release" else None,
        workspace_id=subject if kind == "workspace" else kill["workspace_id"],
        idle=kind != "member",
        because={"reason": kills.REASON, "message": kills.said(kill), "remedy": kills.remedy(kill)},
    )


async def _asked(answer: Any) -> Row | None:
    """What the host ended: {dropped, calls}; None where it did not answer."""
    try:
        found: Row = await answer
    except Problem as problem:
        log.warning("the host ended nothing: %s", problem.problem_code)
        return None
    return found


async def told(ctx: Context, subject: str, name: str, workspace_id: str | None, ended: Iterable[Row | None]) -> None:
    """Records how many sandboxes were ended for a withdrawal or a kill switch, and which calls ended with them; nothing where
    there were none. In a transaction of its own: the request that it belongs to is committed."""
    found = [item for item in ended if item is not None]
    sessions = sum(item["dropped"] for item in found)
    calls = sorted({call for item in found for call in item["calls"]})
    if sessions or calls:
        alone = ctx.alone()
        async with alone.transaction():
            alone.record(events.sessions_ended(subject, name, workspace_id, sessions, calls))
