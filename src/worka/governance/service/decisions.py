"""Decisions explained and evaluated again, and what the caller may do."""

from __future__ import annotations

import functools
from typing import Any

from worka import authorization
from worka.authorization import floor as access_floor
from worka.authorization import layers, matrix
from worka.authorization.cedar import Policies
from worka.authorization.layers import InForce, Layers
from worka.governance import actions as names
from worka.governance import facade, kills, rules, statements, store
from worka.governance import replay as again
from worka.governance.errors import DecisionNotFound
from worka.governance.replay import requests_of
from worka.kernel import actions
from worka.kernel.actions import PERMISSIONS
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces


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
        mine = row is not None and concerns(ctx, row)
        reader = row is not None and await reads_evidence(ctx, decision_id, row["workspace_id"])
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
        answer["killed_by"] = next(
            (rule.removeprefix(kills.PREFIX) for rule in row["rules"] if rule.startswith(kills.PREFIX)), None
        )
        if not reader:
            return answer
        answer |= {
            key: row[key]
            for key in ("workspace_id", "principal_kind", "principal_id", "originating_person", "resource_id", "rules",
                        "access_version", "governance_version", "asked_by")
        }  # fmt: skip
        answer["inputs"] = row["context"]
        answer["policy"] = await rule_texts(conn, row)
        answer["replay"] = await replay(conn, row)
        return answer


def concerns(ctx: Context, row: dict[str, Any]) -> bool:
    """Whether a decision is about the caller, and not of a workspace that the token in hand does not reach."""
    reached = ctx.bound_to is None or row["workspace_id"] in (None, ctx.bound_to)
    return reached and ctx.principal.id in (row["principal_id"], row["originating_person"])


async def reads_evidence(ctx: Context, decision_id: str, workspace_id: str | None) -> bool:
    """What `ctx.require` would say of reading the evidence there, kill switches and the token's workspace included, in the
    open transaction and without a record: a no only means that one reads less. What is of no workspace is for nobody."""
    if workspace_id is None:
        return False
    authorizer = ctx.authorizer
    assert isinstance(authorizer, facade.Authorizer)
    resource = Resource("decision", decision_id, workspace_id)
    found = await authorizer.ask(ctx, names.DECISION_VIEW, resource, {}, asked_by=ctx.principal.id, keep=False)
    return found.decision.verdict == "allow"


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
        place = statements.place_of(text, name)
        found.append({"rule": rule, "text": place[1].text if place else None, "source": source})
    return found


async def _text_of(conn: Connection, kind: str, layer: str, row: dict[str, Any]) -> tuple[str, str]:
    if kind not in ("access", "governance"):
        return "", "a kill switch" if f"{kind}/" == kills.PREFIX else "no policy"
    floor_number, layered = layers.parse(row[f"{kind}_version"], row["workspace_id"])
    for scope, word, version in layered.parts():
        if layer == f"{word}.{version}":
            policy = await authorization.store.policy(conn, kind, version, scope)
            if policy is None:
                raise LookupError(f"{kind} policy version {version} of the {word} is missing")
            return policy["text"], f"{kind} policy of the {word}, version {version}"
    if kind == "governance":
        return rules.floor_text(floor_number), f"shipped governance set floor.{floor_number}"
    return access_floor.text(floor_number), f"shipped access set floor.{floor_number}"


async def replay(conn: Connection, row: dict[str, Any]) -> dict[str, Any]:
    """Evaluates a recorded decision again with the policy of that day: {verdict, rules, same}; or what is missing for
    it, named (`could_not_reconstruct`), never a guess."""
    try:
        requests = requests_of(row)
        access, access_set, _ = await _set(conn, row, "access")
        governance, governance_set, floor_number = await _set(conn, row, "governance")
    except (LookupError, ValueError) as error:
        return {"could_not_reconstruct": str(error)}
    answer = again.access(requests, access_set, row["rules"] if row["verdict"] == "allow" else ())
    gate = rules.gate(requests[0], governance_set) if answer.allowed else rules.Gate("deny")
    settled = facade.combine(answer, gate, InForce(access, governance), floor_number)
    same = (settled.verdict, list(settled.rules), list(settled.reasons)) == (
        row["verdict"],
        row["rules"],
        row["reasons"],
    )
    if not same and (masked := again.missing(requests)):
        return {"could_not_reconstruct": masked}
    return {"verdict": settled.verdict, "rules": list(settled.rules), "reasons": list(settled.reasons), "same": same}


async def _set(conn: Connection, row: dict[str, Any], kind: str) -> tuple[Layers, Policies, int]:
    number, layered = layers.parse(row[f"{kind}_version"], row["workspace_id"])
    # Of every floor that this build still has; only today's is kept in the cache.
    today = number == (access_floor.current() if kind == "access" else rules.CURRENT_FLOOR)
    cache = authorization.service.cache if today else authorization.service.PolicyCache()
    of_that_day = access_floor.policies if kind == "access" else rules.floor
    floor_set = functools.partial(of_that_day, number)
    floor_set()  # one that this build does not have is missing also where a layer is
    return layered, await cache.get(conn, row["tenant_id"], kind, layered, floor_set), number
