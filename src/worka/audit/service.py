"""Use cases of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import IO, Any, TypeVar

from worka.audit import actions, checkpoints, events, export, ledger, sign, store
from worka.audit.errors import SealBroken
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.paths import Paths

Found = TypeVar("Found")
_PATIENCE = (
    2.0  # seconds an export waits for the seal of what has just happened; it never waits for a sealer that is down
)


async def export_ledger(ctx: Context, workspace_id: str) -> IO[bytes]:
    """The workspace's ledger as a tar file with its own verifier. Raises Denied, SealKeyUnreadable,
    SealBroken."""
    assert ctx.tenant_id is not None
    paths = Paths(ctx.settings.home)
    files = checkpoints.Store(paths.checkpoints)
    async with ctx.transaction() as conn:
        await ctx.require(actions.AUDIT_EXPORT, Resource("workspace", workspace_id, workspace_id))
        key = sign.ensure_key(paths.keys)
        ctx.record(events.exported(workspace_id))
        await store.wake_sealer(conn)
    await _sealed(ctx, files)
    seals = await asyncio.to_thread(_read, lambda: files.newest(export.SEALS))
    async with ctx.transaction() as conn:
        return await export.build(conn, ctx.tenant_id, workspace_id, seals, key, now())


async def _sealed(ctx: Context, files: checkpoints.Store) -> None:
    """Waits, not for long, until the last checkpoint holds what the tenant's heads are now."""
    async with ctx.transaction() as conn:
        heads = await store.own_heads(conn)
    until = asyncio.get_running_loop().time() + _PATIENCE
    while asyncio.get_running_loop().time() < until:
        seal = await asyncio.to_thread(_read, files.latest)
        known = seal.vector.get(ctx.tenant_id or "", {}) if seal else {}
        if all(known.get(lane, (0, ""))[0] >= seq for lane, (seq, _) in heads.items()):
            return
        await asyncio.sleep(0.05)


def _read(look: Callable[[], Found]) -> Found:
    """What a look at the checkpoints finds. Raises SealBroken for a file that cannot be read, or is none."""
    try:
        return look()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SealBroken(f"A checkpoint cannot be read: {type(error).__name__}.") from error


async def verify(ctx: Context, workspace_id: str) -> dict[str, Any]:
    """Verifies the tenant's ledger with every MAC; see `ledger.verify`. Raises Denied."""
    assert ctx.tenant_id is not None
    await ctx.require(actions.AUDIT_VERIFY, Resource("workspace", workspace_id, workspace_id))
    result = await ledger.verify(ctx, [ctx.tenant_id])
    async with ctx.transaction():
        ctx.record(events.verified(workspace_id, result["ok"], result["rows"], result["problems"]))
    return {**result, "tenant": ctx.tenant_id, "workspace": workspace_id}


async def verify_platform(ctx: Context) -> dict[str, Any]:
    """Verifies everyone's ledger and requires a head for every tenant; tells places, never contents. Raises Denied."""
    await ctx.require(actions.AUDIT_VERIFY_PLATFORM, Resource("tenant", "*"))
    return await ledger.verify(ctx)
