"""Use cases of approvals: ask, show, decide, use, and every way in which one ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from worka import identity
from worka.approvals import actions, events, rules, store
from worka.approvals.errors import ApprovalNotFound, ApprovalUsed, DigestChanged, NotEligible, NotOpen, not_found
from worka.approvals.people import Audience, audience
from worka.approvals.rules import APPROVAL, Ask, Eligibility
from worka.kernel.clock import now
from worka.kernel.context import Context, Decision, Resource
from worka.kernel.ids import new_id
from worka.kernel.redact import redact

PURPOSE = "approval.arguments"
TOPIC = "approval.decided"
_EXPIRES = timedelta(hours=72)
Row = dict[str, Any]


async def request(
    ctx: Context,
    *,
    boundary: str,
    action: str,
    subject_type: str,
    subject_id: str,
    title: str,
    effect: str,
    digest: str,
    card: dict[str, Any],
    arguments: bytes | None,
    rules: list[str] | tuple[str, ...],
    decision_id: str,
    policy_version: str,
    blocks: list[dict[str, Any]],
    expires_in: timedelta | None = None,
) -> Row:
    """Asks for consent to exactly what has this digest, in the caller's transaction. The same question for the same
    subject, while it is open, is the same approval. `rules` are the decision's approval rules; `blocks` what waits:
    [{kind, id, name}]; `card` is shown to all who may see the approval, so it holds no arguments and no secrets."""
    parsed = rules_of(rules)
    async with ctx.transaction() as conn:
        found = await store.open_for(conn, subject_id, digest)
        if found is not None and sorted(found["rules"]) == sorted(map(str, parsed)):
            return found
        behind = ctx.originating_person or (ctx.principal.id if ctx.principal.kind == "person" else None)
        owner = None
        if ctx.principal.kind == "team_member":
            member = await identity.store.team_member(conn, ctx.principal.id)
            owner = member["owner_person_id"] if member else None
        sealed = None
        if arguments is not None:
            sealed = await ctx.sealer.seal(ctx, PURPOSE, arguments)
        row: Row = {
            "tenant_id": ctx.tenant_id,
            "id": new_id("apr"),
            "workspace_id": ctx.workspace_id,
            "verb": "approve" if any(rule.verb == "approve" for rule in parsed) else "confirm",
            "boundary": boundary,
            "action": action,
            "subject_type": subject_type,
            "subject_id": subject_id,
            "title": title,
            "effect": effect,
            "digest": digest,
            "rules": [str(rule) for rule in parsed],
            "quorum": max(rule.quorum for rule in parsed),
            "four_eyes": True,
            "requester_kind": ctx.principal.kind,
            "requester_id": ctx.principal.id,
            "originating_person": behind,
            "acting_owner": owner,
            "decision_id": decision_id,
            "policy_version": policy_version,
            "card": redact(card),
            "arguments_sealed": sealed,
            "blocks": blocks,
            "reason": "waiting_for_approver",
            "expires_at": now() + (expires_in or _life(ctx)),
            "trace_id": ctx.trace_id,
        }
        people = await audience(conn, ctx, row["workspace_id"])
        ask = Ask.of({**row, "state": "open"}, [])
        row["reason"] = _reason(ask, people)
        made = await store.add(conn, row)
        ctx.record(events.requested(made))
        ctx.failpoint("approval.requested.before_commit")
        return made


def rules_of(texts: list[str] | tuple[str, ...]) -> list[rules.Rule]:
    """The parsed approval rules of a decision."""
    return rules.parse_rules(texts)


def _life(ctx: Context) -> timedelta:
    return _EXPIRES if ctx.settings is None else timedelta(hours=ctx.settings.approvals.expires_hours)


def _reason(ask: Ask, people: Audience) -> str:
    return rules.open_reason(ask, len(people.able(ask, now())))


async def find_usable(ctx: Context, subject_id: str, digest: str) -> Row | None:
    """The approved, unexpired and unused approval of exactly this action, if there is one."""
    async with ctx.transaction() as conn:
        return await store.usable_for(conn, subject_id, digest)


async def consume(ctx: Context, approval_id: str, used_by: str) -> Row:
    """Uses an approval, at the commit of the intent. A retry with the same key is the same use. Raises ApprovalUsed."""
    async with ctx.transaction() as conn:
        before = await store.get(conn, approval_id, lock=True)
        row = await store.consume(conn, approval_id, used_by)
        if before is None or row is None:
            state = "unknown" if before is None else "used" if before["consumed_at"] else before["state"]
            raise ApprovalUsed(f"{approval_id} is {state}.", state=state)
        if before["consumed_at"] is None:
            ctx.record(events.used(row))
            ctx.failpoint("approval.consumed.before_commit")
        return row


@dataclass(frozen=True)
class Redemption:
    """Whether the approval was used for this, and if not why: `superseded`, `expired`, `not_approved`, `used`."""

    usable: bool
    reason: str
    approval: Row


async def redeem(ctx: Context, approval_id: str, *, digest: str, decision: Decision, used_by: str) -> Redemption:
    """At execution: uses the approval if what is about to be done still is what was approved, and policy, decided again
    just now (`decision`), still asks by the same rules. Otherwise supersedes it in this transaction and says so; it
    does not raise, so that the caller can commit that. Raises ApprovalNotFound."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id, lock=True)
        if row is None:
            raise ApprovalNotFound(f"{approval_id} is not here.")
        if row["consumed_at"] is not None:
            same = row["consumed_by"] == used_by and row["digest"] == digest
            return Redemption(same, "used", row)
        if row["state"] != "approved":
            return Redemption(False, "not_approved", row)
        asked_for = sorted(str(rule) for rule in rules.parse_rules(decision.approval_rules))
        if row["digest"] != digest or decision.verdict != "ask" or asked_for != sorted(row["rules"]):
            return Redemption(False, "superseded", await end(ctx, row, "superseded"))
        if row["expires_at"] <= now():
            return Redemption(False, "expired", await end(ctx, row, "expired"))
        return Redemption(True, "used", await consume(ctx, approval_id, used_by))


async def end(ctx: Context, row: Row, state: str, *, publish: bool = False) -> Row:
    """Closes an approval in the open transaction: `expired`, `withdrawn` or `superseded`. Whoever it was for already
    knows, unless `publish`."""
    APPROVAL.check(row["state"], state)
    closed = await store.close(ctx.conn, row["id"], row["state"], state, state, now())
    if closed is None:
        raise NotOpen(f"{row['id']} changed meanwhile.")
    ctx.record(events.closed(closed, row["state"]))
    if publish:
        await announce(ctx, closed)
    return closed


async def end_for(ctx: Context, subject_id: str, state: str, *, keep_digest: str | None = None) -> list[str]:
    """Closes what waits, or is approved and unused, for a subject: `withdrawn` (it ended) or `superseded` (it changed;
    the one of `keep_digest` stays). Returns the ids. Nothing is published: the caller is the subject."""
    async with ctx.transaction() as conn:
        rows = [row for row in await store.of_subject(conn, subject_id) if row["digest"] != keep_digest]
        return [(await end(ctx, row, state))["id"] for row in rows]


async def announce(ctx: Context, row: Row) -> None:
    """Tells whoever waits, inside this transaction (APR-9)."""
    keys = ("subject_type", "subject_id", "state", "action", "boundary", "workspace_id")
    await ctx.publish(TOPIC, {"approval_id": row["id"], **{key: row[key] for key in keys}})


async def decide(ctx: Context, approval_id: str, decision: str, digest: str, comment: str = "") -> Row:
    """Gives or refuses consent to exactly what has this digest; the decision and whatever it resumes are one commit.

    Raises ApprovalNotFound, DigestChanged, NotOpen, NotEligible (says why, and who could), Denied."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id, lock=True)
        if row is None:
            raise not_found(approval_id)
        people = await audience(conn, ctx, row["workspace_id"])
        _visible(ctx, row, people)
        if row["state"] != "open":
            raise NotOpen(f"It is {row['state']} already.", state=row["state"])
        if row["digest"] != digest:
            raise DigestChanged("The digest is not that of this approval.", digest=row["digest"])
        votes = await store.votes(conn, approval_id)
        ask, at = Ask.of(row, votes), now()
        may = people.eligibility(ask, ctx, at)
        if not may.eligible:
            await _refused(ctx, row, may)
            could = people.who_could(ask, at)
            raise NotEligible(
                may.because, remedy=f"Who could: {', '.join(could)}.", approval_id=approval_id, who_could=could
            )
        name = actions.APPROVAL_CONFIRM if may.verb == "confirm" else actions.APPROVAL_DECIDE
        await ctx.require(name, _resource(row))
        vote = {
            "tenant_id": row["tenant_id"],
            "approval_id": approval_id,
            "person_id": ctx.principal.id,
            "decision": decision,
            "comment": comment,
            "credential_id": ctx.credential_id,
        }
        await store.add_vote(conn, vote)
        ask = replace(ask, voters=(*ask.voters, (ctx.principal.id, decision)))
        outcome = rules.tally(ask)
        ctx.record(events.voted(row, decision, rules.missing(ask) if outcome == "open" else []))
        if outcome == "open":
            await store.set_reason(conn, approval_id, _reason(ask, people))
        else:
            APPROVAL.check("open", outcome)
            closed = await store.close(conn, approval_id, "open", outcome, outcome, at)
            assert closed is not None, "the row is locked"
            ctx.record(events.closed(closed, "open"))
            await announce(ctx, closed)
            ctx.failpoint("approval.decided.before_commit")
            ctx.failpoint("approval.decided.after_commit")
        return await _card(ctx, approval_id, people)


async def _refused(ctx: Context, row: Row, may: Eligibility) -> None:
    """The attempt is evidence, though the caller's transaction is rolled back."""
    alone = ctx.alone(workspace_id=row["workspace_id"])
    async with alone.transaction():
        alone.record(events.refused(row, may.because))


def _visible(ctx: Context, row: Row, people: Audience) -> None:
    """Approvals of workspaces that the caller is not in do not exist for it."""
    if ctx.principal.id not in people.names and ctx.principal.kind != "platform":
        raise not_found(row["id"])


def _resource(row: Row) -> Resource:
    return Resource("approval", row["id"], row["workspace_id"], {"boundary": row["boundary"], "name": row["title"]})


async def show(ctx: Context, approval_id: str) -> Row:
    """The card: the exact call, its digest and effect, what it blocks, who may decide, who has, what is missing, and
    why the reader may or may not. Arguments only for those who may decide, have decided, or are behind it."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id)
        if row is None:
            raise not_found(approval_id)
        people = await audience(conn, ctx, row["workspace_id"])
        _visible(ctx, row, people)
        await ctx.require(actions.APPROVAL_VIEW, _resource(row))
        return await _card(ctx, approval_id, people)


async def listing(ctx: Context, workspace_id: str, state: str | None, after: str | None, limit: int) -> list[Row]:
    """The approvals of a workspace, newest first, with what they block and whether the caller may decide; limit + 1."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
        rows = await store.listed(conn, workspace_id, state, after, limit + 1)
        people = await audience(conn, ctx, workspace_id)
        votes = await store.votes_of(conn, [row["id"] for row in rows])
        return [shown(ctx, row, votes[row["id"]], people) for row in rows]


def shown(ctx: Context, row: Row, votes: list[Row], people: Audience) -> Row:
    """An approval as lists show it: everything but the arguments."""
    at = now()
    ask = Ask.of(row, votes)
    may = people.eligibility(ask, ctx, at)
    keys = (
        "id", "workspace_id", "state", "reason", "since", "verb", "boundary", "action", "title", "effect", "digest",
        "rules", "quorum", "decision_id", "policy_version", "card", "blocks", "created_at", "expires_at", "decided_at",
        "consumed_at", "consumed_by", "trace_id",
    )  # fmt: skip
    is_open = row["state"] == "open"
    return {
        **{key: row[key] for key in keys},
        "subject": {"type": row["subject_type"], "id": row["subject_id"]},
        "requester": _person(people, row["requester_kind"], row["requester_id"]),
        "originating_person": _person(people, "person", row["originating_person"]),
        "votes": [
            {
                "person": _person(people, "person", vote["person_id"]),
                "decision": vote["decision"],
                "comment": vote["comment"],
                "at": vote["at"],
            }
            for vote in votes
        ],
        "missing": rules.missing(ask) if is_open else [],
        "eligibility": {"eligible": may.eligible, "because": may.because, "verb": may.verb},
        "who_could": people.who_could(ask, at) if is_open else [],
    }


def _person(people: Audience, kind: str, principal_id: str | None) -> dict[str, Any] | None:
    if principal_id is None:
        return None
    return {"kind": kind, "id": principal_id, "name": people.names.get(principal_id, principal_id)}


async def _card(ctx: Context, approval_id: str, people: Audience) -> Row:
    row = await store.get(ctx.conn, approval_id)
    assert row is not None
    votes = await store.votes(ctx.conn, approval_id)
    card = shown(ctx, row, votes, people)
    voted = any(vote["person_id"] == ctx.principal.id for vote in votes)
    behind = ctx.principal.kind == "person" and ctx.principal.id == row["originating_person"]
    if row["arguments_sealed"] is None:
        return {**card, "arguments": None, "arguments_hidden": ""}
    if not (card["eligibility"]["eligible"] or voted or behind):
        return {
            **card,
            "arguments": None,
            "arguments_hidden": "Shown to those who may decide, and to whom it is done for.",
        }
    opened = await ctx.sealer.open(ctx, PURPOSE, bytes(row["arguments_sealed"]))
    try:
        arguments = json.loads(opened)
    except ValueError:
        arguments = opened.decode(errors="replace")
    return {**card, "arguments": arguments, "arguments_hidden": ""}


async def withdraw(ctx: Context, approval_id: str) -> Row:
    """Takes back what one asked for. Raises ApprovalNotFound, NotEligible, NotOpen."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id, lock=True)
        if row is None:
            raise not_found(approval_id)
        people = await audience(conn, ctx, row["workspace_id"])
        _visible(ctx, row, people)
        if ctx.principal.id not in (row["requester_id"], row["originating_person"]):
            raise NotEligible("Only who asked for it takes it back.", remedy="Reject it instead, if you may decide.")
        await ctx.require(actions.APPROVAL_WITHDRAW, _resource(row))
        if row["state"] != "open":
            raise NotOpen(f"It is {row['state']} already.", state=row["state"])
        await end(ctx, row, "withdrawn", publish=True)
        return await _card(ctx, approval_id, people)
