"""A request that is only tried: every thing that the broker would look at, in its order, by the same functions. Nothing is
sent and no row is written; the one thing that leaves is the question for the name, and only for a name that the rules let the
pack ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worka import governance
from worka.broker import bindings, store
from worka.broker.addresses import EXCEPTED, EXCEPTED_REMEDY, HostProblem, never_excepted, normalise_host, refused_kind
from worka.broker.bindings import Bound, Connection, Unbound
from worka.broker.errors import AttachmentUnknown, RequestInvalid
from worka.broker.policy import rules as policy
from worka.broker.policy import store as policy_rows
from worka.broker.records import reachable
from worka.broker.records import store as seen
from worka.broker.records.answers import TriedRequest
from worka.broker.records.service import visible
from worka.broker.rules import Rule, RuleProblem, opaque_rule, parse_rules
from worka.broker.templates import TemplateError, roots
from worka.connections.rules import own
from worka.governance import kills
from worka.kernel import ipc, reasons
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.paths import Paths

Row = dict[str, Any]
ORDER = ("host", "stopped", "rules", "policy", "connection", "addresses", "credential")
_CLASSES = ("read_only", "write", "external_side_effect", "destructive")
_SECONDS = 8.0


class Refused(Exception):
    """The step at which the request ends, and how."""

    def __init__(self, step: str, reason: str, detail: str, rule: str | None = None, **more: Any) -> None:
        super().__init__(reason)
        self.step, self.reason, self.detail, self.rule, self.more = step, reason, detail, rule, more


class _Road:
    """The steps as they are taken."""

    def __init__(self) -> None:
        self.steps: dict[str, Row] = {}
        self.rule: str | None = None
        self.credential: Row | None = None
        self.addresses: list[Row] = []
        self.exception_id: str | None = None

    def went(self, step: str, detail: str, ref: str | None = None, state: str = "ok") -> None:
        self.steps[step] = {"name": step, "state": state, "detail": detail, "ref": ref}

    def told(self) -> list[Row]:
        return [
            self.steps.get(name) or {"name": name, "state": "not_reached", "detail": "", "ref": None} for name in ORDER
        ]


async def look(ctx: Context, asked: TriedRequest) -> Row:
    """What would become of the request: see `answers.Tried`. Raises AttachmentUnknown for an attachment that the reader may
    not see, RequestInvalid for a tool that it does not have."""
    road = _Road()
    async with ctx.transaction() as conn:
        row = await seen.attachment(conn, asked.attachment_id)
        if row is None or not await visible(ctx, row):
            raise AttachmentUnknown(f"There is no attachment {asked.attachment_id}.")
        effect = side_effect(row, asked.tool)
        found: Refused | None = None
        try:
            await _decided(ctx, road, row, asked, effect)
        except Refused as refused:
            found = refused
    if found is None:
        try:
            await _outside(ctx, road, asked)
            _placed(road)
        except Refused as refused:
            found = refused
    return _told(road, row, effect, found)


def side_effect(row: Mapping[str, Any], tool: str | None) -> str:
    """The class of a tool of the pack, or the widest that any of them has. Raises RequestInvalid."""
    classes = {item["name"]: item.get("side_effect") or "destructive" for item in row["tools"]}
    if tool is None:
        return str(max(classes.values(), key=_CLASSES.index, default="read_only"))
    short = tool.removeprefix(f"{row['pack']}.")
    if short not in classes:
        raise RequestInvalid(f"{row['pack']} has no tool {short[:80]}.", field="/tool")
    return str(classes[short])


async def _decided(ctx: Context, road: _Road, row: Row, asked: TriedRequest, effect: str) -> None:
    """Everything that is decided before anything is looked up. Raises Refused."""
    conn, where = ctx.conn, row["workspace_id"]
    try:
        host = normalise_host(asked.host)
    except HostProblem as problem:
        raise Refused("host", problem.reason, f"{asked.host[:80]}: {problem.detail}") from problem
    road.went("host", f"{host}:{asked.port} is a name that can be asked for")
    if row["state"] not in reachable.SERVING:
        raise Refused("stopped", "no_active_invocation", f"the pack serves no calls: it is {row['state']}")
    kill = kills.matching(
        await governance.store.kills_on(conn), workspace=where, releases=[row["release_id"]],
        destinations=[f"{host}:{asked.port}"],
    )  # fmt: skip
    if kill is not None:
        raise Refused("stopped", kills.REASON, kills.said(kill), kills.PREFIX + kill["id"], remedy=kills.remedy(kill))
    road.went("stopped", "no kill switch stops it")
    method = asked.method.upper()
    path, _, _query = asked.path.partition("?")
    try:
        declared = parse_rules(row["manifest"].get("outbound_domains") or [])
        needs = bindings.parse_needs(row["manifest"].get("connections") or [])
        held = policy.layers(await policy_rows.in_force(conn, where))
    except (RuleProblem, TemplateError, KeyError) as error:
        raise Refused(
            "rules", "undeclared_destination", f"nothing leaves under rules read by halves: {error}"
        ) from error
    unread = opaque_rule(declared, host, asked.port)
    if unread is not None and not any(need.covers(host) for need in needs):
        return _tunnelled(ctx, road, row, held, host, unread)
    if asked.websocket and method != "GET":
        raise Refused("rules", "upgrade_refused", "a WebSocket begins with a GET", remedy="Ask for it with GET.")
    decision = policy.decide(
        declared, held, row["pack"], host, asked.port, method, path, effect, websocket=asked.websocket
    )
    by_policy = decision.reason in (policy.REFUSED, policy.NOT_LISTED)
    if not decision.allowed and not by_policy:
        raise Refused("rules", decision.reason, _meaning(decision.reason), decision.rule_id, remedy=decision.remedy,
                      proposal=dict(decision.proposal))  # fmt: skip
    road.rule = decision.rule_id if decision.allowed else None
    road.went("rules", f"{row['pack']} {row['version']} declares it ({road.rule or 'a rule'})", row["release_id"])
    if by_policy:
        raise Refused("policy", decision.reason, _meaning(decision.reason), decision.rule_id, remedy=decision.remedy,
                      proposal=dict(decision.proposal))  # fmt: skip
    road.went("policy", "no layer of policy refuses it" if held else "there is no policy on destinations here")
    await _bound(ctx, road, row, needs, host, asked.port)
    exception = next(
        (e for e in await store.live_exceptions(conn, where) if (e["name"], e["port"]) == (host, asked.port)), None
    )
    if exception is not None:
        road.exception_id = exception["id"]
        shown = f"{exception['address']}:{exception['real_port']}"
        if (why := never_excepted(exception["address"])) is not None:
            raise Refused("addresses", "private_address", EXCEPTED + why, road.rule, remedy=EXCEPTED_REMEDY)
        road.went("addresses", f"a network exception leads to {shown}", exception["id"])


def _tunnelled(ctx: Context, road: _Road, row: Row, held: tuple[policy.Layer, ...], host: str, rule: Rule) -> None:
    """TLS that the broker does not read has a host alone, and no credential."""
    road.rule = rule.id
    if not ctx.settings.broker.opaque:
        raise Refused("rules", "opaque_not_allowed", _meaning("opaque_not_allowed"), rule.id)
    road.went("rules", f"{row['pack']} {row['version']} declares it ({rule.id}); it is not read", row["release_id"])
    found = policy.refusal(held, row["pack"], host, 443, None, None)
    if found is not None:
        raise Refused("policy", found.reason, _meaning(found.reason), found.rule_id, remedy=found.remedy,
                      proposal=dict(found.proposal))  # fmt: skip
    road.went("policy", "no layer of policy refuses it" if held else "there is no policy on destinations here")
    road.went("connection", "what is not read goes without a credential")


async def _bound(ctx: Context, road: _Road, row: Row, needs: Any, host: str, port: int) -> None:
    # For a call that is made for the reader: nobody's calls go out with another person's account.
    known = own(await seen.connections(ctx.conn, [row["workspace_id"]]), ctx.originating_person or ctx.principal.id)
    held = tuple(
        Connection(c["id"], c["provider"], c["host"], c["port"], c["state"], c["secret_id"], c["metadata"])
        for c in known
    )
    bound = bindings.bind(needs, held, host, port)
    if isinstance(bound, Unbound):
        raise Refused("connection", bound.reason, bound.detail, road.rule)
    if bound is None:
        road.went("connection", "no connection is bound to this destination: it goes without a credential")
        return
    granted = {(g["attachment_id"], g["secret_id"], g["endpoint"]) for g in await seen.grants(ctx.conn, [row["id"]])}
    found = next(c for c in known if c["id"] == bound.connection.id)
    road.credential = reachable.backing(bound.need, found, row["id"], granted)
    whose = ", your own account" if found["person_id"] else ""
    road.went("connection", f"the connection {found['name']} ({found['provider']}){whose} backs it", found["id"])
    _credential_state(road, found, bound)


def _credential_state(road: _Road, found: Mapping[str, Any], bound: Bound) -> None:
    """What keeps the secret from being put on the request; raised only after the address, as the broker has it."""
    assert road.credential is not None
    need, problem = bound.need, ""
    leased = found["secret_id"] is not None and "connection.access_token" in roots(need.template or "")
    if leased and found["secret_state"] not in ("active", "rotating"):
        problem = "secret_unavailable"
    elif leased and not road.credential["granted"]:
        problem = "connection_not_granted"
    road.credential = {**road.credential, "_problem": problem, "_leased": leased}


async def _outside(ctx: Context, road: _Road, asked: TriedRequest) -> None:
    """The addresses of the name, as the broker finds them. Raises Refused."""
    if "addresses" in road.steps:
        return
    if not asked.resolve:
        road.went("addresses", "the name was not looked up", state="unknown")
        return
    host = normalise_host(asked.host)
    try:
        answer = await ipc.call_unix(
            Paths(ctx.settings.home).broker_socket, "look_up", {"host": host}, timeout=_SECONDS
        )  # fmt: skip
    except Problem as problem:
        road.went("addresses", f"the broker does not answer: {problem.detail}", state="unknown")
        return
    if not answer["answered"]:
        raise Refused("addresses", "name_not_resolved", "the resolver did not answer", road.rule)
    road.addresses = [{"address": item, "refused": refused_kind(item)} for item in answer["addresses"]]
    if not road.addresses:
        raise Refused("addresses", "name_not_resolved", _meaning("name_not_resolved"), road.rule)
    bad = next((item for item in road.addresses if item["refused"]), None)
    if bad is not None:
        raise Refused("addresses", "private_address", f"{host} resolves to a {bad['refused']} address", road.rule)
    road.went("addresses", f"{host} resolves to {', '.join(item['address'] for item in road.addresses[:4])}")


def _placed(road: _Road) -> None:
    """Raises Refused where the credential could not be put on the request."""
    found = road.credential
    if found is None or not found["placed"]:
        road.went("credential", "nothing is put on the request")
        return
    if found["_problem"]:
        raise Refused("credential", found["_problem"], _meaning(found["_problem"]), road.rule)
    what = f"the value of {found['secret_name']}" if found["_leased"] else "what its template says, without a secret"
    road.went(
        "credential", f"{what} is put into the {found['placed']}; policy is asked at that moment", found["secret_id"]
    )


def _told(road: _Road, row: Row, effect: str, found: Refused | None) -> Row:
    if found is not None:
        road.went(found.step, found.detail, state="failed")
        if road.rule is None or found.rule is not None:
            road.rule = found.rule
    reason = found.reason if found else "allowed"
    known = reasons.get(reason)
    credential = {k: v for k, v in (road.credential or {}).items() if not k.startswith("_")} or None
    return {
        "verdict": "denied" if found else "allowed",
        "reason": reason,
        "sentence": f"It would be refused: {found.detail}." if found else _passes(road),
        "remedy": (found.more.get("remedy") or (known.remedy if known else "")) if found else "",
        "rule": road.rule,
        "side_effect": effect,
        "release_id": row["release_id"],
        "version": row["version"],
        "pack": row["pack"],
        "steps": road.told(),
        "credential": credential,
        "addresses": road.addresses,
        "exception_id": road.exception_id,
        "proposal": found.more.get("proposal", {}) if found else {},
    }


def _passes(road: _Road) -> str:
    who = f"with the credential of {road.credential['name']}" if road.credential else "without a credential"
    unsure = any(step["state"] == "unknown" for step in road.steps.values())
    return f"It would be sent {who}{', if its name leads to a public address' if unsure else ''}."


def _meaning(code: str) -> str:
    known = reasons.get(code)
    return known.meaning.rstrip(".") if known else code
