"""Use cases of proposals: made out of a refusal or out of what is not used, accepted, rejected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from worka.broker.policy import rules as policy
from worka.broker.policy import service as policies
from worka.broker.policy import store as policy_rows
from worka.broker.records import service as ledger
from worka.broker.rules import READING, RuleProblem, parse_rules
from worka.kernel.context import Context, Principal, Resource
from worka.kernel.ids import new_id
from worka.kernel.kinds import kind_of
from worka.kernel.paths import Paths
from worka.packs import actions, events, model, trees
from worka.packs import manifest as manifests
from worka.packs import store as rows
from worka.packs.errors import AttachmentNotUsable, ManifestInvalid
from worka.packs.moving import difference as between
from worka.packs.moving import steps
from worka.packs.moving import store as moves
from worka.packs.moving.ending import end_open
from worka.packs.proposals import difference, store
from worka.packs.proposals.errors import NothingToPropose, ProposalNotFound, ProposalOver, ProposalRejected
from worka.packs.service import reading, releases

Row = dict[str, Any]


# made -----------------------------------------------------------------------------------------------------------------
async def propose(
    ctx: Context,
    egress_id: str,
    *,
    why: str = "",
    port: int | None = None,
    method: str | None = None,
    path: str | None = None,
    again: bool = False,
) -> Row:
    """Exactly what a row of the ledger was refused, as a proposal whose owner is the caller; the one that is open already,
    counted, where somebody proposed it before. Raises EgressUnknown, Denied, NothingToPropose, ProposalRejected."""
    refused = await ledger.one(ctx, egress_id)
    try:
        kind, found = difference.of_denial(refused, port, method.upper() if method else None, path)
    except ValueError as error:
        raise NothingToPropose(f"{egress_id}: {error}.", reason=refused["reason"]) from error
    return await _made(
        ctx, refused["attachment_id"], kind, found, cause=refused["reason"], refused=[egress_id], why=why, again=again
    )


async def propose_difference(ctx: Context, attachment_id: str, found: Row, *, why: str, again: bool = False) -> Row:
    """What is declared and not used, as a proposal to take it away. Raises AttachmentNotFound, Denied, NothingToPropose,
    ProposalRejected."""
    if not found["remove"] and not found["drop"]:
        raise NothingToPropose("All that it declares was used.", attachment_id=attachment_id)
    return await _made(ctx, attachment_id, "narrow", found, cause="declared_unused", refused=[], why=why, again=again)


async def _made(
    ctx: Context,
    attachment_id: str,
    kind: str,
    found: Row,
    *,
    cause: str,
    refused: Sequence[str],
    why: str,
    again: bool,
) -> Row:
    row = await reading.attachment(ctx, attachment_id)
    async with ctx.transaction() as conn:
        inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
        place = Resource("workspace", row["workspace_id"], row["workspace_id"])
        await inside.require(actions.PROPOSE.name, place, pack=row["pack"])
        await store.lock_attachment(conn, attachment_id)
        row = await rows.attachment(conn, attachment_id) or row
        if row["state"] == "detached":
            raise AttachmentNotUsable(f"{row['pack']} is detached.", attachment_id=attachment_id, state=row["state"])
        release = await rows.release(conn, row["release_id"])
        assert release is not None
        if kind == "widen" and _allowed(release["manifest"], found):
            raise NothingToPropose(
                f"{row['pack']} {release['version']}, which is attached, declares it already.",
                reason="allowed_meanwhile",
            )
        _applied(release["manifest"], kind, found)
        digest = difference.digest(attachment_id, kind, found)
        there = await store.newest(conn, attachment_id, digest)
        if there is not None and there["state"] == "open":
            made = await store.again(conn, there["id"], [*there["refused"], *refused])
        else:
            if there is not None and there["state"] == "rejected" and not again:
                raise ProposalRejected(
                    f"{there['id']} was rejected: {there['decided_why'] or 'no reason was given'}.",
                    proposal_id=there["id"],
                )
            made = await store.add(
                conn,
                {
                    "tenant_id": ctx.tenant_id, "id": new_id("epr"), "workspace_id": row["workspace_id"],
                    "attachment_id": attachment_id, "pack": row["pack"], "release_id": release["id"], "kind": kind,
                    "digest": digest, "difference": found, "cause": cause, "refused": list(refused), "why": why,
                    "owner_kind": ctx.principal.kind, "owner_id": ctx.principal.id,
                    "originating_person": ctx.originating_person,
                },
            )  # fmt: skip
        inside.record(events.proposal(events.PROPOSAL_MADE, made, None, difference.said(kind, found), why=why))
        ctx.failpoint("egress.proposal.before_commit")
        return await _shown(inside, made)


def _allowed(manifest: Row, found: Row) -> bool:
    """Whether a manifest lets through already, for tools of every class, what a difference would add."""
    try:
        declared = parse_rules(manifest.get("outbound_domains") or [])
        wanted = parse_rules(found["add"])
    except RuleProblem:
        return False
    return all(
        any(
            policy.inside(policy.Item(rule), policy.Item(other))
            and rule.opaque == other.opaque
            and (other.websocket or not rule.websocket)
            and (other.methods is not None or (rule.methods is not None and rule.methods <= READING))
            for other in declared
        )
        for rule in wanted
    )


def _applied(manifest: Row, kind: str, found: Row) -> Row:
    """The manifest as it would be. Raises NothingToPropose where that is no manifest."""
    if kind == "policy":
        return manifest
    try:
        made = difference.apply(manifest, found)
        manifests.read(made)
    except difference.Gone as gone:
        raise NothingToPropose(f"{gone} is not in its manifest.", reason="manifest_changed") from gone
    except ManifestInvalid as invalid:
        errors = invalid.extra.get("errors") or [{}]
        raise NothingToPropose(f"That would be no manifest: {errors[0].get('message', invalid.detail)}.") from invalid
    return made


# decided --------------------------------------------------------------------------------------------------------------
async def accept(ctx: Context, proposal_id: str, why: str = "") -> Row:
    """Makes it into a release with a move to it, or into a change of policy, as the caller: both ask for what they always ask
    for. What is not needed any more, or cannot be made any more, ends as superseded.

    Raises ProposalNotFound, Denied, ProposalOver, and what registering or a change of policy raises."""
    async with ctx.transaction() as conn:
        inside, row = await _deciding(ctx, proposal_id)
        attached = await rows.attachment(conn, row["attachment_id"])
        if attached is None or attached["state"] == "detached":
            return await _end(inside, row, "superseded", "attachment_removed", why)
        if row["kind"] == "policy":
            return await _into_policy(inside, row, why)
        return await _into_release(inside, row, attached, why)


async def reject(ctx: Context, proposal_id: str, why: str) -> Row:
    """Ends it, and remembers that. Raises ProposalNotFound, Denied, ProposalOver."""
    async with ctx.transaction():
        inside, row = await _deciding(ctx, proposal_id)
        return await _end(inside, row, "rejected", "proposal_rejected", why)


async def _deciding(ctx: Context, proposal_id: str) -> tuple[Context, Row]:
    known = await _visible(ctx, proposal_id)
    inside = ctx.acting(ctx.principal, workspace_id=known["workspace_id"])
    place = Resource("workspace", known["workspace_id"], known["workspace_id"])
    await inside.require(actions.PROPOSAL_DECIDE.name, place, pack=known["pack"])
    await store.lock_attachment(ctx.conn, known["attachment_id"])
    row = await store.get(ctx.conn, proposal_id, lock=True)
    assert row is not None
    if row["state"] != "open":
        raise ProposalOver(f"It is {row['state']} ({row['reason']}).", proposal_id=proposal_id, state=row["state"])
    return inside, row


async def _end(ctx: Context, row: Row, state: str, reason: str, why: str, **made: Any) -> Row:
    by = ctx.originating_person or ctx.principal.id
    done = await store.decide(ctx.conn, row["id"], state, reason, decided_by=by, decided_why=why, **made)
    words = difference.said(row["kind"], row["difference"])
    ctx.record(events.proposal(events.PROPOSAL_DECIDED, done, row["state"], words, why=why, **made))
    ctx.failpoint("egress.proposal.before_commit")
    return await _shown(ctx, done)


async def _into_policy(ctx: Context, row: Row, why: str) -> Row:
    scope, part = row["difference"]["scope"], row["difference"]["part"]
    there = await policy_rows.newest(ctx.conn, policies.place(scope, row["workspace_id"]))
    settings = dict(there["settings"]) if there else {}
    settings[part] = [
        *(settings.get(part) or []),
        *(i for i in row["difference"]["add"] if i not in settings.get(part, ())),
    ]
    note = f"{row['id']}: {why or row['why']}"[:2000]
    saved = await policies.save(
        ctx, row["workspace_id"], scope=scope, settings=settings, note=note, over=there["version"] if there else 0
    )
    return await _end(ctx, row, "accepted", "made_into_policy", why, change_id=saved.get("id"))


async def _into_release(ctx: Context, row: Row, attached: Row, why: str) -> Row:
    conn = ctx.conn
    running = await rows.release(conn, attached["release_id"])
    assert running is not None
    # What was accepted before and is still on its way must not be lost by the next one.
    base = await store.accepted_of(conn, row["attachment_id"]) or running
    if row["kind"] == "widen" and _allowed(base["manifest"], row["difference"]):
        return await _end(ctx, row, "superseded", "allowed_meanwhile", why)
    try:
        made = difference.apply(base["manifest"], row["difference"])
    except difference.Gone:
        return await _end(ctx, row, "superseded", "manifest_changed", why)
    taken = await store.versions_of(conn, base["publisher"], base["name"])
    made["version"] = difference.next_version(base["version"], taken)
    tree = await asyncio.to_thread(_tree, ctx, base, made)
    there = ctx.acting(ctx.principal, workspace_id=base["workspace_id"])
    release = await releases.register(there, made, lock_text=base["lock_text"], tree=tree)
    done = await _end(ctx, row, "accepted", "made_into_release", why, made_release=release["id"])
    return done


def _tree(ctx: Context, base: Row, manifest: Row) -> dict[str, bytes] | None:
    """The files of a release whose files are the pack, with the manifest that it is registered with now."""
    if base["manifest"]["runtime"]["package"]["ecosystem"] != "path":
        return None
    root = trees.place(Paths(ctx.settings.home).objects, base["source"]["contents"])
    files = {name: (root / name).read_bytes() for name in base["source"]["files"]}
    if manifests.PLACE in files or manifests.OLDER_PLACE in files:
        files.pop(manifests.OLDER_PLACE, None)
        files[manifests.PLACE] = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    return files


async def release_released(ctx: Context, payload: Row) -> None:
    """In the transaction in which a release can be attached: the attachment whose proposal it was made of is moved to it, as
    whoever accepted the proposal. The move is decided by its job, so that nobody's rights stand in the way of the release."""
    conn = ctx.conn
    for row in await store.made_of(conn, payload["release_id"]):
        attached, old, new = await steps.locked(conn, row["attachment_id"], payload["release_id"])
        if attached["state"] not in model.SERVING or attached["state"] == "updating" or old["id"] == new["id"]:
            continue  # a person asks for the move: the proposal names the release
        inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
        await end_open(inside, attached["id"], "newer_move")
        kind = kind_of(row["decided_by"])
        who = Principal(kind.name if kind else "person", row["decided_by"], "", row["tenant_id"])  # type: ignore[arg-type]
        told = between.between(steps.as_compared(old), steps.as_compared(new))
        made = await steps.plan(
            inside, attached, old, new, "asked", told, steps.mounts_of(attached, new, []), new_id("mov"), who,
            row["decided_by"], f"{row['id']}: {difference.said(row['kind'], row['difference'])}"[:500],
        )  # fmt: skip
        await store.set_move(conn, row["id"], made["id"])
        await moves.enqueue_move(conn, row["tenant_id"], made["id"])


# read -----------------------------------------------------------------------------------------------------------------
async def _visible(ctx: Context, proposal_id: str) -> Row:
    row = await store.get(ctx.conn, proposal_id)
    if row is not None:
        seen = Resource("pack", row["pack"], row["workspace_id"], {"pack": row["pack"]})
        if (await ctx.decide(actions.VIEW.name, seen)).verdict != "deny":
            return row
    raise ProposalNotFound(f"There is no proposal {proposal_id}.")


async def get(ctx: Context, proposal_id: str) -> Row:
    """One proposal, with what became of it. Raises ProposalNotFound."""
    async with ctx.transaction():
        return await _shown(ctx, await _visible(ctx, proposal_id))


async def listing(
    ctx: Context, workspace_id: str, state: str | None, attachment_id: str | None, after: str | None, limit: int
) -> list[Row]:
    """A workspace's proposals, newest first. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.VIEW.name, Resource("pack", "*", workspace_id))
        found = await store.page(conn, workspace_id, state, attachment_id, after, limit)
        stands = await store.standing(conn, [row["id"] for row in found])
    return [shown(row, stands[row["id"]]) for row in found]


async def _shown(ctx: Context, row: Row) -> Row:
    return shown(row, (await store.standing(ctx.conn, [row["id"]]))[row["id"]])


def shown(row: Row, stands: Row) -> Row:
    """A proposal as the API shows it."""
    keys = ("id", "workspace_id", "attachment_id", "pack", "release_id", "kind", "difference", "cause", "refused", "times",
            "state", "reason", "since", "why", "owner_kind", "owner_id", "originating_person", "decided_by", "decided_why",
            "made_release", "change_id", "created_at", "last_at")  # fmt: skip
    return {
        **{key: row[key] for key in keys},
        "words": difference.said(row["kind"], row["difference"]),
        "owner_name": stands["owner_name"],
        "decided_by_name": stands["decided_by_name"],
        "became": _became(row, stands),
        **{
            key: stands[key]
            for key in ("version", "release_state", "move_id", "move_state", "change_state", "policy_version")
        },
        "approval_id": stands["move_approval"] or stands["change_approval"],
    }


def _became(row: Row, stands: Row) -> str:
    """What became of it, in words: nothing says that something is in force that is not."""
    if row["state"] != "accepted":
        return "" if row["state"] == "open" else f"it is {row['state']}"
    if row["kind"] == "policy":
        if row["change_id"] is None:
            return "policy says so now"
        state = stands["change_state"]
        if state == "in_force":
            return f"policy says so since version {stands['policy_version']}"
        return "the change waits for another owner" if state == "open" else f"the change was {stands['change_outcome']}"
    made = f"release {stands['version']}"
    if stands["move_state"] == "moved":
        return f"{made} is attached"
    if stands["move_id"] is not None:
        return f"the move to {made} is {stands['move_state'].replace('_', ' ')} ({stands['move_reason'].replace('_', ' ')})"
    if stands["release_state"] == "released":
        return f"{made} is there; nobody has moved the attachment to it"
    return f"{made} is {stands['release_state']} ({str(stands['release_reason']).replace('_', ' ')})"
