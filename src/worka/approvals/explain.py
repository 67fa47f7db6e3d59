"""Why an approval is as it is: who may decide, who has, what is missing, and why the reader can or cannot."""

from __future__ import annotations

import re
from typing import Any, Final

from worka import authorization
from worka.approvals import actions, bypass, moved, service, store
from worka.approvals.cards import moved_on
from worka.approvals.errors import not_found
from worka.approvals.groups import reason_of
from worka.approvals.people import Audience, audience, remembered
from worka.approvals.rules import Ask, eligible, missing
from worka.kernel import reasons
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation, NextAction, WaitingOn
from worka.workspaces.explain import changed_just_before


async def explain(ctx: Context, approval_id: str) -> Explanation:
    """The explanation of an approval, or of a bypass, for this reader. Raises ApprovalNotFound, BypassNotFound."""
    if approval_id.startswith("byp_"):
        return await _of_bypass(ctx, approval_id)
    async with ctx.transaction() as conn:
        row, votes, people = await _seen(ctx, approval_id)
        changes = await changed_just_before(conn, row["workspace_id"], row["since"], approval_id, row["subject_id"])
        # Two readers: who reads evidence gets what the decision rests on as well.
        reads = await authorization.may(
            conn,
            ctx,
            ctx.principal.kind,
            ctx.principal.id,
            "decision.view",
            Resource("decision", "*", row["workspace_id"]),
        )
        by = await moved.now_asked(ctx, row) if row["state"] == "open" else None
        after = await store.successor(conn, row) if row["state"] == "superseded" else None
        became = [] if row["state"] == "open" else outcomes(row, await store.states_of(conn, row["blocks"]))
    told = build(ctx, row, votes, people)
    behind = _behind(row, votes, people) if reads else []
    if by is not None:
        said = moved.told(row, by)
        wait = told.waiting_on[0].model_copy(update={"you_can": False, "because": moved_on(said), "who": []})
        became = [f"But policy has changed since: {said['because']}. It is being superseded."]
        told = told.model_copy(update={"waiting_on": [wait], "next": []})
        behind = [Evidence(kind="policy now", ref=row["decision_id"], label=said["policy_version"]), *behind]
    if after is not None:
        label = f"See {after}, which took its place"
        step = NextAction(label=label, command=f"worka why {after}", permission="view")
        told = told.model_copy(update={"next": [step]})
        became = [f"{after} took its place.", *became]
        behind = [Evidence(kind="approval", ref=after, label="took its place"), *behind]
    return told.model_copy(
        update={
            "changed_just_before": changes,
            "headline": " ".join([told.headline, *became]),
            "evidence": [*told.evidence, *behind],
        }
    )


async def decided(ctx: Context, approval_id: str) -> str:
    """Only how it was decided, by whom and with which words, for what failed with it. Raises ApprovalNotFound."""
    async with ctx.transaction():
        return build(ctx, *await _seen(ctx, approval_id)).headline


async def _seen(ctx: Context, approval_id: str) -> tuple[dict[str, Any], list[dict[str, Any]], Audience]:
    """The approval, its votes and the people of its workspace, for who may see it. Raises ApprovalNotFound, Denied."""
    row = await store.get(ctx.conn, approval_id)
    if row is None:
        raise not_found(approval_id)
    people = await audience(ctx.conn, ctx, row["workspace_id"])
    service._visible(ctx, row, people)
    await ctx.require(actions.APPROVAL_VIEW, service._resource(row))
    votes = await store.votes(ctx.conn, approval_id)
    return row, votes, await remembered(ctx.conn, people, [row], votes)


NO_FACTOR = "Its rule wants a second factor, and you have none: set one up first (worka me second-factor set-up)."
FACTORS = {"totp": "code of the second factor", "recovery_code": "recovery code of the second factor"}
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
    "awaiting_dependency": "waits for a pack that it needs",
    "trying": "is being tried in the sandbox",
    "moved": "was made",
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


def _behind(row: dict[str, Any], votes: list[dict[str, Any]], people: Audience) -> list[Evidence]:
    """For who reads evidence: the rules, whose seat each vote took, and who of the workspace may not decide, and why."""
    ask = Ask.of(row, votes)
    found = [Evidence(kind="rule", ref=row["decision_id"], label=f"wants {rule}") for rule in row["rules"]]
    for vote in votes:
        seat = f", in the place of {people.name(vote['on_behalf_of'])}" if vote["on_behalf_of"] else ""
        groups = f", of {', '.join(vote['groups'])}" if vote["groups"] else ""
        opened = "" if vote["opened_at"] else ", without having opened the card"
        name = people.name(vote["person_id"])
        factor = f", with a {FACTORS[vote['stepped_up_by']]}" if vote["stepped_up_by"] else ""
        label = f"{name} said {vote['decision']}{seat}{groups}{factor}{opened}"
        found.append(Evidence(kind="vote", ref=vote["credential_id"] or vote["person_id"], label=label))
    if row["state"] == "open":
        for who, reader in people.readers_of(ask).items():
            way = eligible(ask, reader, now())
            if not way.eligible:
                found.append(
                    Evidence(kind="cannot decide", ref=who, label=f"{people.names[who]}: {of_another(way.because)}")
                )
    if row["bypass_id"]:
        found.append(Evidence(kind="bypass", ref=row["bypass_id"], label="let it through"))
    return found


_OF_ANOTHER: Final = (
    (r"\bYou are\b", "They are"), (r"\byou are\b", "they are"), (r"\bYou\b", "They"), (r"\bto you\b", "to them"),
    (r"\b(for|lets?) you\b", r"\1 them"), (r"\byou\b", "they"), (r"\bYour\b", "Their"), (r"\byour\b", "their"),
)  # fmt: skip


_QUOTED: Final = re.compile("(“[^”]*”)")


def of_another(because: str) -> str:
    """The reason that somebody is given, as it is told of them to another reader."""
    said = _QUOTED.split(because)  # every other part is quoted: what somebody wrote stays as it is
    for pattern, told in _OF_ANOTHER:
        said[::2] = [re.sub(pattern, told, part) for part in said[::2]]
    return "".join(said)


async def _of_bypass(ctx: Context, bypass_id: str) -> Explanation:
    row = await bypass.show(ctx, bypass_id)
    wait = await waiting_on(ctx, row["approval_id"]) if row["state"] == "awaiting_approval" else None
    uses = f"{row['uses']} of {row['most_uses']} uses"
    words = {
        "awaiting_approval": f"The bypass of {row['target']} waits for another owner.",
        "open": f"Approvals of {row['target']} go through until {row['until']:%Y-%m-%d %H:%M} UTC ({uses}): {row['why']}.",
        "closed": f"The bypass of {row['target']} is closed ({uses}). {_meaning(row)}".strip(),
    }
    if row["held"]:
        words["open"] = f"The bypass of {row['target']} lets nothing through now ({uses}): {row['held']}"
    ended = row["state"] == "closed"
    return Explanation(
        subject=bypass_id,
        headline=words[row["state"]],
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer="approval",
        timing="after_completion" if ended else "before_start",
        waiting_on=[wait] if wait else [],
        evidence=[Evidence(kind="opened by", ref=row["opened_by"]["id"], label=row["opened_by"]["name"])],
        next=[]
        if ended
        else [
            NextAction(
                label="Close it",
                command=f"worka approvals bypass close {bypass_id}",
                permission="own",
                allowed=row["you_close"],
                because="" if row["you_close"] else "Only an owner of the workspace closes it.",
            )
        ],
        observed_at=row["since"],
    )


def _meaning(row: dict[str, Any]) -> str:
    known = reasons.get(row["reason"])
    return known.meaning if known else ""


async def waiting_on(ctx: Context, approval_id: str) -> WaitingOn | None:
    """The wait of whatever this approval blocks, for the explanations of other domains; None once it is decided."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id)
        if row is None or row["state"] != "open":
            return None
        people = await audience(conn, ctx, row["workspace_id"])
        votes = await store.votes(conn, approval_id)
        people = await remembered(conn, people, [row], votes)
    return _wait(ctx, row, Ask.of(row, votes), people)


def _wait(ctx: Context, row: dict[str, Any], ask: Ask, people: Audience) -> WaitingOn:
    at = now()
    may = people.eligibility(ask, ctx, at)
    lacks = people.lacks_factor(ask, ctx.principal.id, may)
    return WaitingOn(
        kind="approval",
        ref=row["id"],
        name=row["title"],
        since=row["created_at"],
        deadline=row["expires_at"],
        who=people.who_could(ask, at),
        you_can=may.eligible and not lacks,
        because=f"{may.because} {NO_FACTOR}" if lacks else may.because,
    )


def build(ctx: Context, row: dict[str, Any], votes: list[dict[str, Any]], people: Audience) -> Explanation:
    """The explanation from loaded rows. The reason of an open one is judged by who is in the workspace now."""
    at = now()
    ask = Ask.of(row, votes)
    is_open = row["state"] == "open"
    able = people.able(ask, at)
    reason = reason_of(ask, people) if is_open else row["reason"]
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
            *(
                [Evidence(kind="policy now", ref=row["decision_id"], label=row["moved"]["policy_version"])]
                if row["moved"]
                else []
            ),
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
    if reason == "nobody_can_decide" and (absent := people.absent(ask)):
        return (
            f"“{title}” waits for {_and(missing(ask))}, and there is no group {_and(absent)} in the workspace: make it."
        )
    if reason == "nobody_can_decide":
        return (
            f"“{title}” waits for {_and(missing(ask))}, and too few people in the workspace can give that:"
            " name an approver or invite an admin."
        )
    if row["state"] == "open":
        escalated = f", escalated to {row['escalated_to']}," if row["escalated_to"] else ""
        return f"“{title}”{escalated} waits for {_and(missing(ask))}; {_and(able)} may decide."
    if row["bypass_id"]:
        used = ", and used" if row["consumed_at"] else ""
        return f"“{title}” was let through by a bypass, {row['bypass_id']}, and nobody looked at it{used}."
    if row["state"] in ("approved", "rejected") and votes:
        by = _and(
            [
                people.name(vote["person_id"])
                + (f" with a {FACTORS[vote['stepped_up_by']]}" if vote["stepped_up_by"] else "")
                for vote in votes
                if vote["decision"] == votes[-1]["decision"]
            ]
        )
        comment = f" (“{votes[-1]['comment']}”)" if votes[-1]["comment"] else ""
        used = ", and used" if row["consumed_at"] else ""
        return f"“{title}” was {row['state']} by {by}{comment}{used}."
    if row["moved"]:
        return f"“{title}” was superseded: {row['moved']['because']}; what would be done is the same."
    words = {
        "expired": "expired: nobody decided, or used it, in time",
        "withdrawn": "was withdrawn",
        "superseded": "was superseded: what would be done, or what who asked may do, is no longer what was approved",
    }
    return f"“{title}” {words.get(row['state'], row['state'])}."


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _next(row: dict[str, Any], wait: WaitingOn | None) -> list[NextAction]:
    if wait is None:
        used = row["consumed_by"] or row["subject_id"]
        if row["bypass_id"]:
            return [
                NextAction(
                    label="See the bypass that let it through",
                    command=f"worka why {row['bypass_id']}",
                    permission="view",
                )
            ]
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
