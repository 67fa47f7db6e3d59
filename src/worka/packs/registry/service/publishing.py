"""Publishing: a release's artifact goes to a destination that policy allows, once somebody agreed, and is then listed.

Asked for, approved, carried, listed: each is a committed state, and a failure is one too, which is tried again by itself. The
same artifact put twice is one, so a publication is safe to run twice and after a crash.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.kernel import canonical, clock
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.errors import Problem
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.redact import text
from worka.packs import actions as pack_actions
from worka.packs import store as packs
from worka.packs.errors import ReleaseNotFound, ReleaseNotUsable
from worka.packs.registry import actions, events, oci, rules, store
from worka.packs.registry.errors import ArtifactInvalid, NotListed, NotPublishable, PublicationNotFound
from worka.packs.registry.model import PUBLICATION
from worka.packs.registry.remote import Remote, RemoteProblem, through_broker
from worka.packs.registry.service import artifacts, destinations, policies
from worka.packs.service import reading
from worka.packs.service.releases import AWAY

Row = dict[str, Any]
SUBJECT = "publication"
LOST = timedelta(minutes=15)
"""After which a publication that stands queued or under way counts as one that nobody carries: it may be taken up again."""
log = logging.getLogger("worka.packs")


async def publish(
    ctx: Context, workspace_id: str, *, release_id: str, destination: str, visibility: str | None, shared_with: list[str]
) -> Row:  # fmt: skip
    """Asks for a publication: it waits for whoever policy wants to ask, then a worker carries it out. `destination`: local, or
    the name of a registry of this workspace. `visibility`: None takes policy's default.

    Raises ReleaseNotFound, Denied, NotPublishable, DestinationNotFound, ReleaseNotUsable, ArtifactInvalid."""
    assert ctx.tenant_id is not None
    release = await _release_here(ctx, workspace_id, release_id)
    async with ctx.transaction() as conn:
        place, target = await destinations.named(conn, workspace_id, destination)
        wide = visibility or (await policies.effective(ctx, conn, workspace_id)).visibility
        await _asked(ctx, release, place, wide)
        await _allowed(ctx, release, place, wide)
    artifact = await _kept(ctx, release)
    async with ctx.transaction() as conn:
        # All of it again, inside what it commits.
        locked = await packs.release_for_update(conn, release_id)
        assert locked is not None
        release = locked
        _publishable(release)
        place, target = await destinations.named(conn, workspace_id, destination, lock=True)
        decision = await _asked(ctx, release, place, wide)
        policy = await _allowed(ctx, release, place, wide)
        row = {
            "tenant_id": ctx.tenant_id, "id": new_id("pub"), "workspace_id": workspace_id, "release_id": release_id,
            "artifact_id": artifact["id"], "destination_id": target and target["id"], "destination": place,
            "visibility": wide, "shared_with": sorted(set(shared_with)) if wide == "shared" else [],
            "created_by": ctx.principal.id, "digest": artifact["digest"],
        }  # fmt: skip
        asks = decision.verdict == "ask" or bool(policy.approvers)
        state, reason = ("awaiting_approval", "waiting_for_approver") if asks else ("queued", "publication_waiting")
        await store.add_publication(conn, {**row, "state": state, "reason": reason})
        ctx.record(events.publication_moved(row, _name(release), None, state, reason))
        if asks:
            approval = await _ask(ctx, row, release, decision, policy)
            await store.move_publication(conn, row["id"], state, reason, approval_id=approval["id"])
        else:
            await store.enqueue_publication(conn, ctx.tenant_id, row["id"], 1)
        ctx.commit_points("registry.publication")
        found = await store.publication(conn, row["id"])
        assert found is not None
        return found


async def _asked(ctx: Context, release: Row, place: str, visibility: str) -> Decision:
    facts = _facts(release, place, visibility)
    return await ctx.require(actions.PUBLISH, Resource("pack", _pack(release), release["workspace_id"], facts), **facts)


def _facts(release: Row, place: str, visibility: str) -> Row:
    return {
        "pack": _pack(release), "publisher": release["publisher"], "version": release["version"],
        "release": release["id"], "destination": place, "visibility": visibility,
    }  # fmt: skip


async def _allowed(ctx: Context, release: Row, place: str, visibility: str) -> rules.Policy:
    """The policy in force, if it lets this be published so. Raises NotPublishable."""
    policy = await policies.effective(ctx, ctx.conn, release["workspace_id"])
    refusal = rules.may_publish(
        policy, destination=place, visibility=visibility, repository=rules.source_of(release["manifest"])[0],
        on_trial=policies.on_trial(ctx),
    )  # fmt: skip
    if refusal is not None:
        raise NotPublishable(refusal.sentence, code=refusal.code, destination=place, visibility=visibility)
    return policy


def _publishable(release: Row) -> None:
    if release["state"] != "released":
        raise ReleaseNotUsable(
            f"{_name(release)} is {release['state']} ({release['reason']}).", release_id=release["id"],
            state=release["state"], reason=release["reason"],
        )  # fmt: skip


async def _kept(ctx: Context, release: Row) -> Row:
    _publishable(release)
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


# asking -------------------------------------------------------------------------------------------------------------
def _action(row: Row, release: Row, initiator: str, behind: str | None) -> Row:
    """What an approver decides on: a change in any of it is another request."""
    return {
        "action": actions.PUBLISH, "publication": row["id"], "release": release["id"], "artifact": row["digest"],
        "destination": row["destination"], "visibility": row["visibility"], "shared_with": row["shared_with"],
        "workspace": row["workspace_id"], "initiator": initiator, "originating_person": behind,
    }  # fmt: skip


async def _ask(ctx: Context, row: Row, release: Row, decision: Decision, policy: rules.Policy) -> Row:
    action = _action(row, release, f"{ctx.principal.kind}:{ctx.principal.id}", ctx.originating_person)
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
        title=f"Publish {_name(release)}",
        effect=f"{_name(release)} goes to {row['destination']}, {row['visibility']}: {seen} may install it",
        digest=canonical.sha256_hex(action),
        card={
            **action, "pack": _pack(release), "version": release["version"],
            "description": release["manifest"]["description"],
        },
        arguments=None,
        rules=list(decision.approval_rules),
        own_rules=policy.approvers,
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": "publication", "id": row["id"], "name": f"{_name(release)} to {row['destination']}"}],
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
        await _move(ctx, row, "queued", "publication_waiting")
        assert ctx.tenant_id is not None
        await store.enqueue_publication(ctx.conn, ctx.tenant_id, row["id"], row["attempt"])
    else:
        over = payload["state"] in ("approved", "superseded")
        await _move(ctx, row, "refused", "publication_superseded" if over else "publication_rejected")
    ctx.commit_points("registry.publication")


async def _redeemed(ctx: Context, row: Row, release: Row) -> bool:
    """Decides again, as who asked, now: rights and policy of the moment count, not those of the request."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    assert approval is not None
    decision, digest = await _as_who_asked(ctx, row, release, approval)
    redemption = await approvals.redeem(ctx, approval["id"], digest=digest, decision=decision, used_by=row["id"])
    return redemption.usable and await _hindrance(ctx, row, release) is None


async def _as_who_asked(ctx: Context, row: Row, release: Row, approval: Row) -> tuple[Decision, str]:
    """What is decided now on what was asked for, by whom it was asked; and the digest of it."""
    behind = approval["originating_person"]
    asker = ctx.acting(Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id))
    asker.originating_person = behind
    facts = _facts(release, row["destination"], row["visibility"])
    decision = await asker.decide(
        actions.PUBLISH, Resource("pack", _pack(release), row["workspace_id"], facts), **facts
    )
    action = _action(row, release, f"{approval['requester_kind']}:{approval['requester_id']}", behind)
    return decision, canonical.sha256_hex(action)


async def _agreed(ctx: Context, row: Row, release: Row, policy: rules.Policy) -> bool:
    """Whether those agreed to it whom the registry's policy, and the rules of the workspace, want to be asked by now."""
    if row["approval_id"] is None:
        return not policy.approvers
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    if approval is None or approval["consumed_by"] != row["id"]:
        return False
    decision, digest = await _as_who_asked(ctx, row, release, approval)
    return approval["digest"] == digest and approvals.still_asked(approval, decision, policy.approvers)


async def _hindrance(ctx: Context, row: Row, release: Row) -> tuple[str, str] | None:
    """Why what was asked for may not go on, decided in the transaction that it is about: a reason code and a sentence.
    Nothing that held when it was asked for, or approved, or begun, is taken to hold still."""
    if release["state"] != "released":
        return "release_not_publishable", f"{_name(release)} is {release['state']}."
    target = await store.destination(ctx.conn, row["destination_id"]) if row["destination_id"] else None
    if target is not None and target["state"] != "active":
        return "publication_not_allowed", f"The destination {target['name']} was removed."
    listing = await store.listing_of(ctx.conn, row["release_id"])
    if listing is not None and listing["state"] == "withdrawn" and listing["since"] > row["created_at"]:
        return "publication_withdrawn", f"{_name(release)} was withdrawn from the marketplace after this was asked for."
    try:
        policy = await _allowed(ctx, release, row["destination"], row["visibility"])
    except NotPublishable as refused:
        return "publication_not_allowed", refused.detail
    if not await _agreed(ctx, row, release, policy):
        return "publication_not_allowed", "Policy wants others to agree to it than those who did: ask for it again."
    return None


# carrying it out ----------------------------------------------------------------------------------------------------
async def run_publication(ctx: Context, publication_id: str) -> None:
    """Carries a publication out, as the platform; run by the worker. Never raises for one that fails: it is `failed` then,
    with the reason, and can be tried again. Raises Unavailable while nothing can be written down: the job waits."""
    begun = await _begin(ctx, publication_id)
    if begun is None:
        return
    row, target, envelopes = begun
    location = f"oci/{row['digest']}"
    try:
        artifact = await asyncio.to_thread(oci.load, Paths(ctx.settings.home).objects, row["digest"])
        if target is not None:
            remote = Remote(through_broker(ctx), target, await destinations.credential(ctx, target))
            location = await remote.push(artifact)
            if envelopes:
                await remote.push_signatures(artifact.digest, [canonical.dumps(item) for item in envelopes])
        ctx.failpoint("registry.publication.after_push")
    except (RemoteProblem, oci.ArtifactProblem) as problem:
        reason = "registry_lied" if problem.reason == "artifact_too_large" else problem.reason
        await _fail(ctx, row, reason, str(problem), getattr(problem, "more", {}))
        return
    except (Problem, OSError, ValueError) as error:
        if isinstance(error, Problem) and error.problem_code in AWAY:
            raise
        # Whatever else was in the way: it ends as failed, since a publication that stays under way is in nobody's hands.
        log.exception("publication %s was not carried out", publication_id)
        await _fail(ctx, row, "publication_lost", f"It was not carried out: {type(error).__name__}.", {})
        return
    await _end(ctx, row, location)


async def _begin(ctx: Context, publication_id: str) -> tuple[Row, Row | None, list[Row]] | None:
    """Takes it up, if it still may be published: what was approved may be forbidden by now."""
    async with ctx.transaction() as conn:
        row = await store.publication(conn, publication_id, lock=True)
        if row is None or row["state"] not in ("queued", "pushing"):
            return None
        release = await packs.release(conn, row["release_id"])
        assert release is not None
        why = await _hindrance(ctx, row, release)
        if why is not None:
            await _move(ctx, row, "failed", why[0], error={"code": why[0], "message": why[1]})
            ctx.commit_points("registry.publication")
            return None
        target = await store.destination(conn, row["destination_id"]) if row["destination_id"] else None
        if row["state"] == "queued":
            await _move(ctx, row, "pushing", "publication_under_way")
            ctx.commit_points("registry.publication")
        said = [
            item["envelope"]
            for item in await store.attestations(conn, row["release_id"])
            if item["digest"] == row["digest"]
        ]
        return {**row, "state": "pushing"}, target, said


async def _end(ctx: Context, row: Row, location: str) -> None:
    """It lies there: published, and listed, in one commit; if all that it was begun for still holds in that commit."""
    async with ctx.transaction() as conn:
        now = await store.publication(conn, row["id"], lock=True)
        if now is None or (now["state"], now["attempt"]) != ("pushing", row["attempt"]):
            return
        release = await packs.release_for_update(conn, row["release_id"])
        assert release is not None
        why = await _hindrance(ctx, now, release)
        if why is not None:
            await _move(ctx, now, "failed", why[0], error={"code": why[0], "message": why[1]})
            ctx.commit_points("registry.publication")
            return
        await _move(ctx, now, "published", "publication_done", location=location)
        before = await store.listing_of(conn, row["release_id"])
        listing = await store.put_listing(
            conn,
            {
                "tenant_id": ctx.tenant_id, "id": new_id("lst"), "workspace_id": row["workspace_id"],
                "release_id": row["release_id"], "publication_id": row["id"], "digest": row["digest"],
                "visibility": row["visibility"], "shared_with": row["shared_with"], "state": "listed", "why": "",
                "created_by": row["created_by"],
            },
        )  # fmt: skip
        ctx.record(events.listing_moved(listing, _name(release), before, "published"))
        ctx.commit_points("registry.publication")


async def _fail(ctx: Context, row: Row, reason: str, message: str, more: Row) -> None:
    async with ctx.transaction() as conn:
        now = await store.publication(conn, row["id"], lock=True)
        if now is None or (now["state"], now["attempt"]) != ("pushing", row["attempt"]):
            return
        error = {"code": reason, "message": text(message)[:2000], **more}
        await _move(ctx, now, "failed", reason, error=error)
        ctx.commit_points("registry.publication")


async def retry(ctx: Context, publication_id: str) -> Row:
    """Takes up a failed publication again, or one that nobody carries any more (LOST). What was approved is still what happens;
    policy, and whom it asks, are asked again. Raises PublicationNotFound, Denied, NotPublishable, Conflict."""
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        row = await _visible(ctx, publication_id, lock=True)
        release = await packs.release(conn, row["release_id"])
        assert release is not None
        decision = await _asked(ctx, release, row["destination"], row["visibility"])
        if row["state"] in ("queued", "pushing") and row["since"] < clock.now() - LOST:
            message = f"Nobody has carried it on for {LOST.seconds // 60} minutes."
            await _move(ctx, row, "failed", "publication_lost", error={"code": "publication_lost", "message": message})
            row = {**row, "state": "failed"}
        PUBLICATION.check(row["state"], "queued")
        policy = await _allowed(ctx, release, row["destination"], row["visibility"])
        _publishable(release)
        asks = row["approval_id"] is None and (decision.verdict == "ask" or policy.approvers)
        if asks or not await _agreed(ctx, row, release, policy):
            raise NotPublishable(
                "Policy asks for an approval by now that this publication does not have.", code="approval_missing",
                remedy="Ask for it again with `worka pack publish`.",
            )  # fmt: skip
        if (why := await _hindrance(ctx, row, release)) is not None:
            raise NotPublishable(why[1], code=why[0], remedy="Ask for it again with `worka pack publish`.")
        await _move(ctx, row, "queued", "publication_waiting", again=True)
        await store.enqueue_publication(conn, ctx.tenant_id, publication_id, row["attempt"] + 1)
        ctx.commit_points("registry.publication")
        return await _visible(ctx, publication_id)


async def withdraw(ctx: Context, release_id: str, why: str) -> Row:
    """Takes a release from the marketplace, for the very next look. What was installed stays. Raises ReleaseNotFound, Denied,
    NotListed."""
    release = await reading.release(ctx, release_id)
    async with ctx.transaction() as conn:
        # One after another with what lists it: a publication sees the withdrawal, or was there before it.
        await packs.release_for_update(conn, release_id)
        facts = {"pack": _pack(release), "release": release_id}
        await ctx.require(
            actions.LISTING_WITHDRAW, Resource("pack", _pack(release), release["workspace_id"], facts), **facts
        )
        before = await store.listing_of(conn, release_id)
        if before is None or before["state"] != "listed":
            raise NotListed(f"{_name(release)} is not listed.")
        after = await store.put_listing(conn, {**before, "state": "withdrawn", "why": why})
        ctx.record(events.listing_moved(after, _name(release), before, why))
        ctx.commit_points("registry.changed")
        return {key: after[key] for key in ("id", "release_id", "digest", "visibility", "state", "why", "since")}


async def _move(ctx: Context, row: Row, state: str, reason: str, **more: Any) -> None:
    PUBLICATION.check(row["state"], state)
    await store.move_publication(ctx.conn, row["id"], state, reason, **more)
    ctx.record(events.publication_moved(row, f"{row['pack']} {row['version']}", row["state"], state, reason))


# reading ------------------------------------------------------------------------------------------------------------
async def get(ctx: Context, publication_id: str) -> Row:
    """One publication. Raises PublicationNotFound."""
    async with ctx.transaction():
        return await _visible(ctx, publication_id)


async def listing(
    ctx: Context, workspace_id: str, after: str | None, limit: int, state: str | None, release_id: str | None
) -> list[Row]:
    """The publications of a workspace, newest first (up to limit + 1). Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        return await store.publications(conn, workspace_id, after, limit + 1, state, release_id)


async def _visible(ctx: Context, publication_id: str, *, lock: bool = False) -> Row:
    row = await store.publication(ctx.conn, publication_id, lock=lock)
    if row is not None:
        seen = await ctx.decide(
            pack_actions.VIEW.name, Resource("pack", row["pack"], row["workspace_id"], {"pack": row["pack"]})
        )
        if seen.verdict != "deny":
            return row
    raise PublicationNotFound(f"There is no publication {publication_id}.")


def _pack(release: Row) -> str:
    return f"{release['publisher']}.{release['name']}"


def _name(release: Row) -> str:
    return f"{_pack(release)} {release['version']}"
