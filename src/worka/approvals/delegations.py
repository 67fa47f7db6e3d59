"""Use cases of delegation: somebody decides in another's place until a date, for everything or for one group's seats.

There are no chains: who is a delegate in some time delegates nothing in it, and the other way round. Four eyes hold on both
ends (rules.py): neither who asked nor who owns what acts decides by being delegated, nor has somebody decide for them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worka.approvals import actions, events, store
from worka.approvals.errors import (
    BadDelegation,
    DelegateOfDelegate,
    DelegationNotFound,
    DelegationOver,
    ForeignDelegation,
    NotAPerson,
)
from worka.approvals.groups import place
from worka.approvals.people import EVERYTHING, Audience, audience
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.ids import new_id

Row = dict[str, Any]
LONGEST = timedelta(days=366)


async def delegate(
    ctx: Context, workspace_id: str, to: str, until: datetime, scope: str = EVERYTHING, *, dry_run: bool = False
) -> Row:
    """Delegates the caller's own deciding to a person of the workspace. With `dry_run` everything is checked and nothing
    is kept. Raises NotAPerson, BadDelegation, DelegateOfDelegate."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.DELEGATION_CREATE, place(workspace_id))
        await store.lock_people(conn, workspace_id)
        people = await audience(conn, ctx, workspace_id)
        _check(ctx, people, to, until, scope)
        for row in await store.delegations(conn, workspace_id, now(), None, 10_000):
            if row["to_person"] == ctx.principal.id:
                giver = people.names.get(row["from_person"], row["from_person"])
                raise DelegateOfDelegate(
                    f"You decide for {giver} until {row['until'].isoformat()}.", delegation=row["id"]
                )
            if row["from_person"] == to:
                taker = str(people.names.get(row["to_person"], row["to_person"]))
                raise DelegateOfDelegate(
                    f"{people.names[to]} has delegated to {taker} until {row['until'].isoformat()}.",
                    delegation=row["id"],
                )
            if (row["from_person"], row["to_person"], row["scope"]) == (ctx.principal.id, to, scope):
                raise BadDelegation("You have delegated exactly this to them already.", delegation=row["id"])
        wanted = {
            "tenant_id": ctx.tenant_id,
            "id": new_id("dlg"),
            "workspace_id": workspace_id,
            "from_person": ctx.principal.id,
            "to_person": to,
            "scope": scope,
            "until": until,
        }
        if dry_run:
            return {**shown({**wanted, "created_at": now(), "ended_at": None, "ended_by": None}, people), "id": None}
        made = await store.add_delegation(conn, wanted)
        ctx.record(events.delegated(made, people.names[to]))
        ctx.failpoint("approval.delegation.before_commit")
        return shown(made, people)


def _check(ctx: Context, people: Audience, to: str, until: datetime, scope: str) -> None:
    giver = people.readers.get(ctx.principal.id) if ctx.principal.kind == "person" else None
    if giver is None or not giver.may_approve:
        raise BadDelegation("Only a person who may approve here has something to delegate.")
    if to == ctx.principal.id:
        raise BadDelegation("That is you.", field="/to")
    if to not in people.readers:
        raise NotAPerson(f"{to} is no person of this workspace.", field="/to")
    if scope != EVERYTHING and scope not in giver.groups:
        raise BadDelegation(f"You are not in group:{scope}, so it is not yours to delegate.", field="/scope")
    if not now() < until <= now() + LONGEST:
        raise BadDelegation("A delegation ends in time to come, within a year.", field="/until")


async def end(ctx: Context, delegation_id: str) -> Row:
    """Ends a delegation before its time; holds for the next decision. Who gave it, who was given it, or an owner.
    Raises DelegationNotFound, ForeignDelegation, DelegationOver."""
    async with ctx.transaction() as conn:
        row = await store.delegation(conn, delegation_id, lock=True)
        people = await audience(conn, ctx, row["workspace_id"]) if row is not None else None
        if row is None or people is None or ctx.principal.id not in people.names:
            raise DelegationNotFound(f"{delegation_id} is not in a workspace of yours.")
        await ctx.require(actions.DELEGATION_END, place(row["workspace_id"]))
        reader = people.reader(ctx.principal.kind, ctx.principal.id)
        if reader.id not in (row["from_person"], row["to_person"]) and "owners" not in reader.groups:
            raise ForeignDelegation("You neither gave it nor were given it.")
        ended = await store.end_delegation(conn, delegation_id, ctx.principal.id, now())
        if ended is None:
            raise DelegationOver("It has ended.")
        ctx.record(events.delegation_ended(ended, str(people.names.get(row["to_person"], row["to_person"]))))
        ctx.failpoint("approval.delegation.before_commit")
        return shown(ended, people)


async def show(ctx: Context, delegation_id: str) -> Row:
    """One delegation. Raises DelegationNotFound."""
    async with ctx.transaction() as conn:
        row = await store.delegation(conn, delegation_id)
        people = await audience(conn, ctx, row["workspace_id"]) if row is not None else None
        if row is None or people is None or ctx.principal.id not in people.names:
            raise DelegationNotFound(f"{delegation_id} is not in a workspace of yours.")
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", row["workspace_id"]))
        return shown(row, people)


async def listing(ctx: Context, workspace_id: str, in_force: bool, after: str | None, limit: int) -> list[Row]:
    """The delegations of a workspace, newest first; limit + 1."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
        rows = await store.delegations(conn, workspace_id, now() if in_force else None, after, limit + 1)
        people = await audience(conn, ctx, workspace_id)
        return [shown(row, people) for row in rows]


def shown(row: Row, people: Audience) -> Row:
    """A delegation as the API shows it. `state`: in force, ended (early), over (its time has come), or void: who gave it
    may not decide now, by role, policy or kill switch, so it gives nothing."""
    giver, taker = people.reader("person", row["from_person"]), people.reader("person", row["to_person"])
    state = "in_force"
    if row["ended_at"] is not None:
        state = "ended"
    elif row["until"] <= now():
        state = "over"
    elif not giver.may_approve or not taker.member:
        state = "void"

    def who(person: str) -> Row:
        return {"kind": "person", "id": person, "name": people.names.get(person, person)}

    keys = ("id", "workspace_id", "scope", "until", "created_at", "ended_at", "ended_by")
    return {
        **{key: row[key] for key in keys},
        "state": state,
        "from": who(row["from_person"]),
        "to": who(row["to_person"]),
    }


async def left(ctx: Context, payload: dict[str, Any]) -> None:
    """Who is taken out of a workspace neither gives nor takes any delegation there: coming back brings none back."""
    people = await audience(ctx.conn, ctx, payload["workspace_id"])
    person = payload["principal_id"]
    if person in people.names:
        return
    for row in await store.delegations(ctx.conn, payload["workspace_id"], now(), None, 10_000):
        if person in (row["from_person"], row["to_person"]):
            ended = await store.end_delegation(ctx.conn, row["id"], ctx.principal.id, now())
            if ended is not None:
                ctx.record(events.delegation_ended(ended, str(people.names.get(row["to_person"], row["to_person"]))))
