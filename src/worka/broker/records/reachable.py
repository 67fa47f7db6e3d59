"""What attached packs may reach, before any call was made, and one destination from every side (BRK-10)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from worka import governance
from worka.broker import bindings
from worka.broker import store as broker_rows
from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.bindings import Need
from worka.broker.errors import AttachmentUnknown, DestinationUnknown, RequestInvalid
from worka.broker.policy import rules as policy
from worka.broker.policy import store as policy_rows
from worka.broker.records import store
from worka.broker.records.model import OUTCOMES, Filter
from worka.broker.records.service import places, visible
from worka.broker.rules import PORTS, Rule, RuleProblem, parse_rules
from worka.broker.templates import TemplateError
from worka.connections.rules import ENDED
from worka.governance import kills
from worka.kernel.clock import now
from worka.kernel.context import Context

Row = dict[str, Any]
DAYS = 30
"""How far back it is looked what was used, where nobody says."""
SERVING = frozenset({"attached", "updating", "held"})


async def listing(
    ctx: Context,
    *,
    attachment_id: str | None = None,
    pack: str | None = None,
    everywhere: bool = False,
    days: int = DAYS,
) -> Row:
    """{items, days, unseen}: every destination that attached packs may reach, by pack and rule; complete. Raises Denied."""
    async with ctx.transaction():
        seen, unseen = await places(ctx, everywhere)
        return {"items": await entries(ctx, seen, attachment_id, pack, days), "days": days, "unseen": unseen}


async def entries(
    ctx: Context, seen: Sequence[str], attachment_id: str | None, pack: str | None, days: int
) -> list[Row]:
    """The same of these workspaces, in the open transaction, for whom it was asked already."""
    conn = ctx.conn
    attached = [
        row
        for row in await store.serving(conn, seen)
        if (attachment_id is None or row["id"] == attachment_id) and (pack is None or row["pack"] == pack)
    ]
    known = await store.connections(conn, seen)
    granted = {
        (row["attachment_id"], row["secret_id"], row["endpoint"])
        for row in await store.grants(conn, [row["id"] for row in attached])
    }
    used = await store.used(conn, seen, now() - timedelta(days=days))
    on = await governance.store.kills_on(conn)
    exceptions = {
        where: await broker_rows.live_exceptions(conn, where) for where in {r["workspace_id"] for r in attached}
    }
    held = {where: policy.layers(await policy_rows.in_force(conn, where)) for where in exceptions}
    found: list[Row] = []
    for row in attached:
        declared, needs = declared_of(row["manifest"])
        mine = [use for use in used if use["attachment_id"] == row["id"]]
        for rule in declared:
            backing = connections(
                [need for need in needs if _shared(rule, need)], [c for c in known if c["workspace_id"] == row["workspace_id"]],
                rule, row["id"], granted,
            )  # fmt: skip
            hits = [use for use in mine if rule.covers(use["host"]) and use["port"] in rule.ports]
            found.append(
                {
                    **described(rule),
                    "attachment_id": row["id"], "attachment_state": row["state"], "workspace_id": row["workspace_id"],
                    "workspace": row["workspace"], "pack": row["pack"], "release_id": row["release_id"],
                    "version": row["version"], "attached_by": row["created_by"],
                    "attached_by_name": row["created_by_name"], "since": row["created_at"],
                    "connections": backing,
                    "exceptions": [e["id"] for e in exceptions[row["workspace_id"]] if rule.covers(e["name"])],
                    "policy": touching(held[row["workspace_id"]], rule, row["pack"]),
                    "stopped": stopped(row, rule, held[row["workspace_id"]], on, backing),
                    "requests": sum(int(use["requests"]) for use in hits),
                    "first_at": min((use["first_at"] for use in hits), default=None),
                    "last_at": max((use["last_at"] for use in hits), default=None),
                }
            )  # fmt: skip
    return found


def declared_of(manifest: Mapping[str, Any]) -> tuple[tuple[Rule, ...], tuple[Need, ...]]:
    """What a manifest declares: destinations, and needs of connections; none where it cannot be read, as the broker has it."""
    try:
        return parse_rules(manifest.get("outbound_domains") or []), bindings.parse_needs(
            manifest.get("connections") or []
        )
    except (RuleProblem, TemplateError, KeyError):
        return (), ()


def described(rule: Rule) -> Row:
    """A rule in plain fields."""
    return {
        "host": rule.host, "ports": sorted(rule.ports), "methods": sorted(rule.methods or ()),
        "paths": list(rule.paths or ()), "rule": rule.id, "unread": rule.opaque,
    }  # fmt: skip


def _shared(rule: Rule, need: Need) -> bool:
    """Whether a need's credential may stand on requests that this rule lets through."""
    if need.host is None:
        return False
    if need.suffix is None:
        return rule.covers(need.host)
    return rule.host.removeprefix("*").endswith(need.suffix) or (
        rule.suffix is not None and need.suffix.endswith(rule.suffix)
    )


def connections(
    needs: Iterable[Need],
    known: Sequence[Mapping[str, Any]],
    rule: Rule,
    attachment_id: str,
    granted: set[tuple[str, str, str]],
) -> list[Row]:
    """The connections that would back requests by this rule: of each need and endpoint the workspace's and everybody's own, or
    the lack of any."""
    found: list[Row] = []
    for need in needs:
        ends: dict[tuple[str, int, str | None], Mapping[str, Any]] = {}
        for row in known:
            if row["person_id"] and row["state"] in ENDED:
                continue
            if row["provider"] == need.provider and need.covers(row["host"]) and rule.covers(row["host"]):
                place = row["host"], row["port"], row["person_id"]
                kept = ends.get(place)
                # As the broker binds: the newest active one of an endpoint, else the newest.
                if kept is None or (row["state"] == "active" and kept["state"] != "active"):
                    ends[place] = row
        found += [backing(need, row, attachment_id, granted) for row in ends.values()]
        if not ends:
            found.append(backing(need, None, attachment_id, granted))
    return found


def backing(
    need: Need, row: Mapping[str, Any] | None, attachment_id: str, granted: set[tuple[str, str, str]]
) -> Row:  # fmt: skip
    """One connection behind requests; without a row: that it is missing."""
    where = f"header {need.header}" if need.header else f"query parameter {need.query}" if need.query else ""
    if row is None:
        return {
            "id": None, "provider": need.provider, "name": None, "state": "missing", "required": need.required,
            "owner_id": None, "owner_name": None, "secret_id": None, "secret_name": None, "granted": False, "placed": where,
        }  # fmt: skip
    endpoint = f"{row['host']}:{row['port']}"
    return {
        "id": row["id"], "provider": need.provider, "name": row["name"], "state": row["state"],
        "required": need.required, "owner_id": row["created_by"], "owner_name": row["created_by_name"],
        "secret_id": row["secret_id"], "secret_name": row["secret_name"],
        "granted": row["secret_id"] is None or (attachment_id, row["secret_id"], endpoint) in granted,
        "placed": where,
    }  # fmt: skip


def touching(held: Iterable[policy.Layer], rule: Rule, pack: str) -> list[str]:
    """What policy says that has to do with a rule, an item each. A list `only` always has."""
    found = []
    for layer in held:
        for item in layer.refuse:
            if (item.packs is None or pack in item.packs) and _meets(item.rule, rule):
                found.append(f"{layer.name}/{item.rule.id}")
        if layer.only is not None:
            found.append(f"{layer.name}/only")
    return found


def _meets(one: Rule, other: Rule) -> bool:
    if not one.ports & other.ports:
        return False
    if one.host == "*" or one.host == other.host:
        return True
    left, right = one.suffix, other.suffix
    if left is not None and right is not None:
        return left.endswith(right) or right.endswith(left)
    return one.covers(other.host) if left is not None else other.covers(one.host) if right is not None else False


def stopped(
    row: Mapping[str, Any],
    rule: Rule,
    held: Sequence[policy.Layer],
    on: Sequence[Mapping[str, Any]],
    backed: Sequence[Row],
) -> list[str]:
    """What keeps everything of a rule from passing now, in words; empty: requests pass."""
    found = []
    if row["state"] not in SERVING:
        found.append(f"the pack does not serve: it is {row['state']}")
    if row["release_state"] == "quarantined":
        found.append("its release is quarantined")
    places = [f"{rule.host}:{port}" for port in sorted(rule.ports)]
    kill = kills.matching(on, workspace=row["workspace_id"], releases=[row["release_id"]], destinations=places)
    if kill is not None:
        found.append(kills.said(kill))
    for layer in held:
        item = policy.Item(rule, frozenset({row["pack"]}))
        whole = next((other for other in layer.refuse if policy.inside(item, other)), None)
        if whole is not None and not layer.excepted:
            found.append(f"policy refuses it: {layer.name}/{whole.rule.id}")
        if layer.only is not None and not any(_meets(other.rule, rule) for other in layer.only):
            found.append(f"it is not on the list of {layer.name}")
    required = [need for need in backed if need["required"]]
    serves = {need["provider"] for need in required if need["state"] == "active"}
    found += dict.fromkeys(
        f"the connection to {need['provider']} is {need['state']}"
        for need in required
        if need["provider"] not in serves
    )
    return found


# one destination ------------------------------------------------------------------------------------------------------
def place(host: str, port: int) -> tuple[str, int]:
    """A destination as it is compared. Raises RequestInvalid."""
    if port not in PORTS:
        raise RequestInvalid("A sandbox reaches ports 80 and 443.", field="/port")
    try:
        return normalise_host(host), port
    except HostProblem as problem:
        raise RequestInvalid(f"{host[:80]!r}: {problem.detail}.", field="/host") from problem


async def destination(ctx: Context, host: str, port: int, *, everywhere: bool = False, days: int = DAYS) -> Row:
    """{host, port, sentence, allowed, used, people, counts, kills, days, unseen}. Raises DestinationUnknown, RequestInvalid,
    Denied."""
    host, port = place(host, port)
    async with ctx.transaction() as conn:
        seen, unseen = await places(ctx, everywhere)
        all_of_it = await entries(ctx, seen, None, None, days)
        allowed = [row for row in all_of_it if _is(row, host, port)]
        since = now() - timedelta(days=days)
        used = [row for row in await store.used(conn, seen, since) if (row["host"], row["port"]) == (host, port)]
        people = await store.people_of(conn, seen, host, port, since)
        outcomes = await store.counts(conn, seen, Filter(host=host, port=port, since=since), "outcome", len(OUTCOMES))
        owners = {row["id"]: row["created_by_name"] for row in await store.connections(conn, seen)}
        stops = [
            {key: kill[key] for key in ("id", "kind", "subject", "reason", "workspace_id")}
            for kill in await governance.store.kills_on(conn)
            if kill["kind"] == "destination" and _killed(kill, seen, host, port)
        ]
    if not allowed and not used and not outcomes:
        raise DestinationUnknown(f"Nothing here may reach {host}:{port}, and nothing tried in the last {days} days.")
    uses = [{**row, "owner_name": owners.get(row["connection_id"] or "")} for row in used]
    return {
        "host": host, "port": port, "sentence": _sentence(host, port, allowed, used, days), "allowed": allowed,
        "used": uses, "people": people, "counts": outcomes, "kills": stops, "days": days, "unseen": unseen,
    }  # fmt: skip


def _is(row: Mapping[str, Any], host: str, port: int) -> bool:
    name = str(row["host"])
    return port in row["ports"] and (name == host or (name.startswith("*.") and host.endswith(name[1:])))


def _killed(kill: Mapping[str, Any], seen: Sequence[str], host: str, port: int) -> bool:
    return any(kills.matching([kill], workspace=where, destinations=[f"{host}:{port}"]) for where in seen)


def _sentence(host: str, port: int, allowed: Sequence[Row], used: Sequence[Row], days: int) -> str:
    packs = _listed(sorted({row["pack"] for row in allowed}))
    went = _listed(sorted({str(row["pack"] or "the platform itself") for row in used if row["requests"]}))
    could = f"{packs} may reach {host}:{port}" if packs else f"No attached pack may reach {host}:{port}"
    return f"{could}; in the last {days} days {went or 'nothing'} did."


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


async def of_attachment(ctx: Context, attachment_id: str, days: int = DAYS) -> Row:
    """{attachment, allowed, used}: where one attachment may go, and went. Raises AttachmentUnknown."""
    async with ctx.transaction() as conn:
        row = await store.attachment(conn, attachment_id)
        if row is None or not await visible(ctx, row):
            raise AttachmentUnknown(f"There is no attachment {attachment_id}.")
        where = str(row["workspace_id"])
        allowed = await entries(ctx, [where], attachment_id, None, days)
        since = now() - timedelta(days=days)
        uses: defaultdict[tuple[Any, ...], Row] = defaultdict(dict)
        owners = {c["id"]: c["created_by_name"] for c in await store.connections(conn, [where])}
        for use in await store.used(conn, [where], since):
            if use["attachment_id"] == attachment_id:
                key = tuple(use[name] for name in ("host", "port", "rule", "connection_id", "secret_id"))
                uses[key] = {**use, "owner_name": owners.get(use["connection_id"] or "")}
        return {
            "attachment": {k: v for k, v in row.items() if k not in ("tenant_id", "manifest", "tools")},
            "allowed": allowed,
            "used": list(uses.values()),
        }
