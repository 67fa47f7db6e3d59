"""The job of a move: the new release is tried in the sandbox, and takes over in one commit, or does not.

What was decided is decided again in that commit, for whoever asked; an approval is used there, for exactly the difference
that was on its card. The release that is attached serves until then, and on where the other one does not do.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from worka.approvals import service as approvals
from worka.connections import rules as connections
from worka.kernel import canonical, failpoints
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Problem, Unavailable
from worka.kernel.redact import redact, text
from worka.packs import actions, events, rules
from worka.packs import model as machines
from worka.packs import store as rows
from worka.packs.moving import dependencies, following, model, steps, store
from worka.packs.moving.ending import step
from worka.packs.moving.errors import MoveNotFound
from worka.packs.service import exposure, hosting, withdrawing
from worka.treasury import service as treasury

Row = dict[str, Any]
log = logging.getLogger("worka.packs")
HOST_PATIENCE = 15
"""Seconds for which a move waits for a host or a database that does not answer, before it fails."""
LOST_SECONDS = 600
"""A move that is being tried for longer is carried by nobody: a start, a handshake and a listing have bounds far below."""
_REASON_OF = {
    "digest_mismatch": "digest_mismatch",
    "sandbox_unavailable": "sandbox_unavailable",
    "isolation_too_weak": "isolation_too_weak",
    "process_unavailable": "host_unavailable",
    "internal": "host_unavailable",
}


async def run_move(ctx: Context, move_id: str) -> Row:
    """The job: decides what is planned, tries what may be made, and makes it. Reads where the move stands and goes on."""
    waited = 0
    while True:
        try:
            async with ctx.transaction() as conn:
                move = await store.move(conn, move_id)
            if move is None:
                raise MoveNotFound(f"There is no move {move_id}.")
            if move["state"] == "planned":
                await following.decide_followed(ctx, move_id)
            elif move["state"] == "trying":
                problem = await _tried(ctx, move, last=waited >= HOST_PATIENCE)
                failpoints.hit("attachment.move.tried")
                await _made(ctx, move_id, problem)
            else:
                if move["state"] == "moved":
                    # Also what was made before a process died: its old sessions may still be warm.
                    await _let_go(ctx, move)
                return move
        except Unavailable as away:
            # The host or the database may be starting, or two commits met: a move survives that. Where no place is free the
            # job waits, and says nothing of the release.
            if waited >= HOST_PATIENCE or away.problem_code == "no_free_session":
                raise
            waited += 1
            await asyncio.sleep(1)


async def _tried(ctx: Context, move: Row, *, last: bool) -> Row | None:
    """Starts the new release in the sandbox as this attachment would run it, and compares what it lists with what was frozen:
    {code, message} of what is wrong, or None. Raises Unavailable where no place is free, or no host answers, unless this is
    the `last` try."""
    async with ctx.transaction() as conn:
        new = await rows.release(conn, move["to_release"])
        row = await rows.attachment(conn, move["attachment_id"])
    assert new is not None
    assert row is not None
    if new["state"] != "released":
        return None  # it was taken away, and is not started any more; `_made` says so
    as_attached = {**row, "mounts": move["mounts"], "release_id": new["id"], "digest": new["digest"], "definitions": {}}
    # Not counted with the attachment's own sessions: a call that takes long must not keep it from being tried.
    required = await exposure.required_of(ctx, as_attached["workspace_id"])
    session = {**hosting.session(ctx, new, as_attached), "session_key": f"probe:{move['id']}", "attachment_id": None}
    session["isolation"] = required
    try:
        probed = await hosting.client(ctx).probe(session=session, attachment_id=row["id"], traceparent=ctx.traceparent)
    except Problem as refused:
        if refused.problem_code == "no_free_session" or (refused.problem_code == "process_unavailable" and not last):
            raise
        return _failure(refused)
    if problem := rules.listing_problem(probed["tools"]):
        return {"code": "probe_failed", "message": problem}
    frozen, listed = ({tool["name"]: tool for tool in tools} for tools in (new["tools"], probed["tools"]))
    other = sorted(
        name
        for name in frozen.keys() | listed.keys()
        if name not in frozen or name not in listed or rules.tool_pin(listed[name]) != frozen[name]["pin"]
    )
    if rules.server_pin(probed.get("instructions")) != new["server_pin"]:
        other.append(machines.WHOLE_SERVER)
    if other:
        told = f"The server lists {', '.join(other[:10])} otherwise than when the release was registered."
        return {"code": "tools_differ", "message": told, "tools": other[:50]}
    return None


def _failure(problem: Problem) -> Row:
    code = problem.problem_code
    kept = _REASON_OF.get(code, "probe_failed")
    more = {"cause": code, "remedy": problem.remedy, **problem.extra}
    return {"code": kept, "message": text(problem.detail)[:4000], **redact(more)}


async def _made(ctx: Context, move_id: str, problem: Row | None) -> None:
    """Ends what was being tried: the attachment is of the new release, or stays what it is; one commit."""
    async with ctx.transaction() as conn:
        known = await store.move(conn, move_id)
        assert known is not None
        stands: Row | None = None
        try:
            await withdrawing.refuse_withdrawn(ctx, known["pack"])
        except Conflict as refused:
            stands = {"code": refused.problem_code, "message": refused.detail}
        row, old, new = await steps.locked(conn, known["attachment_id"], known["to_release"])
        move = await store.move_for_update(conn, move_id)
        if move is None or move["state"] != "trying":
            return
        inside = steps.for_requester(ctx, move)
        if row["state"] != "updating" or row["release_id"] != move["from_release"]:
            await step(inside, move, "superseded", "attachment_changed")
            await approvals.end_for(ctx, move_id, "superseded")
            return
        if new["state"] != "released":
            # Its trial was ended with it: what came of that says nothing.
            await stays(inside, row, move, "refused", steps.not_released(new))
        elif problem is not None:
            await stays(inside, row, move, "failed", problem["code"], problem)
        elif move["kind"] == "followed" and row["mode"] != "tracking":
            await stays(inside, row, move, "superseded", "attachment_pinned")
        elif (stands := stands or await _in_the_way(inside, row, new)) is not None:
            await stays(inside, row, move, "refused", "move_denied", stands)
        elif (refusal := await _may_still(ctx, move, row, old, new)) is not None:
            await stays(inside, row, move, "refused", refusal)
        elif await steps.missing_connections(conn, row["workspace_id"], new):
            await stays(inside, row, move, "awaiting_connection", "waiting_for_connection")
        elif await dependencies.missing(conn, row["workspace_id"], new["manifest"]):
            await stays(inside, row, move, "awaiting_dependency", "waiting_for_dependency")
        else:
            await _take_over(inside, row, move, new)
        await following.look_again(ctx, row["id"])


async def _in_the_way(ctx: Context, row: Row, new: Row) -> Row | None:
    """What keeps the release from being attached here by now: {code, message}, or None."""
    try:
        await steps.fits(ctx, row, new)
    except Problem as refused:
        return {"code": refused.problem_code, "message": refused.detail}
    return None


async def _may_still(ctx: Context, move: Row, row: Row, old: Row, new: Row) -> str | None:
    """Decides again as whoever asked, and uses the approval: the reason why not, or None."""
    facts, resource, told = steps.facts_of(row, old, new, move["kind"], {})
    facts["widens"] = facts["widens"] or any(f".{move['id']}" in mount["clone"] for mount in move["mounts"])
    decision = await steps.as_requester(ctx, move).decide(actions.UPDATE.name, resource, **facts)
    await store.set_decision(ctx.conn, move["id"], decision.id, None)
    if decision.verdict == "deny":
        return "move_denied"
    if decision.verdict == "ask" and move["approval_id"] is None:
        return "move_superseded"
    if move["approval_id"] is None:
        return None
    digest = canonical.sha256_hex(steps.action_of({**move, "difference": told}, row, new))
    redemption = await approvals.redeem(ctx, move["approval_id"], digest=digest, decision=decision, used_by=move["id"])
    return None if redemption.usable else "move_superseded"


async def stays(
    ctx: Context, row: Row, move: Row, state: str, reason: str, error: Row | None = None
) -> None:  # fmt: skip
    """The attachment stays on the release that it has, serving, and the move ends or waits."""
    held = bool(row["held"])
    after, why = ("held", "tool_definition_changed") if held else ("attached", "attachment_in_service")
    await steps.mark(ctx, row, after, why, {"kind": "move", "id": move["id"]})
    await step(ctx, move, state, reason, error)
    if model.MOVE.terminal(state):
        await approvals.end_for(ctx, move["id"], "superseded")


async def _take_over(ctx: Context, row: Row, move: Row, new: Row) -> None:
    """The attachment is of the new release: its digest, mounts and grants, and nothing that was held of the old one."""
    await store.to_release(ctx.conn, row["id"], new, move["mounts"])
    if move["kind"] == "back" and row["mode"] != "pinned":
        await store.set_mode(ctx.conn, row["id"], "pinned", None, None)
        ctx.record(
            events.attachment(events.ATTACHMENT_PINNED, row, "tracking", "pinned", "attachment_pinned",
                              {"kind": "move", "id": move["id"]})
        )  # fmt: skip
    await _grants(ctx, row, move, new)
    await steps.mark(
        ctx, row, "attached", "attachment_in_service", {"kind": "move", "id": move["id"]}, release=new["id"],
        version=new["version"], digest=new["digest"],
    )  # fmt: skip
    await step(ctx, move, "moved", "move_done")
    await ctx.publish(
        "attachment.attached", {"attachment_id": row["id"], "pack": row["pack"], "workspace_id": row["workspace_id"]}
    )
    ctx.failpoint("attachment.moved.after_commit")


async def _grants(ctx: Context, row: Row, move: Row, new: Row) -> None:
    """The credentials that the new release uses are granted, and those that only the old one used are taken back."""
    cause = {"kind": "move", "id": move["id"]}
    keep: list[tuple[str, str]] = []
    for need in rules.connection_needs(new["manifest"]):
        there = await rows.connections_at(ctx.conn, row["workspace_id"], need["provider"], need["host"], need["port"])
        for found in connections.backing(there):
            if found["secret_id"] is None or not need["endpoint"]:
                continue
            given = await treasury.grant_for_attachment(
                ctx, found["secret_id"], attachment_id=row["id"], workspace_id=row["workspace_id"],
                endpoint=need["endpoint"], cause=cause,
            )  # fmt: skip
            if given is not None:
                keep.append((found["secret_id"], given["endpoint"]))
    await treasury.revoke_other_grants(ctx, row["id"], keep, cause)


async def _let_go(ctx: Context, move: Row) -> None:
    """Ends the idle sessions of the old release, and those under way once their call is over (RUN-3). A host that is down
    has none, and the next call starts one of the new release in any case."""
    async with ctx.transaction() as conn:
        row = await rows.attachment(conn, move["attachment_id"])
    if row is None:
        return
    try:
        await hosting.client(ctx).retire(attachment_id=row["id"], digest=row["digest"])
    except Problem:
        log.warning("the old sessions of %s could not be let go", row["id"])
