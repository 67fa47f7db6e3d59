"""How much of the machine packs may share: a limit like the others, so that a tenant or a workspace can require isolation.

As a number, because a layer may only tighten what is above it: 0 nothing (a kernel of its own), 1 the kernel, 2 the kernel
and a user. What is required goes to the launcher with each start, which refuses what it cannot give; nothing is downgraded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.packs import store
from worka.packs.sandbox.tiers import TIERS, Tier, allowed
from worka.workspaces import store as settings_store
from worka.workspaces.limits import rules as limit_rules

Row = dict[str, Any]
_HOURS = 24


async def _shared(conn: Connection) -> limit_rules.Use:
    """The most that a call of the last day shared. Not a sum: two packs that share the kernel share one."""
    found: dict[str, int] = {}
    for row in await store.exposures(conn, _HOURS):
        if row["tier"] in TIERS:
            found[row["workspace_id"]] = max(found.get(row["workspace_id"], 0), TIERS.index(row["tier"]))
    return limit_rules.Use(max(found.values(), default=0), found)


limit_rules.add(
    limit_rules.Limit(
        store.EXPOSURE,
        "shared with packs (0 nothing, 1 the kernel, 2 the kernel and a user)",
        ("tenant", "workspace"),
        0,
        "A pack that would share more is not started (isolation_too_weak).",
        _shared,
    )
)


def required(settings: Iterable[Row], workspace_id: str) -> Tier:
    """The tier that these settings require in a workspace: the tightest over both scopes. Pure."""
    bounds = limit_rules.holding(settings, store.EXPOSURE, workspace_id, "")
    return allowed(min((bound.value for bound in bounds.values()), default=len(TIERS)))


async def required_of(ctx: Context, workspace_id: str) -> Tier:
    """The same, of a workspace without an attachment at hand. Joins or opens a transaction."""
    async with ctx.transaction() as conn:
        return required(await settings_store.bounds_of(conn, store.EXPOSURE, workspace_id, ""), workspace_id)
