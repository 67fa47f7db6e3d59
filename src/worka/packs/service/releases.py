"""Registering a release: from a manifest to tools that can be attached, one committed stage after another.

draft -> built -> published -> registered -> probed -> released. The manifest is checked before anything is written; the
rest is a job, so that it survives its process: it reads where the release stands and goes on from there. A failure
names its stage, which is tried again by itself (`again.py`); the same registration sent again begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from worka.kernel import clock, schemas, telemetry
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Problem
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.redact import redact, text
from worka.packs import actions, events, model, rules, store, trees
from worka.packs import manifest as manifests
from worka.packs.errors import ManifestInvalid, ReleaseNotFound, VersionTaken
from worka.packs.lifecycle import names
from worka.packs.lifecycle import store as lifecycle
from worka.packs.lifecycle.errors import NameTaken
from worka.packs.registry import oci
from worka.packs.registry.service import artifacts
from worka.packs.service import again, exposure, handed_in, hosting

Row = dict[str, Any]
log = logging.getLogger("worka.packs")
AWAY = ("database_unavailable", "disk_full")
"""What keeps the platform from writing anything down, a failure too."""
HOST_PATIENCE = 15
"""Seconds for which a registration waits for a host that does not answer, before it fails."""


class StageFailed(Exception):
    """A stage did not do: the reason code, a sentence, and what to show."""

    def __init__(self, reason: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.more = more


async def register(
    ctx: Context,
    raw: Any,
    *,
    lock_text: str = "",
    files: dict[str, str] | None = None,
    place: str = manifests.PLACE,
    tree: dict[str, bytes] | None = None,
    origin: Row | None = None,
    artifact: oci.Artifact | None = None,
    drafted: Callable[[Row], Awaitable[None]] | None = None,
) -> Row:
    """The release of this manifest, as a draft that a worker builds; the one that is there when the same was sent
    before. `files` are base64 as they were sent, `tree` the same as bytes; `origin` says of what was fetched, where from, and
    `artifact` is what came, kept as it came; `drafted` runs in the transaction that makes or renews a release of it. What is
    only tried leaves nothing on the disk.

    Raises ManifestInvalid, Denied (both before the rest of what was sent is looked at), LockInvalid, VersionTaken.
    """
    # Both beside those who are served meanwhile: what was sent may be long.
    manifest, notices = await asyncio.to_thread(manifests.read, raw, place=place)
    package = manifest.runtime.package
    if (unserved := manifests.unserved(manifest)) or package is None:
        told = [notice.body() for notice in notices]
        raise ManifestInvalid(errors=[notice.body() for notice in unserved], warnings=told)
    facts = {
        "pack": manifest.pack,
        "publisher": manifest.publisher,
        "version": manifest.version,
        "source": package.ecosystem,
    }
    await ctx.require(actions.REGISTER.name, Resource("pack", manifest.pack, ctx.workspace_id, facts), **facts)
    given = await asyncio.to_thread(handed_in.read, manifest, lock_text, files=files, tree=tree)
    document, contents = given.document, given.contents
    source: Row = {
        "contents": contents,
        "ecosystem": package.ecosystem,
        "files": trees.digests(given.tree),
        "attempt": 1,
        "warnings": [notice.body() for notice in notices],
    }
    await _keep(ctx, manifest, given, artifact)
    async with ctx.transaction() as conn:
        assert ctx.tenant_id is not None
        there = await _before(ctx, manifest, contents)
        if there is not None and _same(there, contents):
            return there
        if there is not None:
            model.RELEASE.check(there["state"], "draft")
            source["attempt"] = int(there["source"].get("attempt", 1)) + 1
            await store.redraft_release(conn, there["id"], document, lock_text, source, again.asked(ctx))
            release_id = there["id"]
        else:
            release_id = new_id("rel")
            await store.insert_release(
                conn,
                {
                    "tenant_id": ctx.tenant_id,
                    "id": release_id,
                    "workspace_id": ctx.workspace_id,
                    "publisher": manifest.publisher,
                    "name": manifest.name,
                    "version": manifest.version,
                    "manifest": document,
                    "lock_text": lock_text,
                    "source": source,
                    "created_by": ctx.principal.id,
                    **again.asked(ctx),
                },
            )
        row = await store.release(conn, release_id)
        assert row is not None
        await artifacts.note_source(ctx, row, origin)
        kept = await artifacts.source_of(conn, release_id, contents)
        if artifact and drafted and kept and kept["artifact_digest"] == artifact.digest:
            await drafted(row)
        await store.enqueue_registration(conn, ctx.tenant_id, release_id, source["attempt"])
        ctx.record(
            events.release(
                events.RELEASE_REGISTERED,
                row,
                there["state"] if there else None,
                "draft",
                "waiting_for_build",
                contents=contents,
            )
        )
        ctx.commit_points("release.stage")
        return row


async def _before(ctx: Context, manifest: manifests.Manifest, contents: str) -> Row | None:
    """The release that stands under this name and version, or None. Until the end of the transaction nobody else registers
    under this publisher. Raises VersionTaken, NameTaken."""
    assert ctx.tenant_id is not None
    await store.lock_identity(ctx.conn, ctx.tenant_id, manifest.publisher)
    there = await store.release_of(ctx.conn, manifest.publisher, manifest.name, manifest.version)
    if there is not None and _same(there, contents):
        return there
    holder = await store.publisher_workspace(ctx.conn, manifest.publisher)
    if there is None:
        await _refuse_squatting(ctx, manifest)
    if holder is not None and holder != ctx.workspace_id:
        raise VersionTaken(
            f"The publisher {manifest.publisher} belongs to another workspace of this tenant.",
            code="publisher_taken",
            remedy="Use a publisher name of your own.",
        )
    if there is not None and there["workspace_id"] != ctx.workspace_id:
        raise VersionTaken(f"{manifest.pack} {manifest.version} was begun in another workspace, and failed there.")
    # What was never published may still change under its version; what was published may not.
    if there is None or there["source"]["contents"] == contents:
        return there
    if there["state"] != "failed" or there["failed_stage"] not in ("draft", "built"):
        raise VersionTaken(
            f"{manifest.pack} {manifest.version} is registered with other contents.", release_id=there["id"]
        )
    return there


def _same(there: Row, contents: str) -> bool:
    return bool(there["source"]["contents"] == contents and there["state"] != "failed")


async def _keep(
    ctx: Context, manifest: manifests.Manifest, given: handed_in.HandedIn, artifact: oci.Artifact | None
) -> None:
    """Writes what a row will name, once it may be registered: what is refused or only tried leaves nothing on the disk that
    all share. Outside of the transaction, which does not wait for a disk. Raises VersionTaken, NameTaken."""
    async with ctx.transaction() as conn:
        there = await _before(ctx, manifest, given.contents)
        source = there and await artifacts.source_of(conn, there["id"], given.contents)
    if ctx.undone:
        return
    objects = Paths(ctx.settings.home).objects
    if artifact is not None and (not source or source["artifact_digest"] == artifact.digest):
        await asyncio.to_thread(oci.keep, objects, artifact)
    if given.tree:
        await asyncio.to_thread(trees.keep, objects, given.contents, given.tree)


async def _refuse_squatting(ctx: Context, manifest: manifests.Manifest) -> None:
    """Raises NameTaken for a new identity that may be taken for one of another publisher. Names are compared one
    registration after another, so that two that clash are not registered at once."""
    assert ctx.tenant_id is not None
    assert ctx.workspace_id is not None
    await store.lock_identity(ctx.conn, ctx.tenant_id, "*")
    known = await lifecycle.packs_of_tenant(ctx.conn)
    clash = names.squatting(manifest.publisher, manifest.name, ctx.workspace_id, known)
    if clash is not None:
        raise NameTaken(f"{clash.because[:1].upper()}{clash.because[1:]}.", code=clash.code, other=clash.other)


async def run_registration(ctx: Context, release_id: str, *, stages: int = len(model.RELEASE_ROAD)) -> Row:
    """Takes a release through its stages, each committed by itself, at most so many of them. Run by the worker as the
    platform. Returns the release.

    Safe to run twice and after a crash: every stage is decided by the committed state. Raises Unavailable while nothing
    can be written down. Never raises for a release that fails; it becomes `failed` with the stage, the reason, a message
    and the redacted output tail.
    """
    waited = 0
    while True:
        async with ctx.transaction() as conn:
            row = await store.release(conn, release_id)
        if row is None:
            raise ReleaseNotFound(f"There is no release {release_id}.")
        stage = row["state"]
        if stage not in _STAGES or stages <= 0:
            return row
        following, reason, work = _STAGES[stage]
        try:
            with telemetry.span(ctx.trace_id, f"pack.release.{stage}", ctx.span_id, release_id=release_id):
                columns = await work(ctx, row)
        except StageFailed as failure:
            await _failed(ctx, row, failure.reason, str(failure), failure.more)
        except Problem as problem:
            if problem.problem_code in (*AWAY, "no_free_session"):
                # It says nothing about the release: the job waits, and takes this stage again.
                raise
            if problem.problem_code == "process_unavailable" and waited < HOST_PATIENCE:
                # The host may be starting: a registration survives that.
                waited += 1
                await asyncio.sleep(1)
                continue
            code = (
                "host_unavailable" if problem.problem_code in ("process_unavailable", "internal") else _FAILURES[stage]
            )
            more = {"code": problem.problem_code, "remedy": problem.remedy, **problem.extra}
            await _failed(ctx, row, code, problem.detail, more)
        else:
            stages -= 1
            # Of a stage that has moved on by itself nothing is left to do: `_move` sees that.
            await _move(ctx, row, following, reason, **_DONE, **columns)


async def _build(ctx: Context, row: Row) -> Row:
    package = row["manifest"]["runtime"]["package"]
    tree_path: str | None = None
    if package["ecosystem"] == "path":
        root, contents = Paths(ctx.settings.home).objects, row["source"]["contents"]
        if not await asyncio.to_thread(trees.intact, root, contents, row["source"]["files"]):
            raise StageFailed(
                "build_failed", "The files that were sent are not there any more, or changed; register again."
            )
        tree_path = str(trees.place(root, contents))
    built = await hosting.client(ctx).build(
        release_id=row["id"],
        package=package,
        lock_text=row["lock_text"],
        tree_path=tree_path,
        command=row["manifest"]["runtime"].get("command"),
        tenant_id=row["tenant_id"],
        traceparent=ctx.traceparent,
    )
    return {
        "env_path": built["env_path"],
        "entry": built["entry"],
        "tree_digest": built["tree_digest"],
        "packages": built["installed"],
    }


async def _publish(ctx: Context, row: Row) -> Row:
    try:
        await artifacts.keep(ctx, row)
    except oci.ArtifactProblem as problem:
        raise StageFailed("build_failed", f"The artifact cannot be kept: {problem}.") from problem
    return {"digest": rules.release_digest(row["manifest"], row["lock_text"], row["tree_digest"])}


async def _claim_identity(ctx: Context, row: Row) -> Row:
    """Who holds the publisher, and the move that makes its holder known, in one transaction: until its end nobody else
    registers under this publisher."""
    async with ctx.transaction() as conn:
        await store.lock_identity(conn, row["tenant_id"], row["publisher"])
        holder = await store.publisher_workspace(conn, row["publisher"])
        if holder != row["workspace_id"]:
            raise StageFailed(
                "identity_refused", f"The publisher {row['publisher']} belongs to another workspace of this tenant."
            )
        following, reason, _work = _STAGES["published"]
        await _move(ctx, row, following, reason, **_DONE)
    return {}


async def _probe(ctx: Context, row: Row) -> Row:
    manifest, _notices = manifests.read(row["manifest"])
    session = hosting.session(ctx, row, None) | {"isolation": await exposure.required_of(ctx, row["workspace_id"])}
    probed = await hosting.client(ctx).probe(session=session, traceparent=ctx.traceparent)
    if problem := rules.listing_problem(probed["tools"]):
        raise StageFailed("probe_failed", problem)
    differences = rules.tool_differences(manifest, probed["tools"])
    if differences:
        tools = sorted({item["tool"] for item in differences})
        raise StageFailed(
            "tools_differ", f"The server and the manifest differ in {', '.join(tools)}.", differences=differences
        )
    if not probed["tools"]:
        raise StageFailed("probe_failed", "The server lists no tool.")
    for tool in probed["tools"]:
        if foreign := rules.foreign_references([tool.get("input_schema"), tool.get("output_schema")]):
            raise StageFailed(
                "probe_failed", f"The schema of {tool['name']} refers to {foreign[0][:200]}, outside of itself."
            )
        if faults := schemas.faults([tool.get("input_schema"), tool.get("output_schema")]):
            raise StageFailed("probe_failed", f"The schema of {tool['name']}: {faults[0][:300]}.")
    return {
        "tools": rules.freeze(manifest, probed["tools"]),
        "server_pin": rules.server_pin(probed.get("instructions")),
        "probe": {
            "server_info": probed.get("server_info"),
            "protocol": probed.get("protocol"),
            "instructions": probed.get("instructions"),
        },
    }


async def _release(_ctx: Context, _row: Row) -> Row:
    return {}


_DONE: Row = {"failed_stage": None, "error": None, "tries": 0, "next_try": None}
_STAGES = {
    "draft": ("built", "waiting_for_publication", _build),
    "built": ("published", "waiting_for_identity", _publish),
    "published": ("registered", "waiting_for_probe", _claim_identity),
    "registered": ("probed", "waiting_for_release", _probe),
    "probed": ("released", "release_in_service", _release),
}
_FAILURES = {
    "draft": "build_failed",
    "built": "build_failed",
    "published": "identity_refused",
    "registered": "probe_failed",
    "probed": "probe_failed",
}


async def _failed(ctx: Context, row: Row, reason: str, message: str, more: Row) -> None:
    """The stage failed: with its cause, and when it is tried again."""
    error, tries = _error(reason, message, more), row["tries"] + 1
    pause = rules.stage_pause(reason, str(error["code"]), tries)
    due = None if pause is None else clock.now() + timedelta(seconds=pause)
    await _move(ctx, row, "failed", reason, failed_stage=row["state"], error=error, tries=tries, next_try=due)


def _error(code: str, message: str, more: dict[str, Any]) -> Row:
    return {"code": code, "message": text(message)[:4000], **redact(more)}


async def _move(ctx: Context, row: Row, state: str, reason: str, **columns: Any) -> None:
    async with ctx.transaction() as conn:
        now = await store.release_for_update(conn, row["id"])
        # Another worker was faster: what it committed stands, and the loop reads it.
        if now is None or now["state"] != row["state"] or now["since"] != row["since"]:
            return
        model.RELEASE.check(row["state"], state)
        await store.move_release(conn, row["id"], state, reason, **columns)
        ctx.record(events.release(events.RELEASE_MOVED, row, row["state"], state, reason))
        if state == "released":
            await ctx.publish("release.released", {"release_id": row["id"]})
        ctx.commit_points("release.stage")


async def drop_quietly(ctx: Context, attachment_id: str) -> None:
    """Ends the warm sessions of an attachment. The next call checks the attachment anyway, so a host that is down is
    fine."""
    try:
        await hosting.client(ctx).drop(attachment_id=attachment_id)
    except Problem:
        log.warning("the sessions of %s could not be dropped", attachment_id)
