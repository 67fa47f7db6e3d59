"""From a release to its artifact: the source is noted when a registration is asked for, the artifact is kept when it is
published to the deployment's own layout. Both are records of their own; neither makes anything installable."""

from __future__ import annotations

import asyncio
from typing import Any

from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.packs import trees
from worka.packs.registry import events, oci, rules, store

Row = dict[str, Any]
MOST_SIMILAR = 5


async def similar(conn: Connection, tenant_id: str, manifest: Row) -> list[Row]:
    """What the registry has that is like this pack, best first: [{release_id, pack, version, visibility, score}]. Another
    version of the same pack is not like it: it is it."""
    tools = manifest.get("tools")
    named = [tool["name"] for tool in tools[:50]] if isinstance(tools, list) else []
    wanted = rules.words(manifest["name"], manifest.get("display_name"), manifest.get("description"), *named)
    found: dict[str, Row] = {}
    for row in await store.market_search(conn, tenant_id, wanted) if wanted else ():
        pack = f"{row['publisher']}.{row['name']}"
        if (row["publisher"], row["name"]) == (manifest["publisher"], manifest["name"]) or pack in found:
            continue
        points = rules.score(row, wanted)
        # One word in common is an accident.
        if points >= max(4, len(wanted) // 2):
            found[pack] = {
                "release_id": row["release_id"], "pack": pack, "version": row["version"],
                "visibility": row["visibility"], "score": points,
            }  # fmt: skip
    return sorted(found.values(), key=lambda item: (-item["score"], item["pack"]))[:MOST_SIMILAR]


async def note_source(ctx: Context, release: Row, origin: Row | None) -> Row:
    """In the transaction of the registration: where the release comes from, and what there was already that is like it."""
    assert ctx.tenant_id is not None
    repository, revision = rules.source_of(release["manifest"])
    row = {
        "tenant_id": ctx.tenant_id, "id": new_id("src"), "workspace_id": release["workspace_id"],
        "release_id": release["id"], "origin": "private", "repository": repository, "revision": revision,
        "contents": release["source"]["contents"], "artifact_digest": None, "taken_from": "",
        "similar_found": await similar(ctx.conn, ctx.tenant_id, release["manifest"]), "created_by": ctx.principal.id,
        **(origin or {}),
    }  # fmt: skip
    await store.add_source(ctx.conn, row)
    return row


async def source_of(conn: Connection, release_id: str, contents: str) -> Row | None:
    """Where a release with these contents comes from; `artifact_digest` is what it was fetched as."""
    return await store.source(conn, release_id, contents)


async def keep(ctx: Context, release: Row) -> Row:
    """The artifact of a release, in the layout and on record; made now if it is not there yet. Raises ArtifactProblem where
    the files that were sent are not there any more."""
    assert ctx.tenant_id is not None
    contents = release["source"]["contents"]
    async with ctx.transaction() as conn:
        known = await store.artifact_of(conn, release["id"])
        source = await store.source(conn, release["id"], contents)
    if known is not None and known["contents"] == contents:
        return known
    objects = Paths(ctx.settings.home).objects
    if source is not None and source["artifact_digest"]:
        # It was fetched: what vouches for it is about the bytes that came, not about ours.
        artifact = await asyncio.to_thread(oci.load, objects, source["artifact_digest"])
    else:
        artifact = await asyncio.to_thread(_made, objects, release)
        await asyncio.to_thread(oci.keep, objects, artifact)
    async with ctx.transaction() as conn:
        if source is None:
            # Registered before there was a registry.
            source = await note_source(ctx, release, None)
        made = await store.add_artifact(
            conn,
            {
                "tenant_id": ctx.tenant_id, "id": new_id("art"), "workspace_id": release["workspace_id"],
                "release_id": release["id"], "source_id": source["id"], "digest": artifact.digest,
                "size": artifact.size, "layers": artifact.layers, "contents": contents,
            },
        )  # fmt: skip
        if made is None:
            # Somebody else was faster; the same bytes have the same digest.
            there = await store.artifact_of(conn, release["id"])
            assert there is not None
            return there
        ctx.record(events.artifact_kept(made, _name(release)))
        ctx.commit_points("registry.artifact")
        return made


def _made(objects: Any, release: Row) -> oci.Artifact:
    known = release["source"].get("files") or {}
    files: dict[str, bytes] = {}
    if known:
        contents = release["source"]["contents"]
        if not trees.intact(objects, contents, known):
            raise oci.ArtifactProblem("artifact_damaged", "the files that were sent are not there any more, or changed")
        base = trees.place(objects, contents)
        files = {name: (base / name).read_bytes() for name in known}
    return oci.build(release["manifest"], release["lock_text"], files)


def _name(release: Row) -> str:
    return f"{release['publisher']}.{release['name']} {release['version']}"
