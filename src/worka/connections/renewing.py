"""Renewing credentials ahead of their end: by one process at a time, and never at the price of the only good token.

Before the provider is asked, a claim is committed: who asks, until when, and that the end of it is open. Only what comes
under this claim counts. Where the answer never came, the old token is tried again, since the provider may not have done it;
where the provider then says that it is good for nothing, the connection says that a renewal was cut off, and that it must be
connected again. A failure is a failure: the connection is active only as long as the credential that it has is good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from worka.approvals import store as outbox
from worka.connections import actions, consent, ending, events, oauth, outward, rules, service, store, tokens
from worka.connections.oauth import OAuthProblem, Tokens
from worka.kernel import failpoints
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.ids import new_id
from worka.treasury import connected

Row = dict[str, Any]
log = logging.getLogger("worka.connections")
EXPIRING = "connection.expiring"
_KEEP_TRIES = 20


async def renew(ctx: Context, connection_id: str, post: outward.Post | None = None, *, by_hand: bool = False) -> str:
    """Renews a connection if it is due (or `by_hand`), once: `renewed`, or why not. `ctx` is the platform's."""
    begun = await _begin(ctx, connection_id, by_hand)
    if isinstance(begun, str):
        return begun
    what, claim, request, interrupted = begun
    failpoints.hit("connection.renewal.after_claim")
    try:
        came = await outward.send(post or outward.through_broker(ctx), what.client, request)
        failpoints.hit("connection.renewal.after_answer")
        found = oauth.tokens_of(
            came.status, came.body, what.row["granted"] or what.row["scopes"], what.known.scope_separator
        )
    except OAuthProblem as problem:
        return await _not(ctx, connection_id, claim, problem, interrupted)
    return await _keep(ctx, connection_id, claim, found)


async def _begin(
    ctx: Context, connection_id: str, by_hand: bool
) -> tuple[consent._Around, str, oauth.Request, bool] | str:
    async with ctx.transaction() as conn:
        row = await service.held(ctx, connection_id)
        if row is None or row["state"] not in ("active", "expired", "awaiting_consent"):
            return "over"
        ctx.workspace_id = row["workspace_id"]
        if row["refresh_until"] is not None and row["refresh_until"] > now():
            return "held"  # another process asks now: its answer is ours too
        if not by_hand and (row["refresh_at"] is None or row["refresh_at"] > now()):
            return "early"
        if row["kind"] != "oauth_client" and row["refresh_secret_id"] is None:
            return "no_refresh_token"
        what = await consent.around(ctx, row, "renewal")
        if row["kind"] == "oauth_client":
            request, grant = (
                oauth.client_request(what.known, what.place, what.credential, row["scopes"]),
                "client_credentials",
            )
        else:
            old = await connected.opened(ctx, row["refresh_secret_id"], "renewal")
            request, grant = oauth.refresh_request(what.known, what.place, what.credential, old), "refresh_token"
        claim = new_id("claim")
        await store.claim(conn, connection_id, claim, rules.CLAIM_SECONDS)
        ctx.record(events.renewing(row, grant))
        ctx.failpoint("connection.renewal.before_commit")
    return what, claim, request, bool(row["refresh_open"])


async def _keep(ctx: Context, connection_id: str, claim: str, found: Tokens) -> str:
    """The old token may be good for nothing by now: this answer is the only good one, and is tried to be kept until it is."""
    for attempt in range(_KEEP_TRIES):
        try:
            async with ctx.transaction():
                row = await service.held(ctx, connection_id)
                if row is None or row["refresh_claim"] != claim or row["state"] in ("revoked", "rejected", "broken"):
                    log.warning("a renewal of %s came too late and is dropped", connection_id)
                    return "fenced"
                await tokens.keep(ctx, row, found, {}, {"kind": "renewal", "id": claim})
                ctx.failpoint("connection.tokens.before_commit")
            return "renewed"
        except Problem as problem:
            log.warning("a renewed credential of %s could not be kept yet: %s", connection_id, problem.problem_code)
            ctx = replace(ctx, tx=None)
            await asyncio.sleep(min(0.1 * 2**attempt, 5.0))
    return "not_kept"


async def _not(ctx: Context, connection_id: str, claim: str, problem: OAuthProblem, interrupted: bool) -> str:
    async with ctx.transaction() as conn:
        row = await store.get(conn, connection_id, lock=True)
        if row is None or row["refresh_claim"] != claim:
            return "fenced"
        told = tokens.told(problem)
        refused = row["reason"] == rules.REFUSED
        final = problem.code == "provider_refused" and (row["kind"] == "oauth_client" or refused)
        dead = problem.error in oauth.DEAD or final
        first = row["state"] == "awaiting_consent"
        ctx.record(events.not_renewed(row, problem.code, str(problem)))
        cause = {"kind": "renewal", "id": claim}
        if dead and not first:
            await store.no_more(conn, connection_id, told)
            reason = "refresh_lost" if interrupted else "refresh_refused"
            await service.move(ctx, row, "broken", reason, cause)
        elif first and problem.code != "provider_away":
            await store.no_more(conn, connection_id, told)
            await service.move(ctx, row, "awaiting_consent", "consent_failed", cause)
        else:
            # Without an answer nobody knows what the provider did: the end stays open.
            away = problem.code == "provider_away"
            await store.again(
                conn, connection_id, rules.pause(row["refresh_tries"] + 1), told, open_=away or interrupted
            )
            if row["state"] == "active":
                await service.move(ctx, row, "active", rules.REFUSED if refused else "refresh_failing", cause)
                if row["warned"] == "":
                    await _warn(ctx, row)
        ctx.failpoint("connection.changed.before_commit")
    return problem.code


async def expire(ctx: Context, connection_id: str) -> None:
    """The credential's time is over, and no new one came. `ctx` is the platform's."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, connection_id, lock=True)
        if row is None or row["state"] != "active" or row["expires_at"] is None or row["expires_at"] > now():
            return
        ctx.workspace_id = row["workspace_id"]
        await service.move(ctx, row, "expired", "credential_expired", None)
        await _tell(ctx, row, "due")
        ctx.failpoint("connection.changed.before_commit")


async def warn(ctx: Context, connection_id: str) -> None:
    """It ends soon, and nothing renews it. `ctx` is the platform's."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, connection_id, lock=True)
        if row is None or row["state"] != "active" or row["warned"] or row["expires_at"] is None:
            return
        ctx.workspace_id = row["workspace_id"]
        await _warn(ctx, row)
        ctx.failpoint("connection.changed.before_commit")


async def _warn(ctx: Context, row: Row) -> None:
    await store.set_warned(ctx.conn, row["id"], "soon")
    ctx.record(events.warned(row, "soon"))
    await _tell(ctx, row, "soon")


async def _tell(ctx: Context, row: Row, level: str) -> None:
    payload = {
        "workspace_id": row["workspace_id"], "connection_id": row["id"], "name": row["name"], "level": level,
        "provider": row["provider"], "expires_at": row["expires_at"].isoformat() if row["expires_at"] else None,
    }  # fmt: skip
    await outbox.send_later(
        ctx.conn, {"tenant_id": row["tenant_id"], "id": new_id("out"), "topic": EXPIRING, "payload": payload}
    )


async def by_hand(ctx: Context, connection_id: str, post: outward.Post | None = None) -> Row:
    """A person has it renewed now: {outcome, connection}. Raises ConnectionNotFound, Denied."""
    async with ctx.transaction():
        row = await service.visible(ctx, connection_id)
        await service.may_tend(ctx, row, actions.CONNECTION_AUTHORIZE)
    # Its rows are the person's; the credential is opened, and kept, as it is when it is renewed by itself.
    outcome = await renew(ctx, connection_id, post, by_hand=True)
    return {"outcome": outcome, "connection": await service.get(ctx, connection_id)}


# by itself ----------------------------------------------------------------------------------------------------------
async def sweep(ctx: Context, post: outward.Post | None = None, most: int = 50) -> int:
    """What is due over all tenants: renewals, ends, warnings, consents on other devices, providers to be told. Each in
    transactions of its own; how many. `ctx` is the platform's; any number of processes may run it at once."""
    async with ctx.db.transaction(None) as conn:
        found = await store.due(conn, most)
    acts: dict[str, Callable[[Context, str, outward.Post | None], Awaitable[str]]]
    acts = {"renew": renew, "poll": consent.poll, "tell": ending.tell}
    quick: dict[str, Callable[[Context, str], Awaitable[None]]]
    quick = {"expire": expire, "warn": warn, "lapse": consent.lapse}
    gate = asyncio.Semaphore(4)

    async def one(entry: Row) -> None:
        inside = replace(ctx, tx=None, tenant_id=entry["tenant_id"])
        async with gate:
            try:
                if entry["what"] in acts:
                    await acts[entry["what"]](inside, entry["id"], post)
                else:
                    await quick[entry["what"]](inside, entry["id"])
            except Problem as problem:
                log.warning("%s of %s was passed over: %s", entry["what"], entry["id"], problem.problem_code)
                await _later(inside, entry, problem)
            except Exception:
                # One connection's surprise must not hold up the others.
                log.exception("%s of %s failed", entry["what"], entry["id"])

    # What ends is looked at after what may renew it.
    for names in (acts, quick):
        await asyncio.gather(*(one(entry) for entry in found if entry["what"] in names))
    return len(found)


async def _later(ctx: Context, entry: Row, problem: Problem) -> None:
    """What cannot be tended now (a sealed treasury, a client's secret that was revoked, a provider that is in the catalogue no
    more) is looked at again in a minute, and says meanwhile what was met."""
    ctx = replace(ctx, tx=None)
    async with ctx.transaction() as conn:
        row = await store.get(conn, entry["id"], lock=True) if entry["what"] != "poll" else None
        if entry["what"] == "poll":
            await store.poll_later(conn, entry["id"], 60)
        elif row is not None and entry["what"] == "renew":
            told = tokens.told(OAuthProblem(problem.problem_code, problem.detail))
            await store.again(conn, row["id"], rules.pause(3), told, open_=row["refresh_open"])
        elif row is not None and entry["what"] == "tell":
            await store.set_receipt(conn, row["id"], row["receipt"], rules.pause(3), row["tell_tries"])


__all__ = ["EXPIRING", "expire", "renew", "sweep", "warn"]
