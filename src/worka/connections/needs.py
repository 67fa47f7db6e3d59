"""What the packs and steps of a workspace need outside: which provider, at which endpoint, with which scopes, and who waits.

A connection is asked for only when something here needs it, and for no more than that declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worka.connections import actions, catalogue, restricting, rules, store
from worka.kernel.context import Context, Resource

Row = dict[str, Any]


def declared(attachment: Mapping[str, Any]) -> list[Row]:
    """[{provider, host, port, access, scopes, required}] of an attachment's manifest; without a host nothing is injected."""
    ports = {
        (item if isinstance(item, str) else item["host"]): (None if isinstance(item, str) else item.get("port"))
        for item in attachment["outbound"]
    }
    found = []
    for need in attachment["connections"]:
        host = (need.get("inject") or {}).get("host")
        found.append(
            {
                "provider": need["provider"], "host": host, "port": ports.get(host) or 443,
                "access": need.get("access", ""), "scopes": list(need.get("scopes") or []),
                "required": need.get("required", True),
            }
        )  # fmt: skip
    return found


def _covers(need: Row, host: str, port: int) -> bool:
    if need["host"] is None:
        return True
    wild = need["host"].startswith("*.") and host.endswith(need["host"][1:])
    return (need["host"] == host or wild) and need["port"] == port


def scopes_for(attachments: Sequence[Mapping[str, Any]], provider: str, host: str, port: int) -> list[str]:
    """The scopes that the packs here declare for an endpoint of a provider, each once, in order."""
    found = [
        scope
        for attachment in attachments
        for need in declared(attachment)
        if need["provider"] == provider and _covers(need, host, port)
        for scope in need["scopes"]
    ]
    return sorted(dict.fromkeys(found))


def asking(attachments: Sequence[Mapping[str, Any]], provider: str, host: str, port: int) -> list[Row]:
    """[{kind, id, name}] of the attachments that need a provider at an endpoint."""
    return [
        {"kind": "attachment", "id": attachment["id"], "name": attachment["pack"]}
        for attachment in attachments
        if any(need["provider"] == provider and _covers(need, host, port) for need in declared(attachment))
    ]


async def listing(ctx: Context, workspace_id: str) -> list[Row]:
    """[{provider, words, endpoint, access, scopes, required, attachments, tasks, connections, state, reason, allowed,
    because}]: each provider and endpoint that something here needs, those that block first. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.CONNECTION_VIEW, Resource("connection", "*", workspace_id))
        attachments = await store.wanting(conn, workspace_id)
        living = await store.living(conn, workspace_id)
        tasks = await store.waiting_tasks(conn, workspace_id)
        limits = await restricting.limits(ctx)
    known = catalogue.providers(ctx.settings)
    found: dict[tuple[str, str | None, int], Row] = {}
    for attachment in attachments:
        for need in declared(attachment):
            key = (need["provider"], need["host"], need["port"])
            row = found.setdefault(key, _row(need, living, known, tasks, limits, ctx))
            row["attachments"].append({key: attachment[key] for key in ("id", "pack", "state")})
            row["scopes"] = sorted({*row["scopes"], *need["scopes"]})
            row["required"] |= need["required"]
            row["access"] = "; ".join(dict.fromkeys(part for part in (row["access"], need["access"]) if part))
    order = {"connection_broken": 0, "connection_expired": 1, "connection_missing": 2, "": 3}
    return sorted(found.values(), key=lambda row: (not row["tasks"], order[row["reason"]], row["provider"]))


def _row(need: Row, living: list[Row], known: Mapping[str, Any], tasks: list[Row], limits: Row, ctx: Context) -> Row:
    fits = [row for row in living if row["provider"] == need["provider"] and _covers(need, row["host"], row["port"])]
    mine = rules.own(fits, ctx.originating_person)
    active = [row for row in mine if row["state"] == "active"]
    reason = "" if active else rules.lacking(mine)[0]
    refusal = restricting.refusal(limits, need["provider"])
    endpoint = f"{need['host']}:{need['port']}" if need["host"] else ""
    return {
        "provider": need["provider"],
        "words": known[need["provider"]].words if need["provider"] in known else need["provider"],
        "kinds": list(known[need["provider"]].kinds) if need["provider"] in known else ["token"],
        "endpoint": endpoint,
        "access": "",
        "scopes": [],
        "required": False,
        "attachments": [],
        "tasks": [
            {"id": task["task_id"], "title": task["title"], "step": task["step"], "since": task["since"]}
            for task in tasks
            if task["ref"] in {row["id"] for row in fits} or task["ref"] == f"{need['provider']} {endpoint}"
        ],
        "connections": [{key: row[key] for key in ("id", "name", "state", "person_id")} for row in fits],
        "reason": reason,
        "allowed": refusal is None,
        "because": refusal or "",
    }
