"""Why a connection is as it is, and who acts next."""

from __future__ import annotations

from typing import Any

from worka.approvals.explain import waiting_on
from worka.connections import service, store
from worka.kernel.context import Context
from worka.kernel.explanation import Evidence, Explanation, NextAction, WaitingOn

_SENTENCES = {
    "connection_in_service": "is active: packs to which its secret is granted may use it",
    "connection_rejected": "was refused by somebody who may decide",
    "connection_not_decided": "was not decided in time, or the request was taken back",
    "connection_superseded": "was approved, but policy, rights or the secret had changed by then",
    "connection_removed": "was removed; the grants behind it ended with it",
    "connection_secret_revoked": "is broken: the secret behind it was revoked",
    "credential_expired": "has expired: the credential behind it is past its time",
}


async def explain(ctx: Context, connection_id: str) -> Explanation:
    """The Explanation of a connection for this reader. Raises ConnectionNotFound."""
    async with ctx.transaction() as conn:
        row = await service.get(ctx, connection_id)
        stuck = await store.waiting_attachments(conn, row["workspace_id"]) if row["state"] != "active" else []
        wait = await waiting_on(ctx, row["approval_id"]) if row["state"] == "awaiting_approval" else None
    name = f"Connection {row['name']} ({row['provider']} at {row['host']}:{row['port']})"
    if wait is not None:
        headline = f"{name} waits for an approval by {', '.join(wait.who)}."
    else:
        headline = f"{name} {_SENTENCES.get(row['reason'], 'is ' + row['state'])}."
    evidence = [
        Evidence(kind="attachment", ref=item["id"], label=f"{item['pack']} waits for a connection") for item in stuck
    ]
    if row["approval_id"]:
        evidence.append(Evidence(kind="approval", ref=row["approval_id"], label="the decision on it"))
    if row["secret_id"]:
        evidence.append(Evidence(kind="secret", ref=row["secret_id"], label=f"backed by {row['secret']}"))
    return Explanation(
        subject=connection_id,
        headline=headline,
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer="approval" if row["state"] in ("awaiting_approval", "rejected") else "connection",
        timing="before_start" if row["state"] == "awaiting_approval" else "during",
        waiting_on=[wait] if wait is not None else [],
        evidence=evidence,
        next=_next(row, wait),
    )


def _next(row: dict[str, Any], wait: WaitingOn | None) -> list[NextAction]:
    if wait is not None:
        return [
            NextAction(
                label="Decide it",
                command=f"worka approval approve {row['approval_id']}",
                permission="approve",
                allowed=wait.you_can,
                because=wait.because,
            )
        ]
    if row["state"] == "active":
        return [
            NextAction(label="End it", command=f"worka connection remove {row['id']}", permission="manage_connections")
        ]
    if row["state"] == "expired":
        return [
            NextAction(
                label="Give the secret a new value",
                command=f"worka secret rotate {row['secret_id']}",
                permission="manage_connections",
            )
        ]
    return [NextAction(label="Connect it again", command="worka connection create", permission="manage_connections")]
