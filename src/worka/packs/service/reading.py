"""Reading what is there, for those who may: whoever may not see a thing is told that there is no such thing."""

from __future__ import annotations

from typing import Any

from worka.broker import service as outside
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.packs import actions, store
from worka.packs.errors import AttachmentNotFound, InvocationNotFound, ReleaseNotFound
from worka.packs.road import shown_state

Row = dict[str, Any]


async def release(ctx: Context, release_id: str) -> Row:
    """A release, seen from the caller's workspace (a release serves its whole tenant). Raises ReleaseNotFound."""
    async with ctx.transaction() as conn:
        row = await store.release(conn, release_id)
    if row is not None:
        pack = f"{row['publisher']}.{row['name']}"
        for workspace in dict.fromkeys([ctx.workspace_id or row["workspace_id"], row["workspace_id"]]):
            decision = await ctx.decide(actions.VIEW.name, Resource("pack", pack, workspace, {"pack": pack}))
            if decision.verdict != "deny":
                return row
    raise ReleaseNotFound(f"There is no release {release_id}.")


async def attachment(ctx: Context, attachment_id: str) -> Row:
    """An attachment. Raises AttachmentNotFound."""
    async with ctx.transaction() as conn:
        row = await store.attachment(conn, attachment_id)
    if row is not None:
        decision = await ctx.decide(
            actions.VIEW.name, Resource("pack", row["pack"], row["workspace_id"], {"pack": row["pack"]})
        )
        if decision.verdict != "deny":
            return row
    raise AttachmentNotFound(f"There is no attachment {attachment_id}.")


async def as_shown(ctx: Context, rows: list[Row]) -> list[Row]:
    """The invocations with the state that people are told: a running one that nobody waits for any more is stalled."""
    running = [row["id"] for row in rows if row["state"] == "running"]
    if not running:
        return rows
    async with ctx.transaction() as conn:
        carriers = await store.carriers(conn, running)
    at, patience = now(), ctx.settings.packs.call_timeout_seconds
    shown = [shown_state(row, carriers.get(row["id"]), patience, at) for row in rows]
    return [{**row, "state": state, "reason": reason} for row, (state, reason) in zip(rows, shown, strict=True)]


async def invocation(ctx: Context, invocation_id: str) -> Row:
    """An invocation, without its result. Raises InvocationNotFound."""
    async with ctx.transaction() as conn:
        row = await store.invocation(conn, invocation_id)
    if row is not None:
        resource = Resource(
            "invocation", invocation_id, row["workspace_id"], {"tool": row["tool"], "pack": row["pack"]}
        )
        decision = await ctx.decide(actions.INVOCATION_VIEW.name, resource)
        if decision.verdict != "deny":
            return row
    raise InvocationNotFound(f"There is no invocation {invocation_id}.")


async def log(ctx: Context, invocation_id: str) -> Row:
    """{invocation_id, state, reason, message, isolation, stderr_tail, stray_stdout, broker}: the raw words of a call. Raises
    InvocationNotFound, Denied."""
    row = await invocation(ctx, invocation_id)
    lines = await outside.call_log(ctx, row["workspace_id"], invocation_id)
    kept = ("state", "reason", "message", "isolation", "stderr_tail", "stray_stdout")
    return {"invocation_id": invocation_id, **{key: row[key] for key in kept}, "broker": lines}
