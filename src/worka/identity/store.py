"""Every query of identity. Persons, sessions and one-time tokens are reached through definer functions only."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]


async def credential(conn: Connection, hmac: bytes, limit: str) -> Row | None:
    """The live credential of a keyed hash: kind, credential_id, principal_kind and _id, tenant_id, workspace_id; `person`
    {display_name, operator} when it is a person's; `memberships` [{tenant_id, workspace_id, role}] of whoever it is;
    `limits`: the settings of `limit` in their tenants, most often none.

    One statement, for every request begins with it."""
    cursor = await conn.execute(
        "select c.*, (select jsonb_build_object('display_name', p.display_name, 'operator', p.operator)"
        " from worka.person_lookup(c.principal_id) p where c.principal_kind = 'person') as person,"
        " m.memberships, (select coalesce(jsonb_agg(to_jsonb(l)), '[]') from worka.rates_of(m.tenants, %s) l) as limits"
        " from worka.credential_lookup(%s) c, lateral"
        " (select coalesce(jsonb_agg(to_jsonb(m) order by m.tenant_id, m.workspace_id), '[]') as memberships,"
        " array_agg(distinct m.tenant_id) as tenants from worka.memberships_of(c.principal_kind, c.principal_id) m) m",
        (limit, hmac),
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


async def invitations(conn: Connection, tenant_id: str, workspace_id: str) -> list[Row]:
    """The invitations of a workspace, newest first: id, email, role, created_by, created_at, expires_at, used_at,
    withdrawn_at. Complete."""
    cursor = await conn.execute("select * from worka.invitations_of(%s, %s)", (tenant_id, workspace_id))
    return await cursor.fetchall()


async def withdraw_invitations(
    conn: Connection, tenant_id: str, workspace_id: str, invitation_id: str | None, created_by: str | None
) -> int:
    """Takes back the unused one of this id, or all of whom they were made by; how many those were."""
    cursor = await conn.execute(
        "select worka.invitation_withdraw(%s, %s, %s, %s) as ended",
        (tenant_id, workspace_id, invitation_id, created_by),
    )
    row = await cursor.fetchone()
    return int(row["ended"]) if row else 0


async def renew_invitation(
    conn: Connection, tenant_id: str, workspace_id: str, invitation_id: str, hmac: bytes, until: datetime, by: str
) -> bool:
    """Gives an unused invitation a new token, and `by` as who sent it; the old token opens nothing any more. False: it was
    used or taken back."""
    return await _true(
        conn,
        "select worka.invitation_renew(%s, %s, %s, %s, %s, %s) as done",
        (tenant_id, workspace_id, invitation_id, hmac, until, by),
    )


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


async def give_back_try(conn: Connection, key: bytes) -> None:
    """A try that succeeded does not count."""
    await conn.execute("select worka.sign_in_give_back(%s)", (key,))


async def second_factor(conn: Connection, person_id: str) -> Row | None:
    """A person's second factor: secret_sealed (None: none in force), since, last_step, pending_sealed, pending_until,
    recovery_left; None where there never was one."""
    return await (await conn.execute("select * from worka.second_factor_of(%s)", (person_id,))).fetchone()


async def with_second_factor(conn: Connection, people: list[str]) -> set[str]:
    """Which of these people have a second factor in force."""
    cursor = await conn.execute(
        "select p.id from unnest(%s::text[]) as p(id), worka.second_factor_of(p.id) f where f.secret_sealed is not null",
        (people,),
    )
    return {row["id"] for row in await cursor.fetchall()}


async def begin_second_factor(conn: Connection, person_id: str, sealed: bytes, until: datetime) -> None:
    """Keeps a secret that comes into force with its first right code. What is in force stays."""
    await conn.execute("select worka.second_factor_begin(%s, %s, %s)", (person_id, sealed, until))


async def confirm_second_factor(conn: Connection, person_id: str, sealed: bytes, step: int, codes: list[bytes]) -> bool:
    """Puts the pending secret into force, with new recovery codes; False if it is not the pending one any more."""
    return await _true(
        conn, "select worka.second_factor_confirm(%s, %s, %s, %s::bytea[]) as done", (person_id, sealed, step, codes)
    )


async def use_step(conn: Connection, person_id: str, sealed: bytes, step: int) -> bool:
    """Uses the code of a time step up; False if that or a newer one was used before. One caller wins."""
    return await _true(conn, "select worka.second_factor_use(%s, %s, %s) as done", (person_id, sealed, step))


async def use_recovery_code(conn: Connection, person_id: str, hmac: bytes) -> bool:
    """Uses a recovery code up; False if it is unknown or was used. One caller wins."""
    return await _true(conn, "select worka.recovery_code_use(%s, %s) as done", (person_id, hmac))


async def renew_recovery_codes(conn: Connection, person_id: str, codes: list[bytes]) -> None:
    """Replaces all recovery codes."""
    await conn.execute("select worka.recovery_codes_renew(%s, %s::bytea[])", (person_id, codes))


async def end_second_factor(conn: Connection, person_id: str) -> bool:
    """Takes it away, with its recovery codes and every step-up of the person's sessions; False if there was none."""
    return await _true(conn, "select worka.second_factor_end(%s) as done", (person_id,))


async def step_up_session(conn: Connection, session_id: str, person_id: str, at: datetime, how: str) -> bool:
    """Notes that a live session of this person had the second factor given; False if there is none."""
    return await _true(conn, "select worka.session_step_up(%s, %s, %s, %s) as done", (session_id, person_id, at, how))


async def revoke_sessions(conn: Connection, person_id: str) -> int:
    """Ends every live session of a person; how many there were."""
    row = await (await conn.execute("select worka.sessions_revoke(%s) as ended", (person_id,))).fetchone()
    return int(row["ended"]) if row else 0


async def _true(conn: Connection, query: LiteralString, values: tuple[object, ...]) -> bool:
    row = await (await conn.execute(query, values)).fetchone()
    return bool(row and row["done"])


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


async def service_account(conn: Connection, account_id: str, *, lock: bool = False) -> Row | None:
    """A service account of the tenant, ended ones too; with `lock` nobody else changes it until this transaction ends."""
    plain, locking = (
        "select * from worka.service_account where id = %s",
        "select * from worka.service_account where id = %s for update",
    )
    return await (await conn.execute(locking if lock else plain, (account_id,))).fetchone()


async def service_accounts(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The service accounts of a workspace, ended ones too, with their role, by id."""
    cursor = await conn.execute(
        "select a.*, m.role from worka.service_account a left join worka.membership m on m.tenant_id = a.tenant_id"
        " and m.workspace_id = a.workspace_id and m.principal_kind = 'service_account' and m.principal_id = a.id"
        " where a.workspace_id = %s and a.id > %s order by a.id limit %s",
        (workspace_id, after or "", limit),
    )
    return await cursor.fetchall()


async def create_service_account(conn: Connection, row: Row) -> Row | None:
    """Inserts a service account; None if the workspace has one of this name that has not ended."""
    cursor = await conn.execute(
        "insert into worka.service_account (tenant_id, id, workspace_id, name, purpose, owner_person_id, created_by)"
        " values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(name)s, %(purpose)s, %(owner_person_id)s, %(created_by)s)"
        " on conflict (tenant_id, workspace_id, name) where ended_at is null do nothing returning *",
        row,
    )
    return await cursor.fetchone()


async def end_service_account(conn: Connection, account_id: str) -> Row | None:
    """Ends it; None if it had ended."""
    cursor = await conn.execute(
        "update worka.service_account set ended_at = now() where id = %s and ended_at is null returning *",
        (account_id,),
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


async def api_tokens(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The live API tokens of a workspace, newest first."""
    cursor = await conn.execute(
        "select id, name, principal_kind, principal_id from worka.api_token where workspace_id = %s and revoked_at is"
        " null and (%s::text is null or id < %s) order by id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


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
