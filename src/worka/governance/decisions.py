"""Recorded decisions: listed for their two readers, and evaluated again with the policy of their day."""

from __future__ import annotations

from typing import Any

from worka.governance import actions as names
from worka.governance import service, store
from worka.governance.errors import DecisionNotFound
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource

Row = dict[str, Any]
_CONCERNED = (
    "id",
    "at",
    "verdict",
    "layer",
    "action",
    "resource_type",
    "reasons",
    "approval_rules",
    "remedy",
    "trace_id",
)
_EVIDENCE = (
    *_CONCERNED,
    "workspace_id",
    "principal_kind",
    "principal_id",
    "originating_person",
    "resource_id",
    "rules",
    "access_version",
    "governance_version",
    "asked_by",
)


async def listing(
    ctx: Context,
    workspace_id: str,
    *,
    verdict: str | None,
    action: str | None,
    principal: str | None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """The workspace's decisions, newest first, up to limit + 1. Who reads evidence sees all of them; everybody else those
    that concern them, with what the one concerned is told. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require("access.view", Resource("workspace", workspace_id, workspace_id))
        reads = await service.reads_evidence(ctx, "*", workspace_id)
        rows = await store.decisions(
            conn,
            workspace_id,
            verdict=verdict,
            action=action,
            principal=principal,
            concerns=None if reads else ctx.principal.id,
            after=after,
            limit=limit + 1,
        )
    keys = _EVIDENCE if reads else _CONCERNED
    return [{**{key: row[key] for key in keys}, "reader": "evidence" if reads else "concerned"} for row in rows]


async def replayed(ctx: Context, decision_id: str) -> Row:
    """A recorded decision beside what the policy of its day says of the recorded inputs, here and now, in this process.
    What cannot be reconstructed names what is missing. Raises DecisionNotFound, Denied."""
    async with ctx.transaction() as conn:
        row = await store.decision(conn, decision_id)
        if row is None:
            raise DecisionNotFound(f"{decision_id} is not a decision about you, or one that you may read.")
        if not await service.reads_evidence(ctx, decision_id, row["workspace_id"]):
            if not service.concerns(ctx, row):
                raise DecisionNotFound(f"{decision_id} is not a decision about you, or one that you may read.")
            # One's own may be read, not its rules.
            await ctx.require(names.DECISION_VIEW, Resource("decision", decision_id, row["workspace_id"]))
        found = await service.replay(conn, row)
    recorded = ("verdict", "layer", "rules", "reasons", "at", "access_version", "governance_version")
    return {
        "id": decision_id,
        "action": row["action"],
        "recorded": {key: row[key] for key in recorded},
        "same": bool(found.get("same")),
        "verdict": found.get("verdict"),
        "rules": found.get("rules", []),
        "reasons": found.get("reasons", []),
        "could_not_reconstruct": found.get("could_not_reconstruct"),
        "replayed_at": now(),
    }
