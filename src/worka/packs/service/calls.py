"""A tool call outside any task: for a person, a service account or a team member with a token of its own."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Literal

from worka.approvals import service as approvals
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.packs import actions, store
from worka.packs.errors import KeyInUse, KeyReused, OutcomeUnknown
from worka.packs.service import invocation
from worka.packs.service.invocation import Prepared

Row = dict[str, Any]
SUBJECT = "tool_call"
GRACE_SECONDS = 90.0


async def call(ctx: Context, tool: str, arguments: dict[str, Any], key: str | None) -> tuple[int, Row]:
    """(HTTP status, body) of a call. 200: it ran, `status` says how it ended; 202: it waits for the approval or the
    connection named there, and the same call with the same key runs once after it. A key that ran before gives what came of it then.

    Raises what `prepare` raises, KeyReused, KeyInUse, OutcomeUnknown.
    """
    given = key or os.urandom(16).hex()
    own_key = invocation.call_key(ctx, given)
    assert ctx.tenant_id is not None
    row: Row | None = None
    async with ctx.transaction() as conn:
        # Everything up to the intent is one transaction: the decision stands with what it allowed.
        prepared = await invocation.prepare(ctx, tool, arguments)
        if ctx.bind_key is not None:
            # The key's row is its lock too: who comes second waits here for the end of the first one's transaction.
            await ctx.bind_key(conn)
        elif key is not None:
            await store.lock_key(conn, ctx.tenant_id, own_key)
        # A key that was made up just now is nobody else's.
        newest = await store.newest_of_key(conn, own_key) if key is not None else None
        what = "run" if newest is None else _repeat(prepared, newest)
        if what == "replay":
            assert newest is not None
            return 200, {**await body(ctx, newest), "idempotency_key": given, "replayed": True}
        if what == "give_up":
            for lost in await store.lose_invocations(conn, own_key):
                ctx.record(invocation.lost_event(lost))
        else:
            approval_id: str | None = None
            if (lack := await invocation.lacking(ctx, prepared)) is not None:
                return 202, {
                    "status": "waiting_for_connection",
                    "reason": lack.reason,
                    "connection_id": lack.connection_id,
                    "provider": lack.provider,
                    "endpoint": lack.endpoint,
                    "decision_id": prepared.decision.id,
                    "idempotency_key": given,
                    "next": "repeat the call with this idempotency key once it is connected: `worka connection needs`",
                }
            if prepared.decision.verdict == "ask":
                approval = await _approval(ctx, prepared, own_key, newest)
                if approval["state"] != "approved":
                    return 202, {
                        "status": "waiting_for_approval",
                        "approval_id": approval["id"],
                        "digest": prepared.digest,
                        "decision_id": prepared.decision.id,
                        "idempotency_key": given,
                        "next": "repeat the call with this idempotency key once it is approved",
                        **await approvals.in_place_of(ctx, approval),
                    }
                approval_id = approval["id"]
            row = await invocation.open_invocation(
                ctx, prepared, idempotency_key=own_key, approval_id=approval_id, first=newest is None
            )
    if row is None:
        assert newest is not None
        raise _unknown(newest)
    outcome = await invocation.run(ctx, prepared, row)
    closed = await invocation.close_invocation(ctx, row, prepared.release, outcome)
    return 200, {**await body(ctx, closed), "idempotency_key": given, "replayed": False}


async def body(ctx: Context, row: Row) -> Row:
    """What a caller gets of an invocation that ended."""
    return {
        "invocation_id": row["id"],
        "untrusted": True,
        "status": row["state"],
        "layer": row["layer"],
        "reason": row["reason"],
        "message": row["message"],
        **await invocation.result_of(ctx, row),
        "validated": row["validated"],
        "effect_id": row["effect_id"],
        "session": row["session"],
        "call_ms": row["call_ms"],
        "approval_id": row["approval_id"],
        "decision_id": row["decision_id"],
        "trace_id": row["trace_id"],
    }


def _lost(row: Row, prepared: Prepared) -> bool:
    """Whether nobody can be waiting for this call any more."""
    age: float = (now() - row["started_at"]).total_seconds()
    # A call may wait for a free session as long as for its answer.
    return age > 2 * prepared.timeout_seconds + GRACE_SECONDS


def _repeat(prepared: Prepared, before: Row) -> Literal["run", "replay", "give_up"]:
    """What a repeat under a key is, from the newest invocation under it: to run (again), to be answered from what is
    kept, or to be given up (what began may have had its effect, and cannot be asked twice). Raises KeyReused, KeyInUse,
    OutcomeUnknown."""
    if before["tool"] != prepared.tool or before["args_digest"] != prepared.args_digest:
        raise KeyReused("The key was used for another tool or with other arguments.", invocation_id=before["id"])
    if before["state"] in ("succeeded", "failed"):
        return "replay"
    if before["state"] == "running" and not _lost(before, prepared):
        raise KeyInUse("The first call with this key has not ended.", invocation_id=before["id"], retry_after=1)
    if prepared.idempotent:
        return "run"
    if before["state"] == "running":
        return "give_up"
    raise _unknown(before)


def _unknown(before: Row) -> OutcomeUnknown:
    return OutcomeUnknown(
        "The first call with this key may have had its effect, and the tool cannot be asked twice.",
        invocation_id=before["id"],
    )


async def _approval(ctx: Context, prepared: Prepared, key: str, before: Row | None) -> Row:
    """The approval of exactly this call under this key: the one that an earlier try of it used, one that can be used,
    one that is open, or a new one. An approval given under other rules than policy has now is superseded, not used."""
    given = before["approval_id"] if before is not None else None
    if given is None:
        usable = await approvals.find_usable(ctx, key, prepared.digest)
        given = usable["id"] if usable is not None else None
    if given is not None:
        redeemed = await approvals.redeem(ctx, given, digest=prepared.digest, decision=prepared.decision, used_by=key)
        if redeemed.usable:
            return redeemed.approval
    return await approvals.request(
        ctx,
        boundary=prepared.boundary,
        action=actions.INVOKE.name,
        subject_type=SUBJECT,
        subject_id=key,
        title=prepared.title,
        effect=prepared.effect,
        digest=prepared.digest,
        card=prepared.card,
        arguments=prepared.arguments_bytes,
        rules=list(prepared.decision.approval_rules),
        decision_id=prepared.decision.id,
        policy_version=prepared.decision.policy_version,
        blocks=[{"kind": "tool_call", "id": key, "name": prepared.tool}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours),
        may_be_decided=True,
    )
