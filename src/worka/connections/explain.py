"""Why a connection is as it is, and who acts next."""

from __future__ import annotations

from typing import Any, Final

from worka.approvals.explain import waiting_on
from worka.authorization.explain import offer
from worka.connections import actions, service, store
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation, NextAction, Timing, WaitingOn
from worka.workspaces.explain import changed_just_before

_SENTENCES: Final = {
    "connection_in_service": "is active: packs to which its secret is granted may use it",
    "connection_rejected": "was refused by somebody who may decide",
    "connection_not_decided": "was not decided in time, or the request was taken back",
    "connection_superseded": "was approved, but policy, rights or the secret had changed by then",
    "connection_removed": "was removed; the grants behind it ended with it",
    "connection_secret_revoked": "is broken: the secret behind it was revoked",
    "credential_expired": "has expired: the credential behind it is past its time",
}
_TIMING: Final[dict[str, Timing]] = {
    "awaiting_approval": "before_start",
    "rejected": "before_start",
    "active": "during",
    "expired": "after_completion",
    "broken": "after_completion",
    "revoked": "after_completion",
}


async def explain(ctx: Context, connection_id: str) -> Explanation:
    """The Explanation of a connection for this reader. Raises ConnectionNotFound."""
    async with ctx.transaction() as conn:
        row = await service.get(ctx, connection_id)
        stuck = await store.waiting_attachments(conn, row["workspace_id"]) if row["state"] != "active" else []
        wait = await waiting_on(ctx, row["approval_id"]) if row["state"] == "awaiting_approval" else None
        changes = await changed_just_before(
            conn, row["workspace_id"], row["since"], connection_id, row["approval_id"] or ""
        )
        following = await _next(ctx, row, wait)
    name = f"Connection {row['name']} ({row['provider']} at {row['host']}:{row['port']})"
    if wait is not None:
        headline = f"{name} waits for an approval by {' or '.join(wait.who)}."
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
        timing=_TIMING[row["state"]],
        waiting_on=[wait] if wait is not None else [],
        changed_just_before=changes,
        evidence=evidence,
        next=following,
        observed_at=row["since"],
    )


async def _next(ctx: Context, row: dict[str, Any], wait: WaitingOn | None) -> list[NextAction]:
    resource = Resource("connection", row["id"], row["workspace_id"])
    if wait is not None:
        return [
            NextAction(
                label="Decide it",
                command=f"worka approvals approve {wait.ref}",
                permission="approve",
                allowed=wait.you_can,
                because=wait.because,
            )
        ]
    if row["state"] == "active":
        return [await offer(ctx, "End it", f"DELETE /v1/connections/{row['id']}", actions.CONNECTION_REMOVE, resource)]
    return [
        await offer(
            ctx,
            "Connect it again, with a credential that is good",
            f"POST /v1/workspaces/{row['workspace_id']}/connections",
            actions.CONNECTION_CREATE,
            Resource("connection", "new", row["workspace_id"]),
        )
    ]
