"""Use cases of connections: asking for one, what its approval does, seeing them. Consent at the provider is in `consent`,
renewal in `renewing`, the end in `ending`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from worka import treasury
from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.connections import actions, catalogue, events, leads, needs, restricting, rules, store
from worka.connections.errors import (
    CatalogueInvalid,
    ClientMissing,
    ConnectionNotFound,
    MetadataInvalid,
    ProviderUnusable,
    ScopeNotNeeded,
    SecretNotUsable,
)
from worka.connections.rules import CONNECTION
from worka.kernel.clock import now
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id

Row = dict[str, Any]
SUBJECT = "connection"
_KEYS = (
    "id", "workspace_id", "provider", "name", "host", "port", "access", "why", "secret_id", "metadata", "state",
    "reason",
    "since", "approval_id", "created_by", "created_at", "kind", "person_id", "client_id", "scopes", "granted", "account",
    "asked_by", "expires_at", "refresh_at", "refreshed_at", "problem", "receipt",
)  # fmt: skip


def resource_of(row: Row) -> Resource:
    facts = {key: row[key] for key in ("provider", "name", "host", "port", "access")}
    facts |= {"kind": row["kind"], "owner": row["person_id"], "scopes": row["scopes"]}
    return Resource("connection", row["id"], row["workspace_id"], {**facts, "secret": row["secret_id"]})


def asking(row: Row) -> str:
    """The action by which a connection is asked for: somebody's own account is not the workspace's."""
    return actions.CONNECTION_OWN if row["person_id"] else actions.CONNECTION_CREATE


async def create(
    ctx: Context,
    workspace_id: str,
    *,
    provider: str,
    name: str,
    host: str = "",
    port: int = 443,
    access: str,
    secret_id: str | None = None,
    metadata: dict[str, Any],
    why: str,
    kind: str = "token",
    scopes: list[str] | None = None,
    own: bool = False,
) -> Row:
    """Asks for a connection to an outside system: active, waiting for a consent at the provider, or waiting for the approval
    that policy asks for. Grants nothing. `own`: an account of the caller's, for calls that are made for them. `scopes`: of
    those that packs here declare; without them, all of those.

    Raises Denied, ProviderRestricted, ProviderUnusable, ScopeNotNeeded, ClientMissing, EndpointInvalid, SecretNotUsable,
    MetadataInvalid."""
    assert ctx.tenant_id is not None
    plain = rules.check_metadata(metadata)
    host = host or _host(ctx, provider, plain)
    place, _, number = treasury.rules.endpoint(f"{host}:{port}").rpartition(":")
    if own and ctx.principal.kind != "person":
        raise ProviderUnusable("Only a person has an account of their own.", field="own")
    row: Row = {
        "tenant_id": ctx.tenant_id, "id": new_id("conn"), "workspace_id": workspace_id, "provider": provider,
        "name": name,
        "host": place, "port": int(number), "access": access, "why": why, "secret_id": secret_id,
        "metadata": plain, "created_by": ctx.principal.id, "kind": kind,
        "person_id": ctx.principal.id if own else None, "client_id": None, "scopes": [],
    }  # fmt: skip
    _fits(ctx, row)
    async with ctx.transaction() as conn:
        led = await leads.recorded(ctx, workspace_id, leads.places(ctx.settings, row))
        decision = await ctx.require(asking(row), resource_of(row), redirected=bool(led))
        await restricting.check(ctx, provider)
        wanting = await store.wanting(conn, workspace_id)
        row["asked_by"] = needs.asking(wanting, provider, row["host"], row["port"])
        secret = await _secret(ctx, secret_id, workspace_id, row["person_id"])
        if kind != "token":
            await _oauth(ctx, row, wanting, scopes)
        asks = decision.verdict == "ask"
        row |= _begun(row, asks)
        made = await store.add(conn, row)
        ctx.record(events.created(made, decision.id))
        if asks:
            approval = await _ask(ctx, made, secret, decision, led)
            await store.set_approval(conn, made["id"], approval["id"])
        else:
            await _go_on(ctx, made)
        ctx.failpoint("connection.created.before_commit")
        found = await store.get(conn, made["id"])
    assert found is not None
    return shown(found)


def _begun(row: Row, asks: bool) -> Row:
    if asks:
        return {"state": "awaiting_approval", "reason": "waiting_for_approver"}
    return dict(zip(("state", "reason"), _allowed(row), strict=True))


def _allowed(row: Row) -> tuple[str, str]:
    """The state of a connection that is allowed: the account outside may still have to be connected."""
    if row["kind"] == "token":
        return "active", "connection_in_service"
    return "awaiting_consent", "waiting_for_token" if row["kind"] == "oauth_client" else "waiting_for_consent"


def _host(ctx: Context, provider: str, metadata: dict[str, str]) -> str:
    known = catalogue.providers(ctx.settings).get(provider)
    if known is None:
        raise ProviderUnusable(f"The catalogue has no {provider}: name the host of the connection.", field="host")
    return known.at(metadata).hosts[0]


def _fits(ctx: Context, row: Row) -> None:
    """A provider of the catalogue is connected in one of its ways and at one of its hosts. Raises ProviderUnusable."""
    known = catalogue.providers(ctx.settings).get(row["provider"])
    if known is None:
        if row["kind"] != "token":
            raise ProviderUnusable(f"The catalogue has no {row['provider']}.", field="provider")
        return
    if row["kind"] not in known.kinds:
        ways = " or ".join(known.kinds)
        raise ProviderUnusable(f"{known.words} is connected by {ways}, not by {row['kind']}.", field="kind")
    hosts = known.at(row["metadata"]).hosts
    if row["host"] not in hosts:
        raise ProviderUnusable(f"A credential of {known.words} is for {', '.join(hosts)} alone.", field="host")
    if row["kind"] != "token" and row["secret_id"] is not None:
        raise ProviderUnusable("The provider gives the token; no secret is named.", field="secret_id")
    if row["kind"] == "oauth_client" and row["person_id"]:
        raise ProviderUnusable("The platform's own credential is nobody's own account.", field="own")


async def _oauth(ctx: Context, row: Row, wanting: list[Row], asked: list[str] | None) -> None:
    """Which client stands behind it, and which scopes are asked for: what packs here declare, and nothing more."""
    client = await store.client_of(ctx.conn, row["workspace_id"], row["provider"])
    if client is None:
        raise ClientMissing(f"This workspace has no client at {row['provider']}.")
    if client["metadata"] and any(row["metadata"].get(key) != value for key, value in client["metadata"].items()):
        raise ProviderUnusable("The workspace's client is of another account there.", field="metadata")
    declared = needs.scopes_for(wanting, row["provider"], row["host"], row["port"])
    if beyond := [scope for scope in asked or [] if scope not in declared]:
        raise ScopeNotNeeded(f"No pack here declares {', '.join(beyond[:5])}.", field="scopes", declared=declared)
    known = catalogue.providers(ctx.settings)[row["provider"]]
    row |= {"client_id": client["id"], "scopes": list(dict.fromkeys([*(asked or declared), *known.always]))}


async def _secret(ctx: Context, secret_id: str | None, workspace_id: str, person_id: str | None) -> Row | None:
    if secret_id is None:
        return None
    secret = await treasury.store.secret(ctx.conn, secret_id, lock="share")
    if secret is None or secret["workspace_id"] != workspace_id:
        raise SecretNotUsable(f"There is no secret {secret_id} in this workspace.", field="secret_id")
    if secret["state"] not in treasury.rules.LEASABLE:
        raise SecretNotUsable(f"{secret['name']} is {secret['state']}.", field="secret_id")
    if secret["person_id"] and secret["person_id"] != person_id:
        raise SecretNotUsable(f"{secret['name']} is of a person's own account.", field="secret_id")
    kind = treasury.rules.KINDS.get(secret["kind"], treasury.rules.KINDS["other"])
    if kind.binds != "endpoint":
        # It would be active, and no pack could ever be granted it.
        raise SecretNotUsable(
            f"{secret['name']} is {kind.words}, which goes on no request of a pack.", field="secret_id"
        )
    return secret


async def _ask(ctx: Context, row: Row, secret: Row | None, decision: Decision, led: list[Row]) -> Row:
    initiator = f"{ctx.principal.kind}:{ctx.principal.id}"
    # Where the request goes, with which credential, and who asked: a change in any of it is another request.
    card = rules.subject(row, initiator, ctx.originating_person)
    credential = f" with the secret {secret['name']}" if secret else " without a credential"
    more = {}
    if row["kind"] != "token":
        known = catalogue.providers(ctx.settings)[row["provider"]]
        credential = f" with what {known.words} gives by {catalogue.WORDS[row['kind']]}"
        more = {"scopes_in_words": {scope: known.said(scope) for scope in row["scopes"]}}
    whose = " For calls that are made for who asks, and for nobody else's." if row["person_id"] else ""
    there = await leads.sentences(ctx.conn, led)
    return await approvals.request(
        ctx,
        boundary=asking(row),
        action=asking(row),
        subject_type=SUBJECT,
        subject_id=row["id"],
        title=f"Connect {row['name']} ({row['provider']})",
        effect=f"Packs of this workspace to which it is granted may reach"
        f" {row['host']}:{row['port']}{credential}: {row['access']}.{whose}{''.join(f' {line}' for line in there)}",
        digest=rules.digest(row, initiator, ctx.originating_person, leads.exactly(led)),
        card={
            **card, **more, **({"led": there} if there else {}), "secret": secret["name"] if secret else None,
            "asked_by": row["asked_by"],
        },
        arguments=None,
        rules=list(decision.approval_rules),
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": SUBJECT, "id": row["id"], "name": row["name"]}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours),
        led_by=[item["created_by"] for item in led],
    )  # fmt: skip


async def approval_locking(ctx: Context, payload: dict[str, Any]) -> None:
    """The secret, the connection, its approval: in the order in which revoking the secret takes them."""
    if payload["subject_type"] != SUBJECT:
        return
    row = await store.get(ctx.conn, payload["subject_id"])
    if row is not None and row["secret_id"] is not None:
        await treasury.store.secret(ctx.conn, row["secret_id"], lock="share")
    await store.get(ctx.conn, payload["subject_id"], lock=True)


async def approval_decided(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction of the decision: the connection becomes active, waits for its consent, or ends. Not ours: nothing
    happens."""
    if payload["subject_type"] != SUBJECT:
        return
    row = await store.get(ctx.conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "awaiting_approval" or row["approval_id"] != payload["approval_id"]:
        return
    cause = {"kind": "approval", "id": payload["approval_id"]}
    if payload["state"] != "approved":
        await move(ctx, row, "rejected", rules.NOT_APPROVED[payload["state"]], cause)
        return
    if not await _redeem(ctx, row):
        await move(ctx, row, "rejected", "connection_superseded", cause)
        return
    await _go_on(ctx, await move(ctx, row, *_allowed(row), cause))


async def _go_on(ctx: Context, row: Row) -> None:
    """After it is allowed: it serves, or its first token is fetched, or somebody has to consent at the provider."""
    if row["state"] == "active":
        await announce(ctx, row)
    elif row["kind"] == "oauth_client":
        await store.renew_at(ctx.conn, row["id"], now())


async def _redeem(ctx: Context, row: Row) -> bool:
    """Decides again, as who asked, now: rights and policy of the moment count, not those of the request."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    assert approval is not None
    asker = ctx.acting(Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id))
    asker.originating_person = approval["originating_person"]
    if restricting.refusal(await restricting.limits(ctx), row["provider"]) is not None:
        return False
    try:
        led = await leads.recorded(ctx, row["workspace_id"], leads.places(ctx.settings, row))
    except (CatalogueInvalid, MetadataInvalid):
        return False  # where its credentials would go can no longer be said
    decision = await asker.decide(asking(row), resource_of(row), redirected=bool(led))
    initiator = f"{approval['requester_kind']}:{approval['requester_id']}"
    now_digest = rules.digest(row, initiator, approval["originating_person"], leads.exactly(led))
    redemption = await approvals.redeem(ctx, approval["id"], digest=now_digest, decision=decision, used_by=row["id"])
    return redemption.usable


async def secret_revoked(ctx: Context, payload: dict[str, Any]) -> None:
    """In the transaction in which a secret is revoked: what it backs is broken, and says so."""
    for row in await store.of_secret(ctx.conn, payload["secret_id"]):
        if row["state"] == "awaiting_approval":
            await approvals.end_for(ctx, row["id"], "withdrawn")
        await store.no_more(ctx.conn, row["id"], None)
        await move(ctx, row, "broken", "connection_secret_revoked", {"kind": "secret", "id": payload["secret_id"]})


async def move(ctx: Context, row: Row, state: str, reason: str, cause: Row | None, **data: Any) -> Row:
    """In the caller's transaction: the next state, with its event."""
    CONNECTION.check(row["state"], state)
    moved = await store.move(ctx.conn, row["id"], state, reason)
    if (row["state"], row["reason"]) != (state, reason):
        ctx.record(events.moved(row, state, reason, cause, **data))
    return moved


async def announce(ctx: Context, row: Row) -> None:
    """In the caller's transaction: what waited for it goes on by itself."""
    await ctx.publish("connection.activated", {"connection_id": row["id"], "workspace_id": row["workspace_id"]})


async def get(ctx: Context, connection_id: str) -> Row:
    """One connection. Raises ConnectionNotFound."""
    async with ctx.transaction():
        return shown(await visible(ctx, connection_id))


async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The workspace's connections, newest first (up to limit + 1)."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.CONNECTION_VIEW, Resource("connection", "*", workspace_id))
        return [shown(row) for row in await store.listed(conn, workspace_id, after, limit + 1)]


async def visible(ctx: Context, connection_id: str, *, lock: bool = False) -> Row:
    """In the caller's transaction: the connection, for who may see those of its workspace. Raises ConnectionNotFound."""
    row = await store.get(ctx.conn, connection_id, lock=lock)
    if row is None:
        raise ConnectionNotFound(f"There is no connection {connection_id}.")
    try:
        await ctx.require(actions.CONNECTION_VIEW, Resource("connection", connection_id, row["workspace_id"]))
    except Denied as denied:
        raise ConnectionNotFound(f"There is no connection {connection_id}.") from denied
    return row


async def held(ctx: Context, connection_id: str) -> Row | None:
    """In the caller's transaction: the connection, locked after its secrets, in the order in which revoking one takes them."""
    known = await store.get(ctx.conn, connection_id)
    if known is None:
        return None
    for secret_id in sorted(item for item in (known["secret_id"], known["refresh_secret_id"]) if item):
        await treasury.store.secret(ctx.conn, secret_id, lock="update")
    return await store.get(ctx.conn, connection_id, lock=True)


async def visible_held(ctx: Context, connection_id: str) -> Row:
    """As `visible`, locked as `held` does. Raises ConnectionNotFound."""
    await visible(ctx, connection_id)
    row = await held(ctx, connection_id)
    assert row is not None
    return row


async def may_tend(ctx: Context, row: Row, action: str) -> None:
    """In the caller's transaction: whoever's own account it is tends it; the workspace's, who manages connections. Raises
    Denied."""
    if row["person_id"] and row["person_id"] == ctx.principal.id:
        await ctx.require(actions.CONNECTION_OWN, resource_of(row))
        return
    decision = await ctx.require(action, resource_of(row))
    if row["person_id"] and action == actions.CONNECTION_AUTHORIZE:
        raise Denied("It is another person's own account: they consent for it themselves.", decision_id=decision.id)


def shown(row: Row) -> Row:
    """A connection as the API shows it: the secret by name, never by value."""
    return {**{key: row[key] for key in _KEYS}, "secret": row["secret_name"]}
