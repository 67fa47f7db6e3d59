"""The approval of exactly one step: found, or asked for (decisions.md 14).

The digest is made anew at execution. An approval of another digest, or of other rules, is not an approval of this
action: it is superseded and people are asked again. When only the policy version moved and the verdict and its rules
are the same, the approval holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from worka.approvals import service as approvals
from worka.kernel.context import Context
from worka.packs import actions as pack_actions
from worka.packs.service import Prepared

Row = dict[str, Any]
SUBJECT = "step"


@dataclass(frozen=True)
class Wanted:
    """An approval is needed and is not there."""


async def seek(ctx: Context, prepared: Prepared, step: Row) -> str | Wanted | None:
    """The approval that is used for this step from now on, None when none is needed, or Wanted. In the transaction of
    the intent. A retry of the same intent is the same use (decisions.md 12)."""
    if step["approval_id"] is not None:
        redeemed = await approvals.redeem(
            ctx,
            step["approval_id"],
            digest=prepared.digest,
            decision=prepared.decision,
            used_by=step["idempotency_key"],
        )
        if redeemed.usable:
            return str(step["approval_id"])
    return None if prepared.decision.verdict != "ask" else Wanted()


async def request(ctx: Context, prepared: Prepared, task: Row, step: Row) -> Row:
    """Asks for the approval of this step: what is shown, what it blocks, who is asked by which rules."""
    return await approvals.request(
        ctx,
        boundary=prepared.boundary,
        action=pack_actions.INVOKE.name,
        subject_type=SUBJECT,
        subject_id=step["id"],
        title=prepared.title,
        effect=prepared.effect,
        digest=prepared.digest,
        card={**prepared.card, "task": task["id"], "task_title": task["title"], "step": step["name"]},
        arguments=prepared.arguments_bytes,
        rules=list(prepared.decision.approval_rules),
        decision_id=prepared.decision.id,
        policy_version=prepared.decision.policy_version,
        blocks=[{"kind": "task", "id": task["id"], "name": task["title"]}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours),
    )
