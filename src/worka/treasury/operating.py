"""What the operator does to the treasury of the whole deployment: seals it, and rotates the master key."""

from __future__ import annotations

from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.treasury import actions, events, store, values
from worka.treasury.ring import Ring
from worka.treasury.service import Row

BATCH = 50
"""Tenants whose keys are wrapped anew by one request."""


def _platform(ctx: Context) -> Context:
    """The same request outside of every tenant, where the operator's rights are."""
    platform = ctx.acting(ctx.principal)
    platform.tenant_id, platform.workspace_id = None, None
    return platform


async def _require(platform: Context) -> None:
    await platform.require(actions.TREASURY_OPERATE, Resource("tenant", "deployment", None))


async def status(ctx: Context) -> Row:
    """{sealed, why, by, at, master_key_id, next_master_key_id, under, left, tenants}: for the operator. Raises Denied."""
    platform = _platform(ctx)
    async with platform.transaction():
        await _require(platform)
        return await _status(platform)


async def _status(platform: Context) -> Row:
    ring = values.sealer_of(platform).ring
    seal = await store.sealed(platform.conn)
    following = ring.following()
    return {
        "sealed": bool(seal and seal["sealed"]),
        "why": seal["why"] if seal else "",
        "by": (seal["by_name"] or seal["by_whom"]) if seal else "",
        "at": seal["at"] if seal else None,
        "master_key_id": ring.current.id,
        "next_master_key_id": following.id if following else None,
        **await _counts(platform.conn, ring),
    }


async def _counts(conn: Connection, ring: Ring) -> Row:
    """`under`: keys under the newest master key; `left`: under others that lie here; `lost`: under none that lies here."""
    newest, known = ring.newest().id, set(ring.ids())
    found = {"under": 0, "left": 0, "lost": 0, "tenants": 0}
    for row in await store.keys_by_master(conn):
        what = "under" if row["master"] == newest else "left" if row["master"] in known else "lost"
        found[what] += row["keys"]
        found["tenants"] += row["tenants"]
    return found


async def seal(ctx: Context, sealed: bool, why: str) -> Row:
    """Seals or unseals the treasury: from this commit on in every process, no value leaves it (or leaves it again). Raises
    Denied."""
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await _require(platform)
        await store.set_seal(conn, sealed, why, platform.principal.id, platform.principal.name)
        platform.record(events.sealed(sealed, why))
        platform.failpoint("treasury.sealed.before_commit")
        return await _status(platform)


async def rotate_master(ctx: Context, most: int = BATCH) -> Row:
    """A step of the rotation of the master key: makes the next one where none is under way, wraps the keys of up to `most`
    tenants under it, each tenant in a commit of its own, and with the last of them puts it in force. Asked again until it is
    finished; what died in between goes on where it was. A key whose master key is lost is passed over, and counted.
    {…, done, finished, root}: `root` is what an operator whose key comes from a setting puts behind it. Raises Denied,
    NextKeyMissing."""
    platform = _platform(ctx)
    async with platform.transaction():
        await _require(platform)
    ring = values.sealer_of(ctx).ring
    following = ring.begin()
    async with ctx.db.transaction(None) as conn:
        older = [key_id for key_id in ring.ids() if key_id != following.id]
        tenants = await store.tenants_under(conn, older, most)
    for tenant_id in tenants:
        await _rewrap(platform, tenant_id, older)
    root, finished = "", False
    async with platform.transaction() as conn:
        counts = await _counts(conn, ring)
        if not counts["left"]:
            before = ring.current.id
            platform.record(events.master_rotated(before, following.id, counts["tenants"]))
            platform.failpoint("treasury.master_rotated.after_commit")
            finished = True
    if finished and ring.following() is not None:
        root = ring.finish()
    async with platform.transaction():
        return {**await _status(platform), "done": len(tenants), "finished": finished, "root": root}


async def _rewrap(platform: Context, tenant_id: str, older: list[str]) -> None:
    inside = platform.acting(platform.principal, tenant_id=tenant_id)
    inside.tx = None
    ring = values.sealer_of(platform).ring
    following = ring.newest()
    async with inside.transaction() as conn:
        for row in await store.tenant_keys(conn, tenant_id):
            if row["destroyed_at"] is not None or row["master_key_id"] not in older:
                continue
            which: tuple[str, str, int] = (tenant_id, row["purpose"], row["version"])
            key = ring.by_id(row["master_key_id"]).unwrap(*which, bytes(row["wrapped"]))
            await store.rewrap(conn, *which, following.wrap(*which, key), following.id)
        inside.record(events.rewrapped(tenant_id, following.id))
        inside.failpoint("treasury.rewrapped.before_commit")


__all__ = ["rotate_master", "seal", "status"]
