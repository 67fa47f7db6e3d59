"""The parts that every move is made of: what policy looks at, the locks, the card, and the next state. In the caller's
transaction; locks are taken in one order: the release that it leads to, the attachment, the move, the approval."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from worka.approvals import service as approvals
from worka.kernel import canonical
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.db import Connection
from worka.packs import actions, events, rules
from worka.packs import manifest as manifests
from worka.packs import model as machines
from worka.packs import store as rows
from worka.packs.errors import AttachmentNotFound, AttachmentNotUsable, ReleaseNotFound, ReleaseNotUsable
from worka.packs.moving import dependencies, difference, store, versions
from worka.packs.moving.ending import step
from worka.packs.moving.errors import MoveUnderWay, NotNewer, OtherPack
from worka.packs.registry.service import vouching
from worka.packs.service import attachments

Row = dict[str, Any]
SUBJECT = "attachment_move"
CARD_CHANGES = 60
"""How many changes stand on an approval's card; the digest is over all of them, and the page shows all of them."""


def as_compared(release: Row) -> Row:
    """A release's row as `difference.between` takes it."""
    probe = release["probe"] or {}
    return {
        **{key: release[key] for key in ("id", "version", "digest", "manifest", "tools", "packages")},
        "instructions": probe.get("instructions"),
    }


def facts_of(row: Row, old: Row, new: Row, kind: str, chosen: dict[str, str]) -> tuple[Row, Resource, Row]:
    """(what policy may look at, what is acted on, the difference)."""
    if (old["publisher"], old["name"]) != (new["publisher"], new["name"]):
        raise OtherPack(f"{new['publisher']}.{new['name']} is not {row['pack']}.")
    manifest, _ = manifests.read(new["manifest"])
    told = difference.between(as_compared(old), as_compared(new))
    facts = rules.attach_facts(manifest, new["tools"], [mount.name for mount in manifest.runtime.mounts])
    facts |= {
        "release": new["id"], "mode": row["mode"], "widens": told["widens"] or bool(chosen),
        "redefines": told["redefines"], "automatic": kind == "followed",
    }  # fmt: skip
    return facts, Resource("pack", row["pack"], row["workspace_id"], facts), told


def movable(row: Row, old: Row, new: Row, kind: str) -> None:
    """Raises what stands against the move whoever asks for it."""
    if row["state"] == "updating":
        raise MoveUnderWay(f"{row['pack']} is being moved just now.", attachment_id=row["id"])
    if row["state"] not in machines.SERVING:
        raise AttachmentNotUsable(
            f"{row['pack']} is {row['state']}: only what serves is moved.", attachment_id=row["id"], state=row["state"]
        )
    if new["state"] != "released":
        raise ReleaseNotUsable(
            f"{row['pack']} {new['version']} is {new['state']} ({new['reason']}).", release_id=new["id"],
            state=new["state"], reason=new["reason"],
        )  # fmt: skip
    if new["id"] == old["id"] or (kind != "back" and not versions.newer(new["version"], old["version"])):
        raise NotNewer(f"{new['version']} is not newer than {old['version']}, which is attached.")


async def locked(conn: Connection, attachment_id: str, release_id: str) -> tuple[Row, Row, Row]:
    """(attachment, its release, the other release). The release is locked before the attachment, as where it is released,
    revoked or quarantined."""
    new = await rows.release_for_update(conn, release_id)
    if new is None:
        raise ReleaseNotFound(f"There is no release {release_id}.")
    row = await rows.attachment_for_update(conn, attachment_id)
    if row is None:
        raise AttachmentNotFound(f"There is no attachment {attachment_id}.")
    old = await rows.release(conn, row["release_id"])
    assert old is not None
    return row, old, new


async def fits(ctx: Context, row: Row, new: Row) -> None:
    """Raises what keeps a release from being attached here at all, however it comes: ToolShadowed, and a signature that policy does not
    trust."""
    inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
    await attachments._refuse_shadows(inside, new)
    await vouching.check_attachable(inside, new, row["workspace_id"])


async def plan(
    ctx: Context, row: Row, old: Row, new: Row, kind: str, told: Row, mounts: list[Row], move_id: str, who: Principal,
    behind: str | None, why: str,
) -> Row:  # fmt: skip
    made = await store.insert_move(
        ctx.conn,
        {
            "tenant_id": row["tenant_id"], "id": move_id, "workspace_id": row["workspace_id"], "attachment_id": row["id"],
            "pack": row["pack"], "kind": kind, "from_release": old["id"], "to_release": new["id"], "difference": told,
            "widens": told["widens"], "redefines": told["redefines"], "mounts": mounts, "requester_kind": who.kind,
            "requester_id": who.id, "originating_person": behind, "why": why,
        },
    )  # fmt: skip
    ctx.record(
        events.move(
            events.MOVE_PLANNED, made, None, "planned", "move_planned", how=kind, widens=told["widens"],
            redefines=told["redefines"], why=why,
        )
    )  # fmt: skip
    ctx.commit_points("attachment.move")
    return made


def mounts_of(row: Row, new: Row, bound: list[Row]) -> list[Row]:
    """What the new release binds: what was chosen now, and what the attachment has under the names that it wants."""
    have = {mount["name"]: mount for mount in [*row["mounts"], *bound]}
    wanted = new["manifest"]["runtime"].get("mounts") or []
    return [{**have[m["name"]], "target": m["target"]} for m in wanted if m["name"] in have]


def lacking_mounts(new: Row, mounts: list[Row]) -> list[str]:
    have = {mount["name"] for mount in mounts}
    return [m["name"] for m in new["manifest"]["runtime"].get("mounts") or [] if m["name"] not in have]


async def go_on(ctx: Context, move: Row, row: Row, new: Row, decision: Decision | None) -> Row:
    """The next state of a move, in the caller's transaction, which holds the attachment: it asks, waits, or is tried.
    `decision`: None once what was asked is agreed to."""
    if decision is not None:
        approval_id = None
        if decision.verdict == "ask":
            approval_id = (await request(ctx, move, row, new, decision))["id"]
        await store.set_decision(ctx.conn, move["id"], decision.id, approval_id)
        if approval_id is not None:
            return await step(ctx, move, "awaiting_approval", "waiting_for_approver", approval=approval_id)
    lacking = await missing_connections(ctx.conn, row["workspace_id"], new)
    if lacking:
        if move["state"] == "awaiting_connection":
            return move
        return await step(ctx, move, "awaiting_connection", "waiting_for_connection", missing=lacking)
    packs = await dependencies.missing(ctx.conn, row["workspace_id"], new["manifest"])
    if packs:
        if move["state"] == "awaiting_dependency":
            return move
        named = dependencies.words(packs)
        return await step(ctx, move, "awaiting_dependency", "waiting_for_dependency", missing=named)
    await mark(ctx, row, "updating", "attachment_updating", {"kind": "move", "id": move["id"]})
    found = await step(ctx, move, "trying", "move_being_tried")
    await store.enqueue_move(ctx.conn, row["tenant_id"], move["id"])
    return found


async def missing_connections(conn: Connection, workspace_id: str, release: Row) -> list[str]:
    found = []
    for need in rules.connection_needs(release["manifest"]):
        there = await rows.connections_at(conn, workspace_id, need["provider"], need["host"], need["port"])
        if need["required"] and not any(row["state"] == "active" for row in there):
            found.append(f"{need['provider']} at {need['endpoint']}")
    return found


async def mark(ctx: Context, row: Row, state: str, reason: str, cause: Row | None, **data: Any) -> None:
    machines.ATTACHMENT.check(row["state"], state)
    await rows.move_attachment(ctx.conn, row["id"], state, reason)
    ctx.record(events.attachment(events.ATTACHMENT_MOVED, row, row["state"], state, reason, cause, **data))


def action_of(move: Row, row: Row, new: Row) -> Row:
    """What an approver decides on: a change in any of it is another request."""
    return {
        "action": actions.UPDATE.name,
        "move": move["id"],
        "attachment": row["id"],
        "workspace": row["workspace_id"],
        "from_release": row["release_id"],
        "from_digest": row["digest"],
        "release": new["id"],
        "release_digest": new["digest"],
        "difference_digest": canonical.sha256_hex(move["difference"]),
        "mounts": [{key: mount[key] for key in ("name", "source", "target", "revision")} for mount in move["mounts"]],
        "initiator": f"{move['requester_kind']}:{move['requester_id']}",
        "originating_person": move["originating_person"],
    }


async def request(ctx: Context, move: Row, row: Row, new: Row, decision: Decision) -> Row:
    told = move["difference"]
    asker = as_requester(ctx, move)
    action = action_of(move, row, new)
    listed = [f"{change['class']}: {change['words']}" for change in told["changes"]]
    more = [f"and {len(listed) - CARD_CHANGES} more: see the difference"] if len(listed) > CARD_CHANGES else []
    wider = [change["words"] for change in told["changes"] if change["class"] == "widening"]
    effect = f"{row['pack']} {told['from']['version']} becomes {told['to']['version']}: {told['sentence']}"
    return await approvals.request(
        asker,
        boundary=actions.UPDATE.name,
        action=actions.UPDATE.name,
        subject_type=SUBJECT,
        subject_id=move["id"],
        title=f"Move {row['pack']} from {told['from']['version']} to {told['to']['version']}",
        effect=" ".join([effect, *wider[:5]])[:2000],
        digest=canonical.sha256_hex(action),
        card={
            **action,
            "pack": row["pack"],
            "version": told["to"]["version"],
            "from_version": told["from"]["version"],
            "risk": told["risk"],
            "changes": [*listed[:CARD_CHANGES], *more],
            "by_itself": move["kind"] == "followed",
        },
        arguments=None,
        rules=list(decision.approval_rules),
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": "move", "id": move["id"], "name": f"the move of {row['pack']} in this workspace"}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours),
    )


def as_requester(ctx: Context, move: Row) -> Context:
    """The same work as whoever asked for the move, or let the attachment follow: their rights count, at every step."""
    who = Principal(move["requester_kind"], move["requester_id"], "", ctx.tenant_id)
    asker = ctx.acting(who, workspace_id=move["workspace_id"])
    asker.originating_person = move["originating_person"]
    return asker


def for_requester(ctx: Context, move: Row) -> Context:
    """What the platform does by itself, on behalf of the person behind the move: so it stands in the record."""
    person = move["requester_id"] if move["requester_kind"] == "person" else move["originating_person"]
    return ctx.acting(ctx.principal, originating_person=person, workspace_id=move["workspace_id"])


def not_released(release: Row) -> str:
    return "release_quarantined" if release["state"] == "quarantined" else "release_revoked"


async def shown(conn: Connection, move_id: str) -> Row:
    found = await store.move(conn, move_id)
    assert found is not None
    return found
