"""Carrying a publication out: the worker's part, and taking up again what failed or was lost."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from worka.kernel import canonical, clock
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Problem
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.redact import text
from worka.packs import store as packs
from worka.packs.registry import events, oci, store
from worka.packs.registry.errors import NotPublishable
from worka.packs.registry.model import PUBLICATION
from worka.packs.registry.remote import RemoteProblem
from worka.packs.registry.service import destinations
from worka.packs.registry.service.publishing import signatures, standing
from worka.packs.registry.service.publishing.records import move, name_of, visible
from worka.packs.service.releases import AWAY
from worka.treasury.errors import TreasurySealed

Row = dict[str, Any]
LOST = timedelta(minutes=15)
"""After which a publication that stands queued or under way counts as one that nobody carries: it may be taken up again."""
SECONDS = 600.0
"""For carrying one, all its calls together: below LOST, so that what counts as lost is in nobody's hands."""
AGAIN = "Ask for it again with `worka pack publish`."
log = logging.getLogger("worka.packs")


async def run_publication(ctx: Context, publication_id: str) -> None:
    """Carries a publication out, as the platform; run by the worker. Never raises for one that fails: it is `failed` then,
    with the reason, and can be tried again. Raises Unavailable while nothing can be written down: the job waits."""
    begun = await _begin(ctx, publication_id)
    if begun is None:
        return
    row, target, envelopes = begun
    location = f"oci/{row['digest']}"
    try:
        async with asyncio.timeout(SECONDS):
            artifact = await asyncio.to_thread(oci.load, Paths(ctx.settings.home).objects, row["digest"])
            if target is not None:
                remote = await destinations.remote(ctx, target)
                location = await remote.push(artifact)
                if envelopes:
                    said = [canonical.dumps(item["envelope"]) for item in envelopes]
                    await remote.push_signatures(artifact.digest, said)
        ctx.failpoint("registry.publication.after_push")
    except (RemoteProblem, oci.ArtifactProblem) as problem:
        reason = "registry_lied" if problem.reason == "artifact_too_large" else problem.reason
        await _fail(ctx, row, reason, str(problem), getattr(problem, "more", {}))
        return
    except TimeoutError:
        told = f"It was not carried out within {SECONDS / 60:.0f} minutes."
        await _fail(ctx, row, "registry_answered_late", told, {})
        return
    except TreasurySealed as sealed:
        await _fail(ctx, row, sealed.problem_code, sealed.detail, {})
        return
    except (Problem, OSError, ValueError) as error:
        if isinstance(error, Problem) and error.problem_code in AWAY:
            raise
        # Whatever else was in the way: it ends as failed, since a publication that stays under way is in nobody's hands.
        log.exception("publication %s was not carried out", publication_id)
        await _fail(ctx, row, "publication_lost", f"It was not carried out: {type(error).__name__}.", {})
        return
    await _end(ctx, row, location, [item["envelope_hash"] for item in envelopes] if target is not None else [])


async def _begin(ctx: Context, publication_id: str) -> tuple[Row, Row | None, list[Row]] | None:
    """Takes it up, if it still may be published: what was asked for, or approved, may be forbidden by now."""
    async with ctx.transaction() as conn:
        row = await store.publication(conn, publication_id, lock=True)
        if row is None or row["state"] not in ("queued", "pushing"):
            return None
        release = await packs.release(conn, row["release_id"])
        assert release is not None
        why = await standing.hindrance(ctx, row, release)
        if why is not None:
            await move(ctx, row, "failed", why[0], error={"code": why[0], "message": why[1]})
            ctx.commit_points("registry.publication")
            return None
        target = await store.destination(conn, row["destination_id"]) if row["destination_id"] else None
        if row["state"] == "queued":
            await move(ctx, row, "pushing", "publication_under_way")
            ctx.commit_points("registry.publication")
        said = signatures.envelopes_about(await store.attestations(conn, row["release_id"]), row["digest"])
        return {**row, "state": "pushing"}, target, said


async def _end(ctx: Context, row: Row, location: str, signed: list[str]) -> None:
    """It lies there: published, and listed, in one commit; if all that it was begun for still holds in that commit. `signed`:
    the signatures that were brought along; what came meanwhile is brought after it."""
    async with ctx.transaction() as conn:
        now = await store.publication(conn, row["id"], lock=True)
        if now is None or (now["state"], now["attempt"]) != ("pushing", row["attempt"]):
            return
        release = await packs.release_for_update(conn, row["release_id"])
        assert release is not None
        why = await standing.hindrance(ctx, now, release)
        if why is not None:
            await move(ctx, now, "failed", why[0], error={"code": why[0], "message": why[1]})
            ctx.commit_points("registry.publication")
            return
        await move(ctx, now, "published", "publication_done", location=location)
        await store.settle_signatures(conn, now, there=signed, tries=0, error=None, pause=None)
        said = await store.attestations(conn, row["release_id"])
        if signatures.lacking({**now, "signatures_there": signed}, said):
            await store.want_signatures(conn, row["release_id"], row["digest"])
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
        ctx.record(events.listing_moved(listing, name_of(release), before, "published"))
        ctx.commit_points("registry.publication")


async def _fail(ctx: Context, row: Row, reason: str, message: str, more: Row) -> None:
    async with ctx.transaction() as conn:
        now = await store.publication(conn, row["id"], lock=True)
        if now is None or (now["state"], now["attempt"]) != ("pushing", row["attempt"]):
            return
        error = {"code": reason, "message": text(message)[:2000], **more}
        await move(ctx, now, "failed", reason, error=error)
        ctx.commit_points("registry.publication")


async def retry(ctx: Context, publication_id: str) -> Row:
    """Takes up a failed publication again, or one that nobody carries any more (LOST). What was approved is still what happens;
    policy, and whom it asks, are asked again. Of one that is published: brings the signatures that do not lie there yet.
    Raises PublicationNotFound, Denied, NotPublishable, Conflict."""
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        row = await visible(ctx, publication_id, lock=True)
        release = await packs.release(conn, row["release_id"])
        assert release is not None
        decision = await standing.asked(ctx, release, row["destination"], row["visibility"])
        if row["state"] in ("queued", "pushing") and row["since"] < clock.now() - LOST:
            message = f"Nobody has carried it on for {LOST.seconds // 60} minutes."
            await move(ctx, row, "failed", "publication_lost", error={"code": "publication_lost", "message": message})
            row = {**row, "state": "failed"}
        if row["state"] == "published" and signatures.lacking(row, await store.attestations(conn, row["release_id"])):
            await store.want_signatures(conn, row["release_id"], row["digest"])
            ctx.record(events.signatures_wanted(row, name_of(release)))
            ctx.commit_points("registry.changed")
            return await visible(ctx, publication_id)
        if row["state"] == "awaiting_approval":
            # Asked for again it would wait twice.
            raise Conflict(
                "It waits for its approval, and goes on by itself once that is given.", code="state_conflict",
                state=row["state"], remedy=f"Read `worka registry why {row['id']}`: it names who can give it.",
            )  # fmt: skip
        PUBLICATION.check(row["state"], "queued")
        policy = await standing.allowed(ctx, release, row["destination"], row["visibility"])
        standing.publishable(release)
        if row["approval_id"] is None and decision.verdict == "ask":
            raise NotPublishable(
                "Policy asks for an approval by now that this publication does not have.", code="approval_missing",
                remedy=AGAIN,
            )  # fmt: skip
        if why := await standing.agreed(ctx, row, release, policy):
            raise NotPublishable(why, code="approval_missing", remedy=AGAIN)
        if (hindrance := await standing.hindrance(ctx, row, release)) is not None:
            raise NotPublishable(hindrance[1], code=hindrance[0], remedy=AGAIN)
        await move(ctx, row, "queued", "publication_waiting", again=True)
        await store.enqueue_publication(conn, ctx.tenant_id, publication_id, row["attempt"] + 1)
        ctx.commit_points("registry.publication")
        return await visible(ctx, publication_id)
