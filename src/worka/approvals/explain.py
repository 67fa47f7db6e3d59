"""Why an approval is as it is: who may decide, who has, what is missing, and why the reader can or cannot."""

from __future__ import annotations

from typing import Any

from worka.approvals import actions, service, store
from worka.approvals.errors import not_found
from worka.approvals.people import Audience, audience
from worka.approvals.rules import Ask, missing
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.explanation import Evidence, Explanation, NextAction, WaitingOn
from worka.workspaces.explain import changed_just_before


async def explain(ctx: Context, approval_id: str) -> Explanation:
    """The explanation for this reader. Raises ApprovalNotFound."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id)
        if row is None:
            raise not_found(approval_id)
        people = await audience(conn, ctx, row["workspace_id"])
        service._visible(ctx, row, people)
        await ctx.require(actions.APPROVAL_VIEW, service._resource(row))
        votes = await store.votes(conn, approval_id)
        changes = await changed_just_before(conn, row["workspace_id"], row["since"], approval_id, row["subject_id"])
        became = [] if row["state"] == "open" else outcomes(row, await store.states_of(conn, row["blocks"]))
    told = build(ctx, row, votes, people)
    headline = " ".join([told.headline, *became])
    return told.model_copy(update={"changed_just_before": changes, "headline": headline})


async def decided(ctx: Context, approval_id: str) -> str:
    """Only how it was decided, by whom and with which words, for what failed with it. Raises ApprovalNotFound."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id)
        if row is None:
            raise not_found(approval_id)
        people = await audience(conn, ctx, row["workspace_id"])
        service._visible(ctx, row, people)
        await ctx.require(actions.APPROVAL_VIEW, service._resource(row))
        votes = await store.votes(conn, approval_id)
    return build(ctx, row, votes, people).headline


_GOES_ON = {
    "queued": "goes on as soon as a worker takes it",
    "running": "went on",
    "failed": "failed",
    "succeeded": "succeeded",
    "cancelled": "was cancelled",
    "unknown": "ended with an outcome that nobody knows",
    "waiting": "waits for something else",
    "retrying": "is tried again",
    "attached": "is attached and serves",
    "active": "is active",
    "awaiting_connection": "waits for its connection",
    "awaiting_approval": "waits for another approval",
}


def outcomes(row: dict[str, Any], states: dict[str, str]) -> list[str]:
    """What became of each thing that waited for an ended approval, a sentence each. Pure."""
    told = []
    for block in row["blocks"]:
        state, name = states.get(block["id"], ""), block.get("name") or f"the {block.get('kind', 'subject')}"
        name = name[:1].upper() + name[1:]
        undone = "; what was asked was not done" if row["state"] in ("rejected", "expired", "withdrawn") else ""
        if state:
            told.append(f"{name} {_GOES_ON.get(state) or state.replace('_', ' ')}{undone}.")
    return told


async def waiting_on(ctx: Context, approval_id: str) -> WaitingOn | None:
    """The wait of whatever this approval blocks, for the explanations of other domains; None once it is decided."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id)
        if row is None or row["state"] != "open":
            return None
        people = await audience(conn, ctx, row["workspace_id"])
        votes = await store.votes(conn, approval_id)
    return _wait(ctx, row, Ask.of(row, votes), people)


def _wait(ctx: Context, row: dict[str, Any], ask: Ask, people: Audience) -> WaitingOn:
    at = now()
    may = people.eligibility(ask, ctx, at)
    return WaitingOn(
        kind="approval",
        ref=row["id"],
        name=row["title"],
        since=row["created_at"],
        deadline=row["expires_at"],
        who=people.who_could(ask, at),
        you_can=may.eligible,
        because=may.because,
    )


def build(ctx: Context, row: dict[str, Any], votes: list[dict[str, Any]], people: Audience) -> Explanation:
    """The explanation from loaded rows. The reason of an open one is judged by who is in the workspace now."""
    at = now()
    ask = Ask.of(row, votes)
    is_open = row["state"] == "open"
    able = people.able(ask, at)
    reason = service._reason(ask, people) if is_open else row["reason"]
    wait = _wait(ctx, row, ask, people) if is_open else None
    return Explanation(
        subject=row["id"],
        headline=_headline(row, votes, ask, able, reason, people),
        state=row["state"],
        reason=reason,
        since=row["since"],
        layer="approval",
        timing="before_start",
        waiting_on=[wait] if wait else [],
        evidence=[
            Evidence(kind="decision", ref=row["decision_id"], label=f"policy asked: {row['policy_version']}"),
            Evidence(kind="trace", ref=row["trace_id"]),
            *(
                Evidence(
                    kind=block.get("kind", "subject"),
                    ref=block["id"],
                    label="waits for this" if is_open else "waited for this",
                )
                for block in row["blocks"]
            ),
        ],
        next=_next(row, wait),
        observed_at=max([row["since"], *(vote["at"] for vote in votes), row["consumed_at"] or row["since"]]),
    )


def _headline(
    row: dict[str, Any], votes: list[dict[str, Any]], ask: Ask, able: list[str], reason: str, people: Audience
) -> str:
    title = row["title"]
    if reason == "nobody_can_decide":
        return (
            f"“{title}” waits for {_and(missing(ask))}, and too few people in the workspace can give that:"
            " name an approver or invite an admin."
        )
    if row["state"] == "open":
        return f"“{title}” waits for {_and(missing(ask))}; {_and(able)} may decide."
    if row["state"] in ("approved", "rejected") and votes:
        by = _and(
            [
                people.names.get(vote["person_id"], vote["person_id"])
                for vote in votes
                if vote["decision"] == votes[-1]["decision"]
            ]
        )
        comment = f" (“{votes[-1]['comment']}”)" if votes[-1]["comment"] else ""
        used = ", and used" if row["consumed_at"] else ""
        return f"“{title}” was {row['state']} by {by}{comment}{used}."
    words = {
        "expired": "expired: nobody decided, or used it, in time",
        "withdrawn": "was withdrawn",
        "superseded": "was superseded: what would be done is no longer what was approved",
    }
    return f"“{title}” {words.get(row['state'], row['state'])}."


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _next(row: dict[str, Any], wait: WaitingOn | None) -> list[NextAction]:
    if wait is None:
        used = row["consumed_by"] or row["subject_id"]
        known = row["state"] == "approved" and used.partition("_")[0] in ("task", "inv", "att", "conn", "step", "rel")
        return (
            [NextAction(label="See what it was for", command=f"worka why {used}", permission="view")] if known else []
        )
    verbs = (("Approve it", "approve"), ("Reject it", "reject"))
    return [
        NextAction(
            label=label,
            command=f"worka approvals {verb} {row['id']}",
            permission="approve" if row["verb"] == "approve" else "change",
            allowed=wait.you_can,
            because="" if wait.you_can else wait.because,
        )
        for label, verb in verbs
    ]
