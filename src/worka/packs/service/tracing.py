"""Where a running thing comes from, who uses it, which gates a release has passed, and what fails by which reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from worka.approvals import explain as approvals
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.packs import actions, model, rules
from worka.packs import manifest as manifests
from worka.packs import store as packs
from worka.packs.lifecycle import grade, picture, sbom, store, told
from worka.packs.lifecycle.errors import NothingThere, WithdrawalNotFound
from worka.packs.service import reaching, reading, withdrawing

Row = dict[str, Any]
USERS = 50
"""How many attachments of its pack the answer about a tool names."""


async def lineage(ctx: Context, workspace_id: str, subject: str) -> Row:
    """From a tool, an attachment or an invocation back to the source, read in one statement; with what was taken away of
    it, and what an operator asks of it answered one by one. Raises NothingThere."""
    missing = NothingThere(f"Nothing is traced from {subject[:140]} here.")
    async with ctx.transaction() as conn:
        found = await store.lineage(conn, workspace_id, subject)
        if found is None:
            raise missing
        place, pack = found["attachment"]["workspace_id"], found["release"]["pack"]
        decision = await ctx.decide(actions.VIEW.name, Resource("pack", pack, place, {"pack": pack}))
        if decision.verdict == "deny":
            raise missing
        gone = await store.last_withdrawal(conn, [found["attachment"]["id"], found["release"]["id"], pack])
        release = await packs.release(conn, found["release"]["id"])
        assert release is not None
        seen = await reaching.seen_by(ctx, await store.places_of(conn, pack))
        using = await store.users_of(conn, pack, sorted(seen), None, USERS)
        reach = await reaching.of_row(ctx, release)
    return {
        "subject": subject,
        **found,
        "withdrawal": None if gone is None else {key: gone[key] for key in ("id", "act", "why", "by_name", "at")},
        "sentence": _line(found),
        "answers": told.answers(found, release, using, reach),
    }


def _line(found: Row) -> str:
    """The whole line in a sentence. Pure."""
    release, attachment, approval = found["release"], found["attachment"], found["approval"]
    where = told.declared(found["source"]["declared"])
    agreed = [vote["name"] for vote in approval["votes"] if vote["decision"] == "approve"] if approval else []
    consent = (
        f"approved by {', '.join(agreed)}"
        if agreed
        else "let through by a bypass"
        if approval and approval["bypass_id"]
        else "policy asked nobody"
    )
    return (
        f"{found['tool'] or release['pack']} is {release['pack']} {release['version']} ({(release['digest'] or '')[:12]}),"
        f" from {where or 'an undeclared source'}, registered by {release['registered_by_name']}, attached to"
        f" {attachment['workspace'] or attachment['workspace_id']} by {attachment['attached_by_name']}; {consent}."
    )


async def users(ctx: Context, pack: str, after: str | None, limit: int) -> list[Row]:
    """The workspaces that use a pack, as far as the reader sees packs in them (GOV-12). Raises PackNotFound."""
    async with ctx.transaction() as conn:
        await reaching.visible_pack(ctx, pack)
        seen = await reaching.seen_by(ctx, await store.places_of(conn, pack))
        return await store.users_of(conn, pack, sorted(seen), after, limit)


async def taken(ctx: Context, *subjects: str, acts: tuple[str, ...] = ()) -> Row | None:
    """The newest withdrawal of one of these (of these acts, where any are named), as its reader sees it; None where there is
    none that they see."""
    async with ctx.transaction() as conn:
        row = await store.last_withdrawal(conn, subjects, *acts)
    try:
        return await withdrawing.show(ctx, row["id"]) if row else None
    except WithdrawalNotFound:
        return None


async def graded(ctx: Context, release_id: str) -> Row:
    """The grade of a release with its checks. Raises ReleaseNotFound."""
    row = await reading.release(ctx, release_id)
    found = grade.of(row)
    return {"release_id": release_id, **found, "sentence": grade.in_words(found)}


async def bill(ctx: Context, release_id: str) -> Row:
    """The bill of materials of a release. Raises ReleaseNotFound."""
    return sbom.document(await reading.release(ctx, release_id))


async def failures(ctx: Context, workspace_id: str, days: int, pack: str | None) -> list[Row]:
    """Failed calls and registrations of the last days by reason, most often first, each with what the reason means."""
    await ctx.require(actions.INVOCATION_VIEW.name, Resource("invocation", "*", workspace_id))
    async with ctx.transaction() as conn:
        rows = await store.failures(conn, workspace_id, now() - timedelta(days=days), pack)
    return [{**row, "meaning": rules.meaning(row["reason"])} for row in rows]


GATES = ("source", "build", "publication", "registration", "probe", "review", "approvals")
_STAGE_OF = {"build": "draft", "publication": "built", "registration": "published", "probe": "registered"}
_REASON_OF = {
    "build": "built from its hashed lock, nothing of it was run",
    "publication": "its digest is fixed: the same version never has other contents",
    "registration": "the publisher's name is this workspace's",
    "probe": "it started in the sandbox and listed the tools that it declares",
}


async def gates(ctx: Context, release_id: str) -> Row:
    """Every gate in order: {release_id, name, state, gates: [{name, state, because, ref, who, you_can}], blocking}. A gate is
    satisfied, waiting, failed, missing (not reached), not_needed, or closed (taken away). Raises ReleaseNotFound."""
    async with ctx.transaction() as conn:
        row = await reading.release(ctx, release_id)
        pack = f"{row['publisher']}.{row['name']}"
        waiting = await store.awaiting_of_release(conn, release_id)
        given = await store.decided_of_release(conn, release_id)
        seen = await reaching.seen_by(ctx, (item["workspace_id"] for item in (*waiting, *given)))
        gone = await store.last_withdrawal(conn, [release_id, pack])
        asked = [
            (item, await approvals.waiting_on(ctx, item["approval_id"]))
            for item in waiting
            if item["workspace_id"] in seen and item["state"] == "awaiting_approval" and item["approval_id"]
        ]
    found = [_source_gate(row), *(_stage_gate(row, name) for name in _STAGE_OF), _review_gate(row)]
    found += _approval_gates(row, asked, [item for item in given if item["workspace_id"] in seen])
    if row["state"] in ("revoked", "quarantined"):
        found.append(
            _gate(
                "standing",
                "closed",
                withdrawing.said(gone) if gone else rules.meaning(row["reason"]),
                ref=gone["id"] if gone else None,
            )
        )
    return {
        "release_id": release_id,
        "name": f"{pack} {row['version']}",
        "state": row["state"],
        "gates": found,
        "blocking": [gate for gate in found if gate["state"] in ("waiting", "failed", "closed")],
    }


def _gate(name: str, state: str, because: str, **more: Any) -> Row:
    return {
        "name": name,
        "state": state,
        "because": because,
        "ref": None,
        "who": [],
        "you_can": False,
        "since": None,
        **more,
    }


def _source_gate(row: Row) -> Row:
    declared = row["manifest"].get("source")
    if not declared:
        return _gate("source", "missing", "the manifest names no source: what was handed in is known by its hash alone")
    said = (
        ", ".join(f"{key} {value}" for key, value in sorted(declared.items()))
        if isinstance(declared, dict)
        else declared
    )
    return _gate("source", "satisfied", str(said))


def _stage_gate(row: Row, name: str) -> Row:
    stage = _STAGE_OF[name]
    road = model.RELEASE_ROAD
    if row["state"] == "failed":
        at = road.index(row["failed_stage"])
        if road.index(stage) == at:
            error = row["error"] or {}
            return _gate(
                name,
                "failed",
                f"{rules.meaning(row['reason'])} {error.get('message', '')}".strip()[:600],
                since=row["since"],
            )
        state = "satisfied" if road.index(stage) < at else "missing"
    elif row["state"] in road:
        here = road.index(row["state"])
        state = "satisfied" if road.index(stage) < here else "waiting" if road.index(stage) == here else "missing"
    else:
        state = "satisfied"
    because = {"waiting": "the platform does this by itself", "missing": "not reached"}.get(state, _REASON_OF[name])
    return _gate(name, state, because, who=["the platform"] if state == "waiting" else [])


def _review_gate(row: Row) -> Row:
    """What a person who attaches it is shown: its risk, what it may, its grade. It blocks nothing by itself."""
    if not row["probe"]:
        return _gate("review", "missing", "there is nothing to look at before it was probed")
    manifest, _notices = manifests.read(row["manifest"])
    facts = rules.attach_facts(manifest, row["tools"], [mount.name for mount in manifest.runtime.mounts])
    graded = grade.of(row)
    words = rules.attach_effect(facts, [need for need in rules.connection_needs(row["manifest"]) if need["endpoint"]])
    return _gate(
        "review",
        "satisfied",
        f"risk {facts['risk']}; {words}; grade {graded['grade']}, {graded['passed']} of {graded['of']} checks hold",
    )


def _approval_gates(row: Row, asked: list[tuple[Row, Any]], given: list[Row]) -> list[Row]:
    found = [
        _gate(
            "approvals", "waiting", f"{told.name}: {told.because}" if told.because else told.name, ref=item["approval_id"],
            who=list(told.who), you_can=told.you_can, since=item["since"],
        )
        for item, told in asked
        if told is not None
    ]  # fmt: skip
    if found:
        return found
    if row["state"] not in ("released", "revoked", "quarantined"):
        return [_gate("approvals", "missing", "nobody is asked before it is released")]
    agreed = [item for item in given if item["approval_id"]]
    if agreed:
        return [
            _gate(
                "approvals",
                "satisfied",
                f"attaching it was approved in {picture.counted('workspaces', len(agreed))}",
                ref=agreed[0]["approval_id"],
            )
        ]
    return [_gate("approvals", "not_needed", "no attachment of it waits for anybody")]
