"""Use cases of governance: policy versions, decisions explained and evaluated again, what the caller may do."""

from __future__ import annotations

import asyncio
from typing import Any

from worka import approvals, authorization
from worka.authorization import cedar, matrix
from worka.authorization import floor as access_floor
from worka.authorization.cedar import Policies, Request
from worka.governance import actions as names
from worka.governance import events, facade, rules, statements, store
from worka.governance.errors import BadPolicy, DecisionNotFound, PolicyMoved, PolicyNotFound
from worka.kernel import actions
from worka.kernel.actions import PERMISSIONS
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces


async def save_policy(ctx: Context, workspace_id: str, kind: str, text: str, note: str) -> dict[str, Any]:
    """Saves a version of the tenant's policy: {kind, version, …}. It holds from the next decision on.

    Raises BadPolicy with every fault located, PolicyMoved."""
    async with ctx.transaction() as conn:
        await ctx.require(names.POLICY_SAVE, Resource("policy", kind, None, {"kind": kind}))
        faults = await asyncio.to_thread(statements.check, kind, text, approvals.rules.parse_rule)
        if faults:
            first = faults[0]
            raise BadPolicy(
                f"Statement {first.statement}, line {first.line}: {first.message}",
                errors=[fault.shown() for fault in faults],
            )
        number = (await authorization.store.policy_versions(conn))[kind]
        before = await authorization.store.policy(conn, kind, number) if number else None
        row = await store.add_policy(
            conn,
            {
                "tenant_id": ctx.tenant_id,
                "kind": kind,
                "version": number + 1,
                "text": text,
                "note": note,
                "owner_person_id": ctx.originating_person or ctx.principal.id,
                "created_by": ctx.principal.id,
            },
        )
        if row is None:
            raise PolicyMoved(f"Version {number + 1} of the {kind} policy was saved by somebody else.")
        ctx.record(events.policy_saved(kind, before, row, workspace_id))
    return {key: row[key] for key in ("kind", "version", "note", "owner_person_id", "created_by", "created_at")}


async def list_policies(
    ctx: Context, workspace_id: str, after: tuple[str, int] | None, limit: int
) -> list[dict[str, Any]]:
    """The tenant's versions of both kinds, newest first; up to limit + 1."""
    async with ctx.transaction() as conn:
        await ctx.require(names.POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        return await store.policies(conn, after, limit + 1)


async def show_policy(ctx: Context, workspace_id: str, kind: str, version: int) -> dict[str, Any]:
    """A version with its text and the shipped floor under it (version 0: the floor alone). Raises PolicyNotFound."""
    async with ctx.transaction() as conn:
        await ctx.require(names.POLICY_VIEW, Resource("workspace", workspace_id, workspace_id))
        row = await authorization.store.policy(conn, kind, version) if version else None
        if kind not in ("access", "governance") or (row is None and version != 0):
            raise PolicyNotFound(f"{kind} has no version {version}.")
    floor_text = access_floor.text() if kind == "access" else rules.floor_text(rules.CURRENT_FLOOR)
    floor_name = access_floor.version() if kind == "access" else f"floor.{rules.CURRENT_FLOOR}"
    shown = (
        {key: row[key] for key in ("text", "note", "owner_person_id", "created_by", "created_at")}
        if row
        else {"text": ""}
    )
    return {"kind": kind, "version": version, **shown, "floor_version": floor_name, "floor_text": floor_text}


async def newest_policy(ctx: Context, workspace_id: str, kind: str) -> dict[str, Any]:
    """The version of a kind that holds now, as `show_policy` gives it (version 0: the tenant saved none)."""
    async with ctx.transaction() as conn:
        number = (await authorization.store.policy_versions(conn))[kind]
        return await show_policy(ctx, workspace_id, kind, number)


async def access(ctx: Context, workspace_id: str) -> dict[str, Any]:
    """What the caller may do here: role, the six permissions, every action with yes or no, and the reviewed matrix."""
    place = Resource("workspace", workspace_id, workspace_id)
    async with ctx.transaction() as conn:
        await ctx.require("access.view", place)
        roles = await workspaces.roles_of(conn, workspace_id, ctx.principal.kind, ctx.principal.id)
        able: dict[str, bool] = {}
        for action in actions.all_actions():
            resource = Resource(
                action.resource_type, workspace_id if action.resource_type == "workspace" else "*", workspace_id
            )
            able[action.name] = await authorization.may(
                conn, ctx, ctx.principal.kind, ctx.principal.id, action.name, resource
            )
    held = matrix.permissions_of(ctx.principal.kind, roles)
    return {
        "principal": {"kind": ctx.principal.kind, "id": ctx.principal.id, "name": ctx.principal.name},
        "role": next((role for role in roles if role in matrix.ROLES), None),
        "approver": "approver" in roles,
        "permissions": {name: name in held for name in PERMISSIONS},
        "also": sorted(held - set(PERMISSIONS)),
        "actions": able,
        "matrix": matrix.shown(),
    }


async def decision(ctx: Context, decision_id: str) -> dict[str, Any]:
    """A decision for its two readers. Whom it concerns gets the verdict, the reasons in words and how to ask; who reads
    evidence (audit) gets the rules with their text of that day, the inputs, and the same question evaluated again."""
    async with ctx.transaction() as conn:
        row = await store.decision(conn, decision_id)
        mine = row is not None and ctx.principal.id in (row["principal_id"], row["originating_person"])
        resource = Resource("decision", decision_id, row["workspace_id"] if row else None)
        reader = row is not None and await authorization.may(
            conn, ctx, ctx.principal.kind, ctx.principal.id, names.DECISION_VIEW, resource
        )
        if row is None or not (mine or reader):
            raise DecisionNotFound(f"{decision_id} is not a decision about you, or one that you may read.")
        keys = (
            "id",
            "verdict",
            "action",
            "resource_type",
            "layer",
            "reasons",
            "approval_rules",
            "remedy",
            "trace_id",
            "at",
        )
        answer: dict[str, Any] = {key: row[key] for key in keys}
        answer["reader"] = "evidence" if reader else "concerned"
        if not reader:
            return answer
        answer |= {
            key: row[key]
            for key in ("workspace_id", "principal_kind", "principal_id", "originating_person", "resource_id", "rules",
                        "access_version", "governance_version")
        }  # fmt: skip
        answer["inputs"] = row["context"]
        answer["policy"] = await rule_texts(conn, row)
        answer["replay"] = await replay(conn, row)
        return answer


async def rule_texts(conn: Connection, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The text of every rule that a decision names, from the policy version of that day."""
    found = []
    for rule in row["rules"]:
        kind, _, rest = rule.partition("/")
        layer, _, name = rest.partition("/")
        try:
            text, source = await _text_of(conn, kind, layer, row)
        except LookupError as error:
            found.append({"rule": rule, "text": None, "source": str(error)})
            continue
        found.append({"rule": rule, "text": _statement(text, name), "source": source})
    return found


async def _text_of(conn: Connection, kind: str, layer: str, row: dict[str, Any]) -> tuple[str, str]:
    if kind not in ("access", "governance"):
        return "", "no policy"
    floor_number, tenant_version = rules.parse_version(row[f"{kind}_version"])
    if layer.startswith("tenant."):
        policy = await authorization.store.policy(conn, kind, tenant_version)
        if policy is None:
            raise LookupError(f"{kind} policy version {tenant_version} is missing")
        return policy["text"], f"{kind} policy of the tenant, version {tenant_version}"
    if kind == "governance":
        return rules.floor_text(floor_number), f"shipped governance set floor.{floor_number}"
    if access_floor.version() != f"floor.{floor_number}":
        raise LookupError(f"access floor.{floor_number} is not in this build")
    return access_floor.text(), f"shipped access set floor.{floor_number}"


def _statement(text: str, name: str) -> str | None:
    """The statement of this id, or of this number where it has none."""
    found = statements.split(text)
    for statement in found:
        if f'@id("{name}")' in statement.text:
            return statement.text
    return found[int(name) - 1].text if name.isdigit() and 0 < int(name) <= len(found) else None


async def replay(conn: Connection, row: dict[str, Any]) -> dict[str, Any]:
    """Evaluates a recorded decision again with the policy of that day: {verdict, rules, same}; or what is missing for
    it, named (`could_not_reconstruct`), never a guess."""
    kept = row["context"]
    try:
        access_floor_number, access = rules.parse_version(row["access_version"])
        governance_floor_number, governance = rules.parse_version(row["governance_version"])
        if access_floor.version() != f"floor.{access_floor_number}":
            raise LookupError(f"access floor.{access_floor_number} is not in this build")
        if row["action"] and actions.get(row["action"]) is None:
            raise LookupError(f"the action {row['action']} is not known to this build")
        requests = [
            Request(
                kind=actor["kind"],
                id=actor["id"],
                enabled=actor["enabled"],
                roles=tuple(actor["roles"]),
                may_use=tuple(actor["may_use"]),
                action=row["action"],
                resource_type=row["resource_type"],
                resource_id=row["resource_id"],
                workspace_id=row["workspace_id"],
                tenant_id=row["tenant_id"],
                attrs=kept["attrs"],
                context=kept["facts"],
            )
            for actor in kept["actors"]
        ]
        access_set = await _set(conn, row["tenant_id"], "access", access, access_floor.policies())
        governance_set = await _set(
            conn, row["tenant_id"], "governance", governance, rules.floor(governance_floor_number)
        )
    except (LookupError, ValueError) as error:
        return {"could_not_reconstruct": str(error)}
    answer = authorization.rules.decide(requests, actions.get(row["action"]), access_set)
    gate = rules.gate(requests[0], governance_set) if answer.allowed else rules.Gate("deny")
    settled = facade.combine(answer, gate, access, governance)
    same = (settled.verdict, list(settled.rules), list(settled.reasons)) == (
        row["verdict"],
        row["rules"],
        row["reasons"],
    )
    return {"verdict": settled.verdict, "rules": list(settled.rules), "reasons": list(settled.reasons), "same": same}


async def _set(conn: Connection, tenant_id: str, kind: str, version: int, floor_set: Policies) -> Policies:
    if version == 0:
        return floor_set
    row = await authorization.store.policy(conn, kind, version)
    if row is None:
        raise LookupError(f"{kind} policy version {version} is missing")
    return cedar.join(floor_set, cedar.load(row["text"], f"{kind}/tenant.{version}"))
