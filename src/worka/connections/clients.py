"""What a workspace is registered as at a provider: its client there, and the rules that let the platform reach exactly that
provider's endpoints. The client's secret lies in the treasury."""

from __future__ import annotations

from typing import Any

from worka.connections import actions, catalogue, events, leads, outward, restricting, rules, store
from worka.connections.errors import ClientNotFound, ClientTaken, ProviderUnusable
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Conflict, Denied
from worka.kernel.ids import new_id
from worka.treasury import connected

Row = dict[str, Any]
_KEYS = ("id", "workspace_id", "provider", "client_id", "metadata", "created_by", "created_at")


def _resource(row: Row) -> Resource:
    facts = {"provider": row["provider"], "name": row["client_id"]}
    return Resource("connection", row["id"], row["workspace_id"], facts)


async def register(
    ctx: Context, workspace_id: str, *, provider: str, client_id: str, secret: str | None, metadata: dict[str, Any]
) -> Row:
    """The client that this workspace is at a provider. Raises Denied, ProviderRestricted, ProviderUnusable, ClientTaken,
    MetadataInvalid, SecretEmpty."""
    assert ctx.tenant_id is not None
    known = catalogue.providers(ctx.settings).get(provider)
    if known is None or known.kinds == ["token"]:
        raise ProviderUnusable(f"{provider} is not connected by OAuth here.", field="provider")
    if (secret is None) != (known.client_auth == "none"):
        wants = "no secret" if known.client_auth == "none" else "the client's secret"
        raise ProviderUnusable(f"{known.words} wants {wants}.", field="secret")
    if not client_id.isascii() or not client_id.isprintable() or " " in client_id:
        raise ProviderUnusable("client_id: plain text without spaces.", field="client_id")
    plain = {key: value for key, value in rules.check_metadata(metadata).items() if key in known.metadata}
    place = known.at(plain)
    row: Row = {
        "tenant_id": ctx.tenant_id, "id": new_id("pcl"), "workspace_id": workspace_id, "provider": provider,
        "client_id": client_id, "secret_id": None, "metadata": plain, "created_by": ctx.principal.id,
    }  # fmt: skip
    async with ctx.transaction() as conn:
        # From here on its secret is one that goes to these places: what is recorded of them afterwards is asked about.
        led = await leads.recorded(ctx, workspace_id, [(host, port) for host, port, _, _ in place.reached()])
        await ctx.require(actions.CLIENT_REGISTER, _resource(row), redirected=bool(led))
        await restricting.check(ctx, provider)
        if secret is not None:
            kept = await connected.put_in(
                ctx, workspace_id, name=f"client of {provider} {row['id'][-6:]}",
                purpose=f"the workspace's client at {known.words}", kind="oauth_client", value=secret,
                cause={"kind": "provider_client", "id": row["id"]},
            )  # fmt: skip
            row["secret_id"] = kept["id"]
        made = await store.add_client(conn, row)
        if made is None:
            raise ClientTaken(f"This workspace has a client at {known.words}.")
        await ctx.publish(
            outward.REACH,
            {
                "workspace_id": workspace_id,
                "purpose": outward.PURPOSE,
                "subject_id": row["id"],
                "ways": place.reached(),
            },
        )
        ctx.record(events.registered(made))
        ctx.failpoint("connection.changed.before_commit")
    return shown(made)


async def remove(ctx: Context, client_id: str) -> Row:
    """Takes it back, with its secret and the way to the provider. Raises ClientNotFound, Denied, Conflict while connections
    stand on it."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, client_id, lock=True)
        await ctx.require(actions.CLIENT_REMOVE, _resource(row))
        if stands := await store.of_client(conn, client_id):
            raise Conflict(
                f"{len(stands)} connections stand on it: {', '.join(item['name'] for item in stands[:5])}.",
                code="provider_client_in_use",
                remedy="Remove them first: the provider is told of each with this client.",
                connections=[item["id"] for item in stands],
            )
        await store.end_client(conn, client_id)
        if row["secret_id"] is not None:
            cause = {"kind": "provider_client", "id": client_id}
            await connected.end(ctx, row["secret_id"], cause)
            await connected.wipe(ctx, row["secret_id"], cause)
        await ctx.publish(outward.ENDED, {"purpose": outward.PURPOSE, "subject_id": client_id})
        ctx.record(events.unregistered(row))
        ctx.failpoint("connection.changed.before_commit")
    return shown(row)


async def listing(ctx: Context, workspace_id: str) -> list[Row]:
    """The workspace's clients at providers, newest first. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.CONNECTION_VIEW, Resource("connection", "*", workspace_id))
        return [shown(row) for row in await store.clients(conn, workspace_id)]


async def visible(ctx: Context, client_id: str, *, lock: bool = False) -> Row:
    """In the caller's transaction: the client, for who may see connections there. Raises ClientNotFound."""
    row = await store.client(ctx.conn, client_id, lock=lock)
    if row is not None and row["ended_at"] is None:
        try:
            await ctx.require(actions.CONNECTION_VIEW, Resource("connection", client_id, row["workspace_id"]))
            return row
        except Denied:
            pass
    raise ClientNotFound(f"There is no client {client_id}.")


def shown(row: Row) -> Row:
    """A client as the API shows it: whether there is a secret, and never what it is."""
    return {**{key: row[key] for key in _KEYS}, "secret_id": row["secret_id"]}


async def with_secret(ctx: Context, row: Row, purpose: str) -> Row:
    """In the caller's transaction: {client_id, secret} for one call to the provider, in the ledger."""
    secret = await connected.opened(ctx, row["secret_id"], purpose) if row["secret_id"] else None
    return {"client_id": row["client_id"], "secret": secret}


async def providers(ctx: Context, workspace_id: str) -> list[Row]:
    """The catalogue as this workspace meets it: [{name, words, kinds, hosts, scopes, metadata, docs, origin, allowed,
    because, client_id}]. Raises Denied, CatalogueInvalid."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.CONNECTION_VIEW, Resource("connection", "*", workspace_id))
        held = await restricting.limits(ctx)
        mine = {row["provider"]: row["id"] for row in await store.clients(conn, workspace_id)}
    found = []
    for name, known in sorted(catalogue.providers(ctx.settings).items()):
        because = restricting.refusal(held, name)
        found.append(
            {
                "name": name, "words": known.words, "kinds": list(known.kinds), "hosts": list(known.hosts),
                "scopes": {scope: words.words for scope, words in known.scopes.items()},
                "metadata": {key: field.words for key, field in known.metadata.items()},
                "docs": known.docs, "origin": catalogue.origin(ctx.settings, name), "allowed": because is None,
                "because": because or "", "client_id": mine.get(name),
            }
        )  # fmt: skip
    return found
