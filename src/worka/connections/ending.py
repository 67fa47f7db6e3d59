"""The end of a connection: what it stops, said before and in a receipt; its grants and tokens over at once; and the provider
told as well as that goes, with what came of it.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from worka import workspaces
from worka.approvals import service as approvals
from worka.connections import actions, consent, events, oauth, outward, rules, service, store
from worka.connections.oauth import OAuthProblem
from worka.kernel import canonical
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.treasury import connected
from worka.treasury import service as vault

Row = dict[str, Any]
log = logging.getLogger("worka.connections")
_CLAIM = timedelta(seconds=120)
_WORDS = {
    "attachment": ("attachment that may use it", "attachments that may use it"),
    "call": ("call that holds it now", "calls that hold it now"),
    "task": ("task in flight that used it", "tasks in flight that used it"),
}


async def reach(ctx: Context, connection_id: str) -> Row:
    """What ending a connection would stop: {connection_id, name, state, items, counts, sentence, provider, seen}. Raises
    ConnectionNotFound."""
    async with ctx.transaction():
        return await _reach(ctx, await service.visible(ctx, connection_id))


async def _reach(ctx: Context, row: Row) -> Row:
    items = await store.standing(ctx.conn, row) if row["secret_id"] else []
    if row["secret_id"] and row["kind"] == "token" and await store.same_way(ctx.conn, row):
        items = []  # another connection uses the same secret there: nothing of it ends
    counts = {what: sum(item["what"] == what for item in items) for what in _WORDS}
    said = [f"{number} {_WORDS[what][number != 1]}" for what, number in counts.items() if number]
    whose = "somebody's own account" if row["person_id"] else "the workspace's account"
    return {
        "connection_id": row["id"],
        "name": row["name"],
        "state": row["state"],
        "items": items,
        "counts": counts,
        "sentence": f"On {row['name']} ({whose}) stand {', '.join(said)}."
        if said
        else f"Nothing stands on {row['name']}.",
        "provider": await _way_to_tell(ctx, row),
        "seen": canonical.sha256_hex({"v": 1, "items": sorted(f"{it['what']} {it['id']}" for it in items)})[:16],
    }


async def _way_to_tell(ctx: Context, row: Row) -> str:
    """Whether the provider will be told: `told_after`, `cannot_be_told`, or `nothing_to_tell` where it gave no token."""
    if row["kind"] == "token" or row["secret_id"] is None:
        return "nothing_to_tell"
    try:
        what = await consent.around(ctx, row)
    except Problem:
        return "cannot_be_told"
    return "told_after" if what.place.revocation else "cannot_be_told"


async def remove(ctx: Context, connection_id: str, why: str = "") -> Row:
    """Ends a connection: its grants and tokens are over for the next call; the provider is told right after.
    {…, stopped: [attachment ids]}, with its receipt. Raises ConnectionNotFound, Denied, Conflict when it has ended already."""
    async with ctx.transaction() as conn:
        row = await service.visible_held(ctx, connection_id)
        await service.may_tend(ctx, row, actions.CONNECTION_REMOVE)
        stopped = await end(ctx, row, "connection_removed", why, None)
        ctx.failpoint("connection.ended.before_commit")
        found = await store.get(conn, connection_id)
    assert found is not None
    return {**service.shown(found), "stopped": stopped}


async def end(ctx: Context, row: Row, reason: str, why: str, cause: Row | None) -> list[str]:
    """In the caller's transaction, the connection and its secrets locked: the attachments that could use it. Writes the
    receipt."""
    conn = ctx.conn
    stands = await _reach(ctx, row)
    if row["state"] == "awaiting_approval":
        await approvals.end_for(ctx, row["id"], "withdrawn")
    await service.move(ctx, row, "revoked", reason, cause, why=why)
    await store.end_flows(conn, row["id"], "connection_over")
    await store.no_more(conn, row["id"], None)
    gone: list[Row] = []
    mine = {"kind": "connection", "id": row["id"]}
    if row["kind"] != "token":
        for column in ("secret_id", "refresh_secret_id"):
            if row[column]:
                gone += await connected.end(ctx, row[column], mine)
    elif row["secret_id"] is not None and not await store.same_way(conn, row):
        gone = await vault.revoke_grants_of_connection(ctx, row["id"], row["secret_id"], f"{row['host']}:{row['port']}")
    tells = stands["provider"] == "told_after"
    stopped = sorted({grant["attachment_id"] for grant in gone})
    receipt = {
        "at": now().isoformat(), "by": ctx.principal.id, "by_name": ctx.principal.name, "why": why, "reason": reason,
        "grants": len(gone), "attachments": stopped, "items": [{k: it[k] for k in ("what", "id", "name")} for it in stands["items"]],
        "provider": {"state": "pending" if tells else stands["provider"], "detail": _UNTOLD.get(stands["provider"], "")},
    }  # fmt: skip
    await store.set_receipt(conn, row["id"], receipt, timedelta(0) if tells else None, 0)
    if row["kind"] != "token" and not tells:
        await _wipe(ctx, row)
    return stopped


_UNTOLD = {
    "cannot_be_told": "There is no way to tell the provider: take the consent back there, or its tokens end by themselves.",
}


async def _wipe(ctx: Context, row: Row) -> None:
    for column in ("secret_id", "refresh_secret_id"):
        if row[column]:
            await connected.wipe(ctx, row[column], {"kind": "connection", "id": row["id"]})


async def tell(ctx: Context, connection_id: str, post: outward.Post | None = None) -> str:
    """Tells the provider once that the tokens of a connection that ended are over (RFC 7009): `told`, or why not. The values
    are wiped when it is told, or when it is given up. `ctx` is the platform's."""
    async with ctx.transaction() as conn:
        row = await service.held(ctx, connection_id)
        if row is None or row["tell_at"] is None or row["tell_at"] > now():
            return "early"
        ctx.workspace_id = row["workspace_id"]
        said: str | None = None
        requests: list[oauth.Request] = []
        try:
            what = await consent.around(ctx, row, "revocation")
            for column, hint in (("refresh_secret_id", "refresh_token"), ("secret_id", "access_token")):
                value = await connected.last_value(ctx, row[column], "revocation") if row[column] else None
                if value is not None:
                    requests.append(oauth.revocation_request(what.known, what.place, what.credential, value, hint))
        except Problem as problem:
            said, what = problem.detail, None
        await store.set_receipt(conn, connection_id, row["receipt"], _CLAIM, row["tell_tries"] + 1)
    for request in requests if what is not None and said is None else []:
        assert what is not None
        try:
            came = await outward.send(post or outward.through_broker(ctx), what.client, request)
            said = oauth.revoked(came.status, came.body)
        except OAuthProblem as problem:
            said = str(problem)
        if said is not None:
            break
    async with ctx.transaction() as conn:
        row = await service.held(ctx, connection_id)
        assert row is not None
        tries = row["tell_tries"]
        over = said is None or tries > len(rules.TELL_PAUSES)
        state = "told" if said is None else ("not_told" if over else "pending")
        provider = {"state": state, "detail": said or "", "tries": tries, "at": now().isoformat()}
        pause = None if over else timedelta(seconds=rules.TELL_PAUSES[tries - 1])
        await store.set_receipt(conn, connection_id, {**row["receipt"], "provider": provider}, pause, tries)
        ctx.record(events.provider_told(row, provider))
        if over:
            await _wipe(ctx, row)
        ctx.failpoint("connection.changed.before_commit")
    return state


async def left(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which somebody leaves a workspace: their own accounts are connected to it no more; the
    workspace's, and everybody else's, go on."""
    workspace_id, person_id = payload["workspace_id"], payload["principal_id"]
    members = await workspaces.store.members(ctx.conn, workspace_id)
    if any(row["principal_id"] == person_id for row in members):
        return
    for known in await store.of_person(ctx.conn, workspace_id, person_id):
        row = await service.held(ctx, known["id"])
        if row is not None and row["state"] not in rules.ENDED:
            await end(
                ctx, row, "connection_owner_left", "its person left the workspace", {"kind": "person", "id": person_id}
            )
