"""What becomes of what a provider gave: kept in the treasury, bound to the connection's endpoint, and announced."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from worka.connections import catalogue, events, oauth, outward, rules, service, store
from worka.connections.oauth import OAuthProblem, Tokens
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.treasury import connected
from worka.treasury import rules as treasury_rules
from worka.treasury import store as treasury_rows

Row = dict[str, Any]


def told(problem: OAuthProblem) -> Row:
    """A problem as the connection keeps it, for people."""
    return {"code": problem.code, "error": problem.error, "detail": str(problem)[:300], "at": now().isoformat()}


async def account(
    post: outward.Post, known: catalogue.Provider, place: catalogue.Place, client: Row, token: str
) -> dict[str, str]:
    """{id, name} of whose account a token is; empty where the catalogue has no way to ask. Raises OAuthProblem."""
    if known.userinfo is None:
        return {}
    came = await outward.fetch(post, client, place.userinfo, token)
    return oauth.account_of(came.status, came.body, known.userinfo.id, known.userinfo.name)


async def taken(ctx: Context, flow: Row, found: Tokens, whose: dict[str, str]) -> Row:
    """The end of a consent: what the provider gave is the connection's from now on. An answer that came after the consent was
    over, or of another account than before, is dropped."""
    async with ctx.transaction() as conn:
        row = await service.held(ctx, flow["connection_id"])
        assert row is not None
        ctx.workspace_id = row["workspace_id"]
        before = row["account"].get("id")
        if before and whose and before != whose["id"]:
            outcome = "another_account"
        elif row["state"] not in ("awaiting_consent", "active", "expired", "broken"):
            outcome = "connection_over"
        else:
            outcome = "connected"
        if not await store.end_flow(conn, flow["id"], outcome):
            outcome = "consent_over"
        if outcome != "connected":
            ctx.record(events.consent_refused(row, flow["id"], outcome))
        else:
            await keep(ctx, row, found, whose, {"kind": "flow", "id": flow["id"]})
        ctx.failpoint("connection.tokens.before_commit")
        now_is = await store.get(conn, row["id"])
        assert now_is is not None
        return {**service.shown(now_is), "outcome": outcome, "said": ""}


async def keep(ctx: Context, row: Row, found: Tokens, whose: dict[str, str], cause: Row) -> Row:
    """In the caller's transaction, the connection locked: tokens into the treasury, the connection active, what waits goes
    on. A refresh token that the provider did not give anew stays the one there is."""
    at = now()
    ends = at + timedelta(seconds=found.seconds) if found.seconds else None
    access = await _put(ctx, row, "secret_id", "oauth_access", found.access, ends, cause)
    refresh = row["refresh_secret_id"]
    if found.refresh is not None:
        refresh = await _put(ctx, row, "refresh_secret_id", "oauth_refresh", found.refresh, None, cause)
    renews = found.seconds is not None and (refresh is not None or row["kind"] == "oauth_client")
    # A renewal that a 401 brought on is remembered: should the new credential be refused too, there is no further one.
    forced = cause["kind"] == "renewal" and row["reason"] == rules.REFUSED
    problem = told(OAuthProblem(rules.REFUSED, "the provider had answered 401, and gave a new credential", "401"))
    kept = await store.keep(
        ctx.conn,
        row["id"],
        {
            "secret_id": access, "refresh_secret_id": refresh, "expires_at": ends, "account": whose or row["account"],
            "problem": problem if forced else None,
            "granted": list(found.scopes if found.scopes is not None else row["scopes"]),
            "refresh_at": rules.renewal(at, found.seconds) if renews and found.seconds else None,
        },
    )  # fmt: skip
    ctx.record(events.renewed(row, kept, found.refresh is not None and row["refresh_secret_id"] is not None))
    moved = await service.move(
        ctx, {**kept, "state": row["state"], "reason": row["reason"]}, "active", "connection_in_service", cause
    )
    await service.announce(ctx, moved)
    return moved


async def _put(ctx: Context, row: Row, column: str, kind: str, value: str, ends: datetime | None, cause: Row) -> str:
    """The same secret with another value, so that its grants stay; a new one where there is none that can be used."""
    known = await treasury_rows.secret(ctx.conn, row[column], lock="update") if row[column] else None
    if known is not None and known["state"] in treasury_rules.LEASABLE:
        await connected.renew(ctx, known["id"], value, expires_at=ends, cause=cause)
        return str(known["id"])
    what = {"oauth_access": "access", "oauth_refresh": "refresh"}[kind]
    made = await connected.put_in(
        ctx, row["workspace_id"], name=f"{what} of {row['provider']} {row['id'][-8:]} {secrets.token_hex(3)}",
        purpose=f"{what} token of the connection {row['name']}"[:400], kind=kind, value=value, expires_at=ends,
        person_id=row["person_id"], cause=cause,
    )  # fmt: skip
    return str(made["id"])
