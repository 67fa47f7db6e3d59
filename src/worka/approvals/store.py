"""Every query of approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.approvals.rules import APPROVAL
from worka.kernel.db import Connection

Row = dict[str, Any]
_COLUMNS = (
    "tenant_id", "id", "workspace_id", "verb", "boundary", "action", "subject_type", "subject_id", "title", "effect",
    "digest", "rules", "quorum", "four_eyes", "requester_kind", "requester_id", "originating_person", "acting_owner",
    "decision_id", "policy_version", "card", "arguments_sealed", "blocks", "reason", "expires_at", "trace_id",
)  # fmt: skip
_JSON = ("rules", "card", "blocks")


async def add(conn: Connection, row: Row) -> Row:
    """Inserts an open approval."""
    APPROVAL.holds("open", row["reason"])
    names = ", ".join(_COLUMNS)
    places = ", ".join(f"%({name})s" for name in _COLUMNS)
    cursor = await conn.execute(
        f"insert into worka.approval ({names}) values ({places}) returning *",  # noqa: S608 - our own column names
        {**row, **{key: Jsonb(row[key]) for key in _JSON}},
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


async def add_vote(conn: Connection, row: Row) -> None:
    """Inserts a vote (tenant_id, approval_id, person_id, decision, comment, credential_id)."""
    await conn.execute(
        "insert into worka.approval_vote (tenant_id, approval_id, person_id, decision, comment, credential_id)"
        " values (%(tenant_id)s, %(approval_id)s, %(person_id)s, %(decision)s, %(comment)s, %(credential_id)s)",
        row,
    )


async def close(
    conn: Connection, approval_id: str, old: str, state: str, reason: str, decided: datetime | None
) -> Row | None:
    """Moves an approval out of `old`; None if it is in another state by now."""
    APPROVAL.holds(state, reason)
    cursor = await conn.execute(
        "update worka.approval set state = %s, reason = %s, since = now(), decided_at = coalesce(%s, decided_at)"
        " where id = %s and state = %s returning *",
        (state, reason, decided, approval_id, old),
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
