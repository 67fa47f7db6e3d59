"""Use cases of groups: who approval rules mean by `group:NAME`. A group gives nobody the approve permission; it says whose
approval counts for which seat."""

from __future__ import annotations

import re
from typing import Any

from worka.approvals import actions, events, rules, store
from worka.approvals.errors import GroupExists, GroupInUse, GroupNotFound, NotAPerson
from worka.approvals.people import Audience, audience
from worka.approvals.rules import Ask
from worka.approvals.seats import GROUP, OF_ROLES
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.ids import new_id

Row = dict[str, Any]
_REASONS = 500  # open approvals whose reason is judged anew at once; what is beyond is judged when it is read


def place(workspace_id: str, **facts: Any) -> Resource:
    """The workspace, as what is changed."""
    return Resource("workspace", workspace_id, workspace_id, facts)


async def create(ctx: Context, workspace_id: str, name: str, purpose: str, people: list[str]) -> Row:
    """Makes a group with these people in it. Raises GroupExists, NotAPerson."""
    if not re.fullmatch(GROUP, name):
        raise ValueError(f"{name!r} is no name of a group")
    async with ctx.transaction() as conn:
        await ctx.require(actions.GROUP_CREATE, place(workspace_id, name=name))
        if name in OF_ROLES or name == "all":
            raise GroupExists(f"{name} always means the {name} of the workspace.")
        await store.lock_people(conn, workspace_id)
        row = {
            "tenant_id": ctx.tenant_id,
            "id": new_id("grp"),
            "workspace_id": workspace_id,
            "name": name,
            "purpose": purpose,
            "created_by": ctx.principal.id,
        }
        made = await store.add_group(conn, row)
        if made is None:
            raise GroupExists(f"There is a group {name}.")
        ctx.record(events.group_created(made))
        await _join(ctx, made, people)
        ctx.failpoint("approval.group.before_commit")
        return await _told(ctx, made["id"], workspace_id)


async def _join(ctx: Context, group: Row, people: list[str]) -> None:
    known = await audience(ctx.conn, ctx, group["workspace_id"])
    before = list(group.get("members") or [])
    added = []
    for person in dict.fromkeys(people):
        if person not in known.readers:
            raise NotAPerson(f"{person} is no person of this workspace.")
        if await store.join_group(ctx.conn, group["tenant_id"], group["id"], person, ctx.principal.id):
            added.append(person)
    if added:
        ctx.record(events.group_changed(group, {"members": before}, {"members": before + added}))


async def _leave(ctx: Context, group: Row, people: list[str]) -> None:
    gone = [person for person in people if await store.leave_group(ctx.conn, group["id"], person)]
    if gone:
        left = [person for person in group["members"] if person not in gone]
        ctx.record(events.group_changed(group, {"members": group["members"]}, {"members": left}))


async def change(ctx: Context, group_id: str, purpose: str | None, add: list[str], remove: list[str]) -> Row:
    """Changes who is in a group, and what it is for; holds for the next decision. Raises GroupNotFound, NotAPerson."""
    async with ctx.transaction() as conn:
        group = await _seen(ctx, group_id)
        await ctx.require(actions.GROUP_CHANGE, place(group["workspace_id"], name=group["name"]))
        await store.lock_people(conn, group["workspace_id"])
        group = await _seen(ctx, group_id)
        if purpose is not None and purpose != group["purpose"]:
            await store.set_purpose(conn, group_id, purpose)
            ctx.record(events.group_changed(group, {"purpose": group["purpose"]}, {"purpose": purpose}))
        await _leave(ctx, group, remove)
        await _join(ctx, {**group, "members": [who for who in group["members"] if who not in remove]}, add)
        ctx.failpoint("approval.group.before_commit")
        return await _told(ctx, group_id, group["workspace_id"])


async def _told(ctx: Context, group_id: str, workspace_id: str) -> Row:
    """The group as it is now, after those who wait for its members were judged anew."""
    await judge_anew(ctx, workspace_id)
    row = await store.group(ctx.conn, group_id)
    assert row is not None
    return shown(row, await audience(ctx.conn, ctx, workspace_id))


async def judge_anew(ctx: Context, workspace_id: str) -> None:
    """Writes why each open approval waits, after something changed who may decide."""
    rows = await store.waiting(ctx.conn, workspace_id, _REASONS)
    if not rows:
        return
    people = await audience(ctx.conn, ctx, workspace_id)
    votes = await store.votes_of(ctx.conn, [row["id"] for row in rows])
    for row in rows:
        reason = reason_of(Ask.of(row, votes[row["id"]]), people)
        if reason != row["reason"]:
            await store.set_reason(ctx.conn, row["id"], reason)


def reason_of(ask: Ask, people: Audience) -> str:
    """Why an open approval waits, by who is in the workspace now."""
    return rules.open_reason(ask, people.in_person(ask, now()))


async def delete(ctx: Context, group_id: str) -> None:
    """Deletes a group that no open approval waits for. Raises GroupNotFound, GroupInUse."""
    async with ctx.transaction() as conn:
        group = await _seen(ctx, group_id)
        await ctx.require(actions.GROUP_DELETE, place(group["workspace_id"], name=group["name"]))
        await store.lock_people(conn, group["workspace_id"])
        if named := await _named_by(ctx, group):
            raise GroupInUse(
                f"{len(named)} open approvals wait for group:{group['name']}, such as {named[0]}.", approvals=named[:20]
            )
        await store.remove_group(conn, group_id)
        ctx.record(events.group_deleted(group))
        ctx.failpoint("approval.group.before_commit")


async def _named_by(ctx: Context, group: Row) -> list[str]:
    rows = await store.waiting(ctx.conn, group["workspace_id"], 10_000)
    return [row["id"] for row in rows if group["name"] in Ask.of(row, []).groups]


async def _seen(ctx: Context, group_id: str) -> Row:
    row = await store.group(ctx.conn, group_id)
    if row is None:
        raise GroupNotFound(f"{group_id} is not in a workspace of yours.")
    people = await audience(ctx.conn, ctx, row["workspace_id"])
    if ctx.principal.id not in people.names:
        raise GroupNotFound(f"{group_id} is not in a workspace of yours.")
    return row


async def show(ctx: Context, group_id: str) -> Row:
    """One group. Raises GroupNotFound."""
    async with ctx.transaction() as conn:
        row = await _seen(ctx, group_id)
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", row["workspace_id"]))
        return shown(row, await audience(conn, ctx, row["workspace_id"]))


async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The groups of a workspace; limit + 1."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
        rows = await store.groups(conn, workspace_id, after, limit + 1)
        people = await audience(conn, ctx, workspace_id)
        return [shown(row, people) for row in rows]


def shown(row: Row, people: Audience) -> Row:
    """A group as the API shows it: who is in it, and who of them may approve at all."""
    keys = ("id", "workspace_id", "name", "purpose", "created_by", "created_at")
    members = []
    for person in row["members"]:
        reader = people.reader("person", person)
        because = "has left" if not reader.member else reader.refused or "holds no permission approve"
        because = "" if reader.may_approve else because
        members.append(
            {"id": person, "name": people.names.get(person, person), "counts": reader.may_approve, "because": because}
        )
    return {**{key: row[key] for key in keys}, "members": members}


async def left(ctx: Context, payload: dict[str, Any]) -> None:
    """Who is taken out of a workspace is taken out of its groups: coming back later brings no seat back."""
    people = await audience(ctx.conn, ctx, payload["workspace_id"])
    if payload["principal_id"] not in people.names:
        for group in await store.groups_of_person(ctx.conn, payload["workspace_id"], payload["principal_id"]):
            await _leave(ctx, group, [payload["principal_id"]])
    await judge_anew(ctx, payload["workspace_id"])
