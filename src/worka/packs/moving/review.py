"""The review before a release is attached (GOV-3, GOV-4): the same for every source, and what it would meet if it were.

It is a look: nothing is recorded, and whoever may not attach sees that too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from worka.approvals.people import audience
from worka.approvals.rules import parse_rules
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Problem
from worka.packs import actions, rules
from worka.packs import manifest as manifests
from worka.packs import store as rows
from worka.packs.lifecycle import grade
from worka.packs.moving import dependencies, difference, steps
from worka.packs.service import reading

Row = dict[str, Any]
SOURCES = {"pypi": "a package of the Python index", "npm": "a package of the npm registry", "path": "files sent along"}
UPDATES = {
    "pinned": "It stays on this release until somebody moves it.",
    "tracking": "It moves to newer releases by itself where they may do no more and say nothing else; any other is asked for.",
}


async def review(ctx: Context, workspace_id: str, release_id: str, mode: str = "pinned") -> Row:
    """What a person looks at before attaching a release to a workspace. Raises ReleaseNotFound."""
    release = await reading.release(ctx, release_id)
    manifest, notices = manifests.read(release["manifest"])
    mounts = [mount.name for mount in manifest.runtime.mounts]
    facts = rules.attach_facts(manifest, release["tools"], mounts) | {"release": release_id, "mode": mode}
    inside = replace(ctx.acting(ctx.principal, workspace_id=workspace_id), unrecorded=True)
    needs = rules.connection_needs(release["manifest"])
    async with ctx.transaction() as conn:
        inside.tx = ctx.tx
        decision = await inside.decide(
            actions.ATTACH.name, Resource("pack", manifest.pack, workspace_id, facts), **facts
        )
        people = await audience(conn, inside, workspace_id)
        connections = [await _connection(ctx, workspace_id, need) for need in needs]
        packs = await dependencies.state_of(conn, workspace_id, release["manifest"])
        unfit = await _unfit(inside, workspace_id, release)
        there = await rows.attachment_of(conn, workspace_id, manifest.pack)
        attached = await rows.release(conn, there["release_id"]) if there else None
    told = None
    if attached is not None and attached["id"] != release_id:
        told = difference.between(steps.as_compared(attached), steps.as_compared(release))
    return {
        "release": {
            **{key: release[key] for key in ("id", "publisher", "name", "version", "state", "reason", "digest")},
            "pack": manifest.pack,
            "display_name": manifest.display_name,
            "description": manifest.description,
        },
        "workspace_id": workspace_id,
        "risk": facts["risk"],
        "grade": grade.of(release),
        "effect": rules.attach_effect(facts, [need for need in needs if need["endpoint"]]),
        "source": _source(release),
        "tools": [
            {key: tool.get(key) for key in ("name", "description", "side_effect", "idempotent", "pin")}
            for tool in release["tools"]
        ],
        "outbound": [
            item if isinstance(item, dict) else {"host": item} for item in release["manifest"].get("outbound_domains") or []
        ],
        "host_services": list(manifest.host_services),
        "connections": connections,
        "mounts": [mount.model_dump() for mount in manifest.runtime.mounts],
        "limits": {
            name: (release["manifest"]["runtime"].get("limits") or {}).get(name) or usual
            for name, usual in difference.LIMITS.items()
        },
        "dependencies": packs,
        "audience": {"people": len(people.readers), "words": "Everybody in this workspace who may call tools."},
        "update_policy": {"mode": mode, "words": UPDATES[mode]},
        "approval": _approval(decision),
        "warnings": [notice.body() for notice in notices],
        "attached": None
        if there is None or attached is None
        else {"attachment_id": there["id"], "release_id": attached["id"], "version": attached["version"], "state": there["state"]},
        "difference": told,
        "waits": [*unfit, *_waits(release, connections, packs, decision, there)],
    }  # fmt: skip


def _source(release: Row) -> Row:
    """Where a release comes from, and who may see it: until it is published, the tenant that registered it."""
    ecosystem = str(release["source"].get("ecosystem") or "path")
    return {
        "ecosystem": ecosystem,
        "words": SOURCES.get(ecosystem, ecosystem),
        "declared": release["manifest"].get("source"),
        "registered_in": release["workspace_id"],
        "registered_by": release["created_by"],
        "visibility": str(release["source"].get("visibility") or "private"),
    }


async def _connection(ctx: Context, workspace_id: str, need: Row) -> Row:
    known = await rows.connections_at(ctx.conn, workspace_id, need["provider"], need["host"], need["port"])
    found = next((row for row in known if row["state"] == "active"), None)
    there = found or next(iter(known), None)
    return {
        **{key: need[key] for key in ("provider", "access", "required", "endpoint")},
        "connection_id": there["id"] if there else None,
        "state": "active" if found else str(there["state"]) if there else "missing",
    }


async def _unfit(ctx: Context, workspace_id: str, release: Row) -> list[Row]:
    """What keeps it from being attached here whoever asks: a signature that is not trusted, a tool that reads like another."""
    try:
        await steps.fits(ctx, {"workspace_id": workspace_id}, release)
    except Problem as problem:
        return [{"kind": "release", "name": problem.detail, "blocks": True}]
    return []


def _approval(decision: Any) -> Row:
    """What attaching would be told: {verdict, rules, reasons, seats, remedy}. `seats`: who has to agree, rule by rule."""
    wants = parse_rules(list(decision.approval_rules)) if decision.verdict == "ask" else []
    return {
        "verdict": decision.verdict,
        "rules": list(decision.rules),
        "reasons": list(decision.reasons),
        "seats": [str(want) for want in wants],
        "remedy": decision.remedy or "",
    }


def _waits(release: Row, connections: list[Row], packs: list[Row], decision: Any, there: Row | None) -> list[Row]:
    """What stands before it serves, each with its name: {kind, name, blocks}. `blocks`: it cannot even be asked for."""
    found: list[Row] = []
    if release["state"] != "released":
        name = f"a release that can be attached: this one is {release['state']}"
        found.append({"kind": "release", "name": name, "blocks": True})
    if there is not None:
        found.append({"kind": "attachment", "name": f"{there['pack']} is attached already: move it", "blocks": True})
    if decision.verdict == "deny":
        found.append({"kind": "policy", "name": "; ".join(decision.reasons), "blocks": True})
    if decision.verdict == "ask":
        # Which rules it is, a program reads in `approval.seats`.
        people = "; and ".join(want.words for want in parse_rules(list(decision.approval_rules)))
        found.append({"kind": "approval", "name": f"consent: {people}", "blocks": False})
    found += [
        {"kind": "connection", "name": f"{item['provider']} at {item['endpoint']} ({item['state']})", "blocks": False}
        for item in connections
        if item["required"] and item["state"] != "active"
    ]
    lacking = [item for item in packs if item["attachment_id"] is None or item["lacking"]]
    found += [{"kind": "pack", "name": name, "blocks": False} for name in dependencies.words(lacking)]
    return found
