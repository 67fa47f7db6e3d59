"""Loads what a decision needs and asks the pure rules. Rights are read at each call, so a revoked one is gone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from worka.authorization import cedar, floor, rules, store
from worka.authorization.cedar import Policies, Request
from worka.authorization.rules import Actor, Answer
from worka.kernel import actions
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces

# What holds for the whole tenant: a role counts only if it is held in every workspace of the tenant.
TENANT_WIDE = frozenset({"policy", "tenant"})
_KEPT = 256


class PolicyCache:
    """Parsed sets by (tenant, kind, version). A version never changes, so nothing is ever stale; the oldest go."""

    def __init__(self) -> None:
        self._sets: OrderedDict[tuple[str, str, int], Policies] = OrderedDict()

    async def get(
        self, conn: Connection, tenant_id: str, kind: str, version: int, floor_set: Callable[[], Policies]
    ) -> Policies:
        """The floor joined with the tenant's version (0: the floor alone)."""
        if version == 0:
            return floor_set()
        key = (tenant_id, kind, version)
        if key not in self._sets:
            row = await store.policy(conn, kind, version)
            if row is None:
                raise LookupError(f"{kind} policy {version} of {tenant_id} is not there")
            self._sets[key] = cedar.join(floor_set(), cedar.load(row["text"], f"{kind}/tenant.{version}"))
            while len(self._sets) > _KEPT:
                self._sets.popitem(last=False)
        self._sets.move_to_end(key)
        return self._sets[key]


cache = PolicyCache()


async def actor(
    conn: Connection, kind: str, principal_id: str, workspace_id: str | None, resource_type: str
) -> tuple[Actor, dict[str, int]]:
    """A principal as it stands now: enabled, its roles where the resource is, a team member's tools; and the tenant's
    policy versions, read by the same statement."""
    found = await store.standing(conn, workspace_id, kind, principal_id)
    roles: list[str] = []
    if resource_type in TENANT_WIDE:
        roles = await workspaces.roles_everywhere(conn, kind, principal_id)
    elif found["role"] is not None:
        roles = [found["role"], "approver"] if found["approver"] else [found["role"]]
    versions: dict[str, int] = found["versions"]
    if kind == "person":
        person = found["person"]
        if person is None:
            return Actor(kind, principal_id, enabled=False), versions
        if person["operator"]:
            roles = [*roles, "operator"]
        return Actor(kind, principal_id, person["display_name"], person["enabled"], tuple(roles)), versions
    if kind == "team_member":
        member = found["member"]
        if member is None:
            return Actor(kind, principal_id, enabled=False), versions
        tools = tuple(member["tools"])
        return (
            Actor(
                kind, principal_id, member["name"], member["enabled"], tuple(roles), tools, member["owner_person_id"]
            ),
            versions,
        )
    return Actor(kind, principal_id, roles=tuple(roles)), versions


async def questions(
    conn: Connection, ctx: Context, action: str, resource: Resource, context: dict[str, Any]
) -> tuple[list[Request], dict[str, int]]:
    """The request of the one who acts and, when someone else is behind it, of that person; and the policy versions."""
    tenant = ctx.tenant_id or ""
    who, versions = await actor(conn, ctx.principal.kind, ctx.principal.id, resource.workspace_id, resource.type)
    first = rules.question(who, action, resource, context, tenant)
    behind = ctx.originating_person
    if behind is None or (ctx.principal.kind == "person" and behind == ctx.principal.id):
        return [first], versions
    # Of two reads the later one counts: what was saved in between is in force.
    person, versions = await actor(conn, "person", behind, resource.workspace_id, resource.type)
    return [first, rules.on_behalf(first, person)], versions


async def policies_in_force(conn: Connection, ctx: Context, version: int | None = None) -> tuple[Policies, int]:
    """The tenant's access set now, or of the version that was just read; and its version (0: the floor alone)."""
    if version is None:
        version = (await store.policy_versions(conn))["access"]
    return await cache.get(conn, ctx.tenant_id or "", "access", version, floor.policies), version


async def decide(
    conn: Connection, ctx: Context, action: str, resource: Resource, context: dict[str, Any]
) -> tuple[Answer, list[Request], dict[str, int]]:
    """Access' answer, the questions it was given to, and the tenant's newest policy versions (0: none)."""
    asked, versions = await questions(conn, ctx, action, resource, context)
    policies, _ = await policies_in_force(conn, ctx, versions["access"])
    return rules.decide(asked, actions.get(action), policies), asked, versions


async def may(conn: Connection, ctx: Context, kind: str, principal_id: str, action: str, resource: Resource) -> bool:
    """Whether a principal, by itself, would be allowed: for showing, not instead of `ctx.require`. Records nothing."""
    who, versions = await actor(conn, kind, principal_id, resource.workspace_id, resource.type)
    policies, _ = await policies_in_force(conn, ctx, versions["access"])
    asked = rules.question(who, action, resource, {}, ctx.tenant_id or "")
    return rules.decide([asked], actions.get(action), policies).allowed
