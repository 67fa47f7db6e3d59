"""What making, changing or deleting a group would do, before it is done: whose approval would count, and which open
approvals would wait for other people than now. The change is really made, looked at, and undone."""

from __future__ import annotations

from typing import Any

from worka.approvals import actions, groups, store
from worka.approvals.people import audience
from worka.approvals.rules import Ask
from worka.kernel import trial
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource

Row = dict[str, Any]
MOST = 500
"""Open approvals that are looked at; `complete` says whether there were more."""


async def of_new(ctx: Context, workspace_id: str, name: str, purpose: str, people: list[str]) -> Row:
    """What a new group would do. Raises what making it would."""

    async def look() -> Row:
        before = await _standing(ctx, workspace_id)
        made = await groups.create(ctx, workspace_id, name, purpose, people)
        return await _told(ctx, workspace_id, before, None, made)

    return await trial.undone(ctx, look)


async def of_change(ctx: Context, group_id: str, purpose: str | None, add: list[str], remove: list[str]) -> Row:
    """What other people in a group would do. Raises what changing it would."""

    async def look() -> Row:
        group = await groups.show(ctx, group_id)
        before = await _standing(ctx, group["workspace_id"])
        changed = await groups.change(ctx, group_id, purpose, add, remove)
        return await _told(ctx, group["workspace_id"], before, group, changed)

    return await trial.undone(ctx, look)


async def of_end(ctx: Context, group_id: str) -> Row:
    """What deleting a group would do. Raises what deleting it would: one that open approvals name is not deleted."""

    async def look() -> Row:
        group = await groups.show(ctx, group_id)
        before = await _standing(ctx, group["workspace_id"])
        await groups.delete(ctx, group_id)
        return await _told(ctx, group["workspace_id"], before, group, None)

    return await trial.undone(ctx, look)


async def _standing(ctx: Context, workspace_id: str) -> dict[str, Row]:
    """By open approval: its title, who could fill a seat of it that is empty, and whether too few are there to decide it.
    Read without locks: what really changes a group locks its people first, and this must not wait the other way round."""
    await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
    rows = await store.listed(ctx.conn, workspace_id, "open", None, MOST + 1)
    people = await audience(ctx.conn, ctx, workspace_id)
    votes = await store.votes_of(ctx.conn, [row["id"] for row in rows])
    found = {}
    for row in rows:
        ask = Ask.of(row, votes[row["id"]])
        stuck = groups.reason_of(ask, people) == "nobody_can_decide"
        found[row["id"]] = {"title": row["title"], "able": people.able(ask, now()), "stuck": stuck}
    return found


async def _told(ctx: Context, workspace_id: str, before: dict[str, Row], old: Row | None, new: Row | None) -> Row:
    after = await _standing(ctx, workspace_id)
    shown = new or old
    assert shown is not None
    was = {member["id"]: member for member in (old or {}).get("members", [])}
    will = {member["id"]: member for member in (new or {}).get("members", [])}
    touched = []
    for approval_id, row in list(after.items())[:MOST]:
        earlier = before.get(approval_id, {"able": [], "stuck": row["stuck"]})
        gains = [name for name in row["able"] if name not in earlier["able"]]
        loses = [name for name in earlier["able"] if name not in row["able"]]
        if gains or loses or row["stuck"] != earlier["stuck"]:
            touched.append(
                {
                    "id": approval_id,
                    "title": row["title"],
                    "gains": gains,
                    "loses": loses,
                    "freed": earlier["stuck"] and not row["stuck"],
                    "nobody": row["stuck"],
                }
            )
    told = {
        "group_id": old["id"] if old else None,
        "name": shown["name"],
        "purpose": shown["purpose"],
        "deleted": new is None,
        "joins": [will[who] for who in will if who not in was],
        "leaves": [was[who] for who in was if who not in will],
        "stays": [will[who] for who in will if who in was],
        "approvals": touched,
        "complete": len(after) <= MOST,
    }
    return {**told, "sentence": sentence(told)}


def sentence(told: Row) -> str:
    """What would be, in one sentence or more. Pure."""
    name, touched = f"group:{told['name']}", told["approvals"]
    if told["deleted"]:
        said = [f"{name} would not be there any more: a rule that names it would wait for nobody."]
    else:
        counting = sum(1 for member in told["joins"] + told["stays"] if member["counts"])
        everybody = len(told["joins"]) + len(told["stays"])
        people = "1 person" if everybody == 1 else f"{everybody} people"
        of_them = "whose approval counts" if counting == everybody else f"of whom {counting} could approve"
        said = [f"{name} would have {people}, {of_them}." if everybody else f"{name} would have nobody in it."]
    if not touched:
        said.append("No open approval would wait for other people than now.")
    for count, words in (
        (sum(1 for row in touched if row["gains"] or row["loses"]), "would wait for other people than now"),
        (sum(1 for row in touched if row["freed"]), "could then be decided that cannot be now"),
        (
            sum(1 for row in touched if row["nobody"]),
            "could then not be decided: too few people could give what is missing",
        ),
    ):
        if count:
            said.append(f"{'1 open approval' if count == 1 else f'{count} open approvals'} {words}.")
    return " ".join(said)
