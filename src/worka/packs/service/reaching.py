"""The blast radius of a release, a pack, an attachment, a destination or a secret: what it can reach, and what breaks without
it (BEY-3).

Everything is counted over the whole tenant, since that is where a release serves; a reader is shown what lies in the
workspaces that they see, and how much lies elsewhere only if they could take the thing away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from worka.authorization.explain import reader_may
from worka.broker import actions as egress
from worka.broker.errors import DestinationUnknown
from worka.broker.records import reachable
from worka.broker.records import store as ledger
from worka.broker.rules import declared
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.packs import actions
from worka.packs import store as packs
from worka.packs.lifecycle import picture, store
from worka.packs.lifecycle.errors import PackNotFound
from worka.packs.service import reading
from worka.treasury import service as treasury
from worka.workspaces.store import workspace_ids as places_of_tenant

Row = dict[str, Any]
Kind = Literal["release", "pack", "attachment"]
"""Of what `of` answers; `destination` and `secret` have functions of their own."""
DAYS = 30
"""How far back it is looked where something went."""
LISTS = ("attachments", "tasks", "calls", "workflows", "views", "connections", "dependents")


async def of(ctx: Context, kind: Kind, subject: str) -> Row:
    """{kind, subject, name, sentence, reaches, workspaces, attachments, tasks, calls, workflows, views, connections,
    dependents, elsewhere}, as this reader sees it. Raises ReleaseNotFound, AttachmentNotFound, PackNotFound."""
    async with ctx.transaction() as conn:
        if kind == "release":
            releases = [await reading.release(ctx, subject)]
        elif kind == "attachment":
            row = await reading.attachment(ctx, subject)
            releases = [found for found in [await packs.release(conn, row["release_id"])] if found is not None]
        else:
            releases = await visible_pack(ctx, subject)
        found = await whole(conn, kind, subject, releases)
        part = await _part(ctx, found, releases[-1])
    return {**part, "sentence": picture.said(part)}


async def of_row(ctx: Context, release: Row) -> Row:
    """The same of a release whose reader is known to see it, in the open transaction."""
    return await _part(ctx, await whole(ctx.conn, "release", release["id"], [release]), release)


async def visible_pack(ctx: Context, pack: str) -> list[Row]:
    """The releases of a pack, oldest first, for who may see packs in the workspace of the request. Raises PackNotFound."""
    assert ctx.workspace_id is not None
    missing = PackNotFound(f"There is no pack {pack[:120]} here.")
    decision = await ctx.decide(actions.VIEW.name, Resource("pack", pack, ctx.workspace_id, {"pack": pack}))
    if decision.verdict == "deny":
        raise missing
    if not (releases := await store.releases_of_pack(ctx.conn, pack)):
        raise missing
    return releases


async def whole(conn: Connection, kind: str, subject: str, releases: Sequence[Row]) -> Row:
    """The same over the whole tenant: what a receipt holds."""
    attachments = await store.attachments_in_use(conn, kind, subject)
    hanging = await store.hanging_on(conn, attachments)
    secrets = await store.secrets_of(conn, [row["id"] for row in attachments])
    went = await store.reached_by(conn, [row["id"] for row in attachments], now() - timedelta(days=DAYS))
    serving = {row["release_id"] for row in attachments}
    # Of a whole pack only what is attached reaches anything; where nothing is, its newest release says what it would.
    chosen = [row for row in releases if row["id"] in serving] or list(releases[-1:])
    last = releases[-1]
    pack = f"{last['publisher']}.{last['name']}"
    return {
        "kind": kind,
        "subject": subject,
        "name": pack if kind == "pack" else f"{pack} {last['version']}",
        "workspaces": places(attachments),
        "attachments": attachments,
        **hanging,
        "secrets": secrets,
        "reaches": reaches(chosen, went),
    }


async def of_destination(ctx: Context, host: str, port: int) -> Row:
    """The same of a destination: the packs that may go there, what they hold up, and the credentials that are put on requests to
    it, which is what it can reach of ours. Raises RequestInvalid, Denied."""
    host, port = reachable.place(host, port)
    async with ctx.transaction() as conn:
        here = ctx.workspace_id or ""
        await ctx.require(egress.EGRESS_VIEW, Resource("workspace", here, here))
        everywhere = await places_of_tenant(conn)
        declaring = {
            row["id"]
            for row in await ledger.serving(conn, everywhere)
            if declared(reachable.declared_of(row["manifest"])[0], host, port)
        }
        attachments = await store.attachments_of(conn, sorted(declaring))
        bound = await store.secrets_at(conn, f"{host}:{port}", sorted(declaring))
        found = {
            "kind": "destination", "subject": f"{host}:{port}", "name": f"{host}:{port}",
            "workspaces": places(attachments), "attachments": attachments, **await store.hanging_on(conn, attachments),
            "secrets": bound, "reaches": [],
        }  # fmt: skip
        # Of the connections of these packs only those that are for it stand and fall with it.
        ends = {row["id"] for row in await store.connections_at(conn, host, port)}
        found["connections"] = [row for row in found["connections"] if row["id"] in ends]
        tenant = Resource("tenant", ctx.tenant_id or "")
        could, _ = await reader_may(ctx, "kill.set_wide", tenant)
        part = await _cut_for(ctx, found, could)
    return {**part, "sentence": picture.said(part)}


async def of_reached(ctx: Context, host: str, port: int) -> Row:
    """The same of a destination to which something goes. Raises DestinationUnknown: a stranger's place is no other than one that
    nobody has."""
    found = await of_destination(ctx, host, port)
    if not (found["attachments"] or found["secrets"] or found["connections"]):
        raise DestinationUnknown(f"Nothing here may reach {host}:{port}.")
    return found


async def of_secret(ctx: Context, secret_id: str) -> Row:
    """The same of a secret: the endpoints at which its value may be put on requests, the packs that it is granted to, and what
    they hold up. Raises SecretNotFound."""
    async with ctx.transaction() as conn:
        row = await treasury.visible(ctx, secret_id)
        grants = await store.grants_of_secret(conn, secret_id, now() - timedelta(days=DAYS))
        attachments = await store.attachments_of(conn, sorted({grant["attachment_id"] for grant in grants}))
        hanging = await store.hanging_on(conn, attachments)
        hanging["connections"] = await store.connections_of_secret(conn, secret_id)
        found = {
            "kind": "secret", "subject": secret_id, "name": row["name"], "workspaces": places(attachments),
            "attachments": attachments, **hanging, "secrets": [], "reaches": endpoints(grants),
        }  # fmt: skip
        own = Resource("secret", secret_id, row["workspace_id"], {"name": row["name"]})
        could, _ = await reader_may(ctx, "secret.revoke", own)
        part = await _cut_for(ctx, found, could)
    return {**part, "sentence": picture.said(part)}


def endpoints(grants: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The destinations of grants, as `reaches` says them. Pure."""
    found: dict[str, Row] = {}
    for grant in grants:
        host, _, port = grant["endpoint"].rpartition(":")
        entry = found.setdefault(
            grant["endpoint"],
            {"host": host, "port": int(port), "methods": [], "declared": True, "used": 0, "last_at": None, "named": True,
             "uses": []},
        )  # fmt: skip
        if grant["leases"]:
            entry["uses"].append(
                {"workspace_id": grant["workspace_id"], "count": grant["leases"], "last_at": grant["last_at"]}
            )
    return [found[key] for key in sorted(found)]


def places(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The workspaces of these, once each: [{id, name}]."""
    found = {row["workspace_id"]: row.get("workspace") or "" for row in rows}
    return [{"id": key, "name": name} for key, name in sorted(found.items())]


def reaches(releases: Sequence[Mapping[str, Any]], went: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Declared destinations with what was used of them: [{host, port, methods, declared, used, last_at, named, uses}].
    Pure. `named`: a release names exactly this one; `uses`: [{workspace_id, count, last_at}], where it was used.

    What was used and is not declared any more stands there too: an earlier release went there."""
    found: dict[tuple[str, int], Row] = {}
    for release in releases:
        for item in release["manifest"].get("outbound_domains") or []:
            rule = {"host": item} if isinstance(item, str) else item
            key = (rule["host"].lower(), int(rule.get("port") or 443))
            methods = sorted(rule.get("methods") or [])
            entry = found.setdefault(
                key,
                {"host": key[0], "port": key[1], "methods": methods, "declared": True, "used": 0, "last_at": None,
                 "named": True, "uses": []},
            )  # fmt: skip
            if not methods or not entry["methods"]:
                entry["methods"] = []  # any of them
            else:
                entry["methods"] = sorted({*entry["methods"], *methods})
    for row in went:
        key = (row["host"].lower(), int(row["port"]))
        entry = found.setdefault(
            key,
            {
                "host": key[0],
                "port": key[1],
                "methods": [],
                "declared": _covered(key, found),
                "used": 0,
                "last_at": None,
                "named": False,
                "uses": [],
            },
        )
        entry["used"] += int(row["count"])
        entry["last_at"] = max(filter(None, (entry["last_at"], row["last_at"])))
        entry["uses"].append({key: row[key] for key in ("workspace_id", "count", "last_at")})
    return [found[key] for key in sorted(found)]


def _covered(key: tuple[str, int], declared: Mapping[tuple[str, int], Row]) -> bool:
    return any(
        host.startswith("*.") and key[0].endswith(host[1:]) and port == key[1] and entry["declared"]
        for (host, port), entry in declared.items()
    )


async def _part(ctx: Context, found: Row, release: Row) -> Row:
    """What lies in the workspaces in which the reader sees packs, and how much lies elsewhere (None: not theirs to know)."""
    pack = Resource("pack", f"{release['publisher']}.{release['name']}", release["workspace_id"])
    could, _ = await reader_may(ctx, actions.QUARANTINE.name, pack)
    return await _cut_for(ctx, found, could)


async def _cut_for(ctx: Context, found: Row, could: bool) -> Row:
    seen = await seen_by(ctx, (row["workspace_id"] for name in LISTS for row in found[name]))
    part = cut(found, seen)
    elsewhere = {name: len(found[name]) - len(part[name]) for name in ("workspaces", *LISTS)}
    return {**part, "elsewhere": elsewhere if could else None}


async def seen_by(ctx: Context, workspaces: Iterable[str]) -> set[str]:
    """Those of these workspaces in which the reader sees packs."""
    return {
        place
        for place in sorted(set(workspaces))
        if (await reader_may(ctx, actions.VIEW.name, Resource("pack", "*", place)))[0]
    }


def cut(found: Mapping[str, Any], seen: set[str]) -> Row:
    """Of what was found, or of a receipt, what lies in these workspaces. Pure."""
    part = {name: [row for row in found.get(name, ()) if row["workspace_id"] in seen] for name in (*LISTS, "secrets")}
    return {
        **{key: found[key] for key in ("kind", "subject", "name")},
        "reaches": [row for entry in found["reaches"] if (row := _used_in(entry, seen)) is not None],
        "workspaces": [place for place in found["workspaces"] if place["id"] in seen],
        **part,
    }


def _used_in(entry: Mapping[str, Any], seen: set[str]) -> Row | None:
    """A destination with what was used of it in these workspaces; None where nothing tells their people of it."""
    uses = [use for use in entry.get("uses", ()) if use["workspace_id"] in seen]
    if not uses and not entry.get("named", entry["declared"]):
        return None
    return {
        **{key: entry[key] for key in ("host", "port", "methods", "declared")},
        "used": sum(int(use["count"]) for use in uses),
        "last_at": max((use["last_at"] for use in uses), default=None),
    }
