"""What a pack may use while its call runs: governance alone is asked, since a pack holds no right of its own (IDN-17).

For what is decided in the middle of a call, by the broker and the treasury: which secret on which endpoint. Nothing waits
there for an approval, so a rule that asks refuses. What is allowed leaves no decision of its own: its lease is the record.
"""

from __future__ import annotations

from typing import Any

from worka import authorization
from worka.authorization.layers import InForce
from worka.authorization.rules import Actor, Answer
from worka.governance import facade, kills, rules
from worka.governance.rules import Gate
from worka.governance.service import sets
from worka.kernel.context import Context, Decision, Resource


async def in_force(ctx: Context, workspace_id: str) -> InForce:
    """What `may_use` judges by, now: for a caller who wants to know what the answer rested on."""
    return await authorization.store.in_force(ctx.conn, workspace_id)


async def may_use(
    ctx: Context,
    acting: str,
    action: str,
    resource: Resource,
    /,
    *,
    members: tuple[str, ...] = (),
    holds: InForce | None = None,
    **facts: Any,
) -> Gate | None:
    """The refusal, recorded in the caller's transaction, which then has to commit; None when the pack may. `members` are
    who called it, and for whom: a kill switch on one of them stops this too. `holds`: what was just read here."""
    if holds is None:
        holds = await authorization.store.in_force(ctx.conn, resource.workspace_id)
    who = Actor("attachment", ctx.principal.id, acting)
    asked = authorization.rules.question(who, action, resource, facts, ctx.tenant_id or "")
    stopped = kills.gate(action, [asked], holds.kills) or kills.of_members(members, asked.workspace_id, holds.kills)
    policies = await sets.in_force(ctx.conn, ctx.tenant_id or "", "governance", holds.governance)
    gate = stopped or rules.gate(asked, policies)
    if gate.verdict == "allow":
        return None
    settled = facade.combine(Answer(True, (), ()), gate, holds)
    await facade.Authorizer()._record(ctx, action, resource, settled, [asked])
    return gate


async def of_platform(ctx: Context, action: str, resource: Resource, rule: str, /, **facts: Any) -> Decision:
    """Whether the platform itself may do this now, by a rule that somebody with the right to it has recorded: kill
    switches and governance have the last word. The answer is recorded, yes or no, in the caller's transaction, which then
    has to commit. A rule that asks refuses."""
    holds = await authorization.store.in_force(ctx.conn, resource.workspace_id)
    who = Actor("platform", ctx.principal.id, ctx.principal.name)
    asked = authorization.rules.question(who, action, resource, facts, ctx.tenant_id or "")
    policies = await sets.in_force(ctx.conn, ctx.tenant_id or "", "governance", holds.governance)
    gate = kills.gate(action, [asked], holds.kills) or rules.gate(asked, policies)
    settled = facade.combine(Answer(True, (rule,), ()), gate, holds)
    return await facade.Authorizer()._record(ctx, action, resource, settled, [asked])
