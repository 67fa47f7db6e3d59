"""`ctx.require` and `ctx.decide`: access, then governance, and one decision record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from worka import authorization
from worka.authorization import cedar
from worka.authorization import floor as access_floor
from worka.authorization.cedar import Policies, Request
from worka.authorization.layers import InForce
from worka.authorization.rules import Actor, Answer
from worka.governance import events, kills, replay, rules, store
from worka.governance.rules import Gate
from worka.kernel import actions
from worka.kernel.context import Context, Decision, Principal, PrincipalKind, Resource, Verdict
from worka.kernel.db import Connection
from worka.kernel.ids import new_id
from worka.kernel.redact import redact


@dataclass(frozen=True)
class _Settled:
    verdict: Verdict
    layer: str
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    approval_rules: tuple[str, ...]
    remedy: str
    access_version: str
    governance_version: str
    permitted: tuple[str, ...] = ()
    """What access permits it by, also where governance has the last word."""


@dataclass(frozen=True)
class Answered:
    """An answer to a question about a principal: nobody tried anything. `recorded`: a decision row holds it."""

    decision: Decision
    recorded: bool
    asked: list[Request]
    permitted: tuple[str, ...]
    access_version: str
    governance_version: str


@dataclass(frozen=True)
class Judge:
    """Implements the kernel's protocol: the sets and kill switches of one place as they were read, once."""

    tenant_id: str
    workspace_id: str
    access: Policies
    governance: Policies
    holds: InForce

    def could(self, who: Principal, roles: tuple[str, ...], action: str, resource: Resource) -> Decision:
        """What `decide` would answer somebody who is enabled and holds these roles here."""
        actor = Actor(who.kind, who.id, who.name, True, roles)
        asked = [authorization.rules.question(actor, action, resource, {}, self.tenant_id)]
        answer = authorization.rules.decide(asked, actions.get(action), self.access)
        gate = _gate(action, asked, self.holds, self.governance) if answer.allowed else Gate("deny")
        return _decision(combine(answer, gate, self.holds))

    def alike(self, kind: PrincipalKind, action: str, resource: Resource) -> Resource:
        """Of what governs and what is only looked at, kill switches look at the principal alone: the two sets say the rest."""
        known = actions.get(action)
        if known is None or kills.acts(action):
            return resource
        looks = self.access.looks_at(known.permission, kind) | self.governance.looks_at(known.permission, kind)
        if cedar.WHOLE in looks:
            return resource
        which = resource.id if resource.type in ("workspace", "tenant") else "*"
        return replace(resource, id=which, attrs={name: said for name, said in resource.attrs.items() if name in looks})

    def stopped(self, principal_id: str) -> Decision | None:
        """By a kill switch on the member, whatever it would do."""
        gate = kills.of_members((principal_id,), self.workspace_id, self.holds.kills)
        return None if gate is None else _decision(combine(Answer(True, (), ()), gate, self.holds))


def _gate(action: str, asked: list[Request], holds: InForce, policies: Policies) -> Gate:
    """What access allowed, kill switches and governance have the last word about."""
    return kills.gate(action, asked, holds.kills) or rules.gate(asked[0], policies)


class Authorizer:
    """Implements the kernel's protocol. Every mutating answer, every denial and every ask leaves a decision row."""

    async def decide(self, ctx: Context, action: str, resource: Resource, context: dict[str, Any]) -> Decision:
        """The verdict with its rules, reasons and record. A denial is recorded, with an audit row, in a transaction of
        its own: the caller's is about to be rolled back. Raises UnknownFact for facts that policy cannot see."""
        if resource.workspace_id is None and resource.type not in authorization.service.TENANT_WIDE:
            resource = replace(resource, workspace_id=ctx.workspace_id)
        if ctx.tx is not None:
            settled, asked = await self._settle(ctx.conn, ctx, action, resource, context)
            if settled.verdict != "deny" or ctx.unrecorded:
                return await self._record(ctx, action, resource, settled, asked)
            alone = ctx.alone()
            async with alone.transaction():
                return await self._record(alone, action, resource, settled, asked)
        alone = ctx.alone()
        async with alone.transaction() as conn:
            settled, asked = await self._settle(conn, ctx, action, resource, context)
            if ctx.undone and settled.verdict != "deny":
                return _decision(settled)
            return await self._record(alone, action, resource, settled, asked)

    async def ask(
        self, ctx: Context, action: str, resource: Resource, context: dict[str, Any], *, asked_by: str, keep: bool
    ) -> Answered:
        """What `decide` would answer the principal of `ctx`, in its open transaction. Nobody tried anything, so nothing
        is denied in the ledger; with `keep` the answer is a decision row all the same, marked with who asked, wherever an
        attempt would leave one. Raises UnknownFact."""
        if resource.workspace_id is None and resource.type not in authorization.service.TENANT_WIDE:
            resource = replace(resource, workspace_id=ctx.workspace_id)
        settled, asked = await self._settle(ctx.conn, ctx, action, resource, context)
        if keep:
            decision = await self._record(ctx, action, resource, settled, asked, asked_by)
        else:
            decision = _decision(settled)
        known = actions.get(action)
        recorded = keep and not ctx.unrecorded and (settled.verdict != "allow" or known is None or known.records)
        versions = (settled.access_version, settled.governance_version)
        return Answered(decision, recorded, asked, settled.permitted, *versions)

    async def again(self, ctx: Context, decision_id: str) -> Decision | None:
        """What the policy in force now says to the question of a recorded decision, in the open transaction and without a
        record. None: no version moved since, or its record does not hold what this policy asks for."""
        conn, row = ctx.conn, await store.decision(ctx.conn, decision_id)
        if row is None:
            return None
        holds = await authorization.store.in_force(conn, row["workspace_id"])
        versions = (holds.access.name(access_floor.version()), holds.governance.name(f"floor.{rules.CURRENT_FLOOR}"))
        if versions == (row["access_version"], row["governance_version"]):
            return None
        try:
            requests = replay.requests_of(row)
        except (LookupError, ValueError):
            return None
        access, _ = await authorization.service.policies_in_force(conn, ctx, holds.access)
        cache = authorization.service.cache
        sets = replay.Sets(
            access, await cache.get(conn, ctx.tenant_id or "", "governance", holds.governance, rules.floor)
        )
        if replay.missing(requests) or replay.unrecorded(row, sets):
            return None
        said = replay.answer(requests, sets)
        return Decision(
            id=row["id"],
            verdict=said.verdict,
            layer="authorization" if said.rules and said.rules[0].startswith("access/") else "governance",
            rules=said.rules,
            reasons=said.reasons,
            approval_rules=said.approval_rules,
            policy_version=f"access {versions[0]}, governance {versions[1]}",
            remedy="",
        )

    async def judge(self, ctx: Context, conn: Connection, workspace_id: str) -> Judge:
        """One statement, beside versions of policy that are not in the cache yet."""
        holds = await authorization.store.in_force(conn, workspace_id)
        access, _ = await authorization.service.policies_in_force(conn, ctx, holds.access)
        tenant = ctx.tenant_id or ""
        governance = await authorization.service.cache.get(conn, tenant, "governance", holds.governance, rules.floor)
        return Judge(tenant, workspace_id, access, governance, holds)

    async def _settle(
        self, conn: Connection, ctx: Context, action: str, resource: Resource, context: dict[str, Any]
    ) -> tuple[_Settled, list[Request]]:
        answer, asked, holds = await authorization.decide(conn, ctx, action, resource, context)
        access, _ = await authorization.service.policies_in_force(conn, ctx, holds.access)
        gate, names = Gate("deny"), access.arguments
        if answer.allowed:
            policies = await authorization.service.cache.get(
                conn, ctx.tenant_id or "", "governance", holds.governance, rules.floor
            )
            gate = _gate(action, asked, holds, policies)
            names |= policies.arguments
        # Of what a call is given, the record holds what policy asked for, and nothing else.
        return combine(answer, gate, holds), [request.looked_at(names) for request in asked]

    async def _record(
        self,
        ctx: Context,
        action: str,
        resource: Resource,
        settled: _Settled,
        asked: list[Request],
        asked_by: str | None = None,
    ) -> Decision:
        known = actions.get(action)
        decision = _decision(settled)
        if ctx.unrecorded or (settled.verdict == "allow" and known is not None and not known.records):
            return decision
        await store.add_decision(
            ctx.conn,
            {
                "tenant_id": ctx.tenant_id or "",
                "id": decision.id,
                "workspace_id": resource.workspace_id,
                "principal_kind": ctx.principal.kind,
                "principal_id": ctx.principal.id,
                "originating_person": ctx.originating_person,
                "action": action,
                "resource_type": resource.type,
                "resource_id": resource.id,
                "context": redact(inputs(asked)),
                "verdict": settled.verdict,
                "layer": settled.layer,
                "rules": list(settled.rules),
                "reasons": list(settled.reasons),
                "approval_rules": list(settled.approval_rules),
                "access_version": settled.access_version,
                "governance_version": settled.governance_version,
                "remedy": settled.remedy,
                "trace_id": ctx.trace_id,
                "asked_by": asked_by,
            },
        )
        if settled.verdict == "deny" and asked_by is None:
            ctx.record(events.denied(action, resource, decision.id, settled.layer, list(settled.rules)))
        return decision


def _decision(settled: _Settled) -> Decision:
    return Decision(
        id=new_id("dec"),
        verdict=settled.verdict,
        layer=settled.layer,
        rules=settled.rules,
        reasons=settled.reasons,
        approval_rules=settled.approval_rules,
        policy_version=f"access {settled.access_version}, governance {settled.governance_version}",
        remedy=settled.remedy,
    )


def combine(answer: Answer, gate: Gate, holds: InForce, floor: int = rules.CURRENT_FLOOR) -> _Settled:
    """Access' no is final; otherwise governance' word. Pure. The versions are those of every layer."""
    versions = (holds.access.name(access_floor.version()), holds.governance.name(f"floor.{floor}"))
    if not answer.allowed:
        return _Settled("deny", "authorization", answer.rules, answer.reasons, (), answer.remedy, *versions)
    if gate.verdict == "allow":
        return _Settled("allow", "authorization", answer.rules, (), (), "", *versions, answer.rules)
    said = (gate.rules, gate.reasons, gate.approval_rules, gate.remedy)
    return _Settled(gate.verdict, "governance", *said, *versions, answer.rules)


def inputs(asked: list[Request]) -> dict[str, Any]:
    """What the decision rests on, enough to ask again: the facts, who acted, who was behind it, their rights."""
    first = asked[0]
    return {
        "attrs": first.attrs,
        "facts": first.context,
        **({"arguments": sorted(first.asked_for)} if first.asked_for else {}),
        "actors": [
            {"kind": r.kind, "id": r.id, "enabled": r.enabled, "roles": list(r.roles), "may_use": list(r.may_use)}
            for r in asked
        ],
    }
