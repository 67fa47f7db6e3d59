"""Why a connection is as it is."""

from __future__ import annotations

from worka.approvals import explain as approvals
from worka.connections import service
from worka.kernel import reasons
from worka.kernel.context import Context
from worka.kernel.explanation import Evidence, Explanation, NextAction

_HEADLINES = {
    "awaiting_approval": "{name} is not connected yet: it waits for an approval",
    "active": "{name} is connected to {host}",
    "expired": "The credential of {name} has expired",
    "broken": "{host} no longer takes the credential of {name}",
    "rejected": "{name} was not connected: consent was refused",
    "revoked": "{name} was removed",
}


async def explain(ctx: Context, connection_id: str) -> Explanation:
    """The explanation for this reader. Raises ConnectionNotFound."""
    async with ctx.transaction():
        row = await service.show(ctx, connection_id)
        wait = await approvals.waiting_on(ctx, row["approval_id"]) if row["approval_id"] and row["state"] == "awaiting_approval" else None
    reason = reasons.get(row["reason"])
    evidence = [Evidence(kind="approval", ref=row["approval_id"])] if row["approval_id"] else []
    following = []
    if wait is not None:
        following.append(
            NextAction(
                label="Decide the approval",
                command=f"worka approvals approve {wait.ref}",
                permission="approve",
                allowed=wait.you_can,
                because=wait.because,
            )
        )
    return Explanation(
        subject=row["id"],
        headline=_HEADLINES[row["state"]].format(**row),
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer=reason.layer if reason else "connection",
        timing="before_start" if row["state"] == "awaiting_approval" else "during",
        waiting_on=[wait] if wait else [],
        evidence=evidence,
        next=following,
    )
