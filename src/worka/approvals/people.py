"""Who is in a workspace, and which of them the façade lets approve: what the pure rules are asked with.

Card, list, inbox, mail and the decision itself ask here, and here the façade is asked as the decision asks it. So nobody is
named who would be refused, and nobody decides for somebody who could not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from worka import authorization, identity
from worka.approvals import store
from worka.approvals.actions import APPROVAL_CONFIRM, APPROVAL_DECIDE, APPROVAL_DECIDE_FOR
from worka.approvals.rules import Ask, Delegator, Eligibility, Reader, eligible, wants_stepup, ways
from worka.approvals.seats import OF_ROLES, ONLY_GROUPS
from worka.kernel.clock import now
from worka.kernel.context import Context, Decision, Judge, Principal, Resource
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces

Row = dict[str, Any]
ONCE_EQUIPPED = " (once a second factor is set up)"
EVERYTHING = "all"
"""The scope of a delegation that is not for one group."""


@dataclass(frozen=True)
class Audience:
    """The people of one workspace as readers of its approvals, and everyone's name. `readers`: of any approval, when it is
    not known of which; `readers_of` is what counts for one."""

    readers: dict[str, Reader]
    names: dict[str, str]
    groups: frozenset[str] = field(default=frozenset(OF_ROLES))
    """The groups that there are: those of the roles, and the workspace's own."""
    gone: dict[str, str] = field(default_factory=dict)
    """Names of people who are not here any more and stand on a card that is shown. They may do nothing and see nothing."""

    equipped: frozenset[str] | None = None
    """Who has a second factor in force; None: no rule that is looked at wants one, so nobody was asked."""

    judged: Judged | None = field(default=None, repr=False, compare=False)

    def readers_of(self, ask: Ask) -> dict[str, Reader]:
        """Everybody as a reader of exactly this approval: policy may look at what it is about."""
        if self.judged is None or ask.about is None:
            return self.readers
        found = self.judged.readers(ask.about)
        confirms = found.get(ask.behind or "") if any(rule.verb == "confirm" for rule in ask.rules) else None
        return found if confirms is None else {**found, confirms.id: self.judged.confirming(confirms, ask.about)}

    def said(self, person_id: str, action: str, resource: Resource) -> Decision | None:
        """What the façade would answer somebody now; None: they are not in the workspace, or not enabled."""
        return self.judged.said(person_id, action, resource) if self.judged else None

    def lacks_factor(self, ask: Ask, who: str, way: Eligibility) -> bool:
        """Whether somebody who may decide in this way cannot yet: its rule wants a second factor, and they have none."""
        return self.equipped is not None and way.eligible and wants_stepup(ask, way.verb) and who not in self.equipped

    def name(self, principal_id: str) -> str:
        """What somebody is called; of whom nothing is known, the id."""
        return self.names.get(principal_id) or self.gone.get(principal_id, principal_id)

    def reader(self, kind: str, principal_id: str, ask: Ask | None = None) -> Reader:
        """Somebody as a reader, of one approval or of any; who is not in the workspace may do nothing."""
        if kind != "person":
            return Reader(kind, principal_id, False)
        readers = self.readers if ask is None else self.readers_of(ask)
        return readers.get(principal_id) or Reader(kind, principal_id, False, member=False)

    def waited_for(self, ask: Ask, at: datetime) -> dict[str, Eligibility]:
        """Everybody whose yes would fill a seat that is empty now, by id. Complete, never cut."""
        found = {who: eligible(ask, reader, at) for who, reader in self.readers_of(ask).items()}
        return {who: way for who, way in found.items() if way.eligible and way.needed}

    def able(self, ask: Ask, at: datetime) -> list[str]:
        """Their names; a delegate with the name of whom they stand for, and who has no second factor that is wanted with
        that: those last."""
        found = self.waited_for(ask, at)
        lacking = {who: self.lacks_factor(ask, who, way) for who, way in found.items()}
        return [
            self.names[who]
            + (f" (for {self.names.get(way.behalf, way.behalf)})" if way.behalf else "")
            + (ONCE_EQUIPPED if lacking[who] else "")
            for who, way in sorted(found.items(), key=lambda item: lacking[item[0]])
        ]

    def in_person(self, ask: Ask, at: datetime) -> list[Eligibility]:
        """What each may decide in their own right: who delegates can decide too, so nobody is counted twice."""
        return [
            way
            for reader in self.readers_of(ask).values()
            for way in ways(ask, replace(reader, delegators=()), at)
            if way.eligible
        ]

    def absent(self, ask: Ask) -> list[str]:
        """Groups that the rules name and the workspace does not have."""
        return sorted(ask.groups - self.groups)

    def who_could(self, ask: Ask, at: datetime) -> list[str]:
        """Who to ask: those who may decide; where there are none, who can make somebody able to."""
        if able := self.able(ask, at):
            return able
        if absent := self.absent(ask):
            return [f"an owner or admin of the workspace, by making the group {', '.join(absent)} with people in it"]
        if ask.groups:
            return [f"an owner or admin of the workspace, by adding approvers to {', '.join(sorted(ask.groups))}"]
        return ["an owner or admin of the workspace, by naming an approver or inviting one"]

    def eligibility(self, ask: Ask, ctx: Context, at: datetime, behalf: str | None = None) -> Eligibility:
        """The caller's; with `behalf` in the place of that person, or a refusal."""
        reader = self.reader(ctx.principal.kind, ctx.principal.id, ask)
        if behalf is None:
            return eligible(ask, reader, at)
        found = ways(ask, reader, at)
        own = behalf == ctx.principal.id
        refused = found[0] if not found[0].eligible else Eligibility(False, "They have not delegated it to you.")
        return next((way for way in found if way.eligible and way.behalf == (None if own else behalf)), refused)


class Judged:
    """What the façade says about the people of one workspace, asked as the act itself asks: their roles, policy, kill
    switches. By one reading for all of them; what policy does not look at is asked about once."""

    def __init__(self, judge: Judge, members: dict[str, Row], standing: Row) -> None:
        self.judge, self.members, self.standing = judge, members, standing
        self.groups = {who: self._groups_of(who, row) for who, row in members.items()}
        self._kept: dict[str, dict[str, Reader]] = {}

    def said(self, who: str, action: str, resource: Resource, *, as_approver: bool = False) -> Decision | None:
        """The answer to somebody of the workspace; None: they are not in it, or not enabled. `as_approver`: if they were a
        named approver."""
        row = self.members.get(who)
        if row is None:
            return None
        named = ("approver",) if row["approver"] or as_approver else ()
        roles = (row["role"], *named, *(("operator",) if row["operator"] else ()))
        person = Principal("person", who, row["name"], operator=row["operator"])
        return self.judge.could(person, roles, action, self.judge.alike("person", action, resource))

    def readers(self, about: Resource) -> dict[str, Reader]:
        """Everybody as a reader of this approval."""
        alike = [self.judge.alike("person", action, about) for action in (APPROVAL_DECIDE, APPROVAL_DECIDE_FOR)]
        key = repr([(thing.id, sorted(thing.attrs.items())) for thing in alike])
        if key not in self._kept:
            self._kept[key] = self._readers(about)
        return self._kept[key]

    def confirming(self, reader: Reader, about: Resource) -> Reader:
        """Whoever an approval waits for to confirm it."""
        found = self.said(reader.id, APPROVAL_CONFIRM, about)
        if found is None or found.verdict == "allow":
            return reader
        return replace(reader, unconfirming=refusal(found) or "you do not hold the permission change here any more.")

    def _readers(self, about: Resource) -> dict[str, Reader]:
        readers = {}
        for who in self.members:
            said = self.said(who, APPROVAL_DECIDE, about)
            assert said is not None, "they are of the members"
            may = said.verdict == "allow"
            readers[who] = Reader(
                "person", who, may, groups=self.groups[who], refused=refusal(said), stopped=governed(said)
            )
        found: dict[str, list[Delegator]] = {}
        for row in self.standing["delegations"]:
            giver, taker = readers.get(row["from_person"]), readers.get(row["to_person"])
            if giver is None or taker is None:
                continue
            reach = giver.groups if row["scope"] == EVERYTHING else (giver.groups & {row["scope"]}) | {ONLY_GROUPS}
            barred = self._barred(taker.id, about)
            name, words = self.members[giver.id]["name"], refusal(barred) if barred else ""
            delegator = Delegator(
                giver.id, name, giver.may_approve, reach, barred is None, giver.refused, words, governed(barred)
            )
            found.setdefault(taker.id, []).append(delegator)
        return {who: replace(reader, delegators=tuple(found.get(who, ()))) for who, reader in readers.items()}

    def _barred(self, taker: str, about: Resource) -> Decision | None:
        """What refuses a delegate any deciding in another's place; None: nothing."""
        for said in (
            self.said(taker, APPROVAL_DECIDE, about, as_approver=True),
            self.said(taker, APPROVAL_DECIDE_FOR, about),
        ):
            if said is not None and said.verdict != "allow":
                return said
        return None

    def _groups_of(self, who: str, row: Row) -> frozenset[str]:
        by_role = {name for name, roles in OF_ROLES.items() if row["role"] in roles}
        return frozenset(by_role | {name for name, held in self.standing["groups"].items() if who in held})


def refusal(said: Decision) -> str:
    """A refusal in the words of the rule or kill switch; empty where simply no role permits it, and of what is allowed."""
    words = "; ".join(said.reasons)
    return f"“{words}”" if words and said.rules != (authorization.rules.NO_PERMIT,) else ""


def governed(said: Decision | None) -> bool:
    """Whether governance, or a kill switch, is what refuses it."""
    return said is not None and said.verdict != "allow" and said.layer == "governance"


async def audience(conn: Connection, ctx: Context, workspace_id: str) -> Audience:
    """Loads the members, their groups and their delegations once, and asks the façade for each person: the access set and
    governance of every layer, and the kill switches. Nothing is recorded."""
    judge = await ctx.authorizer.judge(ctx, conn, workspace_id)
    rows: list[Row] = await workspaces.members(conn, workspace_id)
    standing = await store.standing(conn, workspace_id, now())
    members = {row["principal_id"]: row for row in rows if row["principal_kind"] == "person" and row["enabled"]}
    judged = Judged(judge, members, standing)
    readers = judged.readers(Resource("approval", "*", workspace_id))
    names = {row["principal_id"]: row["name"] for row in rows}
    return Audience(readers, names, frozenset(OF_ROLES) | frozenset(standing["groups"]), judged=judged)


async def remembered(
    conn: Connection, people: Audience, rows: list[dict[str, Any]], votes: list[dict[str, Any]]
) -> Audience:
    """With the names of those who asked for these approvals, or voted, and have left: a card calls nobody by an id; and,
    where a rule of an open one wants it, with who has a second factor."""
    if any(row["state"] == "open" and any(rule.endswith(" stepup") for rule in row["rules"]) for row in rows):
        found_equipped = await identity.store.with_second_factor(conn, sorted(people.readers))
        people = replace(people, equipped=frozenset(found_equipped))
    named = {row["originating_person"] for row in rows}
    named |= {row["requester_id"] for row in rows if row["requester_kind"] == "person"}
    named |= {vote[key] for vote in votes for key in ("person_id", "on_behalf_of")}
    found = {who: await identity.store.person(conn, who) for who in named - {None} - set(people.names)}
    return replace(people, gone={who: row["display_name"] for who, row in found.items() if row}) if found else people
