"""Why a release, an attachment or an invocation is as it is. Console, CLI and API call these three."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.approvals import explain as approvals
from worka.authorization.explain import offer, reader_may
from worka.connections import rules as connections
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Change, Evidence, Explanation, LastError, NextAction, WaitingOn
from worka.packs import actions, model, rules, store
from worka.packs.explain_call import explain_invocation as explain_invocation
from worka.packs.explain_call import layer_of, meaning_of
from worka.packs.lifecycle import store as lifecycle
from worka.packs.moving import explain as moves
from worka.packs.service import reaching, reading, withdrawing
from worka.workspaces.explain import changed_just_before

Row = dict[str, Any]


async def explain(ctx: Context, subject: str) -> Explanation:
    """The explanation of a release, an attachment or an invocation, by its id. Raises NotFound of its kind."""
    kind = subject.split("_", 1)[0]
    if kind == "rel":
        return await explain_release(ctx, subject)
    return await (explain_attachment if kind == "att" else explain_invocation)(ctx, subject)


async def explain_release(ctx: Context, release_id: str) -> Explanation:
    """Which stage a release is in, or failed at and why; what could be done."""
    row = await reading.release(ctx, release_id)
    name = f"{row['publisher']}.{row['name']} {row['version']}"
    state, reason = row["state"], row["reason"]
    error = row["error"] or {}
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    pack = Resource("pack", name.split(" ")[0], row["workspace_id"])
    if state == "failed":
        headline = (
            f"{name} failed at {_STAGE_WORDS.get(row['failed_stage'], row['failed_stage'])}: {error.get('message', '')}"
        )
        following.append(
            await offer(ctx, "Correct it and register again", "worka pack register PATH", actions.REGISTER.name, pack)
        )
        following.append(
            await offer(ctx, "Try that stage again now", f"worka pack retry {release_id}", actions.REGISTER.name, pack)
        )
        if error.get("rests"):
            headline += f" It is not tried again by itself: {error['rests']}"
        if row["next_try"] is not None:
            waiting.append(
                WaitingOn(
                    kind="pack_release", ref=release_id, name=f"the next try of {_STAGE_WORDS[row['failed_stage']]}",
                    since=row["since"], deadline=row["next_try"], who=["the platform"],
                    because=f"What failed may be otherwise then. It failed {row['tries']} times in a row.",
                )
            )  # fmt: skip
    elif state in model.RELEASE_ROAD[:-1]:
        headline = f"{name} is being registered: {_STAGE_WORDS[state]} is next"
        waiting.append(
            WaitingOn(
                kind="pack_release",
                ref=release_id,
                name=f"{_STAGE_WORDS[state]} of {name}",
                since=row["since"],
                who=["the platform"],
                because="The platform does this by itself.",
            )
        )
    else:
        headline = f"{name} is {state}: {meaning_of(reason)}"
        more, also = await approvals_of_release(ctx, release_id)
        waiting += more
        following += also
        if more:
            headline = f"{name} is released; attaching it waits for {_and(more)}"
        command = f"worka pack attach {release_id}" if state == "released" else "worka pack register PATH"
        async with ctx.transaction() as conn:
            served = await store.attachment_of(conn, row["workspace_id"], name.split(" ")[0])
        done = state == "released" and served is not None and served["release_id"] == release_id
        label = "Attach it to a workspace" if state == "released" else "Register another version"
        action = actions.ATTACH.name if state == "released" else actions.REGISTER.name
        if done and served is not None:
            command = f"worka why {served['id']}"
            following.append(NextAction(label="See how it is attached", command=command, permission="view"))
        else:
            following.append(await offer(ctx, label, command, action, pack))
        if state == "quarantined":
            following.append(await offer(ctx, "Let it serve again", await _lifting(ctx, row), actions.LIFT.name, pack))
    return Explanation(
        subject=release_id,
        headline=headline.rstrip(": "),
        state=state,
        reason=reason,
        since=row["since"],
        layer=layer_of(reason, "publication"),
        timing="before_start" if state in model.RELEASE_ROAD[:-1] or state == "failed" else "after_completion",
        scope="tenant",
        waiting_on=waiting,
        last_error=_last_error(reason, error, int(row["source"].get("attempt", 1)), row["next_try"]) if error else None,
        changed_just_before=await _changes(ctx, row, row["since"], release_id),
        evidence=[
            *([Evidence(kind="digest", ref=row["digest"], label="release digest")] if row["digest"] else []),
            *await withdrawn(ctx, release_id, pack.id),
            *(
                Evidence(kind="tool_difference", ref=item["tool"], label=f"{item['field']}: {item['diff']}"[:2000])
                for item in error.get("differences", [])[:20]
            ),
            *(
                Evidence(kind="manifest_warning", ref=item["pointer"], label=f"{item['message']}; {item['fix']}")
                for item in row["source"].get("warnings", [])
            ),
        ],
        next=following,
        observed_at=row["since"],
    )


async def explain_attachment(ctx: Context, attachment_id: str) -> Explanation:
    """What an attachment waits for, or which tools are held and how their definitions differ."""
    row = await reading.attachment(ctx, attachment_id)
    async with ctx.transaction() as conn:
        release = await store.release(conn, row["release_id"])
    assert release is not None
    name = f"{row['pack']} {release['version']}"
    state, reason = row["state"], row["reason"]
    layer = layer_of(reason, "publication")
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    evidence = [Evidence(kind="release", ref=release["id"], label=name)]
    headline = f"{name} is {state}: {meaning_of(reason)}"
    own = Resource("attachment", attachment_id, row["workspace_id"], {"pack": row["pack"]})
    newer, seen, moving = await moves.newer_of(ctx, row)
    if state in ("awaiting_approval", "awaiting_connection", "awaiting_dependency"):
        waiting, following = await _waits(ctx, row, release)
        headline = f"{name} waits for {_and(waiting)}"
    elif state == "held":
        tools = sorted(row["held"] or {})
        headline = (
            f"{name}: {', '.join(tools)} held, because the definition changed after it was approved; other tools serve"
        )
        evidence += [
            Evidence(kind="tool_difference", ref=tool, label=str((row["held"] or {})[tool])[:2000]) for tool in tools
        ]
        allowed, because = await reader_may(ctx, actions.RELEASE_HELD.name, own)
        waiting.append(
            WaitingOn(
                kind="attachment",
                ref=attachment_id,
                name=f"a decision on the changed definition of {', '.join(tools)}",
                since=row["since"],
                who=["owners and admins of the workspace"],
                you_can=allowed,
                because=because,
            )
        )
        for label, command in (
            ("Accept what the server lists now", f"worka pack held accept {attachment_id} TOOL"),
            ("Refuse it, and keep the others", f"worka pack held refuse {attachment_id} TOOL"),
            ("Serve again, if the server is as approved", f"worka pack held resolve {attachment_id}"),
        ):
            following.append(
                NextAction(
                    label=label,
                    command=command,
                    permission="administer",
                    allowed=allowed,
                    because="" if allowed else because,
                )
            )
    elif state == "updating":
        headline = f"{name} serves calls while another release is tried in the sandbox."
    evidence += await withdrawn(ctx, attachment_id, row["release_id"], row["pack"])
    if state == "detached" and row["approval_id"]:
        evidence.append(Evidence(kind="approval", ref=row["approval_id"]))
    elif state == "attached" and release["state"] == "revoked":
        headline = f"{name} serves calls; its release was revoked, so it cannot be attached anew"
    if newer:
        headline = f"{headline.rstrip(':. ')}.{newer}"
    evidence, following = [*evidence, *seen], [*following, *moving]
    if state == "suspended" and release["state"] == "quarantined":
        pack = Resource("pack", row["pack"], release["workspace_id"])
        following.append(
            await offer(ctx, "Let its release serve again", await _lifting(ctx, release), actions.LIFT.name, pack)
        )
    if state in ("attached", "held", "suspended", "updating"):
        following.append(
            await offer(ctx, "Detach it", f"worka pack detach {attachment_id} --reason WHY", actions.DETACH.name, own)
        )
    return Explanation(
        subject=attachment_id,
        headline=headline.rstrip(": "),
        state=state,
        reason=reason,
        since=row["since"],
        layer=layer,
        timing="before_start"
        if state.startswith("awaiting") or state == "requested"
        else "after_completion"
        if state == "detached"
        else "during",
        waiting_on=waiting,
        changed_just_before=await _changes(ctx, row, row["since"], attachment_id, row["approval_id"] or ""),
        evidence=evidence,
        next=following,
        observed_at=row["since"],
    )


_STAGE_WORDS = {
    "draft": "building from the lock",
    "built": "recording the digest",
    "published": "claiming the identity",
    "registered": "probing in the sandbox",
    "probed": "releasing",
}


async def _lifting(ctx: Context, release: Row) -> str:
    """The command that gives a quarantined release back: while the whole pack is taken away, that of the pack."""
    pack = f"{release['publisher']}.{release['name']}"
    async with ctx.transaction() as conn:
        standing = await lifecycle.standing(conn, pack)
    if standing is not None and standing["state"] == "quarantined":
        return f"worka pack lift {pack} --reason WHY"
    return f"worka release lift {release['id']} --reason WHY"


def _last_error(reason: str, error: Row, attempt: int, again: datetime | None) -> LastError:
    message = str(error.get("message", ""))[:2000]
    return LastError(code=str(error.get("code", reason)), message=message, attempt=attempt, next_try=again)


def _and(waiting: list[WaitingOn]) -> str:
    return " and for ".join(f"the {item.kind} “{item.name}”" for item in waiting) or "its check"


async def approvals_of_release(ctx: Context, release_id: str) -> tuple[list[WaitingOn], list[NextAction]]:
    """The open approvals that hold up attachments of a release, where the reader sees them; and what can be done."""
    async with ctx.transaction() as conn:
        rows = await lifecycle.awaiting_of_release(conn, release_id)
        seen = await reaching.seen_by(ctx, (row["workspace_id"] for row in rows))
        asked = [row["approval_id"] for row in rows if row["workspace_id"] in seen and row["approval_id"]]
        told = [await approvals.waiting_on(ctx, approval_id) for approval_id in asked]
    waiting = [item for item in told if item is not None]
    return waiting, [_decide(item) for item in waiting]


async def withdrawn(ctx: Context, *subjects: str) -> list[Evidence]:
    """Who took it away last, or gave it back, and why: what people read who wonder."""
    async with ctx.transaction() as conn:
        row = await lifecycle.last_withdrawal(conn, subjects)
    return [] if row is None else [Evidence(kind="withdrawal", ref=row["id"], label=withdrawing.said(row))]


async def _changes(ctx: Context, row: Row, onset: datetime, *apart_from: str) -> list[Change]:
    async with ctx.transaction() as conn:
        return await changed_just_before(conn, row["workspace_id"], onset, *apart_from)


async def _waits(ctx: Context, row: Row, release: Row) -> tuple[list[WaitingOn], list[NextAction]]:
    """Everything that an attachment waits for before it serves, not the first of it: the approval to attach, and what
    `connection_waits` finds."""
    asked = [row["approval_id"]] if row["state"] == "awaiting_approval" and row["approval_id"] else []
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    async with ctx.transaction():
        for approval_id in asked:
            if (told := await approvals.waiting_on(ctx, approval_id)) is not None:
                waiting.append(told)
                following.append(_decide(told))
        more, also = await connection_waits(ctx, row["workspace_id"], release["manifest"], row["since"])
        packs, attach = await moves.dependency_waits(ctx, row["workspace_id"], release["id"], row["since"])
    return [*waiting, *more, *packs], [*following, *also, *attach]


async def connection_waits(
    ctx: Context, workspace_id: str, manifest: Row, since: datetime, *, person: str | None = None
) -> tuple[list[WaitingOn], list[NextAction]]:
    """Each connection that a pack requires and that does not serve here, with the open approval of one that is asked
    for; and what can be done. `since`: from when on one is missed that was never there. `person`: for whom it has to serve;
    None: for anybody."""
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    async with ctx.transaction() as conn:
        allowed, because = await reader_may(ctx, "connection.create", Resource("connection", "new", workspace_id))
        for need in rules.connection_needs(manifest):
            endpoint = (need["provider"], need["host"], need["port"])
            found = await store.connections_at(conn, workspace_id, *endpoint)
            mine = [dict(row) for row in connections.own(found, person)] if person else found
            if not need["required"] or any(row["state"] == "active" for row in mine):
                continue
            there = _blocking(mine)
            pending = there is not None and there["state"] == "awaiting_approval"
            told = await approvals.waiting_on(ctx, there["approval_id"]) if there is not None and pending else None
            state = f" ({there['state'].replace('_', ' ')})" if there is not None else ""
            waiting.append(
                WaitingOn(
                    kind="connection",
                    ref=there["id"] if there is not None else need["provider"],
                    name=f"{need['provider']} at {need['endpoint']}{state}",
                    since=there["since"] if there is not None else since,
                    deadline=told.deadline if told else None,
                    who=told.who if told else ["owners and admins of the workspace"],
                    you_can=told.you_can if told else allowed,
                    because=told.because if told else because,
                )
            )
            if told is not None:
                waiting.append(told)
                following.append(_decide(told))
            else:
                following.append(_connect(workspace_id, need, there, allowed, because, ctx.principal.id))
    return waiting, following


def _blocking(mine: list[Row]) -> Row | None:
    """Of several that do not serve, the one that the wait is about; None: there is none at all."""
    _, connection_id = connections.lacking(mine)
    return next((row for row in mine if row["id"] == connection_id), None)


def _connect(workspace_id: str, need: Row, there: Row | None, allowed: bool, because: str, reader: str) -> NextAction:
    """What whoever reads can do about a connection that does not serve: consent again, or ask for one."""
    consents = there is not None and there["kind"] in ("oauth_code", "oauth_device")
    if there is not None and consents and there["state"] in ("awaiting_consent", "expired", "broken"):
        own = there["person_id"] is not None
        may = there["person_id"] == reader if own else allowed
        label, command = f"Connect {need['provider']} again", f"worka connection authorize {there['id']}"
        why = "" if may else ("It is another person's own account: they consent for it." if own else because)
        return NextAction(label=label, command=command, permission="manage_connections", allowed=may, because=why)
    return NextAction(
        label=f"Connect {need['provider']}",
        command=f"worka connection create {need['provider']} --host {need['host']}",
        permission="manage_connections",
        allowed=allowed,
        because="" if allowed else because,
    )


def _decide(told: WaitingOn) -> NextAction:
    return NextAction(
        label=f"Decide “{told.name}”",
        command=f"worka approvals approve {told.ref}",
        permission="approve",
        allowed=told.you_can,
        because="" if told.you_can else told.because,
    )
