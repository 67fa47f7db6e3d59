"""Loads what a decision needs and asks the pure rules. Rights are read at each call, so a revoked one is gone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from worka import identity
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


async def actor(conn: Connection, kind: str, principal_id: str, workspace_id: str | None, resource_type: str) -> Actor:
    """A principal as it stands now: enabled, its roles where the resource is, a team member's tools."""
    roles: list[str] = []
    if resource_type in TENANT_WIDE:
        roles = await workspaces.roles_everywhere(conn, kind, principal_id)
    elif workspace_id is not None:
        roles = await workspaces.roles_of(conn, workspace_id, kind, principal_id)
    if kind == "person":
        person = await identity.store.person(conn, principal_id)
        if person is None:
            return Actor(kind, principal_id, enabled=False)
        if person["operator"]:
            roles = [*roles, "operator"]
        return Actor(kind, principal_id, person["display_name"], person["enabled"], tuple(roles))
    if kind == "team_member":
        member = await identity.store.team_member(conn, principal_id)
        if member is None:
            return Actor(kind, principal_id, enabled=False)
        return Actor(
            kind,
            principal_id,
            member["name"],
            member["enabled"],
            tuple(roles),
            tuple(member["tools"]),
            member["owner_person_id"],
        )
    return Actor(kind, principal_id, roles=tuple(roles))


async def questions(
    conn: Connection, ctx: Context, action: str, resource: Resource, context: dict[str, Any]
) -> list[Request]:
    """The request of the one who acts and, when someone else is behind it, of that person."""
    tenant = ctx.tenant_id or ""
    who = await actor(conn, ctx.principal.kind, ctx.principal.id, resource.workspace_id, resource.type)
    first = rules.question(who, action, resource, context, tenant)
    behind = ctx.originating_person
    if behind is None or (ctx.principal.kind == "person" and behind == ctx.principal.id):
        return [first]
    person = await actor(conn, "person", behind, resource.workspace_id, resource.type)
    return [first, rules.on_behalf(first, person)]


async def policies_in_force(conn: Connection, ctx: Context) -> tuple[Policies, int]:
    """The tenant's access set now, and its version (0: the floor alone)."""
    version = (await store.policy_versions(conn))["access"]
    return await cache.get(conn, ctx.tenant_id or "", "access", version, floor.policies), version


async def decide(
    conn: Connection, ctx: Context, action: str, resource: Resource, context: dict[str, Any]
) -> tuple[Answer, list[Request], int]:
    """Access' answer, the questions it was given to, and the tenant's access version (0: none)."""
    asked = await questions(conn, ctx, action, resource, context)
    policies, version = await policies_in_force(conn, ctx)
    return rules.decide(asked, actions.get(action), policies), asked, version


async def may(conn: Connection, ctx: Context, kind: str, principal_id: str, action: str, resource: Resource) -> bool:
    """Whether a principal, by itself, would be allowed: for showing, not instead of `ctx.require`. Records nothing."""
    who = await actor(conn, kind, principal_id, resource.workspace_id, resource.type)
    policies, _ = await policies_in_force(conn, ctx)
    asked = rules.question(who, action, resource, {}, ctx.tenant_id or "")
    return rules.decide([asked], actions.get(action), policies).allowed
