"""`ctx.require` and `ctx.decide`: access, then governance, and one decision record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from worka import authorization
from worka.authorization import floor as access_floor
from worka.authorization.cedar import Request
from worka.authorization.rules import Answer
from worka.governance import events, rules, store
from worka.governance.rules import Gate
from worka.kernel import actions
from worka.kernel.context import Context, Decision, Resource, Verdict
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
            return await self._record(alone, action, resource, settled, asked)

    async def _settle(
        self, conn: Connection, ctx: Context, action: str, resource: Resource, context: dict[str, Any]
    ) -> tuple[_Settled, list[Request]]:
        answer, asked, versions = await authorization.decide(conn, ctx, action, resource, context)
        access, governance = versions["access"], versions["governance"]
        gate = Gate("deny")
        if answer.allowed:
            policies = await authorization.service.cache.get(
                conn, ctx.tenant_id or "", "governance", governance, rules.floor
            )
            gate = rules.gate(asked[0], policies)
        return combine(answer, gate, access, governance), asked

    async def _record(
        self, ctx: Context, action: str, resource: Resource, settled: _Settled, asked: list[Request]
    ) -> Decision:
        known = actions.get(action)
        decision = Decision(
            id=new_id("dec"),
            verdict=settled.verdict,
            layer=settled.layer,
            rules=settled.rules,
            reasons=settled.reasons,
            approval_rules=settled.approval_rules,
            policy_version=f"access {settled.access_version}, governance {settled.governance_version}",
            remedy=settled.remedy,
        )
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
            },
        )
        if settled.verdict == "deny":
            ctx.record(events.denied(action, resource, decision.id, settled.layer, list(settled.rules)))
        return decision


def combine(answer: Answer, gate: Gate, access: int, governance: int) -> _Settled:
    """Access' no is final; otherwise governance' word. Pure. The versions are the tenant's (0: the floor alone)."""
    versions = (
        rules.version_name(access_floor.version(), access),
        rules.version_name(f"floor.{rules.CURRENT_FLOOR}", governance),
    )
    if not answer.allowed:
        return _Settled("deny", "authorization", answer.rules, answer.reasons, (), answer.remedy, *versions)
    if gate.verdict == "allow":
        return _Settled("allow", "authorization", answer.rules, (), (), "", *versions)
    return _Settled(gate.verdict, "governance", gate.rules, gate.reasons, gate.approval_rules, gate.remedy, *versions)


def inputs(asked: list[Request]) -> dict[str, Any]:
    """What the decision rests on, enough to ask again: the facts, who acted, who was behind it, their rights."""
    first = asked[0]
    return {
        "attrs": first.attrs,
        "facts": first.context,
        "actors": [
            {"kind": r.kind, "id": r.id, "enabled": r.enabled, "roles": list(r.roles), "may_use": list(r.may_use)}
            for r in asked
        ],
    }
