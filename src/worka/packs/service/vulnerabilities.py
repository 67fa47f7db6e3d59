"""Known vulnerabilities against what releases hold (GOV-16): a feed is handed in, every release that may run is checked
against it, and a hit opens a proposal to quarantine the release: an approval, not an act.

Nothing is fetched: an instance without a way out is as safe as one with it. The feed is the tenant's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.kernel import canonical
from worka.kernel.context import Context, Principal, Resource
from worka.kernel.ids import new_id
from worka.packs import actions, events, store
from worka.packs.lifecycle import advisories, sbom
from worka.packs.lifecycle import store as lifecycle
from worka.packs.service import withdrawing

Row = dict[str, Any]
SUBJECT = "release_finding"
BOUNDARY = "pack.quarantine"
OWN_RULES = ("approve:1",)
"""A machine found it, so a person looks at it whatever policy says."""
AT_ONCE = 200


async def take_in(ctx: Context, workspace_id: str, documents: Sequence[Any]) -> Row:
    """Takes a feed of OSV documents in, whole or not at all, and checks every release: {read, taken, checked, hits,
    proposals}. Raises FeedInvalid, Denied."""
    async with ctx.transaction() as conn:
        await _may(ctx)
        found = advisories.read(documents)
        rows = [{**row, "tenant_id": ctx.tenant_id, "imported_by": ctx.principal.id} for row in found]
        taken = await lifecycle.put_advisories(conn, rows)
        checked = await _check(ctx, frozenset(taken))
        ctx.record(
            events.advisories(
                workspace_id, ctx.principal.id, read=len(documents), taken=len(taken), hits=checked["hits"]
            )
        )
        ctx.commit_points("pack.advisories")
        return {"read": len(documents), "taken": len(taken), **checked}


async def check_again(ctx: Context, workspace_id: str) -> Row:
    """Checks every release against what was handed in before: {checked, hits, proposals}. Raises Denied."""
    async with ctx.transaction():
        await _may(ctx)
        found = await _check(ctx)
        ctx.commit_points("pack.advisories")
        return found


async def _may(ctx: Context) -> None:
    """What is known, and the releases that it is checked against, are the tenant's: it takes the right in all of it."""
    await ctx.require(actions.ADVISORY_IMPORT.name, Resource("tenant", ctx.tenant_id or "", None))


async def _check(ctx: Context, changed: frozenset[str] = frozenset()) -> Row:
    """In the caller's transaction: new hits, those that are none any more, and a proposal for each release that is hit
    and that the caller may quarantine. Of others the hit stands, for whoever may. `changed`: the advisories that say
    something else than before, on which nobody has decided yet."""
    conn = ctx.conn
    checked = hits = proposals = 0
    after: str | None = None
    while rows := await lifecycle.releases_with_packages(conn, after, AT_ONCE):
        after = rows[-1]["id"]
        for row in rows:
            checked += 1
            made, fresh = await _check_one(ctx, row, changed)
            hits += fresh
            proposals += made
    return {"checked": checked, "hits": hits, "proposals": proposals}


def hits_of(release: Row, known: Sequence[Row]) -> list[Row]:
    """[{advisory, package, version, summary, severity}] of a release's installed packages. Pure."""
    ecosystem = sbom.ecosystem_of(release)
    return [
        {"advisory": advisory["id"], "package": item["name"], "version": item["version"],
         "summary": advisory["summary"], "severity": advisory["severity"]}
        for item in release["packages"] or []
        for advisory in known
        if advisories.hit(ecosystem, item["name"], item["version"], advisory["affects"])
    ]  # fmt: skip


async def release_released(ctx: Context, payload: Row) -> None:
    """In the transaction in which a release goes into service: what was handed in before is held against it too. Nothing is
    proposed: whoever attaches it sees what is found, and the next feed asks on the account of who hands it in."""
    release = await store.release(ctx.conn, payload["release_id"])
    assert release is not None
    await _find(ctx, release, frozenset())


async def _check_one(ctx: Context, release: Row, changed: frozenset[str]) -> tuple[int, int]:
    """(proposals made, new hits) of one release."""
    hits = await _find(ctx, release, changed)
    return await _propose(ctx, release), hits


async def _find(ctx: Context, release: Row, changed: frozenset[str]) -> int:
    """What is found in one release is as what is known by now; how many hits are new."""
    conn = ctx.conn
    ecosystem = sbom.ecosystem_of(release)
    wanted = [
        {"ecosystem": ecosystem, "package": advisories.plain(ecosystem, item["name"])}
        for item in release["packages"] or []
    ]
    found = hits_of(release, await lifecycle.advisories_for(conn, wanted)) if wanted else []
    before = await lifecycle.findings_of_release(conn, release["id"])
    there = {(hit["advisory"], hit["package"]) for hit in found}
    other = [
        row for row in before if row["advisory_id"] in changed or (row["advisory_id"], row["package"]) not in there
    ]
    if any(row["state"] == "proposed" for row in other):
        # What was asked is not what is known any more: it ends, and what is left of it is asked anew.
        here = ctx.acting(ctx.principal, workspace_id=release["workspace_id"])
        await approvals.end_for(here, _subject(release["id"]), "superseded")
        for row in before:
            if row["state"] == "proposed":
                await lifecycle.move_findings(conn, [row["id"]], "open")
                ctx.record(events.finding({**row, "state": "open"}, "proposed"))
        before = await lifecycle.findings_of_release(conn, release["id"])
    gone = [
        row
        for row in before
        if (row["advisory_id"], row["package"]) not in there and row["state"] in ("open", "proposed")
    ]
    for row in gone:
        await lifecycle.move_findings(conn, [row["id"]], "gone")
        ctx.record(events.finding({**row, "state": "gone"}, row["state"]))
    back = [
        row
        for row in before
        if (row["state"] == "gone" or (row["state"] == "kept" and row["advisory_id"] in changed))
        and (row["advisory_id"], row["package"]) in there
    ]
    for row in back:
        await lifecycle.move_findings(conn, [row["id"]], "open")
        ctx.record(events.finding({**row, "state": "open"}, row["state"]))
    fresh = 0
    for hit in found:
        made = await lifecycle.add_finding(
            conn,
            {
                "tenant_id": ctx.tenant_id, "id": new_id("vul"), "workspace_id": release["workspace_id"],
                "release_id": release["id"], "advisory_id": hit["advisory"], "package": hit["package"],
                "version": hit["version"],
            },
        )  # fmt: skip
        if made is not None:
            fresh += 1
            ctx.record(events.finding(made, None))
    return fresh + len(back)


async def _propose(ctx: Context, release: Row) -> int:
    """Asks for consent to quarantine a release, for its findings that nobody has decided on. Returns how many were asked."""
    open_ = [
        row
        for row in await lifecycle.findings_of_release(ctx.conn, release["id"])
        if row["state"] in ("open", "proposed")
    ]
    if release["state"] == "quarantined" or not any(row["state"] == "open" for row in open_):
        return 0
    pack = f"{release['publisher']}.{release['name']}"
    here = ctx.acting(ctx.principal, workspace_id=release["workspace_id"])
    facts = {"pack": pack, "release": release["id"], "version": release["version"]}
    decision = await here.decide(actions.QUARANTINE.name, Resource("pack", pack, release["workspace_id"], facts))
    if decision.verdict == "deny":
        return 0
    # What was asked for fewer of them would be agreed to without having been seen.
    await approvals.end_for(here, _subject(release["id"]), "superseded")
    said = [f"{row['package']} {row['version']}: {row['advisory_id']} {row['summary']}".strip() for row in open_]
    approval = await approvals.request(
        here,
        boundary=BOUNDARY,
        action=actions.QUARANTINE.name,
        subject_type=SUBJECT,
        subject_id=_subject(release["id"]),
        title=f"Quarantine {pack} {release['version']}: known vulnerabilities",
        effect=f"Nothing of {pack} {release['version']} runs any more, until it is lifted.",
        digest=_digest(release, open_),
        card={
            "release": release["id"], "release_digest": release["digest"], "pack": pack, "version": release["version"],
            "vulnerabilities": said[:50], "vulnerabilities_more": max(0, len(said) - 50),
        },
        arguments=None,
        rules=list(decision.approval_rules),
        own_rules=OWN_RULES,
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[],
        expires_in=timedelta(days=30),
    )  # fmt: skip
    await lifecycle.move_findings(ctx.conn, [row["id"] for row in open_], "proposed", approval["id"])
    for row in open_:
        if row["state"] == "open":
            ctx.record(events.finding({**row, "state": "proposed"}, "open", {"kind": "approval", "id": approval["id"]}))
    return 1


def _subject(release_id: str) -> str:
    """What the proposal is about. Other approvals are about the release itself, and are not ended with it."""
    return f"{release_id}:vulnerabilities"


def _digest(release: Row, findings: Sequence[Row]) -> str:
    return canonical.sha256_hex(
        {
            "action": actions.QUARANTINE.name,
            "release": release["id"],
            "release_digest": release["digest"],
            "findings": sorted(row["id"] for row in findings),
        }
    )


async def approval_locking(ctx: Context, payload: Row) -> None:
    """The release before its approval, as in a withdrawal."""
    if (
        payload["subject_type"] == SUBJECT
        and (row := await store.release(ctx.conn, payload["subject_id"].partition(":")[0])) is not None
    ):
        await lifecycle.lock_standing(ctx.conn, row["tenant_id"], f"{row['publisher']}.{row['name']}")
        await store.release_for_update(ctx.conn, row["id"])


async def approval_decided(ctx: Context, payload: Row) -> None:
    """In the transaction of the decision: the release is quarantined, or its findings are kept as they are. Not ours:
    nothing happens."""
    if payload["subject_type"] != SUBJECT:
        return
    conn = ctx.conn
    found = await lifecycle.findings_of_approval(conn, payload["approval_id"])
    rows = [row for row in found if row["state"] == "proposed"]
    release = await store.release(conn, payload["subject_id"].partition(":")[0])
    if not rows or release is None:
        return
    approval = await approval_rows.get(conn, payload["approval_id"])
    assert approval is not None
    after = {"approved": "quarantined", "rejected": "kept"}.get(payload["state"], "open")
    if after == "quarantined" and (
        release["state"] == "quarantined" or not await _redeem(ctx, approval, release, rows)
    ):
        after = "open"
    if after == "quarantined":
        named = ", ".join(sorted({row["advisory_id"] for row in rows}))
        await withdrawing.release(
            ctx, "quarantine", release["id"], f"known vulnerabilities: {named[:300]}", approval=approval
        )
    await lifecycle.move_findings(conn, [row["id"] for row in rows], after)
    for row in rows:
        ctx.record(events.finding({**row, "state": after}, row["state"], {"kind": "approval", "id": approval["id"]}))


async def _redeem(ctx: Context, approval: Row, release: Row, rows: Sequence[Row]) -> bool:
    """Decides again, as who proposed it, now: their right to quarantine, and policy, count as they are at this moment."""
    asker = ctx.acting(
        Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id),
        workspace_id=release["workspace_id"],
    )
    asker.originating_person = approval["originating_person"]
    pack = f"{release['publisher']}.{release['name']}"
    facts = {"pack": pack, "release": release["id"], "version": release["version"]}
    decision = await asker.decide(actions.QUARANTINE.name, Resource("pack", pack, release["workspace_id"], facts))
    digest = _digest(release, rows)
    found = await approvals.redeem(ctx, approval["id"], digest=digest, decision=decision, used_by=release["id"])
    return found.usable


async def listed(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The findings of the releases registered here, newest first. Raises Denied."""
    await ctx.require(actions.VIEW.name, Resource("pack", "*", workspace_id))
    async with ctx.transaction() as conn:
        return await lifecycle.findings(conn, workspace_id, after, limit)


async def known(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The advisories that were handed in, by id. Raises Denied."""
    await ctx.require(actions.VIEW.name, Resource("pack", "*", workspace_id))
    async with ctx.transaction() as conn:
        return await lifecycle.advisories(conn, after, limit)
