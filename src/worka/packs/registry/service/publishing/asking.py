"""Asking for a publication, and what its approval sets going."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.kernel import canonical
from worka.kernel.context import Context, Decision
from worka.kernel.ids import new_id
from worka.packs import store as packs
from worka.packs.errors import ReleaseNotFound
from worka.packs.registry import actions, events, oci, rules, store
from worka.packs.registry.errors import ArtifactInvalid
from worka.packs.registry.service import artifacts, destinations, policies
from worka.packs.registry.service.publishing import standing
from worka.packs.registry.service.publishing.records import move, name_of, pack_of
from worka.packs.service import reading, withdrawing

Row = dict[str, Any]
SUBJECT = "publication"


async def publish(
    ctx: Context, workspace_id: str, *, release_id: str, destination: str, visibility: str | None, shared_with: list[str]
) -> Row:  # fmt: skip
    """Asks for a publication: it waits for whoever policy wants to ask, then a worker carries it out. `destination`: local, or
    the name of a registry of this workspace. `visibility`: None takes policy's default.

    Raises ReleaseNotFound, Denied, NotPublishable, DestinationNotFound, ReleaseNotUsable, PackWithdrawn, ArtifactInvalid."""
    assert ctx.tenant_id is not None
    release = await _release_here(ctx, workspace_id, release_id)
    async with ctx.transaction() as conn:
        place, target = await destinations.named(conn, workspace_id, destination)
        wide = visibility or (await policies.effective(ctx, conn, workspace_id)).visibility
        await standing.asked(ctx, release, place, wide)
        await standing.allowed(ctx, release, place, wide)
    artifact = await _kept(ctx, release)
    async with ctx.transaction() as conn:
        # All of it again, inside what it commits; the whole pack before its release, as in taking it away. Whoever takes it
        # away from here on moves this release as well, which is looked at until it is listed.
        await withdrawing.refuse_withdrawn(ctx, pack_of(release))
        locked = await packs.release_for_update(conn, release_id)
        assert locked is not None
        release = locked
        standing.publishable(release)
        place, target = await destinations.named(conn, workspace_id, destination, lock=True)
        decision = await standing.asked(ctx, release, place, wide)
        policy = await standing.allowed(ctx, release, place, wide)
        row = {
            "tenant_id": ctx.tenant_id, "id": new_id("pub"), "workspace_id": workspace_id, "release_id": release_id,
            "artifact_id": artifact["id"], "destination_id": target and target["id"], "destination": place,
            "visibility": wide, "shared_with": sorted(set(shared_with)) if wide == "shared" else [],
            "created_by": ctx.principal.id, "created_kind": ctx.principal.kind,
            "originating_person": ctx.originating_person, "digest": artifact["digest"],
        }  # fmt: skip
        asks = decision.verdict == "ask" or bool(policy.approvers)
        state, reason = ("awaiting_approval", "waiting_for_approver") if asks else ("queued", "publication_waiting")
        await store.add_publication(conn, {**row, "state": state, "reason": reason})
        ctx.record(events.publication_moved(row, name_of(release), None, state, reason))
        if asks:
            approval = await _ask(ctx, row, release, decision, policy)
            await store.move_publication(conn, row["id"], state, reason, approval_id=approval["id"])
        else:
            await store.enqueue_publication(conn, ctx.tenant_id, row["id"], 1)
        ctx.commit_points("registry.publication")
        found = await store.publication(conn, row["id"])
        assert found is not None
        return found


async def _kept(ctx: Context, release: Row) -> Row:
    standing.publishable(release)
    try:
        # It stands by itself, whatever becomes of the publication: also of one that is only tried.
        return await artifacts.keep(ctx.alone(), release)
    except oci.ArtifactProblem as problem:
        raise ArtifactInvalid(f"{str(problem)[:1].upper()}{str(problem)[1:]}.", reason=problem.reason) from problem


async def _release_here(ctx: Context, workspace_id: str, release_id: str) -> Row:
    release = await reading.release(ctx, release_id)
    if release["workspace_id"] != workspace_id:
        # It is published where it was registered: by those who answer for it.
        raise ReleaseNotFound(f"This workspace has registered no release {release_id}.")
    return release


async def _ask(ctx: Context, row: Row, release: Row, decision: Decision, policy: rules.Policy) -> Row:
    action = standing.action_of(row, release, f"{ctx.principal.kind}:{ctx.principal.id}", ctx.originating_person)
    seen = {
        "private": "nobody outside of this tenant",
        "shared": f"{len(row['shared_with'])} other tenants" if row["shared_with"] else "no other tenant yet",
        "public": "every tenant of this deployment",
    }[row["visibility"]]
    return await approvals.request(
        ctx,
        boundary=actions.PUBLISH,
        action=actions.PUBLISH,
        subject_type=SUBJECT,
        subject_id=row["id"],
        title=f"Publish {name_of(release)}",
        effect=f"{name_of(release)} goes to {row['destination']}, {row['visibility']}: {seen} may install it",
        digest=canonical.sha256_hex(action),
        card={
            **action, "pack": pack_of(release), "version": release["version"],
            "description": release["manifest"]["description"],
        },
        arguments=None,
        rules=list(decision.approval_rules),
        own_rules=policy.approvers,
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": "publication", "id": row["id"], "name": f"{name_of(release)} to {row['destination']}"}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours),
    )  # fmt: skip


async def approval_locking(ctx: Context, payload: Row) -> None:
    """The publication before its approval, as in retrying it."""
    if payload["subject_type"] == SUBJECT:
        await store.publication(ctx.conn, payload["subject_id"], lock=True)


async def approval_decided(ctx: Context, payload: Row) -> None:
    """In the transaction of the decision: the publication goes on, or ends. Not ours: nothing happens."""
    if payload["subject_type"] != SUBJECT:
        return
    row = await store.publication(ctx.conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "awaiting_approval" or row["approval_id"] != payload["approval_id"]:
        return
    release = await packs.release(ctx.conn, row["release_id"])
    assert release is not None
    if payload["state"] == "approved" and await _redeemed(ctx, row, release):
        await move(ctx, row, "queued", "publication_waiting")
        assert ctx.tenant_id is not None
        await store.enqueue_publication(ctx.conn, ctx.tenant_id, row["id"], row["attempt"])
    else:
        over = payload["state"] in ("approved", "superseded")
        await move(ctx, row, "refused", "publication_superseded" if over else "publication_rejected")
    ctx.commit_points("registry.publication")


async def _redeemed(ctx: Context, row: Row, release: Row) -> bool:
    """Decides again, as who asked, now: rights and policy of the moment count, not those of the request."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    assert approval is not None
    found = await standing.as_who_asked(ctx, row, release, approval)
    assert found is not None
    decision, digest = found
    redemption = await approvals.redeem(ctx, approval["id"], digest=digest, decision=decision, used_by=row["id"])
    return redemption.usable and await standing.hindrance(ctx, row, release) is None
