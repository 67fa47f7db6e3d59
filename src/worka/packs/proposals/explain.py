"""Why a proposal is where it is, and who must act."""

from __future__ import annotations

from typing import Any

from worka.authorization.explain import offer, reader_may
from worka.broker import actions as egress
from worka.kernel import reasons
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation, NextAction, WaitingOn
from worka.packs import actions
from worka.packs.proposals import service

Row = dict[str, Any]


async def explain(ctx: Context, proposal_id: str) -> Explanation:
    """The explanation of a proposal, by its id. Raises ProposalNotFound."""
    row = await service.get(ctx, proposal_id)
    place = Resource("workspace", row["workspace_id"], row["workspace_id"])
    known = reasons.get(row["reason"])
    waiting, following = await _waits(ctx, row, place)
    by = f", by {row['decided_by_name'] or row['decided_by']}" if row["decided_by"] else ""
    if row["state"] == "open":
        headline = f"The proposal that {row['words']} waits for somebody who administers the workspace."
    else:
        headline = f"The proposal that {row['words']} was {row['state']}{by}: {row['became'] or row['reason']}."
    return Explanation(
        subject=row["id"],
        headline=headline[:1000],
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer="governance",
        timing="before_start" if row["state"] == "open" else "after_completion",
        waiting_on=waiting,
        evidence=[
            Evidence(kind="attachment", ref=row["attachment_id"], label=row["pack"]),
            *(Evidence(kind="egress", ref=ref, label="what was refused") for ref in row["refused"][-5:]),
            *([Evidence(kind="release", ref=row["made_release"], label=row["version"])] if row["made_release"] else []),
            *([Evidence(kind="move", ref=row["move_id"], label=row["move_state"])] if row["move_id"] else []),
            *([Evidence(kind="approval", ref=row["approval_id"])] if row["approval_id"] else []),
        ],
        next=following or ([NextAction(label=known.remedy.replace("`", ""), command="")] if known else []),
        observed_at=row["last_at"],
    )


async def _waits(ctx: Context, row: Row, place: Resource) -> tuple[list[WaitingOn], list[NextAction]]:
    if row["state"] != "open":
        if row["move_id"]:
            return [], [
                NextAction(label="See where the move stands", command=f"worka why {row['move_id']}", permission="view")
            ]
        return [], []
    can, because = await reader_may(ctx, actions.PROPOSAL_DECIDE.name, place)
    wait = WaitingOn(
        kind="approval", ref=row["id"], name="a decision on the proposal", since=row["since"],
        who=["whoever administers the workspace"], you_can=can, because=because,
    )  # fmt: skip
    accept = f"worka egress accept {row['id']}"
    following = [
        await offer(ctx, "Accept it", accept, actions.PROPOSAL_DECIDE.name, place),
        await offer(
            ctx, "Reject it", f"worka egress reject {row['id']} --why WHY", actions.PROPOSAL_DECIDE.name, place
        ),
        await offer(
            ctx, "See what it would change of the last day", f"worka egress replay --proposal {row['id']}",
            egress.EGRESS_VIEW, place,
        ),
    ]  # fmt: skip
    return [wait], following
