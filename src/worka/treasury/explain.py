"""Why a secret can, or cannot, be used."""

from __future__ import annotations

from worka.approvals.explain import waiting_on
from worka.authorization.explain import offer
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation, NextAction
from worka.treasury import actions, reading, service, store
from worka.treasury.errors import ReadingNotFound
from worka.workspaces.explain import changed_just_before

_STEPS = {"active": "is ready", "rotating": "is being rotated", "revoked": "is revoked", "destroyed": "is destroyed"}


async def explain(ctx: Context, secret_id: str) -> Explanation:
    """The Explanation of a secret, of a reading of one, or of a destruction of keys, for this reader. Raises SecretNotFound,
    ReadingNotFound."""
    if secret_id.startswith("srd_"):
        return await _of_reading(ctx, secret_id)
    if secret_id.startswith("kdn_"):
        return await _of_destruction(ctx, secret_id)
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
    if found["state"] == "rotating":
        headline += f"; the old value is valid until {found['overlap_until']:%Y-%m-%d %H:%M} UTC"
    if found["warning"]:
        told = "was due" if found["warning"] == "due" else "is due"
        headline += f"; it {told} for a new value on {found['due_at']:%Y-%m-%d %H:%M} UTC"
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


async def _of_reading(ctx: Context, reading_id: str) -> Explanation:
    """The Explanation of a reading, or of a destruction of keys. Raises ReadingNotFound."""
    async with ctx.transaction() as conn:
        row = await store.reading(conn, reading_id)
        if row is None:
            raise ReadingNotFound(f"There is no reading {reading_id}.")
        secret = await service.visible(ctx, row["secret_id"])
        row, name = reading.shown(row), secret["name"]
        wait = await waiting_on(ctx, row["approval_id"]) if row["state"] == "awaiting_approval" else None
    mine = row["opened_by"] == ctx.principal.id
    words = {
        "awaiting_approval": f"The reading of {name} waits for another owner: {row['why']}.",
        "open": f"The value of {name} can be read once by who asked, until {row['until']:%Y-%m-%d %H:%M} UTC."
        if row["until"]
        else "",
        "closed": f"The reading of {name} is over.",
    }
    return Explanation(
        subject=reading_id,
        headline=words[row["state"]],
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer="approval" if row["state"] != "open" else "connection",
        timing="after_completion" if row["state"] == "closed" else "before_start",
        waiting_on=[wait] if wait else [],
        evidence=[Evidence(kind="secret", ref=row["secret_id"], label=name)],
        next=[_read_it(reading_id, mine)] if row["state"] == "open" else [],
        observed_at=row["since"],
    )


def _read_it(reading_id: str, mine: bool) -> NextAction:
    return NextAction(
        label="Read it",
        command=f"worka secret read {reading_id}",
        permission="own",
        allowed=mine,
        because="" if mine else "Only who asked for it reads it.",
    )


async def _of_destruction(ctx: Context, destruction_id: str) -> Explanation:
    async with ctx.transaction() as conn:
        row = await store.destruction(conn, destruction_id)
        if row is None or not await service.sees(ctx, row["workspace_id"]):
            raise ReadingNotFound(f"There is no {destruction_id}.")
        wait = await waiting_on(ctx, row["approval_id"]) if row["state"] == "awaiting_approval" else None
    words = {
        "waiting_for_approver": f"The destruction of the tenant's data keys waits for another owner: {row['why']}.",
        "keys_destroyed": "The tenant's data keys were destroyed, with all that was sealed under them.",
        "destruction_refused": "The tenant's data keys were not destroyed.",
    }
    return Explanation(
        subject=destruction_id,
        headline=words[row["reason"]],
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer="approval",
        timing="after_completion" if row["state"] == "closed" else "before_start",
        waiting_on=[wait] if wait else [],
        evidence=[Evidence(kind="approval", ref=row["approval_id"], label="the decision on it")],
        observed_at=row["since"],
    )
