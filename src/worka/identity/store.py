"""Every query of identity. Persons, sessions and one-time tokens are reached through definer functions only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]


async def credential(conn: Connection, hmac: bytes) -> Row | None:
    """The live credential of a keyed hash: kind, credential_id, principal_kind and _id, tenant_id, workspace_id; `person`
    {display_name, operator} when it is a person's; `memberships` [{tenant_id, workspace_id, role}] of whoever it is.

    One statement, for every request begins with it."""
    cursor = await conn.execute(
        "select c.*, (select jsonb_build_object('display_name', p.display_name, 'operator', p.operator)"
        " from worka.person_lookup(c.principal_id) p where c.principal_kind = 'person') as person,"
        " (select coalesce(jsonb_agg(to_jsonb(m) order by m.tenant_id, m.workspace_id), '[]')"
        " from worka.memberships_of(c.principal_kind, c.principal_id) m) as memberships"
        " from worka.credential_lookup(%s) c",
        (hmac,),
    )
    return await cursor.fetchone()


async def person(conn: Connection, person_id: str) -> Row | None:
    """A person by id: id, email, display_name, operator, enabled."""
    cursor = await conn.execute(
        "select person_id as id, email, display_name, operator, enabled from worka.person_lookup(%s)", (person_id,)
    )
    return await cursor.fetchone()


async def person_by_email(conn: Connection, email: str) -> Row | None:
    """For signing in: id, display_name, password_hash, operator, enabled."""
    cursor = await conn.execute(
        "select person_id as id, display_name, password_hash, operator, enabled from worka.sign_in_lookup(%s)", (email,)
    )
    return await cursor.fetchone()


async def create_person(conn: Connection, row: Row) -> None:
    """Inserts a person (id, email, display_name, password_hash, operator)."""
    await conn.execute(
        "select worka.person_create(%(id)s, %(email)s, %(display_name)s, %(password_hash)s, %(operator)s)", row
    )


async def operator_exists(conn: Connection) -> bool:
    """Whether the deployment was set up."""
    row = await (await conn.execute("select worka.operator_exists() as found")).fetchone()
    return bool(row and row["found"])


async def create_session(conn: Connection, session_id: str, person_id: str, hmac: bytes, until: datetime) -> None:
    """Inserts a session."""
    await conn.execute("select worka.session_create(%s, %s, %s, %s)", (session_id, person_id, hmac, until))


async def revoke_session(conn: Connection, session_id: str, person_id: str) -> None:
    """Ends a session of this person."""
    await conn.execute("select worka.session_revoke(%s, %s)", (session_id, person_id))


async def create_one_time(conn: Connection, row: Row) -> None:
    """Inserts a one-time token (id, kind, hmac, person_id, tenant_id, workspace_id, email, role, created_by, until)."""
    await conn.execute(
        "select worka.one_time_create(%(id)s, %(kind)s, %(hmac)s, %(person_id)s, %(tenant_id)s, %(workspace_id)s,"
        " %(email)s, %(role)s, %(created_by)s, %(until)s)",
        row,
    )


async def take_one_time(conn: Connection, kind: str, hmac: bytes) -> Row | None:
    """Uses up a one-time token; None if it is unknown, used or expired. One caller wins."""
    return await (await conn.execute("select * from worka.one_time_take(%s, %s)", (kind, hmac))).fetchone()


async def peek_one_time(conn: Connection, kind: str, hmac: bytes) -> Row | None:
    """What take_one_time would give, without using it up: taken, and given back at once."""
    async with conn.transaction(force_rollback=True):
        return await take_one_time(conn, kind, hmac)


async def one_time_exists(conn: Connection, kind: str) -> bool:
    """Whether a usable one of this kind exists."""
    row = await (await conn.execute("select worka.one_time_exists(%s) as found", (kind,))).fetchone()
    return bool(row and row["found"])


async def take_try(conn: Connection, key: bytes, most: int, seconds: int) -> float:
    """Counts a try to sign in; 0, or the seconds until the next may be made."""
    cursor = await conn.execute(
        "select worka.sign_in_take(%s, %s, make_interval(secs => %s)) as wait", (key, most, seconds)
    )
    row = await cursor.fetchone()
    return float(row["wait"]) if row else 0.0


async def known_place(conn: Connection, key: bytes) -> bool:
    """Whether somebody signed in well from there within 30 days."""
    row = await (await conn.execute("select worka.sign_in_known(%s) as known", (key,))).fetchone()
    return bool(row and row["known"])


async def went_well(conn: Connection, tries: bytes, place: bytes, shared: list[bytes]) -> None:
    """A sign-in succeeded: its tries are forgotten, its place is remembered, and `shared` counters get this one back."""
    await conn.execute("select worka.sign_in_went_well(%s, %s, %s::bytea[])", (tries, place, shared))


async def team_member(conn: Connection, member_id: str, *, lock: bool = False) -> Row | None:
    """A team member of the tenant; with `lock` nobody else changes it until this transaction ends."""
    plain, locking = (
        "select * from worka.team_member where id = %s",
        "select * from worka.team_member where id = %s for update",
    )
    return await (await conn.execute(locking if lock else plain, (member_id,))).fetchone()


async def team_members(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The team members of a workspace, with their role, by id."""
    cursor = await conn.execute(
        "select t.*, m.role from worka.team_member t left join worka.membership m on m.tenant_id = t.tenant_id"
        " and m.workspace_id = t.workspace_id and m.principal_kind = 'team_member' and m.principal_id = t.id"
        " where t.workspace_id = %s and t.id > %s order by t.id limit %s",
        (workspace_id, after or "", limit),
    )
    return await cursor.fetchall()


async def create_team_member(conn: Connection, row: Row) -> Row | None:
    """Inserts a team member; None if the workspace has one of this name."""
    cursor = await conn.execute(
        "insert into worka.team_member (tenant_id, id, workspace_id, name, responsibility, instructions, tools,"
        " owner_person_id, created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(responsibility)s,"
        " %(instructions)s, %(tools)s, %(owner_person_id)s, %(created_by)s)"
        " on conflict (tenant_id, workspace_id, name) do nothing returning *",
        {**row, "tools": Jsonb(row["tools"])},
    )
    return await cursor.fetchone()


async def change_team_member(conn: Connection, member_id: str, changed: Row) -> Row | None:
    """Writes tools, instructions, responsibility and enabled of a team member."""
    cursor = await conn.execute(
        "update worka.team_member set tools = %(tools)s, instructions = %(instructions)s,"
        " responsibility = %(responsibility)s, enabled = %(enabled)s where id = %(id)s returning *",
        {**changed, "tools": Jsonb(changed["tools"]), "id": member_id},
    )
    return await cursor.fetchone()


async def create_api_token(conn: Connection, row: Row) -> Row:
    """Inserts an API token."""
    cursor = await conn.execute(
        "insert into worka.api_token (tenant_id, id, workspace_id, principal_kind, principal_id, name, prefix,"
        " token_hmac, created_by, expires_at) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(principal_kind)s,"
        " %(principal_id)s, %(name)s, %(prefix)s, %(token_hmac)s, %(created_by)s, %(expires_at)s) returning *",
        row,
    )
    made = await cursor.fetchone()
    assert made is not None
    return made


async def api_token(conn: Connection, token_id: str) -> Row | None:
    """An API token of the tenant, revoked ones too."""
    return await (await conn.execute("select * from worka.api_token where id = %s", (token_id,))).fetchone()


async def revoke_api_token(conn: Connection, token_id: str) -> Row | None:
    """Revokes it; None if it was revoked before."""
    cursor = await conn.execute(
        "update worka.api_token set revoked_at = now() where id = %s and revoked_at is null returning *", (token_id,)
    )
    return await cursor.fetchone()


async def revoke_tokens_of(conn: Connection, workspace_id: str, kind: str, principal_id: str) -> list[Row]:
    """Revokes every live token of a principal in a workspace (it left, or was paused for good)."""
    cursor = await conn.execute(
        "update worka.api_token set revoked_at = now() where workspace_id = %s and principal_kind = %s"
        " and principal_id = %s and revoked_at is null returning *",
        (workspace_id, kind, principal_id),
    )
    return await cursor.fetchall()
