"""Every query of moves, of what an attachment follows, and of definitions that are held. The tenant is the transaction's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.kernel.events import WORK_CHANNEL
from worka.packs.moving import model

Row = dict[str, Any]
_SHORT = (
    "m.id, m.workspace_id, m.attachment_id, m.pack, m.kind, m.from_release, m.to_release, m.state, m.reason, m.since,"
    " m.widens, m.redefines, m.requester_kind, m.requester_id, m.originating_person, m.approval_id, m.decision_id,"
    " m.error, m.why, m.created_at, m.ended_at, f.version as from_version, t.version as to_version"
)
_JOINS = (
    " from worka.attachment_move m join worka.release f on f.id = m.from_release"
    " join worka.release t on t.id = m.to_release"
)


# releases ------------------------------------------------------------------------------------------------------------
async def releases_of(conn: Connection, pack: str) -> list[Row]:
    """The releases of a pack that can be attached: {id, version, digest, created_at}, newest registration first."""
    publisher, _, name = pack.partition(".")
    cursor = await conn.execute(
        "select id, version, digest, created_at from worka.release where publisher = %s and name = %s"
        " and state = 'released' order by id desc limit 1000",
        (publisher, name),
    )
    return await cursor.fetchall()


async def recorded_calls(
    conn: Connection, workspace_id: str, pack: str, names: list[str], since: datetime, after: str | None, limit: int
) -> list[Row]:
    """Calls of a workspace since then, and refusals of calls, of this pack or of a tool with one of these names; newest first:
    {cursor, id, tool, pack, state, initiator_kind, initiator_id, at, decision, definition}. `definition` is the tool as its
    release had it, None where that is not known."""
    cursor = await conn.execute(
        "select 'after.' || split_part(x.id, '_', 2) as cursor, x.*, to_jsonb(d) as decision, (select t from worka.release r,"
        " jsonb_array_elements(r.tools) t where r.id = x.release_id and x.pack || '.' || (t ->> 'name') = x.tool limit 1) as"
        " definition from (select i.id, i.tool, i.pack, i.release_id, i.decision_id, i.state, i.initiator_kind,"
        " i.initiator_id, i.started_at as at from worka.invocation i where i.workspace_id = %(place)s"
        " and i.started_at >= %(since)s union all select c.id, c.resource_id, c.context -> 'facts' ->> 'pack',"
        " c.context -> 'facts' ->> 'release', c.id, 'refused', c.principal_kind, c.principal_id, c.at from worka.decision c"
        " where c.workspace_id = %(place)s and c.at >= %(since)s and c.action = 'tool.invoke' and c.verdict = 'deny'"
        " and c.asked_by is null and c.context -> 'facts' ? 'pack') x left join worka.decision d on d.id = x.decision_id"
        " where (x.pack = %(pack)s or substr(x.tool, length(x.pack) + 2) = any(%(names)s))"
        " and (%(after)s::text is null or split_part(x.id, '_', 2) < %(after)s)"
        " order by split_part(x.id, '_', 2) desc limit %(limit)s",
        {"place": workspace_id, "since": since, "pack": pack, "names": names, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def followers(conn: Connection, pack: str) -> list[Row]:
    """The attachments of a pack that follow its releases, in every workspace of the tenant, locked in one order."""
    cursor = await conn.execute(
        "select a.*, r.version from worka.attachment a join worka.release r on r.id = a.release_id"
        " where a.pack = %s and a.mode = 'tracking' and a.state in ('attached', 'held', 'updating') order by a.id"
        " for update of a",
        (pack,),
    )
    return await cursor.fetchall()


# moves --------------------------------------------------------------------------------------------------------------
async def insert_move(conn: Connection, row: Row) -> Row:
    """A move, planned. One that is under way for the attachment already is an error of the caller."""
    cursor = await conn.execute(
        "insert into worka.attachment_move (tenant_id, id, workspace_id, attachment_id, pack, kind, from_release,"
        " to_release, state, reason, difference, widens, redefines, mounts, requester_kind, requester_id,"
        " originating_person, why) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(attachment_id)s, %(pack)s, %(kind)s,"
        " %(from_release)s, %(to_release)s, 'planned', 'move_planned', %(difference)s, %(widens)s, %(redefines)s,"
        " %(mounts)s, %(requester_kind)s, %(requester_id)s, %(originating_person)s, %(why)s) returning *",
        {**row, "difference": Jsonb(row["difference"]), "mounts": Jsonb(row["mounts"])},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def move(conn: Connection, move_id: str) -> Row | None:
    """A move, with the versions that it leads from and to."""
    cursor = await conn.execute(
        f"select m.*, f.version as from_version, t.version as to_version{_JOINS} where m.id = %s",
        (move_id,),
    )
    return await cursor.fetchone()


async def move_for_update(conn: Connection, move_id: str) -> Row | None:
    """A move, locked until the end of the transaction. Its attachment is locked before it."""
    cursor = await conn.execute("select * from worka.attachment_move where id = %s for update", (move_id,))
    return await cursor.fetchone()


async def open_move(conn: Connection, attachment_id: str) -> Row | None:
    """The move that is under way for an attachment, locked; the attachment is locked before it."""
    cursor = await conn.execute(
        "select * from worka.attachment_move where attachment_id = %s and ended_at is null for update", (attachment_id,)
    )
    return await cursor.fetchone()


async def open_moves(conn: Connection, workspace_id: str) -> dict[str, Row]:
    """Moves that are under way or wait in a workspace, by attachment: {id, state, reason, to_version}."""
    cursor = await conn.execute(
        f"select m.attachment_id, m.id, m.state, m.reason, t.version as to_version{_JOINS} where m.workspace_id = %s"
        " and m.ended_at is null",
        (workspace_id,),
    )
    return {row.pop("attachment_id"): row for row in await cursor.fetchall()}


async def moves_of(conn: Connection, attachment_id: str, after: str | None, limit: int) -> list[Row]:
    """The moves of an attachment, newest first, without their differences."""
    cursor = await conn.execute(
        f"select {_SHORT}{_JOINS} where m.attachment_id = %s and (%s::text is null or m.id < %s)"
        " order by m.id desc limit %s",
        (attachment_id, after, after, limit),
    )
    return await cursor.fetchall()


async def arrival(conn: Connection, attachment_id: str, release_id: str) -> Row | None:
    """The move by which an attachment came to a release, other than by going back to it."""
    cursor = await conn.execute(
        "select * from worka.attachment_move where attachment_id = %s and to_release = %s and state = 'moved'"
        " and kind <> 'back' order by id desc limit 1",
        (attachment_id, release_id),
    )
    return await cursor.fetchone()


async def waiting_moves(conn: Connection, workspace_id: str, state: str) -> list[Row]:
    """The moves of a workspace that wait for a connection or a pack, oldest first."""
    cursor = await conn.execute(
        "select * from worka.attachment_move where workspace_id = %s and state = %s order by id", (workspace_id, state)
    )
    return await cursor.fetchall()


async def set_state(conn: Connection, move_id: str, state: str, reason: str, error: Row | None = None) -> None:
    """A new state; with an end, when that was."""
    model.MOVE.holds(state, reason)
    await conn.execute(
        "update worka.attachment_move set state = %(state)s, reason = %(reason)s, since = clock_timestamp(),"
        " error = coalesce(%(error)s, error), ended_at = case when %(over)s then clock_timestamp() end"
        " where id = %(id)s",
        {
            "id": move_id, "state": state, "reason": reason, "error": None if error is None else Jsonb(error),
            "over": model.MOVE.terminal(state),
        },
    )  # fmt: skip


async def set_decision(conn: Connection, move_id: str, decision_id: str, approval_id: str | None) -> None:
    """The decision that it goes on by, and the approval that it needs."""
    await conn.execute(
        "update worka.attachment_move set decision_id = %s, approval_id = coalesce(%s, approval_id) where id = %s",
        (decision_id, approval_id, move_id),
    )


async def enqueue_move(conn: Connection, tenant_id: str, move_id: str) -> None:
    """Hands the next part of a move to the engine in this transaction."""
    cursor = await conn.execute(
        "update worka.attachment_move set runs = runs + 1 where id = %s returning runs", (move_id,)
    )
    row = await cursor.fetchone()
    assert row is not None
    await conn.execute(
        "select worka.enqueue_job('pack.move', %s, %s, %s), pg_notify(%s, 'tenant_jobs')",
        (tenant_id, move_id, f"pack.move:{move_id}:{row['runs']}", WORK_CHANNEL),
    )


async def moves_left(conn: Connection, silence: timedelta, most: int) -> list[Row]:
    """Moves that nobody seems to carry, over all tenants: tenant_id and move_id."""
    cursor = await conn.execute("select * from worka.moves_left(%s, %s)", (silence, most))
    return await cursor.fetchall()


async def still_left(conn: Connection, move_id: str, silence: timedelta) -> bool:
    """Whether it is one still; locks it."""
    cursor = await conn.execute(
        "select 1 from worka.attachment_move m where m.id = %s and worka.move_left(m.state, m.since, m.runs, %s) for update",
        (move_id, silence),
    )
    return await cursor.fetchone() is not None


# attachments --------------------------------------------------------------------------------------------------------
async def to_release(conn: Connection, attachment_id: str, release: Row, mounts: list[Row]) -> None:
    """The attachment is of this release now: what was held of the other one is of no account any more."""
    await conn.execute(
        "update worka.attachment set release_id = %s, digest = %s, mounts = %s, held = null, definitions = '{}'"
        " where id = %s",
        (release["id"], release["digest"], Jsonb(mounts), attachment_id),
    )


async def set_mode(conn: Connection, attachment_id: str, mode: str, by: str | None, behind: str | None) -> None:
    """Whether it follows, and on whose account: who let it, and the person behind them."""
    await conn.execute(
        "update worka.attachment set mode = %s, followed_by = %s, followed_for = %s where id = %s",
        (mode, by, behind, attachment_id),
    )


async def set_definitions(conn: Connection, attachment_id: str, definitions: Row, held: Row | None) -> None:
    """What the server lists now of the tools that differ, with what was decided, and which still wait for that."""
    await conn.execute(
        "update worka.attachment set definitions = %s, held = %s where id = %s",
        (Jsonb(definitions), None if held is None else Jsonb(held), attachment_id),
    )


async def attached_tools(conn: Connection, workspace_id: str, packs: list[str]) -> list[Row]:
    """Of packs that serve in a workspace: {pack, attachment_id, version, tools: [names]}."""
    cursor = await conn.execute(
        "select a.pack, a.id as attachment_id, r.version,"
        " (select coalesce(jsonb_agg(t.value ->> 'name'), '[]') from jsonb_array_elements(r.tools) t) as tools"
        " from worka.attachment a join worka.release r on r.id = a.release_id"
        " where a.workspace_id = %s and a.pack = any(%s) and a.state in ('attached', 'held', 'updating')",
        (workspace_id, packs),
    )
    return await cursor.fetchall()


async def awaiting_dependency(conn: Connection, workspace_id: str) -> list[Row]:
    """The attachments of a workspace that wait for a pack, oldest first. Whoever moves one locks its release before it."""
    cursor = await conn.execute(
        "select * from worka.attachment where workspace_id = %s and state = 'awaiting_dependency' order by id",
        (workspace_id,),
    )
    return await cursor.fetchall()
