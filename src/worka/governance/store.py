"""Every query of governance: decisions and policy versions. Both are append-only by grant."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]
_JSON = ("context", "rules", "reasons", "approval_rules")


async def add_decision(conn: Connection, row: Row) -> None:
    """Inserts a decision. `tenant_id` is '' for what is decided outside of every tenant."""
    await conn.execute(
        "insert into worka.decision (tenant_id, id, workspace_id, principal_kind, principal_id, originating_person,"
        " action, resource_type, resource_id, context, verdict, layer, rules, reasons, approval_rules, access_version,"
        " governance_version, remedy, trace_id) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(principal_kind)s,"
        " %(principal_id)s, %(originating_person)s, %(action)s, %(resource_type)s, %(resource_id)s, %(context)s,"
        " %(verdict)s, %(layer)s, %(rules)s, %(reasons)s, %(approval_rules)s, %(access_version)s,"
        " %(governance_version)s, %(remedy)s, %(trace_id)s)",
        {**row, **{key: Jsonb(row[key]) for key in _JSON}},
    )


async def decision(conn: Connection, decision_id: str) -> Row | None:
    """One decision of the tenant."""
    return await (await conn.execute("select * from worka.decision where id = %s", (decision_id,))).fetchone()


async def add_policy(conn: Connection, row: Row) -> Row | None:
    """Inserts a policy version; None if that number is there."""
    cursor = await conn.execute(
        "insert into worka.policy_version (tenant_id, kind, version, text, note, owner_person_id, created_by)"
        " values (%(tenant_id)s, %(kind)s, %(version)s, %(text)s, %(note)s, %(owner_person_id)s, %(created_by)s)"
        " on conflict do nothing returning *",
        row,
    )
    return await cursor.fetchone()


async def policies(conn: Connection, after: tuple[str, int] | None, limit: int) -> list[Row]:
    """Versions of both kinds, newest first by (kind, version)."""
    cursor = await conn.execute(
        "select kind, version, note, owner_person_id, created_by, created_at from worka.policy_version"
        " where %(all)s or (kind, -version) > (%(kind)s, -%(version)s) order by kind, version desc limit %(limit)s",
        {"all": after is None, "kind": after[0] if after else "", "version": after[1] if after else 0, "limit": limit},
    )
    return await cursor.fetchall()
