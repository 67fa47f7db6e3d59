"""Clones that nobody has any more: of an attachment that was detached, of one whose process died between the clone and the
commit, or of a move that ended otherwise. A copy of somebody's repository does not outlive what it was made for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worka.kernel.context import Context
from worka.kernel.ids import check
from worka.kernel.paths import Paths
from worka.packs import store as packs
from worka.packs.lifecycle import store
from worka.packs.moving import store as moves
from worka.packs.runtime import clone

Row = dict[str, Any]
SIGN = ".tenant"
"""The file in an attachment's folder that says whose it is: what was never committed, no table knows."""
AGE_SECONDS = 3600.0
"""Longer than any request that clones goes on."""


def sign(folder: Path, tenant_id: str) -> None:
    """Says whose clones lie in this folder. Blocking."""
    fresh = folder / f"{SIGN}~"
    fresh.write_text(tenant_id)
    fresh.chmod(0o600)
    fresh.rename(folder / SIGN)


async def of_withdrawal(ctx: Context, withdrawal_id: str) -> None:
    """After a detachment: its clones, whoever died before they were removed."""
    async with ctx.transaction() as conn:
        row = await store.withdrawal(conn, withdrawal_id)
        held = await packs.attachment(conn, row["subject"]) if row is not None and row["act"] == "detach" else None
    if held is not None and held["state"] == "detached":
        root = Paths(ctx.settings.home).clones
        await asyncio.to_thread(clone.remove, root, root / held["id"])


async def sweep(contexts: Callable[[str], Context], home: Path, *, age: float = AGE_SECONDS) -> int:
    """Removes what has lain there for so many seconds and belongs to nothing; how many folders. A folder that does not say
    whose it is belongs to the tenant of its attachment, and to nobody where there is none."""
    root, removed = Paths(home).clones, 0
    unsaid = await asyncio.to_thread(_older, root, age, signed=False)
    if unsaid:
        async with contexts("").db.transaction(None) as conn:
            held = await packs.attachments_held(conn, [folder.name for folder in unsaid])
        for folder in unsaid:
            if folder.name in held:
                await asyncio.to_thread(sign, folder, held[folder.name])
            else:
                await asyncio.to_thread(clone.remove, root, folder)
                removed += 1
    for folder in await asyncio.to_thread(_older, root, age, signed=True):
        tenant = (folder / SIGN).read_text()
        for path in await _unused(contexts(tenant), folder):
            await asyncio.to_thread(clone.remove, root, path)
            removed += 1
    return removed


def _older(root: Path, age: float, *, signed: bool) -> list[Path]:
    """Folders of attachments, with or without a sign, that are older than this."""
    found = []
    for folder in root.glob("att_*"):
        with contextlib.suppress(OSError):
            place = folder / SIGN
            dated = place if signed else folder
            if check(folder.name, "att") and place.exists() == signed and dated.stat().st_mtime < time.time() - age:
                found.append(folder)
    return found


async def _unused(ctx: Context, folder: Path) -> list[Path]:
    async with ctx.transaction() as conn:
        row = await packs.attachment(conn, folder.name)
        if row is None or row["state"] == "detached":
            return [folder]
        under_way = await moves.open_move(conn, row["id"])
    kept = {mount["clone"] for mount in [*row["mounts"], *(under_way["mounts"] if under_way else [])]}
    there = await asyncio.to_thread(lambda: [path for path in folder.iterdir() if path.is_dir()])
    return [path for path in there if str(path) not in kept]
