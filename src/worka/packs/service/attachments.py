"""Giving a release to a workspace, governed: requested -> (approval) -> (connection) -> attached; and taking it back.

What an approver decides on is fixed by a digest: the release, the mounts with the revision that each clone has, what
the pack may reach, and which credential the broker would place on which endpoint. The grants of those credentials are
made in the commit in which the attachment begins to serve, and end with it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.connections import rules as connections
from worka.kernel import canonical
from worka.kernel.context import Context, Principal, Resource
from worka.kernel.db import Connection
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.settings import mount_roots
from worka.packs import actions, events, model, rules, store
from worka.packs import manifest as manifests
from worka.packs.errors import AlreadyAttached, AttachmentNotFound, MountInvalid, ReleaseNotFound, ReleaseNotUsable
from worka.packs.lifecycle import grade, names
from worka.packs.lifecycle import store as lifecycle
from worka.packs.lifecycle.errors import PackWithdrawn, ToolShadowed
from worka.packs.moving import definitions, dependencies, ending
from worka.packs.moving import store as moves
from worka.packs.moving.errors import NothingHeld
from worka.packs.registry.service import vouching
from worka.packs.runtime import clone
from worka.packs.service import leftovers, withdrawing
from worka.packs.service.releases import drop_quietly
from worka.treasury import service as treasury
from worka.treasury import store as treasury_rows
from worka.workspaces.limits import rules as limit_rules
from worka.workspaces.limits import service as limits

Row = dict[str, Any]
log = logging.getLogger("worka.packs")
SUBJECT = "attachment"
LIMIT = "packs_attached"


async def _attached(conn: Connection) -> limit_rules.Use:
    return limit_rules.counted((row["workspace_id"], "", row["packs"]) for row in await store.attached_counted(conn))


limit_rules.add(
    limit_rules.Limit(
        LIMIT, "attached packs", ("tenant", "workspace"), 0, "No further pack is attached (409).", _attached
    )
)


async def attach(ctx: Context, release_id: str, *, mode: str = "pinned", mounts: dict[str, str] | None = None) -> Row:
    """The new attachment: attached, or waiting for an approval or a connection. `mounts` is name -> path of a git
    repository on this machine, one for each mount of the manifest, chosen by the caller.

    Raises ReleaseNotFound, Denied, ReleaseNotUsable, AlreadyAttached, MountInvalid.
    """
    assert ctx.tenant_id is not None
    assert ctx.workspace_id is not None
    async with ctx.transaction() as conn:
        release = await store.release(conn, release_id)
    if release is None:
        raise ReleaseNotFound(f"There is no release {release_id}.")
    manifest, _notices = manifests.read(release["manifest"])
    facts = rules.attach_facts(manifest, release["tools"], (mounts or {}).keys())
    facts |= {"release": release_id, "mode": mode}
    pack = Resource("pack", manifest.pack, ctx.workspace_id, facts)
    if (await replace(ctx, unrecorded=True).decide(actions.ATTACH.name, pack, **facts)).verdict == "deny":
        await ctx.require(actions.ATTACH.name, pack, **facts)  # nothing is cloned for who may not
    _usable(release)
    attachment_id = new_id("att")
    following = Resource("attachment", attachment_id, ctx.workspace_id, {"pack": manifest.pack, "state": "requested"})
    if mode == "tracking":
        await ctx.require(actions.FOLLOW.name, following)
    bound = await _clone_all(ctx, attachment_id, manifest, mounts or {})
    written = False
    try:
        async with ctx.transaction() as conn:
            # Cloning takes as long as the repository is large: what counts is the right to attach at its end.
            decision = await ctx.require(actions.ATTACH.name, pack, **facts)
            if mode == "tracking":
                await ctx.require(actions.FOLLOW.name, following)
            await store.lock_pack(conn, ctx.workspace_id, manifest.pack)
            if (other := await store.attachment_of(conn, ctx.workspace_id, manifest.pack)) is not None:
                raise AlreadyAttached(f"{manifest.pack} is attached as {other['id']}.", attachment_id=other["id"])
            await withdrawing.refuse_withdrawn(ctx, manifest.pack)
            await limits.take_one(ctx, LIMIT, ctx.workspace_id)
            release = await store.release_for_update(conn, release_id)
            assert release is not None
            _usable(release)
            await _refuse_shadows(ctx, release)
            row = {
                "tenant_id": ctx.tenant_id,
                "id": attachment_id,
                "workspace_id": ctx.workspace_id,
                "release_id": release_id,
                "pack": manifest.pack,
                "mode": mode,
                "uid": ctx.settings.packs.uid_base + await store.next_uid(conn),
                "mounts": bound,
                "digest": release["digest"],
                "created_by": ctx.principal.id,
                **(
                    {"followed_by": ctx.principal.id, "followed_for": ctx.originating_person}
                    if mode == "tracking"
                    else {}
                ),
            }
            await vouching.check_attachable(ctx, release, ctx.workspace_id)
            await store.insert_attachment(conn, row)
            ctx.record(
                events.attachment(
                    events.ATTACHMENT_REQUESTED,
                    row,
                    None,
                    "requested",
                    "attachment_being_prepared",
                    release=release_id,
                    version=release["version"],
                    mounts=[{key: mount[key] for key in ("name", "source", "revision")} for mount in bound],
                )
            )
            if decision.verdict == "ask":
                approval = await _ask(ctx, row, release, facts, decision)
                await store.set_attachment_approval(conn, attachment_id, approval["id"])
                await _move(
                    ctx,
                    {**row, "state": "requested"},
                    "awaiting_approval",
                    "waiting_for_approver",
                    {"kind": "approval", "id": approval["id"]},
                )
            else:
                await _serve_or_wait(
                    ctx, {**row, "state": "requested"}, release, {"kind": "decision", "id": decision.id}
                )
            ctx.commit_points("attachment.created")
            found = await store.attachment(conn, attachment_id)
            assert found is not None
            written = True
    except BaseException:
        # A COMMIT that was not answered may stand, and what serves then reads these; `leftovers` finds out.
        if not written:
            await asyncio.to_thread(_discard, ctx, attachment_id, bound)
        raise
    if ctx.undone:
        await asyncio.to_thread(_discard, ctx, attachment_id, bound)
    return found


async def _refuse_shadows(ctx: Context, release: Row) -> None:
    """Raises ToolShadowed where a tool of this release may be taken for one that is attached here. Holds whoever else compares
    tools here until the end of the transaction: of two that shadow each other the second sees the first."""
    assert ctx.workspace_id is not None
    await store.lock_tools(ctx.conn, ctx.workspace_id)
    pack, tools = f"{release['publisher']}.{release['name']}", [tool["name"] for tool in release["tools"]]
    there = await lifecycle.attached_tools(ctx.conn, ctx.workspace_id)
    if found := names.shadowing(pack, release["publisher"], tools, there):
        first = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ToolShadowed(
            f"{pack}.{first['tool']} may be taken for {first['other']}, which is attached here{more}.",
            code=first["code"],
            shadows=found,
        )


def _usable(release: Row) -> None:
    if release["state"] != "released":
        raise ReleaseNotUsable(
            f"{release['publisher']}.{release['name']} {release['version']} is {release['state']} "
            f"({release['reason']}).",
            release_id=release["id"],
            state=release["state"],
            reason=release["reason"],
        )


async def _clone_all(
    ctx: Context,
    attachment_id: str,
    manifest: manifests.Manifest,
    chosen: dict[str, str],
    *,
    kept: frozenset[str] = frozenset(),
    beside: str = "",
) -> list[Row]:
    """The clones of the mounts that are `chosen`, which are all but those that are `kept`. `beside`: what sets their folders
    apart from those of an attachment that serves, and that a failure must leave alone."""
    wanted = {mount.name: mount for mount in manifest.runtime.mounts if mount.name not in kept - set(chosen)}
    if unknown := sorted(set(chosen) - set(wanted)):
        raise MountInvalid(f"{manifest.pack} has no mount {', '.join(unknown)}; it has: {', '.join(wanted) or 'none'}.")
    if missing := sorted(set(wanted) - set(chosen)):
        raise MountInvalid(f"{manifest.pack} needs a path for {', '.join(missing)}.")
    home = ctx.settings.home.resolve()
    roots = mount_roots(ctx.settings.packs, ctx.settings.home)
    bound: list[Row] = []
    for name, mount in wanted.items():
        source = Path(chosen[name])
        if not source.is_absolute() or "\0" in chosen[name]:
            raise MountInvalid(f"The path of {name} is not absolute.", mount=name)
        try:
            resolved = source.resolve()
            # The instance's own files hold keys and other tenants' clones.
            if resolved == home or home in resolved.parents or resolved in home.parents:
                raise MountInvalid(f"The path of {name} lies in the data directory of Worka, or around it.", mount=name)
            if not any(resolved.is_relative_to(root) for root in roots):
                raise MountInvalid(
                    f"The path of {name} lies outside the folders that the operator opened for mounts.",
                    mount=name,
                    reason="outside_mount_roots",
                    remedy=f"Put the repository below {' or '.join(str(root) for root in roots)}, or let the operator add its"
                    " folder to packs.mount_roots.",
                )
            target = Paths(ctx.settings.home).clones / attachment_id / (name + beside)
            # `resolved` may lead elsewhere by the time git reads it: what must not be read, git does not see.
            made = await asyncio.to_thread(clone.make, resolved, target, hidden=home)
            await asyncio.to_thread(leftovers.sign, target.parent, ctx.tenant_id or "")
        except clone.CloneFailed as failure:
            await asyncio.to_thread(_discard, ctx, attachment_id, bound, whole=not beside)
            raise MountInvalid(f"{name}: {failure}.", mount=name, reason=failure.reason) from failure
        except OSError as error:
            await asyncio.to_thread(_discard, ctx, attachment_id, bound, whole=not beside)
            raise MountInvalid(
                f"{name}: {type(error).__name__} at this path.", mount=name, reason="source_unreadable"
            ) from error
        bound.append(
            {
                "name": name,
                "source": str(source),
                "target": mount.target,
                "mode": "ro",
                "clone": str(made.path),
                "revision": made.revision,
                "commits": made.commits,
            }
        )
    return bound


def _discard(ctx: Context, attachment_id: str, bound: list[Row], *, whole: bool = True) -> None:
    root = Paths(ctx.settings.home).clones
    for mount in bound:
        clone.remove(root, Path(mount["clone"]))
    if whole:
        clone.remove(root, root / attachment_id)


async def _known(ctx: Context, release: Row) -> Row:
    """{vulnerabilities} of a release on which nobody has decided yet, for the card; empty where none is known."""
    found = await lifecycle.findings_of_release(ctx.conn, release["id"])
    said = [
        f"{row['package']} {row['version']}: {row['advisory_id']} {row['summary']}".strip()
        for row in found
        if row["state"] in ("open", "proposed")
    ]
    return {"vulnerabilities": said[:50], "vulnerabilities_more": max(0, len(said) - 50)} if said else {}


def _action(row: Row, release: Row, initiator: str, behind: str | None) -> Row:
    """What an approver decides on: a change in any of it is another request."""
    return {
        "action": actions.ATTACH.name,
        "attachment": row["id"],
        "release": release["id"],
        "release_digest": release["digest"],
        "workspace": row["workspace_id"],
        "mode": row["mode"],
        "mounts": [{key: mount[key] for key in ("name", "source", "target", "revision")} for mount in row["mounts"]],
        "outbound_domains": release["manifest"].get("outbound_domains", []),
        "host_services": release["manifest"].get("host_services", []),
        "connections": _needs(release),
        "tools": [{key: tool[key] for key in ("name", "side_effect", "pin")} for tool in release["tools"]],
        "initiator": initiator,
        "originating_person": behind,
    }


def _needs(release: Row) -> list[Row]:
    return [need for need in rules.connection_needs(release["manifest"]) if need["endpoint"]]


async def _ask(ctx: Context, row: Row, release: Row, facts: Row, decision: Any) -> Row:
    action = _action(row, release, f"{ctx.principal.kind}:{ctx.principal.id}", ctx.originating_person)
    return await approvals.request(
        ctx,
        boundary=actions.ATTACH.name,
        action=actions.ATTACH.name,
        subject_type=SUBJECT,
        subject_id=row["id"],
        title=f"Attach {row['pack']} {release['version']}",
        effect=rules.attach_effect(facts, _needs(release)),
        digest=canonical.sha256_hex(action),
        card={
            **action,
            "pack": row["pack"],
            "version": release["version"],
            "description": release["manifest"]["description"],
            "grade": grade.in_words(grade.of(release)),
            **await _known(ctx, release),
        },
        arguments=None,
        rules=list(decision.approval_rules),
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": "attachment", "id": row["id"], "name": f"{row['pack']} in this workspace"}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours),
    )


async def approval_locking(ctx: Context, payload: dict[str, Any]) -> None:
    """What the decision goes by, before its approval."""
    if payload["subject_type"] == SUBJECT:
        await _locked(ctx, payload["subject_id"])


async def _locked(ctx: Context, attachment_id: str) -> tuple[Row, Row, bool] | None:
    """(attachment, its release, whether that may begin to serve), all held until the end of the transaction, in the order
    in which a withdrawal takes them. What waits is not moved, so its release is the one that it had before the lock."""
    known = await store.attachment(ctx.conn, attachment_id)
    if known is None:
        return None
    free = True
    try:
        await withdrawing.refuse_withdrawn(ctx, known["pack"])
    except PackWithdrawn:
        free = False
    release = await store.release_for_update(ctx.conn, known["release_id"])
    row = await store.attachment_for_update(ctx.conn, attachment_id)
    assert release is not None
    assert row is not None
    return row, release, free and release["state"] == "released"


async def approval_decided(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction of the decision: the attachment goes on, or ends. Not ours: nothing happens."""
    if payload["subject_type"] != SUBJECT:
        return
    held = await _locked(ctx, payload["subject_id"])
    if held is None:
        return
    row, release, usable = held
    if row["state"] != "awaiting_approval" or row["approval_id"] != payload["approval_id"]:
        return
    cause = {"kind": "approval", "id": payload["approval_id"]}
    if payload["state"] != "approved" or not usable:
        not_approved = "attachment_superseded" if payload["state"] == "superseded" else "attachment_rejected"
        reason = not_approved if payload["state"] != "approved" else "release_revoked"
        await _move(ctx, row, "detached", reason, cause, kind=events.ATTACHMENT_DETACHED)
        return
    if not await _redeem(ctx, row, release):
        await _move(ctx, row, "detached", "attachment_superseded", cause, kind=events.ATTACHMENT_DETACHED)
        return
    await _serve_or_wait(ctx, row, release, cause)


async def _redeem(ctx: Context, row: Row, release: Row) -> bool:
    """Decides again, as who asked, now: rights and policy of the moment count, not those of the request."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    assert approval is not None
    behind = approval["originating_person"]
    if not await vouching.attachable(ctx, release, row["workspace_id"]):
        return False
    asker = ctx.acting(Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id))
    asker.originating_person = behind
    manifest, _notices = manifests.read(release["manifest"])
    facts = rules.attach_facts(manifest, release["tools"], [mount["name"] for mount in row["mounts"]])
    facts |= {"release": release["id"], "mode": row["mode"]}
    resource = Resource("pack", row["pack"], row["workspace_id"], facts)
    if row["mode"] == "tracking":
        following = Resource("attachment", row["id"], row["workspace_id"], {"pack": row["pack"], "state": row["state"]})
        if (await asker.decide(actions.FOLLOW.name, following)).verdict != "allow":
            return False
    decision = await asker.decide(actions.ATTACH.name, resource, **facts)
    action = _action(row, release, f"{approval['requester_kind']}:{approval['requester_id']}", behind)
    redemption = await approvals.redeem(
        ctx, approval["id"], digest=canonical.sha256_hex(action), decision=decision, used_by=row["id"]
    )
    return redemption.usable


async def connection_activated(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a connection became active: what waited for it goes on by itself."""
    workspace = payload.get("workspace_id") or ctx.workspace_id
    if workspace is None:
        return
    cause = {"kind": "connection", "id": payload["connection_id"]}
    for known in await store.awaiting_connection(ctx.conn, workspace):
        held = await _locked(ctx, known["id"])
        if held is None or held[0]["state"] != "awaiting_connection":
            continue
        row, release, usable = held
        if usable:
            await _serve_or_wait(ctx, row, release, cause)
        elif release["state"] == "revoked":
            await _never(ctx, row, cause)
    for known in await store.serving_in(ctx.conn, workspace):
        for need in rules.connection_needs(known["manifest"]):
            # What a person took back by hand stays taken back.
            if need["endpoint"] and not await treasury_rows.taken_back(ctx.conn, known["id"], need["endpoint"]):
                await _grant(ctx, known, need, cause)


async def release_lifted(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a release, or its whole pack, is given back: what waits for a connection or a pack looks
    again, since that may have come while nothing of the release was let through."""
    waiting = ["awaiting_connection", "awaiting_dependency"]
    for known in await store.attachments_of_release(ctx.conn, payload["release_id"], waiting):
        held = await _locked(ctx, known["id"])
        if held is None or held[0]["state"] not in waiting:
            continue
        row, release, usable = held
        inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
        if usable and await vouching.attachable(inside, release, row["workspace_id"]):
            await _serve_or_wait(inside, row, release, {"kind": "release", "id": release["id"]})


async def _serve_or_wait(ctx: Context, row: Row, release: Row, cause: Row) -> None:
    """Grants what is there; serves if nothing required is missing. What waited and would not be attached by now waits on: the
    policy and the trust root of the moment count."""
    waited = row["state"] in ("awaiting_connection", "awaiting_dependency")
    if waited and not await vouching.attachable(ctx, release, row["workspace_id"]):
        return
    missing: list[Row] = []
    for need in rules.connection_needs(release["manifest"]):
        if not await _grant(ctx, row, need, cause) and need["required"]:
            missing.append(need)
    lacking = await dependencies.missing(ctx.conn, row["workspace_id"], release["manifest"])
    if lacking and not missing:
        if row["state"] != "awaiting_dependency":
            await _move(
                ctx, row, "awaiting_dependency", "waiting_for_dependency", cause, missing=dependencies.words(lacking)
            )
        return
    if missing:
        if row["state"] != "awaiting_connection":
            await _move(
                ctx,
                row,
                "awaiting_connection",
                "waiting_for_connection",
                cause,
                missing=[f"{n['provider']} at {n['endpoint']}" for n in missing],
            )
        return
    await _move(ctx, row, "attached", "attachment_in_service", cause, kind=events.ATTACHMENT_CREATED, uid=row["uid"])
    await ctx.publish(
        "attachment.attached", {"attachment_id": row["id"], "pack": row["pack"], "workspace_id": row["workspace_id"]}
    )


async def _grant(ctx: Context, row: Row, need: Row, cause: Row) -> bool:
    """Whether there is an active connection for the need. What stands behind the workspace's own one, the newest, and behind
    everybody's own account is granted to the attachment: whose is used, each call says."""
    there = await store.connections_at(ctx.conn, row["workspace_id"], need["provider"], need["host"], need["port"])
    active = connections.backing(there)
    for found in active:
        if found["secret_id"] is not None and need["endpoint"]:
            await treasury.grant_for_attachment(
                ctx,
                found["secret_id"],
                attachment_id=row["id"],
                workspace_id=row["workspace_id"],
                endpoint=need["endpoint"],
                cause=cause,
            )
    return bool(active)


async def attachment_serves(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a pack began to serve: what waited for it goes on by itself."""
    for known in await moves.awaiting_dependency(ctx.conn, payload["workspace_id"]):
        held = await _locked(ctx, known["id"])
        if held is None or held[0]["state"] != "awaiting_dependency":
            continue
        row, release, usable = held
        needed = {item["pack"] for item in release["manifest"].get("dependencies") or []}
        cause = {"kind": "attachment", "id": payload["attachment_id"]}
        if usable and payload["pack"] in needed:
            await _serve_or_wait(ctx, row, release, cause)
        elif release["state"] == "revoked":
            await _never(ctx, row, cause)


async def _never(ctx: Context, row: Row, cause: Row) -> None:
    """It waited on a release that was revoked before that ended what waits: what came lets nothing of it in."""
    await _move(ctx, row, "detached", "release_revoked", cause, kind=events.ATTACHMENT_DETACHED)
    await treasury.revoke_grants_of_attachment(ctx, row["id"], row["workspace_id"])


async def _move(
    ctx: Context,
    row: Row,
    state: str,
    reason: str,
    cause: Row | None,
    *,
    kind: str = events.ATTACHMENT_MOVED,
    **data: Any,
) -> None:
    model.ATTACHMENT.check(row["state"], state)
    await store.move_attachment(ctx.conn, row["id"], state, reason)
    ctx.record(events.attachment(kind, row, row["state"], state, reason, cause, **data))


async def detach(ctx: Context, attachment_id: str, why: str) -> Row:
    """Takes the pack from the workspace, with a receipt: its grants end in the same commit, its sessions and clones right
    after it."""
    async with ctx.transaction() as conn:
        row = await _own(ctx, attachment_id)
        await ctx.require(
            actions.DETACH.name,
            Resource("attachment", attachment_id, row["workspace_id"], {"pack": row["pack"], "state": row["state"]}),
        )
        row = await store.attachment_for_update(conn, attachment_id) or row
        await withdrawing.detached(ctx, row, why)
        await _move(ctx, row, "detached", "attachment_removed", None, kind=events.ATTACHMENT_DETACHED, why=why)
        await treasury.revoke_grants_of_attachment(ctx, attachment_id, row["workspace_id"])
        await approvals.end_for(ctx, attachment_id, "withdrawn")
        await ending.end_open(ctx, attachment_id, "attachment_removed")
        ctx.commit_points("attachment.created")
        found = await store.attachment(conn, attachment_id)
        assert found is not None
    if not ctx.undone:
        await drop_quietly(ctx, attachment_id)
        await asyncio.to_thread(_discard, ctx, attachment_id, row["mounts"])
    return found


async def hold(ctx: Context, attachment_id: str, tool: str, difference: Any, listed: Row | None = None) -> None:
    """In the caller's transaction: this tool's definition is another one now. Unchanged tools keep serving. `listed`: the
    definition that the server lists, with its pin; None where it lists none. What was decided on already holds nothing."""
    row = await store.attachment_for_update(ctx.conn, attachment_id)
    if row is None or row["state"] not in model.SERVING or definitions.settled(row, tool, listed):
        return
    if (row["held"] or {}).get(tool) == difference and definitions.known(row, tool, listed):
        return
    held = {**(row["held"] or {}), tool: difference}
    await moves.set_definitions(ctx.conn, attachment_id, definitions.listed_now(row, tool, listed), held)
    if row["state"] == "updating":
        return  # the move ends in a moment, and says then what is held
    await _move(
        ctx,
        row,
        "held",
        "tool_definition_changed",
        {"kind": "tool", "id": f"{row['pack']}.{tool}"},
        kind=events.ATTACHMENT_HELD,
        tool=tool,
    )


async def resolve_held(ctx: Context, attachment_id: str, why: str) -> Row:
    """The difference was looked at and is gone (the server lists the approved definition again): all tools serve again.

    If the server still lists another definition, the next call holds the attachment again. To accept or refuse what it
    lists now: `moving.held`. What was decided on stays decided. Raises AttachmentNotFound, Denied, NothingHeld.
    """
    row = await _own(ctx, attachment_id)
    async with ctx.transaction() as conn:
        await ctx.require(
            actions.RELEASE_HELD.name,
            Resource("attachment", attachment_id, row["workspace_id"], {"pack": row["pack"], "state": row["state"]}),
        )
        row = await store.attachment_for_update(conn, attachment_id) or row
        # Other states lead to `attached` too, by an approval, a connection, a lift: this is none of these.
        if row["state"] != "held":
            raise NothingHeld(
                f"{row['pack']} is {row['state']}: nothing of it is held.", attachment_id=row["id"], state=row["state"]
            )
        await moves.set_definitions(conn, attachment_id, definitions.only_decided(row), None)
        await _move(ctx, row, "attached", "attachment_in_service", None, why=why)
        ctx.commit_points("attachment.created")
        found = await store.attachment(conn, attachment_id)
        assert found is not None
    if not ctx.undone:
        await drop_quietly(ctx, attachment_id)
    return found


async def _own(ctx: Context, attachment_id: str) -> Row:
    async with ctx.transaction() as conn:
        row = await store.attachment(conn, attachment_id)
    if row is None:
        raise AttachmentNotFound(f"There is no attachment {attachment_id}.")
    return row
