"""Upstream trust: how the certificate of an outside name is checked, and what we show of ourselves, by the operator.

Certificates are public and stand in the record; the key of ours is a secret of the workspace, which the broker leases for
a call like any other: it needs a grant to the attachment for this endpoint.
"""

from __future__ import annotations

from typing import Any

from worka import treasury
from worka.broker import actions, ca, certificates, events, store
from worka.broker.certificates import FieldProblem
from worka.broker.errors import TrustExists, TrustInvalid, TrustUnknown
from worka.broker.schema import NewUpstreamTrust
from worka.kernel.context import Context, Resource
from worka.kernel.ids import new_id

Row = dict[str, Any]


def _workspace(ctx: Context) -> str:
    assert ctx.workspace_id is not None, "the door sets the workspace of this path"
    return ctx.workspace_id


async def create(ctx: Context, new: NewUpstreamTrust) -> Row:
    """Records one; calls that begin after this go by it. With `replace` the one of the same place ends in the same commit, and
    `replaced` names it. Raises TrustInvalid, TrustExists, Denied."""
    workspace_id = _workspace(ctx)
    assert ctx.tenant_id is not None
    checked = _checked(new)
    # As it is kept: a policy on a name is not passed by another spelling of it.
    facts = {"name": checked["name"], "port": new.port, "secret": new.client_key_secret_id}
    if new.attachment_id:
        facts["attachment"] = new.attachment_id
    async with ctx.transaction() as conn:
        await ctx.require(
            actions.UPSTREAM_TRUST_CREATE, Resource("upstream_trust", "new", workspace_id, facts), **facts
        )
        row = {
            "id": new_id("ust"), "workspace_id": workspace_id, **checked, "port": new.port,
            "attachment_id": new.attachment_id, "client_key_secret_id": new.client_key_secret_id, "reason": new.reason,
            "created_by": ctx.principal.id,
        }  # fmt: skip
        await _its_parts(ctx, row)
        await store.lock_exceptions(conn, workspace_id)
        old = await _standing(ctx, row)
        if old is not None:
            if not new.replace:
                raise TrustExists(f"{old['id']} is for {row['name']}:{row['port']}.", trust_id=old["id"])
            await ctx.require(actions.UPSTREAM_TRUST_REMOVE, _resource(old))
            await _end(ctx, old["id"])
        found = await store.insert_trust(conn, ctx.tenant_id, row)
        ctx.record(events.trust_created(found))
    return told({**found, "replaced": old["id"] if old is not None else None})


async def _standing(ctx: Context, row: Row) -> Row | None:
    """The record of the same place that holds now."""
    held = await store.live_trusts(ctx.conn, row["workspace_id"], row["attachment_id"])
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


async def _its_parts(ctx: Context, row: dict[str, Any]) -> None:
    """Of this workspace both, or not at all."""
    if row["attachment_id"]:
        attachment = await store.attachment(ctx.conn, row["attachment_id"])
        if attachment is None or attachment["workspace_id"] != row["workspace_id"]:
            raise TrustInvalid("attachment_id: there is no such attachment in this workspace", field="attachment_id")
    if row["client_key_secret_id"] is not None:
        secret = await treasury.store.secret(ctx.conn, row["client_key_secret_id"], lock="share")
        if secret is None or secret["workspace_id"] != row["workspace_id"]:
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
