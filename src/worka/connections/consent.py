"""The consent of a person at a provider: begun in one session, ended in the same one, once, and believed of nobody else.

What an answer of a provider's is held against before its code is used: the state that only who began it can know (and the
person and session who did), the time, the provider that it says it is of, and that no answer came before. What is sent with
the code: the verifier of its challenge, so that another person's code is worth nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from worka.connections import (
    actions,
    catalogue,
    clients,
    events,
    oauth,
    outward,
    restricting,
    rules,
    service,
    store,
    tokens,
)
from worka.connections.errors import FlowForeign, FlowOver, FlowUnknown, ProviderUnusable
from worka.connections.oauth import OAuthProblem
from worka.kernel.context import Context, Principal
from worka.kernel.errors import Conflict
from worka.kernel.ids import new_id

Row = dict[str, Any]
MINUTES = 10
SEALED = "connection.flow"
_OPEN = ("awaiting_consent", "active", "expired", "broken")


@dataclass(frozen=True, slots=True)
class _Around:
    """What a call to the provider needs, read in the transaction before it."""

    row: Row
    client: Row
    known: catalogue.Provider
    place: catalogue.Place
    credential: Row = field(repr=False)


async def around(ctx: Context, row: Row, purpose: str = "") -> _Around:
    """In the caller's transaction; without a `purpose` the client's secret stays where it is. Raises ProviderUnusable, and
    what opening a secret raises."""
    known = catalogue.providers(ctx.settings).get(row["provider"])
    client = await store.client(ctx.conn, row["client_id"]) if row["client_id"] else None
    if known is None or client is None or client["ended_at"] is not None:
        raise ProviderUnusable(f"{row['provider']} is in the catalogue no more, or this workspace is no client there.")
    credential = await clients.with_secret(ctx, client, purpose) if purpose else {}
    return _Around(row, client, known, known.at(row["metadata"]), credential)


async def begin(ctx: Context, connection_id: str, redirect_uri: str) -> Row:
    """{flow_id, url, scopes, …}: where the person's browser goes. Raises ConnectionNotFound, Denied, Conflict,
    ProviderRestricted, ProviderUnusable."""
    async with ctx.transaction() as conn:
        row = await _beginning(ctx, connection_id, "oauth_code")
        what = await around(ctx, row)
        secret, verifier = oauth.secret_text(), oauth.secret_text()
        flow_id = new_id("flow")
        sealed = await ctx.sealer.seal(ctx, f"{SEALED}:{flow_id}", verifier.encode())
        flow = await store.add_flow(
            conn,
            {
                **_base(ctx, row, flow_id), "kind": "code", "state_hash": oauth.hashed(secret), "sealed": sealed,
                "redirect_uri": redirect_uri, "seconds": MINUTES * 60,
            },
        )  # fmt: skip
        state = oauth.state_of(row["workspace_id"], flow_id, secret)
        url = oauth.authorization_url(
            what.known, what.place, what.client["client_id"], redirect_uri, row["scopes"], state, verifier
        )
        ctx.record(events.consent_begun(row, flow))
        ctx.failpoint("connection.changed.before_commit")
    return {**_told(flow, what), "url": url}


async def begin_device(ctx: Context, connection_id: str, post: outward.Post | None = None) -> Row:
    """{flow_id, user_code, verification_uri, …}: what the person types in, and where; the platform asks by itself whether they
    did. Raises as `begin`, and Conflict `provider_did_not` where the provider gives no code."""
    async with ctx.transaction():
        row = await _beginning(ctx, connection_id, "oauth_device")
        what = await around(ctx, row, "consent")
    request = oauth.device_request(what.known, what.place, what.credential, row["scopes"])
    hosts = frozenset(catalogue.split(url)[0] for url in (what.place.device, what.place.authorization) if url)
    try:
        came = await outward.send(post or outward.through_broker(ctx), what.client, request)
        device = oauth.device_of(came.status, came.body, hosts)
    except OAuthProblem as problem:
        raise Conflict(
            f"{problem}.", code="provider_did_not", reason=problem.code,
            remedy="See what the provider said, and the broker's ledger for its host; then begin again.",
        ) from problem  # fmt: skip
    async with ctx.transaction() as conn:
        row = await _beginning(ctx, connection_id, "oauth_device")
        flow_id = new_id("flow")
        flow = await store.add_flow(
            conn,
            {
                **_base(ctx, row, flow_id), "kind": "device", "user_code": device.user_code,
                "sealed": await ctx.sealer.seal(ctx, f"{SEALED}:{flow_id}", device.code.encode()),
                "verification_uri": device.uri, "interval_seconds": device.interval, "seconds": device.seconds,
            },
        )  # fmt: skip
        ctx.record(events.consent_begun(row, flow))
        ctx.failpoint("connection.changed.before_commit")
    return _told(flow, what)


async def _beginning(ctx: Context, connection_id: str, kind: str) -> Row:
    row = await service.visible(ctx, connection_id, lock=True)
    await service.may_tend(ctx, row, actions.CONNECTION_AUTHORIZE)
    if ctx.principal.kind != "person":
        raise ProviderUnusable("Only a person consents at a provider.")
    if row["kind"] != kind:
        raise ProviderUnusable(f"{row['name']} is connected by {catalogue.WORDS[row['kind']]}.")
    if row["state"] not in _OPEN:
        raise Conflict(f"{row['name']} is {row['state'].replace('_', ' ')}.", code="state_conflict", state=row["state"])
    await restricting.check(ctx, row["provider"])
    return row


def _base(ctx: Context, row: Row, flow_id: str) -> Row:
    return {
        "tenant_id": row["tenant_id"], "id": flow_id, "workspace_id": row["workspace_id"], "connection_id": row["id"],
        "person_id": ctx.principal.id, "credential_id": ctx.credential_id or "",
    }  # fmt: skip


def _told(flow: Row, what: _Around) -> Row:
    row = what.row
    return {
        "flow_id": flow["id"],
        "connection_id": row["id"],
        "workspace_id": row["workspace_id"],
        "provider": row["provider"],
        "words": what.known.words,
        "kind": flow["kind"],
        "url": "",
        "user_code": flow["user_code"],
        "verification_uri": flow["verification_uri"],
        "redirect_uri": flow["redirect_uri"],
        "scopes": {scope: what.known.said(scope) for scope in row["scopes"]},
        "access": row["access"],
        "why": row["why"],
        "host": f"{row['host']}:{row['port']}",
        "expires_at": flow["expires_at"],
    }


async def finish(
    ctx: Context,
    workspace_id: str,
    *,
    state: str,
    code: str,
    iss: str | None,
    error: str,
    post: outward.Post | None = None,
) -> Row:
    """What came of a consent, as the provider sent the person back. The connection as it is now: active, or still waiting
    with what the provider said. Raises FlowUnknown, FlowForeign, FlowOver."""
    flow, what, verifier, refusal = await _answered(ctx, workspace_id, state, code, iss, error)
    if refusal is not None:
        raise refusal
    assert flow is not None
    assert what is not None
    try:
        if not code:
            raise OAuthProblem("consent_refused", f"the provider says: {oauth.word(error)}", oauth.word(error))
        request = oauth.code_request(what.known, what.place, what.credential, code, flow["redirect_uri"], verifier)
        way = post or outward.through_broker(ctx)
        came = await outward.send(way, what.client, request)
        found = oauth.tokens_of(came.status, came.body, what.row["scopes"], what.known.scope_separator)
        whose = await tokens.account(way, what.known, what.place, what.client, found.access)
    except OAuthProblem as problem:
        return await failed(ctx, flow, problem)
    return await tokens.taken(ctx, flow, found, whose)


async def _answered(
    ctx: Context, workspace_id: str, state: str, code: str, iss: str | None, error: str
) -> tuple[Row | None, _Around | None, str, Exception | None]:
    """The flow that this answer is of, used up from now on: committed before the code is, so that no answer counts twice. A
    refusal is told, not raised, where it has to commit."""
    read = oauth.read_state(state)
    if read is None or read[0] != workspace_id:
        return None, None, "", FlowUnknown("The state was not written here.")
    async with ctx.transaction() as conn:
        flow = await store.flow(conn, read[1], lock=True)
        if flow is None or flow["workspace_id"] != workspace_id or not oauth.same(read[2], flow["state_hash"]):
            return None, None, "", FlowUnknown("The state was not written here.")
        if (flow["person_id"], flow["credential_id"]) != (ctx.principal.id, ctx.credential_id or ""):
            return None, None, "", FlowForeign("It was begun by somebody else, or in another session.")
        if flow["used_at"] is not None or flow["ended_at"] is not None or flow["late"]:
            return None, None, "", FlowOver("It was answered already, begun again, or its ten minutes are over.")
        row = await service.visible(ctx, flow["connection_id"], lock=True)
        await service.may_tend(ctx, row, actions.CONNECTION_AUTHORIZE)
        await restricting.check(ctx, row["provider"])
        what = await around(ctx, row, "consent")
        await store.use_flow(conn, flow["id"])
        because = oauth.issuer_refusal(what.known, what.place, iss)
        if because is not None:
            # The code may be meant for another provider: it is sent to none.
            await store.end_flow(conn, flow["id"], "wrong_issuer")
            ctx.record(events.consent_refused(row, flow["id"], "wrong_issuer"))
            return None, None, "", FlowOver(f"Its answer is not taken: {because}.", code="wrong_issuer")
        verifier = await ctx.sealer.open(ctx, f"{SEALED}:{flow['id']}", bytes(flow["sealed"]))
        ctx.failpoint("connection.consent.used.after_commit")
    return flow, what, verifier.decode(), None


async def failed(ctx: Context, flow: Row, problem: OAuthProblem) -> Row:
    """The provider gave no token: the connection stays as it was and says what was met."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, flow["connection_id"], lock=True)
        assert row is not None
        if await store.end_flow(conn, flow["id"], problem.code):
            told = tokens.told(problem)
            if row["state"] == "awaiting_consent":
                await store.no_more(conn, row["id"], told)
                await service.move(ctx, row, "awaiting_consent", "consent_failed", {"kind": "flow", "id": flow["id"]})
            ctx.record(events.consent_refused(row, flow["id"], problem.code))
            ctx.failpoint("connection.changed.before_commit")
        found = await store.get(conn, row["id"])
        assert found is not None
        return {**service.shown(found), "outcome": problem.code, "said": str(problem)}


async def poll(ctx: Context, flow_id: str, post: outward.Post | None = None) -> str:
    """Asks once whether the person has consented on the other device; what came of it. `ctx` is the platform's."""
    async with ctx.transaction() as conn:
        flow = await store.flow(conn, flow_id, lock=True)
        if flow is None or flow["ended_at"] is not None or flow["next_at"] is None or flow["late"]:
            return "over"
        row = await store.get(conn, flow["connection_id"], lock=True)
        assert row is not None
        ctx.workspace_id = row["workspace_id"]
        # Nobody else asks meanwhile, and that its end is open stands before the provider is asked.
        await store.asking(conn, flow_id, rules.CLAIM_SECONDS)
        refused = await _still(ctx, row, flow)
        if refused is None:
            what = await around(ctx, row, "consent")
            code = (await ctx.sealer.open(ctx, f"{SEALED}:{flow_id}", bytes(flow["sealed"]))).decode()
    if refused is not None:
        return str((await failed(ctx, flow, refused))["outcome"])
    way = post or outward.through_broker(ctx)
    try:
        came = await outward.send(way, what.client, oauth.poll_request(what.known, what.place, what.credential, code))
        found = oauth.tokens_of(came.status, came.body, what.row["scopes"], what.known.scope_separator)
        whose = await tokens.account(way, what.known, what.place, what.client, found.access)
    except OAuthProblem as problem:
        if problem.error in oauth.PENDING or problem.code == "provider_away":
            await _goes_on(ctx, flow, problem)
            return problem.error or problem.code
        if flow["used_at"] is not None and problem.error in oauth.DEAD:
            # An answer before this one never came, or was not kept: it may have been the token.
            said = "an answer of the provider's was cut off, and it takes the code no more: begin again"
            problem = OAuthProblem("consent_interrupted", said, problem.error)
        return str((await failed(ctx, flow, problem))["outcome"])
    return str((await tokens.taken(ctx, flow, found, whose))["outcome"])


async def _still(ctx: Context, row: Row, flow: Row) -> OAuthProblem | None:
    """In the caller's transaction: why a consent that nobody is asked about any more is not waited for; None: it is. Decided
    as who began it, now."""
    who = ctx.acting(Principal("person", flow["person_id"], "", ctx.tenant_id))
    action = service.asking(row) if row["person_id"] else actions.CONNECTION_AUTHORIZE
    decision = await who.decide(action, service.resource_of(row))
    if decision.verdict == "deny":
        return OAuthProblem("consent_refused", "who began it may not connect it any more")
    because = restricting.refusal(await restricting.limits(ctx), row["provider"])
    return OAuthProblem("consent_refused", because) if because is not None else None


async def _goes_on(ctx: Context, flow: Row, problem: OAuthProblem) -> None:
    """The consent goes on until its time is over: the provider waits for the person, or cannot be reached, which is said."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, flow["connection_id"], lock=True)
        assert row is not None
        away = problem.code == "provider_away"
        if away:
            await store.poll_later(conn, flow["id"], flow["interval_seconds"])
        else:
            wider = 5 if problem.error == "slow_down" else 0
            await store.not_yet(conn, flow["id"], min(flow["interval_seconds"] + wider, 300))
        said = (row["problem"] or {}).get("code") == "provider_away"
        if row["state"] == "awaiting_consent" and said != away:
            met = OAuthProblem(problem.code, f"{problem}: it is asked again until the code ends", problem.error)
            await store.set_problem(conn, row["id"], tokens.told(met) if away else None)


async def lapse(ctx: Context, flow_id: str) -> None:
    """A consent that nobody ended, or whose end was cut off: it says so. `ctx` is the platform's."""
    async with ctx.transaction() as conn:
        flow = await store.flow(conn, flow_id)
    if flow is not None and flow["ended_at"] is None and flow["late"]:
        cut = flow["used_at"] is not None
        said = "the answer came and was cut off before the token was kept" if cut else "nobody consented in time"
        if cut and flow["kind"] == "device":
            said = "the provider's answer was cut off, and the code ended before another came"
        ctx.workspace_id = flow["workspace_id"]
        await failed(ctx, flow, OAuthProblem("consent_interrupted" if cut else "consent_lapsed", said))
