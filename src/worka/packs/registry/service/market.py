"""Looking before building, and taking what is there: the marketplace, one release in full, and installations."""

from __future__ import annotations

import asyncio
from typing import Any

from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.paths import Paths
from worka.packs import actions as pack_actions
from worka.packs import store as packs
from worka.packs.lifecycle import store as lifecycle
from worka.packs.registry import oci, roots, rules, store
from worka.packs.registry.errors import (
    ArtifactInvalid,
    DestinationNotFound,
    ListingNotFound,
    RegisteredHere,
    RegistryFailed,
)
from worka.packs.registry.remote import LIES, RemoteProblem
from worka.packs.registry.service import destinations, vouching
from worka.packs.registry.service.publishing import signatures
from worka.packs.service import reading, releases

Row = dict[str, Any]
SECONDS = 60.0
"""For fetching an artifact with its signatures, all calls together: whoever asked waits for it."""


async def search(
    ctx: Context, workspace_id: str, words: str, after: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """What this tenant may have, that fits these words: the best first; without words the newest. Of each pack the newest
    version. And the release after which the next page goes on. Raises Denied."""
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        wanted = rules.words(words)
        if words.strip() and not wanted:
            return [], None
        rows = await store.market_search(conn, ctx.tenant_id, wanted)
        rows.sort(key=lambda row: row["release_id"], reverse=True)
        if wanted:
            scored = [(rules.score(row, wanted), row) for row in rows]
            rows = [row for points, row in sorted(scored, key=lambda pair: -pair[0]) if points]
        ids = [row["release_id"] for row in rows]
        if after is not None:
            rows = rows[ids.index(after) + 1 :] if after in ids else []
        more = rows[limit - 1]["release_id"] if len(rows) > limit else None
        page = [row["release_id"] for row in rows[:limit]]
        full = {row["release_id"]: row for row in await store.market(conn, ctx.tenant_id, page)}
        return await _shown(ctx, conn, [full[found] for found in page if found in full]), more


async def listing(ctx: Context, workspace_id: str, release_id: str) -> Row:
    """One release of the market: purpose, installable, trusted, publisher, dependencies, reach. Raises ListingNotFound."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        (shown,) = await _shown(ctx, conn, [await _market_row(ctx, conn, release_id)])
        return shown


async def _market_row(ctx: Context, conn: Connection, release_id: str) -> Row:
    assert ctx.tenant_id is not None
    rows = await store.market(conn, ctx.tenant_id, [release_id])
    if not rows:
        raise ListingNotFound(f"There is no release {release_id} for you.")
    return rows[0]


async def _shown(ctx: Context, conn: Connection, rows: list[Row]) -> list[Row]:
    trusted = await vouching.verdicts(conn, [(row["publisher"], row["digest"], row["envelopes"]) for row in rows])
    away = await _away(conn, [_pack(row) for row in rows])
    return [_listed(ctx, row, trust, away.get(_pack(row))) for row, trust in zip(rows, trusted, strict=True)]


async def _away(conn: Connection, packs: list[str]) -> dict[str, str]:
    """Those of these packs of which nothing may be attached here, and how each stands."""
    return {pack: state for pack, state in (await lifecycle.standings(conn, packs)).items() if state != "free"}


def _pack(row: Row) -> str:
    return f"{row['publisher']}.{row['name']}"


def _listed(ctx: Context, row: Row, trust: roots.Verdict, away: str | None) -> Row:
    manifest = row["manifest"]
    own = row["tenant_id"] == ctx.tenant_id
    repository, revision = rules.source_of(manifest)
    withdrawn = row["state"] == "withdrawn"
    installable = row["release_state"] == "released" and (own or row["state"] == "listed") and away is None
    return {
        "release_id": row["release_id"],
        "listing_id": row["listing_id"],
        "pack": _pack(row),
        "version": row["version"],
        "display_name": manifest["display_name"],
        "purpose": manifest["description"],
        "publisher": row["publisher"],
        "own": own,
        "visibility": row["visibility"],
        "state": row["state"],
        "installable": installable,
        "because": _because(row, own, withdrawn, away),
        "trust": vouching.trust_shown(trust),
        # Of another tenant's it is the publisher's own word: nobody here has looked.
        "reviewed": own and row["reviewed"],
        "reviewed_by_publisher": not own and row["reviewed"],
        "digest": row["digest"],
        "dependencies": [item["pack"] for item in manifest.get("dependencies", [])],
        "connections": sorted({item["provider"] for item in manifest.get("connections", [])}),
        "reach": [item if isinstance(item, str) else item["host"] for item in manifest.get("outbound_domains", [])],
        "tools": row["tools"],
        "license": manifest.get("license"),
        "source": {"repository": repository, "revision": revision},
        "since": row["since"],
    }


def _because(row: Row, own: bool, withdrawn: bool, away: str | None) -> str:
    if away is not None:
        return f"All of {_pack(row)} is {away} in this tenant: nothing of it is attached until that is lifted."
    if row["release_state"] != "released":
        return f"Its release is {row['release_state']}."
    if own:
        return "It was registered here: attach it." + (" It was withdrawn from the marketplace." if withdrawn else "")
    return "Install it: it is registered here as a release of this workspace, and passes the same checks and review."


async def answers(ctx: Context, release_id: str) -> Row:
    """In one answer: what was built, which version, where the image and the source are, which release is installable, and how
    widely it is seen. Raises ReleaseNotFound."""
    release = await reading.release(ctx, release_id)
    pack = f"{release['publisher']}.{release['name']}"
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        artifact = await store.artifact_of(conn, release_id)
        source = await store.source(conn, release_id, release["source"]["contents"])
        published = await store.publications(conn, release["workspace_id"], None, 50, None, release_id)
        reviews = await store.reviews(conn, release_id)
        said = await store.attestations(conn, release_id)
        rows = await store.market(conn, ctx.tenant_id, [release_id])
        away = pack in await _away(conn, [pack])
        installable = None if away else await store.newest_like(conn, release_id)
    repository, revision = rules.source_of(release["manifest"])
    signed = await vouching.of_release(ctx, release_id)
    return {
        "release_id": release_id,
        "pack": pack,
        "version": release["version"],
        "built": {"state": release["state"], "digest": release["digest"], "packages": len(release["packages"])},
        "artifact": None if artifact is None else {
            "id": artifact["id"], "digest": artifact["digest"], "size": artifact["size"], "layers": artifact["layers"],
            "created_at": artifact["created_at"],
        },
        "images": [
            {"location": row["location"], "destination": row["destination"], "publication_id": row["id"],
             "signatures": signatures.shown(row, said)}
            for row in published if row["state"] == "published"
        ],
        "source": {
            "origin": source["origin"] if source else "private", "repository": repository, "revision": revision,
            "contents": release["source"]["contents"], "taken_from": source["taken_from"] if source else "",
            "similar": source["similar_found"] if source else [],
        },
        "installable": installable,
        "visibility": rows[0]["visibility"] if rows else "private",
        "listing": rows[0]["state"] if rows else "unlisted",
        "trust": signed["trust"],
        "signatures": signed["signatures"],
        "reviews": [{key: row[key] for key in ("id", "release_id", "digest", "note", "created_by", "created_at")} for row in reviews],
    }  # fmt: skip


# taking what is there -----------------------------------------------------------------------------------------------
async def install(ctx: Context, workspace_id: str, release_id: str) -> Row:
    """Registers a release of the market here: its artifact is checked byte by byte, then goes the way of every registration.
    The draft. Raises ListingNotFound, Denied, ArtifactInvalid, VersionTaken, and what a registration raises."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.REGISTER.name, Resource("pack", "*", workspace_id))
        row = await _market_row(ctx, conn, release_id)
    if row["tenant_id"] == ctx.tenant_id:
        raise RegisteredHere("It was registered in this tenant: attach it, there is nothing to install.")
    try:
        artifact = await asyncio.to_thread(oci.load, Paths(ctx.settings.home).objects, row["digest"])
    except oci.ArtifactProblem as problem:
        raise ArtifactInvalid(f"{str(problem)[:1].upper()}{str(problem)[1:]}.", reason=problem.reason) from problem
    origin = {"origin": f"marketplace_{row['visibility']}", "taken_from": f"marketplace {release_id}"}
    return await _take(ctx, artifact, row["envelopes"], origin, row)


async def fetch(ctx: Context, workspace_id: str, *, destination: str, digest: str) -> Row:
    """Fetches an artifact by its digest from a registry outside, with what was signed beside it, and registers it here. The
    draft. Raises Denied, DestinationNotFound, RegistryFailed, ArtifactInvalid, and what a registration raises."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.REGISTER.name, Resource("pack", "*", workspace_id))
        _, target = await destinations.named(conn, workspace_id, destination)
    if target is None:
        raise DestinationNotFound("Name a registry outside; what is local is installed from the marketplace.")
    remote = await destinations.remote(ctx, target)
    try:
        async with asyncio.timeout(SECONDS):
            artifact = await remote.fetch(digest)
            envelopes = await remote.fetch_signatures(digest)
    except TimeoutError as late:
        detail = f"{destinations.place(target)}: it did not all come within {SECONDS:.0f} seconds."
        raise RegistryFailed(detail, reason="registry_answered_late") from late
    except RemoteProblem as problem:
        detail = f"{destinations.place(target)}: {problem}."
        raise (ArtifactInvalid if problem.reason in LIES else RegistryFailed)(
            detail, reason=problem.reason, **problem.more
        ) from problem
    origin = {"origin": "private", "taken_from": f"{destinations.place(target)}@{digest}"}
    return await _take(ctx, artifact, envelopes, origin, None)


async def _take(ctx: Context, artifact: oci.Artifact, envelopes: list[Row], origin: Row, listed: Row | None) -> Row:
    try:
        found = await asyncio.to_thread(oci.contents, artifact)
    except oci.ArtifactProblem as problem:
        raise ArtifactInvalid(f"{str(problem)[:1].upper()}{str(problem)[1:]}.", reason=problem.reason) from problem
    told = {key: found.manifest.get(key) for key in ("publisher", "name", "version")}
    if listed is not None and told != {key: listed[key] for key in told}:
        raise ArtifactInvalid(
            "The artifact is of another release than the one that was listed.", reason="registry_lied"
        )
    row = await releases.register(
        ctx,
        found.manifest,
        lock_text=found.lock,
        tree=dict(found.files),
        origin={**origin, "artifact_digest": artifact.digest},
        artifact=artifact,
        # A release that was here before, of whichever workspace, keeps its own word: who may sign adds to it.
        drafted=lambda made: vouching.carry_over(ctx, made, artifact.digest, envelopes),
    )
    async with ctx.transaction() as conn:
        # Of an installation that was only tried there is nothing to read.
        return await packs.release(conn, row["id"]) or row
