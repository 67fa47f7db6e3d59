"""Loads what a decision needs and asks the pure rules. Rights are read at each call, so a revoked one is gone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from worka.authorization import cedar, floor, layers, rules, store
from worka.authorization.cedar import Policies, Request
from worka.authorization.layers import InForce, Layers
from worka.authorization.rules import Actor, Answer
from worka.kernel import actions
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces

# What holds for the whole tenant: a role counts only if it is held in every workspace of the tenant.
TENANT_WIDE = frozenset({"policy", "tenant"})
_KEPT = 1024


class PolicyCache:
    """Parsed sets by tenant, kind and the versions of all layers. A committed version never changes, and no other is kept, so
    nothing is ever stale; the oldest go."""

    def __init__(self) -> None:
        self._sets: OrderedDict[tuple[str, str, Layers], Policies] = OrderedDict()

    async def get(
        self, conn: Connection, tenant_id: str, kind: str, layered: Layers, floor_set: Callable[[], Policies]
    ) -> Policies:
        """The floor joined with every layer that has a version."""
        parts = layered.parts()
        if not parts:
            return floor_set()
        key = (tenant_id, kind, layered)
        if key not in self._sets:
            rows = [(await _version(conn, kind, scope, number), word, number) for scope, word, number in parts]
            loaded = [cedar.load(row["text"], layers.prefix(kind, word, number)) for row, word, number in rows]
            joined = cedar.join(floor_set(), *loaded)
            if any(row["fresh"] for row, _, _ in rows):
                # Saved in this very transaction, which may be rolled back: another text may yet get that number.
                return joined
            self._sets[key] = joined
            while len(self._sets) > _KEPT:
                self._sets.popitem(last=False)
        self._sets.move_to_end(key)
        return self._sets[key]


async def _version(conn: Connection, kind: str, scope: str, version: int) -> dict[str, Any]:
    row = await store.policy(conn, kind, version, scope)
    if row is None:
        raise LookupError(f"{kind} policy version {version} of the {layers.word(scope)} is missing")
    return row


cache = PolicyCache()


async def actor(
    conn: Connection,
    kind: str,
    principal_id: str,
    workspace_id: str | None,
    resource_type: str,
    bound_to: str | None = None,
) -> tuple[Actor, InForce]:
    """A principal as it stands now: enabled, its roles where the resource is, a team member's tools; and what
    is in force there, read by the same statement. `bound_to`: it came with a token of this workspace, which is all of the
    tenant only where there is no other."""
    found = await store.standing(conn, workspace_id, kind, principal_id)
    roles: list[str] = []
    if resource_type in TENANT_WIDE:
        roles = await workspaces.roles_everywhere(conn, kind, principal_id, bound_to)
    elif found["role"] is not None:
        roles = [found["role"], "approver"] if found["approver"] else [found["role"]]
    now: InForce = found["in_force"]
    if kind == "person":
        person = found["person"]
        if person is None:
            return Actor(kind, principal_id, enabled=False), now
        if person["operator"]:
            roles = [*roles, "operator"]
        return Actor(kind, principal_id, person["display_name"], person["enabled"], tuple(roles)), now
    if kind == "team_member":
        member = found["member"]
        if member is None:
            return Actor(kind, principal_id, enabled=False), now
        tools = tuple(member["tools"])
        return (
            Actor(
                kind, principal_id, member["name"], member["enabled"], tuple(roles), tools, member["owner_person_id"]
            ),
            now,
        )
    if kind == "service_account":
        account = found["account"]
        if account is None:
            return Actor(kind, principal_id, enabled=False), now
        owner = account["owner_person_id"]
        return Actor(kind, principal_id, account["name"], account["enabled"], tuple(roles), owner_person_id=owner), now
    if kind == "attachment":
        return await _pack(conn, principal_id, workspace_id), now
    return Actor(kind, principal_id, roles=tuple(roles)), now


async def _pack(conn: Connection, attachment_id: str, workspace_id: str | None) -> Actor:
    """A pack: no role counts for it, only what its manifest declares."""
    found = await store.declared(conn, attachment_id, workspace_id)
    if found is None:
        return Actor("attachment", attachment_id, enabled=False)
    uses = (*found["tools"], *found["services"])
    return Actor("attachment", attachment_id, found["pack"], found["serves"], (), uses)


async def questions(
    conn: Connection, ctx: Context, action: str, resource: Resource, context: dict[str, Any]
) -> tuple[list[Request], InForce]:
    """The request of the one who acts and, when someone else is behind it, of that person; and what is in force."""
    tenant = ctx.tenant_id or ""
    who, holds = await _who(conn, ctx, ctx.principal.kind, ctx.principal.id, resource)
    first = rules.question(who, action, resource, context, tenant)
    behind = ctx.originating_person
    if behind is None or (ctx.principal.kind == "person" and behind == ctx.principal.id):
        return [first], holds
    # Of two reads the later one counts: what was saved in between is in force.
    person, holds = await actor(conn, "person", behind, resource.workspace_id, resource.type)
    return [first, rules.on_behalf(first, person)], holds


async def _who(
    conn: Connection, ctx: Context, kind: str, principal_id: str, resource: Resource
) -> tuple[Actor, InForce]:
    """A principal with what it holds by the credential of this request: outside of a token's workspace, nothing."""
    who, holds = await actor(conn, kind, principal_id, resource.workspace_id, resource.type, ctx.bound_to)
    return (replace(who, roles=()) if _elsewhere(ctx, resource) else who), holds


def _elsewhere(ctx: Context, resource: Resource) -> bool:
    """Whether the token that was used is of another workspace than the resource."""
    return ctx.bound_to is not None and resource.workspace_id not in (None, ctx.bound_to)


def _wider(ctx: Context, resource: Resource, who: Request) -> bool:
    """Whether the token that was used gives no role since the resource is of the whole tenant."""
    wide = ctx.bound_to is not None and resource.type in TENANT_WIDE
    return wide and not set(who.roles) - {"operator"}


async def policies_in_force(
    conn: Connection, ctx: Context, layered: Layers | None = None, workspace_id: str | None = None
) -> tuple[Policies, Layers]:
    """The access set of a workspace (None: of the tenant) now, or of the layers that were just read; and its layers."""
    if layered is None:
        layered = (await store.in_force(conn, workspace_id)).access
    return await cache.get(conn, ctx.tenant_id or "", "access", layered, floor.policies), layered


async def decide(
    conn: Connection, ctx: Context, action: str, resource: Resource, context: dict[str, Any]
) -> tuple[Answer, list[Request], InForce]:
    """Access' answer, the questions it was given to, and what is in force there."""
    asked, holds = await questions(conn, ctx, action, resource, context)
    policies, _ = await policies_in_force(conn, ctx, holds.access)
    answer = rules.decide(asked, actions.get(action), policies)
    if not answer.allowed and _elsewhere(ctx, resource):
        answer = replace(answer, reasons=(rules.OTHER_WORKSPACE,), remedy=rules.OTHER_WORKSPACE_REMEDY)
    elif not answer.allowed and _wider(ctx, resource, asked[0]):
        answer = replace(answer, reasons=(rules.ONE_WORKSPACE,), remedy=rules.ONE_WORKSPACE_REMEDY)
    return answer, asked, holds


async def may(conn: Connection, ctx: Context, kind: str, principal_id: str, action: str, resource: Resource) -> bool:
    """Whether access would allow it with this credential, to the caller with whoever is behind it or to another by itself:
    for showing, not instead of `ctx.require` (no governance, no kill switch). Records nothing."""
    if (kind, principal_id) == (ctx.principal.kind, ctx.principal.id):
        asked, holds = await questions(conn, ctx, action, resource, {})
    else:
        who, holds = await _who(conn, ctx, kind, principal_id, resource)
        asked = [rules.question(who, action, resource, {}, ctx.tenant_id or "")]
    policies, _ = await policies_in_force(conn, ctx, holds.access)
    return rules.decide(asked, actions.get(action), policies).allowed
