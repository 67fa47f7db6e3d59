"""Signatures that come after what they are about was published: they are brought to the registry outside where it lies, again
and again while that is away, as far as the publication could still be carried out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from worka.kernel import canonical
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.redact import text
from worka.packs import store as packs
from worka.packs.registry import events, store
from worka.packs.registry.remote import MOST_SIGNATURES, RemoteProblem
from worka.packs.registry.service import destinations
from worka.packs.registry.service.publishing import standing
from worka.packs.registry.service.publishing.records import name_of
from worka.packs.service.releases import AWAY
from worka.treasury.errors import TreasurySealed

Row = dict[str, Any]
LEASE_SECONDS = 600.0
"""For how long one worker has it in hand."""
SECONDS = 300.0
"""For bringing them, all calls together: below that, so that no two workers have it in hand."""
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 3600.0
MOST_TRIES = 30
"""In a row, together about a day. Then it rests until somebody takes it up again, or another signature comes."""
log = logging.getLogger("worka.packs")


def pause(tries: int) -> float | None:
    """Seconds until the next try after so many that failed; None: it is not tried again by itself. Pure."""
    return None if tries >= MOST_TRIES else min(FIRST_PAUSE * 2.0 ** (tries - 1), LONGEST_PAUSE)


async def carry_due(ctx: Context, most: int = 20) -> int:
    """Brings what is due, of every tenant; returns how many were taken up. `ctx` is the platform's. Two workers may run it at
    once: one of them has it in hand."""
    async with ctx.db.transaction(None) as conn:
        due = await store.signatures_due(conn, most)
    done = 0
    for entry in due:
        try:
            done += await carry(replace(ctx, tx=None, tenant_id=entry["tenant_id"]), entry["id"])
        except Problem as problem:
            log.warning("signatures of %s were not brought: %s", entry["id"], problem.problem_code)
    return done


async def carry(ctx: Context, publication_id: str) -> bool:
    """Brings the signatures of one publication's artifact to where it lies. False: nothing was due, or another has it."""
    async with ctx.transaction() as conn:
        if not await store.take_signatures(conn, publication_id, LEASE_SECONDS):
            return False
        ctx.commit_points("registry.changed")
        row = await store.publication(conn, publication_id)
        assert row is not None
        ctx.workspace_id = row["workspace_id"]
        release = await packs.release(conn, row["release_id"])
        assert release is not None
        why = await standing.hindrance(ctx, row, release)
        if why is not None:
            await _settle(ctx, row, row["signatures_there"], {"code": why[0], "message": why[1]}, None)
            return True
        target = await store.destination(conn, row["destination_id"])
        assert target is not None
        said = envelopes_about(await store.attestations(conn, row["release_id"]), row["digest"])
    there, error = row["signatures_there"], None
    try:
        async with asyncio.timeout(SECONDS):
            remote = await destinations.remote(ctx, target)
            await remote.push_signatures(row["digest"], [canonical.dumps(item["envelope"]) for item in said])
        there = [item["envelope_hash"] for item in said]
    except TimeoutError:
        told = f"They were not all brought within {SECONDS / 60:.0f} minutes."
        error = {"code": "registry_answered_late", "message": told}
    except RemoteProblem as problem:
        error = {"code": problem.reason, "message": text(str(problem))[:2000], **problem.more}
    except TreasurySealed as sealed:
        error = {"code": sealed.problem_code, "message": sealed.detail}
    except (Problem, OSError, ValueError) as failure:
        if isinstance(failure, Problem) and failure.problem_code in AWAY:
            raise  # nothing can be written down: it is taken up when the lease is over
        log.exception("the signatures of %s were not brought", publication_id)
        error = {"code": "publication_lost", "message": f"They were not brought: {type(failure).__name__}."}
    async with ctx.transaction():
        await _settle(ctx, row, there, error, pause(row["signatures_tries"] + 1) if error else None)
    return True


async def _settle(ctx: Context, row: Row, there: Sequence[str], error: Row | None, again: float | None) -> None:
    """In the caller's transaction. What it ends with is an event: that they lie there, or that nobody tries any more."""
    tries = row["signatures_tries"] + 1 if error else 0
    await store.settle_signatures(ctx.conn, row, there=there, tries=tries, error=error, pause=again)
    if error is None or again is None:
        release = await packs.release(ctx.conn, row["release_id"])
        assert release is not None
        ctx.record(events.signatures_carried(row, name_of(release), len(there), error))
    ctx.commit_points("registry.changed")


def envelopes_about(attestations: Sequence[Row], digest: str) -> list[Row]:
    """Those that are brought: about this artifact, as many as lie beside one."""
    return [item for item in attestations if item["digest"] == digest][:MOST_SIGNATURES]


def lacking(row: Row, attestations: Sequence[Row]) -> bool:
    """Whether a signature that is known here does not lie where this was published. Pure."""
    known = {item["envelope_hash"] for item in envelopes_about(attestations, row["digest"])}
    return row["destination_id"] is not None and not known <= set(row["signatures_there"])


def shown(row: Row, attestations: Sequence[Row]) -> Row | None:
    """How it stands with the signatures of a publication, as the API shows it; None for the deployment's own layout."""
    if row["destination_id"] is None:
        return None
    known = {item["envelope_hash"] for item in envelopes_about(attestations, row["digest"])}
    return {
        "there": len(known & set(row["signatures_there"])), "of": len(known), "next": row["signatures_next"],
        "tries": row["signatures_tries"], "error": row["signatures_error"],
    }  # fmt: skip
