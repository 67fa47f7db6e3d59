"""Use cases of approvals: ask, show, decide, use, and every way in which one ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from worka import identity
from worka.approvals import actions, events, moved, notices, openers, rules, store, timing
from worka.approvals.cards import moved_on, shown, stepped_up
from worka.approvals.errors import (
    ApprovalNotFound,
    ApprovalUsed,
    DigestChanged,
    NotEligible,
    NotOpen,
    RuleChanged,
    StepUpRequired,
    not_found,
)
from worka.approvals.groups import reason_of
from worka.approvals.people import Audience, audience, remembered
from worka.approvals.rules import APPROVAL, Ask, Eligibility
from worka.kernel.clock import now
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.db import DatabaseError
from worka.kernel.ids import new_id
from worka.kernel.redact import redact

log = logging.getLogger("worka.approvals")
PURPOSE = "approval.arguments"
PLATFORM = Principal("platform", "platform", "Worka")
TOPIC = "approval.decided"
LOCKING = "approval.locking"
"""Published before an approval is locked in order to end it: what waits for it is locked first, by its own domain, since
whoever cancels, detaches or removes that holds it already when it comes to the approval."""
BYPASS_BOUNDARY = "approval.bypass"
NEVER_BYPASSED = (
    BYPASS_BOUNDARY, "policy.change", "egress_policy.change", "secret.read", "key.destroy", "network_exception.create",
    "upstream_trust.create",
)  # fmt: skip
"""What approvals rest on (the second pair of eyes on a bypass, and on the policy that asks for approvals), and what nothing
takes back: a value that was read or led elsewhere, keys that were destroyed."""
_EXPIRES = timedelta(hours=8760)
_LOOKED_THROUGH = 200  # approvals read at once when only some of them are wanted
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
    may_be_decided: bool = False,
    own_rules: Collection[str] = (),
    led_by: Collection[str] = (),
) -> Row:
    """Asks for consent to exactly what has this digest, in the caller's transaction. The same question for the same
    subject, while it is open, is the same approval. `rules` are the decision's approval rules, `own_rules` what the asking
    domain wants beside them whatever policy says; `blocks` what waits: [{kind, id, name}]; `card` is shown to all who may
    see the approval, so it holds no arguments and no secrets; `led_by` who recorded where its credential would go: they do not
    decide it, and no bypass lets it through.

    Where a bypass is open for it, it is approved by the end of the transaction, and whoever waits is told as ever; with
    `may_be_decided` at once, since the caller looks at the state of what it gets."""
    parsed = rules_of([*rules, *own_rules])
    async with ctx.transaction() as conn:
        found = await store.open_for(conn, subject_id, digest)
        if found is not None and sorted(found["rules"]) == sorted(map(str, parsed)):
            return found
        if found is not None and found["policy_version"] != policy_version:
            now_asked = Decision(decision_id, "ask", "governance", (), (), tuple(map(str, parsed)), policy_version, "")
            await end(ctx, found, "superseded", by=now_asked)
        behind = ctx.originating_person or (ctx.principal.id if ctx.principal.kind == "person" else None)
        owner = None
        if ctx.principal.kind == "team_member":
            member = await identity.store.team_member(conn, ctx.principal.id)
            owner = member["owner_person_id"] if member else None
        elif ctx.principal.kind == "service_account":
            account = await identity.store.service_account(conn, ctx.principal.id)
            owner = account["owner_person_id"] if account else None
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
            "own_rules": list(own_rules),
            "led_by": sorted(set(led_by)),
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
            "expires_at": now() + (expires_in or _EXPIRES),
            "trace_id": ctx.trace_id,
        }
        when = await timing.of_workspace(ctx, row["workspace_id"])
        row["expires_at"] = min(row["expires_at"], now() + when.life)
        row["due_at"] = timing.first_due(when, now(), row["expires_at"])
        people = await audience(conn, ctx, row["workspace_id"])
        ask = Ask.of({**row, "state": "open"}, [])
        row["reason"] = reason_of(ask, people)
        made = await store.add(conn, row)
        ctx.record(events.requested(made))
        await notices.send(ctx, notices.REQUESTED, made, {"people": notices.waited_for(ask, people)})
        ctx.failpoint("approval.requested.before_commit")
        if may_be_decided:
            return await _let_through(ctx, made, people) or made
        ctx.at_the_end(partial(_end_by_bypass, ctx, made["id"], people))
        return made


def bypassable(row: Row) -> list[tuple[str, str]]:
    """(kind, target) of every bypass that could let this approval through; none for what never goes through. Pure."""
    wants = rules.parse_rules(row["rules"])
    if row["boundary"] in NEVER_BYPASSED or any(rule.verb == "confirm" or rule.stepup for rule in wants):
        return []
    if row["led_by"]:  # else who records where a name leads, and lets through who connects it, would receive it alone
        return []
    tool = row["card"].get("tool")
    return [("boundary", row["boundary"]), *([("tool", str(tool))] if tool else [])]


async def _let_through(ctx: Context, row: Row, people: Audience) -> Row | None:
    """Approves an open approval by a bypass that is open for its boundary or tool: one use of it, recorded as what it is.
    Never a confirmation, never what wants a step-up, never the consent to a bypass itself, and never by a bypass whose
    opener could not open it now."""
    targets, at = bypassable(row), now()
    if not targets:
        return None
    there = await store.bypasses_for(ctx.conn, row["workspace_id"], targets, at)
    usable = [bypass["id"] for bypass in there if not openers.held(people, bypass)]
    if not usable:
        return None
    found = await store.take_bypass(ctx.conn, row["workspace_id"], targets, at, usable)
    if found is None:
        return None
    await store.mark_bypassed(ctx.conn, row["id"], found["id"])
    APPROVAL.check("open", "approved")
    closed = await store.close(ctx.conn, row["id"], "open", "approved", "bypassed", now())
    assert closed is not None, "the row is this transaction's"
    ctx.record(events.bypassed(closed, found))
    ctx.record(events.closed(closed, "open"))
    if found["uses"] >= found["most_uses"]:
        over = await store.move_bypass(ctx.conn, found["id"], "open", "closed", "bypass_over", None)
        if over is not None:
            ctx.record(events.bypass_moved(over, "open"))
    ctx.failpoint("approval.bypassed.before_commit")
    return closed


async def _end_by_bypass(ctx: Context, approval_id: str, people: Audience) -> None:
    row = await store.get(ctx.conn, approval_id, lock=True)
    if row is not None and row["state"] == "open":
        through = await _let_through(ctx, row, people)
        if through is not None:
            await announce(ctx, through)


def rules_of(texts: list[str] | tuple[str, ...]) -> list[rules.Rule]:
    """The parsed approval rules of a decision."""
    return rules.parse_rules(texts)


async def in_place_of(ctx: Context, row: Row) -> Row:
    """{superseded, because}: the approval of the same action whose place this one takes, and why; nothing if none's."""
    async with ctx.transaction() as conn:
        before = await store.predecessor(conn, row)
    if before is None or before["state"] != "superseded":
        return {"superseded": None, "because": ""}
    return {"superseded": before["id"], "because": before["moved"]["because"] if before["moved"] else ""}


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
    """Whether the approval was used for this, and if not why: `superseded`, `rule_changed`, `expired`, `not_approved`,
    `used`."""

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
        if row["digest"] != digest:
            return Redemption(False, "superseded", await end(ctx, row, "superseded"))
        if moved.differs(row, decision):
            if decision.policy_version == row["policy_version"]:  # no policy moved: who asked may do it no more
                return Redemption(False, "superseded", await end(ctx, row, "superseded"))
            return Redemption(False, "rule_changed", await end(ctx, row, "superseded", by=decision))
        if row["expires_at"] <= now():
            return Redemption(False, "expired", await end(ctx, row, "expired"))
        return Redemption(True, "used", await consume(ctx, approval_id, used_by))


def still_asked(row: Row, decision: Decision, own_rules: Collection[str]) -> bool:
    """Whether consent by this approval is what policy (`decision`, made just now) and the domain (`own_rules`, as they are
    now) ask for: for what was used once and is carried out later. Pure."""
    return sorted(row["own_rules"]) == sorted(own_rules) and not moved.differs(row, decision)


async def locked(ctx: Context, approval_id: str) -> Row | None:
    """An approval that is about to end by itself or by a person, locked after what waits for it."""
    row = await store.get(ctx.conn, approval_id)
    if row is None:
        return None
    keys = ("subject_type", "subject_id", "workspace_id")
    await ctx.publish(LOCKING, {"approval_id": approval_id, **{key: row[key] for key in keys}})
    return await store.get(ctx.conn, approval_id, lock=True)


async def end(ctx: Context, row: Row, state: str, *, publish: bool = False, by: Decision | None = None) -> Row:
    """Closes an approval in the open transaction: `expired`, `withdrawn` or `superseded`. Whoever it was for already
    knows, unless `publish`. `by`: what policy says now, where that ends it; then the platform did, and whoever is behind it
    is told in any case."""
    APPROVAL.check(row["state"], state)
    told, reason = (moved.told(row, by), "rule_changed") if by else (None, state)
    closed = await store.close(ctx.conn, row["id"], row["state"], state, reason, now(), told)
    if closed is None:
        raise NotOpen(f"{row['id']} changed meanwhile.")
    recorder = replace(ctx.acting(PLATFORM), originating_person=None) if by else ctx
    recorder.record(events.closed(closed, row["state"]))
    if publish:
        await announce(recorder, closed)
    elif by:
        await notices.ended(recorder, closed)
    return closed


async def supersede(ctx: Context, approval_id: str) -> Row | None:
    """Ends an open approval whose rules policy asks no more, in a commit of its own, and whatever waits for it asks anew;
    None: they hold."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, approval_id)
        if row is None or row["state"] != "open" or (by := await moved.now_asked(ctx, row)) is None:
            return None
        row = await locked(ctx, approval_id)
        if row is None or row["state"] != "open":
            return None
        ended = await end(ctx, row, "superseded", publish=True, by=by)
        ctx.failpoint("approval.superseded.before_commit")
        return ended


async def _hold_the_rules(ctx: Context, approval_id: str, digest: str, within: str | None) -> None:
    """Before anybody decides: nobody gives consent by rules that policy has changed. Raises RuleChanged."""
    alone = ctx.alone()
    async with alone.transaction() as conn:
        row = await store.get(conn, approval_id)
        if row is None or row["state"] != "open" or row["digest"] != digest:
            return
        if within not in (None, row["workspace_id"]) or ctx.bound_to not in (None, row["workspace_id"]):
            return
        if await moved.now_asked(alone, row) is None:
            return
        if ctx.principal.id not in (await audience(conn, ctx, row["workspace_id"])).names:
            return
    place = ctx if ctx.undone else ctx.alone(workspace_id=row["workspace_id"])
    ended = await supersede(place, approval_id)
    if ended is not None:
        raise RuleChanged(
            f"{ended['moved']['because'][:1].upper()}{ended['moved']['because'][1:]}: this approval was asked for under"
            f" {', '.join(ended['rules'])}, and is superseded.",
            approval_id=approval_id,
            policy_version=ended["moved"]["policy_version"],
        )


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
    await notices.ended(ctx, row)


async def decide(
    ctx: Context,
    approval_id: str,
    decision: str,
    digest: str,
    comment: str = "",
    *,
    behalf: str | None = None,
    in_batch: bool = False,
    within: str | None = None,
    code: str = "",
) -> Row:
    """Gives or refuses consent to exactly what has this digest; the decision and whatever it resumes are one commit.
    `behalf`: in the place of this person, who delegated it; without it the way in which one's yes is needed. `within`:
    only if it is in this workspace. `code`: the second factor, given with it; it is used up whatever comes of the decision,
    and not looked at where nothing wants it, nor in a dry run.

    Raises ApprovalNotFound, DigestChanged, RuleChanged, NotOpen, NotEligible (says why, and who could), StepUpRequired, CodeRefused,
    Denied."""
    await _hold_the_rules(ctx, approval_id, digest, within)
    if (
        code
        and not ctx.undone
        and (ctx.principal.kind != "person" or await wants_code(ctx, approval_id, digest, behalf, within))
    ):
        ctx = await identity.factors.step_up(ctx, code)
    async with ctx.transaction() as conn:
        row = await locked(ctx, approval_id)
        if row is None or within not in (None, row["workspace_id"]):
            raise not_found(approval_id)
        people = await audience(conn, ctx, row["workspace_id"])
        _visible(ctx, row, people)
        if row["state"] != "open":
            raise NotOpen(f"It is {row['state']} already.", state=row["state"])
        if row["digest"] != digest:
            raise DigestChanged("The digest is not that of this approval.", digest=row["digest"])
        votes = await store.votes(conn, approval_id)
        ask, at = Ask.of(row, votes), now()
        may = people.eligibility(ask, ctx, at, behalf)
        if not may.eligible:
            if may.refused:
                # Whom policy or a kill switch refuses is refused by it, with its decision to quote.
                await ctx.require(_action(may), _resource(row))
            await _refused(ctx, row, may)
            could = people.who_could(ask, at)
            raise NotEligible(
                may.because, remedy=f"Who could: {', '.join(could)}.", approval_id=approval_id, who_could=could
            )
        if rules.wants_stepup(ask, may.verb) and not stepped_up(ctx):
            await _refused(ctx, row, replace(may, because="Its rule wants a fresh second factor."))
            raise StepUpRequired(
                "Its rule wants a second factor that was given in this session a short while ago.",
                approval_id=approval_id,
            )
        await ctx.require(_action(may), _resource(row))
        vote = {
            "tenant_id": row["tenant_id"],
            "approval_id": approval_id,
            "person_id": ctx.principal.id,
            "decision": decision,
            "comment": comment,
            "credential_id": ctx.credential_id,
            "on_behalf_of": may.behalf,
            "groups": sorted(may.groups),
            "stepped_up_at": ctx.stepped_up_at,
            "stepped_up_by": ctx.stepped_up_by,
            "in_batch": in_batch,
        }
        await store.add_vote(conn, vote)
        ask = Ask.of(row, [*votes, vote])
        outcome = rules.tally(ask)
        given = ctx.stepped_up_by if stepped_up(ctx) else None
        ctx.record(events.voted(row, decision, rules.missing(ask) if outcome == "open" else [], may.behalf, given))
        if outcome == "open":
            await store.set_reason(conn, approval_id, reason_of(ask, people))
        else:
            APPROVAL.check("open", outcome)
            closed = await store.close(conn, approval_id, "open", outcome, outcome, at)
            assert closed is not None, "the row is locked"
            ctx.record(events.closed(closed, "open"))
            await announce(ctx, closed)
        ctx.failpoint("approval.decided.before_commit")
        ctx.failpoint("approval.decided.after_commit")
        return await _card(ctx, approval_id, people)


def _action(may: Eligibility) -> str:
    if may.verb == "confirm":
        return actions.APPROVAL_CONFIRM
    return actions.APPROVAL_DECIDE if may.behalf is None else actions.APPROVAL_DECIDE_FOR


async def _refused(ctx: Context, row: Row, may: Eligibility) -> None:
    """The attempt is evidence, though the caller's transaction is rolled back."""
    alone = ctx.alone(workspace_id=row["workspace_id"])
    async with alone.transaction():
        alone.record(events.refused(row, may.because))


async def wants_code(
    ctx: Context, approval_id: str, digest: str, behalf: str | None = None, within: str | None = None
) -> bool:
    """Whether the caller could decide exactly this now, and its rule wants a second factor for it. A code is looked at only
    then: one that is given with anything else is no try, and uses up nobody's tries."""
    async with ctx.alone().transaction() as conn:
        row = await store.get(conn, approval_id)
        if row is None or within not in (None, row["workspace_id"]) or ctx.bound_to not in (None, row["workspace_id"]):
            return False
        people = await audience(conn, ctx, row["workspace_id"])
        if ctx.principal.id not in people.names or row["state"] != "open" or row["digest"] != digest:
            return False
        ask = Ask.of(row, await store.votes(conn, approval_id))
        may = people.eligibility(ask, ctx, now(), behalf)
        return may.eligible and rules.wants_stepup(ask, may.verb)


def _visible(ctx: Context, row: Row, people: Audience) -> None:
    """Approvals of workspaces that the caller is not in do not exist for it."""
    if ctx.principal.id not in people.names and ctx.principal.kind != "platform":
        raise not_found(row["id"])


def _resource(row: Row) -> Resource:
    return rules.resource_of(row)


async def people(ctx: Context, workspace_id: str) -> list[Row]:
    """The people of a workspace: {id, name, may_approve, groups}, as the rules see them now."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
        found = await audience(conn, ctx, workspace_id)
        return [
            {"id": who, "name": found.names[who], "may_approve": reader.may_approve, "groups": sorted(reader.groups)}
            for who, reader in found.readers.items()
        ]


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
        card = await _card(ctx, approval_id, people)
        if card["state"] == "open" and (by := await moved.now_asked(ctx, row)) is not None:
            # Said at once; the next sweep ends it, or whoever would decide it before.
            told = moved.told(row, by)
            barred = {**card["eligibility"], "eligible": False, "needed": False, "because": moved_on(told)}
            card = {**card, "moved": told, "eligibility": barred, "who_could": [], "missing": []}
        if card["state"] == "superseded":
            card = {**card, "superseded_by": await store.successor(conn, row)}
        # The platform's own look for a condition (If-Match) opens nothing for anybody.
        looks = ctx.unrecorded or ctx.guard is not None
        if card["state"] == "open" and card["eligibility"]["eligible"] and not looks:
            await _opened(ctx, row)
        return card


async def _opened(ctx: Context, row: Row) -> None:
    """Keeps that who may decide has opened the card. Reading goes on where nothing can be written."""
    try:
        async with ctx.conn.transaction():
            await store.see(ctx.conn, row["tenant_id"], row["id"], ctx.principal.id)
    except DatabaseError:
        log.warning("could not keep that a card was opened", extra={"approval": row["id"]})


async def listing(
    ctx: Context, workspace_id: str, state: str | None, after: str | None, limit: int, whose: str = "all"
) -> list[Row]:
    """The approvals of a workspace, newest first, with what they block and whether the caller may decide; limit + 1.
    `whose`: all; `mine`: those in which the caller's yes is needed; `groups`: those whose rules name a group of theirs."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
        people = await audience(conn, ctx, workspace_id)
        if whose == "all":
            rows = await store.listed(conn, workspace_id, state, after, limit + 1)
            votes = await store.votes_of(conn, [row["id"] for row in rows])
            people = await remembered(conn, people, rows, [vote for some in votes.values() for vote in some])
            return [shown(ctx, row, votes[row["id"]], people) for row in rows]
        state = "open" if whose == "mine" else state  # nothing else can need anybody's yes
        found: list[Row] = []
        while len(found) <= limit:
            rows = await store.listed(conn, workspace_id, state, after, _LOOKED_THROUGH)
            votes = await store.votes_of(conn, [row["id"] for row in rows])
            people = await remembered(conn, people, rows, [vote for some in votes.values() for vote in some])
            found += [
                shown(ctx, row, votes[row["id"]], people)
                for row in rows
                if _is_of(whose, ctx, Ask.of(row, votes[row["id"]]), people)
            ]
            if len(rows) < _LOOKED_THROUGH:
                break
            after = rows[-1]["id"]
        return found[: limit + 1]


def _is_of(whose: str, ctx: Context, ask: Ask, people: Audience) -> bool:
    if whose == "mine":
        may = people.eligibility(ask, ctx, now())
        return may.eligible and may.needed
    reader = people.reader(ctx.principal.kind, ctx.principal.id)
    reached = reader.groups.union(*(delegator.groups for delegator in reader.delegators))
    return not ask.groups.isdisjoint(reached)


async def _card(ctx: Context, approval_id: str, people: Audience) -> Row:
    row = await store.get(ctx.conn, approval_id)
    assert row is not None
    votes = await store.votes(ctx.conn, approval_id)
    people = await remembered(ctx.conn, people, [row], votes)
    card = {**shown(ctx, row, votes, people), "superseded_by": None}
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
        row = await locked(ctx, approval_id)
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
