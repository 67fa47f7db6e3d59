"""Why a secret can, or cannot, be used."""

from __future__ import annotations

from worka.kernel.context import Context
from worka.kernel.explanation import Evidence, Explanation, NextAction
from worka.treasury import service, store

_STEPS = {"active": "is ready", "rotating": "is being rotated", "revoked": "is revoked", "destroyed": "is destroyed"}


async def explain(ctx: Context, secret_id: str) -> Explanation:
    """The Explanation of a secret for this reader. Raises SecretNotFound."""
    async with ctx.transaction() as conn:
        found = await service.get(ctx, secret_id)
        last = await store.last_lease(conn, secret_id)
    grants = found["grants"]
    told = f"{len(grants)} grant{'s' if len(grants) != 1 else ''}" if grants else "nobody may use it: it has no grant"
    headline = f"Secret {found['name']} {_STEPS[found['state']]}"
    if found["state"] in ("active", "rotating"):
        headline += f"; {told}"
    following = [
        NextAction(
            label="Grant it to an attachment for one endpoint",
            command=f"worka secret grant {secret_id} ATTACHMENT HOST:PORT",
            permission="manage_connections",
        )
    ]
    if found["state"] == "revoked":
        following = [
            NextAction(
                label="Put the new credential into the treasury",
                command="worka secret create NAME --value-file FILE",
                permission="manage_connections",
            )
        ]
    evidence = [Evidence(kind="connection", ref=row["id"], label=row["name"]) for row in found["connections"]]
    evidence += [
        Evidence(kind="grant", ref=row["id"], label=f"{row['pack']} at {row['endpoint']}") for row in grants[:10]
    ]
    if last is not None:
        evidence.append(Evidence(kind="lease", ref=last["id"], label=f"last leased for {last['endpoint']}"))
    return Explanation(
        subject=secret_id,
        headline=headline + ".",
        state=found["state"],
        reason=found["reason"] or "secret_ready",
        since=found["rotated_at"] or found["created_at"],
        layer="connection",
        evidence=evidence,
        next=following,
    )
