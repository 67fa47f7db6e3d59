"""Why a secret can, or cannot, be used."""

from __future__ import annotations

from worka.authorization.explain import offer
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation
from worka.treasury import actions, service, store
from worka.workspaces.explain import changed_just_before

_STEPS = {"active": "is ready", "rotating": "is being rotated", "revoked": "is revoked", "destroyed": "is destroyed"}


async def explain(ctx: Context, secret_id: str) -> Explanation:
    """The Explanation of a secret for this reader. Raises SecretNotFound."""
    async with ctx.transaction() as conn:
        found = await service.get(ctx, secret_id)
        row = await store.secret(conn, secret_id)
        assert row is not None
        last = await store.last_lease(conn, secret_id)
        changes = await changed_just_before(conn, row["workspace_id"], row["since"], secret_id)
        resource = Resource("secret", secret_id, row["workspace_id"], {"name": row["name"]})
        if found["state"] in ("active", "rotating"):
            following = [
                await offer(
                    ctx, "Grant it to an attachment for one endpoint", f"POST /v1/secrets/{secret_id}/grants",
                    actions.SECRET_GRANT, resource,
                ),
                await offer(
                    ctx, "Give it a new value", f"POST /v1/secrets/{secret_id}/rotate", actions.SECRET_ROTATE, resource
                ),
            ]  # fmt: skip
        else:
            following = [
                await offer(
                    ctx, "Put the new credential into the treasury",
                    f"POST /v1/workspaces/{row['workspace_id']}/secrets", actions.SECRET_CREATE,
                    Resource("secret", "*", row["workspace_id"]),
                )
            ]  # fmt: skip
    grants = found["grants"]
    told = f"{len(grants)} grant{'s' if len(grants) != 1 else ''}" if grants else "nobody may use it: it has no grant"
    headline = f"Secret {found['name']} {_STEPS[found['state']]}"
    if found["state"] in ("active", "rotating"):
        headline += f"; {told}"
    evidence = [Evidence(kind="connection", ref=item["id"], label=item["name"]) for item in found["connections"]]
    evidence += [
        Evidence(kind="grant", ref=item["id"], label=f"{item['pack']} at {item['endpoint']}") for item in grants[:10]
    ]
    if last is not None:
        evidence.append(Evidence(kind="lease", ref=last["id"], label=f"last leased for {last['endpoint']}"))
    return Explanation(
        subject=secret_id,
        headline=headline + ".",
        state=found["state"],
        reason=found["reason"],
        since=row["since"],
        layer="connection",
        timing="during" if found["state"] in ("active", "rotating") else "after_completion",
        changed_just_before=changes,
        evidence=evidence,
        next=following,
        observed_at=max(row["since"], row["rotated_at"] or row["since"], last["issued_at"] if last else row["since"]),
    )
