"""Upstream trust: how the certificate of an outside name is checked, and what we show of ourselves, by the operator.

Certificates are public and stand in the record; the key of ours is a secret of the workspace, which the broker leases for
a call like any other: it needs a grant to the attachment for this endpoint.
"""

from __future__ import annotations

import re
import ssl
from typing import Any

from worka import treasury
from worka.broker import actions, events, store
from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.ca import expiry
from worka.broker.errors import TrustExists, TrustInvalid, TrustUnknown
from worka.broker.schema import NewUpstreamTrust
from worka.kernel.context import Context, Resource
from worka.kernel.ids import new_id

_PEM = re.compile(r"\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+\Z")


def _workspace(ctx: Context) -> str:
    assert ctx.workspace_id is not None, "the door sets the workspace of this path"
    return ctx.workspace_id


async def create(ctx: Context, new: NewUpstreamTrust) -> dict[str, Any]:
    """Records one; calls that begin after this go by it. Raises TrustInvalid, TrustExists, Denied."""
    workspace_id = _workspace(ctx)
    assert ctx.tenant_id is not None
    name = _name(new.name)
    # As it is kept: a policy on a name is not passed by another spelling of it.
    facts = {"name": name, "port": new.port, "secret": new.client_key_secret_id}
    if new.attachment_id:
        facts["attachment"] = new.attachment_id
    async with ctx.transaction():
        await ctx.require(
            actions.UPSTREAM_TRUST_CREATE, Resource("upstream_trust", "new", workspace_id, facts), **facts
        )
        row = {
            "id": new_id("ust"),
            "workspace_id": workspace_id,
            "name": name,
            "port": new.port,
            "attachment_id": new.attachment_id,
            "ca_pem": _certificates("ca_pem", new.ca_pem),
            "client_cert_pem": _certificates("client_cert_pem", new.client_cert_pem),
            "client_key_secret_id": new.client_key_secret_id,
            "reason": new.reason,
            "created_by": ctx.principal.id,
        }
        _whole(row)
        await _its_parts(ctx, row)
        await store.lock_exceptions(ctx.conn, workspace_id)
        for other in await store.live_trusts(ctx.conn, workspace_id, new.attachment_id):
            if [other[key] for key in ("name", "port", "attachment_id")] == [
                row["name"],
                row["port"],
                new.attachment_id,
            ]:
                raise TrustExists(f"{other['id']} is for {row['name']}:{row['port']}.", trust_id=other["id"])
        found = await store.insert_trust(ctx.conn, ctx.tenant_id, row)
        ctx.record(events.trust_created(found))
    return found


async def remove(ctx: Context, trust_id: str) -> None:
    """Ends one; calls that begin after this do not go by it. Raises TrustUnknown, Denied."""
    async with ctx.transaction() as conn:
        row = await store.trust(conn, trust_id)
        if row is None:
            raise TrustUnknown()
        resource = Resource("upstream_trust", trust_id, row["workspace_id"], {"name": row["name"]})
        await ctx.require(actions.UPSTREAM_TRUST_REMOVE, resource)
        removed = await store.remove_trust(conn, trust_id)
        if removed is not None:
            ctx.record(events.trust_removed(removed))


async def page(ctx: Context, after: str | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` records, newest first."""
    workspace_id = _workspace(ctx)
    await ctx.require(actions.UPSTREAM_TRUST_VIEW, Resource("workspace", workspace_id, workspace_id))
    async with ctx.transaction() as conn:
        return await store.trusts_page(conn, workspace_id, after, limit)


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


def _whole(row: dict[str, Any]) -> None:
    if bool(row["client_cert_pem"]) != (row["client_key_secret_id"] is not None):
        raise TrustInvalid("client_cert_pem: a client certificate and its key go together", field="client_cert_pem")
    if not row["ca_pem"] and not row["client_cert_pem"]:
        raise TrustInvalid("ca_pem: a CA to trust, a client certificate, or both", field="ca_pem")


def _name(raw: str) -> str:
    try:
        return normalise_host(raw)
    except HostProblem as problem:
        raise TrustInvalid(f"name: {problem.detail}", field="name") from problem


def _certificates(field: str, raw: str) -> str:
    pem = raw.strip()
    if not pem:
        return ""
    # Certificates only: a private key that was pasted along must not be stored.
    if not _PEM.match(pem):
        raise TrustInvalid(f"{field}: one or more PEM certificates and nothing else", field=field)
    try:
        if field == "ca_pem":
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
        else:
            expiry(pem)
    except (ssl.SSLError, ValueError) as error:
        raise TrustInvalid(f"{field}: the certificate cannot be read", field=field) from error
    return pem + "\n"
