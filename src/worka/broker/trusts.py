"""Upstream trust: how the certificate of an outside name is checked, and what we show of ourselves, by the operator.

Certificates are public and stand in the record; the key of ours is a secret of the workspace, which the broker leases for
a call like any other: it needs a grant to the attachment for this endpoint.
"""

from __future__ import annotations

from typing import Any

from worka import treasury
from worka.broker import actions, ca, certificates, events, store
from worka.broker.asked import service as asked
from worka.broker.certificates import FieldProblem
from worka.broker.errors import TrustExists, TrustInvalid, TrustUnknown
from worka.broker.schema import NewUpstreamTrust
from worka.kernel.context import Context, Decision, Resource
from worka.kernel.ids import new_id

Row = dict[str, Any]


def _workspace(ctx: Context) -> str:
    assert ctx.workspace_id is not None, "the door sets the workspace of this path"
    return ctx.workspace_id


async def create(ctx: Context, new: NewUpstreamTrust) -> Row:
    """Records one, and calls that begin after this go by it; or answers the change that waits for a second person where a
    credential goes to the name ({state: open, approval_id, …}). With `replace` the one of the same place ends in the same
    commit, and `replaced` names it. Raises TrustInvalid, TrustExists, Denied."""
    settings = {
        **_checked(new), "port": new.port, "attachment_id": new.attachment_id,
        "client_key_secret_id": new.client_key_secret_id, "reason": new.reason, "replace": new.replace,
    }  # fmt: skip
    return await asked.record(ctx, TRUST, _workspace(ctx), settings)


async def _hold(ctx: Context, settings: Row) -> None:
    """Its key, before the places: in the order in which connections take them."""
    if settings["client_key_secret_id"] is not None:
        await treasury.store.secret(ctx.conn, settings["client_key_secret_id"], lock="share")


async def _require(ctx: Context, workspace_id: str, settings: Row, carries: bool) -> Decision:
    # As it is kept: a policy on a name is not passed by another spelling of it.
    facts = {"name": settings["name"], "port": settings["port"], "secret": settings["client_key_secret_id"]}
    facts["carries"] = carries
    if settings["attachment_id"]:
        facts["attachment"] = settings["attachment_id"]
    place = Resource("upstream_trust", "new", workspace_id, facts)
    return await ctx.require(actions.UPSTREAM_TRUST_CREATE, place, **facts)


async def _replaces(ctx: Context, workspace_id: str, settings: Row) -> str | None:
    """The record of the same place, which ends with this one."""
    await _its_parts(ctx, workspace_id, settings)
    old = await _standing(ctx, workspace_id, settings)
    if old is None:
        return None
    if not settings["replace"]:
        raise TrustExists(f"{old['id']} is for {old['name']}:{old['port']}.", trust_id=old["id"])
    await ctx.require(actions.UPSTREAM_TRUST_REMOVE, _resource(old))
    return str(old["id"])


async def _put(ctx: Context, workspace_id: str, settings: Row, over: str | None, by: str, cause: Row | None) -> Row:
    assert ctx.tenant_id is not None
    if over is not None:
        await _end(ctx, over)
    row = {"id": new_id("ust"), "workspace_id": workspace_id, **settings, "created_by": by}
    found = await store.insert_trust(ctx.conn, ctx.tenant_id, row)
    ctx.record(events.trust_created(found, cause))
    return told({**found, "replaced": over})


TRUST = asked.kind(
    asked.Kind(
        "upstream_trust", actions.UPSTREAM_TRUST_CREATE, actions.UPSTREAM_TRUST_VIEW, "upstream trust",
        hold=_hold, require=_require, replaces=_replaces, put=_put,
    )
)  # fmt: skip


async def _standing(ctx: Context, workspace_id: str, row: Row) -> Row | None:
    """The record of the same place that holds now."""
    held = await store.live_trusts(ctx.conn, workspace_id, row["attachment_id"])
    for other in held:
        if all(other[key] == row[key] for key in ("name", "port", "attachment_id")):
            return await store.trust(ctx.conn, other["id"])
    return None


async def remove(ctx: Context, trust_id: str) -> None:
    """Ends one; calls that begin after this do not go by it. Raises TrustUnknown, Denied."""
    async with ctx.transaction() as conn:
        row = await store.trust(conn, trust_id)
        if row is None:
            raise TrustUnknown()
        await ctx.require(actions.UPSTREAM_TRUST_REMOVE, _resource(row))
        await _end(ctx, trust_id)


async def _end(ctx: Context, trust_id: str) -> None:
    removed = await store.remove_trust(ctx.conn, trust_id)
    if removed is not None:
        ctx.record(events.trust_removed(removed))


async def get(ctx: Context, trust_id: str) -> Row:
    """One record. Raises TrustUnknown."""
    async with ctx.transaction() as conn:
        row = await store.trust(conn, trust_id)
        if row is None:
            raise TrustUnknown()
        place = Resource("workspace", row["workspace_id"], row["workspace_id"])
        if (await ctx.decide(actions.UPSTREAM_TRUST_VIEW, place)).verdict == "deny":
            raise TrustUnknown()
    return told(row)


async def page(ctx: Context, after: str | None, limit: int) -> list[Row]:
    """Up to `limit` records, newest first."""
    workspace_id = _workspace(ctx)
    await ctx.require(actions.UPSTREAM_TRUST_VIEW, Resource("workspace", workspace_id, workspace_id))
    async with ctx.transaction() as conn:
        return [told(row) for row in await store.trusts_page(conn, workspace_id, after, limit)]


def told(row: Row) -> Row:
    """A record with its certificates in words."""
    return {
        **row, "authorities": ca.told(row["ca_pem"]), "certificates": ca.told(row["client_cert_pem"])
    }  # fmt: skip


def _resource(row: Row) -> Resource:
    return Resource("upstream_trust", row["id"], row["workspace_id"], {"name": row["name"]})


async def _its_parts(ctx: Context, workspace_id: str, row: Row) -> None:
    """Of this workspace both, or not at all."""
    if row["attachment_id"]:
        attachment = await store.attachment(ctx.conn, row["attachment_id"])
        if attachment is None or attachment["workspace_id"] != workspace_id:
            raise TrustInvalid("attachment_id: there is no such attachment in this workspace", field="attachment_id")
    if row["client_key_secret_id"] is not None:
        secret = await treasury.store.secret(ctx.conn, row["client_key_secret_id"], lock="share")
        if secret is None or secret["workspace_id"] != workspace_id:
            raise TrustInvalid("client_key_secret_id: there is no such secret here", field="client_key_secret_id")


def _checked(new: NewUpstreamTrust) -> dict[str, str]:
    try:
        ca_pem = certificates.authority("ca_pem", new.ca_pem)
        client_cert_pem = certificates.chain("client_cert_pem", new.client_cert_pem)
        if bool(client_cert_pem) != (new.client_key_secret_id is not None):
            raise FieldProblem("client_cert_pem", "a client certificate and its key go together")
        if not ca_pem and not client_cert_pem:
            raise FieldProblem("ca_pem", "a CA to trust, a client certificate, or both")
        return {"name": certificates.name(new.name), "ca_pem": ca_pem, "client_cert_pem": client_cert_pem}
    except FieldProblem as problem:
        raise TrustInvalid(str(problem), field=problem.field) from problem
