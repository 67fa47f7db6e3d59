"""Every query of approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.approvals.rules import APPROVAL, BYPASS
from worka.kernel.db import Connection
from worka.kernel.events import MESSAGES, WORK_CHANNEL

Row = dict[str, Any]
_COLUMNS = (
    "tenant_id", "id", "workspace_id", "verb", "boundary", "action", "subject_type", "subject_id", "title", "effect",
    "digest", "rules", "quorum", "four_eyes", "requester_kind", "requester_id", "originating_person", "acting_owner",
    "decision_id", "policy_version", "card", "arguments_sealed", "blocks", "reason", "expires_at", "trace_id",
    "due_at", "own_rules", "led_by",
)  # fmt: skip
_JSON = ("rules", "card", "blocks", "own_rules", "led_by")


async def add(conn: Connection, row: Row) -> Row:
    """Inserts an open approval."""
    APPROVAL.holds("open", row["reason"])
    names = ", ".join(_COLUMNS)
    places = ", ".join(f"%({name})s" for name in _COLUMNS)
    cursor = await conn.execute(
        f"insert into worka.approval ({names}) values ({places}) returning *",  # noqa: S608 - our own column names
        {"due_at": None, **row, **{key: Jsonb(row.get(key, [])) for key in _JSON}},
    )
    made = await cursor.fetchone()
    assert made is not None
    return made


async def get(conn: Connection, approval_id: str, *, lock: bool = False) -> Row | None:
    """One approval of the tenant; with `lock` nobody else decides or uses it until this transaction ends."""
    plain, locking = (
        "select * from worka.approval where id = %s",
        "select * from worka.approval where id = %s for update",
    )
    cursor = await conn.execute(locking if lock else plain, (approval_id,))
    return await cursor.fetchone()


async def open_for(conn: Connection, subject_id: str, digest: str) -> Row | None:
    """The open approval of exactly this action, if there is one."""
    cursor = await conn.execute(
        "select * from worka.approval where subject_id = %s and digest = %s and state = 'open' and expires_at > now()"
        " order by id desc limit 1 for update",
        (subject_id, digest),
    )
    return await cursor.fetchone()


async def usable_for(conn: Connection, subject_id: str, digest: str) -> Row | None:
    """The newest approved, unexpired and unused approval of exactly this action."""
    cursor = await conn.execute(
        "select * from worka.approval where subject_id = %s and digest = %s and state = 'approved'"
        " and consumed_at is null and expires_at > now() order by id desc limit 1",
        (subject_id, digest),
    )
    return await cursor.fetchone()


async def of_subject(conn: Connection, subject_id: str) -> list[Row]:
    """The open approvals, and the approved but unused ones, of a subject; locked."""
    cursor = await conn.execute(
        "select * from worka.approval where subject_id = %s and (state = 'open' or (state = 'approved' and consumed_at"
        " is null)) order by id for update",
        (subject_id,),
    )
    return await cursor.fetchall()


_BLOCKED = {
    "task": "select id, state from worka.task where id = any(%s)",
    "att": "select id, state from worka.attachment where id = any(%s)",
    "conn": "select id, state from worka.connection where id = any(%s)",
    "mov": "select id, state from worka.attachment_move where id = any(%s)",
}


async def states_of(conn: Connection, blocks: list[Row]) -> dict[str, str]:
    """The states, by id, of the things that an approval holds up or held up, as far as they still exist."""
    found: dict[str, str] = {}
    for prefix, query in _BLOCKED.items():
        ids = [block["id"] for block in blocks if block["id"].startswith(f"{prefix}_")]
        if ids:
            found |= {row["id"]: row["state"] for row in await (await conn.execute(query, (ids,))).fetchall()}
    return found


async def listed(conn: Connection, workspace_id: str, state: str | None, after: str | None, limit: int) -> list[Row]:
    """The approvals of a workspace, newest first, without sealed arguments."""
    cursor = await conn.execute(
        "select * from worka.approval where workspace_id = %(workspace)s"
        " and (%(state)s::text is null or state = %(state)s)"
        " and (%(after)s::text is null or id < %(after)s) order by id desc limit %(limit)s",
        {"workspace": workspace_id, "state": state, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def votes(conn: Connection, approval_id: str) -> list[Row]:
    """Who decided what, in order."""
    cursor = await conn.execute(
        "select * from worka.approval_vote where approval_id = %s order by at, person_id", (approval_id,)
    )
    return await cursor.fetchall()


async def votes_of(conn: Connection, approval_ids: list[str]) -> dict[str, list[Row]]:
    """The votes of several approvals by approval."""
    cursor = await conn.execute(
        "select * from worka.approval_vote where approval_id = any(%s) order by at, person_id", (approval_ids,)
    )
    found: dict[str, list[Row]] = {approval_id: [] for approval_id in approval_ids}
    for row in await cursor.fetchall():
        found[row["approval_id"]].append(row)
    return found


_VOTE: Row = {"on_behalf_of": None, "groups": [], "stepped_up_at": None, "stepped_up_by": None, "in_batch": False}


async def add_vote(conn: Connection, row: Row) -> None:
    """Inserts a vote (tenant_id, approval_id, person_id, decision, comment, credential_id; on_behalf_of, groups,
    stepped_up_at, stepped_up_by, in_batch), with the time at which the voter first opened the card. The database refuses a second vote of
    one person, and a second one by one authority."""
    await conn.execute(
        "insert into worka.approval_vote (tenant_id, approval_id, person_id, decision, comment, credential_id,"
        " on_behalf_of, groups, stepped_up_at, stepped_up_by, in_batch, opened_at)"
        " values (%(tenant_id)s, %(approval_id)s, %(person_id)s, %(decision)s, %(comment)s, %(credential_id)s,"
        " %(on_behalf_of)s, %(groups)s, %(stepped_up_at)s, %(stepped_up_by)s, %(in_batch)s, (select s.at from worka.approval_seen s where"
        " s.approval_id = %(approval_id)s and s.person_id = %(person_id)s))",
        {**_VOTE, **row, "groups": Jsonb(row.get("groups", []))},
    )


async def see(conn: Connection, tenant_id: str, approval_id: str, person_id: str) -> None:
    """Keeps when somebody first opened the card of an approval."""
    await conn.execute(
        "insert into worka.approval_seen (tenant_id, approval_id, person_id) values (%s, %s, %s) on conflict do nothing",
        (tenant_id, approval_id, person_id),
    )


async def close(
    conn: Connection,
    approval_id: str,
    old: str,
    state: str,
    reason: str,
    decided: datetime | None,
    moved: Row | None = None,
) -> Row | None:
    """Moves an approval out of `old`; None if it is in another state by now. `moved`: what policy says now, where that
    ended it."""
    APPROVAL.holds(state, reason)
    cursor = await conn.execute(
        "update worka.approval set state = %s, reason = %s, since = now(), decided_at = coalesce(%s, decided_at),"
        " moved = %s where id = %s and state = %s returning *",
        (state, reason, decided, Jsonb(moved) if moved else None, approval_id, old),
    )
    return await cursor.fetchone()


async def successor(conn: Connection, row: Row) -> str | None:
    """The id of the approval that was asked for in the place of a superseded one: the next of its subject."""
    cursor = await conn.execute(
        "select min(id) as id from worka.approval where subject_id = %s and subject_type = %s and id > %s",
        (row["subject_id"], row["subject_type"], row["id"]),
    )
    found = await cursor.fetchone()
    return found["id"] if found else None


async def predecessor(conn: Connection, row: Row) -> Row | None:
    """The approval of exactly the same action that was asked for before this one."""
    cursor = await conn.execute(
        "select * from worka.approval where subject_id = %s and digest = %s and id < %s order by id desc limit 1",
        (row["subject_id"], row["digest"], row["id"]),
    )
    return await cursor.fetchone()


async def set_reason(conn: Connection, approval_id: str, reason: str) -> None:
    """Writes why an open approval waits."""
    APPROVAL.holds("open", reason)
    await conn.execute(
        "update worka.approval set reason = %s, since = now() where id = %s and state = 'open' and reason <> %s",
        (reason, approval_id, reason),
    )


async def consume(conn: Connection, approval_id: str, used_by: str) -> Row | None:
    """Marks it used, once: None unless it is approved, unexpired, and unused (or used by this same key)."""
    cursor = await conn.execute(
        "update worka.approval set consumed_at = coalesce(consumed_at, now()), consumed_by = %(by)s, reason = 'used'"
        " where id = %(id)s and state = 'approved'"
        " and (consumed_by = %(by)s or (consumed_at is null and expires_at > now())) returning *",
        {"id": approval_id, "by": used_by},
    )
    return await cursor.fetchone()


async def overdue(conn: Connection, most: int) -> list[Row]:
    """Open approvals whose time has passed, over all tenants: tenant_id, approval_id."""
    return await (await conn.execute("select * from worka.approvals_overdue(%s)", (most,))).fetchall()


# groups and delegations ---------------------------------------------------------------------------------------------
async def standing(conn: Connection, workspace_id: str, at: datetime) -> Row:
    """{groups: {name: [person]}, delegations: [{from_person, to_person, scope}] that hold at this time}, in one read."""
    cursor = await conn.execute(
        "select (select coalesce(jsonb_object_agg(g.name, (select coalesce(jsonb_agg(m.person_id), '[]') from"
        " worka.approval_group_member m where m.group_id = g.id)), '{}') from worka.approval_group g where"
        " g.workspace_id = %(workspace)s) as groups, (select coalesce(jsonb_agg(jsonb_build_object('from_person',"
        " d.from_person, 'to_person', d.to_person, 'scope', d.scope) order by d.id), '[]') from"
        " worka.approval_delegation d where d.workspace_id = %(workspace)s and d.ended_at is null and d.until > %(at)s)"
        " as delegations",
        {"workspace": workspace_id, "at": at},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


_GROUP = (
    "select g.*, (select coalesce(jsonb_agg(m.person_id order by m.added_at, m.person_id), '[]') from"
    " worka.approval_group_member m where m.group_id = g.id) as members from worka.approval_group g where"
)


async def lock_people(conn: Connection, workspace_id: str) -> None:
    """Changes of groups and delegations of one workspace come one after the other."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended('approval people ' || %s, 0))", (workspace_id,))


async def add_group(conn: Connection, row: Row) -> Row | None:
    """Inserts a group (tenant_id, id, workspace_id, name, purpose, created_by); None: the name is taken."""
    cursor = await conn.execute(
        "insert into worka.approval_group (tenant_id, id, workspace_id, name, purpose, created_by) values"
        " (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(purpose)s, %(created_by)s) on conflict do nothing"
        " returning *",
        row,
    )
    return await cursor.fetchone()


async def group(conn: Connection, group_id: str) -> Row | None:
    """A group with the ids of its members."""
    return await (await conn.execute(f"{_GROUP} g.id = %s", (group_id,))).fetchone()


async def groups(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The groups of a workspace by id, each with the ids of its members."""
    cursor = await conn.execute(
        f"{_GROUP} g.workspace_id = %(workspace)s and (%(after)s::text is null or g.id > %(after)s) order by g.id"
        " limit %(limit)s",
        {"workspace": workspace_id, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def set_purpose(conn: Connection, group_id: str, purpose: str) -> None:
    """Writes what a group is for."""
    await conn.execute("update worka.approval_group set purpose = %s where id = %s", (purpose, group_id))


async def join_group(conn: Connection, tenant_id: str, group_id: str, person_id: str, by: str) -> bool:
    """Puts a person into a group; False: they are in it."""
    cursor = await conn.execute(
        "insert into worka.approval_group_member (tenant_id, group_id, person_id, added_by) values (%s, %s, %s, %s)"
        " on conflict do nothing",
        (tenant_id, group_id, person_id, by),
    )
    return cursor.rowcount == 1


async def leave_group(conn: Connection, group_id: str, person_id: str) -> bool:
    """Takes a person out of a group; False: they were not in it."""
    cursor = await conn.execute(
        "delete from worka.approval_group_member where group_id = %s and person_id = %s", (group_id, person_id)
    )
    return cursor.rowcount == 1


async def groups_of_person(conn: Connection, workspace_id: str, person_id: str) -> list[Row]:
    """The groups of a workspace that a person is in."""
    cursor = await conn.execute(
        f"{_GROUP} g.workspace_id = %s and exists (select 1 from worka.approval_group_member m where m.group_id = g.id"  # noqa: S608
        " and m.person_id = %s) order by g.id",
        (workspace_id, person_id),
    )
    return await cursor.fetchall()


async def remove_group(conn: Connection, group_id: str) -> None:
    """Deletes a group with its memberships."""
    await conn.execute("delete from worka.approval_group where id = %s", (group_id,))


async def waiting(conn: Connection, workspace_id: str, most: int) -> list[Row]:
    """The open approvals of a workspace, oldest first; locked, so that what changes who may decide changes their reason."""
    cursor = await conn.execute(
        "select * from worka.approval where workspace_id = %s and state = 'open' order by id limit %s for update",
        (workspace_id, most),
    )
    return await cursor.fetchall()


async def add_delegation(conn: Connection, row: Row) -> Row:
    """Inserts a delegation (tenant_id, id, workspace_id, from_person, to_person, scope, until)."""
    cursor = await conn.execute(
        "insert into worka.approval_delegation (tenant_id, id, workspace_id, from_person, to_person, scope, until) values"
        " (%(tenant_id)s, %(id)s, %(workspace_id)s, %(from_person)s, %(to_person)s, %(scope)s, %(until)s) returning *",
        row,
    )
    made = await cursor.fetchone()
    assert made is not None
    return made


async def delegation(conn: Connection, delegation_id: str, *, lock: bool = False) -> Row | None:
    """One delegation; with `lock` nobody else ends it until this transaction ends."""
    plain, locking = (
        "select * from worka.approval_delegation where id = %s",
        "select * from worka.approval_delegation where id = %s for update",
    )
    return await (await conn.execute(locking if lock else plain, (delegation_id,))).fetchone()


async def delegations(
    conn: Connection, workspace_id: str, in_force: datetime | None, after: str | None, limit: int
) -> list[Row]:
    """The delegations of a workspace, newest first; with `in_force` those that hold at that time."""
    cursor = await conn.execute(
        "select * from worka.approval_delegation where workspace_id = %(workspace)s"
        " and (%(at)s::timestamptz is null or (ended_at is null and until > %(at)s))"
        " and (%(after)s::text is null or id < %(after)s) order by id desc limit %(limit)s",
        {"workspace": workspace_id, "at": in_force, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def end_delegation(conn: Connection, delegation_id: str, by: str, at: datetime) -> Row | None:
    """Ends a delegation; None: it has ended."""
    cursor = await conn.execute(
        "update worka.approval_delegation set ended_at = %(at)s, ended_by = %(by)s where id = %(id)s and ended_at is null"
        " and until > %(at)s returning *",
        {"id": delegation_id, "by": by, "at": at},
    )
    return await cursor.fetchone()


# reminders, escalation, settings ------------------------------------------------------------------------------------
SETTINGS = ("expires_minutes", "remind_minutes", "remind_times", "escalate_minutes", "escalate_to", "blanket_seconds")


async def settings(conn: Connection, workspace_id: str) -> Row | None:
    """What a workspace has set for its approvals; None: nothing."""
    cursor = await conn.execute("select * from worka.approval_settings where workspace_id = %s", (workspace_id,))
    return await cursor.fetchone()


async def put_settings(conn: Connection, row: Row) -> Row:
    """Writes what a workspace sets (tenant_id, workspace_id, updated_by, and all of SETTINGS; null: the deployment's)."""
    names = ", ".join(SETTINGS)
    places = ", ".join(f"%({name})s" for name in SETTINGS)
    new = ", ".join(f"{name} = excluded.{name}" for name in (*SETTINGS, "updated_by", "updated_at"))
    cursor = await conn.execute(
        f"insert into worka.approval_settings (tenant_id, workspace_id, updated_by, updated_at, {names}) values"  # noqa: S608
        f" (%(tenant_id)s, %(workspace_id)s, %(updated_by)s, now(), {places})"
        f" on conflict (tenant_id, workspace_id) do update set {new} returning *",
        row,
    )
    made = await cursor.fetchone()
    assert made is not None
    return made


async def due(conn: Connection, most: int) -> list[Row]:
    """Open approvals of which a reminder or the escalation is due, over all tenants: tenant_id, approval_id."""
    return await (await conn.execute("select * from worka.approvals_due(%s)", (most,))).fetchall()


async def schedule(conn: Connection, approval_id: str, due_at: datetime | None) -> None:
    """Writes when the next reminder or the escalation of an open approval is due; None: never."""
    await conn.execute("update worka.approval set due_at = %s where id = %s and state = 'open'", (due_at, approval_id))


async def look_again(conn: Connection, workspace_id: str | None, at: datetime) -> None:
    """Makes the sweep look at every open approval of a workspace (None: of the tenant) again. One that somebody decides in
    this moment is left: whoever saves a policy and whoever approves another one would wait for each other."""
    await conn.execute(
        "update worka.approval set due_at = %(at)s where id in (select id from worka.approval where state = 'open'"
        " and (%(workspace)s::text is null or workspace_id = %(workspace)s) order by id for update skip locked)",
        {"at": at, "workspace": workspace_id},
    )


async def mark_reminded(conn: Connection, approval_id: str) -> Row | None:
    """Counts a reminder."""
    cursor = await conn.execute(
        "update worka.approval set reminders = reminders + 1 where id = %s and state = 'open' returning *",
        (approval_id,),
    )
    return await cursor.fetchone()


async def mark_escalated(conn: Connection, approval_id: str, group_name: str) -> Row | None:
    """Opens every seat to the members of a group; None: it is escalated already, or not open."""
    cursor = await conn.execute(
        "update worka.approval set escalated_at = now(), escalated_to = %s where id = %s and state = 'open'"
        " and escalated_at is null returning *",
        (group_name, approval_id),
    )
    return await cursor.fetchone()


async def send_later(conn: Connection, row: Row) -> None:
    """Inserts a message for whoever delivers (tenant_id, id, topic, payload), in the transaction of what it tells, and rings
    for them at its commit."""
    await conn.execute(
        "insert into worka.outbox (tenant_id, id, topic, payload) values (%(tenant_id)s, %(id)s, %(topic)s, %(payload)s)"
        " returning pg_notify(%(bell)s, %(word)s)",
        {**row, "payload": Jsonb(row["payload"]), "bell": WORK_CHANNEL, "word": MESSAGES},
    )


# bypass -------------------------------------------------------------------------------------------------------------
_BYPASS = (
    "tenant_id", "id", "workspace_id", "kind", "target", "why", "until", "most_uses", "state", "reason", "approval_id",
    "opened_by",
)  # fmt: skip


async def add_bypass(conn: Connection, row: Row) -> Row:
    """Inserts a bypass, open or waiting for a second owner."""
    BYPASS.holds(row["state"], row["reason"])
    names = ", ".join(_BYPASS)
    places = ", ".join(f"%({name})s" for name in _BYPASS)
    cursor = await conn.execute(
        f"insert into worka.approval_bypass ({names}) values ({places}) returning *",  # noqa: S608 - our own column names
        row,
    )
    made = await cursor.fetchone()
    assert made is not None
    return made


async def bypass(conn: Connection, bypass_id: str, *, lock: bool = False) -> Row | None:
    """One bypass; with `lock` nobody else uses or moves it until this transaction ends."""
    plain, locking = (
        "select * from worka.approval_bypass where id = %s",
        "select * from worka.approval_bypass where id = %s for update",
    )
    return await (await conn.execute(locking if lock else plain, (bypass_id,))).fetchone()


async def bypasses(conn: Connection, workspace_id: str, state: str | None, after: str | None, limit: int) -> list[Row]:
    """The bypasses of a workspace, newest first."""
    cursor = await conn.execute(
        "select * from worka.approval_bypass where workspace_id = %(workspace)s"
        " and (%(state)s::text is null or state = %(state)s) and (%(after)s::text is null or id < %(after)s)"
        " order by id desc limit %(limit)s",
        {"workspace": workspace_id, "state": state, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def move_bypass(
    conn: Connection, bypass_id: str, old: str, state: str, reason: str, by: str | None
) -> Row | None:
    """Moves a bypass out of `old`; None if it is in another state by now."""
    BYPASS.holds(state, reason)
    cursor = await conn.execute(
        "update worka.approval_bypass set state = %(state)s, reason = %(reason)s, since = now(),"
        " closed_by = case when %(state)s = 'closed' then %(by)s else closed_by end"
        " where id = %(id)s and state = %(old)s returning *",
        {"id": bypass_id, "old": old, "state": state, "reason": reason, "by": by},
    )
    return await cursor.fetchone()


_TAKABLE = (
    "workspace_id = %(workspace)s and state = 'open' and until > %(at)s and uses < most_uses"
    " and kind || ' ' || target = any(%(targets)s)"
)


async def bypasses_for(conn: Connection, workspace_id: str, targets: list[tuple[str, str]], at: datetime) -> list[Row]:
    """The open bypasses for one of these targets (kind, name) with a use left at this time, oldest first."""
    cursor = await conn.execute(
        f"select * from worka.approval_bypass where {_TAKABLE} order by id",  # noqa: S608 - our own constant
        {"workspace": workspace_id, "at": at, "targets": [f"{kind} {name}" for kind, name in targets]},
    )
    return await cursor.fetchall()


async def take_bypass(
    conn: Connection, workspace_id: str, targets: list[tuple[str, str]], at: datetime, only: list[str] | None = None
) -> Row | None:
    """Uses an open bypass for one of these targets (kind, name), once; None: there is none with a use left at this time.
    `only`: one of these ids. The row is locked until the transaction ends, so the number of uses holds over all processes."""
    cursor = await conn.execute(
        "update worka.approval_bypass set uses = uses + 1 where id = (select id from worka.approval_bypass where"  # noqa: S608
        f" {_TAKABLE} and (%(only)s::text[] is null or id = any(%(only)s)) order by id limit 1 for update)"
        " and uses < most_uses and state = 'open' returning *",
        {"workspace": workspace_id, "at": at, "targets": [f"{kind} {name}" for kind, name in targets], "only": only},
    )
    return await cursor.fetchone()


async def bypasses_of(conn: Connection, workspace_id: str, person_id: str, at: datetime) -> list[Row]:
    """The bypasses that somebody opened and that are not over at this time, waiting ones too; locked."""
    cursor = await conn.execute(
        "select * from worka.approval_bypass where workspace_id = %s and opened_by = %s and state <> 'closed'"
        " and until > %s order by id for update",
        (workspace_id, person_id, at),
    )
    return await cursor.fetchall()


async def mark_bypassed(conn: Connection, approval_id: str, bypass_id: str) -> None:
    """Writes by which bypass an approval was let through."""
    await conn.execute("update worka.approval set bypass_id = %s where id = %s", (bypass_id, approval_id))


# fatigue ------------------------------------------------------------------------------------------------------------
async def votes_between(
    conn: Connection, workspace_id: str, since: datetime, person_id: str | None, most: int
) -> list[Row]:
    """Votes of a workspace since a time, newest first: who, what, how long it had waited, when the card was opened, by
    which rules, and for what. Only one person's with `person_id`."""
    cursor = await conn.execute(
        "select v.person_id, v.decision, v.at, v.opened_at, v.in_batch, a.created_at, a.rules, a.boundary, a.id"
        " from worka.approval_vote v join worka.approval a on a.tenant_id = v.tenant_id and a.id = v.approval_id"
        " where a.workspace_id = %(workspace)s and v.at >= %(since)s"
        " and (%(person)s::text is null or v.person_id = %(person)s) order by v.at desc limit %(most)s",
        {"workspace": workspace_id, "since": since, "person": person_id, "most": most},
    )
    return await cursor.fetchall()
