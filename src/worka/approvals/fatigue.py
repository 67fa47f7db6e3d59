"""How people decide: how fast, and how often without looking. Measured from what is recorded anyway."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from worka.approvals import actions, store, timing
from worka.approvals.groups import place
from worka.approvals.people import audience
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource

Row = dict[str, Any]
MOST = 20_000  # votes looked at in one period; a cut is said
WARN_FROM = 5
WARN_SHARE = 0.5


def blanket(vote: Row, within: timedelta) -> bool:
    """Whether a yes was given without looking: the card was never opened by who gave it, or so short a while before that
    nobody reads it in that time. Pure."""
    if vote["decision"] != "approve":
        return False
    return vote["opened_at"] is None or vote["at"] - vote["opened_at"] < within


def figures(votes: list[Row], within: timedelta) -> Row:
    """What some votes show together. Times are seconds, from the asking to the vote. Pure."""
    waited = sorted((vote["at"] - vote["created_at"]).total_seconds() for vote in votes)
    yes = [vote for vote in votes if vote["decision"] == "approve"]
    unread = sum(1 for vote in votes if blanket(vote, within))
    return {
        "votes": len(votes),
        "approved": len(yes),
        "rejected": len(votes) - len(yes),
        "blanket": unread,
        "never_opened": sum(1 for vote in yes if vote["opened_at"] is None),
        "in_batch": sum(1 for vote in votes if vote["in_batch"]),
        "median_seconds": round(median(waited), 3) if waited else None,
        "p90_seconds": round(waited[min(len(waited) - 1, int(0.9 * len(waited)))], 3) if waited else None,
        "warning": warning(len(yes), unread, within),
    }


def warning(approved: int, unread: int, within: timedelta) -> str:
    """One sentence where approving has become a habit; empty where it has not. Pure."""
    if unread < WARN_FROM or unread < WARN_SHARE * approved:
        return ""
    seconds = int(within.total_seconds())
    return f"{unread} of {approved} approvals were given unread, or within {seconds} seconds of opening the card."


async def measure(ctx: Context, workspace_id: str, since: datetime) -> Row:
    """A workspace's figures since a time: all together, by person and by rule. For who reads evidence."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_MEASURE, place(workspace_id))
        votes = await store.votes_between(conn, workspace_id, since, None, MOST + 1)
        when = await timing.of_workspace(ctx, workspace_id)
        names = (await audience(conn, ctx, workspace_id)).names
    votes, cut = votes[:MOST], len(votes) > MOST
    people = _by(votes, lambda vote: [vote["person_id"]])
    rules = _by(votes, lambda vote: vote["rules"])
    return {
        "workspace_id": workspace_id,
        "since": since,
        "until": now(),
        "blanket_seconds": int(when.blanket.total_seconds()),
        "complete": not cut,
        "all": figures(votes, when.blanket),
        "people": [
            {"id": who, "name": names.get(who, who), **figures(some, when.blanket)}
            for who, some in sorted(people.items())
        ],
        "rules": [{"rule": rule, **figures(some, when.blanket)} for rule, some in sorted(rules.items())],
    }


def _by(votes: list[Row], keys: Callable[[Row], list[str]]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for vote in votes:
        for key in keys(vote):
            found[key].append(vote)
    return found


async def mine(ctx: Context, workspace_id: str, since: datetime) -> Row:
    """The caller's own figures: what their inbox warns them with."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
        votes = await store.votes_between(conn, workspace_id, since, ctx.principal.id, MOST)
        when = await timing.of_workspace(ctx, workspace_id)
    return figures(votes, when.blanket)
